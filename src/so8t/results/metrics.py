"""Which score counts: one metric for both sides, the same one, and said aloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from so8t.errors import DataError
from so8t.results.items import SEVERAL, UNNAMED, Item, Note, Results, as_score
from so8t.verdict.pairs import mean_of_repeats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Where a log has several, the first of these that both sides have; else the log's own first.
PREFERRED = ("exact_match", "acc", "accuracy", "pass@1", "em", "prompt_level_strict_acc")
#: Refused: "B is better" would mean the opposite.
LOWER_IS_BETTER = {
    "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "wer", "cer", "ter",
    "brier_score", "toxicity_score", "loss",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """What counts of one source.

    Attributes:
        metrics: task to the metric's key in the items.
        note: what else there was; None where there was no choice.

    """

    metrics: dict[str, str]
    note: Note | None

    @property
    def names(self) -> list[str]:
        """The metrics that count, each once."""
        return list(dict.fromkeys(self.metrics.values()))

    def score(self, item: Item) -> float | None:
        """Give an item's score, the mean of its repeats, None where it is missing.

        Raises:
            DataError: not in [0, 1], NaN or no number; with file and line.

        """
        value = item.only_score
        if value is not SEVERAL:
            if type(value) is float and 0.0 <= value <= 1.0:
                return value
            return as_score(value, item.place, item=item.id, metric=UNNAMED)
        metric = self.metrics.get(item.task)
        values = item.scores.get(metric, ()) if metric is not None else ()
        return mean_of_repeats(
            [as_score(value, item.place, item=item.id, metric=metric or "") for value in values]
        )


def select(
    a: Results, b: Results, metric: str | None, filter_: str | None
) -> tuple[Chosen, Chosen]:
    """Choose what counts of either side.

    `metric` is a name as the log has it: `exact_match`, `exact_match,strict-match`, a scorer, or
    `scorer/key`. Where several filters of lm-eval remain, the strict one counts, else the first.

    Raises:
        DataError: a metric or filter that a side does not have, no metric that both have, one of
            which less is better, or different metrics on the two sides.

    """
    have_a, have_b = _available(a), _available(b)
    comparable = a.format == b.format
    common = _all(have_a) & _all(have_b) if comparable else set()
    chosen_a = _choose(a, have_a, common, metric, filter_)
    chosen_b = _choose(b, have_b, common, metric, filter_)
    if comparable:
        _check_same(a, b, chosen_a, chosen_b, common)
    return chosen_a, chosen_b


def _available(results: Results) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for item in results.items:
        named = found.setdefault(item.task, {})
        if item.only_score is not SEVERAL:
            named[UNNAMED] = None
        else:
            named.update(dict.fromkeys(item.scores))
    return {task: list(metrics) for task, metrics in found.items()}


def _all(available: dict[str, list[str]]) -> set[str]:
    return {metric for metrics in available.values() for metric in metrics}


def _choose(
    results: Results,
    available: dict[str, list[str]],
    common: set[str],
    metric: str | None,
    filter_: str | None,
) -> Chosen:
    chosen: dict[str, str] = {}
    others: dict[str, None] = {}
    for task, metrics in available.items():
        if not metrics:
            continue  # nothing of this task was scored: all of it is missing
        named = _named(results, task, metrics, metric, filter_)
        shared = [name for name in named if name in common] or named
        chosen[task] = _best(shared)
        others.update(dict.fromkeys(name for name in metrics if name != chosen[task]))
    for name in set(chosen.values()):
        if _base(name) in LOWER_IS_BETTER:
            raise DataError(
                f"of {name}, less is better, so a verdict on it would be the wrong way round",
                file=results.path,
                hint=f"choose another with --metric: {_list(_all(available) - {name})}",
            )
    note = None
    if others and chosen:
        note = Note(
            "metric",
            {
                "chosen": _list(dict.fromkeys(chosen.values())),
                "others": _list(name for name in others if name not in chosen.values()),
                "path": results.path,
            },
        )
    return Chosen(chosen, note if note and note.data["others"] else None)


def _named(
    results: Results, task: str, metrics: list[str], metric: str | None, filter_: str | None
) -> list[str]:
    """Keep what the options name. A table's only score needs no name."""
    if metric is None or metrics == [UNNAMED]:
        found = metrics
    else:
        found = [
            name for name in metrics if metric in (name, _base(name)) or name.endswith(f"/{metric}")
        ]
    if not found:
        of_task = f" of {task}" if task else ""
        raise DataError(
            f"there is no metric {metric!r}{of_task}; there is: {_list(metrics)}",
            file=results.path,
            hint="name one of these with --metric",
        )
    if filter_ is None or results.format != "lm_eval":
        return found
    filtered = [name for name in found if _filter(name) == filter_]
    if not filtered:
        there = _list(dict.fromkeys(_filter(name) for name in found))
        raise DataError(
            f"there is no filter {filter_!r}; there is: {there}",
            file=results.path,
            hint="name one of these with --filter",
        )
    return filtered


def _best(metrics: Sequence[str]) -> str:
    sensible = [name for name in metrics if _base(name) not in LOWER_IS_BETTER] or metrics
    base = next(
        (known for known in PREFERRED if any(_base(name) == known for name in sensible)),
        _base(sensible[0]),
    )
    same = [name for name in sensible if _base(name) == base]
    return next((name for name in same if _filter(name).startswith("strict")), same[0])


def _check_same(
    a: Results, b: Results, chosen_a: Chosen, chosen_b: Chosen, common: set[str]
) -> None:
    for task, name in chosen_a.metrics.items():
        # Where a side has one task, its name may differ; its metric may not.
        alone = len(chosen_a.metrics) == len(chosen_b.metrics) == 1
        other = chosen_b.names[0] if alone else chosen_b.metrics.get(task)
        if other is not None and other != name and UNNAMED not in (name, other):
            raise DataError(
                f"mixed metrics: {name} here, {other} in {b.path}",
                file=a.path,
                hint="name one that both have with --metric (and --filter)"
                if common
                else "these were scored in different ways; score both in the same way first",
            )


def _base(name: str) -> str:
    return name.partition(",")[0]


def _filter(name: str) -> str:
    return name.partition(",")[2]


def _list(names: Iterable[str]) -> str:
    found = list(names)
    shown = ", ".join(found[:8])
    return f"{shown} and {len(found) - 8} more" if len(found) > 8 else shown or "none"  # noqa: PLR2004 - as many as are read
