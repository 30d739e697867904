"""Choose threads and slots by a short measurement on this machine.

More threads than free cores can be thirty times slower than one, and how many slots pay depends on
the model: so neither is assumed. Candidates go from few to many, and a bad one is given up soon.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from so8t.domain.exchange import LoadProfile, Status
from so8t.errors import EngineCrashed, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from so8t.domain.exchange import EngineReply, EngineRequest, ServedModel
    from so8t.engines.protocol import Engine

SLOTS = (1, 2, 4, 8)
# Within this of the best rate a candidate counts as equal: repeated runs differ by as much.
TOLERANCE = 0.05
# Below this share of the best rate a candidate is clearly worse.
CLEARLY_WORSE = 0.8
# No new request goes out after a candidate's time; what is in flight may take so many times that.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to load a model."""

    threads: int
    slots: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one candidate did.

    Attributes:
        threads: CPU threads of the engine.
        slots: answers in flight at the same time.
        tokens_per_second: prompt and answer tokens of the finished answers, a second; None where
            nothing was finished.
        answers: answers finished.
        seconds: time spent on them, loading aside.
        failure: why there is no rate, or None.

    """

    threads: int
    slots: int
    tokens_per_second: float | None
    answers: int
    seconds: float
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The choice and all that it rests on.

    Attributes:
        threads: the chosen CPU threads.
        slots: the chosen slots.
        measurements: every candidate that was tried, in order.
        skipped: candidates not tried, because of the budget or of what a smaller one did.
        seconds: time spent in all, loading included.

    """

    threads: int
    slots: int
    measurements: tuple[Measurement, ...]
    skipped: tuple[Candidate, ...]
    seconds: float

    def applied_to(self, profile: LoadProfile) -> LoadProfile:
        """Return `profile` with the chosen threads and slots."""
        return replace(profile, threads=self.threads, slots=self.slots)


def candidates(
    *,
    cores: int,
    free_memory: int | None = None,
    slot_memory: int | None = None,
    slots: Sequence[int] = SLOTS,
) -> tuple[Candidate, ...]:
    """List what is worth measuring, from few threads to many and from few slots to many.

    Args:
        cores: physical cores.
        free_memory: bytes free beside the loaded model; None when unknown.
        slot_memory: bytes of context for one slot; None when unknown.
        slots: slot counts to consider; the smallest is kept whatever the memory.

    """
    fitting = sorted(set(slots))
    if free_memory is not None and slot_memory:
        fitting = [count for count in fitting if count * slot_memory <= free_memory] or fitting[:1]
    counts = [1]
    # All counts up to four, then in steps: a long list would eat the budget in loading.
    while counts[-1] < cores:
        counts.append(min(cores, counts[-1] + max(1, counts[-1] // 2)))
    return tuple(Candidate(threads, count) for threads in counts for count in fitting)


def choose(measurements: Iterable[Measurement], *, tolerance: float = TOLERANCE) -> Measurement:
    """Return the fastest; of those within `tolerance` of it, fewest threads, then fewest slots.

    Raises EngineError when nothing was measured.
    """
    rates = [(m.tokens_per_second, m) for m in measurements if m.tokens_per_second is not None]
    if not rates:
        raise EngineError(
            "No candidate for threads and slots finished an answer.",
            hint="set threads and slots in the config, or give the calibration more seconds.",
        )
    best = max(rate for rate, _ in rates)
    equal = [m for rate, m in rates if rate >= best * (1 - tolerance)]
    return min(equal, key=lambda m: (m.threads, m.slots))


def worth_trying(
    candidate: Candidate,
    measured: Iterable[Measurement],
    *,
    threshold: float = CLEARLY_WORSE,
) -> bool:
    """Tell whether a candidate may still win after what smaller ones did.

    Rates rise and then fall with threads and with slots. So what has more of both than a
    candidate that was clearly worse than a smaller one is not tried.
    """
    done = list(measured)
    for large in done:
        if large.threads > candidate.threads or large.slots > candidate.slots:
            continue
        for small in done:
            if small.threads > large.threads or small.slots > large.slots:
                continue
            if small.tokens_per_second is not None and (
                large.tokens_per_second is None
                or large.tokens_per_second < threshold * small.tokens_per_second
            ):
                return False
    return True


def calibrate(
    engine: Engine,
    model: ServedModel,
    *,
    candidates: Sequence[Candidate],
    requests: Sequence[EngineRequest],
    budget_seconds: float = 10.0,
    profile: LoadProfile | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Calibration:
    """Measure candidates with the same requests, and choose.

    The first candidate always finishes at least one answer, whatever the budget; so a choice is
    made on any machine that can answer at all. No candidate is begun after the budget is spent, and
    one that takes much longer than the best one did is cut.

    Args:
        engine: who answers.
        model: the model to load, once for each candidate.
        candidates: what to try, best from few to many (see `candidates`).
        requests: what to ask each time; at least as many as the most slots, or slots stay empty.
        budget_seconds: time for all of it.
        profile: context and GPU layers to load with.
        clock: seconds, rising.

    Raises ModelError when the model cannot be loaded, EngineError when no candidate answered.

    """
    began = clock()
    base = profile or LoadProfile()
    measured: list[Measurement] = []
    skipped: list[Candidate] = []
    for candidate in candidates:
        spent = clock() - began
        if measured and (spent >= budget_seconds or not worth_trying(candidate, measured)):
            skipped.append(candidate)
            continue
        loaded = replace(base, threads=candidate.threads, slots=candidate.slots)
        limit = _limit(measured, len(requests), budget_seconds - spent)
        measured.append(
            _measure(engine, model, loaded, requests=requests, limit=limit, clock=clock)
        )
    best = choose(measured)
    return Calibration(best.threads, best.slots, tuple(measured), tuple(skipped), clock() - began)


def _limit(measured: Sequence[Measurement], requests: int, left: float) -> float:
    """Seconds after which a candidate is cut."""
    whole = [m.seconds for m in measured if m.failure is None and m.answers == requests]
    return min(left, min(whole) / CLEARLY_WORSE) if whole else left


def _measure(
    engine: Engine,
    model: ServedModel,
    profile: LoadProfile,
    *,
    requests: Sequence[EngineRequest],
    limit: float,
    clock: Callable[[], float],
) -> Measurement:
    threads, slots = profile.threads or 1, profile.slots
    answers = tokens = 0
    failure = None
    began = end = clock()

    def until_limit() -> Iterator[EngineRequest]:
        # What is in flight may finish: dropping it would count against many slots.
        for place, request in enumerate(requests):
            if place >= slots and clock() - began > limit:
                return
            yield request

    try:
        with engine.open(model, profile) as session:
            began = end = clock()
            for reply in session.serve(until_limit()):
                end = clock()
                if reply.status is not Status.FAILED:
                    answers += 1
                    tokens += _tokens(reply)
                if answers and end - began > _PATIENCE * limit:
                    break
    except EngineCrashed as error:
        # Too much for the memory, most likely: a reason against this candidate, not for stopping.
        failure, end = error.message, clock()
    seconds = end - began
    if failure is not None or not answers or seconds <= 0:
        failure = failure or "no answer was finished"
        return Measurement(threads, slots, None, answers, seconds, failure)
    return Measurement(threads, slots, tokens / seconds, answers, seconds)


def _tokens(reply: EngineReply) -> int:
    """Tokens of work; an answer counts as one where the engine does not tell."""
    return (reply.prompt_tokens or 0) + (reply.completion_tokens or 0) or 1
