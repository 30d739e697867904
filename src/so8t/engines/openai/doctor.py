"""What `so8t doctor` and `so8t validate` say of each server: one line a question."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm
from so8t.engines.checks import Check, CheckOutcome, TaskNeeds
from so8t.engines.openai.abilities import facts_of, models_of, probe
from so8t.engines.openai.transport import Address, HttpServer, read_key
from so8t.engines.pool import MemberDownError
from so8t.errors import SO8TError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from so8t.engines.openai.abilities import Abilities
    from so8t.engines.openai.kind import OpenAISettings, PlaceSettings

_NAMED = 5


def examine(settings: OpenAISettings, needs: TaskNeeds) -> list[Check]:
    """Look at each server of each place. Never raises for a server in whatever state."""
    return [check for place in settings.places for check in _examine(place, needs)]


def any_answers(settings: OpenAISettings) -> bool:
    """Whether any place answers for both arms; a place without its key does not."""
    return any(
        all(check.outcome is not CheckOutcome.FAIL for check in _listed(place))
        for place in settings.places
    )


def _servers(place: PlaceSettings) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for arm in Arm:
        found.setdefault(place.addresses[arm], []).append(arm.upper())
    return found


def _connect(place: PlaceSettings, url: str) -> HttpServer:
    return HttpServer(
        Address(url, read_key(place.key_env, place.key_file, os.environ), place.ca_file)
    )


def _listed(place: PlaceSettings) -> Iterator[Check]:
    for url in _servers(place):
        try:
            http = _connect(place, url)
            try:
                models_of(http)
            finally:
                http.close()
        except (MemberDownError, SO8TError) as error:
            yield Check(f"place {place.name}", CheckOutcome.FAIL, error.message)
        else:
            yield Check(f"place {place.name}", CheckOutcome.PASS, url)


def _examine(place: PlaceSettings, needs: TaskNeeds) -> Iterator[Check]:
    for url, arms in _servers(place).items():
        name = f"place {place.name} ({' and '.join(arms)})"
        try:
            http = _connect(place, url)
            try:
                yield from _look(name, http, needs)
            finally:
                http.close()
        except MemberDownError as error:
            fix = "start the server; so8t plan shows how"
            yield Check(name, CheckOutcome.FAIL, error.message, fix)
        except SO8TError as error:
            yield Check(name, CheckOutcome.FAIL, error.message, error.hint)


def _look(name: str, http: HttpServer, needs: TaskNeeds) -> Iterator[Check]:
    for model in models_of(http):
        facts = facts_of(http, model)
        context = "an unknown context" if facts.context is None else f"{facts.context} tokens"
        yield Check(
            name,
            CheckOutcome.PASS,
            f"{http.url}: {facts.model} by {facts.server} {facts.version or ''} with {context}",
        )
        can = probe(http, facts.model)
        told = {
            "renders its template for us": can.renders,
            "obeys a schema": can.schema,
            "tells log probabilities of the first token": can.first_token,
            f"measures given texts ({can.likelihood})": can.likelihood is not None,
            "repeats itself": can.repeats,
        }
        yield Check(
            name,
            CheckOutcome.PASS,
            "; ".join(f"{'yes' if yes else 'no'}: {what}" for what, yes in told.items()),
        )
        yield from _lacking(name, can, needs)


def _lacking(name: str, can: Abilities, needs: TaskNeeds) -> Iterator[Check]:
    """Say what a server cannot do: a failure where a task needs it."""
    if not can.schema and not can.first_token:
        yield _without(name, "choices cannot be asked for here", needs.choices)
    if can.likelihood is None:
        yield _without(name, "log likelihoods are not to be had here", needs.likelihoods)
    if not can.repeats:
        fix = "on vLLM with GPUs: VLLM_BATCH_INVARIANT=1"
        yield Check(name, CheckOutcome.WARN, "an equal question got another answer", fix)


def _without(name: str, what: str, tasks: tuple[str, ...]) -> Check:
    if not tasks:
        return Check(name, CheckOutcome.WARN, what, "tasks that need it go to another server")
    named = ", ".join(tasks[:_NAMED])
    fix = "take these tasks out, or use a server that can (vLLM and llama-server do)"
    return Check(name, CheckOutcome.FAIL, f"{what}, and are needed by {named}", fix)
