"""One server as it answers one arm: each question in the way that the server really can."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import CONTEXT, EngineReply, Status
from so8t.domain.measured import (
    ChoiceMethod,
    Likelihood,
    first_token_choice,
    write_choice,
    write_likelihoods,
)
from so8t.domain.thinking import CONTROL_MARKS, opened_by
from so8t.engines.likelihood import GrammarScorer, Splitter, TooLongError
from so8t.engines.openai.abilities import Abilities, ServedFacts, enum_of, tokens_of
from so8t.engines.openai.transport import HttpServer
from so8t.engines.pool import MemberBusyError, MemberDownError
from so8t.errors import EngineError, ModelError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.domain.exchange import EngineRequest, Form, Message
    from so8t.engines.likelihood import Pair
    from so8t.engines.openai.transport import Response

_FIRST_TOKENS = 20
_CONSTRAINED_TOKENS = 64
_TRIES = 3
_BUSY = (429, 503)
_NUMBER = re.compile(r"\d+")
# Everything that can change an answer is said with each request, as the embedded engine says it: a
# server or a GGUF may bring sampling defaults of its own. Who does not know a key ignores it.
_NEUTRAL: dict[str, Any] = {
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stream": False,
}
# For a server that renders its template for us, which is llama.cpp's way to be asked.
_NEUTRAL_PLAIN: dict[str, Any] = {
    **_NEUTRAL,
    "samplers": ["top_k", "top_p", "temperature"],
    "typical_p": 1.0,
    "dry_multiplier": 0.0,
    "xtc_probability": 0.0,
    "mirostat": 0,
    "dynatemp_range": 0.0,
    "cache_prompt": False,
    "preserved_tokens": list(CONTROL_MARKS),
}


class _RefusedError(Exception):
    """The server refuses this question; `tokens` where it is too long."""

    def __init__(self, reason: str, tokens: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.tokens = reason, tokens


@dataclass(frozen=True)
class Server:
    """A server with one of its models.

    Attributes:
        http: the connection.
        facts: who it says it is.
        abilities: what it was found to do.
        context: tokens of context of a slot.
        seconds: the longest that one answer may take.

    """

    http: HttpServer
    facts: ServedFacts
    abilities: Abilities
    context: int
    seconds: float

    def answer(self, request: EngineRequest) -> EngineReply:
        """Answer one question.

        Raises MemberDownError, MemberBusyError, and EngineError where the whole run is refused.
        """
        began = time.perf_counter()
        try:
            reply = self._answer(request)
        except _RefusedError as refused:
            reply = EngineReply(
                request.key, Status.FAILED, reason=refused.reason, prompt_tokens=refused.tokens
            )
        return replace(reply, seconds=time.perf_counter() - began)

    def _answer(self, request: EngineRequest) -> EngineReply:
        form = request.form
        if form is not None and form.continuations and self.abilities.likelihood is not None:
            return self._measure(request.key, form)
        if form is not None and form.choices:
            return self._choose(request, form.choices)
        if form is not None and form.continuations:
            raise _RefusedError("request: this server does not measure the likelihood of a text")
        prompt = None if form is None else form.prompt
        if prompt is None and self.abilities.renders:
            prompt = self._render(request.messages)
        if prompt is None:
            return self._chat(request)
        opened = opened_by(prompt) if form is None or form.prompt is None else ""
        return self._continue(request, prompt, opened)

    # --- the three ways to be asked --------------------------------------------------------------

    def _sampling(self, request: EngineRequest) -> dict[str, Any]:
        decoding = request.decoding
        stop = [*decoding.stop, *(request.form.stop if request.form is not None else ())]
        body: dict[str, Any] = {
            "max_tokens": decoding.max_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
        }
        # 0 is "all of them" here; some servers want that as -1, and take a missing key for it.
        if decoding.top_k or self.abilities.renders:
            body["top_k"] = decoding.top_k
        if stop:
            body["stop"] = stop
        return body

    def _chat(self, request: EngineRequest) -> EngineReply:
        body = {**_NEUTRAL, **self._sampling(request), "messages": plain(request.messages)}
        answer = self._bounded("/v1/chat/completions", body, request.messages)
        choice = answer["choices"][0]
        message = choice["message"]
        thinking = message.get("reasoning_content") or message.get("reasoning") or ""
        return _reply(request, answer, message.get("content") or "", thinking)

    def _continue(self, request: EngineRequest, prompt: str, opened: str) -> EngineReply:
        neutral = _NEUTRAL_PLAIN if self.abilities.renders else _NEUTRAL
        body = {**neutral, **self._sampling(request), "prompt": prompt}
        answer = self._bounded("/v1/completions", body, None)
        return _reply(request, answer, opened + answer["choices"][0]["text"])

    def _choose(self, request: EngineRequest, labels: Sequence[str]) -> EngineReply:
        """Choose a label by the log probabilities of the first token, else by a schema."""
        if self.abilities.renders and self.abilities.likelihood == GrammarScorer.name:
            return self._choose_plain(request, labels)
        base = {**_NEUTRAL, "temperature": 0.0, "seed": request.decoding.seed}
        asked: dict[str, Any] = {**base, "messages": plain(request.messages)}
        text, answer = None, None
        if self.abilities.first_token:
            more = {"logprobs": True, "top_logprobs": _FIRST_TOKENS, "max_tokens": 1}
            answer = self._ask("/v1/chat/completions", {**asked, **more})
            content = (answer["choices"][0].get("logprobs") or {}).get("content") or [{}]
            top = content[0].get("top_logprobs") or ()
            text = first_token_choice({one["token"]: one["logprob"] for one in top}, labels)
        if text is None:
            if not self.abilities.schema:
                raise _RefusedError("request: this server tells no choice")
            forced = {"response_format": enum_of(labels), "max_tokens": _CONSTRAINED_TOKENS}
            answer = self._ask("/v1/chat/completions", {**asked, **forced})
            text = _constrained(answer["choices"][0]["message"]["content"], labels)
        return _reply(request, answer or {}, text, status=Status.COMPLETED)

    def _choose_plain(self, request: EngineRequest, labels: Sequence[str]) -> EngineReply:
        """Choose as the embedded engine does, by llama.cpp's own endpoint."""
        prompt = self._render(request.messages)
        asked = {**_NEUTRAL_PLAIN, "prompt": prompt, "temperature": 0.0}
        first = self._ask("/completion", {**asked, "n_predict": 1, "n_probs": _FIRST_TOKENS})
        text = None
        if first.get("completion_probabilities"):
            top = first["completion_probabilities"][0]["top_logprobs"]
            text = first_token_choice({one["token"]: one["logprob"] for one in top}, labels)
        if text is None:
            schema = {"json_schema": {"enum": list(labels)}, "n_predict": _CONSTRAINED_TOKENS}
            said = self._ask("/completion", {**asked, **schema})["content"]
            text = _constrained(said, labels)
        return EngineReply(
            request.key,
            Status.COMPLETED,
            text,
            prompt_tokens=first.get("tokens_evaluated"),
            completion_tokens=first.get("tokens_predicted"),
        )

    # --- likelihoods -----------------------------------------------------------------------------

    @cached_property
    def _splitter(self) -> Splitter:
        # One token is made behind what is measured, where a server has no answer without one.
        return Splitter(self, self.context - GrammarScorer.spare)

    def _measure(self, key: str, form: Form) -> EngineReply:
        results, tokens = [], 0
        for one in form.continuations:
            try:
                pairs = self._splitter.pairs(one.context, one.text)
            except TooLongError as error:
                raise _RefusedError(CONTEXT, error.tokens) from None
            except ValueError as error:
                raise _RefusedError(f"request: {error}") from None
            parts = [self._score(pair) for pair in pairs]
            tokens += sum(len(context) + len(text) for context, text in pairs)
            results.append(
                Likelihood(
                    sum(part.logprob for part in parts),
                    sum(part.tokens for part in parts),
                    all(part.greedy for part in parts),
                )
            )
        text = write_likelihoods(results, str(self.abilities.likelihood))
        return EngineReply(key, Status.COMPLETED, text, prompt_tokens=tokens, completion_tokens=0)

    def _score(self, pair: Pair) -> Likelihood:
        context, continuation = pair
        if self.abilities.likelihood == GrammarScorer.name:
            scorer = GrammarScorer(self, lambda body: self._ask("/completion", body), slot=None)
            return Likelihood(*scorer.score([pair])[0])
        body: dict[str, Any] = {
            "prompt": [*context, *continuation],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 1,
        }
        told = self._ask("/v1/completions", body)["choices"][0]["prompt_logprobs"]
        steps = [told[len(context) + place][str(token)] for place, token in enumerate(continuation)]
        return Likelihood(
            sum(float(step["logprob"]) for step in steps),
            len(steps),
            all(step["rank"] == 1 for step in steps),
        )

    @cached_property
    def end_token(self) -> int | None:
        """The token that ends a text, None where the server does not tell."""
        end = self.facts.end
        tokens = self.tokenize(end, special=False) if end else []
        return tokens[0] if len(tokens) == 1 else None

    def token_text(self, token: int) -> str:
        """Return how the vocabulary writes a token."""
        answer = self._ask("/detokenize", {"tokens": [token]})
        return str(answer.get("content", answer.get("prompt", "")))

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Turn text into tokens."""
        tokens = tokens_of(self._post, text, special=special)
        if tokens is None:
            raise EngineError(f"{self.http.url} does not tell the tokens of a text any more.")
        return tokens

    # --- the wire --------------------------------------------------------------------------------

    def _render(self, messages: Sequence[Message]) -> str:
        return str(self._ask("/apply-template", {"messages": plain(messages)})["prompt"])

    def _bounded(
        self, path: str, body: dict[str, Any], messages: Sequence[Message] | None
    ) -> dict[str, Any]:
        """Ask; a budget that does not fit the context is cut to what does, as others do."""
        try:
            return self._ask(path, body)
        except _RefusedError as refused:
            if refused.reason == CONTEXT or "max_tokens" not in refused.reason:
                raise
            used = self._count(body, messages)
            room = self.context - (used or self.context)
            if room < 1:
                raise _RefusedError(CONTEXT, used) from None
            return self._ask(path, {**body, "max_tokens": room})

    def _count(self, body: dict[str, Any], messages: Sequence[Message] | None) -> int | None:
        """Count the tokens of what was asked; None where the server does not tell."""
        if messages is None:
            tokens = tokens_of(self._post, body["prompt"])
            return None if tokens is None else len(tokens)
        answer = self._post("/tokenize", {"messages": plain(messages)})
        return answer.body.get("count") if answer.ok and isinstance(answer.body, dict) else None

    def _post(self, path: str, body: dict[str, Any]) -> Response:
        asked = {"model": self.facts.model, **body}
        return self.http.request("POST", path, asked, seconds=self.seconds)

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask until there is an answer or a reason why there is none."""
        for attempt in range(_TRIES):
            answer = self._post(path, body)
            if answer.ok and isinstance(answer.body, dict):
                return answer.body
            if answer.status in _BUSY:
                raise MemberBusyError(f"{self.http.url}: {answer.message}", answer.retry_after)
            self._refuse(answer)
            if attempt + 1 < _TRIES:
                time.sleep(0.2 * 2**attempt)
        if answer.status in {502, 504}:
            raise MemberDownError(f"{self.http.url}: {answer.message}", asked=False)
        raise _RefusedError(f"server: status {answer.status}: {answer.message}")

    def _refuse(self, answer: Response) -> None:
        """Raise for what asking again does not help."""
        if answer.status in {401, 403}:
            raise PrerequisiteError(
                f"{self.http.url} refuses the key ({answer.message}).",
                hint="name the key with `key_env` or `key_file` of the place",
            )
        if answer.status == 404:  # noqa: PLR2004 - HTTP's number
            raise ModelError(
                f"{self.http.url} has no {self.facts.model} any more: {answer.message}.",
                hint="start the server with that model again",
            )
        if 400 <= answer.status < 500:  # noqa: PLR2004 - HTTP's numbers
            raise _too_long(answer) or _RefusedError(f"request: {answer.message}")


def _constrained(said: str, labels: Sequence[str]) -> str:
    """Write a choice that a schema allowed to be nothing but a label."""
    try:
        return write_choice(ChoiceMethod.CONSTRAINED, labels.index(json.loads(said)))
    except ValueError as error:
        raise _RefusedError(f"request: the schema was not obeyed: {said!r}") from error


def _too_long(answer: Response) -> _RefusedError | None:
    """Read a refusal of a prompt that is longer than the context; None for any other."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    told = error if isinstance(error, dict) else {}
    if told.get("type") == "exceed_context_size_error":
        return _RefusedError(CONTEXT, told.get("n_prompt_tokens"))
    message = str(told.get("message", ""))
    if told.get("param") == "max_tokens" or "max_tokens" in message.split("(", maxsplit=1)[0]:
        return None
    if "context length" in message or "max_model_len" in message:
        numbers = [int(number) for number in _NUMBER.findall(message)]
        return _RefusedError(CONTEXT, max(numbers, default=None))
    return None


def _reply(
    request: EngineRequest,
    answer: dict[str, Any],
    text: str,
    thinking: str = "",
    *,
    status: Status | None = None,
) -> EngineReply:
    choice = (answer.get("choices") or [{}])[0]
    usage = answer.get("usage") or {}
    made, asked = usage.get("completion_tokens"), request.decoding.max_tokens
    cut = choice.get("finish_reason") == "length" if status is None else False
    at_context = cut and isinstance(made, int) and made < asked
    return EngineReply(
        request.key,
        Status.TRUNCATED if cut else Status.COMPLETED,
        text,
        reason=f"the context was full after {made} of {asked} tokens" if at_context else None,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=made,
        thinking=thinking,
    )


def plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return messages as the API wants them."""
    return [{"role": one.role, "content": one.content} for one in messages]
