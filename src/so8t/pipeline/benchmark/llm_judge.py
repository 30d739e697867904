"""A model as judge, after both arms have answered: every verdict a row, so that it can go on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from so8t.domain.canonical import digest_of
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, Decoding, EngineRequest, Status
from so8t.domain.plan import repeats
from so8t.domain.sample import Score
from so8t.errors import ConfigError, EngineCrashed
from so8t.journal.evidence import repeats_of
from so8t.tasks.graders import grader_digest
from so8t.tasks.graders.llm_judge import judge_messages, paired_score, side_of, without_a_judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import EngineReply, LoadProfile, ServedModel
    from so8t.domain.sample import Sample
    from so8t.engines.protocol import Engine
    from so8t.journal.rows import AnswerRecord
    from so8t.journal.store import Journal
    from so8t.pipeline.run.progress import Reporter, StopRequest

_CRASHES = 3
_Place = tuple[int, int]  # position, repeat


def needs_judge(samples: Iterable[Sample]) -> bool:
    """Whether any question is graded by a judge."""
    return any(sample.grader.get("type") == "judge" for sample in samples)


def check_judge(config: RunConfig, samples: Iterable[Sample]) -> None:
    """Refuse questions for a judge where the config has none, or stops before it is asked.

    Raises ConfigError.
    """
    if not needs_judge(samples):
        return
    if config.judge is None:
        raise ConfigError(
            "questions are graded by a judge, and the config names none.",
            hint="add `judge: {source: {gguf: FILE}}`",
        )
    if config.verdict.stop == "early":
        raise ConfigError(
            "a judge is asked when both models have answered everything, so a run with one cannot "
            "stop early.",
            hint="set `verdict.stop: full`",
        )


class LLMJudging:
    """Asks the judge for each pair twice, with the order of the answers swapped."""

    def __init__(
        self,
        config: RunConfig,
        journal: Journal,
        engine: Engine,
        model: ServedModel,
        profile: LoadProfile,
        *,
        reporter: Reporter,
        stop: StopRequest,
    ) -> None:
        self._journal, self._engine = journal, engine
        self._model, self._profile = model, profile
        self._reporter, self._stop = reporter, stop
        self._decoding = Decoding(
            max_tokens=config.judge.max_tokens if config.judge else 1, seed=config.seed
        )
        self._settings = journal.settings(
            {
                "judge": asdict(model) | {"location": None, "arm": None},
                "engine": asdict(engine.info),
                "profile": asdict(profile),
                "decoding": asdict(self._decoding),
            }
        )
        self._said: dict[tuple[int, int, str, str], str | None] = {}

    def run(self) -> None:
        """Judge what both arms answered and nobody judged yet; the same call again goes on.

        Raises Interrupted on a stop request, EngineCrashed when the judge crashes again and again.
        """
        for event in self._journal.events(EventKind.JUDGEMENT):
            data = event.data
            if data["settings"] == self._settings:
                key = (data["position"], data["repeat"], data["first"], data["pair"])
                self._said[key] = data["text"]
        pairs = dict(self._open_pairs())
        done = 0
        for place, pair in list(pairs.items()):
            if self._settle(place, *pair):
                del pairs[place]
        total = len(pairs)
        crashes = 0
        while pairs:
            self._stop.check()
            known = len(self._said)
            try:
                with self._engine.open(self._model, self._profile) as session:
                    for reply in session.serve(self._questions(pairs)):
                        place = self._record(reply, pairs)
                        if self._settle(place, *pairs[place]):
                            del pairs[place]
                            done += 1
                            self._reporter.progress("judged", done, total)
            except EngineCrashed:
                crashes = 1 if len(self._said) > known else crashes + 1
                if crashes >= _CRASHES:
                    raise

    def _open_pairs(self) -> Iterator[tuple[_Place, tuple[Sample, AnswerRecord, AnswerRecord]]]:
        """Yield the pairs for the judge that have both answers and not yet their scores."""
        wanted = {
            position: sample
            for position, sample in enumerate(self._journal.samples())
            if sample.grader.get("type") == "judge"
        }
        for repeat in repeats(repeats_of(self._journal)) if wanted else ():
            answers = {
                arm: {
                    answer.position: answer
                    for answer in self._journal.answers(arm, repeat=repeat)
                    if answer.position in wanted and answer.reply.status is not Status.FAILED
                }
                for arm in Arm
            }
            a, b = answers[Arm.A], answers[Arm.B]
            for position, sample in wanted.items():
                if position in a and position in b:
                    rules = self._rules(sample, a[position], b[position])
                    if not a[position].grader == b[position].grader == rules:
                        yield (position, repeat), (sample, a[position], b[position])

    def _rules(self, sample: Sample, a: AnswerRecord, b: AnswerRecord) -> str:
        """Digest of grader, judge, and of the very pair that was judged."""
        return digest_of([grader_digest(sample.grader), self._settings, _pair(a, b)])

    def _questions(
        self, pairs: dict[_Place, tuple[Sample, AnswerRecord, AnswerRecord]]
    ) -> Iterator[EngineRequest]:
        for (position, repeat), (sample, a, b) in list(pairs.items()):
            for first in Arm:
                if self._stop.asked:
                    return
                if (position, repeat, first.value, _pair(a, b)) in self._said:
                    continue
                one, two = (a, b) if first is Arm.A else (b, a)
                yield EngineRequest(
                    f"{position}/{repeat}/{first.value}",
                    judge_messages(sample, one.reply.text, two.reply.text),
                    self._decoding,
                )

    def _record(
        self,
        reply: EngineReply,
        pairs: dict[_Place, tuple[Sample, AnswerRecord, AnswerRecord]],
    ) -> _Place:
        position, repeat, first = reply.key.split("/")
        place = int(position), int(repeat)
        _, a, b = pairs[place]
        text = None if reply.status is Status.FAILED else reply.text
        self._journal.event(
            EventKind.JUDGEMENT,
            position=place[0],
            repeat=place[1],
            first=first,
            pair=_pair(a, b),
            settings=self._settings,
            status=reply.status.value,
            text=text,
            seconds=reply.seconds,
        )
        self._said[(*place, first, _pair(a, b))] = text
        return place

    def _settle(self, place: _Place, sample: Sample, a: AnswerRecord, b: AnswerRecord) -> bool:
        """Record the scores of a pair that needs no (further) word of the judge."""
        scores = without_a_judge(a.reply.text, b.reply.text)
        reason = "no judge needed"
        if scores is None:
            keys = [(*place, first.value, _pair(a, b)) for first in Arm]
            if not all(key in self._said for key in keys):
                return False
            words = [self._said[key] for key in keys]
            sides = [None if word is None else side_of(word, sample.language) for word in words]
            scores = paired_score(*sides)
            reason = f"judge: A shown first: {sides[0]}, B shown first: {sides[1]}"
        rules = self._rules(sample, a, b)
        graded = [Score.unscored(reason)] * 2 if scores is None else [
            Score.number(score, reason) for score in scores
        ]  # fmt: skip
        self._journal.record_scores(
            [(answer.seq, rules, score) for answer, score in zip((a, b), graded, strict=True)]
        )
        return True


def _pair(a: AnswerRecord, b: AnswerRecord) -> str:
    return digest_of([a.reply.text, b.reply.text])
