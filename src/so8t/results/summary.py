"""A comparison for machines: the fields of `so8t compare --json`. Names are never translated."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from so8t.verdict.fixed import fixed_summary

if TYPE_CHECKING:
    from so8t.results.comparison import ComparedTask, Comparison, Stratum
    from so8t.results.items import Item, Results
    from so8t.results.metrics import Chosen
    from so8t.verdict.decide import Verdict

#: How many ids of unmatched items are named on each side.
NAMED = 20


def summary(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data. Unknown is null, never zero.

    Fields:
        verdict: b_better, a_better, equivalent, non_inferior or undecided.
        ending: decided, exhausted, futile or ongoing (a run that stopped early).
        difference: mean of score B - score A over the pairs that count; null without any.
        interval: [low, high], level 1 - alpha; null without any.
        mean: {a, b}, mean scores over the pairs that count.
        items_total, items_used: matched items, and those of them with both scores.
        discordant: {b_only, a_only, both_right, both_wrong}; null where scores are not 0 or 1.
        p_value: of `method`, two-sided; for the looks of a run the exact McNemar test, which is for
            information there. Null where there is none.
        margin_interval: [low, high], level 1 - 2 alpha, which proves an equivalence or that B is
            not worse; null where neither is proven.
        adjusted: the difference without the lean of an early stop; null where nothing stopped.
        fixed: what one look at all items says: {items, difference, interval, p_value,
            margin_interval, not_worse_p, not_better_p, claims, method}; null before all are in.
        missing: {a, b, pairs, share, balance_p, matters}: scores that are missing in matched pairs.
        missing_could_turn: whether a claim was withdrawn because missing scores could turn it.
        sensitivity: null when none is missing, else {complete_pairs, best_for_b, worst_for_b,
            flips, differences {plausible, best_for_b, worst_for_b}}: the outcome on the pairs that
            are complete, and with the missing scores turned for and against B; plausible takes
            each at its model's mean.
        not_asked: matched items that a run had not asked when it stopped.
        matched: {id, content}: pairs matched by id and by content.
        unmatched: {a_only, b_only, a_only_first, b_only_first}: counts, and the first ids.
        strata: [{column, name, verdict, alone, difference, interval, mean, items_total, items_used,
            discordant, p_value}]: `verdict` is what holds for all values of the column together
            (closed Holm), `alone` what would be said if there were no other.
        method: what decided the direction.
        finished: whether one look at all items judged them; false where the looks of a run did.
        alpha, margin, scope, look_every: the rules.
        sources: {a, b} of {path, format, label, arm, items, metrics}.
        notes: [{kind, ...}]: what a person should know, such as a metric that was chosen.
    """
    verdict = found.overall.verdict
    return {
        "verdict": verdict.outcome.value,
        "ending": verdict.ending.value,
        **_judged(found.overall),
        "missing": {
            "a": found.missing_a,
            "b": found.missing_b,
            "pairs": verdict.items_dropped,
            "share": found.missing.share,
            "balance_p": found.missing.balance_p,
            "matters": found.missing.matters,
        },
        "missing_could_turn": verdict.missing_could_turn,
        "sensitivity": _sensitivity(found),
        "not_asked": found.not_asked,
        "matched": {"id": found.matched.by_id, "content": found.matched.by_content},
        "unmatched": {
            "a_only": len(found.matched.a_only),
            "b_only": len(found.matched.b_only),
            "a_only_first": [name_of(item) for item in found.matched.a_only[:NAMED]],
            "b_only_first": [name_of(item) for item in found.matched.b_only[:NAMED]],
        },
        "strata": [_stratum(stratum) for stratum in found.strata],
        "method": verdict.method,
        "finished": found.finished,
        "alpha": verdict.settings.alpha,
        "margin": verdict.settings.margin,
        "scope": verdict.settings.scope.value,
        "look_every": verdict.settings.look_every,
        "sources": {
            "a": _source(found.a, found.metrics[0]),
            "b": _source(found.b, found.metrics[1]),
        },
        "notes": [{"kind": note.kind, **note.data} for note in found.notes],
    }


def name_of(item: Item) -> str:
    """Name an item so that it can be found: its id, with its task where the id does not say it."""
    if not item.task or item.id.startswith(f"{item.task}/"):
        return item.id
    return f"{item.task}/{item.id}"


def _judged(judged: ComparedTask) -> dict[str, Any]:
    verdict = judged.verdict
    return {
        "difference": verdict.difference,
        "interval": None if verdict.interval is None else list(verdict.interval),
        "mean": {"a": judged.mean_a, "b": judged.mean_b},
        "items_total": verdict.items_total,
        "items_used": verdict.items_used,
        "discordant": None if verdict.discordant is None else asdict(verdict.discordant),
        "p_value": _p_value(verdict),
        "margin_interval": None
        if verdict.margin_interval is None
        else list(verdict.margin_interval),
        "adjusted": verdict.adjusted,
        "fixed": None if verdict.fixed is None else fixed_summary(verdict.fixed),
    }


def _p_value(verdict: Verdict) -> float | None:
    return verdict.p_value if verdict.fixed is None else verdict.fixed.p_value


def _stratum(stratum: Stratum) -> dict[str, Any]:
    return {
        "column": stratum.column,
        "name": stratum.name,
        "verdict": stratum.outcome.value,
        "alone": stratum.judged.verdict.outcome.value,
        **_judged(stratum.judged),
    }


def _sensitivity(found: Comparison) -> dict[str, Any] | None:
    cases = found.sensitivity
    if cases is None:
        return None
    return {
        "complete_pairs": cases.primary.outcome.value,
        "best_for_b": cases.best.outcome.value,
        "worst_for_b": cases.worst.outcome.value,
        "flips": cases.flips,
        "differences": {
            "plausible": cases.plausible,
            "best_for_b": cases.best.difference,
            "worst_for_b": cases.worst.difference,
        },
    }


def _source(results: Results, chosen: Chosen) -> dict[str, Any]:
    return {
        "path": results.path,
        "format": results.format,
        "label": results.label,
        "arm": results.arm,
        "items": len(results.items),
        "metrics": chosen.names,
    }
