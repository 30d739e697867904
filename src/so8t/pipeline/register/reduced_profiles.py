"""Smaller and smaller ways to load the same two models, in the order in which they are taken.

What changes no answer comes first: slots, then context that no question needs. What can change an
answer in its low bits (layers on the CPU, batch size, the type of the KV cache) comes last. Pairs
that would be compared across such a change are asked again (`so8t.journal.conditions`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from so8t.domain.exchange import LoadProfile
    from so8t.domain.sample import Sample
    from so8t.engines.memory_needs import Shape

_SMALL_BATCH = 128
_SMALL_CACHE = "q8_0"
_BLOCK = 32  # values in a q8_0 block; a head must be a multiple
_ROUND = 256  # llama.cpp rounds a context up to this


def reduced_profiles(
    profile: LoadProfile,
    *,
    cache_types: Sequence[str] = (),
    shapes: Sequence[Shape | None] = (),
    longest: int | None = None,
    cards: bool = False,
) -> tuple[LoadProfile, ...]:
    """Return `profile` and what is smaller, each with all that was given up before it.

    Args:
        profile: what was asked for or measured.
        cache_types: types of the KV cache that the engine can load one model with.
        shapes: the figures of both models, None for one that does not tell them.
        longest: tokens that the longest question can take with its answer; None when unknown.
        cards: whether there is a card that layers can be taken off.

    """
    profiles = [profile]

    def add(**change: object) -> None:
        smaller = replace(profiles[-1], **change)  # type: ignore[arg-type]
        if smaller != profiles[-1]:
            profiles.append(smaller)

    slots = profile.slots
    while slots > 1:
        slots //= 2
        add(slots=slots)
    if longest is not None:
        needed = -(-longest // _ROUND) * _ROUND
        add(context=min(profile.context, needed))
    known = [shape for shape in shapes if shape is not None]
    if cards and profile.gpu_layers != 0 and known:
        layers = max(shape.layers for shape in known)
        there = layers if profile.gpu_layers < 0 else min(layers, profile.gpu_layers)
        for share in (3, 2, 1, 0):
            add(gpu_layers=there * share // 4)
    if (profile.batch or _SMALL_BATCH + 1) > _SMALL_BATCH:
        add(batch=_SMALL_BATCH)
    even = len(known) == len(shapes) > 0 and all(shape.head % _BLOCK == 0 for shape in known)
    if _SMALL_CACHE in cache_types and even and profile.cache_type != _SMALL_CACHE:
        add(cache_type=_SMALL_CACHE)
    return tuple(profiles)


def longest_question(samples: Iterable[Sample], max_tokens: int) -> int:
    """Tokens that the longest question can take with its answer, at most.

    A token is at least one byte, so the bytes bound the tokens; a template adds some.
    """
    template = 64
    return max(
        (
            sum(len(message.content.encode(errors="replace")) + template for message in s.messages)
            + (s.max_tokens or max_tokens)
            for s in samples
        ),
        default=max_tokens,
    )
