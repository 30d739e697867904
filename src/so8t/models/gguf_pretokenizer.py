"""llama.cpp's names for the pre-tokenizers of byte-level BPE.

A row of the table says: a tokenizer.json that splits with exactly these expressions, and treats
whole words that are tokens like this (`ignore_merges`), is what llama.cpp calls by that name.
"""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import UnsupportedModelError
from so8t.models.gguf_tokens import ways_out
from so8t.models.tokenizer_probe import differing, probe_texts, words

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
_DEEPSEEK3: Final = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
    (
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
    ),
)

# One in so many probing texts, about 400.
_STRIDE: Final = 37

NAMES: Final[dict[tuple[tuple[str, ...], bool], str]] = {
    ((_QWEN2,), False): "qwen2",
    ((_QWEN35,), False): "qwen35",
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "dbrx",
    ((_TEKKEN,), True): "tekken",
    ((_GPT4O,), False): "gpt-4o",
    ((_GPT2,), False): "gpt-2",
    ((_DIGITS, _GPT2), False): "smollm",
    (_DEEPSEEK3, False): "deepseek-v3",
}


def pre_tokenizer_name(path: Path, source: dict[str, Any]) -> str:
    """Find llama.cpp's name for the pre-tokenizer of a tokenizer in the form of tokenizer.json.

    The spelling decides where it is known; otherwise the name whose rules give the same ids to
    every probing text. Raises UnsupportedModelError, naming the expressions and the ways out, when
    there is none.
    """
    ignore_merges = bool(source["model"].get("ignore_merges"))
    patterns = _patterns(source.get("pre_tokenizer"))
    normalizer = source.get("normalizer")
    if patterns is not None and (not normalizer or normalizer.get("type") == "NFC"):
        name = NAMES.get((tuple(patterns), ignore_merges))
        if name is not None:
            return name
    found, counts = _equal_name(source)
    if found is not None:
        return found
    listed = " then ".join(patterns) if patterns else json.dumps(source.get("pre_tokenizer"))
    closest = min(counts, key=lambda one: counts[one])
    if normalizer and normalizer.get("type") != "NFC":
        listed += f" after the normalizer {json.dumps(normalizer)[:300]}"
    raise UnsupportedModelError(
        f"{path}: the pre-tokenizer is unknown: {listed[:800]}"
        f"{' with ignore_merges' if ignore_merges else ''}. Of {', '.join(sorted(NAMES.values()))} "
        f"none gives the same token ids; the closest is {closest}.",
        hint=ways_out(),
    )


def _equal_name(source: dict[str, Any]) -> tuple[str | None, dict[str, int]]:
    """Find the name that gives equal ids; else how many texts get others, by name.

    Texts that the tokenizer normalizes are left out where it normalizes to NFC, which GGUF has no
    place for; any other change of the text counts as a difference.
    """
    texts = probe_texts()
    if _normalizes_to_nfc(source.get("normalizer")):
        texts = tuple(text for text in texts if unicodedata.is_normalized("NFC", text))
    counts: dict[str, int] = {}
    for (patterns, ignore_merges), name in NAMES.items():
        candidate = {
            **source,
            "normalizer": None,
            "pre_tokenizer": _as_llama_cpp(patterns),
            "model": {**source["model"], "ignore_merges": ignore_merges},
        }
        # Few texts tell most names apart; only what passes them is asked all.
        differ = differing(source, candidate, texts[::_STRIDE])
        if differ:
            counts[name] = len(differ)
        elif not (differ := differing(source, candidate, (*texts, *words(source)))):
            return name, {}
        else:
            counts[name] = 1
    return None, counts


def _normalizes_to_nfc(normalizer: Any) -> bool:
    if not isinstance(normalizer, dict):
        return False
    steps = normalizer.get("normalizers", [normalizer])
    return any(step.get("type") == "NFC" for step in steps)


def _as_llama_cpp(patterns: tuple[str, ...]) -> dict[str, Any]:
    """Write expressions as llama.cpp applies them: each isolates its matches within the last's."""
    splits = [
        {"type": "Split", "pattern": {"Regex": one}, "behavior": "Isolated", "invert": False}
        for one in patterns
    ]
    bytes_only = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    return {"type": "Sequence", "pretokenizers": [*splits, bytes_only]}


def _patterns(step: Any) -> list[str] | None:
    """List the expressions that a pre-tokenizer splits with, in order; None for other steps."""
    kind = step.get("type") if isinstance(step, dict) else None
    if kind == "Sequence":
        parts = [_patterns(part) for part in step.get("pretokenizers", [])]
        if any(part is None for part in parts):
            return None
        return [pattern for part in parts for pattern in part or []]
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return [_GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [_DIGITS]
    if kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        pattern = step.get("pattern", {}).get("Regex")
        if isinstance(pattern, str):
            plain = pattern.replace("\r", r"\r").replace("\n", r"\n")
            return [plain.replace(_CONTRACTIONS_LONG, _CONTRACTIONS)]
    return None
