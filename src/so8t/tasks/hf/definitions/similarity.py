"""Metrics of stsb.yaml."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats


def process_results(doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Return how close the expected digit is to the reference (0 to 1), and both of them."""
    logs = np.array([logprob for logprob, _ in results])
    weights = np.exp(logs - logs.max())
    predicted = float(weights @ np.arange(len(logs)) / weights.sum())
    pair = (float(doc["label"]), predicted)
    return {"closeness": 1 - abs(pair[0] - pair[1]) / 5, "pearson": pair, "spearman": pair}


def pearson(items: Sequence[tuple[float, float]]) -> float:
    """Return Pearson's correlation; NaN where one side is constant."""
    return float(stats.pearsonr(*_sides(items)).statistic)


def spearman(items: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's correlation; NaN where one side is constant."""
    return float(stats.spearmanr(*_sides(items)).statistic)


def _sides(items: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [reference for reference, _ in items], [predicted for _, predicted in items]
