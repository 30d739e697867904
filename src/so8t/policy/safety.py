"""The rule of safety corpora: their samples teach to detect or to refuse, and nothing else."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Literal

from so8t.domain.thinking_format import ThinkingFormatError, has_tags, parse
from so8t.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = frozenset(
    unicodedata.normalize("NFKC", word).casefold()
    for word in (
        *("harmful", "harmless", "unsafe", "safe", "toxic", "not toxic", "non-toxic"),
        *("refuse", "allow", "escalate", "block", "dangerous", "benign"),
        *("有害", "無害", "危険", "安全", "不適切", "適切", "拒否", "許可", "問題あり", "問題なし"),
    )
)
"""What a sample for detection may answer; case, width and a full stop do not matter."""

_NAMES = frozenset({"label", "safety", "verdict", "ラベル", "判定", "安全性"})
_HINT = (
    "a sample of a safety corpus answers with a label (harmful, safe, 有害, 安全, ...) or refuses; "
    "remove the line, or give it such an answer"
)


def check_sample(
    request: str, target: str, *, refuses: Callable[[str], bool], file: str, line: int
) -> Literal["label", "refusal"]:
    """Say what a sample of a dataset with `purpose: safety` teaches.

    A target that thinks in the fourfold format counts by its final part: that is what leaves. Its
    thoughts are not judged here.

    Args:
        request: what the model is asked; it must not be empty.
        target: what it would learn to answer.
        refuses: whether a text declines, wholly and not in part.
        file, line: for the message.

    Raises:
        DataError: the target is neither a label nor a refusal: it would teach what the corpus is
            there to prevent. The text itself is not repeated.

    """
    if not request.strip():
        raise DataError("A safety sample without a request.", file=file, line=line, hint=_HINT)
    said = _final(target)
    if said is not None and is_label(said):
        return "label"
    if said is not None and said.strip() and refuses(said):
        return "refusal"
    raise DataError(
        "The dataset is for safety, and this answer is neither a label nor a refusal: training on "
        "it would teach to continue what the corpus is there to prevent.",
        file=file,
        line=line,
        hint=_HINT,
    )


def is_label(text: str) -> bool:
    """Whether a text is nothing but a label: `harmful`, `Label: 有害`, `{"label": "safe"}`."""
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    if plain.startswith("{"):
        try:
            row = json.loads(plain)
        except (ValueError, RecursionError):
            return False
        if not isinstance(row, dict) or len(row) != 1:
            return False
        [(name, value)] = row.items()
        return name in _NAMES and isinstance(value, str) and _is_word(value)
    name, colon, value = plain.partition(":")
    if colon and name.strip() in _NAMES:
        return _is_word(value)
    return _is_word(plain)


def _is_word(text: str) -> bool:
    return text.strip().strip("\"'`*「」『』").rstrip(".。").strip() in LABELS


def _final(target: str) -> str | None:
    """Return what would leave; None where the thinking format is broken."""
    if not has_tags(target):
        return target
    try:
        return parse(target).final
    except ThinkingFormatError:
        return None
