"""A model as judge: each pair twice, each verdict committed, the same again after any stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_run import Listener, config, prepared_journal, registration, runner, samples

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, ServedModel
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.errors import ConfigError, EngineCrashed, Interrupted
from so8t.journal.evidence import gather
from so8t.pipeline.benchmark.llm_judge import LLMJudging, check_judge
from so8t.pipeline.run.progress import StopRequest

COUNT = 12
JUDGE = {"source": {"gguf": "judge.gguf"}}
ASKED = config(judge=JUDGE, benchmark={"noise_floor": 0, "reuse_baseline": False})


def questions():
    return [replace(s, grader={"type": "judge"}, reference=None) for s in samples(COUNT)]


def answered(tmp_path):
    """A journal in which A said "good" and B "bad" to everything."""
    journal = prepared_journal(tmp_path, ASKED, questions())
    engine = ScriptedEngine({Arm.A: lambda _: "good answer", Arm.B: lambda _: "bad answer"})
    runner(journal, engine, ASKED).run()
    assert gather(journal).group.missing == COUNT
    return journal


def judge(journal, say, *, faults=None, stop=None, listener=None):
    engine = ScriptedEngine(say, faults)
    LLMJudging(
        ASKED,
        journal,
        engine,
        ServedModel(Arm.A, "judge.gguf", "sha256:judge"),
        registration().profile,
        reporter=listener or Listener(),
        stop=stop or StopRequest(),
    ).run()
    return gather(journal)


def fair(request):
    text = request.messages[0].content
    return "Answer: 1" if text.index("good") < text.index("bad") else "Answer: 2"


def test_a_fair_judge_decides_and_asking_twice_changes_nothing(tmp_path):
    """Both orders agree, so the better arm scores 1 everywhere; nothing is judged again."""
    journal = answered(tmp_path)
    evidence = judge(journal, fair)
    assert {(p.score_a, p.score_b) for p in evidence.pairs} == {(1.0, 0.0)}
    assert evidence.overall.difference == -1.0
    assert len(journal.events(EventKind.JUDGEMENT)) == 2 * COUNT
    assert judge(journal, fair) == evidence
    assert len(journal.events(EventKind.JUDGEMENT)) == 2 * COUNT
    journal.verify()


@pytest.mark.parametrize(
    ("say", "scores", "missing"),
    [
        (lambda _: "Answer: 1", (0.5, 0.5), 0),
        (lambda _: "Answer: 0", (0.5, 0.5), 0),
        (lambda _: "hard to say", (None, None), COUNT),
    ],
    ids=["always the first", "always equal", "unreadable"],
)
def test_what_the_order_decides_is_a_tie_and_what_cannot_be_read_is_unscored(
    tmp_path, say, scores, missing
):
    """A judge that prefers a place and not an answer gives no model an advantage."""
    evidence = judge(answered(tmp_path), say)
    assert {(p.score_a, p.score_b) for p in evidence.pairs} == {scores}
    assert evidence.group.missing == missing


def test_a_stop_and_crashes_lose_no_judgement(tmp_path):
    """Interrupted, crashed and resumed, each pair has its two verdicts once and its scores."""
    journal = answered(tmp_path)
    stop = StopRequest()

    class Stopper(Listener):
        def progress(self, what, done, *_):
            if what == "judged" and done == 4:
                stop.ask(15)

    with pytest.raises(Interrupted):
        judge(journal, fair, stop=stop, listener=Stopper())
    before = len(journal.events(EventKind.JUDGEMENT))
    assert 8 <= before < 2 * COUNT
    with pytest.raises(EngineCrashed):
        judge(journal, fair, faults=Faults(crash_after=(1, 0, 0, 0)))
    evidence = judge(journal, fair, faults=Faults(crash_after=(2, 3)))
    keys = [(e.data["position"], e.data["first"]) for e in journal.events(EventKind.JUDGEMENT)]
    assert len(keys) == len(set(keys)) == 2 * COUNT
    assert {(p.score_a, p.score_b) for p in evidence.pairs} == {(1.0, 0.0)}


def test_equal_answers_are_not_put_before_the_judge(tmp_path):
    """Token-identical answers are a tie at no cost."""
    journal = prepared_journal(tmp_path, ASKED, questions())
    runner(journal, ScriptedEngine(lambda _: "same"), ASKED).run()
    evidence = judge(journal, fair)
    assert journal.events(EventKind.JUDGEMENT) == []
    assert {(p.score_a, p.score_b) for p in evidence.pairs} == {(0.5, 0.5)}


def test_questions_for_a_judge_need_one_and_a_run_that_asks_everything():
    """Without a judge, or with an early stop, the run is refused before it starts."""
    with pytest.raises(ConfigError, match="names none"):
        check_judge(config(), questions())
    with pytest.raises(ConfigError, match="stop early"):
        check_judge(config(judge=JUDGE, verdict={"stop": "early"}), questions())
    check_judge(ASKED, questions())
    check_judge(config(), samples(2))
