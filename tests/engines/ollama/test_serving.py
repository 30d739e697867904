"""A session: answers under their keys, what goes over the wire, and the order of loading."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest
from ollama_engine import FAST, PROFILE, notices, question
from promises import pulls_as_slots_get_free

from fake_ollama import Toy
from so8t.domain.exchange import Arm, EngineRequest, LoadProfile, Message, ServedModel, Status
from so8t.engines.ollama import Deadlines, Notice, OllamaError
from so8t.errors import EngineError, ModelError

# Answers


def test_answers_are_complete_and_counted(engine_of, served):
    """A reply tells its text, its tokens and its seconds, and how it ended."""
    with engine_of().open(served(), PROFILE) as session:
        (cut,) = session.serve([question()])
        assert (cut.status, cut.text, cut.reason) == (Status.TRUNCATED, "abcdefgh", None)
        assert (cut.prompt_tokens, cut.completion_tokens) == (24, 8)
        assert cut.seconds > 0
        (whole,) = session.serve([question(stop=("de",))])
        assert (whole.status, whole.text) == (Status.COMPLETED, "abc")


def test_each_request_is_answered_once(engine_of, served, fake):
    """Every request has exactly one reply under its key."""
    fake.store.parallel = 3
    with engine_of(parallel=3).open(served(), LoadProfile(slots=3)) as session:
        replies = list(session.serve(question(n) for n in range(40)))
    assert sorted(int(reply.key) for reply in replies) == list(range(40))


def test_no_requests_no_replies(engine_of, served):
    """An empty iterable ends at once."""
    with engine_of().open(served(), PROFILE) as session:
        assert list(session.serve([])) == []


@pytest.mark.parametrize(("slots", "parallel"), [(4, 2), (2, 4)])
def test_never_more_at_once_than_slots_and_server(engine_of, served, fake, slots, parallel):
    """Concurrency is the smaller of the profile's slots and the server's, and is reported."""
    fake.store.parallel = 8
    fake.piece_seconds = 0.002
    session = engine_of(parallel=parallel).open(served(), LoadProfile(slots=slots))
    assert session.report.slots == 2
    list(session.serve(question(n) for n in range(12)))
    assert fake.most_at_once == 2


def test_requests_are_pulled_as_slots_get_free(engine_of, served, fake):
    """An endless iterable is never pulled further than the replies received plus the slots."""
    fake.store.parallel = 2
    session = engine_of(parallel=2).open(served(), LoadProfile(slots=2))
    pulls_as_slots_get_free(session, question, 2)


def test_closing_the_iterator_abandons_what_is_in_flight(engine_of, served, fake):
    """A closed iterator cuts its answers off at once, and the session serves on."""
    fake.store.parallel = 2
    patient = replace(FAST, answer=Deadlines(1.0, 60.0, 60.0, 60.0))
    engine = engine_of(parallel=2, timing=patient)
    session = engine.open(served(), LoadProfile(slots=2))
    fake.trouble.extend([None, "hang"])
    replies = session.serve([question(1), question(2)])
    next(replies)
    began = time.monotonic()
    replies.close()
    with fake.store.changed:
        fake.store.changed.wait_for(lambda: not fake.store.runners["cyc:latest"].busy, timeout=20)
    assert time.monotonic() - began < 10
    (reply,) = session.serve([question(3)])
    assert reply.text == "abcdefgh"


def test_a_closed_session_does_not_serve(engine_of, served):
    """Serving after close is an error; closing twice is none."""
    session = engine_of().open(served(), PROFILE)
    session.close()
    session.close()
    with pytest.raises(EngineError):
        list(session.serve([question()]))


def test_a_wrong_request_fails_alone(engine_of, served):
    """A request that cannot be sent is a failed reply; its neighbours are answered."""
    with engine_of().open(served(), PROFILE) as session:
        requests = [
            question("no tokens", max_tokens=0),
            EngineRequest("no message", ()),
            EngineRequest("no Unicode", (Message("user", "\ud83d"),)),
            question("no number", temperature=float("nan")),
            question("sound"),
        ]
        replies = {reply.key: reply for reply in session.serve(requests)}
    assert replies.pop("sound").text == "abcdefgh"
    assert {reply.status for reply in replies.values()} == {Status.FAILED}
    assert "num_predict" in replies["no tokens"].reason
    assert "cannot be sent" in replies["no Unicode"].reason


def test_a_prompt_that_is_too_long_fails_and_is_not_cut(engine_of, served):
    """A prompt longer than the context is a failed reply with the numbers."""
    with engine_of().open(served(), LoadProfile(context=16)) as session:
        (reply,) = session.serve([question()])
    assert reply.status is Status.FAILED
    assert "24 tokens" in reply.reason


# What goes over the wire


def test_every_request_carries_the_frozen_profile(engine_of, served, fake):
    """Load-time options, shift, truncate and keep_alive are the same on every request."""
    with engine_of(num_batch=64).open(served(), PROFILE) as session:
        list(session.serve([question(1, seed=7, top_k=3), question(2)]))
    asked = fake.asked("/api/generate") + fake.asked("/api/chat")
    loading = [body for body in asked if body["keep_alive"] != 0]
    assert len(loading) == 5  # preload, probe, render, two answers
    for body in loading:
        options = body["options"]
        assert (options["num_ctx"], options["num_batch"], options["num_thread"]) == (512, 64, 2)
        assert (body["truncate"], body["shift"]) == (False, False)
    assert all(body["options"]["num_predict"] >= 1 for body in fake.asked("/api/chat"))
    answer = fake.asked("/api/chat")[-2]["options"]
    assert (answer["seed"], answer["top_k"], answer["repeat_penalty"]) == (7, 3, 1.0)


def test_own_stops_do_not_replace_the_models(engine_of, served, fake):
    """Stops of a request are sent together with those of the model."""
    with engine_of().open(served(), PROFILE) as session:
        list(session.serve([question(stop=("zz",))]))
    stops = fake.asked("/api/chat")[-1]["options"]["stop"]
    assert stops == ["zz", "<|im_start|>", "<|im_end|>"]


def test_a_proxy_in_the_environment_is_not_used(engine_of, served, monkeypatch):
    """Requests to this machine go there, whatever HTTP_PROXY says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with engine_of().open(served(), PROFILE) as session:
        assert next(session.serve([question()])).text == "abcdefgh"


def test_importing_loads_no_http_library():
    """The package can be named without paying for the HTTP library or stamina."""
    code = (
        "import sys, so8t.engines.ollama\n"
        "print([m for m in ('httpx2', 'httpcore2', 'stamina', 'psutil') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Loading


def test_info_names_engine_and_version(engine_of):
    """Every answer can carry the engine's name and the server's version."""
    info = engine_of().info
    assert (info.name, info.version) == ("ollama", "0.33.0-rc2")


def test_the_report_tells_what_was_loaded(engine_of, served, fake):
    """Context, memory, GPU memory and template are measured, not assumed."""
    fake.store.change("cyc", gpu_share=1.0)
    report = engine_of().open(served(), PROFILE).report
    assert (report.context, report.slots) == (512, 1)
    assert report.memory == report.gpu_memory > 0
    assert report.template_digest.startswith("sha256:")
    fake.store.change("rep", rendering="<u>{content}</u>")
    other = engine_of().open(served("rep"), PROFILE).report
    assert other.template_digest != report.template_digest


@pytest.mark.parametrize(
    ("location", "digest", "words"),
    [("nope", "0" * 64, "no model"), ("cyc", "0" * 64, "another model")],
)
def test_a_model_that_is_not_the_registered_one_is_refused(engine_of, location, digest, words):
    """A missing or replaced model is a ModelError, before anything is loaded."""
    with pytest.raises(ModelError, match=words):
        engine_of().open(ServedModel(Arm.A, location, digest), PROFILE)


def test_a_damaged_model_is_a_model_error(engine_of, served, fake):
    """Weights that cannot be loaded are told as the model's fault, with the server's words."""
    fake.store.change("cyc", damage='tensor "x" offset+size (9) exceeds file size (5)')
    with pytest.raises(ModelError, match="exceeds file size"):
        engine_of().open(served(), PROFILE)


def test_others_are_unloaded_before_a_load(engine_of, served, fake, heard):
    """A foreign model is unloaded, seen to be gone, and told as a finding."""
    runner, *_ = fake.store.acquire("rep", {})
    fake.store.release("rep", runner, keep=True)
    engine_of(on_finding=heard.append).open(served(), PROFILE)
    assert set(fake.store.runners) == {"cyc:latest"}
    assert notices(heard) == [Notice.EVICTED]


def test_a_busy_foreign_model_is_waited_for_and_then_told(engine_of, served, fake):
    """Where someone else keeps the server busy, loading stops with the reason, in time."""
    fake.store.acquire("rep", {})
    began = time.monotonic()
    with pytest.raises(OllamaError, match="rep:latest did not go"):
        engine_of().open(served(), PROFILE)
    assert time.monotonic() - began < FAST.unload + 0.5
    assert "cyc:latest" not in fake.store.runners


def test_closing_unloads_where_nothing_is_known_about_memory(engine_of, served, fake):
    """Without a GPU and without a measure of free memory a session's end gives all back."""
    with engine_of().open(served(), PROFILE):
        assert fake.store.runners
    assert not fake.store.runners


def _swap(engine, served, fake):
    for name, arm in (("cyc", Arm.A), ("rep", Arm.B), ("rep", Arm.B), ("cyc", Arm.A)):
        with engine.open(served(name, arm), PROFILE) as session:
            list(session.serve([question(max_tokens=4)]))
    return sum("prompt" not in body for body in fake.asked("/api/generate"))


def test_both_stay_where_they_fit(engine_of, served, fake, heard):
    """On a GPU that holds both, each arm is loaded once and never unloaded between legs."""
    for name in ("cyc", "rep"):
        fake.store.change(name, gpu_share=1.0)
    engine = engine_of(on_finding=heard.append)
    _swap(engine, served, fake)
    assert Notice.BOTH_FIT in notices(heard)
    assert set(fake.store.runners) == {"cyc:latest", "rep:latest"}
    assert not [b for b in fake.asked("/api/generate") if b["keep_alive"] == 0]
    engine.close()
    assert not fake.store.runners


def test_both_stay_in_ram_where_it_is_measured_to_be_free(engine_of, served, fake, heard):
    """Without a GPU the caller's measure of free memory decides."""
    _swap(engine_of(available_memory=lambda: 10**12, on_finding=heard.append), served, fake)
    assert Notice.BOTH_FIT in notices(heard)
    _swap(engine_of(available_memory=lambda: 1000, on_finding=heard.append), served, fake)
    assert Notice.EVICTED in notices(heard)


def test_a_server_that_keeps_one_is_found_out(engine_of, served, fake, heard):
    """Where the server evicts the other, they do not fit, and each leg unloads first."""
    fake.store.max_loaded = 1
    for name in ("cyc", "rep"):
        fake.store.change(name, gpu_share=1.0)
    _swap(engine_of(on_finding=heard.append), served, fake)
    assert Notice.BOTH_FIT not in notices(heard)
    assert len(fake.store.runners) <= 1


def test_a_gpu_that_holds_one_is_found_out(engine_of, served, fake, heard):
    """Where the second load is pushed off the GPU, each is loaded alone, and nothing is a stop."""

    def crowd(name):
        fake.store.change(name, gpu_share=0.4 if fake.store.runners else 1.0)

    for name in ("cyc", "rep"):
        fake.store.change(name, gpu_share=1.0)
    engine = engine_of(on_finding=heard.append)
    for name in ("cyc", "rep", "cyc"):
        fake.store.before_load = crowd
        with engine.open(served(name), PROFILE) as session:
            assert session.report.gpu_memory == session.report.memory
    assert not {Notice.CPU_FALLBACK, Notice.BOTH_FIT} & set(notices(heard))


def test_two_names_on_one_blob_are_never_loaded_together(engine_of, served, fake, heard):
    """Equal weights could share a process and its template, so one leaves before the other."""
    fake.add("twin", Toy(gpu_share=1.0, rendering="{content}"))
    fake.store.change("cyc", gpu_share=1.0)
    engine = engine_of(on_finding=heard.append)
    engine.open(served("cyc"), PROFILE).close()
    engine.open(served("twin", Arm.B), PROFILE)
    assert set(fake.store.runners) == {"twin:latest"}
    assert Notice.BOTH_FIT not in notices(heard)
