"""The order of a run: one seeded permutation, cut into blocks, the arms alternating A B, B A."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from so8t.domain.sample import Sample


class Phase(StrEnum):
    """The four phases of a run."""

    PREPARE_A = "prepare_a"
    PREPARE_B = "prepare_b"
    REGISTER = "register"
    BENCHMARK = "benchmark"

    @property
    def number(self) -> int:
        """1 to 4, as the design document counts them."""
        return list(Phase).index(self) + 1


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of the plan that one arm answers without a change of model.

    `start` and `stop` are positions in the permutation, `stop` excluded.
    """

    block: int
    arm: Arm
    start: int
    stop: int


def permute(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """Put samples in a seeded random order that no platform or Python version changes.

    Sorted by SHA-256 of seed and cluster (the sample's id where it stands alone), so that the
    clusters are shuffled and a cluster's questions stay together, and by id within a cluster.
    """

    def rank(sample: Sample) -> tuple[bytes, str]:
        name = sample.id if sample.cluster is None else f"{sample.task}\0{sample.cluster}"
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest(), sample.id

    return sorted(samples, key=rank)


def interleave(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Put permuted samples in blocks of one of each task, for a macro average.

    Returns the order and how many whole blocks begin it; what larger tasks have beyond the
    smallest one follows behind, in the order of the permutation.
    """
    tasks: dict[str, list[Sample]] = {}
    for sample in samples:
        tasks.setdefault(sample.task, []).append(sample)
    blocks = min(map(len, tasks.values()), default=0)
    whole = [task[number] for number in range(blocks) for task in tasks.values()]
    taken = {sample.id for sample in whole}
    return [*whole, *(sample for sample in samples if sample.id not in taken)], blocks


def block_size(count: int, share: float, minimum: int) -> int:
    """Samples in a block: a share of all, but at least `minimum` (so that every slot has work)."""
    return max(1, min(count, max(minimum, round(count * share))))


def block_ends(count: int, size: int) -> list[int]:
    """Positions at which blocks end, the last one `count`."""
    return [*range(size, count, size), count] if count else []


def legs(count: int, size: int) -> Iterator[Leg]:
    """Yield the legs A B, B A, A B, ...: which arm is first alternates from block to block.

    Heat, clock speed and other drift then hit both arms alike, and the model is changed only
    once a block.
    """
    start = 0
    for number, stop in enumerate(block_ends(count, size)):
        first = Arm.A if number % 2 == 0 else Arm.B
        yield Leg(number, first, start, stop)
        yield Leg(number, first.other, start, stop)
        start = stop


def completed_prefix(answered: Sequence[bool]) -> int:
    """Length of the longest prefix of the permutation in which every position is answered.

    Only this prefix counts for a verdict: in completion order easy questions come first, and at
    concurrency 256 that alone gave false verdicts in 93 % of runs.
    """
    for position, done in enumerate(answered):
        if not done:
            return position
    return len(answered)
