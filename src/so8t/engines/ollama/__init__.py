"""Ollama, over its native API: registration, and answers that survive days.

Importing this loads neither the HTTP library nor stamina; the first request does.
"""

from so8t.engines.ollama.answers import OllamaAnswer
from so8t.engines.ollama.client import DEFAULT_URL, OllamaClient, is_loopback, server_url
from so8t.engines.ollama.degradation import (
    Finding,
    Notice,
    SpeedCanary,
    check_context,
    check_gpu,
    check_length,
    check_reload,
    check_template,
    check_truncation,
)
from so8t.engines.ollama.doctor import examine, measure_slots
from so8t.engines.ollama.engine import OllamaEngine
from so8t.engines.ollama.faults import Fault, OllamaError, ServerGone
from so8t.engines.ollama.managed import ManagedServer, find_ollama, server_environment
from so8t.engines.ollama.registration import RegisteredModel, check_disk, register
from so8t.engines.ollama.session import OllamaSession
from so8t.engines.ollama.sources import QUANTIZATIONS, SourceRegistration
from so8t.engines.ollama.timing import Deadlines, Retries, Timing
from so8t.engines.rendering import ChatTemplate, PromptCounter, Rendering

__all__ = [
    "DEFAULT_URL",
    "QUANTIZATIONS",
    "ChatTemplate",
    "Deadlines",
    "Fault",
    "Finding",
    "ManagedServer",
    "Notice",
    "OllamaAnswer",
    "OllamaClient",
    "OllamaEngine",
    "OllamaError",
    "OllamaSession",
    "PromptCounter",
    "RegisteredModel",
    "Rendering",
    "Retries",
    "ServerGone",
    "SourceRegistration",
    "SpeedCanary",
    "Timing",
    "check_context",
    "check_disk",
    "check_gpu",
    "check_length",
    "check_reload",
    "check_template",
    "check_truncation",
    "examine",
    "find_ollama",
    "is_loopback",
    "measure_slots",
    "register",
    "server_environment",
    "server_url",
]
