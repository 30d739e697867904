"""Grader `json_schema`: the reply holds JSON that a schema accepts."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from so8t.domain.canonical import canonical_json
from so8t.domain.sample import Score
from so8t.errors import DataError
from so8t.tasks.graders.patterns import search_within_limit
from so8t.tasks.graders.spec import GraderSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(r"```[ \t]*(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"[{\[]")
# Brackets in prose that begin no JSON; more of them than this are no answer but a puzzle.
_MAX_ATTEMPTS = 50
_MAX_REASON = 160


class JsonSchema(GraderSpec):
    """JSON that a JSON Schema (draft 2020-12) accepts.

    The JSON is the whole reply, or the last fenced block, or the last object or array in the text:
    the last of the schema's own `type` if that is one of the two, else the last object. Duplicate
    keys are refused. A `$ref` may only point into the schema itself, and `patternProperties` is
    not supported.
    """

    rules: ClassVar[int] = 2

    # "schema" would shadow a method of pydantic's base class
    type: Literal["json_schema"] = "json_schema"
    accepts: dict[str, Any] = Field(alias="schema", description="a JSON Schema, draft 2020-12")

    def check(self, reference: str | None) -> None:
        """Refuse what is no JSON Schema, or one that needs a network or an unbounded search."""
        if reference is not None and not reference.strip():
            raise DataError("grader 'json_schema' has an empty reference", hint="leave it out")
        import jsonschema  # type: ignore[import-untyped] # noqa: PLC0415 - 60 ms, for one grader

        try:
            jsonschema.Draft202012Validator.check_schema(self.accepts)
        except jsonschema.SchemaError as error:
            raise DataError(f"grader 'json_schema': no JSON Schema: {error.message}") from error
        for key, value in _walk(self.accepts):
            if key == "patternProperties":
                raise DataError(
                    "grader 'json_schema' does not support patternProperties",
                    hint="name the properties, or use additionalProperties",
                )
            if key in ("$ref", "$dynamicRef") and not str(value).startswith("#"):
                raise DataError(f"grader 'json_schema': {key} points outside the schema: {value}")

    def score(self, reference: str | None, answer: str) -> Score:  # noqa: ARG002 - has none
        """Score 1 for JSON that the schema accepts, else 0 with the first objection."""
        found = False
        objection = "no JSON in the reply"
        validator = _validator(canonical_json(self.accepts))
        for candidate in _candidates(answer, _wanted(self.accepts)):
            try:
                value = json.loads(
                    candidate, object_pairs_hook=_no_duplicates, parse_constant=_no_constant
                )
                errors = sorted(validator.iter_errors(value), key=lambda error: str(error.path))
            except (ValueError, RecursionError) as error:
                if not found:
                    objection = f"not JSON: {error}"[:_MAX_REASON]
                continue
            if not errors:
                return Score.number(1.0, "valid")
            objection, found = f"{errors[0].json_path}: {errors[0].message}"[:_MAX_REASON], True
        return Score.invalid(objection)


def _wanted(schema: dict[str, Any]) -> str:
    """Say how the JSON begins that a schema is about: with "{", with "[", or with either."""
    named = schema.get("type")
    kinds = named if isinstance(named, list) else [named]
    signs = ("{" if "object" in kinds else "") + ("[" if "array" in kinds else "")
    return signs or "{"


def _candidates(answer: str, wanted: str) -> Iterator[str]:
    """Yield the places where the reply's JSON may stand, the likeliest first; at most one fits.

    Only the first that parses at all should count, but a fence may hold code: so the schema
    decides.
    """
    yield answer
    fences = _FENCE.findall(answer)
    if fences:
        yield fences[-1]
        return
    values = _values(answer)
    if values:
        # a value of another kind, such as the footnote [1], only where there is no other
        yield next((value for value in reversed(values) if value[0] in wanted), values[-1])


def _values(text: str) -> list[str]:
    """Find the objects and arrays in a text, none of them inside another."""
    # what a key says twice is read here and refused by the one who grades
    decoder = json.JSONDecoder()
    found: list[str] = []
    failures = position = 0
    while failures < _MAX_ATTEMPTS and (match := _OPENING.search(text, position)):
        try:
            _, position = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            failures, position = failures + 1, match.end()
        else:
            found.append(text[match.start() : position])
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says two things under one name."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    """Make a validator whose `pattern` has a time limit, which Python's `re` has not."""
    import jsonschema  # noqa: PLC0415 - as above

    def pattern(_: Any, expected: str, instance: Any, __: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not search_within_limit(expected, instance):
            yield jsonschema.ValidationError(f"{instance!r} does not match {expected!r}")

    bounded = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": pattern})
    return bounded(json.loads(schema))
