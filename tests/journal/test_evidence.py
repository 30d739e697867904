"""What is missing is dropped, what is truncated is wrong, what is behind a gap does not count."""

from __future__ import annotations

import pytest
from journals import VERDICT, Clock, graded, sample, small_journal

from so8t.domain.exchange import Arm, Status
from so8t.domain.plan import interleave
from so8t.domain.sample import CUT_OFF, Score
from so8t.errors import JournalError
from so8t.journal.evidence import gather
from so8t.journal.store import Journal
from so8t.verdict.settings import Ending, Outcome


def answer(journal, rows):
    """Record (position, score of A, score of B); a score may be a dict of `graded`'s arguments."""
    digest = journal.settings({"m": 1})
    for position, *scores in rows:
        for arm, score in zip(Arm, scores, strict=True):
            given = score if isinstance(score, dict) else {"value": score}
            journal.record([graded(arm, position, **given, settings=digest)])


def test_b_better_when_it_learnt_something(tmp_path):
    """Twenty questions that only B gets right are enough, and the means are over the pairs."""
    with small_journal(tmp_path, [sample(n) for n in range(20)]) as journal:
        answer(journal, [(n, 0.0, 1.0) for n in range(20)])
        evidence = gather(journal)
    assert evidence.overall.outcome is Outcome.B_BETTER
    assert (evidence.group.mean_a, evidence.group.mean_b) == (0.0, 1.0)
    assert (evidence.overall.discordant.b_only, evidence.overall.discordant.a_only) == (20, 0)


def test_equal_answers_are_no_evidence(tmp_path):
    """Without a discordant pair nothing is claimed."""
    with small_journal(tmp_path, [sample(n) for n in range(20)]) as journal:
        answer(journal, [(n, 1.0, 1.0) for n in range(20)])
        assert gather(journal).overall.outcome is Outcome.UNDECIDED


def test_only_the_completed_prefix_counts(tmp_path):
    """Answers behind an open question wait until it is closed."""
    with small_journal(tmp_path, [sample(n) for n in range(20)]) as journal:
        answer(journal, [(n, 0.0, 1.0) for n in range(20) if n != 3])
        evidence = gather(journal)
        assert evidence.overall.items_used == 3
        assert [pair.position for pair in evidence.pairs] == [0, 1, 2]
        assert evidence.coverage[Arm.A].open == 1
        answer(journal, [(3, 1.0, 1.0)])
        assert gather(journal).overall.items_used == 20


def test_an_outage_is_not_a_wrong_answer(tmp_path):
    """A failed or unscored answer drops the pair; it is counted, and never scored zero."""
    failed = {"value": None, "status": Status.FAILED, "reason": "reset"}
    unscored = {"score": Score.unscored("grader broke")}
    with small_journal(tmp_path, [sample(n) for n in range(10)]) as journal:
        answer(journal, [(n, 1.0, 1.0) for n in range(8)])
        answer(journal, [(8, 1.0, failed), (9, unscored, 0.0)])
        evidence = gather(journal)
    assert (evidence.group.pairs, evidence.group.missing) == (8, 2)
    assert evidence.overall.difference == 0.0
    assert evidence.coverage[Arm.B].failed == 1
    assert evidence.coverage[Arm.A].unscored == 1
    assert set(evidence.sensitivity.outcomes) == {
        "missing_best_for_b",
        "missing_worst_for_b",
        "missing_plausible",
    }


def test_a_truncated_answer_is_not_correct_and_is_shown_both_ways(tmp_path):
    """What it had not settled counts 0, and the verdict that would flip is flagged."""
    cut = {"score": Score.invalid(CUT_OFF), "status": Status.TRUNCATED}
    with small_journal(tmp_path, [sample(n) for n in range(20)]) as journal:
        answer(journal, [(n, 0.0, cut) for n in range(20)])
        evidence = gather(journal)
    assert evidence.group.mean_b == 0.0
    assert evidence.coverage[Arm.B].truncated == 20
    assert evidence.sensitivity.outcomes == {
        "truncated_best_for_b": "b_better",
        "truncated_worst_for_b": "undecided",
    }
    assert evidence.sensitivity.differences == {
        "truncated_best_for_b": 1.0,
        "truncated_worst_for_b": 0.0,
    }
    assert evidence.sensitivity.flips == ("truncated_best_for_b",)


def test_a_truncated_answer_that_had_settled_its_answer_counts_as_what_it_is(tmp_path):
    """Its end could change nothing, so no other reading is shown; the count stays."""
    cut = {"score": Score.number(1.0), "status": Status.TRUNCATED}
    with small_journal(tmp_path, [sample(n) for n in range(20)]) as journal:
        answer(journal, [(n, 0.0, cut) for n in range(20)])
        evidence = gather(journal)
    assert evidence.group.mean_b == 1.0
    assert evidence.coverage[Arm.B].truncated == 20
    assert evidence.sensitivity.outcomes == {}


def test_categories_and_tasks_are_judged_by_themselves(tmp_path):
    """Each category and each task has its own paired result and its own total."""
    samples = [
        sample(n, category="math" if n % 2 else "logic", task="x" if n < 20 else "y")
        for n in range(40)
    ]
    with small_journal(tmp_path, samples) as journal:
        answer(journal, [(n, 0.0, float(n % 2)) for n in range(40)])
        evidence = gather(journal)
    by_name = {group.name: group for group in evidence.categories}
    assert by_name["math"].verdict.outcome is Outcome.B_BETTER
    assert by_name["logic"].verdict.outcome is Outcome.UNDECIDED
    assert [group.verdict.items_total for group in evidence.tasks] == [20, 20]


def test_questions_on_one_passage_are_one_cluster(tmp_path):
    """Clusters are judged by their sums; a dropped pair leaves its cluster smaller."""
    samples = [sample(n, cluster=None if n < 2 else str(n // 4)) for n in range(40)]
    failed = {"value": None, "status": Status.FAILED}
    with small_journal(tmp_path, samples) as journal:
        answer(journal, [(n, 0.0, failed if n == 9 else 1.0) for n in range(40)])
        evidence = gather(journal)
    assert evidence.overall.p_value is None
    assert evidence.overall.items_used == 39
    assert evidence.overall.outcome is Outcome.B_BETTER


def test_graded_scores_are_judged_by_betting(tmp_path):
    """Scores between 0 and 1 need no table of pairs."""
    with small_journal(tmp_path, [sample(n) for n in range(60)], binary=False) as journal:
        answer(journal, [(n, 0.25, 0.75) for n in range(60)])
        evidence = gather(journal)
    assert evidence.overall.outcome is Outcome.B_BETTER
    assert evidence.overall.discordant is None


def test_the_noise_floor_is_each_models_own_flip_rate(tmp_path):
    """Texts and scores that differ between two answers of one model are counted."""
    with small_journal(tmp_path, [sample(n) for n in range(4)]) as journal:
        answer(journal, [(n, 1.0, 1.0) for n in range(4)])
        digest = journal.settings({"m": 1})
        for position, value, text in ((0, 1.0, "answer 1.0"), (1, 0.0, "other"), (2, 1.0, "new")):
            journal.record([graded(Arm.A, position, value, text=text, repeat=1, settings=digest)])
        journal.record([graded(Arm.B, 0, None, status=Status.FAILED, repeat=1, settings=digest)])
        evidence = gather(journal)
    floor = evidence.noise_floor[Arm.A]
    assert (floor.pairs, floor.text_flips, floor.score_flips) == (3, 2, 1)
    assert evidence.noise_floor[Arm.B].pairs == 0


def test_nothing_asked_is_undecided(tmp_path):
    """A plan without answers has no difference, no interval, and no exception."""
    with small_journal(tmp_path, [sample(n) for n in range(4)]) as journal:
        evidence = gather(journal)
    assert (evidence.overall.outcome, evidence.overall.ending) == (
        Outcome.UNDECIDED,
        Ending.ONGOING,
    )
    assert evidence.overall.difference is None
    assert evidence.group.mean_a is None


def test_a_failed_first_answer_is_no_noise_pair(tmp_path):
    """Only two answers make a pair."""
    failed = {"value": None, "status": Status.FAILED}
    with small_journal(tmp_path, [sample(n) for n in range(2)]) as journal:
        answer(journal, [(0, failed, 1.0), (1, 1.0, 1.0)])
        digest = journal.settings({"m": 1})
        journal.record([graded(Arm.A, 0, repeat=1, settings=digest)])
        assert gather(journal).noise_floor[Arm.A].pairs == 0


def test_without_a_frozen_plan_nothing_is_judged(tmp_path):
    """A run that has not planned yet has no verdict, and says so."""
    with Journal(tmp_path, now=Clock()) as journal:
        journal.create_run("x", {"verdict": VERDICT}, "0")
        with pytest.raises(JournalError, match="no frozen plan"):
            gather(journal)


def test_looks_fall_on_block_ends(tmp_path):
    """With blocks of ten, fifteen completed pairs count as ten."""
    with small_journal(tmp_path, [sample(n) for n in range(20)], look_every=10) as journal:
        answer(journal, [(n, 0.0, 1.0) for n in range(15)])
        assert gather(journal).overall.items_used == 10


def test_a_macro_average_weighs_every_task_alike(tmp_path):
    """Blocks of one item of each task are the units; what is beyond them counts for its task."""
    small = [sample(n, task="small") for n in range(15)]
    samples = [*(sample(n, task="large") for n in range(60)), *small]
    numbers, blocks = interleave(one.task for one in samples)
    order = [samples[n] for n in numbers]
    assert blocks == 15
    journal = small_journal(tmp_path, order, macro_blocks=blocks, average="macro")
    with journal:
        scores = {"small": (0.0, 1.0), "large": (1.0, 1.0)}
        answer(journal, [(n, *scores[s.task]) for n, s in enumerate(order)])
        evidence = gather(journal)
    assert evidence.average == "macro"
    assert evidence.overall.items_total == 30
    assert evidence.overall.difference == 0.5
    assert {g.name: g.pairs for g in evidence.tasks} == {"small": 15, "large": 60}


def test_exploratory_groups_are_listed_by_themselves(tmp_path):
    """What is only looked through is claimed by e-BH, and takes nothing from the others."""
    names = ["noise", "find", "main"]
    samples = [sample(n, category=names[n % 3]) for n in range(60)]
    with small_journal(tmp_path, samples, exploratory=["noise", "find"]) as journal:
        gains = {"noise": 0.0, "find": 1.0, "main": 1.0}
        answer(journal, [(n, 0.0, gains[names[n % 3]]) for n in range(60)])
        evidence = gather(journal)
    claims = {group.name: group.claim for group in evidence.categories}
    assert claims == {
        "noise": Outcome.UNDECIDED,
        "find": Outcome.B_BETTER,
        "main": Outcome.B_BETTER,
    }


def test_the_result_among_well_formed_answers_is_shown_beside(tmp_path):
    """An answer in the wrong form is wrong in the verdict; what the others say is shown, too."""
    with small_journal(tmp_path, [sample(n) for n in range(40)]) as journal:
        invalid = {"score": Score.invalid("no choice recognised")}
        answer(journal, [(n, invalid if n < 20 else 1.0, 1.0) for n in range(40)])
        evidence = gather(journal)
    assert evidence.overall.outcome is Outcome.B_BETTER
    assert evidence.sensitivity.outcomes == {"well_formed_only": "undecided"}
    assert evidence.sensitivity.flips == ()
