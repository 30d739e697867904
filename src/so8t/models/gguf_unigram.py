"""Unigram vocabularies (SentencePiece's other kind: T5, XLM-R, ALBERT) as llama.cpp's "t5".

llama.cpp searches the best sum of scores as SentencePiece does, but knows no byte fallback: what
the vocabulary lacks is one unknown token there. A tokenizer that falls back to bytes is refused,
since any rare character would give other ids.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import UnsupportedModelError
from so8t.models.gguf_tokens import TokenType, Vocabulary, fill, ways_out

if TYPE_CHECKING:
    from pathlib import Path

_SPACE: Final = "▁"


def unigram_vocabulary(
    path: Path,
    source: dict[str, Any],
    entries: dict[int, str],
    added: dict[int, dict[str, Any]],
    rows: int,
) -> Vocabulary:
    """Make a "t5" vocabulary from a tokenizer of type Unigram, in the form of tokenizer.json.

    Raises UnsupportedModelError for one that llama.cpp would split in another way.
    """
    model = source["model"]

    def refused(what: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"{path}: a Unigram tokenizer with {what} has no counterpart in llama.cpp.",
            hint=ways_out(),
        )

    if model.get("byte_fallback"):
        raise refused("byte fallback")
    unknown = model.get("unk_id")
    if unknown is None:
        raise refused("no unknown token")
    charsmap, merges_spaces, marks_spaces = _normalizer(source.get("normalizer"), refused)
    splitter = source.get("pre_tokenizer")
    prefix, splits = True, False
    if splitter is None and marks_spaces:
        prefix = False
    else:
        splits = _pre_tokenizer(splitter, refused)
    if splits and charsmap is None:
        # Line breaks would be dropped by the one and kept by the other.
        raise refused("white space that is dropped, but no character map")
    tokens, types = fill(entries, rows)
    scores = [0.0] * rows
    for number, (_, score) in enumerate(model["vocab"]):
        types[number] = TokenType.UNKNOWN if number == unknown else TokenType.NORMAL
        scores[number] = float(score)
    for number, entry in added.items():
        if types[number] != TokenType.UNKNOWN:
            types[number] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
    return Vocabulary(
        "t5",
        "default",
        tokens,
        types,
        scores=scores,
        add_space_prefix=prefix,
        charsmap=charsmap,
        remove_extra_whitespaces=merges_spaces or splits,
    )


def _normalizer(normalizer: Any, refused: Any) -> tuple[bytes | None, bool, bool]:
    """Return the character map, whether several spaces become one, whether they are marked."""
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    charsmap, merges, marks = None, False, False
    for step in steps:
        kind = step.get("type")
        if kind == "Precompiled":
            charsmap = base64.b64decode(step["precompiled_charsmap"])
        elif kind == "Replace" and step.get("content") in {_SPACE, " "}:
            # One space is marked; an expression for several makes them one.
            marks |= step["content"] == _SPACE
            merges |= step["pattern"].get("String") != " "
        elif kind != "Strip":
            raise refused(f"the normalizer {kind}")
    return charsmap, merges, marks


def _pre_tokenizer(splitter: Any, refused: Any) -> bool:
    """Return whether text is split at white space first; raise unless a space goes before it."""
    steps = splitter.get("pretokenizers", [splitter]) if isinstance(splitter, dict) else []
    kinds = [step.get("type") for step in steps]
    spaces = [step for step in steps if step.get("type") == "Metaspace"]
    if set(kinds) - {"WhitespaceSplit", "Metaspace"} or len(spaces) != 1:
        raise refused(f"the pre-tokenizer {' and '.join(map(str, kinds)) or 'none'}")
    if spaces[0].get("prepend_scheme", "always") != "always":
        raise refused(f"the prepend scheme {spaces[0]['prepend_scheme']}")
    return "WhitespaceSplit" in kinds
