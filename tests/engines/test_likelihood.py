"""Log likelihoods: how texts are put into batches, and that a number does not depend on it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.domain.exchange import Continuation, EngineRequest, Form, LoadProfile
from so8t.domain.measured import read_measured
from so8t.engines.embedded import EmbeddedEngine
from so8t.engines.likelihood import CELLS, batches

TEXT = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=12), st.integers(6, 40), st.integers(1, 6))
def test_batches_ask_for_every_token_of_every_pair_in_order(pairs, cells, sequences):
    """Whatever shares a batch, each token is asked for behind exactly what is before it."""
    found = []
    for tree, ranges in batches(pairs, cells, sequences):
        if len(ranges) > 1:
            assert len(tree.tokens) <= cells
            assert tree.ends <= sequences
        assert len(tree.sequences()) == len(tree.tokens)
        ends = tree.sequences()
        for start, stop in ranges:
            before = []
            for node, token in tree.asked[start:stop]:
                # The way to a node: the nodes that one of its sequences runs through, down to it.
                line = [tree.tokens[n] for n in range(node + 1) if ends[node][0] in ends[n]]
                before.append((line, token))
            found.append(before)
    assert found == [
        [((context + text)[: len(context) + n], token) for n, token in enumerate(text)]
        for context, text in pairs
    ]


def _sizes(pairs):
    return [(len(tree.tokens), len(ranges)) for tree, ranges in batches(pairs, 10**6, 10**6)]


def test_strangers_do_not_share_a_batch_past_a_step():
    """Texts with nothing in common fill one step of cells and go no further."""
    texts = [([n] * 100, [7]) for n in range(6)]
    assert _sizes(texts) == [(200, 2)] * 3


def test_a_long_common_beginning_is_computed_once():
    """Few-shot examples before every question are worth a larger batch."""
    examples = list(range(CELLS))
    texts = [([*examples, *[1000 + n] * 40], [7]) for n in range(20)]
    assert _sizes(texts) == [(CELLS + 20 * 40, 20)]


@pytest.mark.parametrize("context", [300, 512])
def test_a_likelihood_does_not_depend_on_its_neighbours(tiny_model, context):
    """The same texts in another order, in contexts of any size, have the same log likelihoods."""
    rng = random.Random(1)
    words = ["one", "two", "three", "house", "river", "stone"]
    requests = [
        EngineRequest(
            str(n),
            (),
            form=Form(
                tuple(
                    Continuation(" ".join(rng.choices(words, k=rng.randint(1, 30))), f" {word}")
                    for word in words[:3]
                )
            ),
        )
        for n in range(12)
    ]
    seen = []
    for order in (requests, requests[::-1]):
        profile = LoadProfile(slots=1, context=context, threads=1)
        with EmbeddedEngine().open(tiny_model, profile) as own:
            found = {reply.key: read_measured(reply.text) for reply in own.serve(order)}
        assert {one.way for one in found.values()} == {"batch"}
        seen.append(found)
    for key, one in seen[0].items():
        for mine, other in zip(one.likelihoods, seen[1][key].likelihoods, strict=True):
            # llama.cpp rounds in other places where an F16 matrix meets one row or many.
            assert math.isclose(mine.logprob, other.logprob, abs_tol=5e-3)
            assert mine.logprob < 0
