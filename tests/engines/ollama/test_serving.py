"""A session: order of loading, own queue, repair, and what is noticed on the way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import count, islice

import pytest

from conftest import FAST, HELLO
from so8t.domain.exchange import (
    Arm,
    Decoding,
    EngineRequest,
    LoadProfile,
    Message,
    ServedModel,
    Status,
)
from so8t.engines.ollama import Deadlines, Fault, Notice, OllamaEngine, OllamaError
from so8t.engines.ollama.fake import Toy
from so8t.errors import EngineCrashed, EngineError, ModelError

PROFILE = LoadProfile(slots=1, context=512, threads=2)


def question(key="k", **decoding):
    return EngineRequest(str(key), HELLO, Decoding(**{"max_tokens": 8, **decoding}))


@pytest.fixture
def engine_of(fake):
    """Make engines for the fake server; they are closed at the end. `heard` holds findings."""
    made = []

    def make(**options):
        options.setdefault("timing", FAST)
        made.append(OllamaEngine(fake.url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def heard():
    return []


def notices(heard):
    return [finding.notice for finding in heard]


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
    pulled = 0

    def endless():
        nonlocal pulled
        for number in count():
            pulled += 1
            yield question(number)

    session = engine_of(parallel=2).open(served(), LoadProfile(slots=2))
    replies = session.serve(endless())
    for received, _reply in enumerate(islice(replies, 9), start=1):
        assert pulled <= received + 2
    replies.close()


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


def test_info_names_lane_and_version(engine_of):
    """Every answer can carry the lane and the server's version."""
    info = engine_of().info
    assert (info.lane, info.version) == ("ollama", "0.33.0-rc2")


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


# Repair


def test_a_crashed_process_costs_one_retry(engine_of, served, fake, heard):
    """A model process that dies in the middle costs one more try; the text is whole."""
    session = engine_of(on_finding=heard.append).open(served(), PROFILE)
    fake.trouble.append("crash_midway")
    (reply,) = session.serve([question()])
    assert reply.text == "abcdefgh"
    assert len(fake.asked("/api/chat")) == 3  # render, two tries
    assert Notice.RETRIED in notices(heard)


def test_a_stuck_server_is_freed_by_unloading(engine_of, served, fake, heard):
    """The deadlock in which lists look healthy and nothing is answered is found and resolved."""
    session = engine_of(on_finding=heard.append).open(served(), PROFILE)
    fake.store.stuck = True
    (reply,) = session.serve([question()])
    assert reply.text == "abcdefgh"
    assert Notice.UNSTUCK in notices(heard)


def test_all_slots_survive_a_stuck_server(engine_of, served, fake, heard):
    """Answers that hang beside each other are all asked again after one repair."""
    fake.store.parallel = 3
    session = engine_of(parallel=3, on_finding=heard.append).open(served(), LoadProfile(slots=3))
    fake.store.stuck = True
    replies = list(session.serve(question(n) for n in range(6)))
    assert {reply.text for reply in replies} == {"abcdefgh"}
    assert notices(heard).count(Notice.UNSTUCK) == 1


def test_answers_that_hang_beside_a_stuck_one_are_cut_at_once(engine_of, served, fake, heard):
    """The first deadline cuts all others in flight: an unload waits for none of them."""
    fake.store.parallel = 2
    # The second answer would be waited for a minute if the repair did not cut it.
    patient = replace(FAST, answer=Deadlines(1.0, 60.0, 60.0, 60.0))
    engine = engine_of(parallel=2, timing=patient, on_finding=heard.append)
    session = engine.open(served(), LoadProfile(slots=2))
    fake.store.stuck = fake.store.stubborn = True
    replies = session.serve([question(1), question(2)])
    keeper = session._keeper

    def first_deadline():
        while len(fake.asked("/api/chat")) < 3:  # the rendering at the load, and both questions
            time.sleep(0.02)
        fake.store.stubborn = False
        keeper.mend(OllamaError(Fault.DEADLINE, "no byte"), 0)

    impatient = threading.Thread(target=first_deadline)
    began = time.monotonic()
    impatient.start()
    assert {reply.text for reply in replies} == {"abcdefgh"}
    impatient.join()
    assert time.monotonic() - began < 30
    assert notices(heard).count(Notice.UNSTUCK) == 1


def test_nothing_is_asked_while_the_server_is_repaired(engine_of, served, fake):
    """A request that comes during a repair waits: asked at once, it would revive the model."""
    session = engine_of().open(served(), PROFILE)
    keeper = session._keeper
    repairing, go_on = threading.Event(), threading.Event()

    def repair():
        repairing.set()
        assert go_on.wait(20)
        return True

    mender = threading.Thread(target=keeper._guarded, args=(0, repair))
    mender.start()
    assert repairing.wait(20)
    before = len(fake.requests)
    got = []
    asker = threading.Thread(target=lambda: got.extend(session.serve([question()])))
    asker.start()
    asker.join(0.3)
    assert (asker.is_alive(), len(fake.requests)) == (True, before)
    go_on.set()
    asker.join(20)
    mender.join(20)
    assert [reply.text for reply in got] == ["abcdefgh"]


def test_a_restarted_server_is_waited_for(engine_of, served, fake, heard):
    """A server that goes away in the middle and comes back costs time, no answer."""
    session = engine_of(on_finding=heard.append).open(served(), PROFILE)
    replies = session.serve(question(n) for n in range(6))
    next(replies)
    fake.stop()
    back = threading.Timer(0.4, fake.start)
    back.start()
    rest = list(replies)
    back.join()
    assert [reply.text for reply in rest] == ["abcdefgh"] * 5
    assert Notice.RESTARTED in notices(heard)


def test_a_server_is_started_again_by_whoever_manages_it(engine_of, served, fake):
    """Where the server is managed, its restart is asked for instead of waited for."""
    session = engine_of(restart=fake.start).open(served(), PROFILE)
    fake.stop()
    (reply,) = session.serve([question()])
    assert reply.text == "abcdefgh"


def test_a_server_that_hangs_for_good_is_restarted_by_whoever_manages_it(engine_of, served, fake):
    """Where unloading does not free a managed server, it is restarted, once."""
    restarts = []

    def restart():
        restarts.append(1)
        fake.stop()
        fake.store.stuck = fake.store.stubborn = False
        fake.start()

    session = engine_of(restart=restart).open(served(), PROFILE)
    fake.store.stuck = fake.store.stubborn = True
    (reply,) = session.serve([question()])
    assert (reply.text, len(restarts)) == ("abcdefgh", 1)


def test_another_version_is_a_stop(engine_of, served, fake, heard):
    """A server that comes back as another version ends the session and says why."""
    session = engine_of(on_finding=heard.append).open(served(), PROFILE)
    fake.stop()
    fake.version = "0.34.0"
    back = threading.Timer(0.2, fake.start)
    back.start()
    with pytest.raises(EngineCrashed, match=r"0\.34\.0"):
        list(session.serve([question()]))
    back.join()
    assert any(finding.stop for finding in heard)
    session.close()


def test_a_run_does_not_go_on_with_another_version(engine_of, served, fake):
    """An engine that began with one version opens no session on another."""
    engine = engine_of()
    engine.open(served(), PROFILE).close()
    fake.version = "0.34.0"
    with pytest.raises(EngineError, match="began with"):
        engine.open(served(), PROFILE)


def test_a_model_that_vanishes_is_a_stop(engine_of, served, fake):
    """A model deleted in the middle ends the session: no other question could do better."""
    session = engine_of().open(served(), PROFILE)
    fake.store.remove("cyc")
    with pytest.raises(EngineCrashed, match="not found"):
        list(session.serve([question(n) for n in range(50)]))
    assert len(fake.asked("/api/chat")) < 6


def test_replies_before_a_crash_stand(engine_of, served, fake):
    """Replies already yielded are complete; the crash comes after them."""
    session = engine_of().open(served(), PROFILE)
    replies = session.serve([question(n) for n in range(3)])
    assert next(replies).text == "abcdefgh"
    fake.stop()
    with pytest.raises(EngineCrashed):
        list(replies)


# Noticing


def test_a_shortened_context_is_noticed(engine_of, served, heard):
    """A context that the model was not trained for is cut by the server, and told as a stop."""
    session = engine_of(on_finding=heard.append).open(served(), LoadProfile(context=9999))
    assert session.report.context == 2048
    assert notices(heard) == [Notice.SHORT_CONTEXT]
    assert heard[0].stop


def test_a_fall_to_the_cpu_after_a_crash_is_noticed(engine_of, served, fake, heard):
    """A model that comes back on the CPU is told as a stop at the next answer."""
    fake.store.change("cyc", gpu_share=1.0)
    session = engine_of(on_finding=heard.append).open(served(), PROFILE)
    fake.trouble.append("crash")
    fake.store.change("cyc", gpu_share=0.2)
    list(session.serve([question()]))
    (fall,) = [finding for finding in heard if finding.notice is Notice.CPU_FALLBACK]
    assert fall.stop
    assert "100% to 20%" in fall.message


def test_a_prompt_of_the_wrong_length_is_noticed(engine_of, served, heard):
    """Our own token count against the server's shows a cut or differently rendered prompt."""
    engine = engine_of(on_finding=heard.append, counter_of=lambda _name: lambda _messages: 40)
    with engine.open(served(), PROFILE) as session:
        list(session.serve([question()]))
    assert notices(heard) == [Notice.TRUNCATED_PROMPT]
    assert heard[0].data == {"key": "k", "expected": 40, "counted": 24}


def test_prompts_that_cannot_be_counted_are_told_once(engine_of, served, heard):
    """A model without its own tokenizer at hand is said to be uncounted, once for each load."""
    engine = engine_of(on_finding=heard.append, counter_of=lambda _name: None)
    with engine.open(served(), PROFILE) as session:
        list(session.serve(question(n) for n in range(3)))
    assert notices(heard) == [Notice.UNCOUNTED]


def test_an_answer_cut_by_the_context_says_so(engine_of, served, heard):
    """A length end before the token budget is the context's, and told in reply and finding."""
    with engine_of(on_finding=heard.append).open(served(), LoadProfile(context=30)) as session:
        (reply,) = session.serve([question(max_tokens=20)])
    assert reply.status is Status.TRUNCATED
    assert reply.reason == "the context was full after 6 of 20 tokens"
    assert notices(heard) == [Notice.CONTEXT_FULL]


def test_a_reload_in_the_middle_is_noticed(engine_of, served, fake, heard):
    """An answer that had to load the model again is told: someone evicted it."""
    with engine_of(on_finding=heard.append).open(served(), PROFILE) as session:
        fake.store.crash("cyc")
        fake.store.load_seconds = 0.15
        list(session.serve([question()]))
    assert notices(heard) == [Notice.RELOADED]


def test_findings_come_in_the_callers_thread(engine_of, served, fake):
    """Findings are handed over in the thread that uses the engine, as a journal needs it."""
    threads = set()

    def listen(_finding):
        threads.add(threading.current_thread())

    session = engine_of(on_finding=listen).open(served(), PROFILE)
    fake.trouble.append("crash_midway")
    list(session.serve([question()]))
    assert threads == {threading.current_thread()}
    assert session.findings
