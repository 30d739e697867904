"""Phases 1 and 2: from a source to a model that an engine can load."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import so8t
from so8t.domain.canonical import digest_of
from so8t.domain.exchange import Arm
from so8t.domain.model_form import ModelForm
from so8t.engines.registry import capabilities_of
from so8t.errors import UnsupportedModelError
from so8t.models.adapters import discard_merge, merge_in_child
from so8t.models.calibration import make_imatrix
from so8t.models.conversion import quantize_file
from so8t.models.finetune import finetune_in_child, remove_checkpoints
from so8t.models.gguf_check import inspect_gguf
from so8t.models.model_card import NAME, model_card
from so8t.models.thinking_tokens import add_in_child
from so8t.models.training_data import read_conversations
from so8t.models.training_setting import KEEPING, TrainingControl, setting_of
from so8t.pipeline.prepare import contamination, conversion, data_policy
from so8t.pipeline.prepare.parity import held_against_transformers
from so8t.pipeline.prepare.quantization import measure
from so8t.pipeline.run.results import Prepared
from so8t.system.files import file_digest, remove_tree, tree_digest, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from so8t.config.schema import ArmA, ArmB, Quantization, RunConfig
    from so8t.domain.sample import Sample
    from so8t.models.sources import ResolvedSource
    from so8t.models.training_records import TrainingProgress

    Tell = Callable[[str, int, int], None]


# Types whose own error is that of F16 or less: there is nothing to compare.
_WITH_ADAPTER = "with-adapter"
_EXACT = ("f32", "f16", "bf16")


def inputs_a(config: RunConfig, source: ResolvedSource) -> str:
    """Digest of all that phase 1 depends on."""
    return digest_of(
        {
            "source": source.digest,
            "quantization": config.a.quantization,
            "measure": config.a.measure_quantization,
            **_imatrix_inputs(config, config.a.imatrix),
        }
    )


def _imatrix_inputs(config: RunConfig, wanted: object) -> dict[str, Any]:
    """Digests of what an importance matrix is or is made from; nothing without one."""
    if wanted is None:
        return {}
    files = [wanted] if isinstance(wanted, Path) else [config.calibration]
    if files == [None]:
        files = [*(config.b.finetune.data if config.b.finetune is not None else ())]
    return {"imatrix": [tree_digest(file) for file in files if file is not None]}


def inputs_b(config: RunConfig, base: ResolvedSource, source: ResolvedSource | None) -> str:
    """Digest of all that phase 2 depends on."""
    finetune = config.b.finetune
    return digest_of(
        {
            "base": base.digest,
            "source": source.digest if source else None,
            "quantization": config.b.quantization,
            "measure": config.b.measure_quantization,
            **_imatrix_inputs(config, config.b.imatrix),
            "finetune": finetune.model_dump(mode="json", exclude=KEEPING) if finetune else None,
            "data": [tree_digest(file) for file in finetune.data] if finetune else [],
        }
    )


def prepare(
    config: RunConfig,
    arm: Arm,
    source: ResolvedSource,
    samples: Sequence[Sample],
    directory: Path,
    tell: Tell,
    training: dict[str, Any] | None = None,
) -> Prepared:
    """Make a source servable: convert Hugging Face weights, check a GGUF, pass a tag on.

    Weights that nothing here converts are passed on as they are to a server that imports them
    itself, and so are all weights where the server answers with a directory as it is. `samples`
    are what the cost of quantization is measured on, where the config asks for that.
    """
    wanted = config.a if arm is Arm.A else config.b
    quantization = wanted.quantization
    facts = source.facts()
    if source.adapter is not None:
        merged, adapter_facts = with_adapter(source, directory, tell)
        location = merged.location
        facts |= {f"adapter_{name}": value for name, value in adapter_facts.items()}
    else:
        location = source.location
    able = capabilities_of(config.engine)
    as_it_is = Prepared(arm, source.kind, location, source.digest, source.size, None, facts)
    if source.kind is ModelForm.SERVED:
        return as_it_is
    if source.kind is ModelForm.WEIGHTS and able.serves_directories:
        return replace(as_it_is, training=training)
    if source.kind is ModelForm.FILE:
        return _from_file(as_it_is, wanted, directory, tell)
    kind: Quantization = "f16" if conversion.by_server(quantization, config) else quantization
    out = directory / f"model-{kind}.gguf"
    try:
        matrix = _imatrix(config, wanted.imatrix, Path(location), directory, tell)
        result = conversion.make_gguf(
            Path(location), out, kind, config.llama_cpp, tell, imatrix=matrix
        )
    except UnsupportedModelError:
        if not able.imports_directories:
            raise
        return replace(as_it_is, quantization=quantization, training=training)
    inspect_gguf(out)
    conversion_facts = result.facts()
    threads = config.engine.threads_wanted
    conversion_facts["parity"] = held_against_transformers(Path(location), result, threads, tell)
    if wanted.measure_quantization and kind not in _EXACT:
        cost = measure(config, Path(location), out, samples, tell)
        conversion_facts["quantization_cost"] = cost
    return Prepared(
        arm,
        ModelForm.FILE,
        str(out),
        result.digest,
        result.size,
        quantization,
        facts,
        conversion=conversion_facts,
        training=training,
    )


def _from_file(as_it_is: Prepared, wanted: ArmA | ArmB, directory: Path, tell: Tell) -> Prepared:
    """Encode a GGUF again where the config names another quantization than it has."""
    path = Path(as_it_is.location)
    inspect_gguf(path)
    quantization = conversion.asked_of_file(path, wanted)
    if quantization is None:
        return as_it_is
    out = directory / f"model-{quantization}.gguf"
    result = quantize_file(
        path, out, quantization, progress=lambda done, total: tell("converting", done, total)
    )
    inspect_gguf(out)
    return replace(
        as_it_is,
        location=str(out),
        digest=result.digest,
        size=result.size,
        quantization=quantization,
        conversion=result.facts(),
    )


def _imatrix(
    config: RunConfig, wanted: object, model: Path, directory: Path, tell: Tell
) -> Path | None:
    """Return the importance matrix that an arm asks for; `auto` is computed into `directory`."""
    if wanted is None or isinstance(wanted, Path):
        return wanted
    data = config.b.finetune.data if config.b.finetune is not None else ()
    return make_imatrix(
        model,
        directory / "imatrix.gguf",
        text=config.calibration,
        data=data,
        progress=lambda done, total: tell("calibrating", done, total),
    )


def with_adapter(
    source: ResolvedSource, directory: Path, tell: Tell
) -> tuple[ResolvedSource, dict[str, Any]]:
    """Merge a source's adapter into its weights below `directory`, or take what is there.

    Returns the source at its new place (the digest is still that of base and adapter) and the
    facts of the merge; a source without an adapter comes back as it is.
    """
    if source.adapter is None:
        return source, {}
    tell("merging", 0, 1)
    out = directory / _WITH_ADAPTER
    facts = merge_in_child(source.path, Path(source.adapter), out, source.digest)
    tell("merging", 1, 1)
    return replace(source, location=str(out)), facts


def forget_merge(directory: Path, *made: Prepared) -> None:
    """Remove the weights with an adapter in them, once all that is made of them is recorded.

    They stay where a server imports that very directory. A phase that is done again merges again.
    """
    out = directory / _WITH_ADAPTER
    if not any(one.location == str(out) for one in made):
        discard_merge(out)


def finetune(
    config: RunConfig,
    base: ResolvedSource,
    weights: Path,
    samples: Iterable[Sample],
    directory: Path,
    tell: Tell,
    *,
    note: Callable[..., None],
    follow: Callable[[TrainingControl], Callable[[], None]],
) -> tuple[Path, dict[str, Any]]:
    """Fine-tune A's `weights` into `directory`/merged, in a process of its own.

    Goes on from the checkpoints in `directory`, which `forget_training` removes. `note` records
    what happens on the way (kind, its data); `follow(control)` gives what is called
    twice a second: it may lower, restore or pause the training by the control, and raises
    Interrupted when the run shall stop.
    Training lines that leak one of `samples`, and what the rules for training data keep out, are
    left out, or not, as the config says.
    """
    settings = config.b.finetune
    assert settings is not None  # noqa: S101 - the config has it: the caller asked for that branch

    limit = settings.max_seconds

    def progress(at: TrainingProgress) -> None:
        if at.stage == "training":
            tell("fine-tuning", at.step, expected_steps(at, limit))

    def event(kind: str, data: Mapping[str, Any]) -> None:
        note(kind, **data)

    merged, start = directory / "merged", weights
    found = contamination.check(settings, samples)
    facts: dict[str, Any] = {"leaks": contamination.facts(settings, found)}
    settings = contamination.without_leaks(settings, found, directory / "data")
    settings, facts["policy"] = data_policy.apply(settings, directory / "clean")
    if any(one.thinks for one in read_conversations(settings.data)):
        start = directory / "with-tokens"
        facts["thinking_tokens"] = add_in_child(weights, start)
    control = TrainingControl(setting_of(settings))
    result = finetune_in_child(
        start,
        merged,
        settings,
        progress=progress,
        note=event,
        workspace=directory,
        control=control,
        poll=follow(control),
    )
    if start != weights:
        remove_tree(start)  # B has all of it
    training = asdict(result) | facts
    card = model_card(config.b.label, base, settings.method, training, so8t.__version__)
    write_atomic(merged / NAME, card)
    return merged, training


def expected_steps(at: TrainingProgress, limit: float | None) -> int:
    """Return how many steps there will be: those asked for, or those that the time allows for."""
    if limit is None or not at.step or at.seconds <= 0:
        return at.steps
    return max(at.step, min(at.steps, round(at.step * limit / at.seconds)))


def forget_training(directory: Path) -> None:
    """Remove the checkpoints of a training whose result is recorded."""
    remove_checkpoints(directory)


def still_there(prepared: Prepared) -> bool:
    """Whether the artifact of an earlier start is whole: its bytes have the recorded digest."""
    if prepared.kind is ModelForm.SERVED:
        return True
    path = Path(prepared.location)
    if prepared.kind is ModelForm.WEIGHTS:
        return path.is_dir()  # its files are digested again when they are registered
    return path.is_file() and file_digest(path) == prepared.digest
