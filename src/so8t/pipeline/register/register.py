"""Phase 3: both models are checked, loaded and have answered once, under one load profile."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, Status
from so8t.domain.model_form import ModelForm
from so8t.domain.plan import NOISE_FLOOR
from so8t.engines.calibrate import SLOTS, Calibration, calibrate, candidates
from so8t.engines.loads import unequal_loads
from so8t.engines.memory_needs import needs, shape_of_facts
from so8t.engines.registry import capabilities_of
from so8t.errors import EngineError, EngineOutOfMemory, IncompleteError, PrerequisiteError
from so8t.models.gguf_check import inspect_gguf
from so8t.pipeline.register.reduced_profiles import reduced_profiles
from so8t.pipeline.register.templates import probes, prompt_facts, with_template
from so8t.pipeline.run.results import Prepared, Registered, Registration
from so8t.system.attempt import reading
from so8t.system.memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import ServedModel
    from so8t.domain.sample import Sample
    from so8t.engines.protocol import Engine
    from so8t.pipeline.register.templates import Ask

_BUDGET_SECONDS = 20.0
# Of the free memory; the rest is for what answering takes and the estimate does not know.
_FILL = 0.95


def register(
    config: RunConfig,
    engine: Engine,
    prepared: dict[Arm, Prepared],
    samples: Sequence[Sample],
    artifacts: Path,
    *,
    ways: frozenset[Ask],
    started: str,
    keep: Registration | None = None,
    longest: int | None = None,
    cards: bool = False,
    note: Callable[..., None] = lambda _kind, **_detail: None,
) -> Registration:
    """Make both models known to the engine, choose the load profile, and try both.

    The profile of `keep` is taken over where both models can be loaded with it: answers that
    were given under it then stay comparable. A profile that cannot fit into the memory that is
    free, or turns out not to, is replaced by the next smaller one, which `note` hears of. `longest`
    bounds the tokens of a question with its answer; `cards` says whether there is a card, whose
    memory is found out by loading alone. `ways` are those in which questions will be put; `started`
    is when the run began, ISO 8601, which templates are told that ask the clock.

    Raises ModelError for a model that does not load, EngineError when one does not answer.
    """
    facts = {arm: _facts(model) for arm, model in prepared.items()}
    first = next((sample.messages for sample in samples if sample.form is None), None)
    models = {
        arm: engine.adopt(
            with_template(config, model.served, started), registered_name(config, arm), artifacts
        )
        for arm, model in prepared.items()
    }
    _check_needs(engine, samples)
    if engine.capabilities.renders_templates:
        for arm, model in models.items():
            facts[arm] |= prompt_facts(model, first)
    trained = [fact["context_length"] for fact in facts.values() if fact.get("context_length")]
    profile = starting_profile(config, trained)
    calibration: dict[str, Any] | None = None
    fits = keep is not None and keep.profile.context <= profile.context
    if keep is not None and fits and keep.engine == engine.info:
        profile, calibration = keep.profile, keep.calibration
    elif engine.capabilities.measures_threads and None in (
        config.engine.slots_wanted,
        config.engine.threads_wanted,
    ):
        fact = facts[Arm.A]
        measured = _calibrate(config, engine, models[Arm.A], samples, profile, fact)
        profile, calibration = measured.applied_to(profile), asdict(measured)
    profiles = reduced_profiles(
        profile,
        cache_types=engine.capabilities.cache_types,
        shapes=[shape_of_facts(fact) for fact in facts.values()],
        longest=longest,
        cards=cards,
    )
    profile, arms = _first_that_fits(
        profiles,
        lambda profile: {
            arm.value: _try(engine, model, profile, facts[arm], ways)
            for arm, model in models.items()
        },
        largest=None if cards else _largest(facts),
        note=note,
    )
    for difference in unequal_loads(arms[Arm.A].load, arms[Arm.B].load):
        raise IncompleteError(
            f"{difference} The answers would not be comparable.",
            hint="give both models room: less context, fewer slots, a smaller quantization",
        )
    asked = config.engine.model_dump(mode="json")
    return Registration(engine.info, profile, arms, calibration, asked)


def _check_needs(engine: Engine, samples: Sequence[Sample]) -> None:
    """Refuse questions that the engine, as it was found, cannot be asked.

    Raises PrerequisiteError with the tasks.
    """
    if engine.capabilities.exact_likelihood:
        return
    tasks = {
        sample.task: None
        for sample in samples
        if sample.form is not None and sample.form.continuations and not sample.form.choices
    }
    if tasks:
        raise PrerequisiteError(
            f"the servers do not measure log likelihoods, which {', '.join(tasks)} need.",
            hint="so8t doctor shows what each can do; take these tasks out, or use another server",
        )


def registered_name(config: RunConfig, arm: Arm) -> str:
    """Name that a model made here gets on a server of models."""
    return f"so8t-{config.name}-{arm.value}".lower()


def starting_profile(config: RunConfig, trained: Sequence[int]) -> LoadProfile:
    """Return the profile to begin with; `trained` are the models' own longest contexts, if known.

    A context beyond what a model was trained for gives answers that mean nothing.
    """
    wanted = config.engine
    return LoadProfile(
        slots=wanted.slots_wanted or 1,
        context=min([wanted.context, *trained]),
        threads=_threads(config),
        gpu_layers=wanted.gpu_layers_wanted,
    )


def _largest(facts: dict[Arm, dict[str, Any]]) -> Callable[[LoadProfile], int] | None:
    """Return what the larger model takes under a profile; None where the files do not tell."""
    shapes = [shape for shape in map(shape_of_facts, facts.values()) if shape is not None]
    if len(shapes) < len(facts):
        return None
    return lambda profile: max(needs(shape, profile).total for shape in shapes)


def _first_that_fits(
    profiles: Sequence[LoadProfile],
    attempt: Callable[[LoadProfile], dict[str, Registered]],
    *,
    largest: Callable[[LoadProfile], int] | None,
    note: Callable[..., None],
) -> tuple[LoadProfile, dict[str, Registered]]:
    """Load under the first profile that fits, by the estimate and then by trying.

    Raises EngineOutOfMemory when not even the last one does.
    """
    for place, profile in enumerate(profiles):
        last = place + 1 == len(profiles)
        needed, free = (largest(profile) if largest else None), available_memory()
        why: dict[str, Any] = {"reason": "estimate", "needed": needed, "available": free}
        if last or needed is None or free is None or needed <= free * _FILL:
            try:
                return profile, attempt(profile)
            except EngineOutOfMemory as error:
                if last:
                    raise
                why = {"reason": "out_of_memory", "message": error.message}
        note(
            EventKind.PROFILE_REDUCED,
            before=asdict(profile),
            after=asdict(profiles[place + 1]),
            **why,
        )
    raise AssertionError  # the last profile returns or raises


def _facts(model: Prepared) -> dict[str, Any]:
    is_file = model.kind is ModelForm.FILE
    return asdict(inspect_gguf(Path(model.location))) if is_file else {}


def _threads(config: RunConfig) -> int | None:
    """Threads to start from; a server with a choice of its own keeps it."""
    wanted = config.engine.threads_wanted
    if wanted is not None or not capabilities_of(config.engine).measures_threads:
        return wanted
    return reading(lambda: psutil.cpu_count(logical=False)) or 1


def _calibrate(
    config: RunConfig,
    engine: Engine,
    model: ServedModel,
    samples: Sequence[Sample],
    profile: LoadProfile,
    facts: dict[str, Any],
) -> Calibration:
    """Measure threads and slots on this machine, those that the config leaves open.

    Slots for which the memory does not suffice are not tried.
    """
    wanted = config.engine
    shape = shape_of_facts(facts)
    one = None if shape is None else needs(shape, replace(profile, slots=1))
    available = available_memory()
    free = None if one is None or available is None else round(available * _FILL) - one.total
    tried = candidates(
        cores=profile.threads or 1,
        free_memory=None if one is None or free is None else free + one.cache,
        slot_memory=None if one is None else one.cache,
        slots=SLOTS if wanted.slots_wanted is None else [wanted.slots_wanted],
    )
    threads = wanted.threads_wanted
    if threads is not None:
        tried = tuple(replace(one, threads=threads) for one in tried if one.threads == 1)
    probes = samples[: 2 * max(one.slots for one in tried)]
    return calibrate(
        engine,
        model,
        candidates=tried,
        requests=[request(sample, config, str(n)) for n, sample in enumerate(probes)],
        budget_seconds=_BUDGET_SECONDS,
        profile=profile,
    )


def _try(
    engine: Engine,
    model: ServedModel,
    profile: LoadProfile,
    facts: dict[str, Any],
    ways: frozenset[Ask],
) -> Registered:
    """Load a model and ask it in every way in which the run will."""
    with engine.open(model, profile) as session:
        first = None
        for probe in probes(ways, Decoding(max_tokens=16)):
            reply = next(iter(session.serve([probe])))
            if reply.status is Status.FAILED:
                raise EngineError(
                    f"model {model.arm.upper()} ({model.location}) was loaded but does not answer "
                    f"({probe.key.removeprefix('register ')}): {reply.reason}.",
                    hint="so8t doctor",
                )
            first = first or reply
        assert first is not None  # noqa: S101 - there is a probe in any case
        return Registered(model, session.report, facts, first.text, first.seconds)


def decoding_of(sample: Sample, config: RunConfig, repeat: int = 0) -> Decoding:
    """How a sample is decoded: its own token budget, else the run's; a seed for each repeat."""
    wanted = config.generation
    if sample.form is not None:
        # What lm-eval asks is decoded as lm-eval does: greedily.
        return Decoding(max_tokens=sample.max_tokens or wanted.max_tokens, seed=config.seed)
    return Decoding(
        max_tokens=sample.max_tokens or wanted.max_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        top_k=wanted.top_k,
        seed=config.seed + repeat,
        stop=tuple(wanted.stop),
    )


def request(sample: Sample, config: RunConfig, key: str, repeat: int = 0) -> EngineRequest:
    """Turn a sample into the question that is put to an engine."""
    return EngineRequest(
        key,
        sample.messages,
        decoding_of(sample, config, repeat),
        sample.form,
        item=sample.id,
        elsewhere=repeat == NOISE_FLOOR,
    )
