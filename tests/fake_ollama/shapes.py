"""The shapes of what the fake server says."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fake_ollama.brain import tokens

if TYPE_CHECKING:
    from fake_ollama.answer import Prepared
    from fake_ollama.store import Toy

_NS = 1_000_000_000


def wants_answer(body: dict[str, Any]) -> bool:
    """Whether a request wants an answer, not a load or a rendering."""
    return bool(body.get("prompt") or body.get("messages")) and not body.get("_debug_render_only")


def answer_line(
    body: dict[str, Any],
    chat: bool,
    text: str,
    *,
    done: bool = True,
    done_reason: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return one line of an answer, the keys in the order of a real server."""
    line: dict[str, Any] = {"model": body.get("model"), "created_at": timestamp()}
    if chat:
        line["message"] = {"role": "assistant", "content": text}
    else:
        line["response"] = text
    line["done"] = done
    if done and done_reason is not None:
        line["done_reason"] = done_reason
    return line | more


def last_counts(
    prepared: Prepared,
    text: str,
    before: tuple[float, float],
    counted: int,
    made: int,
    began: float,
) -> dict[str, Any]:
    """Return the counts and times of an answer's last line; `before` is loading and waiting."""
    seconds = max(time.monotonic() - began, 1e-6)
    loading, waited = before
    context = {"context": tokens(prepared.prompt + text)} if prepared.returns_context else {}
    return context | {
        "total_duration": round((loading + waited + seconds) * _NS),
        "load_duration": max(1, round(loading * _NS)),
        "prompt_eval_count": counted,
        "prompt_eval_duration": 1000,
        "eval_count": made,
        "eval_duration": round(seconds * _NS),
    }


def details_of(toy: Toy) -> dict[str, Any]:
    """Return what lists tell of a model."""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1.45M",
        "quantization_level": toy.quantization,
    }


def timestamp() -> str:
    """Return the time as the server writes it."""
    return datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")


def compact(value: dict[str, Any]) -> bytes:
    """Return JSON bytes without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
