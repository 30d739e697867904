"""The two methods of finding out a choice, measured against each other on the models of the run.

A chat server knows no log likelihood of a given text, so a choice is asked there as a question with
lettered options. How far that is the same choice is not assumed: the embedded engine can do both,
and does, on a sample.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, Status
from so8t.domain.measured import read_measured
from so8t.errors import EngineCrashed
from so8t.journal.columns import known
from so8t.journal.items import read_answers
from so8t.pipeline.register.register import request
from so8t.tasks.graders import grade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.config.schema import RunConfig
    from so8t.domain.sample import Sample
    from so8t.engines.protocol import Session
    from so8t.journal.store import Journal
    from so8t.pipeline.run.progress import StopRequest
    from so8t.verdict.checks import Floats


@dataclass(frozen=True, slots=True)
class _BothMethods:
    """One question as the two methods scored it."""

    position: int
    exact: float
    chat: float
    method: str


def is_measured(sample: Sample) -> bool:
    """Whether a sample asks for log likelihoods and not for an answer."""
    return sample.form is not None and bool(sample.form.continuations)


def compare_choice_methods(
    config: RunConfig,
    journal: Journal,
    session: Callable[[Arm], Session],
    stop: StopRequest,
) -> None:
    """Ask the first choices a second time by the other method, and record how both scored them.

    Once for each arm; a run that goes on does not do it again. Nothing of it enters the verdict.
    """
    done = {event.data["arm"] for event in journal.events(EventKind.CHOICE_METHODS_COMPARED)}
    for arm in Arm:
        if arm.value in done or not config.benchmark.choice_method_sample:
            continue
        chosen = {
            str(position): (position, sample, score)
            for position, sample, score in itertools.islice(
                _choices(journal, arm), config.benchmark.choice_method_sample
            )
        }
        if chosen:
            stop.check()
            _compare(config, journal, session, arm, chosen)


def _choices(journal: Journal, arm: Arm) -> Iterator[tuple[int, Sample, float]]:
    """Yield position, question and score of the choices that an arm has answered and that count."""
    count = journal.sample_count()
    scores: Floats | None = None
    for position in journal.formed_positions(0, count):
        if scores is None:
            scores = read_answers(journal.standings(arm), count).score
        score = known(scores[position])
        (sample,) = journal.samples(position, position + 1)
        if is_measured(sample) and sample.form and sample.form.choices and score is not None:
            yield position, sample, score


def _compare(
    config: RunConfig,
    journal: Journal,
    session: Callable[[Arm], Session],
    arm: Arm,
    chosen: dict[str, tuple[int, Sample, float]],
) -> None:
    asked = [
        replace(one, form=replace(one.form, continuations=()))
        for key, (_, sample, _) in chosen.items()
        if (one := request(sample, config, key)).form is not None
    ]
    pairs: list[_BothMethods] = []
    failed = 0
    try:
        for reply in session(arm).serve(asked):
            position, sample, exact = chosen[reply.key]
            score = None if reply.status is Status.FAILED else grade(sample, reply.text).value
            if score is None:
                failed += 1
                continue
            pairs.append(
                _BothMethods(position, exact, score, read_measured(reply.text).method.value)
            )
    except EngineCrashed as error:
        # The answers of the run are complete; without this figure the report says so.
        journal.event(EventKind.ENGINE_CRASHED, arm=arm.value, message=error.message, in_a_row=1)
        return
    pairs.sort(key=lambda one: one.position)
    journal.event(
        EventKind.CHOICE_METHODS_COMPARED,
        arm=arm.value,
        compared=len(pairs),
        failed=failed,
        agree=sum(one.exact == one.chat for one in pairs),
        exact=sum(one.exact for one in pairs),
        chat=sum(one.chat for one in pairs),
        constrained=sum(one.method == "constrained" for one in pairs),
        positions=[one.position for one in pairs],
    )
