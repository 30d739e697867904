"""A session in trouble: it is repaired, or stopped with the reason, and what changed is noticed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from ollama_engine import FAST, PROFILE, notices, question

from so8t.domain.exchange import LoadProfile, Status
from so8t.engines.ollama import Deadlines, Fault, Notice, OllamaError
from so8t.errors import EngineCrashed, EngineError

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
    supervisor = session._supervisor

    def first_deadline():
        while len(fake.asked("/api/chat")) < 3:  # the rendering at the load, and both questions
            time.sleep(0.02)
        fake.store.stubborn = False
        supervisor.mend(OllamaError(Fault.DEADLINE, "no byte"), 0)

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
    supervisor = session._supervisor
    repairing, go_on = threading.Event(), threading.Event()

    def repair():
        repairing.set()
        assert go_on.wait(20)
        return True

    mender = threading.Thread(target=supervisor._guarded, args=(0, repair))
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


@pytest.mark.slow
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
