"""A Hugging Face tokenizer as GGUF metadata.

Two kinds are written: byte-level BPE (llama.cpp's "gpt2": Qwen, Llama 3, Phi-4, ...) and
SentencePiece-like BPE with byte fallback ("llama": Llama 2, Mistral, Phi-3). llama.cpp does not
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
from so8t.models.gguf_spm import sentencepiece_vocabulary, tokenizer_model_vocabulary
from so8t.models.gguf_tokens import WAYS_OUT, TokenType, Vocabulary, fill
from so8t.system.gguf import GGUFWriter, ValueType

if TYPE_CHECKING:
    from pathlib import Path

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
        if vocabulary.add_space_prefix is not None:
            writer.add(f"{key}.add_space_prefix", ValueType.BOOL, vocabulary.add_space_prefix)
        for name, token in self.special.items():
            writer.add(f"{key}.{name}_token_id", ValueType.UINT32, token)
        writer.add(f"{key}.add_bos_token", ValueType.BOOL, self.add_bos)
        writer.add(f"{key}.add_eos_token", ValueType.BOOL, self.add_eos)
        if self.chat_template:
            writer.add("tokenizer.chat_template", ValueType.STRING, self.chat_template)


def read_tokenizer(directory: Path, rows: int, config: dict[str, Any]) -> Tokenizer:
    """Read the tokenizer of a Hugging Face directory.

    `rows` is the number of rows of the embedding; ids beyond the tokenizer's are filled with
    unused tokens, as llama.cpp wants one for each row. `config` is the model's config.json.
    Raises ModelError for a tokenizer that is missing, damaged, of another kind, or larger than
    the embedding.
    """
    source = read_json(directory / "tokenizer.json")
    settings = read_json(directory / "tokenizer_config.json")
    if source:
        vocabulary, caveats = _from_json(directory / "tokenizer.json", source, rows)
    else:
        vocabulary, caveats = tokenizer_model_vocabulary(directory, settings, rows), []
    index = {token: number for number, token in enumerate(vocabulary.tokens)}
    if len(index) != rows:
        twice = next(t for number, t in enumerate(vocabulary.tokens) if index[t] != number)
        raise ModelError(
            f"{directory}: the token {twice!r} has two ids, which llama.cpp refuses.",
            hint="save the tokenizer again with transformers",
        )
    special, more = _special_ids(directory, index, settings, config)
    bos, add_bos, add_eos = _template_flags(source, settings, index)
    if bos is not None:
        special["bos"] = bos
    rstrip, strip_caveats = _strips(source, index)
    return Tokenizer(
        vocabulary=vocabulary,
        special=special,
        add_bos=add_bos and "bos" in special,
        add_eos=add_eos,
        chat_template=_chat_template(directory, settings),
        strips_after_special=rstrip,
        caveats=(*caveats, *more, *strip_caveats),
    )


def _from_json(path: Path, source: dict[str, Any], rows: int) -> tuple[Vocabulary, list[str]]:
    model = source.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        kind = model.get("type") if isinstance(model, dict) else None
        raise UnsupportedModelError(
            f"{path}: a tokenizer of type {kind or 'unknown'} cannot be converted, BPE can.",
            hint=WAYS_OUT,
        )
    if model.get("type", "BPE") != "BPE":
        raise UnsupportedModelError(
            f"{path}: a tokenizer of type {model['type']} cannot be converted, BPE can.",
            hint=WAYS_OUT,
        )
    added = {int(e["id"]): e for e in source.get("added_tokens") or []}
    entries = {int(number): text for text, number in model["vocab"].items()}
    entries.update({number: str(entry["content"]) for number, entry in added.items()})
    if entries and max(entries) >= rows:
        raise ModelError(
            f"{path}: has the token id {max(entries):,}, but the embedding has {rows:,} rows.",
            hint="tokenizer and weights belong to different models, or the embedding was not "
            "resized after tokens were added",
        )
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


def _token_text(value: Any) -> str | None:
    """A token in tokenizer_config.json is a string or an object with its content."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _special_ids(
    directory: Path, index: dict[str, int], settings: dict[str, Any], config: dict[str, Any]
) -> tuple[dict[str, int], list[str]]:
    names = list(index)  # in the order of ids: no text is there twice
    generation = read_json(directory / "generation_config.json")

    def ids(key: str) -> list[int]:
        for place in (generation, config):
            value = place.get(f"{key}_token_id")
            values = value if isinstance(value, list) else [value]
            found = [v for v in values if isinstance(v, int) and 0 <= v < len(names)]
            if found:
                return found
        return []

    special: dict[str, int] = {}
    for key, written in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        text = _token_text(settings.get(f"{key}_token"))
        if text in index:
            special[written] = index[text]
        elif candidates := ids(key):
            special[written] = candidates[0]
    if "eos" not in special:
        # Without the key llama.cpp would take token 11, whatever that is, for the end.
        raise ModelError(
            f"{directory}: names no end-of-sequence token.",
            hint="set eos_token in tokenizer_config.json or eos_token_id in config.json",
        )
    ends = [number for number in dict.fromkeys(ids("eos")) if number != special["eos"]]
    turn = [index[text] for text in _END_OF_TURN if text in index]
    special["eot"] = next((end for end in turn if end in {*ends, special["eos"]}), special["eos"])
    unknown = [end for end in ends if names[end] not in _KNOWN_ENDS and end != special["eot"]]
    # llama.cpp ends at eos, eot, eom and at texts that it knows: two more can be given to it.
    if unknown and special["eot"] == special["eos"]:
        special["eot"] = unknown.pop(0)
    if unknown:
        special["eom"] = unknown.pop(0)
    left = [f"llama.cpp will not stop at the end token {names[end]!r}" for end in unknown]
    return special, left


def _template_flags(
    source: dict[str, Any], settings: dict[str, Any], index: dict[str, int]
) -> tuple[int | None, bool, bool]:
    """(bos id, whether it is added, whether eos is added) when a text is encoded."""
    if not source or {"add_bos_token", "add_eos_token"} & settings.keys():
        # An explicit choice there rules over tokenizer.json, as in transformers.
        return (
            None,
            bool(settings.get("add_bos_token", not source)),
            bool(settings.get("add_eos_token")),
        )
    processor = source.get("post_processor")
    steps = processor.get("processors", [processor]) if isinstance(processor, dict) else []
    for step in steps:
        if step.get("type") != "TemplateProcessing":
            continue
        single = step.get("single") or []
        parts = [
            index.get(piece["SpecialToken"]["id"]) if "SpecialToken" in piece else None
            for piece in single
        ]
        bos = parts[0] if len(parts) > 1 else None
        return bos, bos is not None, len(parts) > 1 and parts[-1] is not None
    return None, False, False


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


def _chat_template(directory: Path, settings: dict[str, Any]) -> str | None:
    file = directory / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    value = settings.get("chat_template") or read_json(directory / "chat_template.json").get(
        "chat_template"
    )
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value}
        value = named.get("default")
    return value if isinstance(value, str) and value else None
