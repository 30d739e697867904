"""What is said to an engine and what comes back, as plain data.

Another process or another machine can serve these: they hold no handle, no path that only one
machine knows (except a model's own location) and no state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

#: The reason of a reply to a question that is longer than the context. `prompt_tokens` is its
#: length, where the engine tells.
CONTEXT = "context"


class Arm(StrEnum):
    """The two sides of the comparison."""

    A = "a"
    B = "b"

    @property
    def other(self) -> Arm:
        """The opposite arm."""
        return Arm.B if self is Arm.A else Arm.A


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen. Temperature 0 is greedy; `max_tokens` is the token budget."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 1
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Continuation:
    """A text whose likelihood behind a context is asked for.

    Without a context (None) the whole text is measured, in windows as long as the model's context.
    """

    context: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked for instead of a chat answer. At most one of the three ways is used.

    Attributes:
        continuations: texts to be measured; the reply holds a likelihood for each.
        choices: labels of the options that `messages` offer; an engine that cannot measure the
            continuations chooses one of these.
        prompt: text to be continued as it stands, without the chat template; an engine that knows
            only chats answers `messages` instead.
        stop: texts that end an answer, besides those of the decoding.

    """

    continuations: tuple[Continuation, ...] = ()
    choices: tuple[str, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One question to one model.

    `key` is unique in a run and comes back with the reply; replies may come in any order. `item` is
    what the key is for both arms and all repeats: where there are several places, they meet on one.
    `elsewhere` asks for another place of the same kind, where there is one. With a
    `form` that measures or chooses, the reply's text is what `so8t.domain.measured` writes.
    """

    key: str
    messages: tuple[Message, ...]
    decoding: Decoding = field(default_factory=Decoding)
    form: Form | None = None
    item: str = ""
    elsewhere: bool = False


class Status(StrEnum):
    """How an answer ended. A failure is an outage, never a wrong answer."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EngineReply:
    """One model's answer to one question.

    `text` is whole for completed answers, cut at the token budget for truncated ones and empty
    for failed ones, whose `reason` says why. `thinking` is what the engine itself kept apart from
    the text, where it does; `so8t.domain.thinking.join_reply` makes the reply whole. `place` is
    which of several machines or servers answered, and `kind` the digest of what that one is:
    answers of unlike kinds are not compared. Times are
    seconds, None where the engine does not tell: unknown is never zero.
    """

    key: str
    status: Status
    text: str = ""
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    thinking: str = field(default="", repr=False)
    place: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """How a model is loaded; frozen for an arm's whole benchmark.

    Attributes:
        slots: answers in flight at the same time.
        context: tokens of context for each slot.
        threads: CPU threads of the engine; None leaves the choice to the engine.
        gpu_layers: layers on the GPU; -1 is all of them.
        batch: prompt tokens computed in one step; None leaves the choice to the engine.
        cache_type: type of the KV cache, "f16" or "q8_0"; None leaves the choice to the engine.

    """

    slots: int = 1
    context: int = 2048
    threads: int | None = None
    gpu_layers: int = -1
    batch: int | None = None
    cache_type: str | None = None


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """How a model's conversations become prompts, where that is not left to the model's file.

    Attributes:
        source: Jinja text in place of the file's own; None leaves the file's.
        arguments: what the template is given besides the conversation (`enable_thinking`, ...).
        now: the time that a template which asks the clock is told, ISO 8601; None for one that
            does not ask.

    """

    source: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    now: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as an engine knows it: a file path or a name, and the digest of its bytes.

    `quantize` is the type that the engine itself is to make of weights in a directory. `template`
    is None where the file's own template is asked nothing of the clock and given nothing.
    """

    arm: Arm
    location: str
    digest: str
    quantize: str | None = None
    template: PromptTemplate | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who answers. `name` is the engine's short name that every result carries."""

    name: str
    version: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What loading a model really gave, to be compared with what was asked for.

    Sizes in bytes, time in seconds; None where the engine does not tell. `kinds` are the digests of
    the places that answer, where an engine has places.
    """

    seconds: float
    context: int | None = None
    slots: int | None = None
    memory: int | None = None
    gpu_memory: int | None = None
    template_digest: str | None = None
    kinds: tuple[str, ...] = ()
