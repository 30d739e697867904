"""`--fail-if`: a verdict that a script should stop at ends with exit code 10."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from so8t.errors import GateFailed
from so8t.report.collapse import collapsed
from so8t.verdict.settings import Outcome

if TYPE_CHECKING:
    from so8t.report.query import View

#: What --fail-if calls a model whose answers are all alike, loop or are empty.
COLLAPSED = "collapsed"

_OUTCOMES = [outcome.value for outcome in Outcome]

fail_if_option = click.option(
    "--fail-if",
    multiple=True,
    type=click.Choice(_OUTCOMES),
    help="End with exit code 10 when this is the verdict; may be given several times.",
)
run_fail_if_option = click.option(
    "--fail-if",
    multiple=True,
    type=click.Choice([*_OUTCOMES, COLLAPSED]),
    help="End with exit code 10 when this is the verdict, or a model has collapsed: it gives one "
    "answer to everything, loops, or says nothing. May be given several times.",
)


def check_gate(view: View, fail_if: tuple[str, ...]) -> None:
    """Raise GateFailed when the verdict is one of `fail_if`, or an arm has collapsed."""
    if COLLAPSED in fail_if and (found := collapsed(view.answer_shares)):
        arms = " and ".join(sorted({one.arm.value.upper() for one in found}))
        raise GateFailed(f"model {arms} has collapsed ({found[0].task}), which --fail-if names.")
    outcome = view.evidence.overall.outcome if view.evidence else Outcome.UNDECIDED
    if outcome.value in fail_if:
        raise GateFailed(f"the verdict is {outcome.value}, which --fail-if names.")
