"""From two sources to a verdict: match, order, decide, per stratum, and what is missing.

Finished results are judged as finished: one look at all items, by the field's fixed-N tests, in
whose eyes the order of a file means nothing. A run of ours that was watched while it ran is judged
by its own frozen order and looks instead: to look again as if nobody had would be peeking.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from so8t.domain.plan import completed_prefix
from so8t.errors import DataError
from so8t.results.items import Note, Results
from so8t.results.match import How, Matched, match, numbered
from so8t.results.metrics import Chosen, select
from so8t.verdict.decide import Verdict
from so8t.verdict.missing import (
    UNBALANCED_BELOW,
    Censoring,
    Missing,
    Pool,
    judge_groups,
    judge_pairs,
    missing_summary,
)
from so8t.verdict.pairs import Paired, cluster_sizes, pair_columns
from so8t.verdict.sensitivity import Sensitivity, decide_pairs, finish_pairs
from so8t.verdict.settings import Outcome, Scope, Settings

if TYPE_CHECKING:
    from so8t.results.items import Frozen, Item

#: A column with more values than this is no grouping, and closed testing of it costs its square.
MOST_STRATA = 60
DEFAULT_ALPHA = 0.05
_Pair = tuple["Item", "Item"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may set; None takes the frozen value of a run of ours, else the default."""

    alpha: float | None = None
    margin: float | None = None
    scope: Scope | None = None
    metric: str | None = None
    filter: str | None = None
    how: How = "auto"


@dataclass(frozen=True, slots=True)
class ComparedTask:
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
    judged: ComparedTask


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that can be said of two sources.

    `finished` tells whether they were judged by one look at all items, rather than by the looks of
    a run that was watched.
    """

    a: Results
    b: Results
    metrics: tuple[Chosen, Chosen]
    matched: Matched
    overall: ComparedTask
    missing: Missing
    missing_a: int
    missing_b: int
    sensitivity: Sensitivity | None
    strata: tuple[Stratum, ...]
    settings: Settings
    finished: bool
    not_asked: int
    notes: tuple[Note, ...]

    @property
    def censoring(self) -> tuple[Censoring, ...]:
        """Scores that are missing on one side clearly more often than on the other."""
        if self.missing.balance_p >= UNBALANCED_BELOW:
            return ()
        return (Censoring("missing", self.missing_a, self.missing_b, self.missing.balance_p),)


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
    matched = match(a, b, options.how)
    if not matched.pairs:
        raise _nothing_common(a, b, matched)
    chosen = select(a, b, options.metric, options.filter)
    for items, side in ((matched.a_only, chosen[0]), (matched.b_only, chosen[1])):
        for item in items:
            side.score(item)  # a file with a broken score is broken, wherever it stands
    watched = _watched(a, b, matched, same_run=same_run)
    pairs = matched.pairs
    if watched is None:
        pairs = _by_cluster(pairs)
    elif watched is b:
        place = {id(item): position for position, item in enumerate(b.items)}
        pairs = sorted(pairs, key=lambda pair: place[id(pair[1])])
    frozen = watched.frozen if watched else None
    settings = _settings(options, frozen, same_run=same_run)
    every = _Subset(pairs, _scores(pairs, chosen), _clusters(pairs), finished=watched is None)
    scores = every.paired
    asked = scores.scores_a.size
    verdict, cases = judge_pairs(
        scores,
        len(pairs),
        settings,
        cluster_sizes=every.sizes,
        decided_by=decide_pairs if watched else finish_pairs,
    )
    strata, notes = _strata(every, settings, guessed=a.guessed_strata or b.guessed_strata)
    if watched is not None and asked < len(pairs):
        notes.append(Note("stopped_early", {"asked": asked, "total": len(pairs)}))
    if numbered(matched):
        notes.append(Note("numbered", {"count": matched.by_id}))
    if matched.contradicted:
        notes.append(Note("contradicted", {"count": matched.contradicted}))
    own = [chosen[0].note, chosen[1].note]
    return Comparison(
        a=a,
        b=b,
        metrics=chosen,
        matched=matched,
        overall=every.judged(verdict),
        missing=missing_summary(scores),
        missing_a=scores.missing_a,
        missing_b=scores.missing_b,
        sensitivity=cases if scores.dropped else None,
        finished=watched is None,
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


def _settings(options: Options, frozen: Frozen | None, *, same_run: bool) -> Settings:
    defaults = frozen if same_run and frozen is not None else None
    scope = options.scope or (Scope(defaults.scope) if defaults else Scope.POPULATION)
    alpha = options.alpha
    if alpha is None:
        alpha = defaults.alpha if defaults else DEFAULT_ALPHA
    margin = options.margin
    if margin is None and defaults:
        margin = defaults.margin
    return Settings(
        alpha=alpha,
        margin=margin,
        scope=scope,
        look_every=frozen.look_every if frozen else 1,
        binary=defaults.binary if defaults else None,
        replanned=defaults.replanned if defaults else False,
    )


def _by_cluster(pairs: list[_Pair]) -> list[_Pair]:
    """Put the items of a cluster together, the clusters in the order in which they begin."""
    clusters = _clusters(pairs)
    if clusters is None:
        return pairs
    first: dict[str, int] = {}
    for cluster in clusters:
        first.setdefault(cluster, len(first))
    order = sorted(range(len(pairs)), key=lambda place: first[clusters[place]])
    return [pairs[place] for place in order]


def _scores(pairs: Sequence[_Pair], chosen: tuple[Chosen, Chosen]) -> Paired:
    def side(number: int) -> np.ndarray:
        score = chosen[number].score
        # Numbers in an array: a million of them are 8 MB, where objects would be 32.
        found = (score(pair[number]) for pair in pairs)
        return np.fromiter((math.nan if one is None else one for one in found), np.float64)

    return pair_columns(side(0), side(1))


def _clusters(pairs: Sequence[_Pair]) -> list[str] | None:
    """Return a cluster label for each pair, None where every item stands alone."""
    if not any(one.cluster or two.cluster for one, two in pairs):
        return None
    return [
        f"{one.task}\0{cluster}" if (cluster := one.cluster or two.cluster) else f"\0{number}"
        for number, (one, two) in enumerate(pairs)
    ]


@dataclass(frozen=True, slots=True)
class _Subset:
    """Some of the pairs in their order, with the scores and the cluster label of each.

    Only the prefix up to the first question that a run has not asked counts (`paired`).
    """

    pairs: Sequence[_Pair]
    scores: Paired
    clusters: list[str] | None
    finished: bool

    def only(self, places: list[int]) -> _Subset:
        return _Subset(
            [self.pairs[n] for n in places],
            Paired(self.scores.scores_a[places], self.scores.scores_b[places]),
            None if self.clusters is None else [self.clusters[n] for n in places],
            self.finished,
        )

    @property
    def paired(self) -> Paired:
        if self.finished:
            return self.scores
        asked = completed_prefix([not (one.open or two.open) for one, two in self.pairs])
        return Paired(self.scores.scores_a[:asked], self.scores.scores_b[:asked])

    @property
    def sizes(self) -> list[int] | None:
        """Items of each cluster, those with a missing score included."""
        if self.clusters is None:
            return None
        order = [str(n) for n in range(len(self.clusters))]
        return cluster_sizes(order, dict(zip(order, self.clusters, strict=True)))

    @property
    def pool(self) -> Pool:
        return Pool(self.paired, len(self.pairs), self.sizes)

    def judged(self, verdict: Verdict) -> ComparedTask:
        paired = self.paired
        there = paired.complete
        if not there.any():
            return ComparedTask(verdict, None, None)
        a, b = (math.fsum(scores[there]) for scores in (paired.scores_a, paired.scores_b))
        return ComparedTask(verdict, a / int(there.sum()), b / int(there.sum()))


# --- strata ------------------------------------------------------------------------------------


def _strata(
    every: _Subset, settings: Settings, *, guessed: bool
) -> tuple[tuple[Stratum, ...], list[Note]]:
    """Judge each value of each column; each column is one family of hypotheses."""
    found: list[Stratum] = []
    notes: list[Note] = []
    for column, values in _columns(every.pairs).items():
        if values is None:
            notes.append(Note("stratum_differs", {"column": column}))
            continue
        places: dict[str, list[int]] = defaultdict(list)
        for place, value in enumerate(values):
            if value is not None:
                places[value].append(place)
        if guessed and column != "task" and 2 * len(places) > len(every.pairs):
            continue  # free text in the metadata, not a grouping
        if len(places) > MOST_STRATA:
            notes.append(Note("stratum_many", {"column": column, "count": len(places)}))
            continue
        found += _family(
            column, {name: every.only(places[name]) for name in sorted(places)}, settings
        )
    return tuple(found), notes


def _columns(pairs: Sequence[_Pair]) -> dict[str, list[str | None] | None]:
    """Return column to value by pair; None for a column on whose values the sides differ.

    Such a column (a latency, a length) describes the answer and not the item.
    """
    columns: dict[str, list[str | None] | None] = {}
    tasks: list[str | None] = [one.task or two.task or None for one, two in pairs]
    if len(set(tasks)) > 1:
        columns["task"] = tasks
    strata = (item.strata for pair in pairs for item in pair)
    for name in dict.fromkeys(key for found in strata if found for key in found):
        both = [(one.strata.get(name), two.strata.get(name)) for one, two in pairs]
        differ = any(left is not None and left != right for left, right in both if right)
        columns[name] = None if differ else [left or right for left, right in both]
    return columns


def _family(column: str, members: dict[str, _Subset], settings: Settings) -> list[Stratum]:
    """Judge each value alone, and say which directions hold for all of them together."""
    # Blocks of a watched run have no meaning within a stratum: there a look falls on each item.
    alone = replace(settings, look_every=1)
    finished = all(member.finished for member in members.values())
    found = judge_groups(
        {name: member.pool for name, member in members.items()}, alone, finished=finished
    )
    return [
        Stratum(column, name, found[name].outcome, member.judged(found[name].alone))
        for name, member in members.items()
    ]
