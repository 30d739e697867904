"""Whose a database is, and whether its tables, indexes and triggers are those of its version.

A file is ours by its application id. One that was cut off before it had one is ours where it holds
nothing yet, or what our first transaction would have put there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import apsw

from so8t.errors import JournalDamagedError, JournalNewerError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class DatabaseForm:
    """What a file is: the number that no other database has, and the steps to its tables."""

    application_id: int
    steps: tuple[str, ...]

    def check_version(self, found: int, path: str) -> None:
        """Refuse a file that a newer version wrote."""
        if found > len(self.steps):
            raise JournalNewerError(
                f"{path} has journal version {found}; this program knows up to {len(self.steps)}. "
                "The file was not touched.",
                hint="upgrade: pip install -U so8t",
            )

    def check_identity(self, identity: int, path: str) -> None:
        """Refuse a file whose application id is another program's."""
        if identity not in (0, self.application_id):
            raise _not_ours(path)

    def recognise(self, connection: apsw.Connection, path: str) -> int:
        """Return the version of a file that is ours, 0 where it holds nothing yet. Only reads.

        Raises JournalNewerError; JournalDamagedError for another program's file.
        """
        identity, version = _marks(connection)
        self.check_identity(identity, path)
        if not identity and (
            version > len(self.steps) or _defined(connection) != _prescribed(self, version)
        ):
            raise _not_ours(path)
        self.check_version(version, path)
        return version

    def bring_up(self, connection: apsw.Connection) -> None:
        """Bring a file that is ours up to this version: all steps and its identity, or nothing.

        Whatever cuts it off, the next opening finds the file as it was before, or whole.
        """
        if _marks(connection) == (self.application_id, len(self.steps)):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            _, version = _marks(connection)
            for step in self.steps[version:]:
                connection.execute(step)
            connection.pragma("user_version", len(self.steps))
            connection.pragma("application_id", self.application_id)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def check_schema(self, connection: apsw.Connection) -> None:
        """Compare the tables, indexes and triggers with those of the file's version.

        An index that is gone can hide rows or let one in twice; a trigger can change what is
        written. Raises JournalDamagedError naming what differs.
        """
        _, version = _marks(connection)
        found, wanted = _defined(connection), _prescribed(self, version)
        differing = [
            f"{name} ({_how(name, found, wanted)})"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]
        if differing:
            raise JournalDamagedError(
                f"the schema of the file was changed after it was written: {', '.join(differing)}."
            )


def _not_ours(path: str) -> JournalDamagedError:
    return JournalDamagedError(
        f"{path} is a database of another program.", hint="give the run another `output`"
    )


def _marks(connection: apsw.Connection) -> tuple[int, int]:
    return connection.pragma("application_id"), connection.pragma("user_version")


def _how(name: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    if name not in wanted:
        return "added"
    return "changed" if name in found else "removed"


def _defined(connection: apsw.Connection) -> dict[str, str]:
    """Return what a file defines, as it was written, by kind and name; SQLite's own left out."""
    return {
        f"{kind} {name}": sql
        for kind, name, sql in connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
    }


@lru_cache
def _prescribed(form: DatabaseForm, version: int) -> dict[str, str]:
    """Return what a file of a version defines."""
    connection = apsw.Connection(":memory:")
    try:
        for step in form.steps[:version]:
            connection.execute(step)
        return _defined(connection)
    finally:
        connection.close()
