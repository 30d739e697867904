"""Places that die, hang, slow down or come back: every question answered once, none blamed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import pulls_as_slots_get_free

from so8t.domain.exchange import EngineReply, EngineRequest, LoadReport, Message, Status
from so8t.engines.pool import (
    MemberBusyError,
    MemberChangedError,
    MemberDownError,
    PoolSession,
    order_of,
)
from so8t.errors import EngineError


def question(number, **more):
    return EngineRequest(str(number), (Message("user", str(number)),), item=str(number), **more)


class FakePlace:
    """A member that answers with its question, after `seconds`; faults are given as functions."""

    def __init__(self, name, *, kind="k", slots=2, seconds=0.0, fault=None, revive=None):
        self.name, self.kind, self.slots = name, kind, slots
        self.seconds, self.fault, self.on_revive = seconds, fault, revive
        self.asked, self.at_once, self.most = [], 0, 0
        self.lock = threading.Lock()
        self.revived = 0

    def answer(self, request):
        with self.lock:
            self.asked.append(request.key)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            if self.seconds:
                time.sleep(self.seconds)
            if self.fault is not None:
                self.fault(request, self)
            return EngineReply(request.key, Status.COMPLETED, f"answer {request.key}")
        finally:
            with self.lock:
                self.at_once -= 1

    def revive(self):
        self.revived += 1
        if self.on_revive is not None:
            self.on_revive(self)

    def abort(self):
        pass


def pool(*places, patience=5.0, noted=None):
    note = (lambda *_, **__: None) if noted is None else (lambda kind, **d: noted.append((kind, d)))
    return PoolSession(places, LoadReport(0.0), patience=patience, note=note)


def test_one_place_pulls_as_slots_get_free():
    """With one place nothing is known ahead, as with any other engine."""
    pulls_as_slots_get_free(pool(FakePlace("a", slots=2)), question, 2)


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, min_size=1, max_size=8), st.text())
def test_an_items_place_moves_only_when_it_is_gone(names, item):
    """Without another place the order of the others stays; the order of the names is nothing."""
    order = [names[place] for place in order_of(item, names)]
    assert sorted(order) == sorted(names)
    for gone in names:
        rest = [name for name in names if name != gone]
        assert [rest[place] for place in order_of(item, rest)] == [n for n in order if n != gone]
    assert [names[::-1][p] for p in order_of(item, names[::-1])] == order


def test_both_arms_and_all_repeats_meet_on_one_place():
    """An item's place has nothing to do with the arm or the repeat."""
    homes = {}
    for arm in "ab":
        for repeat in range(3):
            places = [FakePlace(name, seconds=0.002, slots=4) for name in ("x", "y", "z")]
            asked = (
                EngineRequest(f"{arm}/{n}/{repeat}", (Message("user", "?"),), item=str(n))
                for n in range(48)
            )
            for reply in pool(*places).serve(asked):
                item = reply.key.split("/")[1]
                homes.setdefault(item, Counter())[reply.place] += 1
    moved = sum(sum(c.values()) - max(c.values()) for c in homes.values())
    # Whoever has nothing left to do takes from others at the very end of a serve.
    assert moved <= 6 * 12
    assert len({c.most_common(1)[0][0] for c in homes.values()}) == 3


def test_the_second_answer_goes_to_another_place_of_the_same_kind():
    """The noise floor sees what another machine of the kind makes of a question."""
    places = [FakePlace("x"), FakePlace("y"), FakePlace("z", kind="other")]
    names = [place.name for place in places]
    for number in range(40):
        (first,) = pool(*places).serve([question(number)])
        (second,) = pool(*places).serve([question(number, elsewhere=True)])
        if first.place == "z":
            assert second.place == "z"  # it has no other of its kind
        else:
            assert {first.place, second.place} == {"x", "y"}
        assert first.place == names[order_of(str(number), names)[0]]


class Outages:
    """A place that is gone from time to time: in the middle of an answer, and for a while."""

    def __init__(self, seed, share):
        self.random, self.share, self.down_until = random.Random(seed), share, 0.0

    def fault(self, _request, _place):
        if time.monotonic() < self.down_until:
            raise MemberDownError("refused", asked=False)
        if self.random.random() < self.share:
            self.down_until = time.monotonic() + 0.02
            raise MemberDownError("killed", asked=True)

    def revive(self, _place):
        if time.monotonic() < self.down_until:
            raise MemberDownError("refused", asked=False)


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_nothing_is_lost_nothing_comes_twice_and_nobody_is_blamed(seed, count):
    """However often places are killed: each question has one answer, and it is its own."""
    places = []
    for number in range(count):
        outages = Outages(seed + number, 0.1)
        places.append(
            FakePlace(
                f"p{number}", slots=3, seconds=0.001, fault=outages.fault, revive=outages.revive
            )
        )
    replies = list(pool(*places).serve(question(n) for n in range(60)))
    assert sorted(int(reply.key) for reply in replies) == list(range(60))
    assert all(reply.text == f"answer {reply.key}" for reply in replies)


def test_a_question_that_kills_every_place_is_found_and_takes_no_other_with_it():
    """It is asked alone, and blamed after it ended a place three times so."""

    def deadly(request, _place):
        if request.key == "7":
            raise MemberDownError("killed", asked=True)

    places = [FakePlace(name, slots=3, seconds=0.002, fault=deadly) for name in ("x", "y")]
    replies = {r.key: r for r in pool(*places).serve(question(n) for n in range(30))}
    assert len(replies) == 30
    failed = [key for key, reply in replies.items() if reply.status is Status.FAILED]
    assert failed == ["7"]
    assert "3 times a place ended" in replies["7"].reason


def test_a_busy_place_is_asked_again_when_it_said():
    """429 and 503 lose nothing and blame nobody."""
    until = time.monotonic() + 0.3

    def busy(_request, _place):
        if time.monotonic() < until:
            raise MemberBusyError("full", 0.1)

    place = FakePlace("x", fault=busy)
    replies = list(pool(place).serve(question(n) for n in range(8)))
    assert len(replies) == 8
    assert len(place.asked) < 8 + 2 * 6
    assert time.monotonic() >= until


def test_a_place_that_comes_back_as_another_is_left_out():
    """It returns only with its own fingerprint; the others do its work."""

    def dies(_request, place):
        if len(place.asked) > 3:
            raise MemberDownError("killed", asked=True)

    def other(_place):
        raise MemberChangedError("it answers otherwise")

    noted = []
    bad, good = FakePlace("bad", fault=dies, revive=other), FakePlace("good", seconds=0.001)
    replies = list(pool(bad, good, noted=noted).serve(question(n) for n in range(40)))
    assert len(replies) == 40
    assert len(bad.asked) <= 3 + 1 + bad.slots
    assert [kind for kind, _ in noted] == ["place_lost", "place_changed"]


def test_without_any_place_the_session_gives_up_and_says_so():
    """After `patience`; what was answered stands."""

    def gone(_request, _place):
        raise MemberDownError("refused", asked=False)

    def still_gone(_place):
        raise MemberDownError("refused", asked=False)

    place = FakePlace("x", fault=gone, revive=still_gone)
    with pytest.raises(EngineError, match="no place answers"):
        list(pool(place, patience=0.2).serve([question(1)]))


def test_an_error_that_no_place_can_help_is_raised():
    """A refused key or a bug in a place ends the serve; it is not swallowed by a thread."""

    def broken(_request, _place):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(pool(FakePlace("x", fault=broken)).serve([question(1)]))


def test_a_slow_place_does_not_hold_the_others_up():
    """Ten times slower: the work is done in little more than the fast ones need."""
    places = [
        FakePlace("slow", slots=2, seconds=0.1),
        FakePlace("fast1", slots=2, seconds=0.01),
        FakePlace("fast2", slots=2, seconds=0.01),
    ]
    list(pool(*places).serve(question(n) for n in range(300)))
    # A third of 300 in the slow place alone would be 50 of its rounds, 5 seconds.
    assert len(places[0].asked) < 60


def test_the_load_can_change_between_answers():
    """`in_flight` bounds all places together, and is asked while they work."""
    places = [FakePlace("x", slots=4, seconds=0.005), FakePlace("y", slots=4, seconds=0.005)]
    bound = [1]
    served = pool(*places).serve((question(n) for n in range(40)), in_flight=lambda: bound[0])
    for _ in range(10):
        next(served)
    assert max(place.most for place in places) == 1
    bound[0] = 8
    assert len(list(served)) == 30
    assert max(place.most for place in places) > 1


def test_closing_ends_the_threads():
    """A session that is closed or an iterator that is abandoned leaves no thread behind."""
    place = FakePlace("x", slots=4, seconds=0.01)
    session = pool(place)
    served = session.serve(question(n) for n in range(1000))
    next(served)
    served.close()
    session.close()
    until = time.monotonic() + 5
    while any(thread.name == "so8t-place" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(EngineError, match="closed"):
        next(session.serve([question(1)]))
