"""Training data follows the rules before it is trained on: what may not be learnt is taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.models.training_data import Conversation, read_conversations, split_held_out
from so8t.policy.clean import PolicyReport, Rules, check, clean
from so8t.policy.safety import check_sample
from so8t.system.files import write_atomic
from so8t.tasks.graders.refusal import Stance, stance_of

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.config.schema import Finetune


def inspect(settings: Finetune) -> PolicyReport:
    """Look at all training data before any work. Raises DataError with file and line.

    It does so where the config says that a finding stops the run, where a safety corpus would
    train what it is to prevent, and where leaving lines out leaves one side of the split empty.
    """
    report = check(settings.data, _rules(settings))
    conversations = read_conversations(settings.data)
    _check_safety(settings, conversations)
    left_out = {(one.file, one.line) for one in report.findings if one.excluded}
    if left_out:
        rest = [one for one in conversations if (one.file, one.line) not in left_out]
        split_held_out(rest, settings.held_out)
    return report


def apply(settings: Finetune, directory: Path) -> tuple[Finetune, dict[str, Any]]:
    """Return settings whose data follows the rules, and what was found; copies in `directory`."""
    report = PolicyReport(_rules(settings))
    files = []
    for number, path in enumerate(settings.data):
        found = len(report.findings)
        cleaned = clean(path, report.rules, report)
        if len(report.findings) == found:
            files.append(path)
            continue
        files.append(directory / str(number) / path.name)
        write_atomic(files[-1], cleaned)
    _check_safety(settings, read_conversations(settings.data))
    facts = report.facts() | {"safety_files": len(settings.safety_data)}
    return settings.model_copy(update={"data": files}), facts


def _rules(settings: Finetune) -> Rules:
    return Rules(settings.policy.personal_data, settings.policy.confidential)


def _check_safety(settings: Finetune, conversations: list[Conversation]) -> None:
    """Refuse a safety corpus of which a sample does not refuse."""
    safety = {str(path) for path in settings.safety_data}
    for one in conversations:
        if one.file in safety:
            request = "\n".join(text for role, text in one.messages if role == "user")
            for role, text in one.messages:
                if role == "assistant":
                    check_sample(request, text, refuses=_refuses, file=one.file, line=one.line)


def _refuses(answer: str) -> bool:
    return stance_of(answer) is Stance.REFUSES
