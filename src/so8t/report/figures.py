"""What the report shows of the evidence: rows of tables, drawings, counts, warnings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from so8t.domain.exchange import Arm
from so8t.report import svg
from so8t.report.collapse import other_words, task_note
from so8t.report.form import form_words
from so8t.report.view import used_means, used_scores
from so8t.report.words import censoring_words, p_words
from so8t.verdict.settings import Ending, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.journal.evidence import Evidence, Group
    from so8t.report.text import Text
    from so8t.report.view import View
    from so8t.report.words import Names

_MISSING_MATTERS = 0.01


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of the table per category, its figures written out."""

    label: str
    overall: bool
    used: int
    total: int
    mean_a: float | None
    mean_b: float | None
    difference: str
    interval: str
    b_only: str
    a_only: str
    missing: int
    outcome: str
    reading: str


def evidence_context(view: View, text: Text, who: Names) -> dict[str, Any]:
    """Return what the template needs of a run that has evidence."""
    evidence = view.evidence
    if evidence is None:
        return {}
    overall = evidence.overall
    settings = overall.settings
    rows = _Rows(text, partial=view.partial)
    categories = [rows.row(group, "category") for group in evidence.categories]
    tasks = [
        rows.noted(group, task_note(view.answer_shares, group.name, text, who))
        for group in evidence.tasks
    ]
    total = rows.overall(evidence)
    binary = overall.discordant is not None
    names = sorted({sample.category for sample in view.side_by_side.shown})
    counts = Counter(sample.side for sample in view.side_by_side.shown)
    counts["differs"] = counts["a"] + counts["b"]
    counts["all"] = len(view.side_by_side.shown)
    return {
        "outcome": overall.outcome.value,
        "tone": {"a_better": "a", "b_better": "b"}.get(overall.outcome.value, "none"),
        "level": f"{(1 - settings.alpha) * 100:g}",
        "alpha": f"{settings.alpha * 100:g}",
        "overall": total,
        "bar": wins_bar(evidence, text),
        "warnings": _warnings(view, text, who),
        "forest": _forest(evidence, text),
        "table": _table(evidence, text),
        "p_value": p_words(overall.p_value),
        "category_rows": [total, *categories],
        "task_rows": [total, *tasks],
        "course": course_drawings(view, text),
        "binary": binary,
        "names": names,
        "counts": counts,
        "first_filter": "differs" if counts["differs"] else "all",
        "slots": view.engine.profile.get("slots") if view.engine else text("unknown"),
        "ratio": _ratio(view, text, who),
    }


class _Rows:
    """Writes out the lines of the tables."""

    def __init__(self, text: Text, *, partial: bool) -> None:
        self._text = text
        self._partial = partial

    def overall(self, evidence: Evidence) -> TableRow:
        """Write the line of all items; its means are of the items that the verdict used."""
        means = used_means(evidence) or (None, None)
        row = self.row(evidence.group, "category")
        label = self._text("table.overall")
        return replace(row, label=label, overall=True, mean_a=means[0], mean_b=means[1])

    def row(self, group: Group, prefix: str) -> TableRow:
        """Write the line of a category or a task."""
        text, verdict = self._text, group.verdict
        interval = text("unknown")
        if verdict.interval is not None:
            low, high = (text.signed_points(bound) for bound in verdict.interval)
            interval = text("table.range", low=low, high=high)
        counted, unknown = verdict.discordant, text("unknown")
        return TableRow(
            label=text.known(prefix, group.name),
            overall=False,
            used=verdict.items_used,
            total=verdict.items_total,
            mean_a=group.mean_a,
            mean_b=group.mean_b,
            difference=text.signed_points(verdict.difference),
            interval=interval,
            b_only=unknown if counted is None else text.number(counted.b_only),
            a_only=unknown if counted is None else text.number(counted.a_only),
            missing=group.missing,
            outcome=group.claim.value,
            reading=self.reading(group),
        )

    def noted(self, group: Group, note: str) -> TableRow:
        """Write the line of a task, with what its reading must not hide."""
        row = self.row(group, "task")
        if not note:
            return row
        return replace(row, reading=self._text("reading.noted", reading=row.reading, note=note))

    def reading(self, group: Group) -> str:
        """Name what may be said of a group; what an unfinished run has not decided may still be."""
        open_ = self._partial and group.verdict.ending is Ending.ONGOING
        if open_ and group.claim is Outcome.UNDECIDED:
            return self._text("outcome.ongoing")
        return self._text(f"outcome.{group.claim.value}")


def forest_rows(evidence: Evidence, text: Text) -> list[svg.ForestRow]:
    """Return the rows of the forest plot: all items, then categories, then tasks."""

    def row(group: Group, prefix: str, kind: str = "group") -> svg.ForestRow:
        verdict = group.verdict
        label = text("table.overall") if kind == "overall" else text.known(prefix, group.name)
        return svg.ForestRow(label, verdict.difference, verdict.interval, kind)

    rows = [row(evidence.group, "category", "overall")]
    if len(evidence.categories) > 1:
        rows.append(svg.ForestRow(text("categories.category"), None, None, "heading"))
        rows += [row(group, "category") for group in evidence.categories]
    if len(evidence.tasks) > 1:
        rows.append(svg.ForestRow(text("categories.task"), None, None, "heading"))
        rows += [row(group, "task") for group in evidence.tasks]
    return rows


def _forest(evidence: Evidence, text: Text) -> list[Markup]:
    rows, margin = forest_rows(evidence, text), evidence.overall.settings.margin
    return [
        svg.forest(rows, text, layout, margin=margin, ident=f"forest-{layout.name}")
        for layout in (svg.WIDE, svg.NARROW)
    ]


def course_drawings(view: View, text: Text) -> list[Markup]:
    """Draw the course of the evidence, wide and narrow; nothing where there is none."""
    if view.course is None:
        return []
    overall = None if view.evidence is None else view.evidence.overall
    directed = overall is not None and overall.outcome in (Outcome.A_BETTER, Outcome.B_BETTER)
    decided_at = overall.decided_at if overall is not None and directed else None
    return [
        svg.course(view.course, text, layout, f"course-{layout.name}", decided_at=decided_at)
        for layout in (svg.WIDE, svg.NARROW)
    ]


def wins_bar(evidence: Evidence, text: Text) -> Markup:
    """Draw wins, ties and losses over the pairs that were used as one bar with its legend."""
    score_a, score_b = used_scores(evidence)
    ways = {
        "b": int((score_b > score_a).sum()),
        "tie": int((score_b == score_a).sum()),
        "a": int((score_b < score_a).sum()),
    }
    total = score_a.size
    if not total:
        return Markup("")
    kind = "share" if evidence.overall.discordant is not None else "score"
    at, bars = 0.0, []
    for way in ("b", "tie", "a"):
        share = ways[way] / total * 100
        bars.append(
            Markup('<rect class="{}" x="{}%" width="{}%" height="14"/>').format(
                way, f"{at:.3f}", f"{share:.3f}"
            )
        )
        at += share
    legend = Markup("").join(
        Markup('<li class="{}">{}</li>').format(way, text(f"wins.{way}.{kind}", count=ways[way]))
        for way in ("b", "tie", "a")
    )
    return Markup(
        '<div class="wins"><svg aria-hidden="true" focusable="false">{}</svg><ul>{}</ul></div>'
    ).format(Markup("").join(bars), legend)


def _table(evidence: Evidence, text: Text) -> dict[str, str] | None:
    found = evidence.overall.discordant
    if found is None:
        return None

    def written(count: int | None) -> str:
        return text("unknown") if count is None else text.number(count)

    return {
        "b_only": written(found.b_only),
        "a_only": written(found.a_only),
        "both_right": written(found.both_right),
        "both_wrong": written(found.both_wrong),
    }


def _warnings(view: View, text: Text, who: Names) -> list[str]:
    """Whatever a reader of the verdict must not overlook."""
    evidence = view.evidence
    if evidence is None:
        return []
    found: list[str] = []
    turned = evidence.overall.missing_could_turn
    if turned:
        found.append(text("warning.missing_could_turn"))
    flips = [
        name for name in evidence.sensitivity.flips if not (turned and name.startswith("missing_"))
    ]
    if flips:
        readings: Sequence[str] = [text.known("sensitivity", name) for name in flips]
        found.append(text("warning.flips", readings=text("warning.and").join(readings)))
    missing, pairs = evidence.group.missing, len(evidence.pairs)
    if missing:
        key = "warning.missing_many" if missing > _MISSING_MATTERS * pairs else "warning.missing"
        found.append(text(key, count=missing, total=pairs))
    # The worst of them is part of the headline.
    found += [censoring_words(one, text, who) for one in evidence.censoring[1:]]
    found += other_words(view.answer_shares, text, who)
    found += form_words(view.hf_scores, text, who)
    if evidence.unequal:
        found.append(text("warning.unequal", count=evidence.unequal))
    for arm in Arm:
        coverage = evidence.coverage[arm]
        inside = view.cut_in_thinking[arm]
        if inside > _MISSING_MATTERS * max(coverage.answered, 1):
            name = who.a if arm is Arm.A else who.b
            found.append(
                text("warning.cut_in_thinking", name=name, count=inside, total=coverage.answered)
            )
        if coverage.truncated > _MISSING_MATTERS * max(coverage.answered, 1):
            name = who.a if arm is Arm.A else who.b
            found.append(
                text(
                    "warning.truncated",
                    name=name,
                    count=coverage.truncated,
                    total=coverage.answered,
                )
            )
    return found


def _ratio(view: View, text: Text, who: Names) -> str:
    a, b = view.latency[Arm.A].p50, view.latency[Arm.B].p50
    if not a or not b:
        return ""
    return text("latency.ratio", a=who.a, b=who.b, ratio=f"{b / a:.2f}")
