"""Notifications that nobody could hear yet: kept until somebody logs on."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from so8t.notify.channels import Notification
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_MOST = 50


class Pending:
    """The queue in a state directory: one small file a notification, the oldest first.

    Each file is written whole or not at all, so writers need no lock.
    """

    def __init__(self, state: Path) -> None:
        self._directory = state / "pending"

    def add(self, notification: Notification, at: datetime) -> None:
        """Keep a notification; beyond 50 the oldest go."""
        name = f"{at.strftime('%Y%m%dT%H%M%S.%f')}-{notification.occasion}.json"
        told = {"at": at.isoformat(), "notification": notification.plain()}
        write_atomic(self._directory / name, json.dumps(told, ensure_ascii=False))
        for old in self._files()[:-_MOST]:
            remove_file(old)

    def take(self) -> list[tuple[datetime, Notification]]:
        """Return what is kept, the oldest first; it stays until `clear`."""
        found = []
        for file in self._files():
            try:
                told = json.loads(file.read_text(encoding="utf-8"))
                found.append((datetime.fromisoformat(told["at"]), _read(told["notification"])))
            except OSError:
                continue  # taken by another process, or held by one: the next time
            except (ValueError, KeyError, TypeError):
                remove_file(file)  # damaged: there is nothing in it to tell
        return found

    def clear(self) -> None:
        """Forget all that is kept."""
        for file in self._files():
            remove_file(file)

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("*.json"))


def _read(plain: dict[str, Any]) -> Notification:
    own = {key: str(plain.pop(key)) for key in ("occasion", "run", "title", "text")}
    return Notification(**own, facts=plain)
