"""What counts as an answer, strictly.

Success is HTTP 200, and a last line with `done: true`, and a `done_reason` that was expected, and
no `error` anywhere, and a complete body. All else is a fault, never a shorter answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from so8t.engines.ollama.faults import Fault, OllamaError, error_in_stream, error_of
from so8t.engines.ollama.lines import objects, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FINISHED = frozenset({"stop", "length"})
"""How an answer to a prompt may end."""
LOADED = frozenset({"load"})
UNLOADED = frozenset({"unload"})
"""How a request without a prompt ends; an answer never does."""

_OK = 200
_REPEATS = 30  # the server gives up an answer after more equal pieces than this


@dataclass(frozen=True, slots=True)
class OllamaAnswer:
    """A complete answer. Times in seconds; None is what the server did not tell.

    `prompt_tokens` counts cached tokens, `prompt_seconds` does not: no prompt speed follows from
    them. One token alone has a nominal `eval_seconds`: no speed follows from fewer than two.
    There may be fewer `logprobs` than `completion_tokens`; they are no index of tokens.
    """

    text: str
    done_reason: str
    thinking: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    load_seconds: float | None = None
    prompt_seconds: float | None = None
    eval_seconds: float | None = None
    total_seconds: float | None = None
    logprobs: tuple[dict[str, Any], ...] = ()

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of generation, or None where the numbers do not carry one."""
        tokens, seconds = self.completion_tokens, self.eval_seconds
        if tokens is None or seconds is None or tokens < 2 or seconds <= 0:  # noqa: PLR2004 - one token is timed nominally
            return None
        return tokens / seconds


def read_answer(
    status: int, chunks: Iterable[bytes], ends: frozenset[str] = FINISHED
) -> OllamaAnswer:
    """Read the answer of generate or chat, streamed or not.

    Raises OllamaError for whatever is not a success in the strict sense.
    """
    if status != _OK:
        raise error_of(status, b"".join(chunks))
    texts: list[str] = []
    thoughts: list[str] = []
    logprobs: list[dict[str, Any]] = []
    last: dict[str, Any] | None = None
    previous, run = "", 0
    for item in objects(chunks):
        if "error" in item:
            raise error_in_stream(item["error"])
        if last is not None:
            raise OllamaError(Fault.MALFORMED, "more lines after the one that says done")
        text, thought = _pieces(item)
        texts.append(text)
        thoughts.append(thought)
        logprobs.extend(_logprobs(item))
        run = run + 1 if text.strip() == previous and not item.get("done") else 0
        previous = text.strip()
        if item.get("done") is True:
            last = item
    if last is None:
        raise _unfinished(texts, run)
    reason = last.get("done_reason")
    if reason not in ends:
        raise OllamaError(Fault.UNFINISHED, f"it ended with done_reason {reason!r}", status=status)
    return OllamaAnswer(
        text=_whole_text(texts),
        done_reason=str(reason),
        thinking=_whole_text(thoughts),
        prompt_tokens=_count(last, "prompt_eval_count"),
        completion_tokens=_count(last, "eval_count"),
        load_seconds=_seconds(last, "load_duration"),
        prompt_seconds=_seconds(last, "prompt_eval_duration"),
        eval_seconds=_seconds(last, "eval_duration"),
        total_seconds=_seconds(last, "total_duration"),
        logprobs=tuple(logprobs),
    )


def read_statuses(status: int, chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the statuses of a create as they come; it must end with `success`.

    Raises OllamaError for an error at the start (a real status), inside the stream (a 200) or a
    stream that just ends.
    """
    if status != _OK:
        raise error_of(status, b"".join(chunks))
    last = ""
    for item in objects(chunks):
        if "error" in item:
            raise error_in_stream(item["error"])
        last = str(item.get("status", ""))
        yield last
    if last != "success":
        raise OllamaError(
            Fault.UNFINISHED, f"create ended with {last!r}, not with success", status=status
        )


def read_object(status: int, body: bytes) -> dict[str, Any]:
    """Read a response that is one JSON object. Raises OllamaError for anything else."""
    if status != _OK:
        raise error_of(status, body)
    value = parse_object(body)
    if "error" in value:
        raise error_in_stream(value["error"])
    return value


def _unfinished(texts: list[str], run: int) -> OllamaError:
    if run >= _REPEATS:
        return OllamaError(
            Fault.REPEATED, f"{run + 1} equal tokens in a row ({texts[-1]!r})", status=_OK
        )
    return OllamaError(
        Fault.UNFINISHED, f"it ended after {len(texts)} lines without done: true", status=_OK
    )


def _pieces(item: dict[str, Any]) -> tuple[str, str]:
    message = item.get("message")
    if message is None:
        text, thought = item.get("response", ""), item.get("thinking", "")
    elif isinstance(message, dict):
        text, thought = message.get("content", ""), message.get("thinking", "")
    else:
        raise OllamaError(Fault.MALFORMED, f"the message is no object: {message!r}")
    if not isinstance(text, str) or not isinstance(thought, str):
        raise OllamaError(Fault.MALFORMED, f"a piece of the answer is no text: {text!r}")
    return text, thought


def _logprobs(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    found = item.get("logprobs")
    if isinstance(found, list):
        yield from (entry for entry in found if isinstance(entry, dict))


def _whole_text(pieces: list[str]) -> str:
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair cannot be stored; no real server sends one.
        raise OllamaError(Fault.MALFORMED, "the answer is no valid Unicode text") from None
    return text


def _count(item: dict[str, Any], key: str) -> int | None:
    value = item.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(item: dict[str, Any], key: str) -> float | None:
    value = _count(item, key)
    return None if value is None else value / 1e9
