"""Both or neither: two answers are a pair only when they were given under the same conditions.

Precision, offload, context or decoding that change in the middle of a run change answers. A pair
whose halves come from before and after such a change would compare the change, not the models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What differs between the arms by design.
_OF_THE_ARM = ("arm", "model", "template")
#: What decides when an answer comes, not what it says; the noise floor shows what is left of it.
_OF_THE_PACE = ("slots", "threads")


def conditions(settings: Mapping[str, Any]) -> str:
    """Digest of what must be the same for both arms: engine, decoding, context, offload."""
    shared = {key: value for key, value in settings.items() if key not in _OF_THE_ARM}
    profile = shared.get("profile") or {}
    shared["profile"] = {key: value for key, value in profile.items() if key not in _OF_THE_PACE}
    return digest_of(shared)


def comparable(a: Iterable[str], b: Iterable[str], known: Mapping[str, str]) -> bool:
    """Whether all answers of a pair share their conditions; `known` maps settings to theirs."""
    return len({known[digest] for digest in (*a, *b)}) <= 1
