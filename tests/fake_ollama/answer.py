"""How the fake server reads a request for an answer, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fake_ollama.brain import Said, chatml, say, tokens
from fake_ollama.odds import logprobs, schema_fault
from fake_ollama.store import Toy

if TYPE_CHECKING:
    from collections.abc import Callable

_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "num_ctx": (int, "integer"),
    "num_predict": (int, "integer"),
    "num_batch": (int, "integer"),
    "seed": ((int, float), "integer"),
    "temperature": ((int, float), "float32"),
    "stop": (list, "array"),
}


_MOST_TOLD = 20


class Refused(Exception):
    """What the server answers instead: a status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was understood."""

    toy: Toy
    prompt: str
    options: dict[str, Any]
    asks: bool
    only_render: bool
    truncate: bool
    shift: bool
    returns_context: bool
    wanted: dict[str, Any] | str | None = None
    told: int | None = None
    """Alternatives told of each token; None for no log probabilities at all."""

    def logprobs(self, said: Said) -> list[dict[str, Any]]:
        """Return the log probabilities of an answer's pieces; none where none were asked for.

        Under a schema none are given either: what a real server gives there is not recorded.
        """
        if self.told is None or self.wanted:
            return []
        return logprobs(self.toy.kind, self.prompt, said.pieces, self.told)

    def say(self, room: int, count: Callable[[str], int] | None = None) -> tuple[Said, int]:
        """Answer within a context of `room` tokens; also return the tokens of the prompt read.

        `count` tells those of a model that is no toy.

        Raises Refused where the prompt is too long and may not be cut.
        """
        counted = len(tokens(self.prompt))
        prompt = self.prompt
        if counted >= room:
            if not self.truncate:
                raise Refused(400, _overflow(counted, room))
            if not self.shift:
                raise Refused(
                    400,
                    "the prompt is longer than the context length currently available to the "
                    "model; shorten the prompt, adjust the context length in settings, or use a "
                    "model with a longer context length",
                )
            counted = room // 2 + 2
            prompt = prompt[-counted:]
        left = 10**6 if self.shift else room - counted
        said = say(
            self.toy.kind,
            prompt,
            limit=int(self.options.get("num_predict", -1)),
            room=left,
            stops=tuple(self.options.get("stop", ())),
            wanted=self.wanted,
        )
        return said, counted if count is None else count(self.prompt)


def prepare(toy: Toy, body: dict[str, Any], *, chat: bool) -> Prepared:
    """Read a request. Raises Refused with what a real server says to a wrong one."""
    options = body.get("options") or {}
    for name, value in options.items():
        kind, word = _TYPES.get(name, (object, ""))
        if not isinstance(value, kind):
            raise Refused(500, f'option "{name}" must be of type {word}')
    if not isinstance(body.get("stream", True), bool):
        raise Refused(
            400,
            "json: cannot unmarshal string into Go struct field GenerateRequest.stream "
            "of type bool",
        )
    alive = body.get("keep_alive")
    if isinstance(alive, str) and alive.isdigit():
        raise Refused(400, f'time: missing unit in duration "{alive}"')
    wanted, told = _constraint(body), _told(body)
    if body.get("think"):
        raise Refused(400, f'"{body.get("model")}" does not support thinking')
    raw = bool(body.get("raw"))
    if raw and body.get("system"):
        raise Refused(400, "raw mode does not support template, system, or context")
    messages = body.get("messages") or []
    asks = bool(messages) if chat else bool(body.get("prompt"))
    if chat:
        prompt = _render(toy, messages)
    else:
        prompt = str(body.get("prompt") or "")
        if not raw and toy.template:
            system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
            prompt = _render(toy, [*system, {"role": "user", "content": prompt}])
    return Prepared(
        toy=toy,
        prompt=prompt,
        options=options,
        asks=asks,
        only_render=bool(body.get("_debug_render_only")),
        truncate=bool(body.get("truncate", True)),
        shift=bool(body.get("shift", True)),
        returns_context=not chat and not raw,
        wanted=wanted,
        told=told,
    )


def _constraint(body: dict[str, Any]) -> dict[str, Any] | str | None:
    wanted: dict[str, Any] | str | None = body.get("format")
    if isinstance(wanted, dict):
        fault = schema_fault(wanted)
        if fault is not None:
            raise Refused(400, fault)
    elif wanted not in {None, "", "json"}:
        shown = json.dumps(json.dumps(wanted))
        raise Refused(
            500, f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
        )
    return wanted


def _told(body: dict[str, Any]) -> int | None:
    told = int(body.get("top_logprobs") or 0)
    if not 0 <= told <= _MOST_TOLD:
        raise Refused(400, f"top_logprobs must be between 0 and {_MOST_TOLD}")
    return told if body.get("logprobs") else None


def _render(toy: Toy, messages: list[dict[str, Any]]) -> str:
    if toy.rendering is None:
        return chatml(messages)
    return toy.rendering.replace("{content}", " ".join(str(m.get("content")) for m in messages))


def _overflow(counted: int, room: int) -> str:
    error = {
        "code": 400,
        "message": f"request ({counted} tokens) exceeds the available context size "
        f"({room} tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": counted,
        "n_ctx": room,
    }
    return json.dumps({"error": error}, separators=(",", ":"))
