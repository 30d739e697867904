"""Estimates for `plan`: does it fit, and how long will it take, each with its basis."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from so8t.domain.exchange import Arm, LoadProfile
from so8t.domain.model_form import ModelForm
from so8t.engines.memory_needs import needs, shape_of_config, shape_of_facts
from so8t.engines.registry import capabilities_of
from so8t.models.gguf_check import inspect_gguf
from so8t.pipeline.plan.planning import BYTES_PER_WEIGHT
from so8t.pipeline.register.register import starting_profile
from so8t.system.memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.config.schema import RunConfig
    from so8t.domain.sample import Sample
    from so8t.engines.memory_needs import Shape
    from so8t.models.sources import ResolvedSource

# Far more than a processor keeps beside itself, and little of what is free: measuring must not be
# what fills a small machine.
_PROBE_BYTES, _LEAST_PROBE_BYTES = 256 << 20, 1 << 20
_PROBE_SHARE = 1 / 16
_SHORTEST_ANSWER = 4
# A request costs this many seconds around its tokens even on a tiny model.
_OVERHEAD_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that each model takes under the profile it will be loaded with, and what is available.

    An arm is None where its source does not tell its figures (a name on a server), or where its
    memory is another machine's; `available` is None where the machine does not.
    """

    arms: dict[Arm, int | None]
    profile: LoadProfile
    available: int | None

    @property
    def needed(self) -> int | None:
        """The larger model alone: without this much there is no run. None when unknown."""
        return None if self.together is None else max(size for size in self.arms.values() if size)

    @property
    def together(self) -> int | None:
        """Both models at once, which spares loading one anew for each block. None when unknown."""
        known = [size for size in self.arms.values() if size is not None]
        return sum(known) if len(known) == len(self.arms) else None

    @property
    def fits(self) -> bool | None:
        """Whether one model at a time fits; None when unknown."""
        return self._within(self.needed)

    @property
    def both_fit(self) -> bool | None:
        """Whether both fit at once; None when unknown."""
        return self._within(self.together)

    def _within(self, wanted: int | None) -> bool | None:
        return None if wanted is None or self.available is None else wanted <= self.available


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds of phase 4, between short answers and full token budgets, and what that rests on.

    `memory_bandwidth`: reading all weights once a token, at the speed measured now, is the limit.
    """

    low: float
    high: float
    basis: Literal["memory_bandwidth"]


def estimate_memory(config: RunConfig, sources: dict[Arm, ResolvedSource]) -> MemoryEstimate:
    """Estimate what loading each model takes: weights, KV cache of all slots, buffers, process.

    The figures come from a GGUF's header or from config.json. Slots that the config leaves to
    calibration count as one, since calibration adds only those that the memory suffices for.
    """
    shapes, limits = {}, []
    for arm in Arm:
        shapes[arm], limit = _shape(config, sources, arm)
        limits += [limit] if limit else []
    profile = starting_profile(config, limits)
    sizes = {
        arm: None if shape is None else needs(shape, profile).total for arm, shape in shapes.items()
    }
    return MemoryEstimate(sizes, profile, available_memory())


def estimate_time(
    config: RunConfig, sources: dict[Arm, ResolvedSource], samples: Sequence[Sample]
) -> TimeEstimate:
    """Estimate phase 4 from the weights' size and the memory bandwidth of this machine.

    Decoding reads every weight once a token (for all slots together), so that bandwidth bounds
    the tokens a second from above; prompts are computed in batches and are not counted.
    """
    bandwidth = memory_bandwidth()
    per_token = sum(_weights(config, sources, arm) for arm in Arm) / bandwidth
    budgets = [sample.max_tokens or config.generation.max_tokens for sample in samples]
    budgets *= config.benchmark.repeats
    around = 2 * len(budgets) * _OVERHEAD_SECONDS
    low = sum(min(_SHORTEST_ANSWER, budget) for budget in budgets) * per_token + around
    high = sum(budgets) * per_token + around
    return TimeEstimate(low, high, "memory_bandwidth")


def memory_bandwidth() -> float:
    """Bytes a second that one core reads from memory, measured now (the best of three).

    Where little memory is free the block is small, and a part of it may be read from a cache.
    """
    size = round(min(_PROBE_BYTES, (available_memory() or 0) * _PROBE_SHARE)) // 8 * 8
    size = max(_LEAST_PROBE_BYTES, size)
    block = np.ones(size // 8, dtype=np.int64)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        block.sum()
        best = min(best, time.perf_counter() - started)
    return size / best


def _weights(config: RunConfig, sources: dict[Arm, ResolvedSource], arm: Arm) -> int:
    source = sources.get(arm, sources[Arm.A])
    if source.kind is not ModelForm.WEIGHTS:
        return source.size
    wanted = config.a.quantization if arm is Arm.A else config.b.quantization
    return round(source.size / 2 * BYTES_PER_WEIGHT[wanted])


def _shape(
    config: RunConfig, sources: dict[Arm, ResolvedSource], arm: Arm
) -> tuple[Shape | None, int | None]:
    """Return the figures of an arm and the longest context it was trained for, where known."""
    source = sources.get(arm, sources[Arm.A])
    if source.kind is ModelForm.SERVED or not capabilities_of(config.engine).local:
        return None, None
    if source.kind is ModelForm.FILE:
        facts = asdict(inspect_gguf(source.path))
        return shape_of_facts(facts), facts["context_length"]
    # `resolve` has read it already, so it is there and is an object.
    found = json.loads((source.path / "config.json").read_text(encoding="utf-8"))
    longest = found.get("max_position_embeddings")
    shape = shape_of_config(found, _weights(config, sources, arm))
    return shape, longest if isinstance(longest, int) else None
