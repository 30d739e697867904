"""The whole journal verified beside the run: in a process of its own, on a connection of its own.

Structure and every link of a million answers take tens of seconds. That is worth it after a stop
that nobody ordered, and not worth waiting for. What is found goes into a file beside the journal,
so that the next start mends it before anything else (see `restore`).

Run as `python -m so8t.journal.check`; messages as in `so8t.system.child`:

    {"op": "check", "path"} -> {"op": "checked", "damage": null | what is wrong}
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from so8t.errors import EngineCrashed, JournalDamagedError
from so8t.journal.chain import UNREADABLE, verify_chain
from so8t.journal.connect import connect
from so8t.system.child import Child, ChildTimeoutError, serve_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    Reply = Callable[[dict[str, Any]], None]


class BackgroundCheck:
    """One check under way. Start it in a thread that lives as long as it should."""

    def __init__(self, path: Path) -> None:
        """Begin to check the journal at `path`, at low priority."""
        self._child: Child | None = Child("so8t.journal.check", below_normal=True)
        self._child.send({"op": "check", "path": str(path)})

    def result(self, timeout: float = 0.0) -> str | None:
        """Return "" for a whole journal, what is wrong with a damaged one, None while unknown.

        A check that died (out of memory, killed) leaves the matter unknown.
        """
        if self._child is None:
            return None
        try:
            answer = self._child.receive(timeout)
        except ChildTimeoutError:
            return None
        except EngineCrashed:
            self.close()
            return None
        self.close()
        return str(answer["damage"] or "")

    def close(self) -> None:
        """End the check, finished or not. Safe to call twice."""
        if self._child is not None:
            self._child.kill()
            self._child.close()
            self._child = None


def damage_in(path: Path) -> str | None:
    """Verify the journal at `path` from its first row to its last; None when it is whole."""
    try:
        connection = connect(path, readonly=True)
        try:
            verify_chain(connection)
        finally:
            connection.close()
    except (JournalDamagedError, *UNREADABLE) as error:
        return str(error)
    return None


def _handle(message: dict[str, Any], reply: Reply) -> None:
    def work() -> None:
        reply({"op": "checked", "damage": damage_in(Path(message["path"]))})

    threading.Thread(target=work, daemon=True).start()


def main() -> NoReturn:
    """Serve until standard input ends."""
    serve_messages(_handle)


if __name__ == "__main__":
    main()
