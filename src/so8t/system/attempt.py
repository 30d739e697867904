"""A figure that cannot be read is unknown, whatever went wrong in reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


def attempt(question: Callable[[], Value]) -> tuple[Value | None, str | None]:
    """Ask for a figure; return it and None, or None and why it could not be read.

    For readings of the machine only: psutil lets bare OSErrors through (no file handle is left,
    a driver is gone), its parsers fail on lines that a new kernel writes, and what a vendor's
    library raises has no base class in common. None of that may end a run that needs no sensor.
    """
    try:
        return question(), None
    except Exception as error:  # noqa: BLE001 - the one place for it; the reason is handed on
        said = str(error).strip()
        return None, f"{type(error).__name__}: {said}" if said else type(error).__name__


def reading(question: Callable[[], Value]) -> Value | None:
    """Ask for a figure whose absence needs no reason: None where it cannot be read."""
    return attempt(question)[0]
