"""The order of a run: one seeded permutation, cut into blocks, the arms alternating A B, B A."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections import defaultdict
from dataclasses import dataclass
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


def one_cluster(samples: Sequence[Sample]) -> dict[int, str]:
    """Find questions that are the same, word for word: the cluster of each that changes its own.

    Counted as independent they would say the same thing twice: a verdict's error rate holds for
    independent clusters. A question without a cluster joins that of its twin; twins of several
    tasks or clusters, and all that stand with them, form a new one. Keys are numbers in `samples`,
    which are gone through one by one: of each no more is kept than eight bytes.
    """
    prints = array("Q", (_text_print(sample) for sample in samples))
    twice = repeated(prints)
    if not twice:
        return {}
    twins: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        if prints[number] in twice:
            twins[sample.messages].append(number)
        if sample.cluster is not None:
            twins[sample.task, sample.cluster].append(number)
    joined: dict[int, str] = {}
    for group in _joined([numbers for numbers in twins.values() if len(numbers) > 1]):
        members = [samples[number] for number in group]
        names = {(member.task, member.cluster) for member in members if member.cluster is not None}
        name = next(iter(names))[1] if len(names) == 1 else None
        if name is None or len({member.task for member in members}) > 1:
            first = min(member.id for member in members)
            name = SAME_QUESTION + hashlib.sha256(first.encode()).hexdigest()[:12]
        joined.update(dict.fromkeys(group, name))
    return joined


def _text_print(sample: Sample) -> int:
    return print_of("\0".join(f"{one.role}\0{one.content}" for one in sample.messages))


def print_of(text: str) -> int:
    """Sixty-four bits of a text: enough to find those that need a closer look."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def repeated(prints: array[int]) -> set[int]:
    """Return the prints that stand there more than once."""
    import numpy as np  # noqa: PLC0415 - most of what imports this module sorts nothing

    ordered = np.sort(np.array(prints, dtype=np.uint64))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


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
    held = list(samples)
    return [held[number] for number in permutation(held, seed)]


def permutation(samples: Sequence[Sample], seed: int) -> array[int]:
    """Return the numbers of `samples` in the order of `permute`.

    They are gone through one by one, and of each no more is kept than its number and eight bytes.
    """
    import numpy as np  # noqa: PLC0415 - most of what imports this module sorts nothing

    def rank(sample: Sample) -> tuple[bytes, str]:
        name, cluster = sample.id, sample.cluster
        if cluster is not None:
            # A cluster's name holds within its task, but for those that join several.
            name = cluster if cluster.startswith(SAME_QUESTION) else f"{sample.task}\0{cluster}"
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest(), sample.id

    keys = np.array(
        array("Q", (int.from_bytes(rank(sample)[0][:8], "big") for sample in samples)), np.uint64
    )
    order = np.argsort(keys, kind="stable")
    # Equal beginnings are a cluster's (or a rare chance): there the whole rank decides.
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    bounds = np.concatenate([[0], ends, [len(keys)]])
    for run in np.flatnonzero(np.diff(bounds) > 1):
        start, stop = bounds[run], bounds[run + 1]
        members: list[int] = order[start:stop].tolist()
        order[start:stop] = sorted(members, key=lambda number: rank(samples[number]))
    return array("Q", order.astype(np.uint64).tobytes())


def interleave(tasks: Iterable[str]) -> tuple[array[int], int]:
    """Put permuted samples, given by their tasks, in blocks of one of each for a macro average.

    Returns their numbers in order and how many whole blocks begin it; what larger tasks have
    beyond the smallest one follows behind, in the order of the permutation.
    """
    members: dict[str, array[int]] = {}
    for number, task in enumerate(tasks):
        members.setdefault(task, array("Q")).append(number)
    blocks = min(map(len, members.values()), default=0)
    order = array("Q", (task[n] for n in range(blocks) for task in members.values()))
    order.extend(heapq.merge(*(task[blocks:] for task in members.values())))
    return order, blocks


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
