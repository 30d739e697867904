"""What an arm's answers to one task are like as a whole: alike, looping, echoes, empty, foreign.

A model that gives one answer to everything still scores what that answer is worth among the
references. Such an arm has *collapsed*: its score says what guessing gives, whatever it is
compared with.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from so8t.domain.degenerate import loops
from so8t.domain.exchange import Arm
from so8t.domain.language import is_japanese

if TYPE_CHECKING:
    from so8t.domain.sample import Sample

#: Fewer answers than this show no habit.
FEWEST = 20
#: From this share on an arm gives one answer to a task, ...
ALIKE = 0.9
#: ... unless that answer is right more often than this.
RIGHT = 0.8
#: From this share on answers that loop, echo, are empty or foreign make up an arm.
MANY = 0.5
_SHOWN = 80
_ECHO = 40
_FOREIGN = 20
_SPACE = re.compile(r"\s+")
_CHOSEN = re.compile(r"\b(?:chose|read|option) ([^:]+)")
_CODE = re.compile(r"[={};]|```")
_LATIN = re.compile(r"[A-Za-z]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class AnswerShares:
    """Shares of one arm's answers to one task.

    Attributes:
        task: its name.
        arm: whose answers.
        answers: how many were looked at.
        top: the most frequent answer, shortened; as the grader read it where it did.
        top_share: its share.
        top_right: mean score of these answers, None where none has one.
        constant: share of the references that the best constant answer would match; None where
            the references are not plain labels or texts.
        mean: mean score of all, None where none has one.
        looping: share of replies that go round in circles.
        echoing: share that repeat the question or the options.
        empty: share without a word.
        foreign: share in another script than the question's language is written in.

    """

    task: str
    arm: Arm
    answers: int
    top: str
    top_share: float
    top_right: float | None
    constant: float | None
    mean: float | None
    looping: float
    echoing: float
    empty: float
    foreign: float

    @property
    def signs(self) -> tuple[str, ...]:
        """In what the answers have collapsed; empty for a healthy arm, the worst first."""
        if self.answers < FEWEST:
            return ()
        found = {
            name: share
            for name in ("empty", "looping", "echoing", "foreign")
            if (share := getattr(self, name)) >= MANY
        }
        if self.top_share >= ALIKE and (self.top_right is None or self.top_right <= RIGHT):
            found["one_answer"] = self.top_share
        return tuple(sorted(found, key=lambda name: -found[name]))


class AnswerTally:
    """Counts one arm's answers to one task as they pass by."""

    def __init__(self, task: str, arm: Arm) -> None:
        self.task, self.arm = task, arm
        self._keys: Counter[str] = Counter()
        self._scores: dict[str, list[float]] = {}
        self._references: Counter[str] = Counter()
        self._signs: Counter[str] = Counter()

    def add(self, sample: Sample, text: str, reason: str | None, score: float | None) -> None:
        """Count one answer without its thinking; `reason` is what the grader recognised."""
        key = answer_key(text, reason)
        self._keys[key] += 1
        self._scores.setdefault(key, []).extend([] if score is None else [score])
        reference = reference_key(sample)
        if reference is not None:
            self._references[reference] += 1
        measured = sample.form is not None and bool(sample.form.continuations)
        if not measured:
            self._signs.update(name for name, there in _signs(sample, text).items() if there)

    def shares(self) -> AnswerShares | None:
        """Return the shares; None without an answer."""
        total = self._keys.total()
        if not total:
            return None
        top, count = self._keys.most_common(1)[0]
        scores = [score for mine in self._scores.values() for score in mine]
        right = self._scores[top]
        # a text that is the reference of one question only is no label
        labels = self._references if self._references.total() == total else Counter[str]()
        constant = max(labels.values(), default=0) / total
        return AnswerShares(
            task=self.task,
            arm=self.arm,
            answers=total,
            top=top,
            top_share=count / total,
            top_right=float(np.mean(right)) if right else None,
            constant=constant or None,
            mean=float(np.mean(scores)) if scores else None,
            looping=self._signs["looping"] / total,
            echoing=self._signs["echoing"] / total,
            empty=self._signs["empty"] / total,
            foreign=self._signs["foreign"] / total,
        )


def answer_key(text: str, reason: str | None) -> str:
    """Give the form in which two answers are the same: what the grader read, else the words."""
    read = _CHOSEN.search(reason or "")
    plain = read[1] if read else _level(text)
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"


def reference_key(sample: Sample) -> str | None:
    """Give a reference as a label that questions may share; None where there is none."""
    grader: dict[str, Any] = sample.grader
    if grader.get("type") == "refusal":
        return str(grader.get("expect"))
    if sample.reference is None:
        return None
    plain = _level(sample.reference)
    options = [_level(str(option)) for option in grader.get("options") or ()]
    if plain in options:
        labels = grader.get("labels") or [chr(ord("A") + i) for i in range(len(options))]
        return _level(str(labels[options.index(plain)]))
    return plain


def _level(text: str) -> str:
    return _SPACE.sub(" ", text).strip().strip(".。 ").casefold()


def _signs(sample: Sample, text: str) -> dict[str, bool]:
    asked = next((m.content for m in reversed(sample.messages) if m.role == "user"), "")
    plain, question = _level(text), _level(asked)
    echoes = len(plain) >= _ECHO and plain in question
    echoes = echoes or (len(question) >= _ECHO and plain.startswith(question))
    return {
        "empty": not plain,
        "looping": loops(text),
        "echoing": echoes,
        "foreign": _is_foreign(text, sample.language),
    }


def _is_foreign(text: str, language: str) -> bool:
    """Whether a reply is in another script; code and formulas have no language."""
    latin, other = len(_LATIN.findall(text)), len(_CJK.findall(text))
    if language == "ja":
        return latin >= _FOREIGN and not is_japanese(text) and not _CODE.search(text)
    return language == "en" and other >= _FOREIGN and other > latin
