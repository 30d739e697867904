"""A verdict that says itself: in words where it is printed, as a card in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from so8t.report.words import names, verdict_words

if TYPE_CHECKING:
    from so8t.report.text import Text
    from so8t.verdict.decide import Verdict

_TONES = {"a_better": "#0b6e99", "b_better": "#b35900"}


@dataclass(frozen=True, slots=True)
class SpokenVerdict:
    """What may be said of A and B.

    Attributes:
        outcome: "b_better", "a_better", "equivalent", "undecided" or another of
            `so8t.verdict.settings.Outcome`.
        difference: mean score of B less that of A, in -1 to 1; None without any pair.
        interval: (low, high) of the difference at level 1 - `alpha`; None where there is none.
        alpha: error rate of a false verdict.
        items: pairs that the verdict rests on.
        total: pairs that were planned.
        headline: what may be said, in one line.
        text: difference, interval, what they rule out, and what the verdict rests on.

    """

    outcome: str
    difference: float | None
    interval: tuple[float, float] | None
    alpha: float
    items: int
    total: int
    headline: str
    text: str

    def __repr__(self) -> str:
        return f"{self.headline} {self.text}".strip()

    def _repr_html_(self) -> str:
        tone = _TONES.get(self.outcome, "#666")
        return (
            f'<div style="border-left:6px solid {tone};padding:.5em 1em;max-width:42em">'
            f'<div style="font-size:1.25em;font-weight:600">{escape(self.headline)}</div>'
            f"<div>{escape(self.text)}</div></div>"
        )


def spoken(
    verdict: Verdict, labels: tuple[str, str], text: Text, said: tuple[str, str] | None = None
) -> SpokenVerdict:
    """Put a verdict into words; `said` is headline and text that hold more than it knows."""
    words = verdict_words(verdict, text, names(*labels, text))
    headline, rest = said or (words.headline, words.sentence(text))
    return SpokenVerdict(
        outcome=verdict.outcome.value,
        difference=verdict.difference,
        interval=verdict.interval,
        alpha=verdict.settings.alpha,
        items=verdict.items_used,
        total=verdict.items_total,
        headline=headline,
        text=rest,
    )
