"""What was looked at and what was found, one line a question, each failure with its fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckOutcome(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - a word, no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `so8t doctor`. `fix` is None for what passed."""

    name: str
    outcome: CheckOutcome
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class TaskNeeds:
    """The tasks that an engine must be able to do something for, by what that is.

    `likelihoods`: tasks that measure given texts; `choices`: those that take a choice instead.
    """

    choices: tuple[str, ...] = ()
    likelihoods: tuple[str, ...] = ()
