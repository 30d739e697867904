"""A run's result for machines: the fields of `--json`. Names are stable and never translated."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from so8t.report.collapse import answers_summary
from so8t.report.view import used_means
from so8t.verdict.fixed import fixed_summary

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.journal.evidence import Evidence, Group
    from so8t.report.view import View
    from so8t.verdict.decide import Verdict


def summary(view: View, *, report: Path | None = None) -> dict[str, Any]:
    """Return a run's result as plain data. Unknown is null, never zero.

    Fields:
        run: {name, run_id, created, version, config_digest}.
        state: "complete", "partial" or "empty".
        labels: {a, b}.
        verdict: null before a plan is frozen, else {outcome, ending, difference, interval
            [low, high], level, p_value, items_total, items_used, items_missing, decided_at,
            discordant {b_only, a_only, both_right, both_wrong}, margin, alpha, scope, method,
            margin_interval, adjusted, fixed, missing_could_turn} (see so8t.verdict.decide.Verdict).
            `difference` and `interval` are score B - score A in [-1, 1].
        average: "micro" (every item weighs alike) or "macro" (every task does).
        mean: {a, b}, mean scores over the pairs that were used.
        categories, tasks: [{name, verdict, claim, mean, pairs, missing}]. `verdict` is each one's
            alone; `claim` is the outcome that holds among all of its kind (family-wise error).
        repeats: how often each question is asked; a question's score is the mean.
        unequal: pairs left out because settings changed between their two answers.
        answers: [{task, arm, answers, top, top_share, constant, mean, looping, echoing, empty,
            foreign, collapsed [sign], at_guessing}]: what each arm's answers to each task are like
            (see so8t.domain.answer_shares), of the first 4,000 questions.
        coverage: {a, b} of {total, answered, truncated, failed, unscored, open, cut_in_thinking},
            in answers.
        noise_floor: {a, b} of {pairs, text_flips, score_flips}.
        sensitivity: {outcomes {reading: outcome}, differences {reading: B - A}, flips [reading]}.
        censoring: [{kind, a, b, p_value}]: what cuts off or loses one model's answers more often.
        standing: {state, pairs, planned}: not_begun, running, stopped, deadline or complete.
        latency: {a, b} of {answers, known, p50, p95, tokens_per_second}, times in seconds.
        report: path of the report, null when none was written.
    """
    run, evidence = view.run, view.evidence
    known: dict[str, Any] = {
        "verdict": None,
        "average": None,
        "mean": None,
        "categories": [],
        "tasks": [],
        "repeats": None,
        "unequal": None,
        "answers": [],
        "coverage": None,
        "noise_floor": None,
        "sensitivity": None,
        "censoring": [],
    }
    return {
        "run": {
            "name": run.name,
            "run_id": run.run_id,
            "created": run.created,
            "version": run.version,
            "config_digest": run.config_digest,
        },
        "state": view.state,
        "standing": asdict(view.standing) | {"state": view.standing.state.value},
        "labels": {"a": view.label_a, "b": view.label_b},
        **(known if evidence is None else _evidence(evidence, view)),
        "latency": {arm.value: asdict(latency) for arm, latency in view.latency.items()},
        "report": None if report is None else str(report),
    }


def _evidence(evidence: Evidence, view: View) -> dict[str, Any]:
    means = used_means(evidence) or (None, None)
    return {
        "verdict": _verdict(evidence.overall, evidence.group.missing),
        "average": evidence.average,
        "mean": {"a": means[0], "b": means[1]},
        "categories": [_group(group) for group in evidence.categories],
        "tasks": [_group(group) for group in evidence.tasks],
        "repeats": evidence.repeats,
        "unequal": evidence.unequal,
        "answers": [answers_summary(one) for one in view.answer_shares],
        "coverage": {
            arm.value: asdict(found)
            | {"open": found.open, "cut_in_thinking": view.cut_in_thinking[arm]}
            for arm, found in evidence.coverage.items()
        },
        "noise_floor": {arm.value: asdict(found) for arm, found in evidence.noise_floor.items()},
        "sensitivity": {
            "outcomes": dict(evidence.sensitivity.outcomes),
            "differences": dict(evidence.sensitivity.differences),
            "flips": list(evidence.sensitivity.flips),
        },
        "censoring": [asdict(one) for one in evidence.censoring],
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "verdict": _verdict(group.verdict, group.missing),
        "claim": group.claim.value,
        "mean": {"a": group.mean_a, "b": group.mean_b},
        "pairs": group.pairs,
        "missing": group.missing,
    }


def _verdict(verdict: Verdict, missing: int) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome.value,
        "ending": verdict.ending.value,
        "difference": verdict.difference,
        "interval": None if verdict.interval is None else list(verdict.interval),
        "level": 1 - verdict.settings.alpha,
        "p_value": verdict.p_value,
        "items_total": verdict.items_total,
        "items_used": verdict.items_used,
        "items_missing": missing,
        "decided_at": verdict.decided_at,
        "discordant": None if verdict.discordant is None else asdict(verdict.discordant),
        "margin": verdict.settings.margin,
        "alpha": verdict.settings.alpha,
        "scope": verdict.settings.scope.value,
        "method": verdict.method,
        "margin_interval": None
        if verdict.margin_interval is None
        else list(verdict.margin_interval),
        "adjusted": verdict.adjusted,
        "fixed": None if verdict.fixed is None else fixed_summary(verdict.fixed),
        "missing_could_turn": verdict.missing_could_turn,
    }
