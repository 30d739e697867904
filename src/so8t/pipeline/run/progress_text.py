"""Progress as Markdown: made anew from the journal each time, never edited in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.plain_text import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.pipeline.run.progress import ProgressWords
    from so8t.pipeline.run.progress_state import PhaseProgress, RunProgress
    from so8t.pipeline.run.sessions import Interruption


def summary_lines(progress: RunProgress, words: ProgressWords) -> list[str]:
    """Say in a few lines how far a run is: answers, rate, time left, totals."""
    lines = [
        words("progress.answers", done=progress.answers, total=progress.planned)
        + (words("progress.failed", count=progress.failed) if progress.failed else "")
        + (words("progress.reused", count=progress.reused) if progress.reused else "")
    ]
    load = progress.load
    if load is not None:
        key = "progress.load" if load.level else "progress.paused"
        since = f"{load.since.astimezone():%H:%M}"
        lines.append(
            words(key, level=load.level, since=since, reason=words(f"reason.{load.reason}"))
        )
    if progress.unfit:
        lines.append(words("progress.unfit", count=progress.unfit))
    unit = progress.unit
    if progress.state == "running" and unit is not None and unit.what != "answers":
        lines.append(
            words(f"cli.progress.{unit.what}")
            + words("progress.unit", done=unit.done, total=unit.total)
            + _left(unit.eta_seconds, words)
        )
    if progress.per_second is not None:
        rate = words("progress.rate", rate=f"{progress.per_second * 60:,.1f}")
        lines.append(rate + _left(progress.eta_seconds, words))
    lines.append(
        words(
            "progress.tokens",
            prompt=_count(progress.prompt_tokens, words),
            completion=_count(progress.completion_tokens, words),
        )
    )
    lines.append(
        words(
            "progress.time",
            time=words.duration(progress.active_seconds),
            sessions=progress.sessions,
            interruptions=len(progress.interruptions),
        )
    )
    return lines


def phase_line(phase: PhaseProgress, words: ProgressWords) -> str:
    """Say how far a phase is."""
    name = words(f"cli.phase.{phase.phase.value}")
    said = words("progress.phase", number=phase.phase.number, name=name)
    said += words("progress.state", state=words(f"cli.state.{phase.state}"))
    if phase.seconds is not None:
        said += words("progress.took", time=words.duration(phase.seconds))
    if phase.message:
        said += f": {phase.message}"
    return said


def interruption_line(interruption: Interruption, words: ProgressWords) -> str:
    """Say when a run was interrupted, for how long, and what was done again."""
    fixed = {"crashed": "progress.crashed", "Interrupted": "progress.asked"}.get(interruption.how)
    parts = [
        interruption.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        words(fixed) if fixed else words("progress.ended", how=interruption.how),
        words("progress.away", time=words.duration(interruption.away_seconds)),
    ]
    if interruption.reboot:
        parts.append(words("progress.reboot"))
    if interruption.resumed_step is not None:
        parts.append(words("progress.resumed", step=interruption.resumed_step))
    elif interruption.redone is None:
        parts.append(words("progress.nothing_redone"))
    else:
        name = words(f"cli.phase.{interruption.redone.value}")
        time = words.duration(interruption.redone_seconds)
        parts.append(words("progress.redone", name=name, time=time))
    return words("progress.between").join(parts)


def checklist(progress: RunProgress, words: ProgressWords) -> str:
    """Return a run's checklist as Markdown."""
    lines = [f"# {markdown(words('progress.title', run=progress.run))}", ""]
    lines += [
        f"- [{'x' if phase.state == 'done' else ' '}] {markdown(phase_line(phase, words))}"
        for phase in progress.phases
    ]
    lines += ["", *(f"- {markdown(line)}" for line in summary_lines(progress, words))]
    if progress.interruptions:
        lines += ["", f"## {words('progress.interruptions')}", ""]
        lines += [f"- {markdown(interruption_line(one, words))}" for one in progress.interruptions]
    if progress.last_written is not None:
        at = progress.last_written.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        lines += ["", words("progress.as_of", at=at)]
    return "\n".join(lines) + "\n"


def log_table(entries: Sequence[dict[str, Any]], words: ProgressWords) -> str:
    """Return the entries of the log as one Markdown table."""
    names = ("at", "phase", "answers", "rate", "left", "tokens", "active")
    columns = [words(f"progress.column.{name}") for name in names]
    rows = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    rows.extend("| " + " | ".join(map(markdown, _cells(entry, words))) + " |" for entry in entries)
    return "\n".join(rows) + "\n"


def _cells(entry: dict[str, Any], words: ProgressWords) -> list[str]:
    begun = [phase for phase in entry["phases"] if phase["state"] != "waiting"]
    now = begun[-1] if begun else entry["phases"][0]
    name = words(f"cli.phase.{now['phase']}")
    tokens = (entry["prompt_tokens"] or 0) + (entry["completion_tokens"] or 0)
    rate = entry["per_second"]
    return [
        entry["at"],
        name + words("progress.state", state=words(f"cli.state.{now['state']}")),
        f"{words.number(entry['answers'])}/{words.number(entry['planned'])}",
        words("unknown") if rate is None else f"{rate * 60:,.1f}",
        words.duration(entry["eta_seconds"]),
        words.number(tokens),
        words.duration(entry["active_seconds"]),
    ]


def _left(seconds: float | None, words: ProgressWords) -> str:
    return "" if seconds is None else words("cli.eta", time=words.duration(seconds))


def _count(value: int | None, words: ProgressWords) -> str:
    return words("unknown") if value is None else words.number(value)
