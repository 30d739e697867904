"""Everything that a run claims, recomputed from what it rests on.

The journal's links, the frozen questions, every score (graded again from the stored text), the
verdict, the files of the models, and the report: is each what the rows say?

What this cannot see is said in `docs/design/durability.md`: the chain has no key, so who rewrites
answers, scores, chain, witness, backups and report together leaves nothing to find.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import so8t
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, Status
from so8t.domain.model_form import ModelForm
from so8t.domain.plan import Phase
from so8t.errors import JournalDamagedError, SO8TError
from so8t.journal.backup import KEPT, backups
from so8t.journal.chain import UNREADABLE, chain_at, check_witness
from so8t.journal.chained import WITNESS_NAME
from so8t.journal.evidence import gather
from so8t.report.embedded import Embedded, extract, zone_of
from so8t.report.findings import Finding, counted
from so8t.report.html import FILE_NAME as REPORT_NAME
from so8t.report.html import REVEALED_NAME, marks, render
from so8t.report.query import load_view, summary
from so8t.report.text import Text
from so8t.report.verify_files import check_lm_eval, check_results
from so8t.system.files import file_digest
from so8t.tasks.graders import grade, grader_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.domain.sample import Sample
    from so8t.journal.rows import AnswerRecord, PhaseRecord
    from so8t.journal.store import Journal

_NOT_COMPARED = (
    "its data are the journal's; its text was written by another version or in another time zone "
    "and was not compared"
)


def verify_run(journal: Journal) -> list[Finding]:
    """Recompute everything about the run behind an open journal; nothing is written.

    Each check is made whatever the others find, so that all that is wrong is named.
    """
    checks: tuple[Callable[[Journal], Iterator[Finding]], ...] = (
        _chain,
        _witness,
        _backups,
        _artifacts,
        _settings,
        _questions,
        _scores,
        _verdict,
        _report,
        check_results,
        check_lm_eval,
        _progress,
    )
    return [finding for check in checks for finding in _made(check, journal)]


def _made(check: Callable[[Journal], Iterator[Finding]], journal: Journal) -> list[Finding]:
    """Make one check; rows so damaged that it cannot be made are a finding of it."""
    try:
        return list(check(journal))
    except (SO8TError, ValueError, KeyError, TypeError, IndexError, *UNREADABLE) as error:
        said = error.message if isinstance(error, SO8TError) else f"{type(error).__name__}: {error}"
        return [
            Finding(
                check.__name__.removeprefix("check").strip("_"),
                "fail",
                f"could not be recomputed: {said}",
            )
        ]


# --- the journal itself ------------------------------------------------------------------------


def _chain(journal: Journal) -> Iterator[Finding]:
    try:
        head = journal.verify()
    except JournalDamagedError as error:
        yield Finding("chain", "fail", error.message)
    else:
        yield Finding("chain", "pass", f"{head.seq} rows, each what was written, none missing")


def _witness(journal: Journal) -> Iterator[Finding]:
    path = journal.directory / WITNESS_NAME
    try:
        witness = check_witness(path, journal.connection)
    except JournalDamagedError as error:
        yield Finding("witness", "fail", error.message)
        return
    if witness is None:
        yield Finding(
            "witness",
            "fail" if _must_be_there(journal) else "warn",
            f"{path.name} is not there: a lost tail could not be seen",
        )
    else:
        yield Finding("witness", "pass", f"row {witness.seq} is the one that was witnessed")


def _backups(journal: Journal) -> Iterator[Finding]:
    """A backup is an older witness of the same rows; a rewritten journal does not continue it."""
    count = 0
    for backup in backups(journal.directory):
        count += 1
        try:
            backup.check()
        except JournalDamagedError as error:
            yield Finding("backups", "fail", error.message)
            continue
        if chain_at(journal.connection, backup.head.seq) != backup.head.chain:
            yield Finding(
                "backups", "fail", f"the journal does not continue {backup.path.name}: rows differ"
            )
    done = sum(step.state == "done" for step in journal.phases())
    wanted = min(KEPT, done - len(journal.events(EventKind.BACKUP_NOT_MADE)))
    if count < wanted:
        yield Finding(
            "backups",
            "fail" if _must_be_there(journal) else "warn",
            f"{count} of the {wanted} that were made are there",
        )
    elif count:
        yield Finding("backups", "pass", f"{count} compared")


def _must_be_there(journal: Journal) -> bool:
    """Whether what is written behind a phase must be there: it is done, and nothing was cut off."""
    sessions = [event.kind for event in journal.events() if event.kind.startswith("session_")]
    done = any(step.state == "done" for step in journal.phases())
    return done and sessions[-1:] != [EventKind.SESSION_STARTED]


# --- files -------------------------------------------------------------------------------------


def _artifacts(journal: Journal) -> Iterator[Finding]:
    for phase in (Phase.PREPARE_A, Phase.PREPARE_B):
        done = _done(journal, phase)
        if done is None:
            continue
        arm = "A" if phase is Phase.PREPARE_A else "B"
        name = f"model {arm}"
        if done.result.get("kind") != ModelForm.FILE:
            yield Finding(name, "warn", f"{done.result.get('location')} is a server's, not a file")
            continue
        path, recorded = Path(done.result["location"]), done.result["digest"]
        if not path.is_file():
            yield Finding(name, "warn", f"{path} is not there any more; its digest stands alone")
        elif (found := file_digest(path)) == recorded:
            yield Finding(name, "pass", f"{path.name} has the recorded digest")
        else:
            yield Finding(name, "fail", f"{path} was changed: {found}, recorded {recorded}")


def _settings(journal: Journal) -> Iterator[Finding]:
    """Each answer names the settings it was given under; they name the model's digest."""
    wrong: list[str] = []
    bodies = journal.all_settings()
    registered = _done(journal, Phase.REGISTER)
    if registered is None:
        return
    for arm in Arm:
        known = registered.result["arms"][arm.value]["model"]["digest"]
        models = {bodies[answer.settings]["model"]["digest"] for answer in journal.answers(arm)}
        wrong += [f"{arm.upper()}: {model}" for model in sorted(models - {known})]
    yield counted(
        "settings", wrong, len(bodies), "sets of settings; each model is the one that was made",
        "sets of settings name another model",
    )  # fmt: skip


def _done(journal: Journal, phase: Phase) -> PhaseRecord | None:
    steps = [s for s in journal.phases() if s.phase is phase and s.state == "done"]
    return steps[-1] if steps else None


# --- questions, scores, verdict ----------------------------------------------------------------


def _questions(journal: Journal) -> Iterator[Finding]:
    wrong = [
        sample.id
        for sample, recorded in zip(journal.samples(), journal.sample_digests(), strict=True)
        if sample.digest != recorded
    ]
    yield counted(
        "questions", wrong, journal.sample_count(), "frozen questions have their digest",
        "frozen questions are not what their digest says",
    )  # fmt: skip


def _scores(journal: Journal) -> Iterator[Finding]:
    """Grade every stored answer again by the frozen question's own grader."""
    wrong: list[str] = []
    other_rules = count = 0
    samples = iter(enumerate(journal.samples()))
    position, sample = next(samples, (-1, None))
    for answer in journal.answers(repeat=None):
        while position < answer.position:
            position, sample = next(samples)
        if sample is None or answer.reply.status is Status.FAILED:
            continue
        if sample.grader.get("type") == "judge":
            continue  # no single answer has a score; its judgements are rows of the chain
        count += 1
        if answer.score is not None and answer.grader != grader_digest(sample.grader):
            other_rules += 1
        elif not _same_score(sample, answer):
            wrong.append(f"{sample.id} ({answer.arm.upper()})")
    yield counted(
        "scores", wrong, count - other_rules, "answers graded again, each with the same score",
        "answers have another score when they are graded again",
    )  # fmt: skip
    if other_rules:
        yield Finding(
            "scores", "warn", f"{other_rules} were graded by rules that this version does not have"
        )


def _same_score(sample: Sample, answer: AnswerRecord) -> bool:
    again = grade(sample, answer.reply.text, truncated=answer.reply.status is Status.TRUNCATED)
    known = answer.score
    return known is not None and (again.grade, again.value, again.valid) == (
        known.grade,
        known.value,
        known.valid,
    )


def _verdict(journal: Journal) -> Iterator[Finding]:
    """Compare what phase 4 recorded with what its rows say."""
    if not journal.events(EventKind.PLAN_FROZEN):
        yield Finding("verdict", "warn", "no plan is frozen yet; there is nothing to judge")
        return
    found = gather(journal)
    now = found.overall.outcome.value
    done = journal.phase(Phase.BENCHMARK)
    if done is None or done.state != "done":
        yield Finding("verdict", "pass", f"{now}; the run is not finished")
        return
    recorded = {key: done.result.get(key) for key in ("outcome", "ending")}
    recomputed = {"outcome": now, "ending": found.overall.ending.value}
    if recorded == recomputed:
        yield Finding("verdict", "pass", f"{now}, as recorded")
    else:
        yield Finding("verdict", "fail", f"recorded {recorded}, recomputed {recomputed}")


# --- the report --------------------------------------------------------------------------------


def _report(journal: Journal) -> Iterator[Finding]:
    pages = {REPORT_NAME: False, REVEALED_NAME: True}
    there = [name for name in pages if (journal.directory / name).exists()]
    for name in there:
        # Bytes that are no UTF-8 make it another page than the one that was written: a finding.
        page = (journal.directory / name).read_text(encoding="utf-8", errors="replace")
        said = extract(page)
        if said is None:
            yield Finding("report", "fail", f"{name} holds no data that can be read")
        else:
            yield _page(journal, page, said, reveal_thinking=pages[name])
    if not there:
        yield Finding("report", "pass", "none was written yet")


def _page(journal: Journal, page: str, said: Embedded, *, reveal_thinking: bool) -> Finding:
    if chain_at(journal.connection, said.head.seq) != said.head.chain:
        return Finding("report", "fail", "it was written from another journal")
    text = Text(said.language)
    view = load_view(journal, marks=marks(text, reveal_thinking=reveal_thinking))
    known, told = summary(view), said.summary
    differing = {key for key in known | told if known.get(key) != told.get(key)}
    if said.head != view.head:
        return _older(differing)
    if differing:
        return Finding("report", "fail", f"its data differ from the journal: {sorted(differing)}")
    if (said.version, said.zone) != (so8t.__version__, zone_of(view)):
        return Finding("report", "warn", _NOT_COMPARED)
    if page != render(view, text):
        return Finding("report", "fail", "its text is not what the journal gives")
    return Finding("report", "pass", "each character is what the journal gives")


def _older(differing: set[str]) -> Finding:
    """Judge a report that was written before the newest rows."""
    if differing & {"verdict", "mean", "coverage"}:
        return Finding("report", "fail", "the journal has another result since (so8t report)")
    return Finding("report", "warn", "it has the result, but not the newest rows (so8t report)")


def _progress(_: Journal) -> Iterator[Finding]:
    yield Finding(
        "progress files", "skip", "progress.jsonl, progress.md and checklist.md are notes on the "
        "way and no evidence; what is recorded stands in the journal",
    )  # fmt: skip
