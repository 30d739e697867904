"""Words for events that change a setting: what differs, and nothing of what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.report.text import Text


def variant_of(kind: str, data: Mapping[str, Any]) -> str:
    """Return the kind under which an event is told: a pause is no other setting."""
    changed = _changed(data)
    if kind == EventKind.TRAINING_SETTING and changed == ["paused"]:
        return "training_paused" if data["after"]["paused"] else "training_went_on"
    return kind


def setting_words(data: Mapping[str, Any], text: Text) -> dict[str, Any]:
    """Return `data` with `before` and `after`, where they are settings, as words of what differs.

    Of two ways to load a model or to train, a person wants to know what is another one now.
    """
    changed = _changed(data)
    if not changed:
        return dict(data)

    def words(setting: Mapping[str, Any]) -> str:
        return ", ".join(
            f"{text.known('profile', name)} {value(setting, name)}" for name in changed
        )

    def value(setting: Mapping[str, Any], name: str) -> str:
        found = setting.get(name)
        if isinstance(found, bool):
            return text("profile.on" if found else "profile.off")
        return text("unknown") if found is None else str(found)

    return dict(data) | {"before": words(data["before"]), "after": words(data["after"])}


def _changed(data: Mapping[str, Any]) -> list[str]:
    before, after = data.get("before"), data.get("after")
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return []
    return [name for name in after if before.get(name) != after[name]]
