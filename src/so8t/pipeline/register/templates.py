"""How both models' conversations become prompts, and whether they can be asked what is asked."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from so8t.config.load import is_template
from so8t.domain.exchange import (
    Arm,
    Continuation,
    EngineRequest,
    Form,
    Message,
    PromptTemplate,
)
from so8t.domain.model_form import ModelForm
from so8t.engines.registry import capabilities_of
from so8t.engines.rendering import ChatTemplate
from so8t.errors import ConfigError, ModelError, PrerequisiteError
from so8t.models.gguf_check import inspect_gguf
from so8t.models.gguf_convert import read_config
from so8t.models.gguf_families import read_architecture
from so8t.models.gguf_vocab import read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import Decoding, ServedModel
    from so8t.domain.sample import Sample
    from so8t.models.sources import ResolvedSource

_HELLO = (Message("user", "Hello"),)


class Ask(StrEnum):
    """A way to put a question to a model."""

    CHAT = "chat"
    COMPLETION = "completion"
    LIKELIHOOD = "likelihood"


def ways_of(samples: Iterable[Sample], config: RunConfig) -> frozenset[Ask]:
    """Return the ways in which a run's questions are put to an engine."""
    able = capabilities_of(config.engine)
    found = set()
    for sample in samples:
        form = sample.form
        if form is not None and form.continuations and able.exact_likelihood:
            found.add(Ask.LIKELIHOOD)
        elif form is not None and form.prompt is not None and able.continues_prompts:
            found.add(Ask.COMPLETION)
        else:
            found.add(Ask.CHAT)
    return frozenset(found)


def probes(ways: frozenset[Ask], decoding: Decoding) -> list[EngineRequest]:
    """Return a request for each way: no question of the run, which must not fail it."""
    forms = {
        Ask.CHAT: None,
        Ask.COMPLETION: Form(prompt="Hello"),
        Ask.LIKELIHOOD: Form(continuations=(Continuation("Hello", " world"),)),
    }
    return [
        EngineRequest(f"register {way.value}", _HELLO, decoding, forms[way])
        for way in Ask
        if way in ways or not ways
    ]


def with_template(config: RunConfig, model: ServedModel, started: str) -> ServedModel:
    """Return a model with what its arm's config says of its template.

    A template that asks the clock is told `started`, the run's beginning, so that the same question
    is the same prompt on every day of a run. Raises as `check_template`.
    """
    wanted = wanted_template(config, model.arm)
    path = Path(model.location)
    if not path.is_file():
        return model if wanted is None else replace(model, template=wanted)
    source = ChatTemplate(path, wanted).source or ""
    if "strftime_now" in source:
        wanted = replace(wanted or PromptTemplate(), now=started)
    return replace(model, template=wanted)


def wanted_template(config: RunConfig, arm: Arm) -> PromptTemplate | None:
    """Return what an arm's config says of its template; None where it says nothing.

    Raises PrerequisiteError for a file that is not there, ConfigError where the engine renders no
    templates itself, so that the keys would have no effect.
    """
    own = config.a if arm is Arm.A else config.b
    if own.template is None and not own.template_arguments:
        return None
    if not capabilities_of(config.engine).renders_templates:
        raise ConfigError(
            f"{arm.value}.template and {arm.value}.template_arguments have no effect with "
            f"engine.kind: {config.engine.kind}, whose server renders templates itself.",
            hint="use engine.kind: embedded, or change the model on the server",
        )
    text = own.template
    if text is not None and not is_template(text):
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PrerequisiteError(
                f"{arm.value}.template: {own.template} cannot be read: {error}.",
                hint="name a Jinja file in UTF-8, or write the template's text into the config",
            ) from error
    return PromptTemplate(text, dict(own.template_arguments))


def check_template(
    config: RunConfig, arm: Arm, source: ResolvedSource, ways: frozenset[Ask]
) -> str | None:
    """Raise now what phase 3 would raise: no template where one is needed, or a broken one.

    Returns whether a model thinks where its template has a switch for that: "on" or "off".
    """
    wanted = wanted_template(config, arm)
    if not capabilities_of(config.engine).renders_templates:
        return None
    if source.kind is ModelForm.FILE:
        inspect_gguf(source.path)
        template = ChatTemplate(source.path, wanted)
        if template.source is not None and Ask.CHAT in ways:
            template.render(_HELLO)
            return thinking_switch(source.path, wanted)
        found: str | None = template.source
    elif source.kind is ModelForm.WEIGHTS and (wanted is None or wanted.source is None):
        settings = read_config(source.path)
        rows = read_architecture(source.path / "config.json", settings).vocabulary
        found = read_tokenizer(source.path, rows, settings).chat_template
    else:
        return None
    if found is None and Ask.CHAT in ways:
        raise no_template(source.location)
    return None


def thinking_switch(path: Path, wanted: PromptTemplate | None) -> str | None:
    """Return "on" or "off" where a template has the switch `enable_thinking`, else None.

    It is found by what it does: models of one family have it on in one file and off in another.
    """
    wanted = wanted or PromptTemplate()

    def prompt(**more: bool) -> str:
        given = replace(wanted, arguments={**wanted.arguments, **more})
        rendering = ChatTemplate(path, given).render(_HELLO)
        return "" if rendering is None else rendering.text

    off = prompt(enable_thinking=False)
    if prompt(enable_thinking=True) == off:
        return None
    return "off" if prompt() == off else "on"


def no_template(location: str) -> ModelError:
    """Return the error for a base model that is to answer conversations."""
    return ModelError(
        f"{location} has no chat template (a base model), and some questions are conversations.",
        hint="ask what needs none (log likelihoods and completions of benchmark.hf), or give one "
        "with `template: FILE`",
    )


def prompt_facts(model: ServedModel, first: tuple[Message, ...] | None) -> dict[str, str]:
    """Return what the report tells of prompts: the first question's, and the thinking switch."""
    path = Path(model.location)
    if first is None or not path.is_file():
        return {}
    rendering = ChatTemplate(path, model.template).render(first)
    if rendering is None:
        return {}
    thinking = thinking_switch(path, model.template)
    return {"first_prompt": rendering.text} | ({"thinking": thinking} if thinking else {})
