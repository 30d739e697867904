"""A choice among labels on a server that knows only chats.

The first token's log probabilities decide (`top_logprobs`, the server tells 20); where no label is
among them, a second answer does that a JSON schema allows to be nothing but a label.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from so8t.domain.measured import ChoiceMethod, first_token_choice, write_choice
from so8t.engines.ollama.faults import Fault, OllamaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from so8t.engines.ollama.answers import OllamaAnswer

_TOLD = 20
_LABEL_TOKENS = 16


def choose(
    ask: Callable[..., OllamaAnswer], options: Mapping[str, Any], labels: Sequence[str]
) -> OllamaAnswer:
    """Choose a label; `ask` puts the conversation with given options, logprobs and format.

    Returns the answer with the choice as its text. Raises OllamaError.
    """
    first = ask({**options, "num_predict": 1, "temperature": 0.0}, logprobs=_TOLD, schema=None)
    text = first_token_choice(_seen(first), labels)
    if text is not None:
        return replace(first, text=text, done_reason="stop")
    forced = ask(
        {**options, "num_predict": _LABEL_TOKENS, "temperature": 0.0},
        logprobs=None,
        schema={"type": "string", "enum": list(labels)},
    )
    try:
        place = list(labels).index(json.loads(forced.text))
    except ValueError as error:
        raise OllamaError(
            Fault.MALFORMED, f"the constrained answer is no label: {forced.text[:40]!r}"
        ) from error
    return replace(forced, text=write_choice(ChoiceMethod.CONSTRAINED, place), done_reason="stop")


def _seen(answer: OllamaAnswer) -> dict[str, float]:
    """Return the first token and its alternatives with their log probabilities."""
    if not answer.logprobs:
        return {}
    first = answer.logprobs[0]
    top = first.get("top_logprobs")
    seen: dict[str, float] = {}
    for entry in [*(top if isinstance(top, list) else []), first]:
        token, logprob = entry.get("token"), entry.get("logprob")
        if isinstance(token, str) and isinstance(logprob, int | float):
            seen[token] = max(float(logprob), seen.get(token, float("-inf")))
    return seen
