"""Whether a share of right answers is clearly above what one constant answer gives."""

from __future__ import annotations

from scipy.stats import binom


def no_better_than_constant(
    mean: float, answers: int, constant: float, alpha: float = 0.05
) -> bool:
    """Tell whether `mean` of `answers` scores lies within what a constant answer could give.

    One-sided exact binomial test: no better unless so many right answers or more had a probability
    of at most `alpha` for someone who is right with probability `constant`, the share that the most
    frequent label has among the references.
    """
    right = round(mean * answers)
    return bool(binom.sf(right - 1, answers, constant) > alpha)
