"""The tokenizer of a Hugging Face directory, as transformers resolves it.

Which file counts, what `added_tokens.json`, `special_tokens_map.json` and the tokenizer's class add
to it or replace in it: that is decided by rules of transformers that change with its versions. So
transformers is asked, and what it says is one `tokenizer.json` with everything in it. Training,
merging and conversion read the same.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from so8t.errors import ModelError, PrerequisiteError, UnsupportedModelError
from so8t.models.checkpoint_files import read_json
from so8t.models.child_work import run_in_child
from so8t.models.gguf_tokens import ways_out
from so8t.models.tokenizer_probe import probe_texts

WORKER: Final = "so8t.models.tokenizer_worker"
#: Files of which a tokenizer has at least one.
VOCABULARIES: Final = ("tokenizer.json", "tokenizer.model")
_STRIDE: Final = 37
_DECIDING: Final = (".json", ".model", ".jinja", ".txt")
_NAMED: Final = ("bos", "eos", "pad", "unk")
_FILES: Final = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, slots=True)
class ResolvedTokenizer:
    """What transformers makes of a directory's tokenizer.

    Attributes:
        source: the whole of it in the form of tokenizer.json, added tokens included.
        special: "bos", "eos", "pad", "unk" -> id, for those that the vocabulary has.
        prefix, suffix: ids that are put around every text.
        chat_template: Jinja source, None where there is none.
        caveats: where transformers and the files' own library disagree, in words for the report.

    """

    source: dict[str, Any]
    special: dict[str, int]
    prefix: list[int]
    suffix: list[int]
    chat_template: str | None
    caveats: list[str] = field(default_factory=list)


def load_tokenizer(directory: Path) -> Any:
    """Load a tokenizer with transformers, from the disk alone, in the one form that is used here.

    Raises OSError, ValueError and their like, as transformers does.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds

    # Without this, an installed mistral-common would make another tokenizer of the same files.
    return AutoTokenizer.from_pretrained(directory, local_files_only=True, mistral_format=False)


def resolve_tokenizer(directory: Path) -> ResolvedTokenizer:
    """Ask transformers for a directory's tokenizer.

    In a child process, whose memory is free again, unless transformers is loaded here already.
    Raises ModelError for a tokenizer that is missing, damaged or names tokens that it does not
    have, UnsupportedModelError for one without the form of tokenizer.json, PrerequisiteError
    without transformers.
    """
    if importlib.util.find_spec("transformers") is None:
        raise PrerequisiteError(
            f"{directory}: its tokenizer is read with the transformers package, which is not "
            "installed.",
            hint="pip install 'so8t[convert]' (or so8t[train])",
        )
    if "transformers" in sys.modules:
        return read_here(directory)
    return ResolvedTokenizer(**json.loads(_asked(directory, _state(directory))))


def _state(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Tell whether a file that decides the tokenizer is another one than before."""
    files = sorted(file for file in directory.iterdir() if file.suffix in _DECIDING)
    stats = [(file.name, file.stat()) for file in files]
    return tuple((name, found.st_size, found.st_mtime_ns) for name, found in stats)


@lru_cache(maxsize=2)
def _asked(directory: Path, _: tuple[tuple[str, int, int], ...]) -> str:
    """Ask a child; kept as text, which takes a tenth of the memory of what it says."""
    with tempfile.TemporaryDirectory(prefix="so8t-") as place:
        out = Path(place, "tokenizer.json")
        request = {"directory": str(directory), "out": str(out)}
        run_in_child(WORKER, request, what="reading the tokenizer")
        return out.read_text("utf-8")


def write_here(directory: Path, out: Path) -> None:
    """Do what `read_here` does, and write the result as JSON."""
    out.write_text(json.dumps(asdict(read_here(directory))), encoding="utf-8")


def read_here(directory: Path) -> ResolvedTokenizer:
    """Do what `resolve_tokenizer` promises in this process."""
    if not any((directory / name).is_file() for name in VOCABULARIES):
        raise ModelError(
            f"{directory}: holds no tokenizer (tokenizer.json or tokenizer.model).",
            hint="copy the tokenizer's files beside the weights",
        )
    _check_packages(directory)
    try:
        tokenizer = load_tokenizer(directory)
        prefix, suffix = _around(tokenizer)
    except Exception as error:
        kind = _kind(directory)
        if kind not in {None, "BPE"}:
            raise UnsupportedModelError(
                f"{directory}: its tokenizer, of type {kind}, cannot be loaded: {_first(error)}.",
                hint=ways_out(),
            ) from error
        raise ModelError(
            f"{directory}: transformers cannot load its tokenizer: {_first(error)}.",
            hint="save the tokenizer again with transformers, or copy its files beside the weights",
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedModelError(
            f"{directory}: its tokenizer ({type(tokenizer).__name__}) has no form as "
            "tokenizer.json.",
            hint=ways_out(),
        )
    source: dict[str, Any] = json.loads(backend.to_str())
    declared = _declared(directory, source)
    _check_named(directory, declared)
    special = {}
    for key in _NAMED:
        text, number = getattr(tokenizer, f"{key}_token"), getattr(tokenizer, f"{key}_token_id")
        # A class adds tokens of its own to a vocabulary that lacks them; no row was trained so.
        if text is not None and number is not None and str(text) in declared:
            special[key] = int(number)
    caveats = _against_sentencepiece(directory, tokenizer)
    return ResolvedTokenizer(source, special, prefix, suffix, _template(tokenizer), caveats)


def _against_sentencepiece(directory: Path, tokenizer: Any) -> list[str]:
    """Tell where transformers reads a lone tokenizer.model otherwise than its own library."""
    if (directory / "tokenizer.json").is_file():
        return []
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - tokenizer.model only

    pieces = SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    texts = probe_texts()[::_STRIDE]
    differ = sum(
        list(tokenizer(text, add_special_tokens=False)["input_ids"]) != pieces.encode(text)
        for text in texts
    )
    if not differ:
        return []
    note = (
        f"transformers splits {differ} of {len(texts)} probing texts otherwise than the "
        "sentencepiece library does with the same tokenizer.model; this file splits as "
        "transformers does (tokenizer_class in tokenizer_config.json decides how)"
    )
    return [note]


def _kind(directory: Path) -> str | None:
    model = read_json(directory / "tokenizer.json").get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    return kind if isinstance(kind, str) else None


def _check_packages(directory: Path) -> None:
    """Raise PrerequisiteError where transformers would end in words about something else."""
    if (directory / "tokenizer.json").is_file():
        return
    needed = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
    missing = [name for module, name in needed.items() if not _there(module)]
    if missing:
        raise PrerequisiteError(
            f"{directory}: reading tokenizer.model needs {' and '.join(missing)}.",
            hint="pip install 'so8t[convert]', or save the tokenizer with transformers, which "
            "writes tokenizer.json",
        )


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _declared(directory: Path, source: dict[str, Any]) -> set[str]:
    """Texts of the tokens that the directory's files themselves give an id."""
    vocabulary = source["model"].get("vocab") or {}
    texts = set(vocabulary) if isinstance(vocabulary, dict) else {str(e[0]) for e in vocabulary}
    texts |= {str(e.get("content")) for e in _list(directory / "tokenizer.json", "added_tokens")}
    texts |= set(read_json(directory / "added_tokens.json"))
    decoder = read_json(directory / "tokenizer_config.json").get("added_tokens_decoder") or {}
    return texts | {str(token_text(entry)) for entry in decoder.values()}


def _list(path: Path, key: str) -> list[dict[str, Any]]:
    return list(read_json(path).get(key) or [])


def _check_named(directory: Path, declared: set[str]) -> None:
    for name in _FILES:
        settings = read_json(directory / name)
        for key in _NAMED:
            text = token_text(settings.get(f"{key}_token"))
            if text and text not in declared:
                raise ModelError(
                    f"{directory / name}: {key}_token is {text!r}, which the vocabulary does not "
                    "have.",
                    hint="copy the tokenizer's files from the model that was trained with it (the "
                    f"token may stand in an added_tokens.json), or correct {key}_token",
                )


def token_text(value: Any) -> str | None:
    """Return the text of a token, which is a string or an object with its content."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids before and after every text, as encoding one shows."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return [], []


def _template(tokenizer: Any) -> str | None:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) and template else None


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__
