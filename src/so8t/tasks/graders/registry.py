"""One entry to all graders: `grade`, and what belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Discriminator, ValidationError

from so8t.domain.canonical import canonical_json, digest_of
from so8t.domain.sample import CUT_OFF, Score
from so8t.domain.thinking import CUT_IN_THINKING, split_reply
from so8t.errors import DataError
from so8t.system.plugins import Plugins, nearest
from so8t.tasks.graders.own_answer import ends_before_the_cut, own_answer
from so8t.tasks.graders.patterns import TIMEOUT_SECONDS
from so8t.tasks.graders.spec import GraderSpec
from so8t.tasks.graders.text import TEXT_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.domain.sample import Sample

#: The grader of Hugging Face tasks. No suite can name it: it needs what a task freezes.
LM_EVAL = "lm_eval"


def _complaint(name: str, found: Any) -> str | None:
    """Say what keeps a loaded grader from being one."""
    if not (isinstance(found, type) and issubclass(found, GraderSpec)):
        return "it is no subclass of GraderSpec"
    field = found.model_fields.get("type")
    if field is None or field.default != name:
        return f"the default of its field `type` is not {name!r}"
    return None


class _Graders(Mapping[str, type[GraderSpec]]):
    """The registered graders by name; one is imported when it is asked for."""

    def __init__(self) -> None:
        self.plugins: Plugins[type[GraderSpec]] = Plugins("so8t.graders", "grader", _complaint)

    def __getitem__(self, name: str) -> type[GraderSpec]:
        if name not in self.plugins.names:
            raise KeyError(name)
        return self.plugins.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.plugins.names)

    def __len__(self) -> int:
        return len(self.plugins.names)


#: Every registered grader by its name, ours and those from other distributions.
GRADERS = _Graders()


def grader_options() -> Any:
    """Return the union of all graders' options that can be loaded, as pydantic understands it."""
    return Annotated[Union[tuple(GRADERS.plugins.usable().values())], Discriminator("type")]  # noqa: UP007 - a union made from a list


def grade(sample: Sample, reply_text: str, *, truncated: bool = False) -> Score:
    """Grade one reply. A pure function: the same sample and reply give the same score.

    Thinking parts are taken out first. A reply with nothing left is wrong, not unscored: to say
    nothing is a way to fail. One that ended inside its thinking is wrong too, with the reason
    CUT_IN_THINKING, by which it is counted apart. Unscored means that the grader could not decide:
    its options or the reference are invalid, or a pattern ran out of time.

    A reply that the token budget cut off (`truncated`) is graded as what it is where its end could
    not have changed that; else it is wrong, with the reason CUT_OFF.
    """
    if sample.grader.get("type") == LM_EVAL:
        from so8t.tasks.hf.grader import grade_document  # noqa: PLC0415 - lm-eval, if it is used

        measured = sample.form is not None and sample.form.continuations
        cut = truncated and not measured
        return Score.invalid(CUT_OFF) if cut else grade_document(sample, reply_text)
    parts = split_reply(reply_text)
    try:
        spec = parse_grader(sample.grader)
        if parts.cut:
            return Score.invalid(CUT_IN_THINKING)
        given = bool(reply_text.strip())
        return _grade(spec, sample, parts.answer, truncated=truncated, given=given)
    except DataError as error:
        return Score.unscored(error.message)
    except TimeoutError:
        return Score.unscored(f"the pattern took longer than {TIMEOUT_SECONDS:g} s on this reply")


def _grade(spec: GraderSpec, sample: Sample, text: str, *, truncated: bool, given: bool) -> Score:
    """Grade what a reply says behind its thinking."""
    answer = own_answer(text)
    if not answer:
        return Score.invalid("no answer in reply" if given else "empty reply")
    if truncated and not ends_before_the_cut(text):
        return spec.score_cut(sample, answer) or Score.invalid(CUT_OFF)
    return spec.score_sample(sample, answer)


def grader_digest(spec: dict[str, Any]) -> str:
    """Digest of a grader's name, options (defaults written out) and rules.

    Scores with different digests were made by different rules and are not compared.

    Raises:
        DataError: the options are invalid.

    """
    if spec.get("type") == LM_EVAL:
        from so8t.tasks.hf.grader import document_digest  # noqa: PLC0415 - as in `grade`

        return document_digest(spec)
    return _digest(_canonical(spec))


@lru_cache(maxsize=4096)
def _digest(spec: str) -> str:
    """Digest a grader; asked for with each answer."""
    return digest_of({**_parse(spec).identity(), "text": TEXT_RULES})


def is_binary(spec: dict[str, Any]) -> bool:
    """Tell whether every score of a grader is 0 or 1.

    Raises:
        DataError: the options are invalid.

    """
    if spec.get("type") == LM_EVAL:
        return bool(spec["scale"] == "binary")
    return parse_grader(spec).binary


def validate_grader(spec: dict[str, Any] | str, reference: str | None) -> dict[str, Any]:
    """Check a grader and the reference that it is to compare with; return it as plain data.

    A name alone stands for a grader without options.

    Raises:
        DataError: an unknown grader or option (the nearest is named), a value of a wrong type,
            an empty or unusable reference, a label outside the options.

    """
    plain = {"type": spec} if isinstance(spec, str) else dict(spec)
    parse_grader(plain).check(reference)
    return plain


def parse_grader(spec: dict[str, Any]) -> GraderSpec:
    """Turn plain data into a grader.

    Raises:
        DataError: an unknown grader or option, or a value of a wrong type.

    """
    return _parse(_canonical(spec))


def _canonical(spec: dict[str, Any]) -> str:
    if "type" not in spec:
        raise DataError("the grader has no type", hint=f'give "type", one of: {", ".join(GRADERS)}')
    try:
        return canonical_json(spec)
    except (TypeError, ValueError) as error:
        raise DataError(f"the grader is not plain data: {error}") from error


@lru_cache(maxsize=4096)
def _parse(spec: str) -> GraderSpec:
    """Parse canonical JSON; a suite's samples share few graders, and each is parsed once."""
    name = json.loads(spec)["type"]
    if not isinstance(name, str) or name not in GRADERS:
        raise DataError(f"unknown grader {name!r}", hint=nearest(str(name), list(GRADERS)))
    try:
        return GRADERS[name].model_validate_json(spec)
    except ValidationError as error:
        message, hint = _explain(error, name)
        raise DataError(message, hint=hint) from error


def _explain(error: ValidationError, kind: str) -> tuple[str, str | None]:
    """Say in one line what pydantic found, with the nearest name for an unknown one."""
    first = error.errors(include_url=False)[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = [field.alias or name for name, field in GRADERS[kind].model_fields.items()]
        return f"grader {kind!r} has no option {option!r}", nearest(option, names)
    if first["type"] == "missing":
        return f"grader {kind!r} needs the option {option!r}", None
    return f"grader {kind!r}, option {option!r}: {first['msg'].lower()}", None
