"""The statistics of a comparison: order, strata, clusters, missing scores, runs that stopped."""

from __future__ import annotations

import pytest
from result_files import mcnemar, run, table

from so8t.domain.exchange import Arm
from so8t.errors import DataError
from so8t.journal.evidence import gather
from so8t.journal.store import Journal
from so8t.results.comparison import MOST_STRATA, compare
from so8t.results.detect import read_results
from so8t.verdict.settings import Ending, Outcome


def both(tmp_path, rows_a, rows_b, header="item,score"):
    """Read two tables."""
    return (
        read_results(str(table(tmp_path / "a.csv", rows_a, header))),
        read_results(str(table(tmp_path / "b.csv", rows_b, header))),
    )


def test_the_order_of_a_file_does_not_matter(tmp_path):
    """Any order of the lines gives the same verdict to the last bit, and there is no seed."""
    rows_a = [(n, 0.2 + (n % 7) / 10) for n in range(120)]
    rows_b = [(n, 0.3 + (n % 5) / 10) for n in range(120)]
    one = compare(*both(tmp_path, rows_a, rows_b))
    two = compare(*both(tmp_path, sorted(rows_a, key=lambda row: row[1]), rows_b[::-1]))
    assert one.overall == two.overall


@pytest.mark.parametrize("lost", [1, 3])
def test_one_look_at_the_end(tmp_path, lost):
    """Binary files are judged by the exact McNemar test at full alpha, missing pairs or not."""
    # 9 against 2 has p = 0.065; 10 against 2 has p = 0.039.
    for wins, expected in ((9, Outcome.UNDECIDED), (10, Outcome.B_BETTER)):
        rows_a, rows_b = mcnemar(wins, 2)
        gone = [(f"lost{n}", None) for n in range(lost)]
        found = compare(*both(tmp_path, rows_a + gone, rows_b + [(n, 1) for n, _ in gone]))
        assert found.overall.verdict.outcome is expected
        assert found.overall.verdict.items_dropped == lost


def test_missing_scores_that_could_turn_the_verdict(tmp_path):
    """When the missing scores could change the verdict, the comparison says so."""
    rows_a, rows_b = mcnemar(10, 2)
    gone = [(f"lost{n}", None) for n in range(4)]
    found = compare(*both(tmp_path, rows_a + gone, rows_b + [(n, 1) for n, _ in gone]))
    assert found.sensitivity is not None
    assert found.sensitivity.flips is False  # B's are known to be right: at worst A's are too
    found = compare(*both(tmp_path, rows_a + gone, rows_b + gone))
    assert found.sensitivity is not None
    assert found.sensitivity.worst.outcome is Outcome.UNDECIDED
    assert found.sensitivity.flips
    assert found.missing.matters


def test_strata_are_judged_together(tmp_path):
    """A difference in one of many strata must be large to be claimed (closed Holm)."""
    rows_a, rows_b = [], []
    for stratum in range(12):
        wins = 20 if stratum == 3 else 9 if stratum == 7 else 3
        for n in range(40):
            b = n < wins + 1 if stratum in (3, 7) else n % 13 < wins
            a = n in (0, 39) if stratum in (3, 7) else n % 13 < wins
            rows_a.append((f"{stratum}-{n}", int(a), f"s{stratum:02}"))
            rows_b.append((f"{stratum}-{n}", int(b), f"s{stratum:02}"))
    found = compare(*both(tmp_path, rows_a, rows_b, "item,score,Subject"))
    by_name = {stratum.name: stratum for stratum in found.strata}
    assert len(by_name) == 12
    assert {stratum.column for stratum in found.strata} == {"subject"}
    assert by_name["s03"].outcome is Outcome.B_BETTER
    # Alone it would be claimed; among twelve it is not.
    assert by_name["s07"].judged.verdict.p_value == pytest.approx(0.02148, abs=1e-4)
    assert by_name["s07"].judged.verdict.outcome is Outcome.B_BETTER
    assert by_name["s07"].outcome is Outcome.UNDECIDED
    assert by_name["s00"].judged.verdict.items_used == 40


def test_columns_that_are_no_strata(tmp_path):
    """A column that describes the answer, or has too many values, is left out and named."""
    count = MOST_STRATA + 1
    rows = [(n, n % 2, f"v{n}", n) for n in range(count)]
    other = [(n, n % 2, f"v{n}", n + 1) for n in range(count)]
    found = compare(*both(tmp_path, rows, other, "item,score,version,latency"))
    assert found.strata == ()
    assert [(note.kind, note.data["column"]) for note in found.notes if "column" in note.data] == [
        ("stratum_many", "version"),
        ("stratum_differs", "latency"),
    ]


def test_clusters_count_once(tmp_path):
    """Ten questions on each of few passages are not hundreds of independent items."""
    rows_a = [(n, 0, f"p{n // 10}") for n in range(60)]
    rows_b = [(n, int(n // 10 < 4), f"p{n // 10}") for n in range(60)]
    clustered = compare(*both(tmp_path, rows_a, rows_b, "item,score,cluster"))
    assert clustered.overall.verdict.outcome is Outcome.UNDECIDED
    assert clustered.overall.verdict.p_value is None
    assert clustered.overall.verdict.items_used == 60
    alone = compare(*both(tmp_path, rows_a, rows_b, "item,score,passage"))
    assert alone.overall.verdict.outcome is Outcome.B_BETTER


def test_a_run_against_itself_gives_its_own_verdict(tmp_path):
    """A against B of one run is the run's own verdict: same order, same looks, same settings."""
    path = run(tmp_path / "r", _wins, count=100, look_every=10, cluster=None)
    found = compare(read_results(f"{path}:a"), read_results(f"{path}:b"))
    with Journal(path, readonly=True) as journal:
        evidence = gather(journal)
    assert found.overall.verdict == evidence.overall
    assert found.settings.margin == 0.3
    assert {stratum.name: stratum.outcome for stratum in found.strata} == {
        group.name: group.claim for group in evidence.categories
    }


def test_a_run_with_passages(tmp_path):
    """The same holds for a run whose questions share passages and whose answers partly failed."""
    path = run(
        tmp_path / "r",
        lambda arm, n: None if n in (3, 30) and arm is Arm.A else _wins(arm, n),
        count=60,
        cluster=5,
    )
    found = compare(read_results(f"{path}:a"), read_results(f"{path}:b"))
    with Journal(path, readonly=True) as journal:
        evidence = gather(journal)
    assert found.overall.verdict == evidence.overall
    assert (found.missing_a, found.missing_b) == (2, 0)


def test_a_run_that_stopped_early(tmp_path):
    """Of runs that stopped early only the prefix counts, at the price of their looks."""
    one = run(tmp_path / "one", lambda *_: 0.0, count=100, asked=60)
    two = run(tmp_path / "two", lambda _, n: float(n % 9 == 0), count=100)
    found = compare(read_results(str(one)), read_results(str(two)))
    verdict = found.overall.verdict
    assert (verdict.items_used, verdict.items_total) == (60, 100)
    assert verdict.ending is not Ending.EXHAUSTED
    assert found.not_asked == 40
    assert found.settings.look_every == 10
    assert [note.kind for note in found.notes] == ["stopped_early"]
    mirrored = compare(read_results(str(two)), read_results(str(one)))
    assert mirrored.overall.verdict.items_used == 60


def test_the_same_model_twice(tmp_path):
    """The same arm of one run twice is refused with the command that was probably meant."""
    path = run(tmp_path / "r", _wins, count=20)
    with pytest.raises(DataError) as caught:
        compare(read_results(str(path)), read_results(f"{path}:b"))
    assert f"{path}:a {path}:b" in (caught.value.hint or "")


def _wins(arm: Arm, number: int) -> float:
    return float(number % 3 == 0 or (arm is Arm.B and number % 4 == 0))
