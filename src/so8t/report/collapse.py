"""Arms that have collapsed, and tasks on which an arm is no better than a constant answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.answer_shares import FEWEST
from so8t.domain.exchange import Arm
from so8t.verdict.guessing import no_better_than_constant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.domain.answer_shares import AnswerShares
    from so8t.report.text import Text
    from so8t.report.words import Names

# References that are labels, such as A to J: a constant answer is worth mentioning.
_LABELLED = 0.1


def collapsed(shares: Sequence[AnswerShares]) -> list[AnswerShares]:
    """Return the arms and tasks that have collapsed, those with the most answers first."""
    return sorted((one for one in shares if one.signs), key=lambda one: -one.answers)


def at_guessing(one: AnswerShares) -> bool:
    """Whether an arm is not clearly better on a task than its best constant answer."""
    if one.mean is None or one.constant is None:
        return False
    if one.answers < FEWEST or one.constant < _LABELLED:
        return False
    return no_better_than_constant(one.mean, one.answers, one.constant)


def collapse_words(one: AnswerShares, text: Text, who: Names) -> str:
    """Say in what an arm has collapsed."""
    sign = one.signs[0]
    share = one.top_share if sign == "one_answer" else getattr(one, sign)
    return text(
        f"headline.collapsed.{sign}",
        name=_called(one, who),
        share=_percent(share),
        task=text.known("task", one.task),
        top=one.top,
    )


def headline_words(shares: Sequence[AnswerShares], text: Text, who: Names) -> list[str]:
    """Say the worst collapse of each arm: it belongs into the headline."""
    worst: dict[Arm, AnswerShares] = {}
    for one in collapsed(shares):
        worst.setdefault(one.arm, one)
    return [collapse_words(worst[arm], text, who) for arm in Arm if arm in worst]


def other_words(shares: Sequence[AnswerShares], text: Text, who: Names) -> list[str]:
    """Say what the headline left out: further tasks, and scores at the level of guessing."""
    seen: set[Arm] = set()
    said = []
    for one in collapsed(shares):
        if one.arm in seen:
            said.append(collapse_words(one, text, who))
        seen.add(one.arm)
    return said + [guessing_words(one, text, who) for one in shares if at_guessing(one)]


def guessing_words(one: AnswerShares, text: Text, who: Names) -> str:
    """Say that an arm is not better on a task than always giving one answer."""
    return text(
        "warning.guessing",
        name=_called(one, who),
        task=text.known("task", one.task),
        mean=_percent(one.mean or 0.0),
        constant=_percent(one.constant or 0.0),
    )


def task_note(shares: Sequence[AnswerShares], task: str, text: Text, who: Names) -> str:
    """Say behind the reading of a task which arm is at the level of guessing; empty for none."""
    called = [_called(one, who) for one in shares if one.task == task and at_guessing(one)]
    return text("reading.guessing", names=text("warning.and").join(called)) if called else ""


def answers_summary(one: AnswerShares) -> dict[str, Any]:
    """Return the shares of one arm on one task as plain data."""
    return {
        "task": one.task,
        "arm": one.arm.value,
        "answers": one.answers,
        "top": one.top,
        "top_share": one.top_share,
        "constant": one.constant,
        "mean": one.mean,
        "looping": one.looping,
        "echoing": one.echoing,
        "empty": one.empty,
        "foreign": one.foreign,
        "collapsed": list(one.signs),
        "at_guessing": at_guessing(one),
    }


def _called(one: AnswerShares, who: Names) -> str:
    return who.a if one.arm is Arm.A else who.b


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"
