"""View -> one HTML file that opens from disk without a network, with or without JavaScript."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from so8t.domain.exchange import CONTEXT
from so8t.domain.plain_text import visible
from so8t.journal.store import Journal
from so8t.report import facts, figures
from so8t.report.embedded import embed
from so8t.report.grader_words import grader_words
from so8t.report.query import Marks, load_view
from so8t.report.text import MINUS, Text, resolve_language
from so8t.report.timeline import timelines
from so8t.report.words import command_words, names, view_words
from so8t.system.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.report.view import AnswerView, View

FILE_NAME = "report.html"
#: The same with what the models thought aloud: not a file to pass on, so it has another name.
REVEALED_NAME = "report-with-thinking.html"
_LONG = 700
_LONG_LINES = 12


def write_report(directory: Path, language: str, *, reveal_thinking: bool = False) -> Path:
    """Write the report of the run in `directory` beside its journal; return its path.

    `language` is "en", "ja" or "auto". What models thought aloud is hidden unless
    `reveal_thinking`, which writes another file. The journal is verified first: a report on rows
    that were changed would say what was never measured.

    Raises JournalError for a damaged journal, PrerequisiteError where there is none.
    """
    text = Text(resolve_language(language))
    with Journal(directory, readonly=True) as journal:
        journal.verify()
        view = load_view(journal, marks=marks(text, reveal_thinking=reveal_thinking))
    return write_page(directory, view, text, reveal_thinking=reveal_thinking)


def write_page(directory: Path, view: View, text: Text, *, reveal_thinking: bool = False) -> Path:
    """Write the report on what was read of the run in `directory`; return its path."""
    path = directory / (REVEALED_NAME if reveal_thinking else FILE_NAME)
    write_atomic(path, render(view, text))
    return path


def marks(text: Text, *, reveal_thinking: bool = False) -> Marks:
    """Return what stands in a report for what is hidden and for what is too long."""
    hidden = None if reveal_thinking else text("answers.thinking_hidden")
    return Marks(hidden, text("answers.omitted"))


def render(view: View, text: Text) -> str:
    """Return the report as one HTML document."""
    css, js = (_asset(f"report.{kind}") for kind in ("css", "js"))
    environment = Environment(
        loader=PackageLoader("so8t.report"),
        autoescape=True,
        undefined=StrictUndefined,
        # Every value that is put in, whoever wrote it, loses the power to hide or turn others.
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(
        _context(view, text),
        css=Markup(css),  # noqa: S704 - our own file, packaged
        js=Markup(js),  # noqa: S704 - our own file, packaged
        data=Markup(embed(view, text.language)),  # noqa: S704 - JSON without a "<"
        css_digest=_digest(css),
        js_digest=_digest(js),
    )


def _context(view: View, text: Text) -> dict[str, Any]:
    who = names(view.label_a, view.label_b, text)
    created = datetime.fromisoformat(view.run.created)
    context: dict[str, Any] = {
        "t": text,
        "v": view,
        "e": view.evidence,
        "who": who,
        "words": view_words(view, text),
        "following": command_words(view, text),
        "when": _when,
        "zone": f"UTC{created.astimezone():%z}",
        "created": created,
        "outcome": None,
        "tone": "none",
        "training_about": facts.training_about(view, text),
        "training": facts.training_facts(view, text),
        "models": facts.model_facts(view, text),
        "provenance": facts.provenance_facts(view, text),
        "calibration": facts.calibration_rows(view, text),
        "config": facts.config_yaml(view),
        "events": [(each.at, facts.event_words(each, text)) for each in view.occurrences],
        "timeline": timelines(view, text),
        "is_long": lambda said: len(said) > _LONG or said.count("\n") >= _LONG_LINES,
        "logprob": lambda value: _logprob(value, text),
        "mark": lambda answer: _mark(answer, text),
        "mark_class": _mark_class,
        "grader_words": lambda reason, grader: grader_words(reason, grader, text),
        "failure": lambda reason, tokens: _failure(reason, tokens, view, text),
    }
    sections = ["verdict", "making", "events", "provenance"]
    if context["timeline"]:
        sections.insert(2, "resources")
    if view.evidence is not None:
        context |= figures.evidence_context(view, text, who)
        sections[1:1] = ["differences", "categories", "course", "answers", "missing"]
        sections[6:6] = ["robustness", "latency"]
        if not context["course"]:
            sections.remove("course")
    context["sections"] = sections
    return context


def _when(at: datetime) -> str:
    """Write a time on the clock of the machine that writes the report; the page names the zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def _failure(reason: str, tokens: int | None, view: View, text: Text) -> str:
    """Say why an answer failed; the reasons of the engine but one are sentences already."""
    context = None if view.engine is None else view.engine.profile.get("context")
    if reason != CONTEXT:
        return reason
    if tokens is None or context is None:
        return text("failed.context")
    return text("failed.context_tokens", tokens=tokens, context=context)


def _logprob(value: float | None, text: Text) -> str:
    return text("unknown") if value is None else f"{value:.2f}".replace("-", MINUS)


def _mark(answer: AnswerView, text: Text) -> str:
    if answer.score is None:
        kind = "failed" if answer.status.value == "failed" else "unscored"
        return text(f"missing.{kind}")
    if answer.status.value == "truncated":
        return text("missing.truncated")
    if answer.score in (0.0, 1.0):
        return text("answers.right" if answer.score else "answers.wrong")
    return text("answers.score", score=text.percent(answer.score))


def _mark_class(answer: AnswerView) -> str:
    if answer.score is None:
        return "none"
    return {1.0: "right", 0.0: "wrong"}.get(answer.score, "none")


def standalone(picture: Markup) -> str:
    """Return a drawing of the report as an SVG document of its own, in the page's light colours."""
    css = _asset("report.css")
    colours = css[css.index("{") : css.index("}") + 1]
    rules = [line for line in css.splitlines() if line.startswith(".plot ")]
    style = "\n".join([f".plot {colours}", *rules, ".plot { background: var(--card); }"])
    head, rest = str(picture).split(">", 1)
    return f"{head}><style>{style}</style>{rest}"


def _asset(name: str) -> str:
    return (resources.files("so8t.report") / "templates" / name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
