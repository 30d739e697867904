"""One state, one page: no sentence of a report contradicts a table of it, whatever happened."""

from __future__ import annotations

import random
import re

import pytest
from build import START, clock

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm, EngineReply, Message, Status
from so8t.domain.plan import Phase
from so8t.domain.sample import CUT_OFF, Origin, Sample, Score
from so8t.journal.evidence import freeze
from so8t.journal.rows import GradedReply
from so8t.journal.store import Journal, request_key
from so8t.report.figures import evidence_context
from so8t.report.html import render
from so8t.report.query import load_view
from so8t.report.text import MINUS, Text
from so8t.report.view import RunState
from so8t.report.words import command_words, names, verdict_sentence, view_words
from so8t.verdict.settings import Ending, Outcome

ENDS = ("not_begun", "running", "stopped", "deadline", "complete")
NOTHING = {"en": "nothing to compare", "ja": "比較できる"}
NOT_ASKED = {"en": "No question has been asked", "ja": "まだ質問を始めていません"}
ALL_USED = {"en": r"All ([\d,]+) items were used\.", "ja": r"全([\d,]+)問を使いました。"}


def random_journal(directory, seed: int) -> str:
    """Write the journal of a run that went as the seed says; return how it ended."""
    chance = random.Random(seed)
    end = ENDS[seed % len(ENDS)]
    count = chance.choice([1, 2, 7, 24, 60, 90])
    asked = {"not_begun": 0, "complete": count}.get(end, chance.randint(0, count))
    graded, clustered = chance.random() < 0.3, chance.random() < 0.2
    verdict = {
        "margin": chance.choice([None, 0.05, 0.2, 0.4]),
        "scope": chance.choice(["population", "population", "benchmark"]),
        "stop": "full",
        "deadline": "07:00" if end == "deadline" else None,
    }
    config = RunConfig.model_validate(
        {
            "name": "random",
            "a": {"label": "A", "source": {"hf": "m/a"}},
            "b": {"label": "B", "source": {"hf": "m/b"}},
            "benchmark": {"suites": ["suite.jsonl"]},
            "verdict": verdict,
        }
    ).model_dump(mode="json")
    samples = [
        Sample(
            f"t{n % 2}/{n}", f"t{n % 2}", Origin.SUITE, f"c{n % 3}", "en",
            (Message("user", f"question {n}"),), {"type": "exact"}, "yes",
            cluster=f"p{n // 3}" if clustered else None,
        )
        for n in range(count)
    ]  # fmt: skip
    skill = {Arm.A: chance.random(), Arm.B: chance.random()}
    alike = chance.random() < 0.3
    trouble = chance.choice([0.0, 0.0, 0.03, 0.3])
    with Journal(directory, now=clock()) as journal:
        journal.create_run("random", config, "0.1.0")
        journal.event("session_started", pid=1, host="h", version="0.1.0")
        journal.freeze(samples)
        freeze(journal, binary=not graded, look_every=chance.choice([1, 1, 5, 30]))
        if end == "not_begun":
            return end
        journal.phase_step(Phase.BENCHMARK, 1, "started", "in", {})
        settings = {arm: journal.settings({"arm": arm.value}) for arm in Arm}
        rows = []
        for n in range(asked):
            luck = chance.random()
            for arm in Arm:
                right = luck < skill[Arm.A if alike else arm]
                value = float(right) if not graded else round(chance.random() * (1 + right) / 2, 2)
                rows.append(_answer(arm, n, settings[arm], value, chance, trouble))
        journal.record(rows)
        if end in ("deadline", "complete"):
            if end == "deadline":
                journal.event("deadline_reached", deadline="07:00")
            journal.phase_step(Phase.BENCHMARK, 1, "done", "in", {"phase_seconds": 1.0})
        if end != "running":
            how = "Interrupted" if end == "stopped" else "finished"
            journal.event("session_ended", how=how)
    return end


def _answer(arm, position, settings, value, chance, trouble) -> GradedReply:
    status, score, reason = Status.COMPLETED, Score.number(value), None
    # One arm is hit more often than the other, as by a token limit.
    if chance.random() < trouble * (1.0 if arm is Arm.B else 0.2):
        kind = chance.choice(["failed", "truncated", "unscored"])
        if kind == "failed":
            status, score, reason = Status.FAILED, None, "timed out"
        elif kind == "truncated":
            status, score = Status.TRUNCATED, Score.invalid(CUT_OFF)
        else:
            score = Score.unscored("the grader broke")
    text = "" if status is Status.FAILED else "said"
    reply = EngineReply(request_key(arm, position, 0), status, text, reason, 7, 3, 0.5)
    return GradedReply(arm, position, 0, reply, settings, score, "g" if score else None)


def figures_in(words: str) -> list[float]:
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\.\d", words)]


def check(view, language: str) -> None:
    """Hold every sentence of a page against its tables."""
    text = Text(language)
    who = names(view.label_a, view.label_b, text)
    words, state = view_words(view, text), view.standing.state
    evidence = view.evidence
    page, spoken = render(view, text), verdict_sentence(view, text)
    said = " ".join((words.headline, words.sentence(text), words.beside, *words.following))
    overall = evidence.overall
    tables = evidence_context(view, text, who)
    _check_claims(view, words, tables, text)
    _check_banners(view, page, spoken, text)
    rows = [tables["overall"], *tables["category_rows"][1:], *tables["task_rows"][1:]]

    # What is in a table is not denied, and what is denied is in no table.
    if any(row.used for row in rows):
        assert NOTHING[language] not in said
        assert NOT_ASKED[language] not in said
    if NOT_ASKED[language] in said:
        assert state is RunState.NOT_BEGUN
        assert not any(row.used for row in rows)
    assert tables["overall"].used == overall.items_used
    for whole in re.findall(ALL_USED[language], said):
        assert int(whole.replace(",", "")) == overall.items_used == overall.items_total
    dropped, difference = overall.items_dropped, overall.difference
    # What is missing is told where the claim is withdrawn, and only then.
    if overall.missing_could_turn:
        assert dropped
        assert text("warning.missing_could_turn") in page
        assert text("outcome.undecided") in page or overall.outcome is Outcome.NON_INFERIOR
    if text("sensitivity.none") in page:
        assert not dropped
    if difference is not None and abs(difference) >= 0.0005:
        sign = "+" if difference > 0 else MINUS
        assert tables["overall"].difference == f"{sign}{abs(difference) * 100:.1f}"
        assert figures_in(words.finding)[0] == pytest.approx(abs(difference) * 100, abs=0.0501)


def _check_claims(view, words, tables, text) -> None:
    """Hold the headline, the word above it, the line of the table and the interval together."""
    overall = view.evidence.overall
    who = names(view.label_a, view.label_b, text)
    said = " ".join((words.headline, words.sentence(text)))
    # The headline, the word above it, and the line of the table are one reading.
    claims = {
        outcome: text(f"headline.{outcome.value}", where=text(f"where.{overall.settings.scope}"),
                      a=who.a, b=who.b, margin=text.points(overall.settings.margin or 0.0))
        for outcome in Outcome
    }  # fmt: skip
    for outcome, claim in claims.items():
        if outcome is not Outcome.UNDECIDED and claim in words.headline:
            assert overall.outcome is outcome
            assert tables["overall"].reading == text(f"outcome.{outcome.value}")
    if overall.outcome in (Outcome.A_BETTER, Outcome.B_BETTER):
        low, high = overall.interval
        assert low >= 0.0 if overall.outcome is Outcome.B_BETTER else high <= 0.0
        assert claims[overall.outcome] in words.headline
    elif overall.interval is not None and overall.settings.scope.value == "population":
        directed = {claim for claim, _ in overall.claims} & {Outcome.A_BETTER, Outcome.B_BETTER}
        told = not overall.interval[0] <= 0.0 <= overall.interval[1]
        if told:  # the looks have not decided what one look at the end would have, and it is said
            aside = overall.fixed is not None and overall.fixed.claims[0] is not overall.outcome
            assert directed or (aside and words.beside)
    _check_end(overall, view.standing, said, words, text)


def _check_end(overall, standing, said, words, text) -> None:
    """Hold that what is over is not said to go on, and that a margin's interval proves it."""
    state = standing.state
    if state in (RunState.COMPLETE, RunState.DEADLINE):
        for key in ("headline.ongoing", "conclusion.ongoing"):
            assert text(key) not in said
    if overall.ending is Ending.ONGOING and state is RunState.COMPLETE:
        assert standing.pairs < standing.planned or not overall.items_used

    # The interval that a claim of the margin names proves it.
    margin = overall.settings.margin
    if overall.outcome is Outcome.EQUIVALENT:
        assert all(figure <= margin * 100 + 0.05 for figure in figures_in(words.finding))
    if overall.outcome is Outcome.NON_INFERIOR:
        assert overall.margin_interval[0] >= -margin


def _check_banners(view, page, spoken, text) -> None:
    """Hold that each banner stands where its state is, and nowhere else."""
    state = view.standing.state
    assert (text("partial.title") in page) == (state not in (RunState.COMPLETE, RunState.DEADLINE))
    assert (text("deadline.title") in page) == (state is RunState.DEADLINE)
    assert (text("deadline.short") in spoken) == (state is RunState.DEADLINE)
    commands = command_words(view, text)
    assert any("verdict.deadline" in line for line in commands) == (state is RunState.DEADLINE)


def hold(directory, seeds) -> None:
    seen, failed = set(), []
    for seed in seeds:
        end = random_journal(directory / str(seed), seed)
        with Journal(directory / str(seed), readonly=True) as journal:
            view = load_view(journal)
        seen.add((end, view.standing.state.value))
        for language in ("en", "ja"):
            try:
                check(view, language)
            except AssertionError as error:
                failed.append(f"seed {seed}, {end}, {language}: {error}")
    assert not failed, "\n".join(failed[:5])
    assert {state for _, state in seen} == set(ENDS)


@pytest.mark.slow
def test_no_sentence_contradicts_a_table(tmp_path):
    """Random runs in every state and both languages: words, banners and tables say one thing."""
    hold(tmp_path, range(15))


@pytest.mark.slow
def test_no_sentence_contradicts_a_table_in_many_runs(tmp_path):
    """The same for many more runs."""
    hold(tmp_path, range(15, 215))


def test_a_run_ended_by_its_deadline_before_the_first_look(tmp_path):
    """Pairs that are there are told, with when they would have been looked at."""
    with Journal(tmp_path, now=clock()) as journal:
        config = RunConfig.model_validate(
            {
                "name": "early",
                "a": {"source": {"hf": "m/a"}},
                "b": {"source": {"hf": "m/b"}},
                "benchmark": {"suites": ["s.jsonl"]},
                "verdict": {"deadline": "07:00"},
            }
        )
        journal.create_run("early", config.model_dump(mode="json"), "0.1.0")
        journal.freeze(
            [
                Sample(f"t/{n}", "t", Origin.SUITE, "c", "en", (Message("user", "?"),),
                       {"type": "exact"}, "yes")
                for n in range(100)
            ]
        )  # fmt: skip
        freeze(journal, binary=True, look_every=50)
        journal.phase_step(Phase.BENCHMARK, 1, "started", "in", {})
        chance = random.Random(0)
        settings = journal.settings({"x": 1})
        journal.record(
            [_answer(arm, n, settings, 1.0, chance, 0.0) for n in range(14) for arm in Arm]
        )
        journal.event("deadline_reached", deadline="07:00")
        journal.phase_step(Phase.BENCHMARK, 1, "done", "in", {"phase_seconds": 1.0})
    assert START.year == 2026
    with Journal(tmp_path, readonly=True) as journal:
        view = load_view(journal)
    said = verdict_sentence(view, Text("en"))
    assert view.standing.state is RunState.DEADLINE
    assert "14 questions have a score from both models" in said
    assert "nothing to compare" not in said
    assert "--set verdict.deadline=" in said
    assert "14 of 100 questions" in render(view, Text("en"))
