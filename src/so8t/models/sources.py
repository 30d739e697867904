"""Where an arm's model comes from, and which bytes exactly that is.

A source is a Hugging Face directory or id, with or without an adapter, a GGUF file, or an Ollama
tag. Directories and files are checked and digested here, so that nothing starts with a model that
cannot be used; an Ollama tag is taken as it is, since only its server can say more.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from so8t.domain.canonical import digest_of
from so8t.domain.model_form import ModelForm
from so8t.errors import ModelError, PrerequisiteError
from so8t.models.adapters import read_adapter
from so8t.models.checkpoint_files import beside_weights, check_agreement, weight_files
from so8t.models.gguf_check import inspect_gguf
from so8t.models.tokenizer_files import VOCABULARIES
from so8t.system.files import file_digest
from so8t.system.gguf import read_header

if TYPE_CHECKING:
    from so8t.config.schema import Source

_HERE: Final = Path()
# What the hub accepts as owner/name; a bare name is only taken for a directory.
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Weights in other formats, training states and pictures are not needed, and can be most of a
# repository.
_HUB_FILES: Final = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "LICENSE*", "*.md")
_HUB_IGNORED: Final = ("*/*", "optimizer*", "training_args*")
_FRONT_MATTER: Final = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)
_LICENCE: Final = re.compile(
    r"^license(?P<name>_name)?:\s*['\"]?(?P<value>[^'\"\n]+)", re.MULTILINE
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """A model that is here, or on a server of models.

    Attributes:
        kind: a directory, a file, or a name on a server.
        location: path of the directory or file, or the name.
        commit: the hub's commit, None for anything that is not from the hub.
        digest: `sha256:<hex>` of the file, or of the names and contents of the files that make
            the model; for a name on a server of the name only, since its bytes are there.
        size: bytes of these files; 0 for a name on a server, which has none here.
        licence: as the model's card or file says, None where neither does.
        adapter: directory of the adapter that is to be merged, None without one.
        adapter_kind, adapter_digest: "LORA" or "OFT", and the digest of its files.
        adapter_trained_on: the base as the adapter names it.
        base_digest: digest of the files without the adapter.

    """

    kind: ModelForm
    location: str
    commit: str | None
    digest: str
    size: int
    licence: str | None
    adapter: str | None = None
    adapter_kind: str | None = None
    adapter_digest: str | None = None
    adapter_trained_on: str | None = None
    base_digest: str | None = None

    @property
    def path(self) -> Path:
        """The directory or file. Raises ModelError for a name on a server."""
        if self.kind is ModelForm.SERVED:
            raise ModelError(
                f"{self.location} is a name on a server of models, not a file.",
                hint="fine-tuning and conversion need a Hugging Face model: `hf:`",
            )
        return Path(self.location)

    def facts(self) -> dict[str, Any]:
        """All of it as plain data, for the journal and the report."""
        return asdict(self)


def resolve(source: Source, *, base_directory: Path = _HERE) -> ResolvedSource:
    """Find a source, check it and say which bytes it is.

    Relative paths are taken from `base_directory` (a loaded config has absolute ones). A Hugging
    Face id that is no directory is looked up in the hub's cache and downloaded if needed
    (huggingface_hub: HF_HOME, HF_HUB_OFFLINE and `revision` are honoured). Reads every byte of a
    directory or file once, for its digest.

    Raises ModelError for what is there but not usable, PrerequisiteError for what is absent or
    cannot be reached.
    """
    if source.form is ModelForm.SERVED:
        digest = digest_of({source.key: source.location})
        return ResolvedSource(ModelForm.SERVED, source.location, None, digest, 0, None)
    if source.gguf is not None:
        return _gguf(base_directory / Path(source.gguf).expanduser())
    found = _hugging_face(source, base_directory)
    return found if source.adapter is None else _adapted(found, base_directory / source.adapter)


def _hugging_face(source: Source, base_directory: Path) -> ResolvedSource:
    if source.hf is None:
        raise ModelError(
            "the source names no model.", hint="give exactly one of `hf:`, `gguf:` and `ollama:`"
        )
    directory = base_directory / Path(source.hf).expanduser()
    if directory.is_dir():
        if source.revision is not None:
            raise ModelError(
                f"{directory} is a directory, which has no revision {source.revision!r}.",
                hint="remove `revision:`; it belongs to an id on the hub",
            )
        return _directory(directory, None)
    if not _HUB_ID.fullmatch(source.hf):
        raise ModelError(
            f"{directory}: there is no such directory, and {source.hf!r} is no id on the hub "
            "(owner/name).",
            hint="check the path; relative paths count from the config file's directory",
        )
    snapshot = _snapshot(source.hf, source.revision)
    commit = snapshot.name if _COMMIT.fullmatch(snapshot.name) else None
    return _directory(snapshot, commit)


def _adapted(base: ResolvedSource, directory: Path) -> ResolvedSource:
    adapter = read_adapter(directory.expanduser(), base.path)
    return replace(
        base,
        digest=digest_of({"base": base.digest, "adapter": adapter.digest}),
        adapter=str(adapter.location),
        adapter_kind=adapter.kind,
        adapter_digest=adapter.digest,
        adapter_trained_on=adapter.trained_on,
        base_digest=base.digest,
    )


def check_directory(directory: Path) -> None:
    """Raise ModelError unless a directory holds config.json, weights and a tokenizer that agree.

    The message names everything that is missing, or what contradicts what.
    """
    missing = []
    if not (directory / "config.json").is_file():
        missing.append("config.json")
    problem = None
    try:
        weight_files(directory)
    except ModelError as error:
        problem = error
        missing.append("weights (*.safetensors)")
    if not any((directory / name).is_file() for name in VOCABULARIES):
        missing.append(f"a tokenizer ({' or '.join(VOCABULARIES)})")
    if problem is not None and len(missing) == 1:
        raise problem
    if missing:
        adapter = (directory / "adapter_config.json").is_file()
        raise ModelError(
            f"{directory}: is no model directory; missing: {', '.join(missing)}.",
            hint="this is an adapter: name its base as `hf:` and this directory as `adapter:`"
            if adapter
            else "name the directory that transformers' save_pretrained wrote",
        )
    check_agreement(directory)


def model_files(directory: Path) -> list[Path]:
    """List the files that make a model: weights, settings, tokenizer and templates, sorted."""
    return sorted({*weight_files(directory), *beside_weights(directory)})


def _directory(directory: Path, commit: str | None) -> ResolvedSource:
    check_directory(directory)
    files = model_files(directory)
    # File by file, so that neither a card's typo nor a trainer's checkpoint beside the model
    # makes it another one.
    digest = digest_of({file.name: file_digest(file) for file in files})
    return ResolvedSource(
        kind=ModelForm.WEIGHTS,
        location=str(directory),
        commit=commit,
        digest=digest,
        size=sum(file.stat().st_size for file in files),
        licence=_licence(directory),
    )


def _gguf(path: Path) -> ResolvedSource:
    inspect_gguf(path)
    licence = read_header(path).metadata.get("general.license")
    return ResolvedSource(
        kind=ModelForm.FILE,
        location=str(path),
        commit=None,
        digest=file_digest(path),
        size=path.stat().st_size,
        licence=licence if isinstance(licence, str) and licence else None,
    )


def _licence(directory: Path) -> str | None:
    """Read the licence from the card's front matter, else name the licence file."""
    card = directory / "README.md"
    if card.is_file():
        front = _FRONT_MATTER.match(card.read_text("utf-8", errors="replace"))
        found = (
            {m["name"]: m["value"].strip() for m in _LICENCE.finditer(front[1])} if front else {}
        )
        # `license: other` is followed by its real name.
        if found:
            return found.get("_name") or found.get(None)
    names = sorted(path.name for path in directory.glob("LICENSE*"))
    return f"see {names[0]}" if names else None


def _snapshot(repository: str, revision: str | None) -> Path:
    """Bring a repository of the hub into the cache; its directory there is named by the commit."""
    try:
        import huggingface_hub  # noqa: PLC0415 - heavy, and only for ids on the hub
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError as error:
        raise PrerequisiteError(
            f"{repository}: models on the hub need the huggingface_hub package.",
            hint="pip install so8t[train]",
        ) from error
    named = f"{repository}@{revision}" if revision else repository
    options: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": list(_HUB_FILES),
        "ignore_patterns": list(_HUB_IGNORED),
    }
    try:
        return Path(huggingface_hub.snapshot_download(repository, **options))
    except errors.GatedRepoError as error:
        raise PrerequisiteError(
            f"{named}: the hub gives this model only to accounts that accepted its terms.",
            hint=f"accept them on the model's page, then run `hf auth login` ({_first(error)})",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PrerequisiteError(
            f"{repository}: the hub has no revision {revision!r}.", hint="check `revision:`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise PrerequisiteError(
            f"{named}: the hub has no such model, or not for this account.",
            hint="check the name; for a private model run `hf auth login`",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise PrerequisiteError(
            f"{named}: is not (or not wholly) in the cache, and the hub {_why_offline()}.",
            hint="connect to the network once, or name a directory that holds the model",
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise PrerequisiteError(
            f"{named}: could not be downloaded: {_first(error)}.",
            hint="what was downloaded is kept; run the same command again",
            retryable=True,
        ) from error


def _why_offline() -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return "may not be asked (HF_HUB_OFFLINE is set)" if offline else "cannot be reached"


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
