"""Questions of which a likelihood is measured, as they were put: a text, and what may follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.domain.measured import ChoiceMethod, Measured, read_measured
from so8t.report.view import OptionView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.domain.exchange import Continuation
    from so8t.domain.sample import Sample

#: Metrics that take the option with the highest log likelihood.
_LIKELIEST = {"acc", "mcc", "f1"}
#: Those that divide it by the option's length, in characters (as wide as each other) or bytes.
#: Any other metric weighs all options, or chooses in a way of its own.
_BY_LENGTH = {"acc_norm": "utf-32-le", "acc_bytes": "utf-8"}


def measured_answer(sample: Sample, text: str) -> Measured | None:
    """Read an answer that holds measured likelihoods or a choice; None for any other."""
    if sample.form is None or not (sample.form.continuations or sample.form.choices):
        return None
    try:
        return read_measured(text)
    except ValueError:
        return None


def measured_prompt(sample: Sample) -> str | None:
    """Return the text behind which the continuations of a sample are measured.

    Where they have several contexts it is what these begin with in common. Empty where texts are
    measured as a whole; None for a sample without continuations.
    """
    if sample.form is None or not sample.form.continuations:
        return None
    return _common(sample.form.continuations)


def options(sample: Sample, measured: Measured, score: float | None) -> tuple[OptionView, ...]:
    """Return what a model was to weigh, with what it said of each.

    None is marked as chosen where the metric chooses none, or not what the score says.
    """
    form = sample.form
    if form is None:
        return ()
    right = sample.grader.get("right") or []
    if measured.method is ChoiceMethod.EXACT:
        shared = len(_common(form.continuations))
        texts = [(one.context or "")[shared:] + one.text for one in form.continuations]
        values: list[float | None] = [one.logprob for one in measured.likelihoods]
        chosen = _chosen(sample, values)
    else:
        texts = list(form.choices)
        values = list(measured.logprobs) or [None] * len(texts)
        chosen = measured.choice
    if len(values) != len(texts):
        return ()
    if right and score in {0.0, 1.0} and (chosen in right) != (score == 1):
        chosen = None
    return tuple(
        OptionView(text, value, chosen=place == chosen, right=place in right)
        for place, (text, value) in enumerate(zip(texts, values, strict=True))
    )


def _chosen(sample: Sample, values: Sequence[float | None]) -> int | None:
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values) or sample.form is None:  # noqa: PLR2004 - a choice
        return None
    metric = str(sample.grader.get("metric", "")).partition(",")[0]
    if metric in _BY_LENGTH:
        texts = (one.text.lstrip() for one in sample.form.continuations)
        known = [
            value / max(1, len(text.encode(_BY_LENGTH[metric])))
            for value, text in zip(known, texts, strict=True)
        ]
    elif metric not in _LIKELIEST:
        return None
    return known.index(max(known))


def _common(continuations: Sequence[Continuation]) -> str:
    contexts = [one.context for one in continuations if one.context]
    first, last = min(contexts, default=""), max(contexts, default="")
    # What the first and the last in order share, those between them share too.
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((place for place, (a, b) in pairs if a != b), min(len(first), len(last)))]
