"""Tables and logs as people have them: other names, other numbers, other tools."""

from __future__ import annotations

import json

import pytest

from so8t.errors import DataError
from so8t.results.comparison import compare
from so8t.results.detect import read_results
from so8t.results.items import as_score
from so8t.results.metrics import select
from so8t.results.table import Columns


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def scored(found):
    chosen, _ = select(found, found, None, None)
    return {item.id: chosen.score(item) for item in found.items}


@pytest.mark.parametrize(
    "text",
    [
        "question_id,correct\nq1,true\nq2,false\nq3,\n",
        "QID;Correct\nq1;yes\nq2;no\nq3;\n",
        "問題ID,正誤\nq1,○\nq2,×\nq3,\n",
        "問題番号\tスコア\nq1\t１００％\nq2\t0 %\nq3\t\n",
        'id;score\nq1;1,0\nq2;"0,0"\nq3;\n',
        "sample_id,is_correct,accuracy\nq1,1,0.5\nq2,0,0.5\nq3,,0.5\n",
        "﻿設問ID,得点\r\nq1,1\r\nq2,0\r\nq3,\r\n",
    ],
)
def test_names_and_numbers_as_people_write_them(tmp_path, text):
    """Japanese headers, semicolons, decimal commas, per cent, yes and no: one table."""
    found = read_results(write(tmp_path / "t.csv", text))
    assert scored(found) == {"q1": 1.0, "q2": 0.0, "q3": None}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0,85", 0.85), ("85%", 0.85), ("85 %", 0.85), ("12,5 %", 0.125), ("100％", 1.0),
        ("Yes", 1.0), ("INCORRECT", 0.0), ("はい", 1.0), ("不正解", 0.0), ("◯", 1.0), (" ", None),
    ],
)  # fmt: skip
def test_numbers(written, read):
    """What a spreadsheet shows is what is read."""
    assert as_score(written, None, item="x", metric="score") == (
        pytest.approx(read) if read is not None else None
    )


@pytest.mark.parametrize("written", ["1_0", "maybe", "0,5,1", "%", "150%", "1.5"])
def test_what_is_no_score_is_refused(tmp_path, written):
    """A word or a number outside [0, 1] is an error with its place, never a default."""
    path = write(tmp_path / "t.csv", f"id\tscore\nx\t{written}\n")
    with pytest.raises(DataError, match="'x'"):
        scored(read_results(path))


def test_columns_by_name(tmp_path):
    """What is named counts, by option or behind a colon; what is not there is an error."""
    path = write(tmp_path / "t.csv", "Frage,richtig,score\na,1,0\nb,0,1\n")
    found = read_results(path, Columns(item="frage", score="richtig"))
    assert scored(found) == {"a": 1.0, "b": 0.0}
    assert scored(read_results(f"{path}:richtig", Columns(item="Frage"))) == {"a": 1.0, "b": 0.0}
    for columns in (Columns(item="no"), Columns(item="Frage", score="nicht da")):
        with pytest.raises(DataError, match="no column of"):
            read_results(path, columns)


def test_duplicates(tmp_path):
    """An id that occurs twice is refused, its first line, or repeats, as one says."""
    path = write(tmp_path / "t.csv", "id,score\na,1\na,0\nb,1\n")
    with pytest.raises(DataError, match="occurs twice"):
        read_results(path)
    assert scored(read_results(path, Columns(duplicates="first"))) == {"a": 1.0, "b": 1.0}
    assert scored(read_results(path, Columns(duplicates="mean"))) == {"a": 0.5, "b": 1.0}


def promptfoo(path):
    """The shape that promptfoo 0.118 writes, with what is read of it."""
    rows = []
    for test in range(3):
        for provider in ("base", "tuned"):
            right = (test + (provider == "tuned")) % 2 == 1
            failed = test == 2 and provider == "tuned"
            rows.append({
                "promptIdx": 0, "testIdx": test, "provider": {"id": "echo", "label": provider},
                "prompt": {"raw": f"Q{test}", "label": "{{question}}"},
                "vars": {"question": f"Q{test}"}, "success": right, "score": 1 if right else 0,
                "namedScores": {}, "failureReason": 2 if failed else 0 if right else 1,
            })  # fmt: skip
    return write(path, json.dumps({"evalId": "e", "results": {"version": 3, "results": rows}}))


def test_promptfoo(tmp_path):
    """One provider of a file against another; an error is missing and not wrong."""
    path = promptfoo(tmp_path / "out.json")
    a, b = read_results(f"{path}:base"), read_results(f"{path}:tuned")
    assert scored(a) == {"0": 0.0, "1": 1.0, "2": 0.0}
    assert scored(b) == {"0": 1.0, "1": 0.0, "2": None}
    assert compare(a, b).missing_b == 1
    with pytest.raises(DataError, match="several providers") as caught:
        read_results(path)
    assert "base" in (caught.value.hint or "")
    with pytest.raises(DataError, match="no provider or prompt 'other'"):
        read_results(f"{path}:other")


def test_mlflow(tmp_path):
    """The split table of mlflow.log_table: metrics end in /score or /value."""
    table = {
        "columns": ["inputs", "outputs", "token_count", "exact_match/v1/score", "safe/value"],
        "data": [["Q1", "x", 7, 1, "yes"], ["Q2", "y", 9, 0, "no"], ["Q3", "z", 9, None, "yes"]],
    }
    found = read_results(write(tmp_path / "eval_results_table.json", json.dumps(table)))
    assert found.format == "mlflow"
    assert scored(found) == {"0": 1.0, "1": 0.0, "2": None}
    assert set(found.items[0].scores) == {"exact_match", "safe"}
    assert found.items[0].digest


def helm(run, model, values):
    run.mkdir(parents=True)
    spec = {"name": f"mmlu:subject=law,model={model}", "adapter_spec": {"model": model}}
    stats = [
        {
            "instance_id": f"id{number}", "perturbation": None, "train_trial_index": 0,
            "stats": [
                {"name": {"name": "num_output_tokens", "split": "test"}, "count": 1, "sum": 9},
                {"name": {"name": "exact_match", "split": "test"}, "count": 1, "sum": value},
            ],
        }
        for number, value in enumerate(values)
    ]  # fmt: skip
    stats.append(stats[0] | {"perturbation": {"name": "typos"}})
    (run / "run_spec.json").write_text(json.dumps(spec))
    (run / "per_instance_stats.json").write_text(json.dumps(stats))
    texts = [{"id": f"id{n}", "input": {"text": f"Q{n}"}} for n in range(len(values))]
    (run / "instances.json").write_text(json.dumps(texts))
    return str(run)


def test_helm(tmp_path):
    """Two HELM runs of one scenario: the task without the model, perturbed copies left out."""
    a = read_results(helm(tmp_path / "a" / "r", "org/base", [1, 0, 0]))
    b = read_results(helm(tmp_path / "b" / "r", "org/tuned", [1, 1, 0]))
    assert (a.tasks, a.label) == (["mmlu:subject=law"], "org/base")
    assert scored(b) == {"id0": 1.0, "id1": 1.0, "id2": 0.0}
    assert [note.kind for note in a.notes] == ["perturbed"]
    assert read_results(str(tmp_path / "a")).tasks == a.tasks
    assert compare(a, b).matched.by_id == 3


def test_our_ids_and_a_logs(tmp_path):
    """Ids of our own export begin with their task; those of a table or log do not, and match."""
    ours = write(tmp_path / "ours.csv", "item,task,score\nlaw/1,law,1\nlaw/2,law,0\n")
    other = write(tmp_path / "log.csv", "id,task,score\n1,law,1\n2,law,1\n")
    found = compare(read_results(ours), read_results(other))
    assert found.matched.by_id == 2
    assert [note.kind for note in found.notes] == ["numbered"]


def test_running_numbers_are_checked_by_text(tmp_path):
    """The same number with another text is another question; by the text it is found again."""
    one = write(tmp_path / "a.csv", "id,question,score\n1,red,1\n2,blue,0\n")
    two = write(tmp_path / "b.csv", "id,question,score\n1,blue,1\n2,red,1\n")
    found = compare(read_results(one), read_results(two))
    assert (found.matched.by_id, found.matched.by_content, found.matched.contradicted) == (0, 2, 2)
