"""Read a suite of questions: JSONL or YAML, described in docs/suite-format.md."""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from so8t.config.schema import DEFAULT_SUITE
from so8t.domain.canonical import canonical_json
from so8t.domain.exchange import Message
from so8t.domain.language import is_japanese
from so8t.domain.plan import print_of, repeated
from so8t.domain.sample import Origin, Sample
from so8t.errors import DataError, PrerequisiteError
from so8t.system.plugins import nearest
from so8t.system.textfile import read_lines, read_text
from so8t.tasks.graders import GRADERS, validate_grader
from so8t.tasks.graders.registry import grader_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# So many problems are shown at once; after that a person mends and runs again.
MAX_SHOWN = 10
#: Where the suite that ships with the package lies, one file a category.
SHIPPED = Path(__file__).with_name("default")
_SUFFIXES = (".jsonl", ".yaml", ".yml")

_Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class SuiteMessage(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    role: Literal["system", "user", "assistant"]
    content: _Text


class SuiteItem(BaseModel):
    """One question of a suite."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}]},
    )

    id: str = Field(
        min_length=1, max_length=200, pattern=r"^\S+$", description="unique in the suite"
    )
    category: _Text = Field(
        description="what is reported together: mathematics, logic, safety, japanese, ..."
    )
    language: str = Field(
        default="",
        pattern="^[a-z]{2}$",
        description="ISO 639-1 code; ja where the question has kana or kanji, else en",
    )
    prompt: _Text = Field(default="", description="the question, as one user message")
    messages: list[SuiteMessage] = Field(
        default=[], min_length=1, description="or a whole conversation that ends with the user"
    )
    grader: str | dict[str, Any] = Field(
        description="a grader's name, or an object with its type and options"
    )
    reference: str = Field(default="", description="the right answer, always as text")
    max_tokens: int = Field(
        default=0, ge=1, description="token budget of the answer; the run's default when left out"
    )
    cluster: _Text = Field(
        default="", description="items that share a passage or a story share this name"
    )
    license: _Text = Field(default="", description="SPDX licence of the question; for people only")


@dataclass(slots=True)
class SuiteReport:
    """What `validate_suite` found: the samples, or the problems, in the order of the files.

    `lines` has the line of each sample by its id, `files` how many came before each file,
    `graders` each grader once; `licenses` counts what the items say of theirs.
    """

    path: Path
    samples: list[Sample] = field(default_factory=list)
    problems: list[DataError] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    files: list[tuple[int, Path]] = field(default_factory=list)
    graders: dict[str, dict[str, Any]] = field(default_factory=dict)
    licenses: Counter[str] = field(default_factory=Counter)

    def place(self, name: str) -> tuple[Path, int]:
        """File and line of the sample with an id."""
        number = next(n for n, sample in enumerate(self.samples) if sample.id == name)
        file = next(file for start, file in reversed(self.files) if start <= number)
        return file, self.lines[name]

    def same_question(self) -> list[list[str]]:
        """Ids of items that ask the same; a run counts them together (see `one_cluster`)."""
        found: dict[tuple[Message, ...], list[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.messages, []).append(sample.id)
        return [ids for ids in found.values() if len(ids) > 1]


def suite_files(path: Path) -> list[Path]:
    """Return the files of a suite: `default` is the one that ships, a directory is all in it.

    Raises:
        PrerequisiteError: a directory without a suite file.

    """
    if path == Path(DEFAULT_SUITE):
        path = SHIPPED
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise PrerequisiteError(
            f"there is no suite file in {path}.",
            hint="a suite's name ends in .jsonl, .yaml or .yml",
        )
    return files


def load_suite(path: Path, *, name: str | None = None) -> list[Sample]:
    """Read a suite; its name is the file's without the extension unless another is given.

    `path` is a file, a directory whose files are one suite together, or `default`, the suite
    that ships with the package.

    Raises:
        DataError: the file or items are wrong. Up to 10 problems stand in the message, each with
            file and line; `line` is that of the first.
        PrerequisiteError: there is no such file, or a grader's package is not installed.

    """
    return list(stream_suite(path, name=name))


def stream_suite(path: Path, *, name: str | None = None) -> Iterator[Sample]:
    """Yield what `load_suite` would return, one by one and with the memory of one.

    Raises as `load_suite`, but not before the last good sample ahead of a problem.
    """
    prints = array("Q")
    graders: dict[str, dict[str, Any]] = {}
    for file in suite_files(path):
        problems: list[DataError] = []
        before = len(prints)
        try:
            for _, item in _items(file, problems):
                sample = _sample(item, path.stem if name is None else name, graders)
                prints.append(print_of(sample.id))
                yield sample
        except DataError as error:
            problems.append(error)
        if problems or len(prints) == before:
            # Now all problems are wanted, each with its place.
            _refuse(validate_suite(path, name=name))
            raise DataError("the suite was changed while it was read", file=str(file))
    if repeated(prints):
        _refuse(validate_suite(path, name=name))


def _refuse(report: SuiteReport) -> None:
    """Raise what stands in a report, if it is anything."""
    if not report.problems:
        return
    first, *others = report.problems
    if not others:
        raise first
    shown = report.problems[:MAX_SHOWN]
    lines = [str(problem).replace("\n", "\n    ") for problem in shown]
    if len(report.problems) > MAX_SHOWN:
        lines.append(f"and {len(report.problems) - MAX_SHOWN} more")
    listing = "\n  ".join(lines)
    raise DataError(
        f"{len(report.problems)} problems\n  {listing}", file=str(report.path), line=first.line
    )


def validate_suite(path: Path, *, name: str | None = None) -> SuiteReport:
    """Read a suite and collect every problem instead of raising the first.

    Raises:
        PrerequisiteError: there is no such file, or a grader's package is not installed.

    """
    name = path.stem if name is None else name
    report = SuiteReport(path)
    for file in suite_files(path):
        _read_file(file, name, report)
    return report


def _read_file(path: Path, name: str, report: SuiteReport) -> None:
    """Add what one file of a suite holds to the report."""
    before = len(report.samples) + len(report.problems)
    report.files.append((len(report.samples), path))
    try:
        for line, item in _items(path, report.problems):
            try:
                sample = _sample(item, name, report.graders)
            except DataError as error:
                report.problems.append(_placed(error, path, line))
                continue
            if sample.id in report.lines:
                at, number = report.place(sample.id)
                where = f"line {number}" if at == path else f"{at}:{number}"
                report.problems.append(
                    DataError(
                        f"the id {item['id']!r} stands in {where} already",
                        file=str(path),
                        line=line,
                    )
                )
                continue
            report.lines[sample.id] = line
            report.licenses[item.get("license", "")] += 1
            report.samples.append(sample)
    except DataError as error:
        report.problems.append(error)
    if len(report.samples) + len(report.problems) == before:
        report.problems.append(
            DataError(
                "the suite has no item", file=str(path), line=1, hint="one JSON object a line"
            )
        )


def _placed(error: DataError, path: Path, line: int) -> DataError:
    """Give an error of an item its file and line."""
    return DataError(error.message, file=str(path), line=line, hint=error.hint)


def _items(path: Path, problems: list[DataError]) -> Iterator[tuple[int, Any]]:
    """Yield each item with its line number."""
    if path.suffix.lower() in (".yaml", ".yml"):
        yield from _yaml_items(path, read_text(path, what="suite"))
        return
    for number, line in enumerate(read_lines(path, what="suite"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            problems.append(
                DataError(
                    f"no JSON: {error}",
                    file=str(path),
                    line=number,
                    hint="a suite has one JSON object a line; end a name in .yaml for YAML",
                )
            )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says two things under one key."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} stands twice")
        result[key] = value
    return result


def _yaml_items(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Yield the items of a YAML list with the lines on which they begin."""
    from so8t.system.yaml_file import YamlProblemError, load_yaml  # noqa: PLC0415 - JSONL does without

    try:
        document = load_yaml(text)
    except YamlProblemError as error:
        line = error.line or 1
        raise DataError(f"no YAML: {error.message}", file=str(path), line=line) from error
    if document is None:
        return
    if not isinstance(document, list):
        raise DataError("a YAML suite is a list of items", file=str(path), line=1)
    lines: Any = document  # ruamel's list knows where its items begin
    for index, item in enumerate(document):
        yield lines.lc.item(index)[0] + 1, _plain(item)


def _plain(value: Any) -> Any:
    """Turn ruamel's containers and scalars into plain ones."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _sample(item: Any, suite: str, graders: dict[str, dict[str, Any]]) -> Sample:
    """Check one item and turn it into a sample; equal `graders` are kept once.

    Raises:
        DataError: without file and line, which the caller knows.

    """
    if not isinstance(item, dict):
        raise DataError(f"an item is an object with an id, not {type(item).__name__}")
    _check_keys(item)
    _check_text(item)
    # The grader is checked first, by its own rules, which name the nearest option.
    reference = item.get("reference")
    spec = item.get("grader")
    if isinstance(spec, str | dict) and (reference is None or isinstance(reference, str)):
        grader = validate_grader(spec, reference)
    else:
        grader = {}
    try:
        checked = SuiteItem.model_validate(item)
    except ValidationError as error:
        raise DataError(_explain(error)) from error
    if bool(checked.prompt) == bool(checked.messages):
        both = "both a prompt and messages" if checked.prompt else "neither a prompt nor messages"
        raise DataError(f"the item has {both}", hint="give exactly one of them")
    messages = (
        (Message("user", checked.prompt),)
        if checked.prompt
        else tuple(Message(turn.role, turn.content) for turn in checked.messages)
    )
    if messages[-1].role != "user":
        raise DataError("the last message is to be the user's: it is the one that is answered")
    language = checked.language or _language_of(message.content for message in messages)
    return Sample(
        id=f"{suite}/{checked.id}",
        task=suite,
        origin=Origin.SUITE,
        category=sys.intern(checked.category),
        language=sys.intern(language),
        messages=messages,
        grader=graders.setdefault(canonical_json(grader), grader),
        reference=checked.reference or None,
        max_tokens=checked.max_tokens or None,
        cluster=checked.cluster or None,
    )


def _check_keys(item: dict[str, Any]) -> None:
    """Refuse unknown keys and missing ones before anything else is said."""
    names = list(SuiteItem.model_fields)
    for key in item:
        if key not in names:
            raise DataError(f"unknown key {key!r}", hint=nearest(key, names))
    for key in ("id", "category", "grader"):
        if key not in item:
            hint = f"known graders: {', '.join(GRADERS)}" if key == "grader" else None
            raise DataError(f"the item has no {key}", hint=hint)


def _check_text(item: dict[str, Any]) -> None:
    """Refuse what JSON can write and nothing can store: half a character, NaN."""
    try:
        canonical_json(item).encode()
    except UnicodeEncodeError as error:
        raise DataError("half a character: a lone \\ud800 to \\udfff escape") from error
    except (TypeError, ValueError) as error:
        raise DataError(
            f"a value that cannot be kept: {error}", hint="put text in quotes"
        ) from error


def _explain(error: ValidationError) -> str:
    """Say in one line which key has the wrong kind of value."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.islower())
    if first["type"] == "string_pattern_mismatch":
        what = {"id": "has white space in it", "language": "is no two-letter code (en, ja)"}
        return f"{key} {what.get(key, 'is empty')}: {first['input']!r}"
    found = "" if isinstance(first["input"], dict | list) else f", not {first['input']!r}"
    quotes = ": put it in quotes" if first["type"] == "string_type" else ""
    return f"{key}: {first['msg'].lower()}{found}{quotes}"


def _language_of(texts: Iterable[str]) -> str:
    return "ja" if any(is_japanese(text) for text in texts) else "en"


def suite_schema() -> dict[str, Any]:
    """JSON Schema of one line of a suite, for editors; kept in `suite.schema.json`."""
    item = create_model(
        "SuiteItem",
        __base__=SuiteItem,
        grader=(str | grader_options(), SuiteItem.model_fields["grader"]),
    )
    schema = item.model_json_schema(by_alias=True)
    grader = schema["properties"]["grader"]
    grader["anyOf"][0]["enum"] = list(GRADERS)
    # "type" has a default in the classes and none in a file
    for definition in schema["$defs"].values():
        if "type" in definition.get("properties", {}):
            definition["properties"]["type"].pop("default", None)
            definition["required"] = sorted({*definition.get("required", []), "type"})
    for key in ("language", "prompt", "messages", "reference", "max_tokens", "cluster", "license"):
        # the default stands for "left out", which is not a value that may be written
        schema["properties"][key].pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "One item of an SO8T suite",
    }
