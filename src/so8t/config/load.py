"""Read a config file; every complaint names file, line, column and, for a key, the nearest one."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from so8t.config.engine_section import settings_class
from so8t.config.machine_section import Resources
from so8t.config.schema import DEFAULT_SUITE, RunConfig
from so8t.errors import ConfigError
from so8t.system.yaml_file import YamlProblemError, load_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

_SHOWN = 10
_LARGEST = 4 << 20


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read and check a config file.

    `overrides` maps dotted keys ("b.finetune.steps") to values that win over the file. Relative
    paths in the file are relative to the file; they come back absolute, except `output`, which
    is relative to the current directory as a person at a terminal expects.

    Raises ConfigError (exit code 2) with file, line and column.
    """
    path = Path(path)
    document = _parse(path)
    for key, value in (overrides or {}).items():
        _override(document, key, value, path)
    try:
        config = RunConfig.model_validate(_plain(document))
    except ValidationError as error:
        raise _explain(error, document, path) from None
    return _absolute(config, path.resolve().parent)


def read_config(
    plain: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, base: Path | None = None
) -> RunConfig:
    """Read and check a config that is no file: a mapping as a config file would hold it.

    Relative paths are relative to `base` (default: the current directory). `overrides` as in
    `load_config`.

    Raises ConfigError (exit code 2) with the key.
    """
    document = _commented(plain)
    for key, value in (overrides or {}).items():
        _override(document, key, value, None)
    try:
        config = RunConfig.model_validate(_plain(document))
    except ValidationError as error:
        raise _explain(error, document, None) from None
    return _absolute(config, (base or Path.cwd()).resolve())


def _commented(node: Any) -> Any:
    """Turn plain data into what a file would have been read as."""
    if isinstance(node, Mapping):
        return CommentedMap((str(key), _commented(value)) for key, value in node.items())
    if isinstance(node, list | tuple):
        return CommentedSeq(_commented(value) for value in node)
    return node


def load_resources(path: Path) -> Resources:
    """Read the section `resources` of a config file, which may have no other.

    Raises ConfigError as `load_config` does.
    """
    document = _parse(path)
    if set(document) != {"resources"}:
        return load_config(path).resources
    try:
        found = TypeAdapter(dict[str, Resources]).validate_python(_plain(document))
    except ValidationError as error:
        raise _explain(error, document, path) from None
    return found["resources"]


def config_schema() -> str:
    """Return the JSON Schema of a config file, for editors."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "SO8T A/B run"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _parse(path: Path) -> CommentedMap:
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(
                f"a config of more than {_LARGEST >> 20} MiB.",
                file=str(path),
                hint="is it another file? questions belong in a suite",
            )
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "there is no such config file.",
            file=str(path),
            hint="so8t init writes a commented so8t.yaml to start from",
        ) from None
    except IsADirectoryError:
        raise ConfigError("this is a directory, not a config file.", file=str(path)) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            "the file is not UTF-8.",
            file=str(path),
            line=line,
            hint="save it as UTF-8 (Shift_JIS and UTF-16 are not read)",
        ) from None
    try:
        document = load_yaml(text)
    except YamlProblemError as error:
        raise ConfigError(
            f"not valid YAML: {error.message}.",
            file=str(path),
            line=error.line,
            column=error.column,
            hint=_unseen(text, error.line),
        ) from None
    if not isinstance(document, CommentedMap):
        raise ConfigError("a config is a mapping of keys to values.", file=str(path), line=1)
    return document


def _unseen(text: str, line: int | None) -> str | None:
    """Name a character near `line` (from 1) that looks right and is not: a tab, a full-width colon.

    A mapping that a full-width colon broke is noticed one line below it.
    """
    lines = text.splitlines()
    for number in (line or 1, (line or 1) - 1):
        here = lines[number - 1] if 0 < number <= len(lines) else ""
        code = here.split("#", 1)[0]
        if re.match(r"\s*\t|[^\s:]+:\s*\t", code):
            return f"line {number} has a tab; YAML takes spaces"
        if re.match(r"[\s-]*[\w.-]+\uff1a", code):
            return f"line {number} has a full-width colon (\uff1a); write : and a space"
    return None


def _override(document: CommentedMap, key: str, value: Any, path: Path | None) -> None:
    node: Any = document
    *parents, last = key.split(".")
    for part in parents:
        node = node.setdefault(part, CommentedMap())
        if not isinstance(node, CommentedMap):
            raise ConfigError(
                f"{key} cannot be set: {part} is no mapping.",
                file=None if path is None else str(path),
            )
    node[last] = value


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return node


def _explain(error: ValidationError, document: CommentedMap, path: Path | None) -> ConfigError:
    details = error.errors()
    complaints = [_complaint(detail, document) for detail in details]
    complaints.sort(key=lambda complaint: (complaint[0], complaint[1]))
    (line, column, first), *more = complaints
    if path is None:
        return ConfigError("\n".join(text for _, _, text in complaints[:_SHOWN]))
    message = first + "".join(
        f"\n{path}:{other_line}:{other_column}: {text}"
        for other_line, other_column, text in more[: _SHOWN - 1]
    )
    if len(more) >= _SHOWN:
        message += f"\n... and {len(more) - _SHOWN + 1} more"
    return ConfigError(
        message, file=str(path), line=line, column=column, hint=f"so8t validate {path}"
    )


RENAMED = {"lane_sample": "choice_method_sample"}
"""Keys of version 0.1 and what they are called now."""


def _complaint(detail: ErrorDetails, document: CommentedMap) -> tuple[int, int, str]:
    # A union ("auto" or a number) adds the name of the failing branch to the location.
    location = [part for part in detail["loc"] if _is_step(part)]
    line, column = _position(document, location)
    dotted = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        known = _keys_at(location[:-1], document)
        renamed = RENAMED.get(str(location[-1]))
        near = (
            [renamed]
            if renamed in known
            else difflib.get_close_matches(str(location[-1]), known, n=1)
        )
        guess = f" Did you mean {near[0]!r}?" if near else f" Known keys: {', '.join(known)}."
        return line, column, f"unknown key {dotted!r}.{guess}"
    if detail["type"] == "missing":
        return line, column, f"{dotted!r} is missing."
    message = detail["msg"].removeprefix("Value error, ")
    where = f"{dotted}: " if dotted else ""
    given = detail["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return line, column, f"{where}{message}{shown}."


_BRANCHES = ("constrained-int", "literal['auto']", "function-after")


def _is_step(part: str | int) -> bool:
    return isinstance(part, int) or not (part == "int" or part.startswith(_BRANCHES))


def _position(document: CommentedMap, location: Sequence[str | int]) -> tuple[int, int]:
    """Line and column (from 1) of the deepest part of `location` that is in the file."""
    node: Any = document
    line, column = 1, 1
    for part in location:
        try:
            if isinstance(node, CommentedMap) and part in node:
                line, column = (number + 1 for number in node.lc.key(part))
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line, column = (number + 1 for number in node.lc.item(part))
            else:
                break
        except (KeyError, TypeError):
            break  # a value that came from an override has no place in the file
        node = node[part]
    return line, column


def _keys_at(location: Sequence[str | int], document: CommentedMap) -> list[str]:
    model: Any = RunConfig
    for part in location:
        if isinstance(part, int):
            continue
        if model is RunConfig and part == "engine":
            model = settings_class(_plain(document.get(part)))
            continue
        annotation = model.model_fields[part].annotation
        model = next(
            (
                candidate
                for candidate in (annotation, *get_args(annotation))
                if isinstance(candidate, type) and issubclass(candidate, BaseModel)
            ),
            model,
        )
    return list(model.model_fields)


def _absolute(config: RunConfig, base: Path) -> RunConfig:
    """Make paths absolute. A source that names no existing directory may be an id on the hub."""

    def source(value: Any) -> Any:
        if value is None:
            return None
        if value.gguf is not None:
            return value.model_copy(update={"gguf": str(base / Path(value.gguf).expanduser())})
        if value.adapter is not None:
            value = value.model_copy(update={"adapter": base / value.adapter.expanduser()})
        if value.hf is not None:
            place = base / Path(value.hf).expanduser()
            if place.exists() or _looks_like_path(value.hf):
                return value.model_copy(update={"hf": str(place)})
        return value

    def file(value: Any) -> Any:
        return base / value.expanduser() if isinstance(value, Path) else value

    def template(value: str | None) -> str | None:
        return str(base / Path(value).expanduser()) if value and not is_template(value) else value

    finetune = config.b.finetune
    if finetune is not None:
        finetune = finetune.model_copy(
            update={
                name: [base / place.expanduser() for place in getattr(finetune, name)]
                for name in ("data", "safety_data")
            }
        )
    benchmark = config.benchmark.model_copy(
        update={
            "suites": [
                place if place == Path(DEFAULT_SUITE) else base / place.expanduser()
                for place in config.benchmark.suites
            ],
            "tasks": [
                task.model_copy(update={"data": base / task.data.expanduser()})
                for task in config.benchmark.tasks
            ],
            "hf": [
                task
                if task.data_dir is None
                else task.model_copy(update={"data_dir": base / task.data_dir.expanduser()})
                for task in config.benchmark.hf
            ],
        }
    )
    return config.model_copy(
        update={
            "a": config.a.model_copy(
                update={
                    "source": source(config.a.source),
                    "imatrix": file(config.a.imatrix),
                    "template": template(config.a.template),
                }
            ),
            "b": config.b.model_copy(
                update={
                    "source": source(config.b.source),
                    "imatrix": file(config.b.imatrix),
                    "template": template(config.b.template),
                    "finetune": finetune,
                }
            ),
            "calibration": file(config.calibration),
            "benchmark": benchmark,
            "engine": config.engine.absolute(base),
            "judge": config.judge
            and config.judge.model_copy(update={"source": source(config.judge.source)}),
            "llama_cpp": config.llama_cpp and base / config.llama_cpp.expanduser(),
            "output": Path.cwd() / config.output.expanduser(),
        }
    )


def is_template(text: str) -> bool:
    """Whether a `template` is the Jinja text itself, not the name of a file that holds it."""
    return any(mark in text for mark in ("{{", "{%", "\n"))


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.count("/") != 1 or Path(text).is_absolute()
