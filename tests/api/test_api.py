"""`import so8t`: light, typed, and the same product as the command line."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import so8t
from so8t.errors import Interrupted, LeaseHeldError, PrerequisiteError, UsageError
from so8t.journal.lease import Lease
from so8t.journal.store import system_now
from so8t.verdict.classical import mcnemar_exact

DOCS = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def config() -> dict:
    """Return the run of `conftest` as a mapping."""
    return so8t.load_config(Path("so8t.yaml")).model_dump(mode="json", exclude_defaults=True)


def test_importing_it_loads_nothing_heavy():
    """Neither numpy nor a command is there before it is asked for; every name resolves."""
    code = (
        "import sys, so8t;"
        "heavy = {'numpy', 'scipy', 'torch', 'click', 'rich', 'apsw', 'pydantic'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "assert set(so8t.__all__) <= set(dir(so8t));"
        "[getattr(so8t, name) for name in so8t.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        so8t.nonsense  # noqa: B018 - the question itself


@pytest.mark.usefixtures("here")
def test_a_run_from_a_mapping_is_read_back():
    """A mapping runs as its file would; the records are all there, and say what the report says."""
    run = so8t.run(config(), progress=False)
    assert run.state == "complete"
    first = [answer for answer in run.answers() if answer["repeat"] == 0]
    assert len(first) == 24
    assert {answer["model"] for answer in run.answers()} == {"before", "after"}
    items = run.items()
    assert [item["position"] for item in items] == list(range(12))
    for item in items:
        assert item["difference"] == item["b"]["score"] - item["a"]["score"]
    known = [item["difference"] for item in items]
    assert run.verdict.difference == pytest.approx(sum(known) / len(known))
    assert run.summary["verdict"]["outcome"] == run.verdict.outcome
    assert str(run.verdict) in repr(run)
    assert run.verdict.headline in run.verdict._repr_html_()
    assert str(run.verdict).count(run.verdict.headline) == 1
    assert run.report.is_file()
    assert run.plot()._repr_svg_().startswith("<svg")
    again = so8t.run("so8t.yaml", progress=False)
    assert again.verdict == run.verdict
    by_pairs = so8t.compare("runs/letters:a", "runs/letters:b")
    assert by_pairs.verdict.difference == pytest.approx(run.verdict.difference)


@pytest.mark.usefixtures("here")
def test_a_table_has_one_row_a_question():
    """`to_pandas` is `items()`, flat."""
    pytest.importorskip("pandas")
    table = so8t.run(config(), progress=False).to_pandas()
    assert len(table) == 12
    assert (table["score_b"] - table["score_a"] == table["difference"]).all()


@pytest.mark.usefixtures("here")
def test_a_thread_runs_and_is_stopped_in_order():
    """From a thread: `stop` ends the run as Ctrl-C would, and the same call finishes it."""
    stop, ended = threading.Event(), []

    def work() -> None:
        try:
            so8t.run(config(), progress=False, stop=stop)
        except Interrupted as error:
            ended.append(error)

    stop.set()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(ended) == 1
    assert so8t.run(config(), progress=False).state == "complete"


@pytest.mark.usefixtures("here")
def test_a_run_that_another_process_holds_is_refused():
    """The command line's error, as an exception."""
    directory = so8t.run(config(), progress=False).directory
    with Lease(directory, now=system_now()), pytest.raises(LeaseHeldError):
        so8t.run(config(), progress=False)


def test_what_is_not_there_is_said(tmp_path):
    """No run, nothing to draw: an error with the next step."""
    with pytest.raises(PrerequisiteError, match="holds no run"):
        so8t.load(tmp_path)


@pytest.mark.usefixtures("here")
def test_a_run_that_has_not_begun_has_no_drawing():
    """A journal without a plan says so, and its verdict is no number."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        so8t.run(config(), progress=False, stop=stop)
    run = so8t.load("runs/letters")
    assert run.verdict.difference is None or run.state != "complete"
    if run.state == "empty":
        with pytest.raises(UsageError, match="nothing to draw"):
            run.plot()


def test_scores_are_decided_as_the_textbook_does():
    """Exact McNemar on the same counts decides alike; clusters in any order give one answer."""
    a = [0] * 30 + [1] * 5 + [1] * 20
    b = [1] * 30 + [0] * 5 + [1] * 20
    verdict = so8t.decide(a, b)
    assert (verdict.outcome == "b_better") == (mcnemar_exact(30, 5) < 0.05)
    assert verdict.difference == pytest.approx(25 / 55)
    groups = [place % 11 for place in range(55)]
    shuffled = sorted(range(55), key=lambda place: (place * 37) % 55)
    one = so8t.decide(a, b, clusters=groups)
    two = so8t.decide(
        *([side[p] for p in shuffled] for side in (a, b)), clusters=[groups[p] for p in shuffled]
    )
    assert one.difference == pytest.approx(two.difference)
    assert one.interval == pytest.approx(two.interval)
    assert so8t.decide([], []).difference is None
    assert so8t.decide([1, None, 1], [1, 1, 1]).items == 2


@pytest.mark.usefixtures("here")
def test_the_page_about_python_runs():
    """Every block of docs/python.md, in its order, in one namespace."""
    pytest.importorskip("pandas")
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    space: dict = {}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), space)  # noqa: S102 - our own page
    assert Path("differences.svg").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_notebook_runs_it_and_is_interrupted_in_order():
    """A real kernel: a run with its bar and card, and the interrupt button's SIGINT."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    interrupted = (
        "import os, signal, threading, so8t\n"
        "c = so8t.load_config('so8t.yaml').model_dump(mode='json', exclude_defaults=True)\n"
        "c['name'] = 'second'\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    so8t.run(c)\n"
        "except so8t.errors.Interrupted as error:\n"
        "    print('stopped in order')\n"
        "print(so8t.run(c).state)\n"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("import so8t\nrun = so8t.run('so8t.yaml')\nrun.verdict"),
            nbformat.v4.new_code_cell("run.plot()"),
            nbformat.v4.new_code_cell(interrupted),
        ]
    )
    client.NotebookClient(notebook, timeout=300).execute()
    first, drawing, second = notebook.cells
    kinds = {kind for output in first.outputs for kind in output.get("data", {})}
    assert {"text/html", "text/plain"} <= kinds
    assert "image/svg+xml" in drawing.outputs[0]["data"]
    assert "complete" in "".join(output.get("text", "") for output in second.outputs)
