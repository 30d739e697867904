"""What a GGUF's own chat template makes of a conversation, to compare with what the server makes.

Templates are rendered as Hugging Face does it (sandboxed Jinja2, blocks trimmed, the same helper
names), so that a server which guessed another template is found out before the first question.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from so8t.engines.ollama.sources import Rendering
from so8t.errors import ModelError
from so8t.system.gguf import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.domain.exchange import Message


def expected_rendering(path: Path, messages: tuple[Message, ...]) -> Rendering | None:
    """Render `messages` with the chat template inside a GGUF; None where it has none.

    Raises ModelError for a file that is no GGUF, or a template that cannot be rendered.
    """
    metadata = read_header(path).metadata
    template = metadata.get("tokenizer.chat_template")
    if not template:
        return None
    begin = _token(metadata, "bos")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=_now)
    try:
        text = environment.from_string(str(template)).render(
            messages=[{"role": one.role, "content": one.content} for one in messages],
            add_generation_prompt=True,
            bos_token=begin,
            eos_token=_token(metadata, "eos"),
        )
    except TemplateError as error:
        raise ModelError(
            f"{path}: its chat template cannot be rendered: {error}",
            hint="mend the template in the model's directory, and convert it again",
        ) from error
    return Rendering(messages, text, begin)


def _token(metadata: Any, kind: str) -> str:
    number = metadata.get(f"tokenizer.ggml.{kind}_token_id")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if number is None or tokens is None:
        return ""
    return str(tokens.strings()[number])


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
