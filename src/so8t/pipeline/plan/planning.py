"""What a run will do, found out before any of it is done: samples, needs, what is missing."""

from __future__ import annotations

import difflib
import os
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm
from so8t.domain.model_form import ModelForm
from so8t.domain.plan import (
    block_size,
    interleave,
    one_cluster,
    permutation,
    print_of,
    repeated,
)
from so8t.engines.checks import CheckOutcome, TaskNeeds
from so8t.engines.registry import capabilities_of, kind_of, kinds_that
from so8t.errors import ConfigError, DataError, PrerequisiteError
from so8t.models.checkpoint_size import checkpoint_bytes
from so8t.models.finetune import check_method
from so8t.models.sources import ResolvedSource, resolve
from so8t.models.training_data import read_conversations, split_held_out
from so8t.pipeline.benchmark.llm_judge import check_judge
from so8t.pipeline.plan.collected import CollectedSamples
from so8t.pipeline.plan.missing import check_files
from so8t.pipeline.prepare import conversion
from so8t.system.files import free_bytes
from so8t.tasks.benchmarks import load_benchmark
from so8t.tasks.suite import stream_suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from so8t.config.schema import Finetune, Quantization, RunConfig
    from so8t.domain.sample import Sample
    from so8t.engines.checks import Check
    from so8t.journal.rows import RowPlace
    from so8t.tasks.benchmarks import LeftOut

#: Bytes a weight takes in a GGUF, block scales included (ggml's type sizes). Of mixes about what
#: llama.cpp tells of an 8-billion-weight Llama.
BYTES_PER_WEIGHT: dict[Quantization, float] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q6_k": 210 / 256,
    "q5_0": 22 / 32,
    "q4_0": 18 / 32,
    "q5_1": 24 / 32,
    "q4_1": 20 / 32,
    "q5_k_m": 0.72,
    "q5_k_s": 0.70,
    "q4_k_m": 0.61,
    "q4_k_s": 0.58,
    "iq4_nl": 0.59,
    "iq4_xs": 0.56,
    "q3_k_l": 0.54,
    "q3_k_m": 0.51,
    "q3_k_s": 0.46,
    "q2_k": 0.40,
    "q2_k_s": 0.38,
}
_ROW_BYTES = 4096  # an answer with its score, measured generously
_RESERVE = 64 << 20
_BLOCK_MINIMUM = 16


@dataclass(frozen=True, slots=True)
class Needs:
    """What the run's files need, and what is free there, in bytes; None where nobody tells."""

    disk: int
    free: int | None


def collect_samples(config: RunConfig) -> CollectedSamples:
    """Read every suite and benchmark that the config names, in the frozen order of the run.

    The samples lie in a temporary file, and are gone through as often as is needed; a million of
    them fits the memory of a laptop beside its models.

    Raises DataError (file and line) and PrerequisiteError (the file that is not there).
    """
    check_files(config)
    samples = CollectedSamples()
    prints = array("Q")
    known: set[str] = set()
    for sample in _sources(config, samples.left_out):
        samples.append(sample)
        prints.append(print_of(sample.id))
        known |= {sample.category, sample.task}
    _check_ids(samples, prints)
    check_judge(config, samples)
    for name in config.verdict.exploratory:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"verdict.exploratory: there is no category or task {name!r}.",
                hint=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}",
            )
    samples.join(one_cluster(samples))
    samples.arrange(permutation(samples, config.seed))
    if config.verdict.average == "macro":
        samples.arrange(interleave(sample.task for sample in samples)[0])
    return samples


def _check_names(suites: Iterable[Path]) -> None:
    """Refuse two suites of one name, whose scores would be shown as those of one task."""
    known: dict[str, Path] = {}
    for path in suites:
        if path.stem in known:
            raise DataError(
                f"two suites are called {path.stem!r}: {known[path.stem]} and {path}.",
                hint="a suite has the name of its file or directory: rename one of them",
            )
        known[path.stem] = path


def _sources(config: RunConfig, left_out: list[LeftOut]) -> Iterator[Sample]:
    _check_names(config.benchmark.suites)
    for path in config.benchmark.suites:
        yield from stream_suite(path)
    for task in config.benchmark.tasks:
        yield from load_benchmark(
            task.name,
            task.data,
            limit=task.limit,
            few_shot=task.few_shot,
            seed=config.seed,
            strict=task.strict,
            left_out=left_out,
        )
    yield from _hf_samples(config)


def _check_ids(samples: Iterable[Sample], prints: array[int]) -> None:
    """Refuse an id that stands twice; `prints` are those of the ids."""
    twice = repeated(prints)
    seen: set[str] = set()
    for sample in samples if twice else ():
        if sample.id in seen:
            raise DataError(
                f"two samples are called {sample.id!r}.",
                hint="is one task asked for twice? Take one of them out",
            )
        if print_of(sample.id) in twice:
            seen.add(sample.id)


def _hf_samples(config: RunConfig) -> list[Sample]:
    """Load the tasks of lm-eval, and refuse what the engine has no method for."""
    if not config.benchmark.hf:
        return []
    from so8t.tasks.hf.bridge import load_hf_task  # noqa: PLC0415 - lm-eval, if it is used

    samples: list[Sample] = []
    for task in config.benchmark.hf:
        samples += load_hf_task(
            task.name,
            data_dir=task.data_dir,
            num_fewshot=task.num_fewshot,
            limit=task.limit,
            metric=task.metric,
            seed=config.seed,
        )
    if not capabilities_of(config.engine).exact_likelihood:
        able = [kind.name for kind in kinds_that(lambda can: can.exact_likelihood)]
        for sample in samples:
            if sample.form is not None and sample.form.continuations and not sample.form.choices:
                raise ConfigError(
                    f"benchmark.hf: the task {sample.task!r} needs log likelihoods, which "
                    f"engine.kind: {config.engine.kind} does not give.",
                    hint=f"use engine.kind: {' or '.join(able)}, or leave the task out",
                )
    return samples


def task_needs(samples: Iterable[Sample]) -> TaskNeeds:
    """Return which tasks need a choice, and which the log likelihood of given texts."""
    choices, likelihoods = dict[str, None](), dict[str, None]()
    for sample in samples:
        form = sample.form
        if form is not None and form.choices:
            choices[sample.task] = None
        elif form is not None and form.continuations:
            likelihoods[sample.task] = None
    return TaskNeeds(tuple(choices), tuple(likelihoods))


def check_servers(config: RunConfig, samples: Iterable[Sample]) -> list[Check]:
    """Look whether the servers that the config names are there and can do what the tasks need.

    Returns what was found. Raises PrerequisiteError with all that would stop a run.
    """
    kind = kind_of(config.engine)
    if kind.examine is None or not kind.validated:
        return []
    found = kind.examine(config.engine, task_needs(samples))
    failed = [check for check in found if check.outcome is CheckOutcome.FAIL]
    if failed:
        raise PrerequisiteError(
            "\n".join(f"{check.name}: {check.detail}" for check in failed),
            hint="; ".join(dict.fromkeys(check.fix for check in failed if check.fix)) or None,
        )
    return found


def start_commands(config: RunConfig, sources: dict[Arm, ResolvedSource]) -> list[str]:
    """Return the commands with which a person starts the servers for these models."""
    how = kind_of(config.engine).how_to_start
    if how is None:
        return []
    made = config.output / config.name / "artifacts" / "b" / "merged"
    places = {
        arm.value: sources[arm].location if arm in sources else str(made.absolute()) for arm in Arm
    }
    return how(config.engine, places)


def macro_blocks(config: RunConfig, places: Iterable[RowPlace]) -> int:
    """How many blocks of one item of each task begin the order; 0 for a micro average."""
    if config.verdict.average != "macro":
        return 0
    return min(Counter(place.task for place in places).values(), default=0)


def samples_in_block(config: RunConfig, count: int) -> int:
    """Samples between two changes of model."""
    return block_size(count, config.benchmark.block, _BLOCK_MINIMUM)


def resolve_sources(config: RunConfig) -> dict[Arm, ResolvedSource]:
    """Find where both arms come from, and read the training data, without changing anything.

    Raises ModelError and PrerequisiteError with what is missing, DataError (file and line) for
    training data that cannot be used.
    """
    sources = {Arm.A: resolve(config.a.source)}
    if config.b.source is not None:
        sources[Arm.B] = resolve(config.b.source)
    elif config.b.finetune is not None:
        for file in config.b.finetune.data:
            if not file.is_file():
                raise PrerequisiteError(
                    f"the training file {file} is not there.",
                    hint="fix b.finetune.data in the config",
                )
        check_method(config.b.finetune)
        split_held_out(read_conversations(config.b.finetune.data), config.b.finetune.held_out)
    for arm, wanted in ((Arm.A, config.a), (Arm.B, config.b)):
        source = sources.get(arm, sources[Arm.A])
        if _is_converted(config, source):
            matrix = wanted.imatrix if isinstance(wanted.imatrix, Path) else None
            conversion.check(source.path, wanted.quantization, config, imatrix=matrix)
        elif source.kind is ModelForm.FILE:
            conversion.asked_of_file(source.path, wanted)
    if config.calibration is not None and not config.calibration.is_file():
        raise PrerequisiteError(
            f"the calibration text {config.calibration} is not there.",
            hint="fix `calibration` in the config",
        )
    return sources


def _is_converted(config: RunConfig, source: ResolvedSource) -> bool:
    """Whether a GGUF file is made of a source."""
    as_it_is = capabilities_of(config.engine).serves_directories
    return source.kind is ModelForm.WEIGHTS and not as_it_is


def needs(config: RunConfig, sources: dict[Arm, ResolvedSource], samples: int) -> Needs:
    """Estimate the disk that artifacts and journal take, and what is free there."""
    disk = _RESERVE + samples * 2 * config.benchmark.repeats * _ROW_BYTES
    disk += _converted(config, sources[Arm.A], config.a.quantization)
    if Arm.B in sources:
        disk += _converted(config, sources[Arm.B], config.b.quantization)
    else:
        # The merged weights beside the GGUF that is made from them.
        disk += sources[Arm.A].size + _converted(config, sources[Arm.A], config.b.quantization)
        if config.b.finetune is not None:
            thinks = _thinks(config.b.finetune)
            if thinks:
                disk += sources[Arm.A].size  # the base with the tags as tokens, while it is trained
            disk += checkpoint_bytes(sources[Arm.A].path, config.b.finetune, thinks=thinks)
    if config.a.imatrix is not None or config.b.imatrix is not None:
        # The unrounded file that is quantized from.
        disk += _converted(config, max(sources.values(), key=lambda one: one.size), "f32")
    if config.a.measure_quantization or config.b.measure_quantization:
        largest = max(sources.values(), key=lambda source: source.size)
        disk += _converted(config, largest, "f16")
    return Needs(disk, free_bytes(config.output))


def _thinks(settings: Finetune) -> bool:
    return any(one.thinks for one in read_conversations(settings.data))


def check_disk(found: Needs, where: Path) -> None:
    """Raise PrerequisiteError when the plan does not fit the disk, or cannot be written there."""
    there = next(place for place in (where, *where.parents) if place.exists())
    if not os.access(there, os.W_OK):
        raise PrerequisiteError(
            f"{there} cannot be written.", hint="set `output` to another directory"
        )
    if found.free is not None and found.free < found.disk:
        raise PrerequisiteError(
            f"the run needs about {found.disk / 1e9:.1f} GB at {where}, "
            f"{found.free / 1e9:.1f} GB are free.",
            hint="make room, or set `output` to a larger disk",
        )


def _converted(config: RunConfig, source: ResolvedSource, quantization: Quantization) -> int:
    if not _is_converted(config, source):
        return 0
    # Weights come as two bytes each at least; f32 sources are over-estimated, on the safe side.
    merged = source.size if source.adapter is not None else 0
    return merged + round(source.size / 2 * BYTES_PER_WEIGHT[quantization])
