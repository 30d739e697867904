"""A run whose suite, labels and files are named to do harm: nothing of it is obeyed anywhere."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import pytest
from commands import so8t

from so8t.cli import invoke
from so8t.cli.console import show_error
from so8t.errors import SO8TError
from tiny_gguf import write_tiny_gguf

# A window's title, the clipboard, colours, one-byte control sequences, a turned line; markup; a
# formula; a mark of rich; Markdown with a picture from elsewhere.
CONTROLS = "\x1b]0;owned\x07\x1b]52;c;cm0=\x07\x1b[2J\x9b31m\u202e"
HOSTILE = (
    f'=HYPERLINK("x")[red]{CONTROLS}<script>alert(1)</script>\'"><img/src=x/onerror=y>'
    "![p](http://x/p.png)|:smile:"
)
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
SUITE = "-1+cmd\x1b[31m\u202e<b>[p](x).jsonl"
FILE = "evil\x1b[31m\u202e<b>.gguf"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run, and its config."""
    directory = tmp_path_factory.mktemp("hostile")
    for seed, name in enumerate((FILE, "b.gguf"), start=1):
        write_tiny_gguf(directory / name, seed=seed)
    items = [
        {
            "id": f"{HOSTILE}{n}",
            "category": HOSTILE if n % 2 else "@SUM(A1)",
            "prompt": f"{n} {HOSTILE}",
            "grader": "exact",
            "reference": HOSTILE,
        }
        for n in range(6)
    ]
    (directory / SUITE).write_text("\n".join(map(json.dumps, items)))
    config = {
        "name": "r",
        "a": {"label": f"A{HOSTILE}", "source": {"gguf": FILE}},
        "b": {"label": f"B{HOSTILE}", "source": {"gguf": "b.gguf"}},
        "engine": {"slots": 1, "threads": 1, "context": 1024},
        "generation": {"max_tokens": 4, "stop": [HOSTILE]},
        "benchmark": {"suites": [SUITE], "noise_floor": 0},
    }
    path = directory / "so8t.yaml"
    path.write_text(json.dumps(config, ensure_ascii=True))
    assert invoke(["run", str(path), "--output", str(directory / "runs")]) == 0
    return directory / "runs" / "r", path


COMMANDS = [
    ("run", "{config}", "--output", "{output}"),
    ("run", "{config}", "--output", "{output}", "--json"),
    ("validate", "{config}"),
    ("plan", "{config}"),
    ("plan", "{config}", "--json"),
    ("status", "{run}"),
    ("status", "{run}", "--json"),
    ("verify", "{run}"),
    ("verify", "{run}", "--json"),
    ("report", "{run}"),
    ("ls", "{output}"),
    ("ls", "{output}", "--json"),
    ("retry", "{run}"),
    ("suite", "validate", "{suite}"),
    ("suite", "show", "{suite}"),
    ("suite", "show", "{suite}", "--json"),
    ("compare", "{run}", "{run}"),
    ("compare", "{table}", "{table}"),
    ("report", HOSTILE),
    ("run", "{config}", "--set", f"{HOSTILE}=1"),
    ("run", "{config}", "--set", f"name={HOSTILE}"),
    (HOSTILE,),
    ("plan", f"--{HOSTILE}"),
    ("data", "check", "{suite}"),
]


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments)[:30])
def test_no_command_prints_what_a_terminal_obeys(capsys, run, arguments, lang):
    """Results, messages, JSON and errors, with every command that shows what others wrote."""
    directory, config = run
    table = config.parent / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["item", HOSTILE], ["a", 1], [HOSTILE, 0], ["c", 1]])
    places = {"config": config, "run": directory, "output": directory.parent,
              "suite": config.parent / SUITE, "table": table}  # fmt: skip
    filled = [one.format(**places) if "{" in one else one for one in arguments]
    extra = ["--lang", lang] if filled[0] in {"run", "plan", "status", "report"} else []
    _, out, errors = so8t(capsys, *filled, *extra)
    assert out or errors
    assert not OBEYED.search(out)
    assert not OBEYED.search(errors)
    assert "Traceback" not in errors
    if "--json" in filled:
        json.loads(out)


def test_an_error_shows_what_it_quotes_and_nothing_else(capsys):
    """Marks of rich, smileys and a backslash at the end are text."""
    show_error(SO8TError("a [bold]b[/bold] :smile: \x1b[1m\\", hint="c\\", saved="[link=x]d"))
    assert capsys.readouterr().err.splitlines() == [
        "error: a [bold]b[/bold] :smile: <U+001B>[1m\\", "[link=x]d", "hint: c\\"
    ]  # fmt: skip


class Page(HTMLParser):
    """Collects the elements and attributes of a page that could do something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.images, self.handlers = 0, 0, []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.images += tag in {"img", "iframe", "object", "embed", "link", "base"}
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        places = [value or "" for name, value in attrs if name in {"href", "src"}]
        self.handlers += [place for place in places if not place.startswith("#")]


def test_the_report_has_the_elements_that_we_wrote(run):
    """Two scripts of ours, no picture, no handler, no address; the names are there as text."""
    text = (run[0] / "report.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert (page.scripts, page.images, page.handlers) == (2, 0, [])
    assert "&lt;script&gt;alert(1)" in text
    assert not OBEYED.search(text)


def test_no_cell_of_the_tables_is_a_formula(run):
    """Of items.csv and groups.csv, whatever an item, a task or a category is called."""
    seen = set()
    for name in ("items.csv", "groups.csv"):
        with (run[0] / "artifacts" / name).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                seen |= set(row)
                for value in row.values():
                    number = re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", value)
                    assert number or not value.startswith(("=", "+", "-", "@", "\t", "\r")), value
    assert {"item", "category", "name"} <= seen


def test_the_markdown_of_the_run_has_our_marks_alone(run):
    """No picture, no link, no HTML in progress.md and checklist.md."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - the reader that judges

    for name in ("progress.md", "checklist.md"):
        text = (run[0] / name).read_text("utf-8")
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
        kinds = {child.type for token in tokens for child in token.children or []}
        assert not kinds & {"image", "link_open", "html_inline"}
        assert not any(token.type == "html_block" for token in tokens)
        assert not OBEYED.search(text)
