"""`so8t compare`: the same verdict for results made elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from so8t.cli.console import common
from so8t.cli.gate import fail_if_option
from so8t.errors import GateFailed
from so8t.results.candidates import (
    ComparedCandidates,
    candidates_summary,
    compare_candidates,
)
from so8t.results.comparison import Comparison, Options, compare
from so8t.results.detect import read_results
from so8t.results.summary import name_of, summary
from so8t.results.table import Columns
from so8t.verdict.settings import Outcome, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.cli.console import Console
    from so8t.results.comparison import ComparedTask
    from so8t.results.items import Item
    from so8t.results.match import How
    from so8t.results.table import Duplicates
    from so8t.verdict.decide import Discordant

# How many unmatched ids a person sees; --json has more.
_NAMED = 5
_COLUMNS = ["group", "items", "mean_a", "mean_b", "difference", "only", "verdict"]


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.argument("more", metavar="[B2 ...]", nargs=-1)
@click.option("--alpha", type=float, help="Error rate of a false verdict (default 0.05).")
@click.option("--margin", type=float, help="Differences below this count as equivalent.")
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    help="Speak of items like these (population, the default) or of exactly these (benchmark).",
)
@click.option("--metric", metavar="NAME", help="Which score, where a log has several.")
@click.option("--item-column", metavar="NAME", help="The column of a table with the ids.")
@click.option("--score-column", metavar="NAME", help="The column of a table with the scores.")
@click.option(
    "--duplicates",
    type=click.Choice(["refuse", "first", "mean"]),
    default="refuse",
    show_default=True,
    help="An id that occurs several times in a table: an error, its first line, or repeats.",
)
@click.option("--filter", "filter_", metavar="NAME", help="Which filter of lm-eval.")
@click.option(
    "--match",
    "how",
    type=click.Choice(["auto", "id", "content"]),
    default="auto",
    show_default=True,
    help="Match items by id, checked against their content; by id alone; by content alone.",
)
@fail_if_option
@common
def command(
    console: Console,
    a: str,
    b: str,
    more: tuple[str, ...],
    *,
    alpha: float | None,
    margin: float | None,
    scope: str | None,
    metric: str | None,
    item_column: str | None,
    score_column: str | None,
    duplicates: Duplicates,
    filter_: str | None,
    how: How,
    fail_if: tuple[str, ...],
) -> int:
    """Compare two models on results that exist: is B better than A?

    Of several candidates B, B2, ... each is compared with A, all are ranked in one table, and the
    best one is named only when it is.

    A and B are lm-eval samples, Inspect logs, EvalScope reviews, promptfoo results, MLflow tables,
    HELM runs, CSV or JSONL with an id and a score, or run directories. A run stands for its model
    B; RUN:a and RUN:b name either. FILE:PROVIDER is one of promptfoo's, TABLE:COLUMN a score.
    """
    options = Options(alpha, margin, Scope(scope) if scope else None, metric, filter_, how)
    columns = Columns(item_column, score_column, duplicates, metric)
    base, candidate = read_results(a, columns), read_results(b, columns)
    if more:
        candidates = [candidate, *(read_results(one, columns) for one in more)]
        return _rank(compare_candidates(base, candidates, options), console, fail_if)
    found = compare(base, candidate, options)
    console.data(summary(found))
    _show(found, console)
    outcome = found.overall.verdict.outcome
    if outcome.value in fail_if:
        raise GateFailed(f"the verdict is {outcome.value}, which --fail-if names.")
    return 0


def _rank(found: ComparedCandidates, console: Console, fail_if: tuple[str, ...]) -> int:
    """Show the table of all candidates, best first, and what holds of them together."""
    text, ranking = console.text, found.ranking
    console.data(candidates_summary(found))
    key = "cli.compare.best" if ranking.best is not None else "cli.compare.no_best"
    name = _plain(ranking.best or "")
    console.line(text(key, name=name, count=len(ranking.candidates)), style="bold")
    console.line()
    rows = []
    for one in ranking.candidates:
        compared = found.comparisons[one.name].overall
        verdict = replace(one.verdict, interval=one.interval)
        row = _row(_plain(one.name), replace(compared, verdict=verdict), one.outcome, console)
        rows.append([*row[:-1], text.number(verdict.items_dropped), row[-1]])
    columns = [*_COLUMNS[:-1], "missing", _COLUMNS[-1]]
    columns[0] = "candidate"
    console.table([text(f"cli.compare.column.{column}") for column in columns], rows)
    level = f"{found.alpha * 100:g}"
    console.line(text("cli.compare.candidates_about", base=_plain(found.base.label), alpha=level))
    for one in ranking.candidates:
        if one.verdict.missing_could_turn:
            console.line(text("cli.compare.candidate_turned", name=_plain(one.name)))
    failed = [one for one in ranking.candidates if one.outcome.value in fail_if]
    if failed:
        named = ", ".join(f"{one.name}: {one.outcome.value}" for one in failed)
        raise GateFailed(f"{named}, which --fail-if names.")
    return 0


def _show(found: Comparison, console: Console) -> None:
    from so8t.report.words import names, verdict_words  # noqa: PLC0415 - not needed to refuse

    text = console.text
    words = verdict_words(
        found.overall.verdict,
        text,
        names(_plain(found.a.label), _plain(found.b.label), text),
        censoring=found.censoring,
    )
    console.line(words.headline, style="bold")
    console.line(words.sentence(text))
    if words.beside:
        console.line(words.beside)
    for reservation in _reservations(found, console):
        console.line(reservation)
    for sentence in words.following:
        console.line(sentence)
    console.line()
    _table(found, console)
    for note in found.notes:
        data = {key: _plain(v) if isinstance(v, str) else v for key, v in note.data.items()}
        console.message(f"cli.compare.note.{note.kind}", **data)


def _reservations(found: Comparison, console: Console) -> Iterator[str]:
    """Say what a reader of the verdict must know: what is missing, and what was left out."""
    text, verdict = console.text, found.overall.verdict
    if verdict.items_dropped:
        yield text(
            "cli.compare.missing",
            count=verdict.items_dropped,
            total=verdict.items_dropped + verdict.items_used,
            a=found.missing_a,
            b=found.missing_b,
        )
    cases = found.sensitivity
    if cases is not None:
        yield text(
            "cli.compare.cases",
            best=text.signed_points(cases.best.difference),
            worst=text.signed_points(cases.worst.difference),
            plausible=text.signed_points(cases.plausible),
            best_outcome=text(f"outcome.{cases.best.outcome.value}"),
            worst_outcome=text(f"outcome.{cases.worst.outcome.value}"),
            complete_outcome=text(f"outcome.{cases.primary.outcome.value}"),
        )
    for key, items in (("a", found.matched.a_only), ("b", found.matched.b_only)):
        if items:
            yield text(f"cli.compare.{key}_only", count=len(items), names=_some(items))
    if found.matched.by_content:
        yield text("cli.compare.by_content", count=found.matched.by_content)


def _plain(text: str) -> str:
    """Keep what comes from a file from moving the cursor of a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _some(items: list[Item]) -> str:
    named = ", ".join(_plain(name_of(item)) for item in items[:_NAMED])
    return named if len(items) <= _NAMED else f"{named}, ..."


def _table(found: Comparison, console: Console) -> None:
    from so8t.report.words import p_words  # noqa: PLC0415 - not needed to refuse

    text = console.text
    columns = _COLUMNS
    rows = [_row(text("cli.compare.all"), found.overall, found.overall.verdict.outcome, console)]
    rows += [
        _row(_plain(f"{stratum.column}: {stratum.name}"), stratum.judged, stratum.outcome, console)
        for stratum in found.strata
    ]
    console.table([text(f"cli.compare.column.{name}") for name in columns], rows)
    verdict = found.overall.verdict
    if verdict.fixed is not None and verdict.fixed.p_value is not None:
        test = text(f"test.{verdict.fixed.method}")
        p_value = p_words(verdict.fixed.p_value, figures=4)
        console.line(text("cli.compare.p_value", test=test, p=p_value))
    if found.strata:
        console.line(text("cli.compare.strata_about"))


def _row(name: str, judged: ComparedTask, outcome: Outcome, console: Console) -> list[str]:
    text, verdict = console.text, judged.verdict
    difference = text.signed_points(verdict.difference)
    if verdict.interval is not None:
        low, high = (text.signed_points(bound) for bound in verdict.interval)
        difference = text("cli.compare.interval", difference=difference, low=low, high=high)
    return [
        name,
        text.number(verdict.items_used),
        text.percent(judged.mean_a),
        text.percent(judged.mean_b),
        difference,
        _only(verdict.discordant, console),
        text(f"outcome.{outcome.value}"),
    ]


def _only(discordant: Discordant | None, console: Console) -> str:
    if discordant is None:
        return console.text("unknown")
    return f"{console.text.number(discordant.b_only)} / {console.text.number(discordant.a_only)}"
