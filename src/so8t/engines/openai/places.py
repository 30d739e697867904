"""Places: which server answers for which arm, what each is, and whether two are alike."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from so8t.domain.canonical import digest_of
from so8t.domain.exchange import Arm, Decoding, EngineRequest, Message, Status
from so8t.engines.openai.abilities import facts_of, find_model, probe
from so8t.engines.openai.server import Server
from so8t.engines.openai.transport import Address, HttpServer, read_key
from so8t.engines.pool import MemberChangedError, MemberDownError
from so8t.errors import EngineError, PrerequisiteError

if TYPE_CHECKING:
    from so8t.domain.exchange import EngineReply
    from so8t.engines.openai.kind import OpenAISettings, PlaceSettings

_PROBES = (
    "Name three colours.",
    "What is 17 times 23?",
    "Write one sentence about rain.",
    "Translate to Japanese: good morning.",
    "Count from 1 to 12.",
    "Why is the sky blue?",
    "Spell the word 'rhythm' backwards.",
    "日本の首都はどこですか。",
)
_PROBE_TOKENS = 24
# Facts that both arms' servers of a place must share; the model and its template are theirs.
_SHARED = ("server", "version", "context")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that a server is to have: the names it may be listed under.

    `alone`: where it is the server's only one, its name does not matter. `meta` is what the model's
    own file says, as llama.cpp's /v1/models would; {} where there is no file.
    """

    names: tuple[str, ...]
    alone: bool
    meta: dict[str, int]


class Place:
    """One machine or server, with a server for each arm; a member of a pool for each."""

    def __init__(self, settings: PlaceSettings, engine: OpenAISettings) -> None:
        """Connect to nothing yet. Raises PrerequisiteError for a key that is not there."""
        self.name = settings.name
        self.slots = settings.slots
        self._engine = engine
        key = read_key(settings.key_env, settings.key_file, os.environ)
        urls = settings.addresses
        made = {url: HttpServer(Address(url, key, settings.ca_file)) for url in urls.values()}
        self.http = {arm: made[url] for arm, url in urls.items()}
        self._servers: dict[Arm, Server] = {}
        self._prints: dict[Arm, str] = {}
        self._wanted: dict[Arm, Wanted] = {}

    def find(self, arm: Arm, wanted: Wanted) -> Server:
        """Find an arm's model, ask what its server can do, and take its fingerprint.

        Raises ModelError, PrerequisiteError and EngineError with what is not as it must be,
        MemberDownError where nothing answers.
        """
        self._wanted[arm] = wanted
        self._servers[arm] = self._look(arm)
        self._prints[arm] = self._fingerprint(self._servers[arm])
        return self._servers[arm]

    def server(self, arm: Arm) -> Server:
        """Return what `find` found."""
        return self._servers[arm]

    def kind(self) -> str:
        """Digest of what the place is: the facts of both servers and their fixed answers."""
        return digest_of(
            {
                arm.value: {"facts": _identity(self._servers[arm]), "print": self._prints[arm]}
                for arm in sorted(self._servers)
            }
        )

    def print_of(self, arm: Arm) -> str:
        """Digest of an arm's eight fixed answers."""
        return self._prints[arm]

    def check_arms(self) -> None:
        """Refuse a place whose two servers are unlike, or are one model twice.

        Raises PrerequisiteError.
        """
        a, b = (asdict(self._servers[arm].facts) for arm in Arm)
        unlike = [f"{key}: {a[key]!r} and {b[key]!r}" for key in _SHARED if a[key] != b[key]]
        if unlike:
            raise PrerequisiteError(
                f"the servers of A and B at the place {self.name} are unlike "
                f"({'; '.join(unlike)}): their answers would compare the servers, not the models.",
                hint="start both with the same program, version and settings",
            )
        if self.http[Arm.A] is self.http[Arm.B] and a["model"] == b["model"]:
            raise PrerequisiteError(
                f"A and B are both {a['model']!r} at {self.http[Arm.A].url}: one model twice.",
                hint="give `urls: {a: ..., b: ...}`, or name two models of the server with "
                "`source: {served: NAME}`",
            )

    def look_again(self, arm: Arm) -> None:
        """Return where a server is what it was. Raises MemberDownError, MemberChangedError."""
        before, known = self._servers[arm], self._prints[arm]
        now = self._look(arm)
        if _identity(now) != _identity(before) or now.abilities != before.abilities:
            raise MemberChangedError(
                f"{before.http.url} is another server now: {now.facts.server} "
                f"{now.facts.version or ''} with {now.facts.model}."
            )
        if self._fingerprint(now) != known and self._fingerprint(now) != known:
            raise MemberChangedError(
                f"{before.http.url} answers the eight fixed questions otherwise than before."
            )

    def close(self) -> None:
        """Give back the connections."""
        for http in self.http.values():
            http.close()

    def _look(self, arm: Arm) -> Server:
        http, wanted, engine = self.http[arm], self._wanted[arm], self._engine
        model = find_model(http, wanted.names, alone=wanted.alone)
        facts = facts_of(http, model)
        other = {
            key: (facts.meta[key], value)
            for key, value in wanted.meta.items()
            if key in facts.meta and facts.meta[key] != value
        }
        if other:
            told = ", ".join(f"{key} {is_} instead of {ours}" for key, (is_, ours) in other.items())
            raise PrerequisiteError(
                f"{http.url} answers with another model than {arm.upper()}'s file: {told}.",
                hint="start the server with that file; so8t plan shows the command",
            )
        if facts.context is not None and facts.context < engine.context:
            raise PrerequisiteError(
                f"{http.url} gives {facts.context} tokens of context, engine.context asks for "
                f"{engine.context}.",
                hint="start the server with more, or set engine.context lower",
            )
        context = facts.context or engine.context
        return Server(http, facts, probe(http, facts.model), context, engine.answer_seconds)

    @staticmethod
    def _fingerprint(server: Server) -> str:
        decoding = Decoding(max_tokens=_PROBE_TOKENS)
        replies = [
            server.answer(EngineRequest(str(number), (Message("user", text),), decoding))
            for number, text in enumerate(_PROBES)
        ]
        for reply in replies:
            if reply.status is Status.FAILED:
                raise EngineError(
                    f"{server.http.url} does not answer a plain question: {reply.reason}.",
                    hint="so8t doctor examines it",
                )
        return digest_of([reply.text for reply in replies])


def _identity(server: Server) -> dict[str, Any]:
    """What a server is, but for how many questions it takes at a time."""
    facts = asdict(server.facts)
    return {key: value for key, value in facts.items() if key != "slots"}


class ArmAtPlace:
    """A place as one arm's member of a pool."""

    def __init__(self, place: Place, arm: Arm, kind: str) -> None:
        self._place, self._arm = place, arm
        self.name, self.kind, self.slots = place.name, kind, place.slots

    def answer(self, request: EngineRequest) -> EngineReply:
        """Answer by the arm's server."""
        return self._place.server(self._arm).answer(request)

    def revive(self) -> None:
        """Return when the server is back as it was."""
        try:
            self._place.look_again(self._arm)
        except (EngineError, PrerequisiteError) as error:
            # A server that is starting lists no model, or another answer than its own.
            raise MemberDownError(error.message, asked=False) from error

    def abort(self) -> None:
        """End what is in flight."""
        self._place.http[self._arm].abort()
