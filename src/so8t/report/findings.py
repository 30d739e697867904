"""What a verification says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Result = Literal["pass", "warn", "fail", "skip"]
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `pass`, `warn` (could not be recomputed, or not wholly), `fail`, or `skip`: it is no evidence
    and was not compared.
    """

    name: str
    result: Result
    detail: str


def counted(name: str, wrong: list[str], total: int, good: str, bad: str) -> Finding:
    """Tell how many of `total` are wrong, the first few by name."""
    if not wrong:
        return Finding(name, "pass", f"{total} {good}")
    some = ", ".join(wrong[:_NAMED]) + (", ..." if len(wrong) > _NAMED else "")
    return Finding(name, "fail", f"{len(wrong)} of {total} {bad}: {some}")
