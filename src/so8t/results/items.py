"""What every reader gives: items with their scores as they stand in the file, unjudged.

A score is only checked once it is known which metric counts (`metrics.select`): a log may hold a
perplexity beside the accuracy, and that is no fault of the log.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The metric of sources that have only one and do not name it.
UNNAMED = "score"
#: In place of a raw value where an item has scores with names.
SEVERAL = object()
NO_STRATA: Mapping[str, str] = MappingProxyType({})
_SHOWN = 60
#: What people and tools write for right and wrong, in lower case and NFKC.
_WORDS = {
    **dict.fromkeys(
        ("true", "yes", "y", "correct", "right", "pass", "passed", "はい", "正解", "正", "合格",
         "○", "〇", "◯", "✓", "✔"), 1.0  # noqa: RUF001 - as people write it
    ),
    **dict.fromkeys(
        ("false", "no", "n", "incorrect", "wrong", "fail", "failed", "いいえ", "不正解", "誤",
         "不合格", "×", "✗", "✘"), 0.0  # noqa: RUF001 - as people write it
    ),
}  # fmt: skip
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the sources or the matching that a person should know.

    Attributes:
        kind: what it is; the command line has words for each kind.
        data: what goes into the words.

    """

    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """Where something stands: a file and a line in it, or an entry of an archive."""

    file: Path
    line: int | None = None
    entry: str | None = None

    def error(self, message: str, *, hint: str | None = None) -> DataError:
        """Make an error that begins with this place."""
        inside = f"{self.file} ({self.entry})" if self.entry else str(self.file)
        return DataError(message, file=inside, line=self.line, hint=hint)


class Item:
    """One question as one model answered it.

    A table has millions of them, so one holds no more than it must: the only score of a table as it
    stands, not in a dictionary; no strata of its own where there are none; its place in parts.

    Attributes:
        id: the item's id in its task, as text.
        task: the task; empty where the source names none.
        digest: hash of the question, prefixed with what was hashed; None where it is not there.
        strata: column to value, what the item is reported under.
        cluster: items that share a passage share this name; None stands alone.
        open: a run of ours has not asked this yet: not missing, and not to be skipped over.

    """

    __slots__ = (
        "_file", "_line", "_scores", "cluster", "digest", "id", "open", "strata", "task",
    )  # fmt: skip

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's word
        task: str,
        scores: Any,
        place: SourcePlace | tuple[Path, int],
        digest: str | None = None,
        strata: Mapping[str, str] = NO_STRATA,
        cluster: str | None = None,
        open: bool = False,  # noqa: A002 - the field's word
    ) -> None:
        """Take `scores` as the property, or the only raw value; `place` whole or in parts."""
        self.id = id
        self.task = task
        self._scores = scores
        if isinstance(place, tuple):
            self._file: Path | SourcePlace = place[0]
            self._line = place[1]
        else:
            self._file, self._line = place, 0
        self.digest = digest
        self.strata = strata
        self.cluster = cluster
        self.open = open

    @property
    def scores(self) -> dict[str, tuple[Any, ...]]:
        """Metric to the raw values, one a repeat (epoch); None is missing."""
        if isinstance(self._scores, dict):
            return self._scores
        return {UNNAMED: (self._scores,)}

    @scores.setter
    def scores(self, scores: dict[str, tuple[Any, ...]]) -> None:
        self._scores = scores

    @property
    def only_score(self) -> Any:
        """The raw value of a table's only score; `SEVERAL` where the scores have names."""
        return SEVERAL if isinstance(self._scores, dict) else self._scores

    @property
    def place(self) -> SourcePlace:
        """Where it was read, for messages."""
        file = self._file
        return file if isinstance(file, SourcePlace) else SourcePlace(file, self._line)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a run of ours froze before its first question.

    Attributes:
        run_id: identity of the run.
        look_every: items between looks.
        alpha: error rate.
        margin: margin of equivalence, None without.
        scope: population or benchmark.
        binary: whether all graders give only 0 or 1.
        replanned: whether the plan was changed by someone who could know results.

    """

    run_id: str
    look_every: int
    alpha: float
    margin: float | None
    scope: str
    binary: bool | None
    replanned: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """All that one source says.

    Attributes:
        path: the file or directory, as it was asked for.
        format: lm_eval, inspect, evalscope, table or run.
        label: how a person may call the model.
        items: in the order of the source.
        notes: what a person should know of the source.
        guessed_strata: strata were found in the log's metadata rather than put there to be strata.
        frozen: for runs of ours.
        arm: for runs of ours, "a" or "b".

    """

    path: str
    format: str
    label: str
    items: list[Item]
    notes: tuple[Note, ...] = ()
    guessed_strata: bool = False
    frozen: Frozen | None = None
    arm: str | None = None

    @property
    def tasks(self) -> list[str]:
        """The tasks in the order in which they first occur."""
        return list(dict.fromkeys(item.task for item in self.items))


def as_text(value: object, what: str, place: SourcePlace) -> str:
    """Give an id or a name as text. Raises DataError for what is neither text nor number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise place.error(f"the {what} is {shown(value)}; it must be text or a number")
    try:
        text = str(value).strip()
    except ValueError as error:  # Python refuses to write whole numbers of thousands of digits
        raise place.error(f"the {what} is too long a number") from error
    if not text:
        raise place.error(f"the {what} is empty")
    if not text.isprintable() and any(unicodedata.category(char) == "Cs" for char in text):
        raise place.error(f"the {what} is no valid text: {text!r}")
    return text


def as_score(value: object, place: SourcePlace, *, item: str, metric: str) -> float | None:
    """Give a raw value as a score in [0, 1], None where it is missing.

    Missing are null and empty text. True and false are 1 and 0, as are the words for them in
    English and Japanese; text may hold a number, with a decimal comma or as per cent.

    Raises:
        DataError: NaN, a number outside [0, 1], or no number; with file, line and item.

    """
    number = _as_number(value)
    if number is not None and 0.0 <= number <= 1.0:
        return number
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    about = f"item {shown(item)}: {metric} is {shown(value)}"
    if number is None:
        raise place.error(
            f"{about}, which is no number",
            hint="choose what to compare with --metric; leave a missing score empty",
        )
    if math.isnan(number):
        raise place.error(
            f"{about}, which hides whether the score is missing or the grader broken",
            hint="leave a missing score empty (JSON: null)",
        )
    raise place.error(
        f"{about}; a score must lie in [0, 1]",
        hint="choose another metric with --metric, or divide by the highest possible score",
    )


def plain_number(value: object) -> float | None:
    """Return what a plain number in [0, 1] says as text; None for all else, words included."""
    if type(value) is str and "_" not in value:
        try:
            number = float(value)
        except ValueError:
            return None
        return number if 0.0 <= number <= 1.0 else None
    return None


def _as_number(value: object) -> float | None:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return _number_in(value) if isinstance(value, str) else None


def _number_in(value: str) -> float | None:
    text = value.strip().lower()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if text in _WORDS:
        return _WORDS[text]
    percent = text.endswith("%")
    text = text.removesuffix("%").rstrip()
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    # Python reads "1_0" as ten; no other program does.
    if "_" in text:
        return None
    try:
        return float(text) / 100.0 if percent else float(text)
    except ValueError:
        return None


def question_digest(text: object) -> str | None:
    """Hash a question's text so that white space and Unicode forms do not matter."""
    if not isinstance(text, str):
        return None
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    if not plain:
        return None
    return f"text:{hashlib.sha256(plain.encode('utf-8', 'surrogatepass')).hexdigest()}"


def last_user_text(messages: object) -> str | None:
    """Give the text of the last user message of a conversation, None where there is none."""
    if not isinstance(messages, list):
        return None
    for message in reversed(messages):
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            content = "\n".join(part for part in parts if isinstance(part, str))
        return content if isinstance(content, str) else None
    return None


def shown(value: object) -> str:
    """Show a value from a file in a message: short, and without what a terminal would act on."""
    try:
        text = ascii(value) if not isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        return f"a huge {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
