"""`so8t plan`: a dry run. What will be done, what it needs, what it will be able to tell."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from so8t.cli.console import common, size
from so8t.cli.wire import with_config
from so8t.pipeline.plan import planning, truncation
from so8t.pipeline.plan.estimate import estimate_memory, estimate_time
from so8t.pipeline.plan.model_checks import check_models
from so8t.pipeline.prepare import contamination, data_policy
from so8t.verdict.power import minimal_detectable_difference, needed_items

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.config.schema import RunConfig
    from so8t.pipeline.plan.collected import CollectedSamples
    from so8t.pipeline.plan.estimate import MemoryEstimate

_NAMED = 3
_DISCORDANCES = (0.1, 0.2, 0.4)


@click.command("plan")
@with_config
@common
def command(console: Console, config: RunConfig) -> None:
    """Show what `so8t run CONFIG` will do, without doing it."""
    samples = planning.collect_samples(config)
    sources = planning.resolve_sources(config)
    notes = check_models(config, sources, samples)
    needed = planning.needs(config, sources, len(samples))
    memory = estimate_memory(config, sources)
    time = estimate_time(config, sources, samples)
    alpha = config.verdict.alpha
    detectable = {
        share: minimal_detectable_difference(len(samples), share, alpha=alpha)
        for share in _DISCORDANCES
    }
    # Fewer questions find no difference at all, not even one of all that the models disagree on.
    fewest = {share: needed_items(share, share, alpha=alpha) for share in _DISCORDANCES}
    cut = truncation.in_earlier_runs(config, samples, config.output)
    crowded = truncation.without_room(config, samples, memory.profile.context)
    plan: dict[str, Any] = {
        "samples": len(samples),
        "categories": dict(sorted(Counter(sample.category for sample in samples).items())),
        "tasks": dict(sorted(Counter(sample.task for sample in samples).items())),
        "repeats": config.benchmark.repeats,
        "calls": 2 * len(samples) * config.benchmark.repeats
        + 2 * min(config.benchmark.noise_floor, len(samples)),
        "samples_in_block": planning.samples_in_block(config, len(samples)),
        "disk_needed": needed.disk,
        "disk_free": needed.free,
        "memory_needed": memory.needed,
        "memory_both": memory.together,
        "memory_available": memory.available,
        "fits": memory.fits,
        "both_fit": memory.both_fit,
        "seconds_low": time.low,
        "seconds_high": time.high,
        "seconds_basis": time.basis,
        "detectable_difference": {str(share): found for share, found in detectable.items()},
        "fewest_questions": {str(share): count for share, count in fewest.items()},
        "truncated_before": {"answers": cut.answers, "truncated": cut.truncated},
        "questions_without_room": len(crowded),
        "left_out": [str(one) for one in samples.left_out],
        "start": planning.start_commands(config, sources),
        "notes": [{"note": key, **values} for key, values in notes],
    }
    if config.b.finetune is not None:
        plan["policy"] = data_policy.inspect(config.b.finetune).facts()
        plan["leaks"] = contamination.facts(
            config.b.finetune, contamination.check(config.b.finetune, samples)
        )
    console.data(plan)
    _warn_of(samples, console)
    text = console.text
    for name, count in plan["categories"].items():
        console.line(text("cli.plan.category", name=text.known("category", name), count=count))
    console.line(text("cli.plan.calls", samples=len(samples), calls=plan["calls"]))
    if plan["start"]:
        console.line(text("cli.plan.start"))
        for command in plan["start"]:
            console.line(f"  {command}")
    console.line(text("cli.plan.disk", needed=size(needed.disk), free=size(needed.free)))
    _say_memory(console, memory)
    console.line(
        text(
            "cli.plan.time",
            low=text.duration(time.low),
            high=text.duration(time.high),
            basis=text(f"cli.plan.basis.{time.basis}"),
        )
    )
    console.notes(notes)
    if cut.warns:
        values = {"truncated": cut.truncated, "answers": cut.answers}
        console.line(text("cli.plan.budget_short", **values), style="yellow")
    if crowded:
        names = ", ".join(crowded[:_NAMED])
        console.line(
            text(
                "cli.plan.context_short",
                count=len(crowded),
                names=names,
                context=memory.profile.context,
            ),
            style="yellow",
        )
    training = config.b.finetune
    if training is not None:
        limit = training.max_seconds
        console.line(
            text("cli.plan.training", steps=training.steps)
            if limit is None
            else text("cli.plan.training_limited", steps=training.steps, limit=text.duration(limit))
        )
        for name in ("leaks", "policy"):
            found = text(f"training.{name}_found", **plan[name])
            console.line(text("cli.plan.found", what=text(f"training.{name}"), found=found))
    for share, difference in detectable.items():
        shown = f"{share:.0%}"
        console.line(
            text("cli.plan.too_few", share=shown, samples=len(samples), needed=fewest[share])
            if difference is None
            else text("cli.plan.detectable", share=shown, difference=f"{difference:.1%}")
        )


def _warn_of(samples: CollectedSamples, console: Console) -> None:
    """Name the items of published sets that cannot be asked."""
    for one in samples.left_out:
        console.line(console.text("plan.left_out", item=str(one)))


def _say_memory(console: Console, memory: MemoryEstimate) -> None:
    text, free = console.text, size(memory.available)
    if memory.needed is None or memory.together is None:
        console.line(text("cli.plan.memory_unknown", free=free))
        return
    loaded = {"slots": memory.profile.slots, "context": memory.profile.context}
    both = size(memory.together)
    console.line(
        text("cli.plan.memory", needed=size(memory.needed), both=both, free=free, **loaded)
    )
    if memory.fits is False:
        console.line(text("cli.plan.too_large"), style="bold red")
    elif memory.both_fit is False:
        console.line(text("cli.plan.one_at_a_time"), style="yellow")
