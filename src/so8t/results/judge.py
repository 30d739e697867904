"""From two sources to a verdict: match, order, decide, per stratum, and what is missing.

The order of a file may be anything (by difficulty, by completion), so the items are put in the
seeded order that a run of ours would have, and looked at once, at the end. A run of ours that was
watched while it ran is judged by its own frozen order and looks instead: to look again as if
nobody had would be peeking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from so8t.domain.plan import completed_prefix, permute
from so8t.domain.sample import Origin, Sample
from so8t.errors import DataError
from so8t.results.items import Note
from so8t.results.match import Matched, match
from so8t.results.metrics import Chosen, select
from so8t.verdict.decide import Verdict, decide
from so8t.verdict.multiple import closed_holm
from so8t.verdict.pairs import Paired, pair_scores
from so8t.verdict.sensitivity import Missing, Sensitivity, missing_cases, missing_summary
from so8t.verdict.settings import Outcome, Scope, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.results.items import Frozen, Item, Results
    from so8t.results.match import How

_DIRECTIONS = (Outcome.B_BETTER, Outcome.A_BETTER)
#: A column with more values than this is no grouping, and closed testing of it costs its square.
MOST_STRATA = 60
_Pair = tuple["Item", "Item"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may set; None takes the frozen value of a run of ours, else the default."""

    alpha: float | None = None
    margin: float | None = None
    scope: Scope | None = None
    seed: int = 1
    metric: str | None = None
    filter: str | None = None
    how: How = "auto"


@dataclass(frozen=True, slots=True)
class Judged:
    """The paired result of some of the items.

    Attributes:
        verdict: as `decide` gives it.
        mean_a: A's mean score over the pairs that count; None without any.
        mean_b: B's.

    """

    verdict: Verdict
    mean_a: float | None
    mean_b: float | None


@dataclass(frozen=True, slots=True)
class Stratum:
    """One value of one column.

    Attributes:
        column: the column, "task" for the task.
        name: its value.
        outcome: the direction that may be claimed among all values of the column (closed Holm).
        judged: the result as if there were no other value: exploratory.

    """

    column: str
    name: str
    outcome: Outcome
    judged: Judged


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that can be said of two sources."""

    a: Results
    b: Results
    metrics: tuple[Chosen, Chosen]
    matched: Matched
    overall: Judged
    missing: Missing
    missing_a: int
    missing_b: int
    sensitivity: Sensitivity | None
    strata: tuple[Stratum, ...]
    settings: Settings
    not_asked: int
    notes: tuple[Note, ...]


def compare(a: Results, b: Results, options: Options | None = None) -> Comparison:
    """Compare the models of two sources on the items that both have.

    Raises:
        DataError: no common item, metrics that do not fit, a score that is none, the same arm of
            the same run twice.
        VerdictInputError: alpha or margin out of range.

    """
    options = options or Options()
    same_run = a.frozen is not None and b.frozen is not None and a.frozen.run_id == b.frozen.run_id
    if same_run and a.arm == b.arm:
        raise DataError(
            f"model {(a.arm or '').upper()} of the same run twice",
            file=a.path,
            hint=f"so8t compare {a.path}:a {a.path}:b",
        )
    chosen = select(a, b, options.metric, options.filter)
    matched = match(a, b, options.how)
    if not matched.pairs:
        raise _nothing_common(a, b, matched)
    watched = _watched(a, b, matched, same_run=same_run)
    pairs = matched.pairs
    if watched is None:
        pairs = _shuffled(pairs, options.seed)
    elif watched is b:
        place = {id(item): position for position, item in enumerate(b.items)}
        pairs = sorted(pairs, key=lambda pair: place[id(pair[1])])
    frozen = watched.frozen if watched else None
    settings = _settings(options, frozen, len(pairs), same_run=same_run)
    asked = completed_prefix([not (one.open or two.open) for one, two in pairs])
    scores = _scores(pairs[:asked], chosen)
    clusters = _clusters(pairs)
    overall = _judge(scores, len(pairs), settings, clusters)
    sensitivity = None
    if scores.dropped:
        sensitivity = missing_cases(
            scores, len(pairs), settings, cluster_sizes=_sizes(clusters) if clusters else None
        )
    strata, notes = _strata(a, b, pairs, scores, settings, clusters)
    if watched is not None and asked < len(pairs):
        notes.append(Note("stopped_early", {"asked": asked, "total": len(pairs)}))
    if matched.contradicted:
        notes.append(Note("contradicted", {"count": matched.contradicted}))
    own = [chosen[0].note, chosen[1].note]
    return Comparison(
        a=a,
        b=b,
        metrics=chosen,
        matched=matched,
        overall=overall,
        missing=missing_summary(scores),
        missing_a=scores.missing_a,
        missing_b=scores.missing_b,
        sensitivity=sensitivity,
        strata=strata,
        settings=settings,
        not_asked=len(pairs) - asked,
        notes=(*a.notes, *b.notes, *(note for note in own if note), *notes),
    )


def _nothing_common(a: Results, b: Results, matched: Matched) -> DataError:
    if matched.contradicted:
        return DataError(
            f"no common items with {b.path}: {matched.contradicted} have the same id, but their "
            "questions differ",
            file=a.path,
            hint="if only the prompt around the question differs, say --match id",
        )
    first_a, first_b = (results.items[0] for results in (a, b))
    return DataError(
        f"no common items with {b.path}: here the first is {_name(first_a)!r}, there "
        f"{_name(first_b)!r}",
        file=a.path,
        hint="items are matched by id in the same task, or by the text of the question",
    )


def _name(item: Item) -> str:
    return f"{item.task}/{item.id}" if item.task else item.id


def _watched(a: Results, b: Results, matched: Matched, *, same_run: bool) -> Results | None:
    """Return the run whose order and looks must be kept, None where one look at the end is right.

    It is a run that both sides are from, or one that stopped before its end: how many of its items
    there are then depends on how it went.
    """
    if same_run:
        return a
    for results, side in ((a, 0), (b, 1)):
        if results.frozen is not None and any(pair[side].open for pair in matched.pairs):
            return results
    return None


def _settings(options: Options, frozen: Frozen | None, count: int, *, same_run: bool) -> Settings:
    defaults = frozen if same_run and frozen is not None else None
    scope = options.scope or (Scope(defaults.scope) if defaults else Scope.POPULATION)
    alpha = options.alpha
    if alpha is None:
        alpha = defaults.alpha if defaults else Settings.alpha
    margin = options.margin
    if margin is None and defaults:
        margin = defaults.margin
    look_every = frozen.look_every if frozen else count
    return Settings(alpha=alpha, margin=margin, scope=scope, look_every=look_every)


def _shuffled(pairs: list[_Pair], seed: int) -> list[_Pair]:
    """Put the pairs in the order that a run of ours with this seed would have."""
    several = len({one.task for one, _ in pairs}) > 1
    by_name: dict[str, _Pair] = {}
    samples: list[Sample] = []
    for one, two in pairs:
        # A run's ids begin with their task already; others need it where tasks share ids.
        name = one.id if not several or one.id.startswith(f"{one.task}/") else _name(one)
        if name in by_name:
            name = f"{name}\0{one.task}"
        by_name[name] = (one, two)
        samples.append(
            Sample(name, one.task, Origin.SUITE, "", "", (), cluster=one.cluster or two.cluster)
        )
    return [by_name[sample.id] for sample in permute(samples, seed)]


def _scores(pairs: Sequence[_Pair], chosen: tuple[Chosen, Chosen]) -> Paired:
    return pair_scores(
        [chosen[0].score(one) for one, _ in pairs], [chosen[1].score(two) for _, two in pairs]
    )


def _clusters(pairs: Sequence[_Pair]) -> list[str] | None:
    """Return a cluster label for each pair, None where every item stands alone."""
    if not any(one.cluster or two.cluster for one, two in pairs):
        return None
    return [
        f"{one.task}\0{cluster}" if (cluster := one.cluster or two.cluster) else f"\0{number}"
        for number, (one, two) in enumerate(pairs)
    ]


def _sizes(labels: Sequence[str]) -> list[int]:
    sizes: list[int] = []
    previous = None
    for label in labels:
        if label != previous:
            sizes.append(0)
        sizes[-1] += 1
        previous = label
    return sizes


def _judge(scores: Paired, total: int, settings: Settings, clusters: list[str] | None) -> Judged:
    """Judge the pairs of the completed prefix; `clusters` are those of all `total` pairs."""
    sizes = None
    if clusters is not None:
        complete = scores.complete
        sizes = _sizes(
            [label for n, label in enumerate(clusters) if n >= complete.size or complete[n]]
        )
    verdict = decide(
        scores.differences,
        total,
        settings,
        dropped=scores.dropped,
        cluster_sizes=sizes,
        scores_a=scores.complete_a,
    )
    there = scores.complete
    known = bool(there.any())
    return Judged(
        verdict,
        float(scores.scores_a[there].mean()) if known else None,
        float(scores.scores_b[there].mean()) if known else None,
    )


# --- strata ------------------------------------------------------------------------------------


def _strata(
    a: Results,
    b: Results,
    pairs: list[_Pair],
    scores: Paired,
    settings: Settings,
    clusters: list[str] | None,
) -> tuple[tuple[Stratum, ...], list[Note]]:
    """Judge each value of each column; each column is one family of hypotheses."""
    found: list[Stratum] = []
    notes: list[Note] = []
    guessed = a.guessed_strata or b.guessed_strata
    for column, values in _columns(pairs).items():
        if values is None:
            notes.append(Note("stratum_differs", {"column": column}))
            continue
        names = sorted({value for value in values if value is not None})
        if guessed and column != "task" and 2 * len(names) > len(pairs):
            continue  # free text in the metadata, not a grouping
        if len(names) > MOST_STRATA:
            notes.append(Note("stratum_many", {"column": column, "count": len(names)}))
            continue
        found += _family(column, names, values, scores, settings, clusters)
    return tuple(found), notes


def _columns(pairs: list[_Pair]) -> dict[str, list[str | None] | None]:
    """Return column to value by pair; None for a column on whose values the sides differ.

    Such a column (a latency, a length) describes the answer and not the item.
    """
    columns: dict[str, list[str | None] | None] = {}
    tasks: list[str | None] = [one.task or two.task or None for one, two in pairs]
    if len(set(tasks)) > 1:
        columns["task"] = tasks
    for name in dict.fromkeys(key for pair in pairs for item in pair for key in item.strata):
        merged: list[str | None] | None = []
        for one, two in pairs:
            left, right = one.strata.get(name), two.strata.get(name)
            if left is not None and right is not None and left != right:
                merged = None
                break
            merged.append(left if left is not None else right)
        columns[name] = merged
    return columns


def _family(
    column: str,
    names: list[str],
    values: list[str | None],
    scores: Paired,
    settings: Settings,
    clusters: list[str] | None,
) -> list[Stratum]:
    """Judge each value alone, then say which directions hold for the family (closed Holm)."""
    asked = scores.scores_a.size
    members = {name: [n for n, value in enumerate(values) if value == name] for name in names}
    judged: list[Judged] = []
    sides: list[Outcome] = []
    rejected = np.zeros((len(names), len(names)), dtype=bool)
    for row, name in enumerate(names):
        inside = members[name]
        picked = [n for n in inside if n < asked]
        own = Paired(scores.scores_a[picked], scores.scores_b[picked])
        labels = None if clusters is None else [clusters[n] for n in inside]
        # A look at each end of a watched run's blocks has no meaning within one stratum.
        look = len(inside) if settings.look_every >= len(values) else 1
        alone = replace(settings, look_every=look)
        judged.append(_judge(own, len(inside), alone, labels))
        side = Outcome.UNDECIDED
        for column_ in range(len(names)):
            strict = replace(alone, alpha=settings.alpha / (column_ + 1), margin=None)
            outcome = _judge(own, len(inside), strict, labels).verdict.outcome
            if outcome not in _DIRECTIONS:
                continue
            rejected[row, column_] = True
            side = outcome
        sides.append(side)
    claimed = closed_holm(rejected)
    return [
        Stratum(column, name, side if claim else Outcome.UNDECIDED, result)
        for name, side, claim, result in zip(names, sides, claimed, judged, strict=True)
    ]
