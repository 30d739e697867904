"""Each reader gives what its format means, and says where a file is wrong."""

from __future__ import annotations

import json
import math
import zipfile

import pytest
from result_files import (
    inspect_eval,
    inspect_header,
    inspect_sample,
    jsonl,
    lm_line,
    review,
    run,
    table,
)

from so8t.domain.exchange import Arm
from so8t.errors import DataError
from so8t.results.detect import read_results
from so8t.results.match import match
from so8t.results.metrics import select
from so8t.results.table import Columns


def scores(results, metric=None, filter_=None):
    """Give {id: score} of a source by the metric that counts."""
    chosen, _ = select(results, results, metric, filter_)
    return {item.id: chosen.score(item) for item in results.items}


# --- tables ------------------------------------------------------------------------------------


def test_csv_as_excel_writes_it(tmp_path):
    """A byte order mark, CRLF, semicolons, quotes and spaces around names are understood."""
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffItem ; Score\r\n"a;1";1\r\n\r\nb; 0.5 \r\nc;\r\nd;TRUE\r\n'.encode())
    assert scores(read_results(str(path))) == {"a;1": 1.0, "b": 0.5, "c": None, "d": 1.0}


def test_json_tables(tmp_path):
    """JSONL and a JSON list say the same; null and empty are missing, other columns strata."""
    rows = [
        {"id": 1, "score": True, "subject": "law", "passed": True},
        {"id": 2, "score": None, "subject": "art", "passed": None},
        {"id": 3, "score": "", "tags": ["x"]},
    ]
    lines = read_results(str(jsonl(tmp_path / "a.jsonl", rows)))
    document = tmp_path / "a.json"
    document.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    for found in (lines, read_results(str(document))):
        assert scores(found) == {"1": 1.0, "2": None, "3": None}
        assert [item.strata for item in found.items] == [
            {"subject": "law", "passed": "true"},
            {"subject": "art"},
            {},
        ]


def test_a_column_by_name(tmp_path):
    """--metric names the column of a table that holds the score; the other is no stratum."""
    path = table(tmp_path / "a.csv", [("x", 1, 0.25), ("y", 0, 0.75)], "item,score,F1")
    found = read_results(str(path), Columns(metric="f1"))
    assert scores(found, "score") == {"x": 0.25, "y": 0.75}
    assert found.items[0].strata == {}


def test_a_task_makes_ids_its_own(tmp_path):
    """The same id in two tasks is two items; the same in one task is an error with its line."""
    rows = [("1", 1, "law"), ("1", 0, "art")]
    found = read_results(str(table(tmp_path / "a.csv", rows, "item,score,task")))
    assert [(item.task, item.id) for item in found.items] == [("law", "1"), ("art", "1")]
    twice = table(tmp_path / "b.csv", [*rows, ("1", 1, "art")], "item,score,task")
    with pytest.raises(DataError, match=r"b\.csv:4: the item '1' occurs twice \(first in line 3\)"):
        read_results(str(twice))


def test_other_encodings_are_named(tmp_path):
    """UTF-16 and Latin-1 are refused with the line, not read as something else."""
    path = tmp_path / "a.csv"
    path.write_bytes("item,score\nx,1\n".encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16"):
        read_results(str(path))
    path.write_bytes("item,score\nx,1\né,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv:3: not UTF-8"):
        read_results(str(path))


# --- lm-eval -----------------------------------------------------------------------------------


def test_lm_eval_filters(tmp_path):
    """Of several filters the strict one counts unless --filter says otherwise; both are said."""
    lines = [
        line
        for n in range(4)
        for line in (
            lm_line(n, filter_="flexible-extract", exact_match=1.0),
            lm_line(n, filter_="strict-match", exact_match=float(n % 2)),
        )
    ]
    found = read_results(str(jsonl(tmp_path / "samples_gsm8k_2025-01-02T03-04-05.6.jsonl", lines)))
    assert found.tasks == ["gsm8k"]
    assert scores(found) == {"0": 0.0, "1": 1.0, "2": 0.0, "3": 1.0}
    assert set(scores(found, filter_="flexible-extract").values()) == {1.0}
    chosen, _ = select(found, found, None, None)
    assert chosen.note is not None
    assert chosen.note.data["chosen"] == "exact_match,strict-match"
    assert "flexible-extract" in chosen.note.data["others"]
    with pytest.raises(DataError, match="there is no filter 'none'"):
        scores(found, filter_="none")


def test_lm_eval_metrics(tmp_path):
    """acc counts before acc_norm; --metric chooses; what is better when lower is refused."""
    lines = [lm_line(n, acc_norm=1.0, acc=0.0, word_perplexity=12.5) for n in range(3)]
    found = read_results(str(jsonl(tmp_path / "samples_arc_x.jsonl", lines)))
    assert set(scores(found).values()) == {0.0}
    assert set(scores(found, "acc_norm").values()) == {1.0}
    with pytest.raises(DataError, match="less is better"):
        scores(found, "word_perplexity")
    with pytest.raises(DataError, match=r"no metric 'f1'.*acc_norm"):
        scores(found, "f1")


def test_lm_eval_pairs_of_labels(tmp_path):
    """Of mcc or f1 alone, whether prediction and reference are equal counts, and that is said."""
    folder = tmp_path / "b"
    path = folder / "samples_cola_2026-11-23T10-00-00.000000.jsonl"
    jsonl(path, [lm_line(0, mcc=[1, 1]), lm_line(1, mcc=[1, 0]), lm_line(2, mcc=[0, 0])])
    for found in (read_results(str(folder)), read_results(str(path))):
        chosen, _ = select(found, found, None, None)
        assert chosen.names == ["acc,none"]
        assert [chosen.score(item) for item in found.items] == [1.0, 0.0, 1.0]
        assert [(note.kind, note.data["metric"]) for note in found.notes] == [("agreement", "mcc")]


def test_lm_eval_pairs_beside_a_number(tmp_path):
    """Where a task has its own acc (mrpc), that counts and nothing is made up."""
    path = jsonl(tmp_path / "samples_mrpc.jsonl", [lm_line(0, acc=0.0, f1=[1, 1])])
    found = read_results(str(path))
    assert found.items[0].scores["acc,none"] == (0.0,)
    assert not found.notes


def test_lm_eval_without_metrics_field(tmp_path):
    """Files of older versions, without filter and metrics, are read by their number fields."""
    line = lm_line(0, acc=1.0)
    del line["filter"], line["metrics"]
    found = read_results(str(jsonl(tmp_path / "samples_arc_x.jsonl", [line])))
    assert scores(found) == {"0": 1.0}


def test_lm_eval_value_errors_name_the_line(tmp_path):
    """A list, NaN or a number beyond 1 where a score should be is an error with its line."""
    for value, says in (([1.0], "no number"), (math.nan, "hides"), (7, "must lie in")):
        path = jsonl(tmp_path / "samples_a_x.jsonl", [lm_line(0, acc=1.0), lm_line(1, acc=value)])
        with pytest.raises(DataError, match=rf"samples_a_x\.jsonl:2: item '1'.*{says}"):
            scores(read_results(str(path)))


def test_lm_eval_twice(tmp_path):
    """A document twice under one filter is refused: a run was appended to the file of another."""
    path = jsonl(tmp_path / "samples_a_x.jsonl", [lm_line(0, acc=1.0), lm_line(0, acc=0.0)])
    with pytest.raises(DataError, match=r":2: doc_id '0' occurs twice \(first in line 1"):
        read_results(str(path))


def test_lm_eval_directory(tmp_path):
    """Of a directory the newest file of each task counts; files of two models are refused."""
    folder = tmp_path / "out" / "org__model"
    old, new = "2025-01-02T03-04-05.678901", "2025-02-02T03-04-05.678901"
    jsonl(folder / f"samples_arc_easy_{old}.jsonl", [lm_line(0, acc=0.0)])
    jsonl(folder / f"samples_arc_easy_{new}.jsonl", [lm_line(0, acc=1.0)])
    jsonl(folder / f"samples_gsm8k_{old}.jsonl", [lm_line(0, exact_match=1.0)])
    for place in (folder, tmp_path / "out"):
        found = read_results(str(place))
        assert found.tasks == ["arc_easy", "gsm8k"]
        assert scores(found) == {"0": 1.0}
        assert [note.kind for note in found.notes] == ["newest"]
        assert found.label == "org/model"
    jsonl(tmp_path / "out" / "other" / f"samples_arc_easy_{old}.jsonl", [lm_line(0, acc=0.0)])
    with pytest.raises(DataError, match="several models"):
        read_results(str(tmp_path / "out"))


# --- Inspect -----------------------------------------------------------------------------------


def test_inspect_values(tmp_path):
    """C is right, P half, I and N wrong; NaN is unscored and an error missing, never zero."""
    given = {"c": "C", "i": "I", "p": "P", "n": "N", "x": 0.25, "u": math.nan, "yes": "Yes"}
    samples = [inspect_sample(name, value) for name, value in given.items()]
    samples.append(inspect_sample("e", "I", error={"message": "the sandbox died"}))
    header = inspect_header(planned=[*given, "e", "lost"], status="error")
    found = read_results(str(inspect_eval(tmp_path / "a.eval", samples, header)))
    assert scores(found) == {
        "c": 1.0,
        "i": 0.0,
        "p": 0.5,
        "n": 0.0,
        "x": 0.25,
        "u": None,
        "yes": 1.0,
        "e": None,
        "lost": None,
    }
    assert [note.kind for note in found.notes] == ["status"]
    assert found.label == "lab/model"


def test_inspect_epochs(tmp_path):
    """Epochs of a sample are averaged over those that have a score; one twice is an error."""
    samples = [
        inspect_sample("q", "C", epoch=1),
        inspect_sample("q", "I", epoch=2),
        inspect_sample("q", math.nan, epoch=3),
    ]
    assert scores(read_results(str(inspect_eval(tmp_path / "a.eval", samples)))) == {"q": 0.5}
    again = inspect_eval(tmp_path / "b.eval", [*samples, inspect_sample("q", "C", epoch=2)])
    with pytest.raises(DataError, match=r"summaries\.json\): sample 'q' occurs twice in epoch"):
        read_results(str(again))


def test_inspect_scorers(tmp_path):
    """Of several scorers --metric chooses; a scorer with several values has scorer/key."""
    samples = [inspect_sample(n, {"judge": {"tone": 0.5, "fact": 1}, "match": "I"}) for n in (1, 2)]
    found = read_results(str(inspect_eval(tmp_path / "a.eval", samples)))
    assert set(scores(found, "match").values()) == {0.0}
    assert set(scores(found, "judge/fact").values()) == {1.0}
    assert set(scores(found, "tone").values()) == {0.5}


def test_inspect_json_and_unfinished(tmp_path):
    """A JSON log and an archive without summaries (interrupted) give the same scores."""
    samples = [inspect_sample(1, "C"), inspect_sample(2, "I")]
    document = tmp_path / "a.json"
    document.write_text(json.dumps(inspect_header() | {"samples": samples}, indent=1))
    archive_path = tmp_path / "a.eval"
    with zipfile.ZipFile(archive_path, "w") as archive:
        archive.writestr("_journal/start.json", json.dumps(inspect_header()))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
    for path in (document, archive_path):
        assert scores(read_results(str(path))) == {"1": 1.0, "2": 0.0}


def test_inspect_long_inputs(tmp_path):
    """An input that summaries.json has cut still matches the whole one of a JSON log, by id."""
    whole, cut = "x" * 6000, "x" * 5120 + "...\n(content truncated)"
    document = tmp_path / "a.json"
    samples = [inspect_sample(1, "C", input=whole)]
    document.write_text(json.dumps(inspect_header() | {"samples": samples}))
    archive = inspect_eval(tmp_path / "a.eval", [inspect_sample(1, "C", input=cut)])
    found = match(read_results(str(document)), read_results(str(archive)))
    assert (found.by_id, found.contradicted) == (1, 0)


def test_inspect_damage(tmp_path):
    """A truncated archive, another zip and a log without samples are each called what they are."""
    whole = inspect_eval(tmp_path / "a.eval", [inspect_sample(1, "C")]).read_bytes()
    broken = tmp_path / "b.eval"
    for size in (10, len(whole) // 2, len(whole) - 1):
        broken.write_bytes(whole[:size])
        with pytest.raises(DataError, match="damaged or truncated"):
            read_results(str(broken))
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("photo.txt", "x")
    with pytest.raises(DataError, match="no log of Inspect"):
        read_results(str(broken))
    broken.write_text(json.dumps(inspect_header()))
    with pytest.raises(DataError, match="without samples"):
        read_results(str(broken))


# --- EvalScope ---------------------------------------------------------------------------------


def test_evalscope(tmp_path):
    """The main score counts, lines of one group are repeats, an empty value is missing."""
    lines = [
        review(0, {"f1": 0.2, "acc": 1.0}, group=0, main="f1"),
        review(1, {"f1": 0.4, "acc": 1.0}, group=0, main="f1"),
        review(2, None, group=1),
    ]
    found = read_results(str(jsonl(tmp_path / "reviews" / "qwen" / "sums_main.jsonl", lines)))
    assert scores(found, "f1") == {"0": pytest.approx(0.3), "1": None}
    assert found.tasks == ["sums_main"]
    assert read_results(str(tmp_path)).label == "qwen"
    with pytest.raises(DataError, match=r":4: sample '1' occurs twice \(first in line 2\)"):
        read_results(str(jsonl(tmp_path / "twice.jsonl", [*lines, lines[1]])))


# --- runs of ours ------------------------------------------------------------------------------


def test_own_run(tmp_path):
    """A run gives an arm's scores in its own order; a failed answer is missing, an unasked open."""
    path = run(tmp_path / "r", lambda _, n: None if n == 5 else 1.0, count=12, asked=None)
    found = read_results(f"{path}:a")
    assert found.arm == "a"
    assert found.label == "base"
    assert {item.id for item in found.items if scores(found)[item.id] is None} == {"suite/005"}
    part = read_results(str(run(tmp_path / "part", lambda *_: 1.0, count=12, asked=7)))
    assert part.arm == Arm.B.value
    assert [item.open for item in part.items] == [False] * 7 + [True] * 5


# --- matching ----------------------------------------------------------------------------------


def test_content_where_ids_differ(tmp_path):
    """Items without a common id are matched by their question, whatever its spacing."""
    header = "item,score,question"
    a = table(tmp_path / "a.csv", [("x1", 1, "How  many?"), ("x2", 0, "Why?")], header)
    b = table(tmp_path / "b.csv", [("y1", 0, "Why?"), ("y2", 1, "How many? ")], header)
    found = match(read_results(str(a)), read_results(str(b)))
    assert [(one.id, two.id) for one, two in found.pairs] == [("x1", "y2"), ("x2", "y1")]
    assert (found.by_id, found.by_content) == (0, 2)


def test_same_ids_for_other_questions(tmp_path):
    """An index that names another question on the other side is not matched by id."""
    a = jsonl(tmp_path / "a" / "samples_sums.jsonl", [lm_line(n, acc=1.0) for n in range(4)])
    moved = [lm_line(n + 1, acc=1.0) | {"doc_id": n} for n in range(4)]
    b = jsonl(tmp_path / "b" / "samples_sums.jsonl", moved)
    one, two = read_results(str(a)), read_results(str(b))
    found = match(one, two)
    assert [(x.id, y.id) for x, y in found.pairs] == [("1", "0"), ("2", "1"), ("3", "2")]
    assert found.contradicted == 4
    assert [item.id for item in found.a_only] == ["0"]
    insisted = match(one, two, "id")
    assert all(x.id == y.id for x, y in insisted.pairs)
    assert len(insisted.pairs) == 4


def test_tasks_are_not_mixed(tmp_path):
    """Question 3 of one benchmark is never paired with question 3 of another."""
    lines = [{**lm_line(n, acc=1.0), "doc_hash": None} for n in range(4)]
    one = read_results(str(jsonl(tmp_path / "samples_arc_2025-01-02T03-04-05.jsonl", lines)))
    two = read_results(str(jsonl(tmp_path / "samples_sums_2025-01-02T03-04-05.jsonl", lines)))
    assert match(one, two).pairs == []


def test_a_question_twice_is_ambiguous(tmp_path):
    """A question that occurs twice on a side is not guessed at: it is listed as unmatched."""
    header = "item,score,question"
    a = table(tmp_path / "a.csv", [("x1", 1, "Why?"), ("x2", 0, "Why?")], header)
    b = table(tmp_path / "b.csv", [("y1", 0, "Why?")], header)
    found = match(read_results(str(a)), read_results(str(b)))
    assert found.pairs == []
    assert (len(found.a_only), len(found.b_only)) == (2, 1)
