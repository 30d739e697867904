"""What can go wrong with an Ollama server, and whether asking again can help.

The status alone does not tell: a 500 can be our mistake, a bad model or a crash, and a 400 can be
damaged weights. So the words of the error decide first, the status second. The words are those
that real servers (0.24.0 and 0.33.0-rc2) were recorded saying.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from so8t.errors import EngineCrashed, EngineError


class Fault(StrEnum):
    """The kinds of failure. `RETRYABLE` says which of them another attempt can cure."""

    UNREACHABLE = "unreachable"  # no connection: refused, no route, connect deadline
    LOST = "connection lost"  # the connection ended before the answer did
    BUSY = "busy"  # 503, the server's queue is full
    CRASHED = "model process crashed"
    SERVER = "server error"  # a 5xx whose words we do not know
    DEADLINE = "deadline"  # first byte, between bytes, or the whole answer
    UNFINISHED = "unfinished"  # a clean end without `done: true`
    REPEATED = "repetition stopped by the server"
    WITHDRAWN = "withdrawn"  # we cut it off to free a stuck server
    TOO_LARGE = "too large"
    MALFORMED = "malformed"  # no JSON object, or not Ollama
    REFUSED = "refused"  # our request is wrong, or asks for what the model cannot do
    CONTEXT = "context exceeded"
    NO_MODEL = "model not found"
    BAD_MODEL = "model damaged or unsupported"
    MEMORY = "not enough memory"
    NO_BLOB = "blob missing"
    DIGEST = "digest mismatch"
    FORBIDDEN = "forbidden"


RETRYABLE = frozenset(
    {
        Fault.UNREACHABLE,
        Fault.LOST,
        Fault.BUSY,
        Fault.CRASHED,
        Fault.SERVER,
        Fault.DEADLINE,
        Fault.UNFINISHED,
        Fault.WITHDRAWN,
    }
)

MODEL_FAULTS = frozenset({Fault.NO_MODEL, Fault.BAD_MODEL, Fault.MEMORY})
"""Faults of the model as it is on this server: no other question to it can do better."""

_LONGEST = 500  # characters of a server's words in a message
_HINTS = {
    Fault.UNREACHABLE: "start the server with `ollama serve`, or check the address",
    Fault.DEADLINE: "`ollama ps` may look healthy while a load hangs; `ollama stop MODEL` frees it",
    Fault.NO_MODEL: "`ollama list` shows the models that the server has",
    Fault.BAD_MODEL: "convert the model to GGUF with the chat template embedded and register again",
    Fault.MEMORY: "choose a smaller context, fewer slots or a smaller quantization, or free memory",
    Fault.CONTEXT: "raise the context of the load profile, or shorten the prompt",
    Fault.FORBIDDEN: "use 127.0.0.1 as the address: the server refuses host names it does not know",
    Fault.MALFORMED: "something other than Ollama may listen at this address",
    Fault.REPEATED: "the model repeats one token; the server ends such answers without a result",
}


class OllamaError(EngineError):
    """One request failed.

    Attributes:
        fault: the kind of failure; `retryable` follows from it.
        status: the HTTP status, None when there was none.
        detail: the server's own words, or what the connection did.

    """

    def __init__(
        self,
        fault: Fault,
        detail: str,
        *,
        status: int | None = None,
        hint: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        number = f" (HTTP {status})" if status is not None else ""
        super().__init__(
            f"Ollama: {fault.value}{number}: {detail}",
            hint=hint or _HINTS.get(fault),
            retryable=fault in RETRYABLE if retryable is None else retryable,
        )
        self.fault = fault
        self.status = status
        self.detail = detail


class ServerGone(EngineCrashed):
    """The server (or the model on it) is lost and did not come back in time."""


# In this order: the first phrase that occurs decides. Lower case.
_PHRASES: tuple[tuple[str, Fault], ...] = (
    ("exceeds the available context size", Fault.CONTEXT),
    ("exceed_context_size_error", Fault.CONTEXT),
    ("longer than the context length", Fault.CONTEXT),
    ("exceeds the context length", Fault.CONTEXT),
    ("error was encountered while running the model", Fault.CRASHED),
    # The next three were not recorded; they are the server's own words for memory.
    ("requires more system memory", Fault.MEMORY),
    ("out of memory", Fault.MEMORY),
    ("unable to allocate", Fault.MEMORY),
    # A damaged model also "terminates", with words of its own; a killed one names a signal.
    ("error loading model", Fault.BAD_MODEL),
    ("unable to load model", Fault.BAD_MODEL),
    ("process has terminated: signal", Fault.CRASHED),
    ("runner process has terminated", Fault.CRASHED),
    ("llama-server process has terminated", Fault.BAD_MODEL),
    ("server busy", Fault.BUSY),
    ("maximum pending requests exceeded", Fault.BUSY),
    ("repeat limit reached", Fault.REPEATED),
    ("exceeds file size", Fault.BAD_MODEL),
    ("unsupported architecture", Fault.BAD_MODEL),
    ("unknown tokenizer format", Fault.BAD_MODEL),
    ("failed to validate gguf", Fault.BAD_MODEL),
    # What a model says whose weights file is gone; a model that lacks only tools or thinking
    # says so by the name of that capability and is refused below.
    ("does not support generate", Fault.BAD_MODEL),
    ("does not support chat", Fault.BAD_MODEL),
    ("does not support", Fault.REFUSED),
    ("digest mismatch", Fault.DIGEST),
    ("no such file or directory", Fault.NO_BLOB),
    ("must be of type", Fault.REFUSED),
    ("invalid format:", Fault.REFUSED),
    ("invalid json schema", Fault.REFUSED),
    ("unsupported quantization type", Fault.REFUSED),
    ("quantization is only supported", Fault.REFUSED),
    ("pull model manifest", Fault.NO_MODEL),
    ("page not found", Fault.MALFORMED),
    ("method not allowed", Fault.MALFORMED),
)


def classify(status: int, words: str) -> Fault:
    """Tell the fault from the status and the server's words (status 200: an error in a stream)."""
    lowered = words.lower()
    for phrase, fault in _PHRASES:
        if phrase in lowered:
            return fault
    # Alone, `EOF` is a file that ends too early: a manifest or weights that were cut.
    if lowered in {"eof", "unexpected eof"}:
        return Fault.BAD_MODEL
    if status == 404 and "not found" in lowered:  # noqa: PLR2004 - HTTP's own number
        return Fault.NO_MODEL
    return _by_status(status)


def _by_status(status: int) -> Fault:
    match status:
        case 403:
            return Fault.FORBIDDEN
        case 503:
            return Fault.BUSY
        case _ if status >= 500:  # noqa: PLR2004 - HTTP's own number
            return Fault.SERVER
        case _ if status >= 400:  # noqa: PLR2004 - HTTP's own number
            return Fault.REFUSED
        case 200:
            return Fault.SERVER
        case _:
            return Fault.MALFORMED


def words_of(error: Any) -> str:
    """Return the server's words from an `error` value: text, JSON inside a text, or an object."""
    if isinstance(error, str):
        try:
            inner = json.loads(error)
        except (ValueError, RecursionError):
            return error
        return words_of(inner) if isinstance(inner, dict) else error
    if isinstance(error, dict):
        for key in ("error", "message"):
            if key in error:
                return words_of(error[key])
    return json.dumps(error, ensure_ascii=False)


def error_of(status: int, body: bytes) -> OllamaError:
    """Describe a response that is not a success; the body may be JSON, plain text or empty."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    words = words_of(parsed["error"]) if isinstance(parsed, dict) and "error" in parsed else text
    fault = classify(status, words)
    return OllamaError(fault, _short(words) or "no words given", status=status)


def error_in_stream(error: Any) -> OllamaError:
    """Describe an `error` line inside an answer whose status was 200."""
    words = words_of(error)
    return OllamaError(classify(200, words), _short(words), status=200)


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"
