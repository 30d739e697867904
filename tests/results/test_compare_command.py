"""`so8t compare` as a person and as a script sees it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from result_files import inspect_eval, inspect_sample, jsonl, lm_line, mcnemar, run, table

from so8t.cli import invoke as so8t
from so8t.cli.compare import command
from so8t.domain.exchange import Arm
from so8t.report.text import Text

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test has a current directory and a language of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def compare(capsys):
    """Run `so8t compare ... --json`; return the document."""

    def call(*arguments, code=0):
        assert so8t(["compare", *(os.fspath(one) for one in arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def pair(here):
    """Two tables with ten items that only B has right and two that only A has."""
    rows_a, rows_b = mcnemar(10, 2)
    return table(here / "a.csv", rows_a), table(here / "b.csv", reversed(rows_b))


def test_known_answer(compare, pair):
    """The verdict on ten against two discordant items is McNemar's, whatever the files' order."""
    found = compare(*pair)
    assert found["verdict"] == "b_better"
    assert found["p_value"] == pytest.approx(0.03857421875, abs=1e-15)
    assert found["difference"] == pytest.approx(0.2)
    low, high = found["interval"]
    assert 0.0 <= low <= 0.2 <= high <= 1.0
    assert (found["items_total"], found["items_used"]) == (40, 40)
    table_ = found["discordant"]
    assert table_ == {"b_only": 10, "a_only": 2, "both_right": 20, "both_wrong": 8}
    assert found["unmatched"]["a_only"] == found["unmatched"]["b_only"] == 0
    assert found["missing"]["pairs"] == 0
    assert (found["alpha"], found["margin"], found["scope"]) == (0.05, None, "population")
    assert found["sources"]["a"]["format"] == "table"
    assert found["finished"] is True
    assert found["method"] == "exact McNemar test"


def test_mirrored(compare, pair):
    """Exchanging the files exchanges the verdict."""
    there, back = compare(*pair), compare(*reversed(pair))
    assert back["verdict"] == "a_better"
    assert back["difference"] == pytest.approx(-there["difference"])
    assert back["interval"] == pytest.approx([-end for end in reversed(there["interval"])])


def test_alpha_decides(compare, pair):
    """At an alpha below the p-value the same table decides nothing."""
    assert compare(*pair, "--alpha", "0.03")["verdict"] == "undecided"
    assert compare(*pair, "--alpha", "0.039")["verdict"] == "b_better"


def test_equivalent_and_non_inferior(compare, here):
    """With a margin, equal models are equivalent, and a slightly better one is non-inferior."""
    a = table(here / "a.csv", [(f"q{n}", n % 2) for n in range(400)])
    assert compare(a, a, "--margin", "0.05")["verdict"] == "equivalent"
    # 14 against 5 of 600 is no direction (p = 0.064), but it rules out 2 points less.
    rows_a, rows_b = mcnemar(14, 5, right=290, wrong=291)
    found = compare(table(a, rows_a), table(here / "b.csv", rows_b), "--margin", "0.02")
    assert found["verdict"] == "non_inferior"
    assert found["margin"] == 0.02


def test_benchmark_scope(compare, pair):
    """In benchmark scope, with all items in, the interval is the difference itself."""
    found = compare(*pair, "--scope", "benchmark")
    assert found["scope"] == "benchmark"
    assert found["interval"] == pytest.approx([0.2, 0.2])
    assert found["verdict"] == "b_better"


def test_graded_scores(compare, here):
    """Graded scores are judged by a paired t test, without a discordant table."""
    a = table(here / "a.csv", [(n, 0.25 + (n % 3) / 10) for n in range(300)])
    b = table(here / "b.csv", [(n, 0.45 + (n % 4) / 10) for n in range(300)])
    found = compare(a, b)
    assert found["verdict"] == "b_better"
    assert found["discordant"] is None
    assert (found["method"], found["p_value"] < 1e-10) == ("paired t test", True)


def test_words_in_both_languages(pair, capsys):
    """A person reads a sentence with the difference and a table, in English and in Japanese."""
    assert so8t(["compare", *map(str, pair)]) == 0
    english = capsys.readouterr().out
    assert "B (b) answered 20.0 points more items correctly than A (a)" in english
    assert "p = 0.03857" in english
    assert "10 / 2" in english
    assert so8t(["compare", *map(str, pair), "--lang", "ja"]) == 0
    assert "20.0" in capsys.readouterr().out
    keys = {key for key in Text("en")._words if key.startswith("cli.compare.")}
    assert keys == {key for key in Text("ja")._words if key.startswith("cli.compare.")}


def test_what_is_left_out_is_said(here, compare, capsys):
    """Unmatched items and missing scores are counted and named, on paper and in JSON."""
    a = table(here / "a.csv", [("x", 1), ("y", None), ("z", 0), ("only-here", 1)])
    b = table(here / "b.csv", [("x", 0), ("y", 1), ("z", None), ("only-there", 1), ("too", 0)])
    found = compare(a, b)
    assert found["unmatched"] == {
        "a_only": 1,
        "b_only": 2,
        "a_only_first": ["only-here"],
        "b_only_first": ["only-there", "too"],
    }
    assert (found["items_total"], found["items_used"]) == (3, 1)
    assert (found["missing"]["a"], found["missing"]["b"], found["missing"]["pairs"]) == (1, 1, 2)
    assert found["mean"] == {"a": 1.0, "b": 0.0}
    so8t(["compare", str(a), str(b)])
    said = capsys.readouterr().out
    assert "only-here" in said
    assert "2 of 3 pairs are left out" in said


def test_all_missing(here, compare):
    """When every score is missing the verdict is an honest undecided, not an error."""
    a = table(here / "a.csv", [("x", None), ("y", None)])
    found = compare(a, table(here / "b.csv", [("x", 1), ("y", 0)]))
    assert found["verdict"] == "undecided"
    assert found["difference"] is found["interval"] is found["mean"]["a"] is None
    assert found["items_used"] == 0


def test_gate(pair, capsys):
    """--fail-if ends with exit code 10, after the result was printed."""
    arguments = ["compare", *map(str, pair), "--json", "--fail-if", "b_better"]
    assert so8t(arguments) == 10
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "b_better"
    assert "b_better" in captured.err


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("item,score\nx,1\ny,1.5\n", 3, "must lie in [0, 1]"),
        ("item,score\nx,1\ny,nan\n", 3, "hides whether"),
        ("item,score\nx,good\n", 2, "no number"),
        ("item,score\nx,1\nz,1\nx,0\n", 4, "occurs twice (first in line 2)"),
        ("item,score\nx,1,2\n", 2, "3 columns"),
        ('item,score\n"x,1\n', 2, "no CSV"),
        ("item,score,score\nx,1,2\n", 1, "occurs twice"),
        ("name,points\nx,1\n", 1, "no column of ids"),
        ('{"item": "x", "score": 1}\n["y", 0]\n', 2, "not an object"),
        ('{"item": "x", "score": 1}\n{"item": "y", "sco', 2, "no JSON"),
        ('{"item": "x", "score": -0.1}\n', 1, "must lie in [0, 1]"),
        ('{"item": "x"}\n', 1, "of no known kind"),
        ('{"item": "x", "score": 1}\n{"item": "x"}\n', 2, "no score"),
        ("", 1, "the file is empty"),
        ("item,score\nx,1\ny\0,1\n", 3, "NUL"),
    ],
)
def test_bad_tables(here, capsys, content, line, says):
    """A broken table ends with exit code 2 and an error that names file and line."""
    broken = here / "broken.txt"
    broken.write_text(content, encoding="utf-8")
    whole = table(here / "whole.csv", [("x", 1)])
    assert so8t(["compare", str(whole), str(broken)]) == 2
    message = capsys.readouterr().err
    assert f"broken.txt:{line}" in message.replace("\n", "")
    assert says in message


@pytest.mark.parametrize("arguments", [("--alpha", "0.7"), ("--margin", "0"), ("--alpha", "nan")])
def test_bad_options(pair, arguments, capsys):
    """An alpha or margin that makes no sense is refused with its value."""
    assert so8t(["compare", *map(str, pair), *arguments]) == 2
    assert arguments[1] in capsys.readouterr().err


def test_nothing_there(pair, capsys):
    """A path with nothing at it is a missing prerequisite; a foreign directory a usage error."""
    assert so8t(["compare", "nowhere.csv", str(pair[1])]) == 3
    assert "nowhere.csv" in capsys.readouterr().err
    assert so8t(["compare", ".", str(pair[1])]) == 2
    assert "samples_*.jsonl" in capsys.readouterr().err


def test_no_common_items(here, capsys):
    """Two files without a common item are refused, and the first ids show why."""
    a = table(here / "a.csv", [("x", 1)])
    assert so8t(["compare", str(a), str(table(here / "b.csv", [("y", 1)]))]) == 2
    message = capsys.readouterr().err
    assert "'x'" in message
    assert "'y'" in message


def test_mixed_metrics(here, capsys):
    """Logs that were scored in different ways are refused and both metrics are named."""
    a = inspect_eval(here / "a.eval", [inspect_sample("q", {"match": "C"})])
    b = inspect_eval(here / "b.eval", [inspect_sample("q", {"choice": "C"})])
    assert so8t(["compare", str(a), str(b)]) == 2
    message = capsys.readouterr().err
    assert "match" in message
    assert "choice" in message


def test_formats_may_differ(here, compare):
    """A log of one tool and a table of another are compared where their ids agree."""
    a = jsonl(here / "samples_sums_x.jsonl", [lm_line(n, acc=float(n > 1)) for n in range(6)])
    b = table(here / "b.csv", [(n, 1) for n in range(6)])
    found = compare(a, b)
    assert found["items_used"] == 6
    assert found["discordant"]["b_only"] == 2
    assert [found["sources"][arm]["format"] for arm in "ab"] == ["lm_eval", "table"]


def test_two_runs(here, compare):
    """A run stands for its model B; `:a` names the other; twice the same model is refused."""
    one = run(here / "one", lambda _, n: float(n % 3 == 0))
    two = run(here / "two", lambda arm, n: float(n % 3 == 0 or (arm is Arm.B and n % 2 == 0)))
    found = compare(one, two)
    assert found["sources"]["b"] | {"path": ""} == {
        "path": "",
        "format": "run",
        "label": "tuned",
        "arm": "b",
        "items": 60,
        "metrics": ["score"],
    }
    assert found["discordant"]["b_only"] == 20
    assert compare(f"{one}:a", f"{two}:a")["discordant"]["b_only"] == 0
    assert so8t(["compare", str(two), str(two)]) == 2


def test_real_logs_of_inspect(shared_data, compare, capsys):
    """The real logs of Inspect are read as they are; two benchmarks have nothing in common."""
    popularity, mmlu = sorted((shared_data / "log_inspect_eval").glob("*.eval"))
    found = compare(popularity, popularity)
    assert found["items_used"] == 10
    assert found["mean"] == {"a": 0.8, "b": 0.8}
    assert found["discordant"] == {"b_only": 0, "a_only": 0, "both_right": 8, "both_wrong": 2}
    assert found["verdict"] == "undecided"
    assert found["sources"]["a"]["label"] == "openai/gpt-4o-mini"
    assert compare(mmlu, mmlu)["items_used"] == 1
    assert so8t(["compare", str(popularity), str(mmlu)]) == 2
    assert "no common items" in capsys.readouterr().err


def test_real_logs_of_evalscope(shared_data, compare):
    """The real reviews of EvalScope agree with the published figures: ten of ten on both sides."""
    logs = shared_data / "log_evalscope_qwen_gsm8k"
    files = [logs / model / "reviews" / "gsm8k_main.jsonl" for model in ("qwen-plus", "qwen3-max")]
    found = compare(*files)
    assert found["items_used"] == 10
    assert found["mean"] == {"a": 1.0, "b": 1.0}
    assert found["p_value"] == 1.0
    assert found["verdict"] == "undecided"
    assert [found["sources"][arm]["label"] for arm in "ab"] == ["qwen-plus", "qwen3-max"]
    folders = compare(logs / "qwen-plus", logs / "qwen3-max" / "reviews")
    assert folders["interval"] == found["interval"]


def test_help_names_what_it_reads(capsys):
    """`so8t compare --help` names the kinds of results."""
    assert so8t(["compare", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("lm-eval", "Inspect", "CSV", "RUN:a"))


def test_documented(compare, pair):
    """docs/compare.md names every option and every field of --json."""
    documented = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    options = [name for one in command.params for name in one.opts if name.startswith("--")]
    missing = [name for name in (*options, *compare(*pair)) if f"`{name}`" not in documented]
    assert missing == []


def test_cola_is_compared_without_naming_a_metric(here, capsys, compare):
    """Matthews correlation has no number for one item: agreement counts, and a person is told."""
    for arm, right in (("a", 10), ("b", 30)):
        lines = [lm_line(n, mcc=[n % 2, n % 2 if n < right else 1 - n % 2]) for n in range(40)]
        jsonl(here / arm / "samples_cola_2026-11-23T10-00-00.000000.jsonl", lines)
    found = compare("a", "b")
    assert (found["mean"]["a"], found["mean"]["b"]) == (0.25, 0.75)
    assert found["sources"]["a"]["metrics"] == ["acc,none"]
    assert "agreement" in {note["kind"] for note in found["notes"]}
    assert so8t(["compare", "a", "b"]) == 0
    assert "mcc has no number for one item" in " ".join("".join(capsys.readouterr()).split())
