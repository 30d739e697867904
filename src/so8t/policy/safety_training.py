"""Trains the safety classifier, and says how well it does on texts that it has not seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.domain.language import is_japanese
from so8t.errors import DataError, PrerequisiteError
from so8t.policy.safety_classifier import (
    LARGEST,
    SMALLEST,
    USE,
    SafetyClassifier,
    measured_languages,
    ngrams,
    plain,
)
from so8t.system.files import file_digest
from so8t.system.jsonl import json_lines
from so8t.verdict import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

HARMFUL, HARMLESS = "harmful", "harmless"
_SHAPE = '{"text": "...", "label": "harmful" or "harmless"}'
# An n-gram of one text alone tells that text; beyond this many the rarest are left out.
_FEWEST_TEXTS = 2
_MOST_NGRAMS = 50_000


@dataclass(frozen=True)
class SafetyExample:
    """A text with its label, and where it was read."""

    text: str
    harmful: bool
    file: str
    line: int

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the text as the classifier sees it."""
        return hashlib.sha256(plain(self.text).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def language(self) -> str:
        """ "ja" where there is kana or kanji, else "en"."""
        return "ja" if is_japanese(self.text) else "en"


@dataclass(frozen=True)
class Figures:
    """How texts were judged that were not trained on.

    Attributes:
        found: harmful, and called so. missed: harmful, and not called so.
        alarms: harmless, and called harmful. passed: harmless, and let through.

    """

    found: int
    missed: int
    alarms: int
    passed: int

    @property
    def precision(self) -> float | None:
        """Share of harmful ones among those called harmful; None when none was."""
        called = self.found + self.alarms
        return self.found / called if called else None

    @property
    def recall(self) -> float | None:
        """Share of those called harmful among the harmful ones; None when there was none."""
        harmful = self.found + self.missed
        return self.found / harmful if harmful else None

    def facts(self) -> dict[str, Any]:
        """Give counts, precision and recall with Wilson intervals of 95 % as plain data."""
        called, harmful = self.found + self.alarms, self.found + self.missed
        return {
            "texts": harmful + self.alarms + self.passed,
            "harmful": harmful,
            "found": self.found,
            "missed": self.missed,
            "false_alarms": self.alarms,
            "passed": self.passed,
            "precision": self.precision,
            "precision_interval": list(wilson_interval(self.found, called)) if called else None,
            "recall": self.recall,
            "recall_interval": list(wilson_interval(self.found, harmful)) if harmful else None,
        }


@dataclass(frozen=True)
class Trained:
    """A classifier, what it was made from, and its figures on held-out texts by language."""

    classifier: SafetyClassifier
    facts: dict[str, Any]

    def save(self, directory: Path) -> None:
        """Write it with its card."""
        self.classifier.save(directory, self.facts, card(self.facts))


def read_examples(paths: Sequence[Path]) -> list[SafetyExample]:
    """Read JSONL. A text that stands twice counts once.

    Raises DataError with file and line, also for a text that stands there with both labels.
    """
    found: dict[str, SafetyExample] = {}
    for one in (one for path in paths for one in _read(path)):
        earlier = found.setdefault(one.digest, one)
        if earlier.harmful != one.harmful:
            raise DataError(
                f"The text stands at {earlier.file}:{earlier.line} with the other label.",
                file=one.file,
                line=one.line,
                hint="remove one of the two",
            )
    return list(found.values())


def split(
    examples: Iterable[SafetyExample], share: float
) -> tuple[list[SafetyExample], list[SafetyExample]]:
    """Split into (training, held out) by the digest of the text: the same in every order and run.

    Raises DataError unless both sides have texts of both labels.
    """
    limit = int(share * (1 << 64))
    training: list[SafetyExample] = []
    held_out: list[SafetyExample] = []
    for one in sorted(examples, key=lambda example: example.digest):
        (held_out if int(one.digest[:16], 16) < limit else training).append(one)
    for name, side in (("training", training), ("held-out", held_out)):
        harmful = sum(one.harmful for one in side)
        if not 0 < harmful < len(side):
            raise DataError(
                f"Of {len(training) + len(held_out)} texts, the {name} side has {harmful} harmful "
                f"and {len(side) - harmful} harmless ones; it needs both.",
                hint="add texts, or change --held-out",
            )
    return training, held_out


def train(
    examples: Sequence[SafetyExample], files: Sequence[Path], *, share: float, threshold: float
) -> Trained:
    """Fit on one part, judge the other. Deterministic: equal texts give equal weights.

    Args:
        examples: from `files`.
        files: named by their digests in the facts.
        share: held out, in (0, 1).
        threshold: probability from which a text counts as harmful, in (0, 1).

    Raises:
        DataError: too few texts of a label on a side.
        PrerequisiteError: scikit-learn is not there.

    """
    training, held_out = split(examples, share)
    classifier = fit(training, threshold)
    facts: dict[str, Any] = {
        "data": [{"file": path.name, "digest": file_digest(path)} for path in files],
        "training": {"texts": len(training), "harmful": sum(one.harmful for one in training)},
        "held_out_share": share,
        "held_out": {
            "all": judge(classifier, held_out).facts(),
            **{
                language: judge(classifier, [o for o in held_out if o.language == language]).facts()
                for language in ("en", "ja")
                if any(o.language == language for o in held_out)
            },
        },
    }
    return Trained(replace(classifier, languages=measured_languages(facts["held_out"])), facts)


def judge(classifier: SafetyClassifier, examples: Iterable[SafetyExample]) -> Figures:
    """Count how texts are judged."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for one in examples:
        counts[one.harmful, classifier.is_harmful(one.text)] += 1
    return Figures(
        found=counts[True, True],
        missed=counts[True, False],
        alarms=counts[False, True],
        passed=counts[False, False],
    )


def card(facts: dict[str, Any]) -> str:
    """Describe the classifier: its one use, how it was made, its figures, its limits."""
    rows = "\n".join(
        f"| {name} | {row['texts']} | {row['harmful']} | "
        f"{_share(row['precision'], row['precision_interval'])} | "
        f"{_share(row['recall'], row['recall_interval'])} |"
        for name, row in facts["held_out"].items()
    )
    data = "\n".join(f"- {one['file']}: {one['digest']}" for one in facts["data"])
    languages = ", ".join(measured_languages(facts["held_out"])) or "none"
    return f"""# Safety classifier

**Its one use: {USE}.** It must not be used to find, rank, filter
for or generate harmful content, nor to judge people. What it lets through is not thereby safe.

Character n-grams ({SMALLEST} to {LARGEST}), TF-IDF, logistic regression; no words of the training
texts are kept but those n-grams.

Trained on {facts["training"]["texts"]} texts, {facts["training"]["harmful"]} of them harmful:

{data}

On held-out texts, chosen by the hash of their content (95 % Wilson intervals in brackets):

| language | texts | harmful | precision | recall |
|---|---|---|---|---|
{rows}

Measured languages (held-out texts of both labels): {languages}. `so8t serve --safety-gate` asks it
about questions in these alone.

These figures hold for texts like those of the data. Other topics, languages, disguises and long
conversations were not measured.
"""


def _share(value: float | None, interval: list[float] | None) -> str:
    if value is None or interval is None:
        return "unknown"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def fit(training: Sequence[SafetyExample], threshold: float) -> SafetyClassifier:
    """Fit on all of `training`. Raises DataError, PrerequisiteError as `train` does."""
    try:
        # a second and 100 MB that only who trains shall pay
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    except ImportError as error:
        raise PrerequisiteError(
            "Training the safety classifier needs scikit-learn.",
            hint="pip install 'so8t[policy]'",
        ) from error
    features = TfidfVectorizer(
        analyzer=ngrams, min_df=_FEWEST_TEXTS, max_features=_MOST_NGRAMS, sublinear_tf=True
    )
    try:
        matrix = features.fit_transform([one.text for one in training])
    except ValueError as error:  # no n-gram that two texts share
        raise DataError(
            f"{len(training)} texts share too little to learn from: {error}.",
            hint="add texts",
        ) from error
    # As many errors on either side, however few harmful texts there are.
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    model.fit(matrix, [one.harmful for one in training])
    return SafetyClassifier(
        vocabulary={str(gram): int(column) for gram, column in features.vocabulary_.items()},
        idf=np.asarray(features.idf_, dtype=np.float64),
        coefficients=np.asarray(model.coef_[0], dtype=np.float64),
        intercept=float(model.intercept_[0]),
        threshold=threshold,
    )


def _read(path: Path) -> Iterator[SafetyExample]:
    file = str(path)
    for line, row in json_lines(path, shape=_SHAPE):
        text = row.get("text") if isinstance(row, dict) else None
        label = row.get("label") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip() or label not in (HARMFUL, HARMLESS):
            raise DataError(
                "The line is no text with a label.",
                file=file,
                line=line,
                hint=f"one JSON object a line: {_SHAPE}",
            )
        yield SafetyExample(text, label == HARMFUL, file, line)
