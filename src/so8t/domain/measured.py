"""What a model said of given texts, instead of a text of its own: written into an answer and read.

An answer of this kind is one line of JSON, so that it is kept, chained and compared in the journal
like any other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ChoiceMethod(StrEnum):
    """How a choice among given texts was found out."""

    EXACT = "exact"
    """the log likelihood of every text, token by token"""

    FIRST_TOKEN = "first_token"  # noqa: S105 - a method, not a password
    """the label with the highest log probability as the first token of a chat answer"""

    CONSTRAINED = "constrained"
    """a chat answer that a schema allowed to be nothing but one of the labels"""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a text is: sum of its tokens' natural log probabilities, how many they are, and
    whether each of them is the likeliest in its place.
    """

    logprob: float
    tokens: int
    greedy: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and how.

    `likelihoods` are there by the exact method, one for each continuation asked for; `choice` (the
    position of a label) and the log probabilities of the labels that were seen in the others.
    """

    method: ChoiceMethod
    likelihoods: tuple[Likelihood, ...] = ()
    way: str | None = None
    choice: int | None = None
    logprobs: tuple[float | None, ...] = ()


def write_likelihoods(likelihoods: Sequence[Likelihood], way: str) -> str:
    """Write an answer of the exact method; `way` says how an engine computed it."""
    return canonical_json(
        {
            "method": ChoiceMethod.EXACT.value,
            "way": way,
            "likelihoods": [[one.logprob, one.tokens, one.greedy] for one in likelihoods],
        }
    )


def write_choice(method: ChoiceMethod, choice: int, logprobs: Sequence[float | None] = ()) -> str:
    """Write an answer of one of the other methods."""
    return canonical_json({"method": method.value, "choice": choice, "logprobs": list(logprobs)})


def read_measured(text: str) -> Measured:
    """Read such an answer back. Raises ValueError for any other text."""
    try:
        plain: dict[str, Any] = json.loads(text)
        return Measured(
            method=ChoiceMethod(plain["method"]),
            likelihoods=tuple(
                Likelihood(float(logprob), int(tokens), bool(greedy))
                for logprob, tokens, greedy in plain.get("likelihoods", ())
            ),
            way=plain.get("way"),
            choice=plain.get("choice"),
            logprobs=tuple(plain.get("logprobs", ())),
        )
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a measured answer: {text[:80]!r}") from error


def best_label(seen: Mapping[str, float], labels: Sequence[str]) -> list[float | None]:
    """Return each label's log probability among the tokens that were seen, None where it was not.

    A token counts for a label when it is the label between white space; of several the likeliest.
    """
    found: list[float | None] = [None] * len(labels)
    for token, logprob in seen.items():
        word = token.strip()
        if word in labels:
            place = labels.index(word)
            best = found[place]
            found[place] = logprob if best is None else max(best, logprob)
    return found


def first_token_choice(seen: Mapping[str, float], labels: Sequence[str]) -> str | None:
    """Write the answer of the first-token method; None where no label was among the tokens seen."""
    found = best_label(seen, labels)
    known = [(value, -place) for place, value in enumerate(found) if value is not None]
    return write_choice(ChoiceMethod.FIRST_TOKEN, -max(known)[1], found) if known else None
