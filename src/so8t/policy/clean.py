"""Checks files of training data line by line, and gives them back clean.

A `.jsonl` file is one document a line; any other file is one document. Reports say where and of
what kind, never what.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from so8t.errors import DataError
from so8t.policy.confidential import is_marked
from so8t.policy.personal_data import PersonalDataKind, find, knows_more_secrets, mask
from so8t.system.jsonl import json_line, raw_lines
from so8t.system.textfile import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PersonalData = Literal["mask", "exclude", "fail", "keep"]
Confidential = Literal["exclude", "fail", "keep"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What happens to documents with personal data, and to those that are marked confidential."""

    personal_data: PersonalData = "mask"
    confidential: Confidential = "exclude"


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """A document in which something was found; `line` is 1 for a file that is one document."""

    file: str
    line: int
    kinds: tuple[PersonalDataKind, ...]
    confidential: bool
    excluded: bool


@dataclass(slots=True)
class PolicyReport:
    """What was found in some files, and what became of it."""

    rules: Rules
    documents: int = 0
    findings: list[PolicyFinding] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How often each kind was found; a kind that was not found is there with 0."""
        found = Counter(kind for finding in self.findings for kind in finding.kinds)
        return {kind.value: found[kind] for kind in PersonalDataKind}

    def lines(self, kind: PersonalDataKind) -> list[str]:
        """Places (`file:line`) at which a kind was found."""
        return [f"{one.file}:{one.line}" for one in self.findings if kind in one.kinds]

    def confidential(self) -> list[str]:
        """Places of documents that are marked confidential."""
        return [f"{one.file}:{one.line}" for one in self.findings if one.confidential]

    def facts(self) -> dict[str, Any]:
        """Give all of it but the places as plain data, for the journal and the report."""
        masked = self.rules.personal_data == "mask"
        return {
            "documents": self.documents,
            "personal_data": self.counts(),
            "found": sum(len(one.kinds) for one in self.findings),
            "confidential": len(self.confidential()),
            "excluded": sum(one.excluded for one in self.findings),
            "masked": sum(masked and bool(one.kinds) and not one.excluded for one in self.findings),
            "rules": {
                "personal_data": self.rules.personal_data,
                "confidential": self.rules.confidential,
            },
            "detect_secrets": knows_more_secrets(),
        }


def clean(path: Path, rules: Rules, report: PolicyReport) -> bytes:
    """Return what of a file may be trained on, and add what was found to `report`.

    A line that is left out becomes an empty one, so that line numbers stay true. Raises DataError
    with file and line for what cannot be read, and where the rules say fail.
    """
    kept: list[bytes] = []
    for line, raw, parts in _documents(path):
        report.documents += bool(parts)
        kinds = tuple(span.kind for part in parts for span in find(part))
        confidential = any(is_marked(part) for part in parts)
        if not kinds and not confidential:
            kept.append(raw)
            continue
        _refuse(path, line, kinds, rules, confidential=confidential)
        excluded = (confidential and rules.confidential == "exclude") or (
            bool(kinds) and rules.personal_data == "exclude"
        )
        report.findings.append(PolicyFinding(str(path), line, kinds, confidential, excluded))
        if excluded:
            kept.append(b"")
        else:
            kept.append(_masked(path, raw) if rules.personal_data == "mask" and kinds else raw)
    return b"\n".join(kept)


def check(paths: Sequence[Path], rules: Rules) -> PolicyReport:
    """Report what is in files, without writing anything. Raises as `clean` does."""
    report = PolicyReport(rules)
    for path in paths:
        clean(path, rules, report)
    return report


def _refuse(
    path: Path, line: int, kinds: Sequence[PersonalDataKind], rules: Rules, *, confidential: bool
) -> None:
    if confidential and rules.confidential == "fail":
        raise DataError(
            "The document is marked confidential.",
            file=str(path),
            line=line,
            hint="remove it, or set b.finetune.policy.confidential to exclude",
        )
    if kinds and rules.personal_data == "fail":
        found = ", ".join(f"{kind.value}: {count}" for kind, count in Counter(kinds).items())
        raise DataError(
            f"The line has personal data in it ({found}).",
            file=str(path),
            line=line,
            hint="`so8t data check FILE --out CLEAN` masks it; or set "
            "b.finetune.policy.personal_data to mask or exclude",
        )


def _documents(path: Path) -> Iterator[tuple[int, bytes, list[str]]]:
    """Yield (line, its bytes, the texts in it); an empty line has no text."""
    if path.suffix.lower() != ".jsonl":
        raw = b"\n".join(line for _, line in raw_lines(path, hint="check its name"))
        yield 1, raw, [decode_line(raw, path, 1)]
        return
    for line, raw in raw_lines(path, hint="check its name"):
        if raw.strip():
            yield line, raw, list(_strings(json_line(raw, path, line, hint="one object a line")))
        else:
            yield line, raw, []


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _masked(path: Path, raw: bytes) -> bytes:
    if path.suffix.lower() != ".jsonl":
        return mask(decode_line(raw, path, 1))[0].encode()
    row = _mask_strings(json.loads(raw.decode("utf-8-sig")))
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _mask_strings(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)[0]
    if isinstance(value, dict):
        return {name: _mask_strings(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_mask_strings(part) for part in value]
    return value
