"""Order, blocks, digests: the pure rules that everything else trusts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.domain.canonical import canonical_json, digest_of
from so8t.domain.exchange import Arm, Message
from so8t.domain.plan import (
    Phase,
    block_ends,
    block_size,
    completed_prefix,
    legs,
    one_cluster,
    permute,
)
from so8t.domain.sample import Grade, Origin, Sample, Score


def sample(name: str, cluster: str | None = None, **changes) -> Sample:
    given_ = {"grader": {"type": "exact"}, "reference": "a"} | changes
    return Sample(
        f"t/{name}",
        "t",
        Origin.SUITE,
        "c",
        "en",
        (Message("user", name),),
        cluster=cluster,
        **given_,
    )


def test_canonical_json_is_one_text_for_equal_data():
    """Equal data has equal bytes whatever the order of keys, and non-ASCII text stays as it is."""
    assert canonical_json({"b": 1, "a": "犬"}) == canonical_json({"a": "犬", "b": 1})
    assert canonical_json({"a": "犬"}) == '{"a":"犬"}'


def test_nan_has_no_digest():
    """What is not a number cannot be named by a digest by accident."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of(float("nan"))


def test_the_order_is_the_same_on_every_machine():
    """The permutation depends on the seed alone: this one was written down once."""
    order = [s.id for s in permute([sample(str(n)) for n in range(8)], seed=7)]
    assert order == ["t/7", "t/2", "t/5", "t/0", "t/1", "t/3", "t/6", "t/4"]


@given(st.integers(0, 60), st.integers(0, 2**32))
def test_a_permutation_keeps_every_sample_whatever_the_input_order(count, seed):
    """Nothing is lost or twice, and the order of the data set leaves no trace."""
    samples = [sample(str(n)) for n in range(count)]
    order = permute(samples, seed)
    assert sorted(s.id for s in order) == sorted(s.id for s in samples)
    assert order == permute(samples[::-1], seed)


@given(st.integers(1, 200))
def test_clusters_stay_together(seed):
    """Questions on one passage follow each other; the passages are shuffled."""
    samples = [sample(f"{c}{n}", cluster=c) for c in "abcd" for n in range(3)]
    order = [s.cluster for s in permute(samples, seed)]
    assert [order[i] for i in range(0, 12, 3)] == list(dict.fromkeys(order))


def test_different_seeds_give_different_orders():
    """The seed matters."""
    samples = [sample(str(n)) for n in range(50)]
    assert permute(samples, 1) != permute(samples, 2)


@given(st.integers(1, 500), st.integers(1, 600))
def test_legs_visit_every_position_once_for_each_arm(count, size):
    """Each arm answers each position in exactly one leg, and the first arm alternates."""
    seen = {Arm.A: [], Arm.B: []}
    firsts = []
    for number, leg in enumerate(legs(count, size)):
        seen[leg.arm] += range(leg.start, leg.stop)
        if number % 2 == 0:
            firsts.append(leg.arm)
    assert seen[Arm.A] == seen[Arm.B] == list(range(count))
    assert firsts == [Arm.A if n % 2 == 0 else Arm.B for n in range(len(firsts))]


def test_a_block_is_a_share_but_not_too_small():
    """Blocks follow the share of the whole, within the minimum and the whole."""
    assert block_size(1000, 0.05, 16) == 50
    assert block_size(100, 0.05, 16) == 16
    assert block_size(10, 0.05, 16) == 10
    assert block_ends(100, 30) == [30, 60, 90, 100]
    assert block_ends(90, 30) == [30, 60, 90]
    assert block_ends(0, 30) == []


def test_only_the_unbroken_prefix_counts():
    """An answer behind a gap does not count before the gap is closed."""
    assert completed_prefix([True, True, False, True]) == 2
    assert completed_prefix([True, True]) == 2
    assert completed_prefix([]) == 0


def test_phases_are_numbered_as_the_design_document_counts_them():
    """1 prepare A, 2 prepare B, 3 register, 4 benchmark."""
    assert [phase.number for phase in Phase] == [1, 2, 3, 4]


def test_each_arm_knows_the_other():
    """There are two sides."""
    assert [arm.other for arm in Arm] == [Arm.B, Arm.A]


def test_a_samples_digest_covers_question_grader_and_budget():
    """Whatever can change a score changes the digest; the name does not."""
    base = sample("x")
    assert base.digest != sample("y").digest
    assert base.digest != sample("x", reference="b").digest
    assert base.digest != sample("x", grader={"type": "number"}).digest
    assert base.digest != sample("x", max_tokens=3).digest


def test_unscored_is_not_zero():
    """A grader that cannot decide gives no number."""
    assert Score.unscored("why") == Score(Grade.UNSCORED, None, "why")
    assert Score.number(0.0).value == 0.0


def twin(name: str, question: str, task: str = "t", cluster: str | None = None) -> Sample:
    return replace(
        sample(name, cluster), id=f"{task}/{name}", task=task, messages=(Message("user", question),)
    )


def clustered(samples: list[Sample]) -> list[Sample]:
    changed = one_cluster(samples)
    return [replace(s, cluster=changed.get(n, s.cluster)) for n, s in enumerate(samples)]


def test_the_same_question_counts_once():
    """Equal messages share a cluster, within a task and between tasks; others stay alone."""
    samples = [twin("1", "?"), twin("2", "!"), twin("3", "?"), twin("4", "?", task="u")]
    joined = clustered(samples)
    names = [s.cluster for s in joined]
    assert names[1] is None
    assert names[0] == names[2] == names[3] is not None
    order = [s.cluster for s in permute(joined, 3)]
    assert order in ([None, *[names[0]] * 3], [*[names[0]] * 3, None])
    assert one_cluster([twin("1", "?"), twin("2", "!")]) == {}


def test_a_twin_joins_the_cluster_that_is_there():
    """A passage's name is kept; two passages that share a question become one cluster."""
    passage = [twin("1", "a", cluster="p"), twin("2", "b", cluster="p"), twin("3", "b")]
    assert [s.cluster for s in clustered(passage)] == ["p", "p", "p"]
    two = [*passage, twin("4", "b", cluster="q"), twin("5", "c", cluster="q"), twin("6", "d")]
    names = [s.cluster for s in clustered(two)]
    assert len(set(names[:5])) == 1
    assert names[0] not in (None, "p", "q")
    assert names[5] is None
