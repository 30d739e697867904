"""A small classifier of harmful requests. Its one use: to detect and refuse.

Character n-grams (2 to 5), TF-IDF, a linear model: no word boundaries are needed, so Japanese and
English are read alike. What is saved has no pickle in it and needs numpy alone to be used.
"""

from __future__ import annotations

import io
import json
import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from so8t.errors import ModelError
from so8t.system.files import atomic_directory, file_digest

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
USE = "detect harmful requests and refuse them"
SMALLEST, LARGEST = 2, 5
_FACTS, _WEIGHTS, _CARD = "classifier.json", "weights.npz", "card.md"
# What is read of a text; a request beyond it is judged by its beginning and its end.
_MOST_CHARACTERS = 20_000


def plain(text: str) -> str:
    """Level width and case and runs of white space, so that a disguise by them changes nothing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def ngrams(text: str) -> list[str]:
    """Return the character n-grams of a text, with a space before and behind it, repeats kept."""
    whole = plain(text)
    if len(whole) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        whole = f"{whole[:half]} {whole[-half:]}"
    padded = f" {whole} "
    return [
        padded[start : start + size]
        for size in range(SMALLEST, LARGEST + 1)
        for start in range(len(padded) - size + 1)
    ]


@dataclass(frozen=True)
class SafetyClassifier:
    """What was learnt.

    Attributes:
        vocabulary: n-gram -> column.
        idf, coefficients: float64, shape (columns,).
        intercept: of the linear model, in log odds.
        threshold: probability from which a text counts as harmful, in (0, 1).
        languages: those that it was measured on, of "en" and "ja"; it says nothing of others.

    """

    vocabulary: dict[str, int]
    idf: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    intercept: float
    threshold: float
    languages: tuple[str, ...] = ()

    def probability(self, text: str) -> float:
        """Return the probability that a text is harmful, as the training data's labels mean it.

        TF-IDF as scikit-learn's TfidfVectorizer(sublinear_tf=True) has it: 1 + ln(count), times
        idf, to length 1.
        """
        counts = Counter(gram for gram in ngrams(text) if gram in self.vocabulary)
        score = self.intercept
        if counts:
            columns = np.fromiter((self.vocabulary[gram] for gram in counts), dtype=np.intp)
            weights = 1.0 + np.log(np.fromiter(counts.values(), dtype=np.float64))
            weights *= self.idf[columns]
            score += float(weights @ self.coefficients[columns]) / float(np.linalg.norm(weights))
        # Written for either sign, so that no exponential overflows.
        if score >= 0:
            return 1.0 / (1.0 + math.exp(-score))
        return math.exp(score) / (1.0 + math.exp(score))

    def is_harmful(self, text: str) -> bool:
        """Whether a text is to be refused."""
        return self.probability(text) >= self.threshold

    def save(self, directory: Path, facts: dict[str, Any], card: str) -> None:
        """Write classifier.json, weights.npz and card.md; equal models give equal bytes.

        `facts` are recorded beside the model (data digests, figures on held-out data).
        """
        with atomic_directory(directory) as place:
            buffer = io.BytesIO()
            np.savez(buffer, idf=self.idf, coefficients=self.coefficients)
            (place / _WEIGHTS).write_bytes(buffer.getvalue())
            ordered = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
            whole = {
                "format": FORMAT,
                "use": USE,
                "ngrams": [SMALLEST, LARGEST],
                "threshold": self.threshold,
                "intercept": self.intercept,
                "weights": file_digest(place / _WEIGHTS),
                **facts,
                "vocabulary": ordered,
            }
            text = json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
            (place / _FACTS).write_text(text, encoding="utf-8")
            (place / _CARD).write_text(card, encoding="utf-8")


def measured_languages(held_out: dict[str, Any]) -> tuple[str, ...]:
    """Return the languages with held-out texts of both labels, from the facts' figures.

    With texts of one label alone, either the misses or the false alarms are unknown.
    """
    return tuple(
        language
        for language in ("en", "ja")
        if language in held_out and 0 < held_out[language]["harmful"] < held_out[language]["texts"]
    )


def load_classifier(directory: Path) -> SafetyClassifier:
    """Read what `save` wrote. Raises ModelError when it is missing, damaged or of another kind."""
    try:
        facts = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT or facts["ngrams"] != [SMALLEST, LARGEST]:
            raise _damaged(directory, "it is of another format")
        if file_digest(directory / _WEIGHTS) != facts["weights"]:
            raise _damaged(directory, f"{_WEIGHTS} is not what was saved")
        with np.load(directory / _WEIGHTS, allow_pickle=False) as arrays:
            idf, coefficients = arrays["idf"], arrays["coefficients"]
        found = SafetyClassifier(
            vocabulary={gram: column for column, gram in enumerate(facts["vocabulary"])},
            idf=idf,
            coefficients=coefficients,
            intercept=float(facts["intercept"]),
            threshold=float(facts["threshold"]),
            languages=measured_languages(facts["held_out"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(directory, str(error)) from error
    if not found.idf.shape == found.coefficients.shape == (len(found.vocabulary),):
        raise _damaged(directory, "vocabulary and weights are of different sizes")
    return found


def _damaged(directory: Path, why: str) -> ModelError:
    return ModelError(
        f"There is no safety classifier in {directory} that can be used: {why}.",
        hint=f"so8t data safety-train FILES --out {directory}",
    )
