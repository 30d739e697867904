"""A config for two models named on the command line, where nobody wrote one."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from so8t.config.schema import DEFAULT_SUITE
from so8t.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_LABEL = 28
_FORMS = "FILE.gguf, a directory in Hugging Face format, hf:OWNER/NAME or ollama:TAG"


def pair_config(a: str, b: str, suites: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the plain config that compares two models on `suites` (default: the shipped suite).

    A model is a GGUF file, a directory in Hugging Face format, `hf:ID` or `ollama:TAG`.

    Raises UsageError that names every model and suite that is not there.
    """
    sources, problems = [], []
    for text in (a, b):
        source = _source(text)
        if isinstance(source, str):
            problems.append(source)
        else:
            sources.append(source)
    problems += [f"there is no suite {suite}" for suite in suites if not suite.exists()]
    if problems:
        raise UsageError("; ".join(problems) + ".", hint=f"a model is {_FORMS}")
    labels = _labels(a, b)
    config: dict[str, Any] = {
        "name": f"{_name(labels[0])}-vs-{_name(labels[1])}",
        "a": {"label": labels[0], "source": sources[0]},
        "b": {"label": labels[1], "source": sources[1]},
        "benchmark": {
            "suites": [str(suite.resolve()) for suite in suites] or [DEFAULT_SUITE],
        },
    }
    if any("ollama" in source for source in sources):
        config["engine"] = {"kind": "ollama"}
    return config


def to_yaml(plain: dict[str, Any], head: str) -> str:
    """Write a config as YAML below the comment lines `head`."""
    out = io.StringIO()
    yaml = YAML()
    yaml.dump(plain, out)
    return "".join(f"# {line}\n" for line in head.splitlines()) + "\n" + out.getvalue()


def _source(text: str) -> dict[str, str] | str:
    """Return the source that `text` names, or a sentence on why it names none."""
    kind, colon, rest = text.partition(":")
    if colon and kind in ("hf", "ollama") and rest:
        return {kind: rest}
    path = Path(text).expanduser()
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"GGUF":
            return {"gguf": str(path.resolve())}
        return f"{text} is no GGUF file"
    if path.is_dir():
        if (path / "config.json").is_file():
            return {"hf": str(path.resolve())}
        return f"{text} is a directory without a config.json, so no model"
    return f"there is no model {text}"


def _labels(a: str, b: str) -> tuple[str, str]:
    """Return the shortest ends of both paths that tell the models apart."""
    parts = [Path(text.partition(":")[2] if ":" in text[2:] else text).parts for text in (a, b)]
    for count in range(1, max(map(len, parts)) + 1):
        first, second = ("/".join(one[-count:]) for one in parts)
        first, second = first.removesuffix(".gguf"), second.removesuffix(".gguf")
        if first != second:
            return first, second
    return "A", "B"


def _name(label: str) -> str:
    return _NOT_IN_A_NAME.sub("-", label).strip("-._")[-_LONGEST_LABEL:].strip("-._") or "model"
