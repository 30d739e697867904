"""What the pipeline may rely on with any engine; run against each that needs no server."""

from __future__ import annotations

import pytest
from promises import pulls_as_slots_get_free

from so8t.domain.exchange import Arm, LoadProfile, ServedModel, Status
from so8t.engines.embedded import EmbeddedEngine
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.errors import EngineError, ModelError

ABSENT = ServedModel(Arm.A, "/nowhere/model.gguf", "sha256:none")
TOO_LONG = "x" * 4000


def _echo(request):
    return f"answer to {request.messages[-1].content}"


@pytest.fixture(params=["embedded", "scripted"])
def engine(request):
    if request.param == "embedded":
        return EmbeddedEngine()
    faults = Faults(fail={"too long": "context"}, refuse=frozenset({ABSENT.location}), reverse=True)
    return ScriptedEngine(_echo, faults)


@pytest.fixture
def open_session(engine, tiny_model):
    opened = []

    def make(slots=2):
        opened.append(engine.open(tiny_model, LoadProfile(slots=slots, context=512, threads=1)))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


def test_each_request_is_answered_once_under_its_key(open_session, question):
    """Every request has exactly one reply, which carries its key."""
    replies = list(open_session().serve(question(n) for n in range(20)))
    assert sorted(int(reply.key) for reply in replies) == list(range(20))


def test_no_requests_no_replies(open_session):
    """An empty iterable ends at once."""
    assert list(open_session().serve([])) == []


def test_replies_tell_text_and_tokens(open_session, question):
    """A completed reply has a text, token counts and seconds, and no reason."""
    (reply,) = open_session(1).serve([question(1)])
    assert reply.status is Status.COMPLETED
    assert reply.text
    assert reply.reason is None
    assert reply.prompt_tokens > 0
    assert reply.completion_tokens > 0
    assert reply.seconds >= 0


@pytest.mark.parametrize("slots", [1, 3])
def test_requests_are_pulled_as_slots_get_free(open_session, question, slots):
    """An endless iterable is never pulled further than the replies received plus the slots."""
    pulls_as_slots_get_free(open_session(slots), question, slots)


def test_a_closed_iterator_leaves_a_usable_session(open_session, question):
    """After an iterator was closed early, the next one gets its own replies and no others."""
    session = open_session(2)
    served = session.serve(question(f"old {n}") for n in range(10))
    next(served)
    served.close()
    replies = list(session.serve(question(f"new {n}") for n in range(5)))
    assert sorted(reply.key for reply in replies) == [f"new {n}" for n in range(5)]


def test_an_error_in_the_requests_comes_through(open_session, question):
    """An exception of the iterable reaches the caller, and the session stays usable."""
    session = open_session(1)

    def broken():
        yield question(1)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(session.serve(broken()))
    assert [reply.key for reply in session.serve([question(2)])] == ["2"]


def test_one_failed_request_fails_alone(open_session, question):
    """A request that cannot be answered is a failed reply with a reason and without a text."""
    replies = {
        reply.key: reply
        for reply in open_session().serve(
            [question(1), question("too long", TOO_LONG), question(2)]
        )
    }
    assert replies["too long"].status is Status.FAILED
    assert replies["too long"].reason == "context"
    assert replies["too long"].text == ""
    assert replies["1"].status is replies["2"].status is Status.COMPLETED


def test_equal_requests_have_equal_answers(open_session, question):
    """At one slot, the same request gets the same text again."""
    session = open_session(1)
    first, second = (next(iter(session.serve([question(5)]))) for _ in range(2))
    assert first.text == second.text


def test_the_report_tells_what_was_given(open_session):
    """The load report has the slots and the context of the profile, and a template digest."""
    report = open_session(2).report
    assert (report.slots, report.context) == (2, 512)
    assert report.template_digest.startswith("sha256:")
    assert report.seconds >= 0


def test_only_one_iterator_at_a_time(open_session, question):
    """A second serve() while the first is open is refused, not mixed with it."""
    session = open_session(1)
    served = session.serve([question(1), question(2)])
    next(served)
    with pytest.raises(EngineError, match="already serving"):
        next(session.serve([question(3)]))
    served.close()


def test_a_closed_session_says_so(open_session, question):
    """Closing twice is fine; serving afterwards is an EngineError."""
    session = open_session()
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        list(session.serve([question(1)]))


def test_a_model_that_cannot_be_loaded(engine):
    """open() raises ModelError with a hint."""
    with pytest.raises(ModelError) as caught:
        engine.open(ABSENT, LoadProfile())
    assert caught.value.hint


def test_name_and_version_are_named(engine):
    """Every engine says who it is."""
    assert engine.info.name
    assert engine.info.version


def test_fewer_in_flight_than_slots_on_request(open_session, question):
    """`in_flight` is followed between answers, up and down, and never starves the session."""
    allowed, pulled = 1, 0

    def questions():
        nonlocal pulled
        for number in range(12):
            pulled += 1
            yield question(number)

    beside = []
    served = open_session(3).serve(questions(), in_flight=lambda: allowed)
    for received, _ in enumerate(served, start=1):
        beside.append(pulled - received)
        allowed = 3 if 4 <= received < 8 else 0
    assert max(beside[:4]) <= 1
    assert max(beside[4:8]) > 1
    assert max(beside[-3:]) <= 1
