"""One tree of errors. Each says what happened, what is saved, and what to type next.

SO8TError                  1   our own fault, if nothing below fits
+-- UsageError             2   the request cannot be understood
|   +-- ConfigError        2   a config file: file, line, column, nearest key
|   +-- DataError          2   a suite, a training file, a result file: file and line
|   +-- VerdictInputError  2   numbers that no verdict can be made from
+-- PrerequisiteError      3   something is missing: a model, disk, memory, a library
|   +-- ModelError         3   a model file or directory is not what it should be
|       +-- UnsupportedModelError 3  sound, but of a kind that is not converted here
+-- IncompleteError        4   stopped before the end; the same command goes on
|   +-- Interrupted        4   a person or the system asked us to stop
+-- LeaseHeldError         5   another process holds this run
+-- GateFailed            10   a --fail-if condition holds
+-- EngineError            4   the engine did not answer
|   +-- EngineCrashed      4   its process ended; a new one may do better
|       +-- EngineOutOfMemory  4   for want of memory; one loaded smaller may do better
+-- TrainingError          4   phase 2 could not finish
|   +-- TrainingDiverged   4   the loss is no number any more
|   +-- TrainingMemoryError 4  the memory does not suffice for the present setting
|       +-- CardMemoryError 4  a card's, not the machine's
+-- VerificationFailed    11   `so8t verify` found something that the journal does not say
+-- JournalError           1   the journal refuses to be written, or is no journal
    +-- JournalNewerError  3   written by a newer version; untouched
    +-- JournalDamagedError 1  rows are lost or changed; a backup may be restored
"""

from __future__ import annotations

from typing import ClassVar


class SO8TError(Exception):
    """The root of the tree.

    Attributes:
        message: what happened, where.
        hint: the next command or change, or None when there is none to give.
        saved: what is already safe ("1,204 of 2,638 answers saved"), or None.
        retryable: whether doing the same again can help.
        exit_code: what the process ends with.

    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        saved: str | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.saved = saved
        self.retryable = retryable

    @property
    def resumable(self) -> bool:
        """Whether the same command, perhaps later, goes on where this one stopped."""
        return self.exit_code == IncompleteError.exit_code

    def __str__(self) -> str:
        parts = [self.message]
        if self.saved:
            parts.append(self.saved)
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class UsageError(SO8TError):
    """The request cannot be understood."""

    exit_code = 2


class _LocatedError(UsageError):
    """An error in a file that a person wrote: `file:line:column: message`."""

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.file = file
        self.line = line
        self.column = column


class ConfigError(_LocatedError):
    """A config file is wrong; the message begins with file:line:column."""


class DataError(_LocatedError):
    """A suite, a training file or a result file is wrong; the message begins with file:line."""


class VerdictInputError(UsageError):
    """Numbers that no verdict can be made from; the message names the value."""


class PrerequisiteError(SO8TError):
    """Something that the run needs is missing."""

    exit_code = 3


class ModelError(PrerequisiteError):
    """A model file or directory is not what it should be."""


class UnsupportedModelError(ModelError):
    """A model that is sound, but of a kind that is not converted here; another tool may do it."""


class IncompleteError(SO8TError):
    """The run stopped before its end; everything committed is kept."""

    exit_code = 4


class Interrupted(IncompleteError):
    """A person or the system asked the run to stop."""

    def __init__(self, message: str, *, signal: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal = signal


class LeaseHeldError(SO8TError):
    """Another process holds this run."""

    exit_code = 5


class GateFailed(SO8TError):
    """A --fail-if condition holds."""

    exit_code = 10


class VerificationFailed(SO8TError):
    """What is on the disk is not what the journal says, or the journal is not what was written."""

    exit_code = 11


class EngineError(SO8TError):
    """The engine did not answer, or not with an answer."""

    exit_code = 4


class EngineCrashed(EngineError):
    """The engine's process ended; nothing committed is affected."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, retryable=True)


class EngineOutOfMemory(EngineCrashed):
    """The engine was ended by the system for its memory, or could not get what it asked for."""


class TrainingError(SO8TError):
    """Phase 2 could not finish; no artifact was written under its final name."""

    exit_code = 4


class TrainingDiverged(TrainingError):
    """The loss or a gradient is no number any more; the checkpoints from before are kept."""


class TrainingMemoryError(TrainingError):
    """The memory does not suffice for the present setting; a smaller one may do."""


class CardMemoryError(TrainingMemoryError):
    """It is the memory of a card that does not suffice, not the machine's."""


class JournalError(SO8TError):
    """The journal refuses to be written, or is no journal."""


class JournalDamagedError(JournalError):
    """Rows of the journal are lost, changed or unreadable; the newest good backup may help."""


class JournalNewerError(JournalError):
    """The journal was written by a newer version; it was not touched."""

    exit_code = 3


def signal_exit_code(number: int) -> int:
    """Return what a process ends with that a signal ended in order, as shells write it."""
    return 128 + number
