"""SentencePiece-like vocabularies: BPE with byte fallback, as Llama 2, Mistral and Phi-3 have.

tokenizer.json ranks merges; llama.cpp wants a score for each piece and merges the best pair of
neighbours first. The two agree when the rank depends on the piece alone, which is how such files
are made from a SentencePiece model; where a file is different, that is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from so8t.errors import UnsupportedModelError
from so8t.models.gguf_tokens import TokenType, Vocabulary, fill, ways_out
from so8t.models.tokenizer_probe import differing, probe_texts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SPACE: Final = "▁"
_BYTES: Final = {f"<0x{value:02X}>" for value in range(256)}
# Pieces that no merge makes must never win against one that a merge does.
_NEVER: Final = -1e6
_ADDED: Final = -1000.0


def sentencepiece_vocabulary(
    path: Path,
    source: dict[str, Any],
    entries: dict[int, str],
    added: dict[int, dict[str, Any]],
    rows: int,
) -> tuple[Vocabulary, list[str]]:
    """Make a "llama" vocabulary from a tokenizer.json with byte fallback.

    `entries` are texts by id, `added` the added tokens by id. Returns it with caveats. Raises
    ModelError for one that llama.cpp could not load or that splits text in another way.
    """
    missing = len(_BYTES - set(entries.values()))
    if missing:
        raise UnsupportedModelError(
            f"{path}: {missing} of the 256 byte tokens (<0x00> to <0xFF>) are missing.",
            hint=ways_out(),
        )
    prefix, caveats = _space_prefix(path, source)
    model = source["model"]
    merges = [m.split(" ", 1) if isinstance(m, str) else list(m) for m in model["merges"]]
    scores_by_text, differing = _scores(merges, entries.values())
    if differing:
        caveats.append(
            f"{differing:,} merges have an order that scores cannot express; "
            "rare words may be split differently"
        )
    tokens, types = fill(entries, rows)
    scores = [0.0] * rows
    unknown = model.get("unk_token")
    for number, text in entries.items():
        if text in _BYTES:
            types[number] = TokenType.BYTE
        elif text == unknown:
            types[number] = TokenType.UNKNOWN
        else:
            types[number] = TokenType.NORMAL
            scores[number] = scores_by_text.get(text, _NEVER)
    for number, entry in added.items():
        if types[number] != TokenType.UNKNOWN:
            types[number] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
            scores[number] = _ADDED
    vocabulary = Vocabulary(
        "llama", "default", tokens, types, scores=scores, add_space_prefix=prefix
    )
    return vocabulary, caveats


def _scores(merges: list[list[str]], texts: Iterable[str]) -> tuple[dict[str, float], int]:
    """Scores by piece, and how many merges scores cannot express.

    A piece's score is minus the rank of its first merge, counted in pieces. Scores say the same
    as ranks when all merges that make a piece stand together, and when every pair of pieces that
    makes a piece is among them (llama.cpp joins any pair whose text is a token).
    """
    scores: dict[str, float] = {}
    listed: set[tuple[str, str]] = set()
    last = None
    scattered = 0
    for left, right in merges:
        piece = left + right
        listed.add((left, right))
        if piece not in scores:
            scores[piece] = -float(len(scores))
        elif piece != last:
            scattered += 1
        last = piece
    known = set(texts)
    absent = sum(
        1
        for piece in scores
        for cut in range(1, len(piece))
        if piece[:cut] in known
        and piece[cut:] in known
        and (piece[:cut], piece[cut:]) not in listed
    )
    return scores, scattered + absent


def _space_prefix(path: Path, source: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether a space goes before the text; raises where text is split in a way SPM does not.

    Known spellings first, then equal ids on every probing text.
    """
    prefix = _spelled_prefix(source.get("normalizer"))
    splitter: Any = source.get("pre_tokenizer")
    if splitter is None and prefix is not None:
        return prefix, []
    texts = probe_texts()
    for with_space in (False, True):
        if not differing(source, _as_llama_cpp(source, with_space), texts):
            return with_space, []
    if (
        prefix is not False
        or not splitter
        or splitter.get("type") != "Metaspace"
        or splitter.get("split", True)
    ):
        kinds = [part.get("type") for part in (source.get("normalizer"), splitter) if part]
        raise UnsupportedModelError(
            f"{path}: its normalizer and pre-tokenizer ({' and '.join(map(str, kinds))}) split "
            "text in a way that llama.cpp has not for SentencePiece vocabularies.",
            hint=ways_out(),
        )
    scheme = splitter.get("prepend_scheme", "always")
    caveats = []
    if scheme != "never":
        caveats.append(
            "llama.cpp puts a space also before text that begins with one, where the original "
            "does not"
        )
    if scheme == "first":
        caveats.append(
            "llama.cpp puts a space also before text that follows a special token, where the "
            "original does so only at the very beginning"
        )
    return scheme != "never", caveats


def _as_llama_cpp(source: dict[str, Any], with_space: bool) -> dict[str, Any]:
    """Write a tokenizer as llama.cpp applies it: spaces are marked, and nothing is split."""
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": _SPACE}] if with_space else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE})
    normalizer = {"type": "Sequence", "normalizers": steps}
    return {**source, "normalizer": normalizer, "pre_tokenizer": None}


def _spelled_prefix(normalizer: Any) -> bool | None:
    """Whether a normalizer puts a space before the text; None where it does anything else."""
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    prefix = False
    for step in steps:
        if step.get("type") == "Prepend" and step.get("prepend") == _SPACE:
            prefix = True
        elif step.get("type") != "Replace" or step.get("content") != _SPACE:
            return None
    return prefix
