"""llama.cpp's names for the pre-tokenizers of byte-level BPE.

A row of the table says: a tokenizer.json that splits with exactly these expressions, and treats
whole words that are tokens like this (`ignore_merges`), is what llama.cpp calls by that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from so8t.errors import UnsupportedModelError
from so8t.models.gguf_tokens import WAYS_OUT

if TYPE_CHECKING:
    from pathlib import Path

# Two ways to write the same group, both found in real files.
_CONTRACTIONS: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_CONTRACTIONS_LONG: Final = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"

_SPACES: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_PUNCTUATION: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD: Final = r"[^\r\n\p{L}\p{N}]?"

_QWEN2: Final = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}|{_PUNCTUATION}|{_SPACES}"
_QWEN35: Final = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_LLAMA3: Final = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_PUNCTUATION}|{_SPACES}"
_TEKKEN: Final = (
    rf"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_GPT4O: Final = (
    rf"{_LEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_LEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
# The expression inside ByteLevel(use_regex=true).
_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGITS: Final = r"\p{N}"

NAMES: Final[dict[tuple[tuple[str, ...], bool], str]] = {
    ((_QWEN2,), False): "qwen2",
    ((_QWEN35,), False): "qwen35",
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "dbrx",
    ((_TEKKEN,), True): "tekken",
    ((_GPT4O,), False): "gpt-4o",
    ((_GPT2,), False): "gpt-2",
    ((_DIGITS, _GPT2), False): "smollm",
}


def pre_tokenizer_name(path: Path, source: dict[str, Any]) -> str:
    """Find llama.cpp's name for the pre-tokenizer of a tokenizer.json.

    Raises ModelError, naming the expressions and the ways out, when there is none.
    """
    normalizer = source.get("normalizer")
    if normalizer and normalizer.get("type") != "NFC":
        raise UnsupportedModelError(
            f"{path}: the normalizer {normalizer.get('type')} has no counterpart in llama.cpp.",
            hint=WAYS_OUT,
        )
    ignore_merges = bool(source["model"].get("ignore_merges"))
    patterns = _patterns(path, source.get("pre_tokenizer"))
    name = NAMES.get((tuple(patterns), ignore_merges))
    if name is None:
        listed = " then ".join(patterns) or "none"
        extra = " with ignore_merges" if ignore_merges else ""
        raise UnsupportedModelError(
            f"{path}: the pre-tokenizer is unknown: {listed}{extra}. "
            f"Known are those of {', '.join(sorted(NAMES.values()))}.",
            hint=WAYS_OUT,
        )
    return name


def _patterns(path: Path, step: Any) -> list[str]:
    """List the expressions that a pre-tokenizer splits with, in order."""
    kind = step.get("type") if isinstance(step, dict) else None
    if kind == "Sequence":
        return [
            pattern for part in step.get("pretokenizers", []) for pattern in _patterns(path, part)
        ]
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return [_GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [_DIGITS]
    if kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        pattern = step.get("pattern", {}).get("Regex")
        if isinstance(pattern, str):
            plain = pattern.replace("\r", r"\r").replace("\n", r"\n")
            return [plain.replace(_CONTRACTIONS_LONG, _CONTRACTIONS)]
    raise UnsupportedModelError(
        f"{path}: the pre-tokenizer step {kind or step!r} is unknown in this form.", hint=WAYS_OUT
    )
