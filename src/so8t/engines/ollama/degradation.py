"""Silent degradation made loud: pure checks that return findings.

A finding says what was noticed and whether the answers can still be compared. The engine hands
its findings to `on_finding`; the pipeline makes each an event of the journal and a line of the
report, and stops where a finding says stop.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from so8t.engines.loads import SHARE_TOLERANCE

if TYPE_CHECKING:
    from so8t.engines.ollama.answers import OllamaAnswer
    from so8t.engines.ollama.records import ServerModel

RELOAD_SECONDS = 0.1
"""A loaded model reports 1 to 20 ms of `load_duration`; a reload of even a toy model 250."""

_CANARY_SECONDS = 0.02  # shorter generations are timed too coarsely to tell a speed


class Notice(StrEnum):
    """What was noticed; the names are those of the journal's events."""

    TRUNCATED_PROMPT = "ollama.prompt_truncated"
    UNCOUNTED = "ollama.prompt_not_counted"
    TEMPLATE = "ollama.template_mismatch"
    CPU_FALLBACK = "ollama.cpu_fallback"
    SHORT_CONTEXT = "ollama.context_shortened"
    CONTEXT_FULL = "ollama.context_full"
    SLOW = "ollama.slow"
    RELOADED = "ollama.reloaded"
    RETRIED = "ollama.retried"
    UNSTUCK = "ollama.deadlock_cleared"
    RESTARTED = "ollama.server_restarted"
    EVICTED = "ollama.others_unloaded"
    BOTH_FIT = "ollama.both_loaded"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed.

    Attributes:
        notice: its kind.
        message: one sentence for a person.
        stop: the answers are no longer comparable between the arms.
        data: the numbers, as plain JSON.

    """

    notice: Notice
    message: str
    stop: bool = False
    data: dict[str, Any] = field(default_factory=dict)


def check_truncation(
    expected: int, answer: OllamaAnswer, *, tolerance: int = 2, key: str = ""
) -> Finding | None:
    """Compare our own count of the rendered prompt's tokens with the server's.

    Fewer tokens by more than `tolerance` (a begin-of-text token may or may not be counted) mean
    that the prompt was cut or rendered by another template; more mean another template.
    """
    counted = answer.prompt_tokens
    if counted is None or abs(counted - expected) <= tolerance:
        return None
    what = "cut" if counted < expected else "longer than it should be"
    return Finding(
        Notice.TRUNCATED_PROMPT,
        f"The prompt was {what}: the server read {counted} tokens, we count {expected}.",
        stop=True,
        data={"key": key, "expected": expected, "counted": counted},
    )


def check_template(expected: str, rendered: str) -> Finding | None:
    """Compare the prompt that the server renders with the one that the model was trained on."""
    if rendered == expected:
        return None
    same = next(
        (i for i, (a, b) in enumerate(zip(expected, rendered, strict=False)) if a != b),
        min(len(expected), len(rendered)),
    )
    return Finding(
        Notice.TEMPLATE,
        f"The chat template is another one: from character {same} the server renders "
        f"{rendered[same : same + 40]!r}, the model expects {expected[same : same + 40]!r}.",
        stop=True,
        data={"expected": expected, "rendered": rendered, "position": same},
    )


def check_context(asked: int, loaded: ServerModel) -> Finding | None:
    """Compare the context that was asked for with the one that the server allocated."""
    if loaded.context is None or loaded.context >= asked:
        return None
    return Finding(
        Notice.SHORT_CONTEXT,
        f"{loaded.name} has {loaded.context} tokens of context, {asked} were asked for.",
        stop=True,
        data={"model": loaded.name, "asked": asked, "context": loaded.context},
    )


def check_gpu(
    loaded: ServerModel, *, before: float | None = None, gpu_expected: bool = False
) -> Finding | None:
    """Notice a model that is not where it was, or not where it should be.

    Args:
        loaded: what `/api/ps` says now.
        before: the GPU share of the same model at its first load; None if this is the first.
        gpu_expected: whether this machine has a GPU that the model was meant to use.

    A share that fell since the first load is a stop: the answers before and after come from
    different arithmetic at different speeds. A first load that is only partly on the GPU is a
    warning, since both arms may well be alike in it (so8t.engines.loads decides).

    """
    share = loaded.gpu_share
    if share is None:
        return None
    data = {"model": loaded.name, "share": share, "before": before}
    if before is not None and share < before - SHARE_TOLERANCE:
        return Finding(
            Notice.CPU_FALLBACK,
            f"{loaded.name} fell from {before:.0%} to {share:.0%} on the GPU.",
            stop=True,
            data=data,
        )
    partly = 0 < share < 1 - SHARE_TOLERANCE
    if before is None and (partly or (gpu_expected and share == 0)):
        return Finding(
            Notice.CPU_FALLBACK, f"{loaded.name} is only {share:.0%} on the GPU.", data=data
        )
    return None


def check_reload(answer: OllamaAnswer, *, key: str = "") -> Finding | None:
    """Notice an answer that first had to load the model: someone else evicted it."""
    if answer.load_seconds is None or answer.load_seconds <= RELOAD_SECONDS:
        return None
    return Finding(
        Notice.RELOADED,
        f"The model was loaded again before an answer ({answer.load_seconds:.1f} s).",
        data={"key": key, "seconds": answer.load_seconds},
    )


def check_length(answer: OllamaAnswer, asked: int, *, key: str = "") -> Finding | None:
    """Notice an answer that ended at the context's end instead of its token budget."""
    made = answer.completion_tokens
    if answer.done_reason != "length" or made is None or made >= asked:
        return None
    return Finding(
        Notice.CONTEXT_FULL,
        f"The answer was cut by the context after {made} of {asked} tokens.",
        data={"key": key, "made": made, "asked": asked},
    )


class SpeedCanary:
    """Tokens a second of one session, compared with its own beginning.

    The first `window` answers with enough tokens make the baseline; when the median of the last
    `window` falls below `share` of it, one finding is returned, and the next only after the speed
    had recovered. Not safe for use from several threads at once.
    """

    def __init__(self, *, window: int = 8, share: float = 0.5, min_tokens: int = 8) -> None:
        self._share = share
        self._min_tokens = min_tokens
        self._baseline: list[float] = []
        self._recent: deque[float] = deque(maxlen=window)
        self._told = False

    def add(self, answer: OllamaAnswer) -> Finding | None:
        """Count one answer; too short ones carry no speed and are left out."""
        speed = answer.tokens_per_second
        long_enough = (answer.eval_seconds or 0.0) >= _CANARY_SECONDS
        if speed is None or not long_enough or (answer.completion_tokens or 0) < self._min_tokens:
            return None
        window = self._recent.maxlen or 1
        if len(self._baseline) < window:
            self._baseline.append(speed)
            return None
        self._recent.append(speed)
        if len(self._recent) < window:
            return None
        usual, now = statistics.median(self._baseline), statistics.median(self._recent)
        slow = now < usual * self._share
        if not slow or self._told:
            self._told = slow
            return None
        self._told = True
        return Finding(
            Notice.SLOW,
            f"Generation fell from {usual:.1f} to {now:.1f} tokens a second.",
            data={"usual": usual, "now": now},
        )
