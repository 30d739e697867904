"""Differences that are in the form of the answers only."""

from __future__ import annotations

import pytest

from so8t.report.form import form_words
from so8t.report.text import Text
from so8t.report.words import Names


def scores(strict: tuple[float, float], flexible: tuple[float, float]):
    """What lm-eval says of GSM8K for both arms under both filters."""
    return {
        "gsm8k": {
            "exact_match,strict-match": dict(zip("ab", strict, strict=True)),
            "exact_match,flexible-extract": dict(zip("ab", flexible, strict=True)),
        }
    }


@pytest.mark.parametrize(
    ("strict", "flexible", "told"),
    [
        ((0.50, 0.20), (0.52, 0.51), True),
        ((0.50, 0.20), (0.52, 0.55), True),
        ((0.50, 0.20), (0.52, 0.22), False),
        ((0.50, 0.49), (0.50, 0.50), False),
    ],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_difference_in_the_form_is_told(
    strict: tuple[float, float], flexible: tuple[float, float], told: bool, language: str
) -> None:
    """Where the flexible filter leaves at most half of it, the strict difference is one of form."""
    said = form_words(scores(strict, flexible), Text(language), Names("A", "B"))
    assert bool(said) is told
    if told:
        assert "gsm8k" in said[0]
