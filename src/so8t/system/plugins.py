"""Finds what may come from outside (engines, graders, model families) by standard entry points.

Ours stand in this project's own pyproject.toml and are found like anybody else's. Nothing is
imported before it is asked for by its name, and what cannot be imported takes no other with it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Generic, TypeVar

from so8t.errors import PrerequisiteError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

T = TypeVar("T")

_OURS = "so8t"
#: Names that a hint lists.
_NAMES_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """A name that is registered and cannot be used; `message` names the distributions."""

    name: str
    message: str


class Plugins(Generic[T]):
    """One group of entry points.

    Args:
        group: the name of the group, as it stands in a distribution's metadata.
        what: what one of them is called in a message.
        check: says what is wrong with an object that was loaded, None when nothing is.

    """

    def __init__(
        self, group: str, what: str, check: Callable[[str, Any], str | None] | None = None
    ) -> None:
        self.group = group
        self.what = what
        self._check = check
        self._loaded: dict[str, T] = {}

    @cached_property
    def _found(self) -> dict[str, list[metadata.EntryPoint]]:
        found: dict[str, list[metadata.EntryPoint]] = defaultdict(list)
        for point in metadata.entry_points(group=self.group):
            found[point.name].append(point)
        if not any(_is_ours(point) for points in found.values() for point in points):
            raise PrerequisiteError(
                f"the installed metadata of so8t names no {self.what} of its own: it is older "
                "than the source.",
                hint="install it again: python -m pip install --no-deps -e . (in a checkout)",
            )
        return {name: found[name] for name in sorted(found)}

    @property
    def names(self) -> list[str]:
        """Every registered name, sorted; a name that cannot be loaded is among them."""
        return list(self._found)

    def distribution(self, name: str) -> str:
        """Say which distribution registers a name, with its version."""
        return " and ".join(map(_distribution, self._found[name]))

    def foreign(self) -> dict[str, str]:
        """Name -> distribution, of those that come from elsewhere."""
        return {
            name: self.distribution(name)
            for name, points in self._found.items()
            if not all(map(_is_ours, points))
        }

    def load(self, name: str) -> T:
        """Import one by its name.

        Raises UsageError for a name that nobody registered (the nearest is named),
        PrerequisiteError for a name that two distributions register, and for one whose import
        fails or gives something else.
        """
        if name in self._loaded:
            return self._loaded[name]
        points = self._found.get(name)
        if points is None:
            raise UsageError(
                f"there is no {self.what} {name!r}.", hint=nearest(name, list(self._found))
            )
        if len(points) > 1:
            raise PrerequisiteError(
                f"{len(points)} distributions register the {self.what} {name!r}: "
                f"{', '.join(map(_distribution, points))}. None of them is loaded.",
                hint="uninstall all but one of them",
            )
        (point,) = points
        try:
            loaded = point.load()
        except Exception as error:  # importing other people's code can raise anything at all
            raise PrerequisiteError(
                f"the {self.what} {name!r} of {_distribution(point)} cannot be loaded: "
                f"{type(error).__name__}: {error}",
                hint="update that distribution, or uninstall it",
            ) from error
        complaint = None if self._check is None else self._check(name, loaded)
        if complaint is not None:
            raise PrerequisiteError(
                f"the {self.what} {name!r} of {_distribution(point)} cannot be used: {complaint}.",
                hint="update that distribution, or uninstall it",
            )
        self._loaded[name] = loaded
        return self._loaded[name]

    def usable(self) -> dict[str, T]:
        """Load all that can be loaded, by name. What cannot stands in `problems`."""
        found = {}
        for name in self._found:
            try:
                found[name] = self.load(name)
            except PrerequisiteError:
                continue  # told by `problems` and by `load`, to whoever needs that one
        return found

    def problems(self) -> list[Problem]:
        """Every name that cannot be loaded, and why."""
        found = []
        for name in self._found:
            try:
                self.load(name)
            except PrerequisiteError as error:
                found.append(Problem(name, error.message))
        return found


def _is_ours(point: metadata.EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == _OURS


def _distribution(point: metadata.EntryPoint) -> str:
    if point.dist is None:
        return f"an unknown distribution ({point.value})"
    return f"{point.dist.name} {point.dist.version} ({point.value})"


def nearest(name: str, names: list[str]) -> str:
    """Give the hint for an unknown name: the nearest one, and all of them where they are few."""
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    known = f"known: {', '.join(names[:_NAMES_SHOWN])}{more}"
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}? {known}" if close else known
