"""What is frozen before item 1, and the words for what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from so8t.errors import VerdictInputError
from so8t.verdict.checks import check_alpha, check_count, check_margin

# Up to this many looks each item may be one. Beyond it, looks come every N/5,000 items: that many
# looks cannot be told from continuous ones, and resume at any size stays under a second.
MOST_LOOKS = 100_000
LOOKS_BEYOND = 5_000


class Outcome(StrEnum):
    """What may be said."""

    B_BETTER = "b_better"
    A_BETTER = "a_better"
    EQUIVALENT = "equivalent"
    NON_INFERIOR = "non_inferior"
    UNDECIDED = "undecided"


class Ending(StrEnum):
    """Why it stands as it does."""

    DECIDED = "decided"
    EXHAUSTED = "exhausted"
    FUTILE = "futile"
    ONGOING = "ongoing"


class Scope(StrEnum):
    """What the verdict speaks of.

    population: items like these (the N items are a sample).
    benchmark: exactly these N items, "if all of them were run" (sampling without replacement).
    """

    POPULATION = "population"
    BENCHMARK = "benchmark"


@dataclass(frozen=True, slots=True)
class Settings:
    """The rules of a verdict. Frozen before item 1: to change them afterwards is to peek.

    Attributes:
        alpha: error rate of a false direction, and of a false equivalence; in (0, 0.5).
        margin: largest difference that does not matter, in units of the score, in (0, 1). None:
            neither equivalence nor non-inferiority is asked.
        scope: population (default) or benchmark.
        look_every: looks fall on multiples of this many items, and on N.
        binary: whether scores are only 0 or 1. None infers it from the differences; a run that
            looks more than once should freeze it, since graded scores may begin with whole ones.
        futility: whether a hopeless run may end early as undecided. It can cost power, never
            validity.
        replanned: whether the plan was changed by someone who could know results. The looks hold
            their error rate all the same, but there is no fixed-N analysis any more.

    Raises:
        VerdictInputError: alpha, margin or look_every out of range.

    """

    alpha: float = 0.05
    margin: float | None = None
    scope: Scope = Scope.POPULATION
    look_every: int = 1
    binary: bool | None = None
    futility: bool = True
    replanned: bool = False

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.margin is not None:
            check_margin(self.margin)
        check_count("look_every", self.look_every, at_least=1)
        if self.scope not in tuple(Scope):
            raise VerdictInputError(
                f"scope is {self.scope!r}; it must be one of {', '.join(Scope)}"
            )
        # A plain "benchmark" from a config file compares equal but is not the same object.
        object.__setattr__(self, "scope", Scope(self.scope))

    def stride(self, n_total: int) -> int:
        """Items between looks for a run of `n_total` items (look_every, coarser when huge)."""
        if n_total <= MOST_LOOKS * self.look_every:
            return self.look_every
        blocks = -(-n_total // (LOOKS_BEYOND * self.look_every))
        return blocks * self.look_every
