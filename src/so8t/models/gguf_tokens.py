"""What the vocabulary modules share: token types, the vocabulary, the ways out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from so8t.config.engine_section import ENGINES


def ways_out() -> str:
    """Return what else can be done with a model that is not converted here, for a hint."""
    able = [
        f"`engine: {{kind: {name}}}`"
        for name, kind in ENGINES.usable().items()
        if kind.capabilities.imports_directories or kind.capabilities.serves_directories
    ]
    checkout = (
        "name a llama.cpp checkout in the config (`llama_cpp: DIR`), whose own converter covers "
        "more"
    )
    return f"{checkout}, or let a server take the directory as it is ({', '.join(able)})"


class TokenType(IntEnum):
    """llama.cpp's token types."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id, one for each row of the embedding.

    Attributes:
        model: "gpt2" for byte-level BPE, "llama" for SentencePiece's BPE, "t5" for Unigram.
        pre: llama.cpp's name of the pre-tokenizer.
        tokens: texts.
        types: `TokenType` numbers.
        scores: SentencePiece scores, the higher is merged first; None for byte-level BPE.
        merges: "left right" strings in order of rank; None for SentencePiece.
        add_space_prefix: whether a space is put before the text; None for byte-level BPE.
        charsmap: SentencePiece's compiled character map; Unigram only.
        remove_extra_whitespaces: whether several spaces are one; Unigram only.

    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    add_space_prefix: bool | None = None
    charsmap: bytes | None = None
    remove_extra_whitespaces: bool | None = None


def fill(entries: dict[int, str], rows: int) -> tuple[list[str], list[int]]:
    """Lay out tokens by id; ids without one get a name of their own and the type UNUSED."""
    taken = set(entries.values())
    tokens = []
    for number in range(rows):
        name = entries.get(number)
        if name is None:
            name = f"[PAD{number}]"
            while name in taken:
                name = f"[{name}]"
        tokens.append(name)
    return tokens, [int(TokenType.UNUSED)] * rows
