"""The embedded engine: answers that can be repeated, errors with a cause, crashes for real."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from processes import gone
from so8t.domain.exchange import (
    Arm,
    Continuation,
    Decoding,
    EngineRequest,
    Form,
    LoadProfile,
    Message,
    PromptTemplate,
    ServedModel,
    Status,
)
from so8t.domain.thinking import split_reply
from so8t.engines.embedded import EmbeddedDeadlines, EmbeddedEngine
from so8t.errors import EngineCrashed, ModelError
from tiny_gguf import TEMPLATE, write_tiny_gguf

ONE_SLOT = LoadProfile(slots=1, context=512, threads=1)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc as Linux has them")


def _ask(model, requests, profile=ONE_SLOT):
    with EmbeddedEngine().open(model, profile) as session:
        return list(session.serve(requests))


def _texts(replies):
    return {reply.key: (reply.status, reply.text) for reply in replies}


# Answers


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_order_or_restart(tiny_model, question, temperature):
    """At one slot the same seed gives the same answers in any order and in a new process."""
    requests = [question(n, temperature=temperature, seed=7) for n in range(40)]
    shuffled = random.Random(3).sample(requests, len(requests))
    with EmbeddedEngine().open(tiny_model, ONE_SLOT) as session:
        first = _texts(session.serve(requests))
        assert _texts(session.serve(shuffled)) == first
    assert _texts(_ask(tiny_model, requests[::-1])) == first
    assert len(set(first.values())) > 5


def test_the_seed_decides_at_a_temperature(tiny_model, question):
    """Two seeds give other answers at temperature 1, and the same at temperature 0."""
    at = {
        temperature: {
            seed: [
                reply.text
                for reply in _ask(
                    tiny_model,
                    [question(n, temperature=temperature, seed=seed) for n in range(10)],
                )
            ]
            for seed in (1, 2)
        }
        for temperature in (0.0, 1.0)
    }
    assert at[1.0][1] != at[1.0][2]
    assert at[0.0][1] == at[0.0][2]


@pytest.mark.slow
@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}])
def test_top_k_and_top_p_leave_out_what_is_unlikely(tiny_model, question, narrow):
    """At a high temperature with one token left to draw from, the answers are the greedy ones."""

    def answers(**decoding):
        asked = [question(n, **decoding) for n in range(6)]
        return [reply.text for reply in _ask(tiny_model, asked)]

    greedy = answers(temperature=0.0)
    assert answers(temperature=2.0, **narrow) == greedy
    assert answers(temperature=2.0) != greedy


def test_white_space_of_an_answer_is_kept(tmp_path, tiny_model, question):
    """An answer that begins and ends with white space comes back with it."""
    path = write_tiny_gguf(tmp_path / "spaces.gguf", seed=4, space_weight=20.0)
    model = replace(tiny_model, location=str(path))
    texts = [reply.text for reply in _ask(model, [question(n) for n in range(9)])]
    assert any(text.startswith(" ") for text in texts)
    assert any(text.endswith(" ") for text in texts)


def test_a_sampling_default_in_the_model_file_changes_nothing(tmp_path, tiny_model, question):
    """A temperature in a model file's own metadata does not override the request's."""
    path = write_tiny_gguf(tmp_path / "hot.gguf", sampling_temperature=9.0)
    requests = [question(n) for n in range(10)]
    hot = replace(tiny_model, location=str(path))
    assert _texts(_ask(hot, requests)) == _texts(_ask(tiny_model, requests))


def test_the_whole_conversation_is_rendered(tiny_model):
    """All turns reach the model, also when the last one is the assistant's."""
    turns = (Message("system", "Be brief."), Message("user", "q"), Message("assistant", "so"))
    for taken in (turns[:2], turns):
        (reply,) = _ask(tiny_model, [EngineRequest("k", taken)])
        # A byte is a token here, and so are <|im_start|> and <|im_end|>.
        rendered = sum(len(turn.role) + len(turn.content) + 4 for turn in taken)
        assert reply.prompt_tokens == rendered + len("assistant\n") + 1


def test_a_stop_sequence_completes(endless_model, question):
    """An answer that meets a stop sequence is completed, without the sequence."""
    (plain,) = _ask(endless_model, [question(1, max_tokens=40)])
    stop = plain.text[10:12]
    (reply,) = _ask(endless_model, [question(1, max_tokens=40, stop=(stop,))])
    assert reply.status is Status.COMPLETED
    assert reply.text == plain.text[: plain.text.index(stop)]


def test_the_token_budget_truncates(endless_model, question):
    """An answer that reaches max_tokens is truncated, with exactly so many tokens."""
    (reply,) = _ask(endless_model, [question(1, max_tokens=11)])
    assert (reply.status, reply.completion_tokens) == (Status.TRUNCATED, 11)


def test_the_end_of_the_context_truncates(endless_model, question):
    """An answer that fills the slot's context is truncated; nothing of the prompt is dropped."""
    (reply,) = _ask(endless_model, [question("k", "y" * 300, max_tokens=5000)])
    assert reply.status is Status.TRUNCATED
    assert reply.prompt_tokens > 300
    assert reply.prompt_tokens + reply.completion_tokens == 512


def test_a_prompt_that_does_not_fit_fails(tiny_model, question):
    """A prompt longer than a slot is a failure with reason "context" and its own length."""
    profile = replace(ONE_SLOT, slots=2)
    (reply,) = _ask(tiny_model, [question("k", "y" * 600)], profile)
    assert (reply.status, reply.reason) == (Status.FAILED, "context")
    assert reply.prompt_tokens > 600


def test_text_that_is_no_unicode_fails_alone(tiny_model, question):
    """A lone surrogate in a question fails that question and no other."""
    bad, good = _ask(tiny_model, [question("bad", "\ud800"), question("good", "日本語")])
    assert bad.status is Status.FAILED
    assert bad.reason.startswith("request: ")
    assert good.status is Status.COMPLETED


def test_a_template_that_refuses_fails_alone(tmp_path, tiny_model, question):
    """A question that the chat template raises for is a failure with the template's words."""
    condition = "{% if 'taboo' in messages[0]['content'] %}"
    refusing = condition + "{{ raise_exception('not that') }}{% endif %}" + TEMPLATE
    path = write_tiny_gguf(tmp_path / "refusing.gguf", template=refusing)
    bad, good = _ask(
        replace(tiny_model, location=str(path)), [question(1, "a taboo"), question(2, "a joke")]
    )
    assert bad.status is Status.FAILED
    assert "not that" in bad.reason
    assert good.status is Status.COMPLETED


def test_slots_answer_at_the_same_time(endless_model, question):
    """A short answer overtakes a long one that was asked before it in another slot."""
    requests = [question("long", max_tokens=400), question("short", max_tokens=2)]
    replies = _ask(endless_model, requests, replace(ONE_SLOT, slots=2))
    assert [reply.key for reply in replies] == ["short", "long"]


def test_a_base_model_answers_what_needs_no_template(tmp_path):
    """Without a chat template texts are continued and measured; a conversation alone fails."""
    path = write_tiny_gguf(tmp_path / "base.gguf", template=None)
    requests = [
        EngineRequest("chat", (Message("user", "One?"),)),
        EngineRequest("completion", (), Decoding(max_tokens=4), Form(prompt="One, two,")),
        EngineRequest("likelihood", (), form=Form((Continuation("One", " two"),))),
    ]
    found = {one.key: one for one in _ask(ServedModel(Arm.A, str(path), "d"), requests)}
    assert found["chat"].status is Status.FAILED
    assert "no chat template" in (found["chat"].reason or "")
    assert found["completion"].completion_tokens
    assert found["likelihood"].status is Status.COMPLETED


def _prompt_tokens(model, **template) -> int:
    asked = replace(model, template=PromptTemplate(**template))
    (reply,) = _ask(asked, [EngineRequest("k", (Message("user", "x"),), Decoding(max_tokens=1))])
    assert reply.prompt_tokens is not None
    return reply.prompt_tokens


def test_a_template_of_the_config_takes_the_place_of_the_file_s(tiny_model):
    """Its text, its arguments and the run's clock make the prompt, byte by byte."""
    plain = "{{ messages[0].content }}{{ mood }}{{ strftime_now('%Y') }}"
    now = "2020-01-02T03:04:05+00:00"
    assert _prompt_tokens(tiny_model, source=plain, now=now) == 5
    assert _prompt_tokens(tiny_model, source=plain, arguments={"mood": "abc"}, now=now) == 8
    at = "{{ strftime_now('%H') }}" + "{% if strftime_now('%H') == '03' %}abcdefgh{% endif %}"
    assert _prompt_tokens(tiny_model, source=at, now=now) == 10


def test_thinking_that_the_template_opened_begins_the_reply(tmp_path):
    """The mark that the prompt ends with is part of the reply, so that thinking is seen as such."""
    path = write_tiny_gguf(tmp_path / "m.gguf", template=TEMPLATE + "<think>\n", end_weight=0)
    request = EngineRequest("k", (Message("user", "x"),), Decoding(max_tokens=4))
    (reply,) = _ask(ServedModel(Arm.A, str(path), "d"), [request])
    assert reply.text.startswith("<think>")
    assert split_reply(reply.text).cut


# Models that cannot be loaded


def _cut(source, size):
    return lambda path: path.write_bytes(Path(source.location).read_bytes()[:size])


def _renamed(source, old, new):
    return lambda path: path.write_bytes(Path(source.location).read_bytes().replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: lambda _: None, "there is no such file"),
        (lambda _: lambda path: path.touch(), "the file is empty"),
        (lambda _: lambda path: path.write_text("hello"), "no GGUF"),
        (lambda _: lambda path: path.mkdir(), "this is no file"),
        (lambda tiny: _cut(tiny, 2_000), "more than fit in the file"),
        (lambda tiny: _cut(tiny, 40_000), "it is truncated"),
        (lambda tiny: _renamed(tiny, b"ffn_gate", b"ffn_gone"), "ffn_gate.weight' not found"),
        (lambda tiny: _renamed(tiny, b"llama", b"lemma"), "unknown model architecture"),
        (lambda _: lambda path: write_tiny_gguf(path, template="{% if %}"), "chat template"),
    ],
)
def test_a_broken_model_is_named_with_its_cause(tmp_path, tiny_model, spoil, said):
    """Whatever is wrong with a model file, ModelError says it, names the file and gives a hint."""
    path = tmp_path / "model.gguf"
    spoil(tiny_model)(path)
    with pytest.raises(ModelError) as caught:
        EmbeddedEngine().open(replace(tiny_model, location=str(path)), ONE_SLOT)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert not psutil.Process().children()


# Processes


def test_the_parent_loads_no_native_code(tiny_model):
    """Neither naming the version nor serving imports xllamacpp in the parent."""
    program = (
        "import sys; from so8t.engines.embedded import EmbeddedEngine;"
        "from so8t.domain.exchange import *; e = EmbeddedEngine(); print(e.info.version);"
        f"e.open(ServedModel(Arm.A, {tiny_model.location!r}, 'd'), LoadProfile()).close();"
        "sys.exit('xllamacpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.startswith(b"xllamacpp 20")


def test_nobody_else_can_ask(tiny_model):
    """The child listens on the loopback address only, and refuses who does not know its key."""
    with EmbeddedEngine().open(tiny_model, ONE_SLOT) as session:
        sockets = psutil.Process(session.pid).net_connections(kind="inet")
        addresses = [each.laddr for each in sockets if each.status == psutil.CONN_LISTEN]
        assert [address.ip for address in addresses] == ["127.0.0.1"]
        body = b'{"prompt": "x", "max_tokens": 1}'
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{addresses[0].port}/completions", body)
        assert caught.value.code == 401
        caught.value.close()


def test_threads_sleep_while_they_wait(tiny_model, monkeypatch):
    """OpenMP threads are told not to spin, unless the user chose a policy."""
    for own, expected in ((None, "passive"), ("active", "active")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if own:
            monkeypatch.setenv("OMP_WAIT_POLICY", own)
        with EmbeddedEngine().open(tiny_model, ONE_SLOT) as session:
            assert psutil.Process(session.pid).environ()["OMP_WAIT_POLICY"] == expected


def test_the_report_has_the_memory_of_the_child(tiny_model):
    """The load report tells the child's resident bytes."""
    with EmbeddedEngine().open(tiny_model, ONE_SLOT) as session:
        assert 10_000_000 < session.report.memory < 2_000_000_000


def _crash_after(session, requests, answers, crash):
    received = []
    try:
        for reply in session.serve(requests):
            received.append(reply)
            if len(received) == answers:
                crash(session.pid)
    except EngineCrashed as error:
        return received, error
    pytest.fail("the crash went unseen")


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
@pytest.mark.parametrize("slots", [1, 4])
def test_a_crash_keeps_what_was_received(tiny_model, question, end, slots):
    """When the child dies, replies so far stand, the error names the signal, a new one serves."""
    engine, profile = EmbeddedEngine(), replace(ONE_SLOT, slots=slots)
    requests = [question(n) for n in range(60)]
    with engine.open(tiny_model, profile) as session:
        received, error = _crash_after(session, requests, 5, lambda pid: os.kill(pid, end))
        assert 5 <= len(received) < 60
        assert end.name in error.message
        assert error.retryable
        with pytest.raises(EngineCrashed):
            list(session.serve(requests))
    done = {reply.key for reply in received}
    with engine.open(tiny_model, profile) as session:
        rest = list(session.serve(each for each in requests if each.key not in done))
    assert done | {reply.key for reply in rest} == {each.key for each in requests}
    assert len(done) + len(rest) == 60


@LINUX
def test_a_hung_child_is_ended_at_the_deadline(endless_model, question):
    """A child that stops in the middle of an answer is killed when the answer's deadline passes."""
    engine = EmbeddedEngine(deadlines=EmbeddedDeadlines(answer=0.5, answer_per_token=0.0))
    with engine.open(endless_model, ONE_SLOT) as session:
        started = time.monotonic()
        received, error = _crash_after(
            session, map(question, range(9)), 2, lambda pid: os.kill(pid, signal.SIGSTOP)
        )
        assert 2 <= len(received) < 9
        assert "deadline" in error.message
        assert time.monotonic() - started < 5
        assert gone(session.pid)


def test_a_load_that_hangs_is_ended(tiny_model):
    """A load that passes its deadline raises EngineCrashed and leaves no process behind."""
    engine = EmbeddedEngine(deadlines=EmbeddedDeadlines(load=0.01, load_per_gib=0.0))
    with pytest.raises(EngineCrashed, match="did not load"):
        engine.open(tiny_model, ONE_SLOT)
    assert not psutil.Process().children()


def test_deadlines_grow_with_the_work():
    """A longer prompt, a larger budget and a larger file get more time; the context bounds it."""
    deadlines = EmbeddedDeadlines(load=10, load_per_gib=60, answer=5, answer_per_token=2)
    request = EngineRequest("k", (Message("user", "x" * 100),), Decoding(max_tokens=50))
    assert deadlines.for_answer(request, context=1000) == 5 + 2 * 150
    assert deadlines.for_answer(request, context=120) == 5 + 2 * 120
    assert deadlines.for_load(1 << 31) == 10 + 120


@LINUX
@pytest.mark.parametrize("when", ["loading", "serving"])
def test_the_child_dies_with_a_killed_parent(endless_model, when):
    """When the parent is SIGKILLed, while loading or in the middle of answers, the child ends."""
    program = f"""
import psutil
from so8t.domain.exchange import *
from so8t.engines.embedded import EmbeddedEngine
child = lambda: psutil.Process().children()[0].pid
if {when!r} == "loading":
    import threading, time
    def tell():
        while not psutil.Process().children(): pass
        print(child(), flush=True)
    threading.Thread(target=tell).start()
model = ServedModel(Arm.A, {endless_model.location!r}, "d")
s = EmbeddedEngine().open(model, LoadProfile(slots=2, context=4096, threads=1))
q = lambda: EngineRequest("k", (Message("user", "go on"),), Decoding(max_tokens=4000))
if {when!r} == "serving":
    print(child(), flush=True)
for _ in s.serve(q() for _ in iter(int, 1)):
    pass
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        pid = int(parent.stdout.readline())
        if when == "serving":
            time.sleep(0.3)
        assert psutil.pid_exists(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert gone(pid)


@LINUX
def test_a_killed_run_leaves_no_files(tmp_path, tiny_model, question, monkeypatch):
    """A session leaves nothing in the temporary directory, also when its child is killed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with EmbeddedEngine().open(tiny_model, ONE_SLOT) as session:
        _crash_after(session, map(question, range(9)), 1, lambda pid: os.kill(pid, signal.SIGKILL))
    assert list(tmp_path.iterdir()) == []


def test_a_model_path_may_have_any_letters(tmp_path, question):
    """A model in a directory with spaces and Japanese letters is loaded."""
    folder = tmp_path / "モデル 一"
    folder.mkdir()
    path = write_tiny_gguf(folder / "tiny.gguf")
    (reply,) = _ask(ServedModel(Arm.B, str(path), "d"), [question(1)])
    assert reply.status is Status.COMPLETED
