"""The faults of the scripted engine happen where they were ordered."""

from __future__ import annotations

import pytest

from so8t.domain.exchange import Arm, LoadProfile, ServedModel, Status
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.errors import EngineCrashed

MODEL = ServedModel(Arm.A, "script", "sha256:script")


def _serve(engine, requests, *, slots=1, model=MODEL):
    with engine.open(model, LoadProfile(slots=slots)) as session:
        return list(session.serve(requests))


def _four_words(request):
    return f"{request.key} two three four"


def test_crashes_session_by_session(question):
    """The n-th session crashes after the n-th number of answers; later sessions do not."""
    engine = ScriptedEngine(_four_words, Faults(crash_after=(2, 0)))
    for expected in (2, 0):
        received = []
        with engine.open(MODEL, LoadProfile()) as session, pytest.raises(EngineCrashed):
            # A list that grows by a generator keeps what came before the error.
            received.extend(session.serve(map(question, range(9))))
        assert len(received) == expected
    assert len(_serve(engine, map(question, range(9)))) == 9


def test_a_crashed_session_stays_crashed(question):
    """After its crash a session answers nothing more."""
    with ScriptedEngine(_four_words, Faults(crash_after=(0,))).open(MODEL, LoadProfile()) as one:
        for _ in range(2):
            with pytest.raises(EngineCrashed):
                list(one.serve([question(1)]))


def test_failed_and_truncated_keys(question):
    """Ordered keys fail with their reason or are cut; all others are completed."""
    engine = ScriptedEngine(_four_words, Faults(fail={"1": "offline"}, truncate=frozenset({"2"})))
    failed, cut, whole = _serve(engine, map(question, (1, 2, 3)))
    assert (failed.status, failed.reason, failed.text) == (Status.FAILED, "offline", "")
    assert (cut.status, cut.text) == (Status.TRUNCATED, "2 two")
    assert (whole.status, whole.text) == (Status.COMPLETED, "3 two three four")


def test_order_of_completion(question):
    """Replies keep the order of the requests, or come newest first among those in flight."""
    forward = _serve(ScriptedEngine(_four_words), map(question, range(5)), slots=3)
    assert [reply.key for reply in forward] == list("01234")
    backward = _serve(
        ScriptedEngine(_four_words, Faults(reverse=True)), map(question, range(5)), slots=3
    )
    assert [reply.key for reply in backward] == list("23410")


def test_delay_goes_through_the_given_sleep(question):
    """Each answer sleeps for the delay, and says so in its seconds."""
    slept = []
    engine = ScriptedEngine(_four_words, Faults(delay=0.5), sleep=slept.append)
    replies = _serve(engine, map(question, range(3)))
    assert slept == [0.5] * 3
    assert [reply.seconds for reply in replies] == [0.5] * 3


def test_an_answer_for_each_arm(question):
    """With a function for each arm, the model's arm decides who answers."""
    engine = ScriptedEngine({Arm.A: lambda _: "from a", Arm.B: lambda _: "from b"})
    model_b = ServedModel(Arm.B, "script", "sha256:script")
    assert _serve(engine, [question(1)])[0].text == "from a"
    assert _serve(engine, [question(1)], model=model_b)[0].text == "from b"
