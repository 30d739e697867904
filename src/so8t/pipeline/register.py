"""Phase 3: both models are checked, loaded and have answered once, under one load profile."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, Message, Status
from so8t.engines.calibrate import SLOTS, Calibration, calibrate, candidates
from so8t.engines.ollama.degradation import compare_loads
from so8t.errors import EngineError, IncompleteError
from so8t.models.gguf_check import inspect_gguf
from so8t.pipeline.results import Prepared, Registered, Registration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import ServedModel
    from so8t.domain.sample import Sample
    from so8t.engines.protocol import Engine

_BUDGET_SECONDS = 20.0


def register(
    config: RunConfig,
    engine: Engine,
    prepared: dict[Arm, Prepared],
    samples: Sequence[Sample],
    artifacts: Path,
    *,
    keep: Registration | None = None,
) -> Registration:
    """Make both models known to the engine, choose the load profile, and try both.

    The profile of `keep` is taken over where both models can be loaded with it: answers that
    were given under it then stay comparable.

    Raises ModelError for a model that does not load, EngineError when one does not answer.
    """
    facts = {arm: _facts(model) for arm, model in prepared.items()}
    models = {
        arm: engine.adopt(model.served, registered_name(config, arm), artifacts)
        for arm, model in prepared.items()
    }
    profile = _starting_profile(config, facts)
    calibration: dict[str, Any] | None = None
    fits = keep is not None and keep.profile.context == profile.context
    if keep is not None and fits and keep.engine == engine.info:
        profile, calibration = keep.profile, keep.calibration
    elif config.engine.kind == "embedded" and "auto" in (
        config.engine.slots,
        config.engine.threads,
    ):
        measured = _calibrate(config, engine, models[Arm.A], samples, profile)
        profile, calibration = measured.applied_to(profile), asdict(measured)
    arms: dict[str, Registered] = {
        arm.value: _try(engine, model, profile, facts[arm], samples)
        for arm, model in models.items()
    }
    for finding in compare_loads(arms[Arm.A].load, arms[Arm.B].load):
        raise IncompleteError(
            f"{finding.message} The answers would not be comparable.",
            hint="give both models room: less context, fewer slots, a smaller quantization",
        )
    asked = config.engine.model_dump(mode="json")
    return Registration(engine.info, profile, arms, calibration, asked)


def registered_name(config: RunConfig, arm: Arm) -> str:
    """Name that a model made here gets on a server of models."""
    return f"so8t-{config.name}-{arm.value}".lower()


def _facts(model: Prepared) -> dict[str, Any]:
    return asdict(inspect_gguf(Path(model.location))) if model.kind == "gguf" else {}


def _starting_profile(config: RunConfig, facts: dict[Arm, dict[str, Any]]) -> LoadProfile:
    # A context beyond what a model was trained for gives answers that mean nothing.
    limits = [fact["context_length"] for fact in facts.values() if fact.get("context_length")]
    wanted = config.engine
    return LoadProfile(
        slots=1 if wanted.slots == "auto" else wanted.slots,
        context=min([wanted.context, *limits]),
        threads=_threads(config),
        gpu_layers=wanted.gpu_layers,
    )


def _threads(config: RunConfig) -> int | None:
    """Threads to start from; a server with a choice of its own keeps it."""
    if config.engine.threads != "auto":
        return config.engine.threads
    return None if config.engine.kind == "ollama" else psutil.cpu_count(logical=False) or 1


def _calibrate(
    config: RunConfig,
    engine: Engine,
    model: ServedModel,
    samples: Sequence[Sample],
    profile: LoadProfile,
) -> Calibration:
    """Measure threads and slots on this machine, those that the config leaves open."""
    wanted = config.engine
    tried = candidates(
        cores=profile.threads or 1, slots=SLOTS if wanted.slots == "auto" else [wanted.slots]
    )
    if wanted.threads != "auto":
        tried = tuple(replace(one, threads=wanted.threads) for one in tried if one.threads == 1)
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
    samples: Sequence[Sample],
) -> Registered:
    messages = samples[0].messages if samples else (Message("user", "Hello"),)
    probe = EngineRequest("register", messages, Decoding(max_tokens=16))
    with engine.open(model, profile) as session:
        reply = next(iter(session.serve([probe])))
        if reply.status is Status.FAILED:
            raise EngineError(
                f"model {model.arm.upper()} ({model.location}) was loaded but does not answer: "
                f"{reply.reason}.",
                hint="so8t doctor",
            )
        return Registered(model, session.report, facts, reply.text, reply.seconds)


def decoding_of(sample: Sample, config: RunConfig, repeat: int = 0) -> Decoding:
    """How a sample is decoded: its own token budget, else the run's; a seed for each repeat."""
    wanted = config.generation
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
    return EngineRequest(key, sample.messages, decoding_of(sample, config, repeat))
