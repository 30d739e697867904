"""The order of a run: one seeded permutation, cut into blocks, the arms alternating A B, B A."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from so8t.domain.sample import Sample


#: The repeat in which each model answers its first questions again, for its own flip rate.
NOISE_FLOOR = 1


def repeats(count: int) -> tuple[int, ...]:
    """Numbers of the `count` answers that a question gets: 0, 2, 3, ...; 1 is the noise floor."""
    return (0, *range(NOISE_FLOOR + 1, count + 1))


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


#: How the name of a cluster begins that holds questions of several tasks or clusters.
SAME_QUESTION = "same question "


def one_cluster(samples: Sequence[Sample]) -> list[Sample]:
    """Put questions that are the same, word for word, into one cluster.

    Counted as independent they would say the same thing twice: a verdict's error rate holds for
    independent clusters. A question without a cluster joins that of its twin; twins of several
    tasks or clusters, and all that stand with them, form a new one. The order stays.
    """
    prints = array("Q", (_print(sample) for sample in samples))
    ordered = sorted(prints)
    twice = {a for a, b in itertools.pairwise(ordered) if a == b}
    if not twice:
        return list(samples)
    twins: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        if prints[number] in twice:
            twins[sample.messages].append(number)
        if sample.cluster is not None:
            twins[sample.task, sample.cluster].append(number)
    joined = list(samples)
    for group in _joined([numbers for numbers in twins.values() if len(numbers) > 1]):
        members = [samples[number] for number in group]
        names = {(member.task, member.cluster) for member in members if member.cluster is not None}
        if len(names) == 1 and len({member.task for member in members}) == 1:
            name = next(iter(names))[1]
        else:
            first = min(member.id for member in members)
            name = SAME_QUESTION + hashlib.sha256(first.encode()).hexdigest()[:12]
        for number in group:
            joined[number] = replace(samples[number], cluster=name)
    return joined


def _print(sample: Sample) -> int:
    """Sixty-four bits of a question's text: enough to find those that need a closer look."""
    text = "\0".join(f"{message.role}\0{message.content}" for message in sample.messages)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _joined(groups: list[list[int]]) -> list[list[int]]:
    """Join groups that share a member, until none do."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.setdefault(number, number) != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for group in groups:
        for number in group[1:]:
            parent[root(number)] = root(group[0])
    found: dict[int, list[int]] = defaultdict(list)
    for number in sorted(parent):
        found[root(number)].append(number)
    return list(found.values())


def permute(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """Put samples in a seeded random order that no platform or Python version changes.

    Sorted by SHA-256 of seed and cluster (the sample's id where it stands alone), so that the
    clusters are shuffled and a cluster's questions stay together, and by id within a cluster.
    """

    def rank(sample: Sample) -> tuple[bytes, str]:
        name, cluster = sample.id, sample.cluster
        if cluster is not None:
            # A cluster's name holds within its task, but for those that join several.
            name = cluster if cluster.startswith(SAME_QUESTION) else f"{sample.task}\0{cluster}"
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
