"""Asks the safety classifier about a question before the model is asked."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from so8t.domain.language import prevailing_language
from so8t.errors import ModelError
from so8t.policy.safety_classifier import load_classifier

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.policy.safety_classifier import SafetyClassifier


class GateDecision(StrEnum):
    """What the gate says of a question."""

    REFUSED = "refused"
    PASSED = "passed"
    #: The question is in a language that the classifier was not measured on.
    UNDECIDED = "undecided"


class SafetyGate:
    """Refuses what the classifier calls harmful, in the languages that it was measured on."""

    def __init__(self, classifier: SafetyClassifier) -> None:
        self._classifier = classifier
        self.languages = classifier.languages

    def decide(self, query: str) -> GateDecision:
        """Judge a question; tens of milliseconds for the longest one."""
        if prevailing_language(query) not in self.languages:
            return GateDecision.UNDECIDED
        if self._classifier.is_harmful(query):
            return GateDecision.REFUSED
        return GateDecision.PASSED


def open_gate(directory: Path) -> SafetyGate:
    """Read a gate's classifier, as `so8t data safety-train` writes it.

    Raises ModelError where there is none, where it is damaged, and where it was measured on no
    language: it would never decide.
    """
    classifier = load_classifier(directory)
    if not classifier.languages:
        raise ModelError(
            f"The safety classifier in {directory} was measured on no language: its held-out texts "
            "have harmful and harmless ones in none.",
            hint=f"so8t data safety-train FILES --out {directory}, with more texts of both labels",
        )
    return SafetyGate(classifier)
