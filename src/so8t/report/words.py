"""The verdict in words that a layperson understands, and that never claim more than was tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.verdict.settings import Ending, Outcome

if TYPE_CHECKING:
    from so8t.report.query import View
    from so8t.report.text import Text
    from so8t.verdict.decide import Verdict


@dataclass(frozen=True, slots=True)
class Names:
    """How A and B are called in a sentence."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Words:
    """A verdict in words.

    Attributes:
        headline: what may be said, of which questions, without figures.
        finding: the difference that was seen, with its interval.
        conclusion: what that rules out or leaves open; empty when the finding says it all.
        basis: how many items it rests on, and why no more.

    """

    headline: str
    finding: str
    conclusion: str
    basis: str

    def sentence(self, text: Text) -> str:
        """Finding, conclusion and basis in a row."""
        parts = (self.finding, self.conclusion, self.basis)
        return text("space").join(part for part in parts if part)


def names(label_a: str, label_b: str, text: Text) -> Names:
    """Name the arms so that the letter is always there, and the label where it says more."""

    def name(letter: str, label: str) -> str:
        if label.strip() in ("", letter):
            return letter
        return text("name.labelled", letter=letter, label=label)

    return Names(name("A", label_a), name("B", label_b))


def verdict_words(verdict: Verdict, text: Text, who: Names) -> Words:
    """Say a verdict in the language of `text`."""
    where = text(f"where.{verdict.settings.scope.value}")
    margin = text.points(verdict.settings.margin or 0.0)
    if verdict.difference is None:
        basis = text("basis.no_data", total=verdict.items_total) if verdict.items_total else ""
        return Words(text("headline.no_data"), text("finding.no_data"), "", basis)
    outcome = verdict.outcome.value
    if verdict.outcome is Outcome.UNDECIDED and verdict.ending is Ending.ONGOING:
        outcome = "ongoing"
    headline = text(f"headline.{outcome}", where=where, a=who.a, b=who.b, margin=margin)
    conclusion = text(f"conclusion.{outcome}", a=who.a, b=who.b, margin=margin)
    proven = verdict.outcome in (Outcome.A_BETTER, Outcome.B_BETTER)
    if proven and verdict.interval is not None and 0.0 in verdict.interval:
        conclusion = text("finding.cut_at_zero")
    return Words(headline, _finding(verdict, text, who), conclusion, _basis(verdict, text))


def verdict_sentence(view: View, text: Text) -> str:
    """Say where a run stands, with every reservation that belongs to it."""
    who = names(view.label_a, view.label_b, text)
    if view.evidence is None:
        return text("headline.no_data")
    said = verdict_words(view.evidence.overall, text, who).sentence(text)
    reservations = [text("partial.short")] if view.partial else []
    missing = view.evidence.group.missing
    tail = [text("missing.short", count=missing)] if missing else []
    if any(occurrence.kind == "deadline_reached" for occurrence in view.occurrences):
        tail.append(text("deadline.short"))
    if view.evidence.sensitivity.flips:
        tail.append(text("flips.short"))
    return text("space").join([*reservations, said, *tail])


def _finding(verdict: Verdict, text: Text, who: Names) -> str:
    """Say the difference: from the winner's side where there is one, else from B's."""
    difference, interval = verdict.difference or 0.0, verdict.interval
    unit = "share" if verdict.discordant is not None else "score"
    level = f"{(1 - verdict.settings.alpha) * 100:g}"
    winner = verdict.outcome in (Outcome.A_BETTER, Outcome.B_BETTER)
    subject, other = who.b, who.a
    if verdict.outcome is Outcome.A_BETTER:
        subject, other, difference = who.a, who.b, -difference
        interval = None if interval is None else (-interval[1], -interval[0])
    way = "more" if difference > 0 else "fewer"
    if float(text.points(difference)) == 0.0:
        way = "same"
    if interval is None:
        range_ = ""
    elif winner and interval[0] >= 0:
        low, high = (text.points(bound) for bound in interval)
        range_ = text("interval.plain", level=level, low=low, high=high)
    else:
        low, high = (_bound(bound, unit, text) for bound in interval)
        range_ = text("interval.spoken", level=level, low=low, high=high)
    points = text.points(difference)
    said = text(f"finding.{way}.{unit}", subject=subject, other=other, points=points)
    return text("finding.with_interval", finding=said, interval=range_)


def _bound(value: float, unit: str, text: Text) -> str:
    points = text.points(value)
    if float(points) == 0.0:
        return text("bound.same")
    return text(f"bound.{'more' if value > 0 else 'fewer'}.{unit}", points=points)


def _basis(verdict: Verdict, text: Text) -> str:
    used, total = verdict.items_used, verdict.items_total
    at = verdict.decided_at
    if verdict.ending is Ending.DECIDED and at is not None:
        if at == total:
            return text("basis.decided_at_end", total=total)
        if used > at:
            return text("basis.decided_and_on", at=at, used=used, total=total)
        return text("basis.decided", at=at, total=total)
    if verdict.ending is Ending.EXHAUSTED:
        # Dropped pairs were planned but do not count: "all" would hide them.
        key = "basis.exhausted" if used == total else "basis.exhausted_dropped"
        return text(key, used=used, total=total)
    key = "basis.futile" if verdict.ending is Ending.FUTILE else "basis.ongoing"
    return text(key, used=used, total=total)
