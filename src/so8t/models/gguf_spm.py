"""SentencePiece-like vocabularies: BPE with byte fallback, as Llama 2, Mistral and Phi-3 have.

tokenizer.json ranks merges; llama.cpp wants a score for each piece and merges the best pair of
neighbours first. The two agree when the rank depends on the piece alone, which is how such files
are made from a SentencePiece model; where a file is different, that is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from so8t.errors import ModelError, PrerequisiteError, UnsupportedModelError
from so8t.models.gguf_tokens import WAYS_OUT, TokenType, Vocabulary, fill

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
            hint=WAYS_OUT,
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
    """Whether a space goes before the text; raises where text is split in a way SPM does not."""
    normalizer, splitter = source.get("normalizer"), source.get("pre_tokenizer")
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    prefix = False
    for step in steps:
        if step.get("type") == "Prepend" and step.get("prepend") == _SPACE:
            prefix = True
        elif step.get("type") != "Replace" or step.get("content") != _SPACE:
            raise UnsupportedModelError(
                f"{path}: the normalizer step {step.get('type')} has no counterpart in llama.cpp.",
                hint=WAYS_OUT,
            )
    if splitter is None:
        return prefix, []
    if splitter.get("type") != "Metaspace" or splitter.get("split", True):
        raise UnsupportedModelError(
            f"{path}: the pre-tokenizer {splitter.get('type')} has no counterpart among "
            "SentencePiece vocabularies.",
            hint=WAYS_OUT,
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


def tokenizer_model_vocabulary(directory: Path, settings: dict[str, Any], rows: int) -> Vocabulary:
    """Make a "llama" vocabulary from tokenizer.model, with the optional `sentencepiece` package.

    Raises ModelError without the file, PrerequisiteError without the package.
    """
    path = directory / "tokenizer.model"
    if not path.is_file():
        raise ModelError(
            f"{directory}: holds no tokenizer (tokenizer.json or tokenizer.model).",
            hint="copy the tokenizer's files beside the weights",
        )
    try:
        from sentencepiece import (  # noqa: PLC0415 - optional
            SentencePieceProcessor,
        )
    except ImportError as error:
        raise PrerequisiteError(
            f"{path}: there is no tokenizer.json beside it, and reading tokenizer.model needs the "
            "sentencepiece package.",
            hint="pip install sentencepiece, or save the tokenizer with transformers, which "
            "writes tokenizer.json",
        ) from error
    pieces = SentencePieceProcessor(model_file=str(path))
    count = pieces.vocab_size()
    if count > rows:
        raise ModelError(
            f"{path}: has {count:,} tokens, but the embedding has {rows:,} rows.",
            hint="tokenizer and weights belong to different models",
        )
    entries = {number: str(pieces.id_to_piece(number)) for number in range(count)}
    decoder = {int(k): v for k, v in (settings.get("added_tokens_decoder") or {}).items()}
    entries.update({n: str(e["content"]) for n, e in decoder.items() if n < rows})
    tokens, types = fill(entries, rows)
    scores = [_ADDED] * rows
    kinds = (
        (pieces.is_unknown, TokenType.UNKNOWN),
        (pieces.is_control, TokenType.CONTROL),
        (pieces.is_unused, TokenType.UNUSED),
        (pieces.is_byte, TokenType.BYTE),
    )
    for number in range(count):
        scores[number] = float(pieces.get_score(number))
        types[number] = next((kind for test, kind in kinds if test(number)), TokenType.NORMAL)
    for number, entry in decoder.items():
        if number < rows and types[number] != TokenType.UNKNOWN:
            types[number] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
    prefix = bool(settings.get("add_prefix_space", True))
    return Vocabulary("llama", "default", tokens, types, scores=scores, add_space_prefix=prefix)
