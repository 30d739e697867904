"""All words that a person sees, in English and Japanese, in the report and on the command line.

`Text("ja")("cli.saved", answers=3, total=8)`. The words are in en.json and ja.json beside this
file. In a placeholder, whole numbers get thousands separators, and `{count:answer|answers}` picks
the singular or the plural.
"""

from __future__ import annotations

import json
import locale
import os
import string
import sys
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGES = ("en", "ja")
#: A true minus sign: a hyphen is easily overlooked before a number.
MINUS = "\N{MINUS SIGN}"
_SECONDS_PER_MINUTE = 60
_MINUTES_PER_HOUR = 60
# Below this a mean is shown with more digits, so that "0 s" never stands for "fast".
_FINE_SECONDS = 10


class Text:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        """Load the words of `language`, "en" or "ja"."""
        self.language = language
        self._words = _load(language)

    def __call__(self, key: str, /, **values: Any) -> str:
        """Give the words for `key` with `values` put in. Raises KeyError for an unknown key."""
        return _FORMATTER.vformat(self._words[key], (), values)

    def __contains__(self, key: str) -> bool:
        return key in self._words

    def beginning_with(self, prefix: str) -> dict[str, str]:
        """Give the words, placeholders and all, of every key that begins with `prefix`."""
        return {key: words for key, words in self._words.items() if key.startswith(prefix)}

    def known(self, prefix: str, name: str) -> str:
        """Give the words for `prefix.name`, or `name` itself where nobody has given it words.

        For names that come from a person's files, such as categories.
        """
        key = f"{prefix}.{name}"
        return self(key) if key in self else name

    def shown(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Make values fit to be put into words.

        Unknown is a dash, a list is its items, a mapping its names with their values.
        """

        def show(value: Any) -> Any:
            if value is None or value == []:
                return self("unknown") if value is None else "0"
            if isinstance(value, dict):
                return ", ".join(f"{name} {_plain(show(inner))}" for name, inner in value.items())
            return ", ".join(map(str, value)) if isinstance(value, list) else value

        shown = {key: show(value) for key, value in values.items()}
        if isinstance(shown.get("reason"), str):
            shown["reason"] = self.known("reason", shown["reason"])
        return shown

    def number(self, value: int) -> str:
        """Write a whole number with thousands separators."""
        return f"{value:,}"

    def points(self, difference: float) -> str:
        """Write the size of a difference in percentage points, without its sign."""
        return f"{abs(difference) * 100:.1f}"

    def signed_points(self, difference: float | None) -> str:
        """Write a difference in percentage points with its sign; unknown is a dash, never zero."""
        if difference is None:
            return self("unknown")
        size = self.points(difference)
        if float(size) == 0.0:
            return size
        return f"+{size}" if difference > 0 else f"{MINUS}{size}"

    def percent(self, share: float | None) -> str:
        """Write a share as per cent with one decimal; unknown is a dash."""
        if share is None:
            return self("unknown")
        return self("percent", value=f"{share * 100:.1f}")

    def seconds(self, value: float | None) -> str:
        """Write a short time; unknown is a dash."""
        if value is None:
            return self("unknown")
        if value < 1:
            return self("milliseconds", value=f"{value * 1000:.0f}")
        return self("seconds", value=f"{value:.2f}" if value < _FINE_SECONDS else f"{value:.1f}")

    def duration(self, value: float | None) -> str:
        """Write a time that may be long in its two largest units; unknown is a dash."""
        if value is None or value < _SECONDS_PER_MINUTE:
            return self.seconds(value)
        minutes, seconds = divmod(round(value), _SECONDS_PER_MINUTE)
        hours, rest = divmod(minutes, _MINUTES_PER_HOUR)
        if hours:
            return self("hours", hours=hours, minutes=rest)
        return self("minutes", minutes=minutes, seconds=seconds)


class _Formatter(string.Formatter):
    """Format placeholders the way the words expect it."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if value == 1 else many
        if not format_spec and isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,}"
        return str(super().format_field(value, format_spec) if format_spec else _plain(value))


def _plain(value: Any) -> str:
    """Write a number with a fraction with four digits that count, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_FORMATTER = _Formatter()


@cache
def _load(language: str) -> dict[str, str]:
    file = resources.files(__package__) / f"{language}.json"
    words: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return words


def resolve_language(asked: str, environ: Mapping[str, str] = os.environ) -> str:
    """Turn "auto" into "en" or "ja" as the person's system is set; others stay as they are.

    The first of LC_ALL, LC_MESSAGES and LANG that is set decides, as POSIX has it.
    """
    if asked in LANGUAGES:
        return asked
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return _language_of(environ[name])
    if sys.platform == "win32":
        return _language_of(locale.getlocale()[0] or "")
    return "en"


def _language_of(name: str) -> str:
    # "ja_JP.UTF-8" everywhere, "Japanese_Japan" on Windows.
    return "ja" if name.lower().startswith("ja") else "en"
