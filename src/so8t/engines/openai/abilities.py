"""What a server can do, found by asking it, whatever it is called and whatever it says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from so8t.engines.openai.transport import Response, described
from so8t.engines.pool import MemberDownError
from so8t.errors import EngineError, ModelError, PrerequisiteError
from so8t.system.plugins import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.engines.openai.transport import HttpServer

_PROBE_SECONDS = 120.0
_ASKED = ({"role": "user", "content": "Say a word."},)
_LABELS = ("A", "B", "C", "D")
# A grammar may allow white space before a label, and a small model likes it.
_LABEL_TOKENS = 64
_UNAUTHORIZED = (401, 403)
_TEMPLATED = 'Say "so8t".'


@dataclass(frozen=True, slots=True)
class Abilities:
    """What was found.

    Attributes:
        renders: it renders its template for us and continues the text (`/apply-template`,
            `/v1/completions`): what the model sees is then known, and nothing is trimmed.
        schema: an enum as JSON schema is obeyed.
        first_token: log probabilities of the first token are told.
        likelihood: how given texts are measured: "prompt_logprobs", "grammar", or None.
        tokenizes: it tells the tokens of a text.
        repeats: an equal question with an equal seed gets an equal answer.

    """

    renders: bool
    schema: bool
    first_token: bool
    likelihood: str | None
    tokenizes: bool
    repeats: bool


@dataclass(frozen=True, slots=True)
class ServedFacts:
    """Who a server says it is. None where it does not say.

    `meta` is what it tells of the model's file (llama.cpp: parameters, vocabulary, type).
    """

    model: str
    server: str
    version: str | None
    context: int | None
    slots: int | None
    template: str | None
    end: str | None
    meta: dict[str, Any]


def models_of(http: HttpServer) -> list[dict[str, Any]]:
    """Return the models that a server lists.

    Raises EngineError for what is no such server (naming what answered), PrerequisiteError for a
    key that is refused, MemberDownError where nothing answers.
    """
    answer = http.request("GET", "/v1/models", seconds=_PROBE_SECONDS)
    if answer.status in _UNAUTHORIZED:
        raise PrerequisiteError(
            f"{http.url} refuses the key ({answer.message}).",
            hint="name the key with `key_env` or `key_file` of the place",
        )
    if answer.status in {429, 503}:
        raise MemberDownError(f"{http.url}: {answer.message}", asked=False)
    listed = answer.body.get("data") if answer.ok and isinstance(answer.body, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise EngineError(
            f"{http.url} is no OpenAI-compatible server; /v1/models answers with "
            f"{described(answer)}.",
            hint="check the address of the place: http://HOST:PORT, with a path where there is one",
        )
    if any(one.get("owned_by") == "library" for one in listed) and _is_tagged(http):
        raise EngineError(
            f"{http.url} is an Ollama server.",
            hint="use the engine for it: engine: {kind: ollama, url: ...}",
        )
    return listed


def _is_tagged(http: HttpServer) -> bool:
    """Whether the server has Ollama's own API."""
    version = http.request("GET", "/api/version", seconds=_PROBE_SECONDS)
    return version.ok and "version" in version.body


def find_model(http: HttpServer, wanted: Sequence[str], *, alone: bool) -> dict[str, Any]:
    """Find a model by one of the names it may have; `alone`: the only one will do.

    Raises ModelError where it is not listed, and as `models_of`.
    """
    listed = models_of(http)
    names = [str(one.get("id")) for one in listed]
    for one in listed:
        known = [one.get("id"), one.get("root"), *(one.get("aliases") or ())]
        if any(name in wanted for name in known):
            return one
    if alone and len(listed) == 1:
        return listed[0]
    raise ModelError(f"{http.url} has no model {wanted[0]!r}.", hint=nearest(wanted[0], names))


def facts_of(http: HttpServer, model: dict[str, Any]) -> ServedFacts:
    """Ask a server who it is."""
    props = _optional(http, "/props")
    version = props.get("build_info") or _optional(http, "/version").get("version")
    settings = props.get("default_generation_settings") or {}
    context = settings.get("n_ctx") or model.get("max_model_len")
    meta = model.get("meta") or {}
    return ServedFacts(
        model=str(model.get("id")),
        server=str(model.get("owned_by") or "unknown"),
        version=None if version is None else str(version),
        context=context if isinstance(context, int) else None,
        slots=props.get("total_slots"),
        template=props.get("chat_template"),
        end=props.get("eos_token"),
        meta={key: value for key, value in sorted(meta.items()) if key != "n_ctx"},
    )


def _optional(http: HttpServer, path: str) -> dict[str, Any]:
    answer = http.request("GET", path, seconds=_PROBE_SECONDS)
    return answer.body if answer.ok and isinstance(answer.body, dict) else {}


def probe(http: HttpServer, model: str) -> Abilities:
    """Ask a server for each thing once, and look at what really came.

    Raises EngineError where it does not even chat, MemberDownError where it is gone.
    """

    def post(path: str, body: dict[str, Any]) -> Response:
        return http.request("POST", path, {"model": model, **body}, seconds=_PROBE_SECONDS)

    plain = {"messages": list(_ASKED), "temperature": 0, "seed": 1, "max_tokens": 8}
    first = post("/v1/chat/completions", plain)
    if not first.ok:
        raise EngineError(
            f"{http.url} does not answer as {model}: {described(first)}.",
            hint="so8t doctor examines it",
        )
    again = post("/v1/chat/completions", plain)
    return Abilities(
        renders=_renders(post),
        schema=_obeys_schema(post, plain),
        first_token=_tells_first_token(post, plain),
        likelihood=_likelihood(post),
        tokenizes=bool(tokens_of(post, "a")),
        repeats=again.ok and said(first) == said(again),
    )


def said(answer: Response) -> Any:
    """Return the message of a chat answer, or None."""
    try:
        return answer.body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None


def _renders(post: Any) -> bool:
    """Whether the template is rendered for us, with the question in it, and BOS is not doubled."""
    asked = [{"role": "user", "content": _TEMPLATED}]
    rendered = post("/apply-template", {"messages": asked})
    prompt = (
        rendered.body.get("prompt") if rendered.ok and isinstance(rendered.body, dict) else None
    )
    if not isinstance(prompt, str) or _TEMPLATED not in prompt:
        return False
    tokens = tokens_of(post, prompt)
    if tokens and len(tokens) > 1 and tokens[0] == tokens[1]:
        return False  # the text has a BOS, and the server puts one before it
    answer = post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0})
    return bool(answer.ok)


def _obeys_schema(post: Any, plain: dict[str, Any]) -> bool:
    forced = {"response_format": enum_of(_LABELS), "max_tokens": _LABEL_TOKENS}
    answer = post("/v1/chat/completions", {**plain, **forced})
    try:
        return json.loads(said(answer)) in _LABELS
    except (TypeError, ValueError):
        return False


def enum_of(labels: Sequence[str]) -> dict[str, Any]:
    """Return the response format that allows one of the labels and nothing else."""
    return {
        "type": "json_schema",
        "json_schema": {"name": "choice", "schema": {"enum": list(labels)}},
    }


def _tells_first_token(post: Any, plain: dict[str, Any]) -> bool:
    try:
        answer = post(
            "/v1/chat/completions", {**plain, "logprobs": True, "top_logprobs": 20, "max_tokens": 1}
        )
        return bool(answer.body["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
    except (MemberDownError, KeyError, IndexError, TypeError):
        return False  # a server may take minutes for its first one, and is no use then


def _likelihood(post: Any) -> str | None:
    """Find a way to the log probabilities of a given text that gives what it says."""
    tokens = tokens_of(post, "The capital of France")
    if not tokens or len(tokens) < 3:  # noqa: PLR2004 - a text of several tokens is needed
        return None
    try:
        answer = post(
            "/v1/completions",
            {"prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1},
        )
        told = answer.body["choices"][0].get("prompt_logprobs") if answer.ok else None
        if told and len(told) == len(tokens) and str(tokens[1]) in told[1]:
            return "prompt_logprobs"
        grammar = f"root ::= <[{tokens[1]}]>"
        body = {"prompt": tokens[:1], "n_predict": 1, "n_probs": 1, "grammar": grammar}
        forced = post("/completion", {**body, "temperature": 0.0})
        step = forced.body["completion_probabilities"][0] if forced.ok else {}
        if step.get("id") == tokens[1] and isinstance(step.get("logprob"), float):
            return "grammar"
    except (MemberDownError, KeyError, IndexError, TypeError):
        return None
    return None


def tokens_of(post: Any, text: str, *, special: bool = True) -> list[int] | None:
    """Return the tokens of a text, None where the server does not tell."""
    body = {
        "content": text,
        "prompt": text,
        "add_special": special,
        "add_special_tokens": special,
        "parse_special": True,
    }
    answer = post("/tokenize", body)
    tokens = answer.body.get("tokens") if answer.ok and isinstance(answer.body, dict) else None
    return tokens if isinstance(tokens, list) and all(isinstance(t, int) for t in tokens) else None
