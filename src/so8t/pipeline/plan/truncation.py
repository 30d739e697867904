"""Will the token budget cut answers off? Said before the night, from what is known by then.

A truncated answer counts as not correct, so a budget that is too small measures itself. `plan`
looks at earlier runs and at the sizes of questions and context; a run that has begun measures it
on the answers of its noise floor, which come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import NOISE_FLOOR
from so8t.engines.registry import capabilities_of
from so8t.errors import JournalError
from so8t.journal.store import Journal
from so8t.pipeline.run.rundir import find_runs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from so8t.config.schema import RunConfig
    from so8t.domain.sample import Sample

#: Above this share of truncated answers a person is warned.
WARN_ABOVE = 0.02
# Text bytes a token, roughly: English has about 4, Japanese (3 bytes a character) less.
_BYTES_A_TOKEN = 4
_RUNS_READ = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """How many of some answers were truncated."""

    answers: int
    truncated: int

    @property
    def warns(self) -> bool:
        """Whether that is more than may be ignored."""
        return self.truncated > WARN_ABOVE * self.answers

    @property
    def share(self) -> float | None:
        """Share of the answers, None without any."""
        return self.truncated / self.answers if self.answers else None


def in_earlier_runs(config: RunConfig, samples: Iterable[Sample], runs: Path) -> Cut:
    """Count how the newest earlier runs below `runs` answered these questions within this budget.

    Whatever their models were: it is the budget and the questions that are judged here. A damaged
    run gives nothing.
    """
    earlier = find_runs(runs)[:_RUNS_READ]
    # Sixteen hexadecimal digits name a question well enough for a warning.
    wanted = {_short(sample.digest) for sample in samples} if earlier else set()
    answers = truncated = 0
    for directory in earlier:
        try:
            with Journal(directory, readonly=True) as journal:
                run = journal.run
                if run is None or _budget(run.config) != config.generation.max_tokens:
                    continue
                asked = {
                    position
                    for position, digest in enumerate(journal.sample_digests())
                    if _short(digest) in wanted
                }
                for arm in Arm if asked else ():
                    for standing in journal.standings(arm):
                        if standing.position in asked and standing.status is not Status.FAILED:
                            answers += 1
                            truncated += standing.status is Status.TRUNCATED
        except JournalError:
            continue
    return Cut(answers, truncated)


def _short(digest: str) -> int:
    return int(digest.removeprefix("sha256:")[:16], 16)


def _budget(config: dict[str, object]) -> object:
    generation = config.get("generation")
    return generation.get("max_tokens") if isinstance(generation, dict) else None


def in_noise_floor(journal: Journal, arm: Arm) -> Cut:
    """Count what was truncated among the first answers of a run, those of the noise floor."""
    given = [
        standing.status
        for standing in journal.standings(arm, NOISE_FLOOR)
        if standing.status is not Status.FAILED
    ]
    return Cut(len(given), given.count(Status.TRUNCATED))


def without_room(
    config: RunConfig, samples: Iterable[Sample], context: int | None = None
) -> list[str]:
    """Ids of questions that are, with what is to come behind them, longer than the context.

    Roughly: from the bytes of what is sent. `context` is what the models will be loaded with, in
    tokens, where it is known; it may be less than the config asks for.
    """
    room = config.engine.context if context is None else context
    return [sample.id for sample in samples if _tokens(config, sample) > room]


def _tokens(config: RunConfig, sample: Sample) -> float:
    """Estimate the tokens that a question takes in the context, its answer included."""
    form = sample.form
    if form is not None and capabilities_of(config.engine).continues_prompts:
        if form.continuations:
            # A text without a context is measured in windows, and always fits.
            behind = [one for one in form.continuations if one.context is not None]
            pairs = (len(f"{one.context}{one.text}".encode()) for one in behind)
            return max(pairs, default=0) / _BYTES_A_TOKEN
        sent = [form.prompt] if form.prompt is not None else _contents(sample)
    else:
        sent = _contents(sample)
    size = sum(len(text.encode()) for text in sent) / _BYTES_A_TOKEN
    return size + (sample.max_tokens or config.generation.max_tokens)


def _contents(sample: Sample) -> list[str]:
    return [message.content for message in sample.messages]
