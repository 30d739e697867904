"""A choice on a server that only chats: by the first token, else by a constrained answer."""

from __future__ import annotations

import json

import pytest
from ollama_engine import FAST, HELLO
from wire import WireServer, recordings, sending, wire_pieces

from fake_ollama import Toy
from fake_ollama.odds import picked
from so8t.domain.exchange import (
    Continuation,
    Decoding,
    EngineRequest,
    Form,
    LoadProfile,
    Status,
)
from so8t.domain.measured import ChoiceMethod, read_measured
from so8t.engines.ollama import Fault, OllamaEngine, OllamaError
from so8t.engines.ollama.choosing import choose

RECORDED = dict(recordings())
OPTIONS = {"num_ctx": 256, "num_predict": 99, "temperature": 0.7, "seed": 1}
LETTERS = ("A", "B", "C", "D")


def asking(client, heard=None):
    """Ask as a session does; `heard` holds what was asked for."""

    def ask(options, **more):
        if heard is not None:
            heard.append((options, more))
        return client.chat("cyc", HELLO, options, **more)

    return ask


def top_tokens(identity):
    """Return the log probabilities that a recording holds for its first token."""
    body = "".join(chunk["text"] for chunk in RECORDED[identity]["response"]["chunks"])
    first = json.loads(body.splitlines()[0])["logprobs"][0]
    return {entry["token"]: entry["logprob"] for entry in first["top_logprobs"]}


def chat_line(text, *, logprobs=None, reason="stop"):
    """Return a whole answer of the server in one line."""
    line = {"model": "m", "message": {"role": "assistant", "content": text}, "done": True,
            "done_reason": reason, "prompt_eval_count": 5, "eval_count": 1}  # fmt: skip
    body = json.dumps(line | ({"logprobs": logprobs} if logprobs else {})).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return [head.encode() + b"\r\n" + body]


def first_token(*likely):
    """Return the `logprobs` of an answer with one token; the first of `likely` was said."""
    entries = [{"token": token, "logprob": value, "bytes": []} for token, value in likely]
    return [{**entries[0], "top_logprobs": entries}]


# The first token


@pytest.mark.parametrize("cut", [None, 1, 7])
@pytest.mark.parametrize("identity", ["37_logprobs_top5#1", "37_logprobs_top5#2"])
def test_the_choice_is_read_from_recorded_bytes(client_of, identity, cut):
    """However the recorded bytes arrive, the label with the most probability is the choice."""
    told = top_tokens(identity)
    data = b"".join(wire_pieces(RECORDED[identity]["response"]))
    # The recorded generate streams as a chat does, but for the name of its text.
    pieces = [data] if cut is None else [data[i : i + cut] for i in range(0, len(data), cut)]
    said = max(told, key=told.get)
    labels = ("X", said, "Q") if "X" in told else ("Q", said)
    with WireServer(sending(pieces)) as server:
        answer = choose(asking(client_of(server.url)), OPTIONS, labels)
    measured = read_measured(answer.text)
    assert (measured.method, measured.choice) == (ChoiceMethod.FIRST_TOKEN, 1)
    assert measured.logprobs == tuple(told.get(label) for label in labels)
    assert answer.done_reason == "stop"


def test_an_alternative_that_was_not_said_counts(client_of):
    """The token that was said may be no label; the likeliest label among the others decides."""
    data = wire_pieces(RECORDED["37_logprobs_top5#1"]["response"])
    with WireServer(sending(data)) as server:
        answer = choose(asking(client_of(server.url)), OPTIONS, ("Y", "X"))
    measured = read_measured(answer.text)
    assert (measured.method, measured.choice) == (ChoiceMethod.FIRST_TOKEN, 1)
    assert measured.logprobs == (None, top_tokens("37_logprobs_top5#1")["X"])


def test_characters_of_several_bytes_are_labels_too(client_of):
    """A label that needs several tokens of bytes is one entry, and is recognised."""
    data = wire_pieces(RECORDED["48_multibyte_logprobs#1"]["response"])
    with WireServer(sending(data)) as server:
        answer = choose(asking(client_of(server.url)), OPTIONS, ("é", "😀"))
    assert read_measured(answer.text).choice == 1


def test_white_space_around_a_label_is_no_other_label(client_of):
    """`A` and ` A` are one label, with the greater of their probabilities."""
    logprobs = first_token((" B", -1.0), ("A", -1.5), (" A", -0.9), ("B", -4.0))
    with WireServer(sending(chat_line(" B", logprobs=logprobs))) as server:
        answer = choose(asking(client_of(server.url)), OPTIONS, LETTERS)
    measured = read_measured(answer.text)
    assert (measured.choice, measured.logprobs) == (0, (-0.9, -1.0, None, None))


def test_a_tie_is_the_first_label(client_of):
    """Of labels with equal probability the first counts, in whatever order they were told."""
    for told in ((("C", -0.7), ("B", -0.7)), (("B", -0.7), ("C", -0.7))):
        with WireServer(sending(chat_line("C", logprobs=first_token(*told)))) as server:
            answer = choose(asking(client_of(server.url)), OPTIONS, LETTERS)
        assert read_measured(answer.text).choice == 1


def test_the_request_asks_for_one_token_and_twenty_alternatives(client_of, fake):
    """What is sent: one greedy token with its alternatives, nothing truncated, no schema."""
    fake.add("cyc", Toy(kind="abc"))
    choose(asking(client_of(fake.url)), OPTIONS, LETTERS)
    (body,) = fake.asked("/api/chat")
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert "format" not in body
    assert body["options"] == {**OPTIONS, "num_predict": 1, "temperature": 0.0}
    assert (body["truncate"], body["shift"]) == (False, False)
    assert body["messages"] == [{"role": "user", "content": "hello"}]


# The constrained answer


def test_where_no_label_is_likely_a_schema_decides(client_of, fake):
    """Without a label among the twenty tokens a second request allows nothing but the labels."""
    heard = []
    answer = choose(asking(client_of(fake.url), heard), OPTIONS, LETTERS)
    measured = read_measured(answer.text)
    assert (measured.method, measured.choice, measured.logprobs) == (
        ChoiceMethod.CONSTRAINED,
        0,
        (),
    )
    first, second = fake.asked("/api/chat")
    assert len(heard) == 2
    assert first["top_logprobs"] == 20
    assert second["format"] == {"type": "string", "enum": list(LETTERS)}
    assert "logprobs" not in second
    assert second["options"]["num_predict"] > len('"A"')
    assert second["options"]["temperature"] == 0.0


def test_a_server_without_log_probabilities_is_constrained(client_of):
    """A server too old to tell log probabilities answers with text alone: the schema decides."""
    with WireServer(sending(chat_line("B")), sending(chat_line('"C"\n'))) as server:
        answer = choose(asking(client_of(server.url)), OPTIONS, LETTERS)
    measured = read_measured(answer.text)
    assert (measured.method, measured.choice) == (ChoiceMethod.CONSTRAINED, 2)


@pytest.mark.parametrize(
    "text", ['"E"', '"A', "B", "", "{}", "[]", "0", '{"b":true}', '{\n"b"\n:true\n}']
)
def test_what_is_no_label_is_an_error(client_of, text):
    """A constrained answer that is no label (cut off, another schema) is a fault, never a guess."""
    with (
        WireServer(sending(chat_line("x")), sending(chat_line(text))) as server,
        pytest.raises(OllamaError, match="no label") as caught,
    ):
        choose(asking(client_of(server.url)), OPTIONS, LETTERS)
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("38_top_logprobs_21_400#0", "top_logprobs must be between 0 and 20"),
        ("51_format_bad_schema#2", "JSON schema conversion failed"),
        ("50_format_bad#0", 'invalid format: "\\"xml\\""'),
    ],
)
def test_a_recorded_refusal_is_the_servers_words(client_of, identity, words):
    """An error of the server is raised as such, with its words, and nothing is chosen."""
    response = RECORDED[identity]["response"]
    with (
        WireServer(sending(wire_pieces(response))) as server,
        pytest.raises(OllamaError) as caught,
    ):
        choose(asking(client_of(server.url)), OPTIONS, LETTERS)
    assert words in caught.value.detail


# In a session


@pytest.mark.parametrize(
    ("kind", "method"), [("abc", ChoiceMethod.FIRST_TOKEN), ("cyc", ChoiceMethod.CONSTRAINED)]
)
def test_a_session_answers_with_the_method(served, fake, kind, method):
    """A request with labels gets an answer that names its method, and is complete, not cut off."""
    fake.add("toy", Toy(kind=kind, weights="f" * 64))
    form = Form(continuations=(Continuation("hello", " A"),), choices=LETTERS)
    request = EngineRequest("k", HELLO, Decoding(max_tokens=8), form=form)
    engine = OllamaEngine(fake.url, timing=FAST)
    with engine, engine.open(served("toy"), LoadProfile(slots=1, context=512)) as session:
        (reply,) = session.serve([request])
    assert (reply.status, reply.completion_tokens is not None) == (Status.COMPLETED, True)
    measured = read_measured(reply.text)
    assert measured.method is method
    if method is ChoiceMethod.FIRST_TOKEN:
        prompt = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
        assert LETTERS[measured.choice] == picked(prompt)[0]


def test_a_likelihood_that_is_no_choice_is_refused(served, fake):
    """Texts without labels cannot be measured by chatting: failed with the reason, not a guess."""
    form = Form(continuations=(Continuation(None, "some text"),))
    engine = OllamaEngine(fake.url, timing=FAST)
    with engine, engine.open(served(), LoadProfile(slots=1, context=512)) as session:
        (reply,) = session.serve([EngineRequest("k", HELLO, Decoding(max_tokens=8), form=form)])
    assert reply.status is Status.FAILED
    assert "log likelihoods" in reply.reason
