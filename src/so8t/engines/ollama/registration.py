"""Registering a model: upload, create, verify, and only then give it its name.

A model is created under a name of its own beside the final one, verified there, and copied to the
final name at the end. A name is thus never seen half-made or unverified, another model that has
it is noticed by its digest before anything is replaced, and a run that died on the way is simply
done again: the server keeps blobs, and the same input gives the same digest.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import digest_of
from so8t.domain.exchange import Message
from so8t.engines.ollama.degradation import check_template
from so8t.engines.ollama.faults import MODEL_FAULTS, Fault, OllamaError
from so8t.engines.ollama.records import bare_digest, full_name
from so8t.engines.ollama.sources import (
    SourceFile,
    SourceRegistration,
    check_registration,
    check_template_source,
    create_request,
    modelfile,
    source_files,
)
from so8t.engines.ollama.supervisor import unload_and_wait
from so8t.errors import ModelError, PrerequisiteError
from so8t.system.files import file_digest, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.engines.ollama.client import OllamaClient
    from so8t.engines.ollama.records import LocalModel

_PROBE = (Message("user", "Say a word."),)
DISK_FACTOR = 3
"""Peak disk of a registration over the size of the model: blob, conversion, layer."""
_VERIFY_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A verified model on the server.

    Attributes:
        name: as the server lists it, with its tag.
        digest: of its manifest, 64 hex digits; what `ServedModel.digest` must be.
        weights: digest of the weights blob, None if the server did not tell.
        size: bytes on disk, None if not told.
        quantization: as the server calls it.
        rendered: the expected conversation as the server renders it; None if none was given.
        uploaded: bytes that were sent; 0 when nothing had to be.
        created: whether a model was made, or an earlier registration found to be the same.
        modelfile: where the Modelfile was written.

    """

    name: str
    digest: str
    weights: str | None
    size: int | None
    quantization: str | None
    rendered: str | None
    uploaded: int
    created: bool
    modelfile: Path


def check_disk(model_bytes: int, free_bytes: int | None) -> None:
    """Raise PrerequisiteError unless three times the model fits. None (not known) passes."""
    need = model_bytes * DISK_FACTOR
    if free_bytes is not None and free_bytes < need:
        raise PrerequisiteError(
            f"Registering needs {need / 1e9:.1f} GB of disk for a while (three times the model), "
            f"{free_bytes / 1e9:.1f} GB are free where Ollama keeps its models.",
            hint="free some space, or point OLLAMA_MODELS at a larger disk",
        )


def register(
    client: OllamaClient,
    want: SourceRegistration,
    *,
    artifacts: Path,
    free_bytes: Callable[[], int | None] = lambda: None,
    on_status: Callable[[str], None] = lambda _status: None,
) -> RegisteredModel:
    """Register one model and verify it. Doing it again with the same input uploads nothing.

    Args:
        client: the server.
        want: what, and under which name.
        artifacts: directory for the Modelfile and the record of what was registered.
        free_bytes: bytes free where the server keeps its models; None if that is not known.
        on_status: hears what is being done, one line at a time.

    Raises UsageError for a wrong wish, ModelError for a model that Ollama cannot take or that
    fails its verification, PrerequisiteError for a full disk or a taken name, OllamaError else.

    """
    check_registration(want)
    check_template_source(want)
    try:
        return _register(client, want, artifacts, free_bytes, on_status)
    except OllamaError as error:
        if error.fault in MODEL_FAULTS:
            raise ModelError(
                f"{want.name} cannot be registered: {error.detail}", hint=error.hint
            ) from error
        raise


def _register(
    client: OllamaClient,
    want: SourceRegistration,
    artifacts: Path,
    free_bytes: Callable[[], int | None],
    on_status: Callable[[str], None],
) -> RegisteredModel:
    name = full_name(want.name)
    written = artifacts / f"Modelfile.{_file_name(want.name)}"
    write_atomic(written, modelfile(want))
    on_status(f"reading the files of {name}")
    files = [] if want.source is None else source_files(want.source)
    if want.base is not None:
        # A base that is not there would be looked for in a registry, far away.
        client.show(want.base)
    key = _input_key(client, want, files)
    record = artifacts / f"registered.{_file_name(want.name)}.json"
    present = client.find(name)
    if present is not None and _recorded(record) == {"input": key, "digest": present.digest}:
        on_status(f"{name} is registered already; verifying it")
        try:
            rendered = _verify(client, want, name)
        except OllamaError as error:
            if error.fault is not Fault.BAD_MODEL:
                raise
            # Damaged on the server's disk. A create would keep the damaged layer and say success.
            on_status(f"{name} is damaged ({error.detail}); registering it again")
            client.delete(name)
        else:
            return _result(
                client, want, present, rendered, uploaded=0, created=False, written=written
            )
    staging = f"{name.rpartition(':')[0]}-so8t-new:latest"
    check_disk(_source_bytes(client, want, files), free_bytes())
    client.delete(staging)
    uploaded = _upload_and_create(client, want, staging, files, on_status)
    on_status(f"verifying {name}")
    rendered = _verify(client, want, staging)
    made = _found(client, staging)
    present = client.find(name)
    if present is not None and present.digest != made.digest and not want.overwrite:
        client.delete(staging)
        raise PrerequisiteError(
            f"The name {name} belongs to another model on the server "
            f"(its digest is {present.digest[:12]}, ours would be {made.digest[:12]}).",
            hint="choose another name, or allow overwriting in the config",
        )
    client.copy(staging, name)
    client.delete(staging)
    final = _found(client, name)
    if final.digest != made.digest:
        raise ModelError(f"{name} is another model than the one just verified.")
    write_atomic(record, json.dumps({"input": key, "digest": final.digest}) + "\n")
    return _result(client, want, final, rendered, uploaded=uploaded, created=True, written=written)


def _upload_and_create(
    client: OllamaClient,
    want: SourceRegistration,
    staging: str,
    files: list[SourceFile],
    on_status: Callable[[str], None],
) -> int:
    from so8t.engines.ollama.retry import attempts  # noqa: PLC0415 - stamina, only when used

    uploaded = 0
    for attempt in attempts(client.timing.retries):
        with attempt:
            for file in files:
                uploaded += _upload(client, file, on_status)
            try:
                for status in client.create(create_request(want, staging, files)):
                    on_status(status)
            except OllamaError as error:
                if error.fault is Fault.NO_BLOB:
                    # Gone between the look and the create: a restart prunes unused blobs.
                    raise OllamaError(error.fault, error.detail, retryable=True) from error
                raise
    return uploaded


def _upload(client: OllamaClient, file: SourceFile, on_status: Callable[[str], None]) -> int:
    if client.has_blob(file.digest):
        return 0
    on_status(f"uploading {file.name} ({file.size:,} bytes)")
    try:
        client.upload(file.path, file.digest)
    except OllamaError as error:
        if error.fault is not Fault.DIGEST:
            raise
        now = file_digest(file.path)
        if now != file.digest:
            raise ModelError(
                f"{file.path} changed while it was being registered.",
                hint="let nothing write to it, and register again",
            ) from error
        client.upload(file.path, file.digest)
    return file.size


def _verify(client: OllamaClient, want: SourceRegistration, name: str) -> str | None:
    """Show, render, and one token; `success` of a create proves none of them."""
    shown = client.show(name)
    if want.quantize is not None and (shown.quantization or "").upper() != want.quantize.upper():
        raise ModelError(
            f"{want.name} is {shown.quantization}, it was to be quantized to {want.quantize}."
        )
    options: dict[str, Any] = {"num_ctx": min(_VERIFY_CONTEXT, shown.trained_context or 2048)}
    try:
        rendered = _check_rendering(client, want, name, options)
        _one_token(client, name, options)
    except (OllamaError, ModelError):
        with suppress(OllamaError):  # what went wrong first is what has to be told
            unload_and_wait(client, [name])
        raise
    # Left loaded, it could lend its process and its template to a second name on its blob.
    unload_and_wait(client, [name])
    return rendered


def _check_rendering(
    client: OllamaClient, want: SourceRegistration, name: str, options: dict[str, Any]
) -> str | None:
    if want.expected is None:
        return None
    rendered = client.render(name, want.expected.messages, options)
    begin = want.expected.begin
    finding = check_template(want.expected.text.removeprefix(begin), rendered.removeprefix(begin))
    if finding is not None:
        raise ModelError(
            f"{want.name}: {finding.message}",
            hint="register a GGUF with the template embedded, or give the template",
        )
    return rendered


def _one_token(client: OllamaClient, name: str, options: dict[str, Any]) -> None:
    from so8t.engines.ollama.retry import attempts  # noqa: PLC0415 - stamina, only when used

    for attempt in attempts(client.timing.retries):
        with attempt:
            client.chat(
                name,
                _PROBE,
                {**options, "num_predict": 1, "temperature": 0.0, "seed": 1},
                deadlines=client.timing.load,
            )


def _input_key(client: OllamaClient, want: SourceRegistration, files: list[SourceFile]) -> str:
    base = None if want.base is None else _found(client, want.base).digest
    wish = asdict(want) | {"source": None, "expected": None, "overwrite": None, "base": base}
    return digest_of({**wish, "files": [[file.name, file.digest] for file in files]})


def _source_bytes(client: OllamaClient, want: SourceRegistration, files: list[SourceFile]) -> int:
    if want.base is not None:
        return _found(client, want.base).size or 0
    return sum(file.size for file in files)


def _recorded(record: Path) -> Any:
    try:
        return json.loads(record.read_text("utf-8"))
    except (OSError, ValueError):
        return None  # no record, or none that counts: then the registration is done again


def _found(client: OllamaClient, name: str) -> LocalModel:
    model = client.find(name)
    if model is None:
        raise OllamaError(Fault.NO_MODEL, f"the server does not list {full_name(name)}")
    return model


def _result(
    client: OllamaClient,
    want: SourceRegistration,
    model: LocalModel,
    rendered: str | None,
    *,
    uploaded: int,
    created: bool,
    written: Path,
) -> RegisteredModel:
    shown = client.show(want.name)
    return RegisteredModel(
        name=model.name,
        digest=bare_digest(model.digest),
        weights=shown.weights,
        size=model.size,
        quantization=shown.quantization,
        rendered=rendered,
        uploaded=uploaded,
        created=created,
        modelfile=written,
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
