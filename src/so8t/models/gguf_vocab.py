"""A Hugging Face tokenizer as GGUF metadata.

Three kinds are written: byte-level BPE (llama.cpp's "gpt2": Qwen, Llama 3, Phi-4, ...),
SentencePiece-like BPE with byte fallback ("llama": Llama 2, Mistral, Phi-3, Gemma) and Unigram
("t5"). What the tokenizer is, transformers says (`tokenizer_files`). llama.cpp does not
take the pre-tokenizer's regular expression from a file, it has a list of names with expressions
built in; a name is therefore only written when the expression is exactly the one that it stands
for, because a wrong one degrades answers silently. Source: llama.cpp's `llama-vocab.cpp`.

Not carried over, since GGUF has no place for it: Unicode normalization (Qwen's NFC) of prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import ModelError, UnsupportedModelError
from so8t.models.checkpoint_files import read_json
from so8t.models.gguf_pretokenizer import pre_tokenizer_name
from so8t.models.gguf_spm import sentencepiece_vocabulary
from so8t.models.gguf_tokens import TokenType, Vocabulary, fill, ways_out
from so8t.models.gguf_unigram import unigram_vocabulary
from so8t.models.tokenizer_files import resolve_tokenizer
from so8t.system.gguf import GGUFWriter, ValueType

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.models.tokenizer_files import ResolvedTokenizer

# What llama.cpp takes for the end of a turn by its text, in the order in which one is preferred.
_END_OF_TURN: Final = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<EOT>", "[EOT]")
_KNOWN_ENDS: Final = {
    *_END_OF_TURN,
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "</s>",
    "<eos>",
    "[EOS]",
}
# With these in its name llama.cpp strips white space after special tokens, and requires tokens
# that only Phi-3's own vocabulary has: any other model with such a name would not load.
_PHI3_NAMES: Final = ("phi-3", "phi3")
_PHI3_TOKENS: Final = {"<unk>", "<s>", "</s>", "<|endoftext|>"}


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A directory's tokenizer, ready to be written.

    Attributes:
        vocabulary: tokens with types, scores and merges.
        special: llama.cpp's key ("bos", "eos", ...) -> token id.
        add_bos: whether encoding begins with the bos token.
        add_eos: whether encoding ends with the eos token.
        chat_template: Jinja source, None where the model has none.
        strips_after_special: whether white space after special tokens is dropped (Phi-3).
        caveats: what GGUF cannot express.

    """

    vocabulary: Vocabulary
    special: dict[str, int]
    add_bos: bool
    add_eos: bool
    chat_template: str | None
    strips_after_special: bool = False
    caveats: tuple[str, ...] = field(default=())

    def general_name(self, wanted: str) -> str:
        """Return a model name that makes llama.cpp treat white space as this tokenizer does."""
        named = any(part in wanted.lower() for part in _PHI3_NAMES)
        if self.strips_after_special and not named:
            return f"{wanted} (phi-3)"
        if named and not self.strips_after_special:
            lowered = wanted.lower()
            for part in _PHI3_NAMES:
                while (at := lowered.find(part)) >= 0:
                    wanted = f"{wanted[:at]}Phi 3{wanted[at + len(part) :]}"
                    lowered = wanted.lower()
        return wanted

    def write(self, writer: GGUFWriter) -> None:
        """Set all tokenizer keys."""
        key, vocabulary = "tokenizer.ggml", self.vocabulary
        writer.add(f"{key}.model", ValueType.STRING, vocabulary.model)
        writer.add(f"{key}.pre", ValueType.STRING, vocabulary.pre)
        writer.add_array(f"{key}.tokens", ValueType.STRING, vocabulary.tokens)
        writer.add_array(f"{key}.token_type", ValueType.INT32, vocabulary.types)
        if vocabulary.scores is not None:
            writer.add_array(f"{key}.scores", ValueType.FLOAT32, vocabulary.scores)
        if vocabulary.merges is not None:
            writer.add_array(f"{key}.merges", ValueType.STRING, vocabulary.merges)
        if vocabulary.charsmap is not None:
            charsmap = list(vocabulary.charsmap)
            writer.add_array(f"{key}.precompiled_charsmap", ValueType.UINT8, charsmap)
        if vocabulary.remove_extra_whitespaces is not None:
            merged = vocabulary.remove_extra_whitespaces
            writer.add(f"{key}.remove_extra_whitespaces", ValueType.BOOL, merged)
        if vocabulary.add_space_prefix is not None:
            writer.add(f"{key}.add_space_prefix", ValueType.BOOL, vocabulary.add_space_prefix)
        for name, token in self.special.items():
            writer.add(f"{key}.{name}_token_id", ValueType.UINT32, token)
        writer.add(f"{key}.add_bos_token", ValueType.BOOL, self.add_bos)
        writer.add(f"{key}.add_eos_token", ValueType.BOOL, self.add_eos)
        if self.chat_template:
            writer.add("tokenizer.chat_template", ValueType.STRING, self.chat_template)


def read_tokenizer(directory: Path, rows: int, config: dict[str, Any]) -> Tokenizer:
    """Read the tokenizer of a Hugging Face directory, as transformers resolves it.

    `rows` is the number of rows of the embedding; ids beyond the tokenizer's are filled with
    unused tokens, as llama.cpp wants one for each row. `config` is the model's config.json.
    Raises ModelError for a tokenizer that is missing, damaged, of another kind, or larger than
    the embedding, and for a named token that it does not have; PrerequisiteError without
    transformers.
    """
    for key in ("eos", "bos"):
        _named_ids(directory, key, rows, config)
    found = resolve_tokenizer(directory)
    path = directory / "tokenizer.json"
    if not path.is_file():
        path = directory
    vocabulary, caveats = _vocabulary(path, found.source, rows)
    index = {token: number for number, token in enumerate(vocabulary.tokens)}
    if len(index) != rows:
        twice = next(t for number, t in enumerate(vocabulary.tokens) if index[t] != number)
        raise ModelError(
            f"{directory}: the token {twice!r} has two ids, which llama.cpp refuses.",
            hint="save the tokenizer again with transformers",
        )
    special, more = _special_ids(directory, vocabulary.tokens, found, config)
    if found.source["model"]["type"] == "Unigram":
        special["unknown"] = int(found.source["model"]["unk_id"])  # what the search really emits
    add_bos, add_eos = _flags(directory, found, special)
    rstrip, strip_caveats = _strips(found.source, index)
    return Tokenizer(
        vocabulary=vocabulary,
        special=special,
        add_bos=add_bos,
        add_eos=add_eos,
        chat_template=found.chat_template,
        strips_after_special=rstrip,
        caveats=(*found.caveats, *caveats, *more, *strip_caveats),
    )


def _vocabulary(path: Path, source: dict[str, Any], rows: int) -> tuple[Vocabulary, list[str]]:
    model = source["model"]
    kind = model.get("type")
    if kind not in {"BPE", "Unigram"}:
        raise UnsupportedModelError(
            f"{path}: a tokenizer of type {kind or 'unknown'} cannot be converted; BPE and Unigram "
            "can.",
            hint=ways_out(),
        )
    added = {int(e["id"]): e for e in source.get("added_tokens") or []}
    if kind == "BPE":
        entries = {int(number): text for text, number in model["vocab"].items()}
    else:
        entries = {number: str(entry[0]) for number, entry in enumerate(model["vocab"])}
    entries.update({number: str(entry["content"]) for number, entry in added.items()})
    if entries and max(entries) >= rows:
        largest = max(entries)
        raise ModelError(
            f"{path}: has the token id {largest:,} ({entries[largest]!r}), but the embedding has "
            f"{rows:,} rows.",
            hint="tokenizer and weights belong to different models, or the embedding was not "
            "resized after tokens were added",
        )
    if kind == "Unigram":
        return unigram_vocabulary(path, source, entries, added, rows), []
    if model.get("byte_fallback"):
        return sentencepiece_vocabulary(path, source, entries, added, rows)
    pre = pre_tokenizer_name(path, source)
    tokens, types = fill(entries, rows)
    for number in entries:
        types[number] = TokenType.NORMAL
    for number, entry in added.items():
        types[number] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary("gpt2", pre, tokens, types, merges=merges), []


def _named_ids(directory: Path, key: str, rows: int, config: dict[str, Any]) -> list[int]:
    """Ids that generation_config.json names for a key, else config.json.

    Raises ModelError, with the file, for an id that the embedding does not have.
    """
    generation = read_json(directory / "generation_config.json")
    for name, place in (("generation_config.json", generation), ("config.json", config)):
        value = place.get(f"{key}_token_id")
        values = value if isinstance(value, list) else [] if value is None else [value]
        for one in values:
            if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < rows:
                raise ModelError(
                    f"{directory / name}: {key}_token_id is {one!r}, but the embedding has "
                    f"{rows:,} rows.",
                    hint=f"correct {key}_token_id; it was written for another model",
                )
        if values:
            return values
    return []


def _special_ids(
    directory: Path, tokens: list[str], found: ResolvedTokenizer, config: dict[str, Any]
) -> tuple[dict[str, int], list[str]]:
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    special = {names[key]: number for key, number in found.special.items()}
    index = {token: number for number, token in enumerate(tokens)}
    listed = _named_ids(directory, "eos", len(tokens), config)
    if "eos" not in special and listed:
        special["eos"] = listed[0]
    if "bos" not in special:
        begin = _named_ids(directory, "bos", len(tokens), config)
        special |= {"bos": begin[0]} if begin else {}
    if "eos" not in special:
        # Without the key llama.cpp would take token 11, whatever that is, for the end.
        raise ModelError(
            f"{directory}: names no end-of-sequence token.",
            hint="set eos_token in tokenizer_config.json or eos_token_id in config.json",
        )
    ends = [number for number in dict.fromkeys(listed) if number != special["eos"]]
    turn = [index[text] for text in _END_OF_TURN if text in index]
    special["eot"] = next((end for end in turn if end in {*ends, special["eos"]}), special["eos"])
    unknown = [end for end in ends if tokens[end] not in _KNOWN_ENDS and end != special["eot"]]
    # llama.cpp ends at eos, eot, eom and at texts that it knows: two more can be given to it.
    if unknown and special["eot"] == special["eos"]:
        special["eot"] = unknown.pop(0)
    if unknown:
        special["eom"] = unknown.pop(0)
    left = [f"llama.cpp will not stop at the end token {tokens[end]!r}" for end in unknown]
    return special, left


def _flags(directory: Path, found: ResolvedTokenizer, special: dict[str, int]) -> tuple[bool, bool]:
    """Whether bos and eos are put around a text. Raises for what GGUF cannot say."""
    if len(found.prefix) > 1 or len(found.suffix) > 1:
        raise UnsupportedModelError(
            f"{directory}: its tokenizer puts {len(found.prefix)} tokens before and "
            f"{len(found.suffix)} after every text; llama.cpp puts one at most.",
            hint=ways_out(),
        )
    if found.prefix:
        special["bos"] = found.prefix[0]
    if found.suffix and found.suffix[0] != special["eos"]:
        raise UnsupportedModelError(
            f"{directory}: its tokenizer ends every text with token {found.suffix[0]:,}, which is "
            f"not its end of sequence ({special['eos']:,}); llama.cpp knows no other.",
            hint=ways_out(),
        )
    return bool(found.prefix), bool(found.suffix)


def _strips(source: dict[str, Any], index: dict[str, int]) -> tuple[bool, list[str]]:
    """Whether special tokens swallow white space after them, as Phi-3's do, and what is lost."""
    added = source.get("added_tokens") or []
    caveats = [
        f"{entry['content']!r} is matched with {option}=true, which GGUF cannot express"
        for entry in added
        for option in ("lstrip", "single_word")
        if entry.get(option)
    ]
    stripping = {str(entry["content"]) for entry in added if entry.get("rstrip")}
    if not stripping:
        return False, caveats
    others = {str(entry["content"]) for entry in added} - stripping
    # This is what llama.cpp does for a model named phi-3, to the token.
    if index.keys() >= _PHI3_TOKENS and others <= {"<unk>", "<s>", "<|endoftext|>"}:
        return True, caveats
    listed = ", ".join(sorted(stripping))
    return False, [*caveats, f"white space after {listed} is kept, where the original drops it"]
