"""What a chat template makes of a conversation: for the embedded engine, and to compare a server's.

Templates are rendered as Hugging Face does it (sandboxed Jinja2, blocks trimmed, the same helper
names), so that a server which guessed another template is found out before the first question.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from so8t.domain.exchange import Message, PromptTemplate
from so8t.errors import ModelError
from so8t.system.gguf import read_header

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rendering:
    """A conversation and the prompt that the model's own template makes of it.

    `begin` is the text of the begin-of-text token: it may stand at the start of one of the two
    renderings and not of the other, since the engine adds that token when it reads the prompt.
    """

    messages: tuple[Message, ...]
    text: str
    begin: str = ""


class ChatTemplate:
    """The chat template of a GGUF, compiled once: its own, or another in its place.

    Attributes:
        source: the template's text; None where there is none.
        begin: the text of the token that begins a text.

    Raises ModelError for a file that is no GGUF or has a template that is none.
    """

    def __init__(self, path: Path, wanted: PromptTemplate | None = None) -> None:
        metadata = read_header(path).metadata
        wanted = wanted or PromptTemplate()
        own = metadata.get("tokenizer.chat_template")
        self.source: str | None = wanted.source or (str(own) if own else None)
        self._arguments = wanted.arguments
        now = datetime.fromisoformat(wanted.now) if wanted.now else None
        self._path = path
        self.begin = _token(metadata, "bos")
        self._end = _token(metadata, "eos")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals.update(raise_exception=_refuse, strftime_now=partial(_strftime, now))
        try:
            self._template = environment.from_string(self.source) if self.source else None
        except TemplateError as error:
            raise self._unusable(error) from error

    def render(self, messages: tuple[Message, ...]) -> Rendering | None:
        """Render a conversation up to the answer; None where the file has no template.

        Raises ModelError for a template that refuses the conversation.
        """
        if self._template is None:
            return None
        given: dict[str, Any] = {
            "bos_token": self.begin,
            "eos_token": self._end,
            "add_generation_prompt": True,
        }
        try:
            text = self._template.render(
                **(given | self._arguments),
                messages=[{"role": one.role, "content": one.content} for one in messages],
            )
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            # What a template does with values of a kind that it did not expect is Python's error.
            raise self._unusable(error) from error
        return Rendering(messages, text, self.begin)

    def _unusable(self, error: Exception) -> ModelError:
        return ModelError(
            f"{self._path}: its chat template cannot be rendered: {error}",
            hint="fix the template in the model's directory, and convert it again",
        )


class PromptCounter:
    """Our own count of a conversation's prompt tokens, by the model's own files.

    The template comes from the GGUF, the tokens from the `tokenizer.json` of the directory that
    it was converted from: neither llama.cpp nor the server has a part in it, so that it can
    contradict them.

    Args:
        gguf: the file that was registered.
        tokenizer: the `tokenizer.json` that belongs to it.

    Raises ModelError for files that cannot be read as such.

    """

    def __init__(self, gguf: Path, tokenizer: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - native code, only when counting

        self._template = ChatTemplate(gguf)
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises nothing more exact
            raise ModelError(
                f"{tokenizer} cannot be read: {error}",
                hint="copy the file again from where the model came from",
            ) from error

    def count(self, messages: tuple[Message, ...]) -> int | None:
        """Tokens of the rendered conversation, without those that a tokenizer adds by itself.

        None where the GGUF has no template of its own.
        """
        rendering = self._template.render(messages)
        if rendering is None:
            return None
        return len(self._tokenizer.encode(rendering.text, add_special_tokens=False).ids)


def _token(metadata: Any, kind: str) -> str:
    number = metadata.get(f"tokenizer.ggml.{kind}_token_id")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if number is None or tokens is None:
        return ""
    return str(tokens.strings()[number])


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime(now: datetime | None, pattern: str) -> str:
    return (now or datetime.now().astimezone()).strftime(pattern)
