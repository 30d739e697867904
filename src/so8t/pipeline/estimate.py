"""Estimates for `plan`: does it fit, and how long will it take, each with its basis."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from so8t.domain.exchange import Arm
from so8t.pipeline.planning import BYTES_PER_WEIGHT
from so8t.system.memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.config.schema import RunConfig
    from so8t.domain.sample import Sample
    from so8t.models.sources import ResolvedSource

# What an engine's process takes besides the weights: code, buffers, a small KV cache.
_PROCESS = 200 << 20
_PROBE_BYTES = 256 << 20
_SHORTEST_ANSWER = 4
# A request costs this many seconds around its tokens even on a tiny model.
_OVERHEAD_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of memory for the larger model, and what is available now."""

    needed: int
    available: int

    @property
    def fits(self) -> bool:
        """Whether one model at a time fits."""
        return self.needed <= self.available


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds of phase 4, between short answers and full token budgets, and what that rests on.

    `memory_bandwidth`: reading all weights once a token, at the speed measured now, is the limit.
    """

    low: float
    high: float
    basis: Literal["memory_bandwidth"]


def estimate_memory(config: RunConfig, sources: dict[Arm, ResolvedSource]) -> MemoryEstimate:
    """Estimate what the larger of the two models takes when it is loaded."""
    return MemoryEstimate(
        max(_weights(config, sources, arm) for arm in Arm) + _PROCESS, available_memory()
    )


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
    """Bytes a second that one core reads from memory, measured now (the best of three)."""
    block = np.ones(_PROBE_BYTES // 8, dtype=np.int64)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        block.sum()
        best = min(best, time.perf_counter() - started)
    return _PROBE_BYTES / best


def _weights(config: RunConfig, sources: dict[Arm, ResolvedSource], arm: Arm) -> int:
    source = sources.get(arm, sources[Arm.A])
    if source.kind != "hf":
        return source.size
    wanted = config.a.quantization if arm is Arm.A else config.b.quantization
    return round(source.size / 2 * BYTES_PER_WEIGHT[wanted])
