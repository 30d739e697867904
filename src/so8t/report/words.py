"""The verdict in words that a layperson understands, and that never claim more than was tested."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm
from so8t.report.collapse import headline_words
from so8t.report.view import RunState, Standing
from so8t.verdict.decide import FIXED_METHODS
from so8t.verdict.outlook import outlook
from so8t.verdict.settings import Ending, Outcome, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.report.query import View
    from so8t.report.text import Text
    from so8t.verdict.decide import Verdict
    from so8t.verdict.missing import Censoring


@dataclass(frozen=True, slots=True)
class Names:
    """How A and B are called in a sentence."""

    a: str
    b: str


_DIRECTIONS = (Outcome.A_BETTER, Outcome.B_BETTER)
_OF_MARGIN = (Outcome.EQUIVALENT, Outcome.NON_INFERIOR)
_SMALL_P = 1e-4


@dataclass(frozen=True, slots=True)
class Words:
    """A verdict in words.

    Attributes:
        headline: what may be said, of which questions, without figures; and what turns or skews it.
        finding: the difference that was seen, with its interval.
        conclusion: what that rules out or leaves open; empty when the finding says it all.
        basis: how many items it rests on, and why no more.
        beside: the fixed-N analysis beside a decision of the looks; empty where there is none.
        following: for what is undecided, what would decide it; a sentence each.

    """

    headline: str
    finding: str
    conclusion: str
    basis: str
    beside: str = ""
    following: tuple[str, ...] = ()

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


def verdict_words(
    verdict: Verdict,
    text: Text,
    who: Names,
    *,
    standing: Standing | None = None,
    censoring: Sequence[Censoring] = (),
) -> Words:
    """Say a verdict in the language of `text`.

    `standing` tells of what run it is; None is of results that are finished. `censoring` is what
    hits one arm more than the other: the worst of it is part of the headline.
    """
    if verdict.difference is None:
        return _without_figures(verdict, text, standing)
    headline = _headline(verdict, text, who, standing)
    if censoring:
        headline = text("space").join((headline, censoring_words(censoring[0], text, who)))
    following: tuple[str, ...] = ()
    if verdict.outcome not in (*_DIRECTIONS, Outcome.EQUIVALENT):
        following = _following(verdict, text, "--margin" if standing is None else "verdict.margin")
    return Words(
        headline,
        _finding(verdict, text, who),
        _conclusion(verdict, text, who, standing),
        _basis(verdict, text),
        _beside(verdict, text),
        following,
    )


def view_words(view: View, text: Text) -> Words:
    """Say where a run stands: the one source of the words on its page and in the terminal."""
    if view.evidence is None:
        return Words(text("headline.no_data"), text("finding.not_begun"), "", "")
    who = names(view.label_a, view.label_b, text)
    words = verdict_words(
        view.evidence.overall,
        text,
        who,
        standing=view.standing,
        censoring=view.evidence.censoring,
    )
    collapses = headline_words(view.answer_shares, text, who)
    return replace(words, headline=text("space").join((words.headline, *collapses)))


def verdict_sentence(view: View, text: Text) -> str:
    """Say where a run stands, with every reservation that belongs to it."""
    return text("space").join(part for part in verdict_parts(view, text) if part)


def verdict_parts(view: View, text: Text) -> tuple[str, str]:
    """Return the two halves of `verdict_sentence`: the headline, and what follows it."""
    if view.evidence is None:
        return "", text("headline.no_data")
    words = view_words(view, text)
    reservations = [text("partial.short")] if view.partial else []
    verdict = view.evidence.overall
    tail = []
    if verdict.missing_could_turn:
        tail.append(text("conclusion.missing_could_turn"))
    if view.standing.state is RunState.DEADLINE:
        tail.append(text("deadline.short"))
    if view.evidence.sensitivity.flips and not verdict.missing_could_turn:
        tail.append(text("flips.short"))
    said = words.sentence(text)
    following = [*words.following, *command_words(view, text)]
    space = text("space")
    return space.join([*reservations, words.headline]), space.join([said, *tail, *following])


def command_words(view: View, text: Text) -> list[str]:
    """Say which command goes on with a run that has something left to gain."""
    state, evidence = view.standing.state, view.evidence
    if state is RunState.DEADLINE:
        return [text("next.deadline")]
    if evidence is None or state is not RunState.COMPLETE:
        return []
    verdict = evidence.overall
    if verdict.missing_could_turn:
        return [text("next.retry")]
    if verdict.outcome in (*_DIRECTIONS, Outcome.EQUIVALENT):
        return []
    if verdict.ending is Ending.FUTILE:
        return [text("next.futile")]
    return [text("next.more_data")]


def censoring_words(one: Censoring, text: Text, who: Names) -> str:
    """Name what cuts off or loses the answers of one arm more often than the other's."""
    worse, better = (Arm.A, Arm.B) if one.a > one.b else (Arm.B, Arm.A)
    counts = {Arm.A: one.a, Arm.B: one.b}
    called = {Arm.A: who.a, Arm.B: who.b}
    return text(
        f"headline.uneven.{one.kind}",
        name=called[worse],
        other=called[better],
        more=counts[worse],
        less=counts[better],
    )


def p_words(p: float | None, *, figures: int | None = None) -> str:
    """Write a p-value: = 0.0123, or < 0.0001; nothing where there is none."""
    if p is None:
        return ""
    if figures is not None:
        return f"= {p:.{figures}g}"
    return f"< {_SMALL_P:.4f}" if p < _SMALL_P else f"= {p:.4f}"


def _without_figures(verdict: Verdict, text: Text, standing: Standing | None) -> Words:
    """Say why there is no figure: nothing asked, nothing answered, or no look yet."""
    basis = text("basis.no_data", total=verdict.items_total) if verdict.items_total else ""
    if standing is not None and standing.state is RunState.NOT_BEGUN:
        return Words(text("headline.no_data"), text("finding.not_begun"), "", basis)
    known = 0 if standing is None else standing.pairs - verdict.items_dropped
    if known > 0:
        look = min(verdict.settings.stride(verdict.items_total), verdict.items_total)
        finding = text("finding.before_look", pairs=known, look=look)
        return Words(_no_verdict_yet(text, standing), finding, "", basis)
    over = standing is None or standing.state in (RunState.COMPLETE, RunState.DEADLINE)
    key = "headline.nothing" if over else "headline.no_data"
    return Words(text(key), text("finding.nothing" if over else "finding.no_data"), "", basis)


def _outcome_key(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.UNDECIDED and verdict.ending is Ending.ONGOING:
        return "ongoing"
    return verdict.outcome.value


def _no_verdict_yet(text: Text, standing: Standing | None) -> str:
    if standing is not None and standing.state is RunState.DEADLINE:
        return text("headline.ongoing_deadline")
    if standing is not None and standing.state is RunState.STOPPED:
        return text("headline.ongoing_stopped")
    return text("headline.ongoing")


def _headline(verdict: Verdict, text: Text, who: Names, standing: Standing | None) -> str:
    key = _outcome_key(verdict)
    if verdict.missing_could_turn and verdict.outcome is Outcome.UNDECIDED:
        return text(f"headline.{key}_missing")
    if key == "ongoing":
        return _no_verdict_yet(text, standing)
    said = text(
        f"headline.{key}",
        where=text(f"where.{verdict.settings.scope.value}"),
        a=who.a,
        b=who.b,
        margin=text.points(verdict.settings.margin or 0.0),
    )
    if verdict.missing_could_turn:
        said = text("space").join((said, text("headline.beyond_missing")))
    return said


def _conclusion(verdict: Verdict, text: Text, who: Names, standing: Standing | None) -> str:
    key, margin = _outcome_key(verdict), text.points(verdict.settings.margin or 0.0)
    if key == "ongoing" and standing is not None and standing.state is RunState.DEADLINE:
        key = "undecided"
    said = [text(f"conclusion.{key}", a=who.a, b=who.b, margin=margin)]
    proven = verdict.outcome in _DIRECTIONS
    if proven and verdict.interval is not None and 0.0 in verdict.interval:
        said.append(text("finding.cut_at_zero"))
    if verdict.adjusted is not None:
        said.append(text("finding.adjusted", points=text.points(verdict.adjusted)))
    claims = [claim for claim, _ in verdict.claims]
    if proven and Outcome.EQUIVALENT in claims and not verdict.missing_could_turn:
        said.append(text("conclusion.within_margin", margin=margin))
    if verdict.outcome in _OF_MARGIN and not verdict.missing_could_turn:
        if Outcome.B_BETTER in claims:
            said.append(text("conclusion.better_within", better=who.b, worse=who.a))
        elif Outcome.A_BETTER in claims:
            said.append(text("conclusion.better_within", better=who.a, worse=who.b))
    return text("space").join(part for part in said if part)


def _finding(verdict: Verdict, text: Text, who: Names) -> str:
    """Say the difference: from the winner's side where there is one, else from B's.

    The interval is the one that the claim rests on: an equivalence is proven by that of level
    1 - 2 alpha, which lies within the margin.
    """
    difference, interval = verdict.difference or 0.0, verdict.interval
    unit = "share" if verdict.discordant is not None else "score"
    alpha = verdict.settings.alpha
    if verdict.outcome in _OF_MARGIN and verdict.margin_interval is not None:
        interval, alpha = verdict.margin_interval, 2.0 * alpha
    level = f"{(1 - alpha) * 100:g}"
    winner = verdict.outcome in _DIRECTIONS
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
        key = "interval.missing" if verdict.missing_could_turn else "interval.spoken"
        range_ = text(key, level=level, low=low, high=high)
    points = text.points(difference)
    said = text(f"finding.{way}.{unit}", subject=subject, other=other, points=points)
    return text("finding.with_interval", finding=said, interval=range_)


def _bound(value: float, unit: str, text: Text) -> str:
    points = text.points(value)
    if float(points) == 0.0:
        return text("bound.same")
    return text(f"bound.{'more' if value > 0 else 'fewer'}.{unit}", points=points)


def _basis(verdict: Verdict, text: Text) -> str:
    used, total, dropped = verdict.items_used, verdict.items_total, verdict.items_dropped
    at = verdict.decided_at
    if verdict.ending is Ending.DECIDED and at is not None:
        if dropped and at + dropped >= total:
            return text("basis.decided_dropped", used=used, total=total, dropped=dropped)
        if at == total:
            return text("basis.decided_at_end", total=total)
        key = "basis.decided_and_on" if used > at else "basis.decided"
        said = text(key, at=at, used=used, total=total)
    elif verdict.ending is Ending.EXHAUSTED:
        # Dropped pairs were planned but do not count: "all" would hide them.
        key = "basis.exhausted" if used == total else "basis.exhausted_dropped"
        return text(key, used=used, total=total)
    else:
        key = "basis.futile" if verdict.ending is Ending.FUTILE else "basis.ongoing"
        said = text(key, used=used, total=total)
    return text("space").join((said, text("missing.short", count=dropped))) if dropped else said


def _beside(verdict: Verdict, text: Text) -> str:
    """Say why a fixed-N analysis stands beside a decision of looks, and what it says."""
    fixed = verdict.fixed
    if fixed is None or verdict.method == FIXED_METHODS[fixed.method] or fixed.p_value is None:
        return ""
    said = text("beside.interval", test=text(f"test.{fixed.method}"), p=p_words(fixed.p_value))
    claim = fixed.claims[0] if fixed.claims else Outcome.UNDECIDED
    if claim is verdict.outcome or verdict.missing_could_turn:
        return said
    other = text("beside.other", outcome=text(f"outcome.{claim.value}"))
    return text("space").join((said, other))


def _following(verdict: Verdict, text: Text, option: str) -> tuple[str, ...]:
    """Say what would decide what is undecided."""
    found = outlook(verdict)
    if found is None or verdict.settings.scope is Scope.BENCHMARK or verdict.missing_could_turn:
        return ()
    said = []
    seen = float(text.points(verdict.difference or 0.0)) > 0.0
    if found.needed is None or found.more is None or not seen:
        said.append(text("next.no_difference"))
    elif found.more:
        said.append(text("next.needed", needed=_round_up(found.needed), more=_round_up(found.more)))
    total = verdict.items_total
    smallest = text.points(found.smallest_margin)
    if verdict.outcome is Outcome.NON_INFERIOR:
        return tuple(said)
    if found.margin_needed is None:
        said.append(text("next.no_margin", total=total, margin=smallest, option=option))
        return tuple(said)
    key = "next.margin_in_reach" if found.margin_in_reach else "next.margin_out_of_reach"
    margin = text.points(verdict.settings.margin or 0.0)
    needed = _round_up(found.margin_needed)
    said.append(text(key, margin=margin, total=total, needed=needed, smallest=smallest))
    return tuple(said)


def _round_up(count: int) -> int:
    """Round up to two figures: more would be false precision."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // unit) * unit
