"""`--fail-if`: a verdict that a script should stop at ends with exit code 10."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from so8t.errors import GateFailed
from so8t.verdict.settings import Outcome

if TYPE_CHECKING:
    from so8t.report.query import View

fail_if_option = click.option(
    "--fail-if",
    multiple=True,
    type=click.Choice([outcome.value for outcome in Outcome]),
    help="End with exit code 10 when this is the verdict; may be given several times.",
)


def check_gate(view: View, fail_if: tuple[str, ...]) -> None:
    """Raise GateFailed when the verdict is one of `fail_if`."""
    outcome = view.evidence.overall.outcome if view.evidence else Outcome.UNDECIDED
    if outcome.value in fail_if:
        raise GateFailed(f"the verdict is {outcome.value}, which --fail-if names.")
