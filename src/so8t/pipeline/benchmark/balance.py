"""What the balancer decides, carried out between two answers and told to the journal.

The balancer's thread only looks and judges. Everything that changes something happens here, in
the thread that asks the questions: so it falls between answers, and its event is in the chain
before the next answer is.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from so8t.domain.events import EventKind
from so8t.domain.exchange import LoadProfile
from so8t.pipeline.register.reduced_profiles import longest_question, reduced_profiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from so8t.domain.exchange import EngineReply
    from so8t.engines.memory_needs import Shape
    from so8t.journal.store import Journal
    from so8t.pipeline.run.progress import Note, StopRequest
    from so8t.resources.balancer import Adjustment, ResourceBalancer
    from so8t.resources.readings import ResourceSample

# What a step did is told after so many seconds; by then answers begun before it have ended.
_OBSERVE_AFTER = 60.0
_RATE_OVER = 60.0
_AGAIN_WITHIN = 3600.0
_FULL = {"memory_critical", "memory_filling_fast"}
_LOOK = 0.25


def wait_to_begin(balancer: ResourceBalancer, note: Note, stop: StopRequest) -> None:
    """Wait while nothing new may be begun; the pause and its end are recorded as steps.

    Raises Interrupted when a stop is asked for meanwhile.
    """
    balancer.wait_for_a_look()
    if balancer.level:
        return
    steps = [step for step in balancer.take_adjustments() if step.after == 0 != step.before]
    while True:
        tell_failures(balancer, note)
        for step in steps:
            _tell(note, step, step.before, step.after)
        if balancer.level:
            return
        stop.check()
        stop.wait(_LOOK)
        steps = balancer.take_adjustments()


class Balancing:
    """The balancer as the runner uses it: how many answers, which way to load, when to wait.

    Without a balancer everything is as registered, and only an engine that runs out of memory
    leads to a smaller way to load.
    """

    def __init__(
        self,
        balancer: ResourceBalancer | None,
        journal: Journal,
        profile: LoadProfile,
        *,
        cache_types: Sequence[str] = (),
        shapes: Sequence[Shape | None],
        max_tokens: int,
        note: Note,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`profile` is the registered one; what an earlier start had to reduce stays reduced."""
        self._balancer = balancer
        self._journal = journal
        self._note = note
        self._clock = clock
        self._registered = asdict(profile)
        last = journal.events(EventKind.RESOURCES_REDUCED)
        # A person who changes the engine's section begins anew.
        if last and last[-1].data["registered"] == self._registered:
            profile = TypeAdapter(LoadProfile).validate_python(last[-1].data["after"])
        self._profiles = reduced_profiles(
            profile,
            cache_types=cache_types,
            shapes=shapes,
            longest=_longest(journal, max_tokens),
            cards=bool(balancer is not None and balancer.cards),
        )
        self._reduction = 0
        self._rates: deque[tuple[float, int]] = deque(maxlen=4096)
        self._to_observe: tuple[float, Adjustment, float | None] | None = None
        self._critical_at: float | None = None
        if balancer is not None:
            # Steps from before there was anything to answer moved nothing but the level.
            balancer.take_adjustments()
            balancer.fit(most=profile.slots, reductions=len(self._profiles) - 1, reduction=0)
            if (lowered := balancer.lowered_by) is not None:
                self._adjusted(lowered, profile.slots, self.level)

    @property
    def profile(self) -> LoadProfile:
        """The way to load that is in force."""
        return self._profiles[self._reduction]

    @property
    def reduced(self) -> bool:
        """Whether the models were loaded smaller at some time of this run."""
        return self._reduction > 0 or bool(self._journal.events(EventKind.RESOURCES_REDUCED))

    @property
    def level(self) -> int:
        """Answers that may be in flight now; 0 is a pause."""
        if self._balancer is None:
            return self.profile.slots
        return min(self._balancer.level, self.profile.slots)

    @property
    def paused(self) -> bool:
        """Whether nothing may be asked now."""
        return self._balancer is not None and self._balancer.level == 0

    @property
    def interrupts(self) -> bool:
        """Whether nothing more should be asked of the loaded models: a pause, or a reload."""
        self.follow()
        if self._balancer is None:
            return False
        return self.paused or self._balancer.reduction > self._reduction

    def in_flight(self) -> int:
        """Answers that may be in flight now; what changed since the last call is recorded."""
        self.follow()
        return self.level

    def answered(self, reply: EngineReply) -> None:
        """Count an answer's tokens, for the rate that is observed after a step."""
        tokens = (reply.prompt_tokens or 0) + (reply.completion_tokens or 0)
        self._rates.append((self._clock(), tokens))

    def follow(self) -> None:
        """Record the steps that the balancer took since the last call, and what came of them."""
        balancer = self._balancer
        if balancer is None:
            return
        tell_failures(balancer, self._note)
        for step in balancer.take_adjustments():
            self._observe(force=True)
            self._adjusted(step, step.before, step.after)
            if step.after == 0 and step.reason in _FULL:
                self._after_critical()
        self._observe()

    def _adjusted(self, step: Adjustment, before: int, after: int) -> None:
        _tell(self._note, step, before, after)
        self._to_observe = (self._clock(), step, self._rate())

    def _after_critical(self) -> None:
        """A second pause for memory within an hour: our own models are what fills it."""
        now, before = self._clock(), self._critical_at
        self._critical_at = now
        if before is not None and now - before < _AGAIN_WITHIN and self._balancer is not None:
            self._balancer.ask_for_reduction(self._reduction + 1)

    def wait_while_paused(self, stop: StopRequest, ended: Callable[[], bool]) -> None:
        """Wait until answers may be asked again, a stop is asked for or `ended` says so."""
        while self.paused and not (stop.asked or ended()):
            stop.wait(_LOOK)
            self.follow()

    def reload_wanted(self) -> bool:
        """Take the next smaller way to load where the balancer asks for it.

        Returns whether the models have to be loaded again.
        """
        self.follow()
        if self._balancer is None or self._balancer.reduction <= self._reduction:
            return False
        return self.reduce_profiles("memory_tight")

    def reduce_profiles(self, reason: str, **detail: Any) -> bool:
        """Take the next smaller way to load; return False when there is none."""
        if self._reduction + 1 >= len(self._profiles):
            return False
        before = self.profile
        self._reduction += 1
        self._note(
            EventKind.RESOURCES_REDUCED,
            reason=reason,
            registered=self._registered,
            before=asdict(before),
            after=asdict(self.profile),
            level=self.level,
            **detail,
        )
        if self._balancer is not None:
            self._balancer.fit(
                most=self.profile.slots,
                reductions=len(self._profiles) - 1,
                reduction=self._reduction,
            )
        return True

    def finish(self) -> None:
        """Tell what came of the last step, however little time has passed."""
        self._observe(force=True)

    def _observe(self, *, force: bool = False) -> None:
        """Tell what came of the last step: after a minute, or when the next one ends its time."""
        if self._to_observe is None or self._balancer is None:
            return
        at, step, rate = self._to_observe
        passed = self._clock() - at
        sample = self._balancer.latest
        if sample is None or (passed < _OBSERVE_AFTER and not force):
            return
        self._to_observe = None
        self._note(
            EventKind.RESOURCES_OBSERVED,
            reason=step.reason,
            level=min(step.after, self.profile.slots),
            seconds=round(passed, 1),
            seen=seen(sample),
            tokens_per_second_before=rate,
            tokens_per_second=self._rate(since=at),
        )

    def _rate(self, since: float | None = None) -> float | None:
        """Tokens a second of the answers since then, or of the last minute; None without any."""
        now = self._clock()
        start = now - _RATE_OVER if since is None else since
        recent = [tokens for at, tokens in self._rates if at > start]
        return round(sum(recent) / (now - start), 1) if recent and now > start else None


def _tell(note: Note, step: Adjustment, before: int, after: int) -> None:
    note(
        EventKind.RESOURCES_ADJUSTED,
        reason=step.reason,
        before=before,
        after=after,
        reduction=step.reduction,
        seen=seen(step.sample),
    )


def tell_failures(balancer: ResourceBalancer, record: Callable[..., None]) -> None:
    """Record each reading that began to fail, once; it is tried again as long as the run lasts."""
    for what, why in balancer.take_failures().items():
        if what == "watch":
            record(EventKind.RESOURCES_UNWATCHED, message=why)
        else:
            record(EventKind.RESOURCES_UNREADABLE, what=what, why=why)


def seen(sample: ResourceSample) -> dict[str, Any]:
    """Return the quantities that a step rests on, those that are known."""
    names: tuple[str, ...] = (
        "memory",
        "pressure",
        "cpu",
        "cpu_own",
        "cpu_others",
        "gpu",
        "gpu_memory",
    )
    names += ("gpu_others", "temperature", "battery")
    found = {name: sample.metric(name) for name in names}
    known = {name: round(value, 4) for name, value in found.items() if value is not None}
    return known | ({"throttled": list(sample.throttled)} if sample.throttled else {})


def _longest(journal: Journal, max_tokens: int) -> int:
    """Return the tokens that the longest question can take, found once for a run.

    A start among a million answers must not read every question again.
    """
    for event in journal.events(EventKind.LONGEST_QUESTION):
        if event.data["max_tokens"] == max_tokens:
            return int(event.data["tokens"])
    tokens = longest_question(journal.samples(), max_tokens)
    journal.event(EventKind.LONGEST_QUESTION, tokens=tokens, max_tokens=max_tokens)
    return tokens
