"""What the balancer decides happens between answers, is recorded, and is the same for both arms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from scripted_run import Listener, config, prepared_journal, registration, runner, samples

from so8t.config.machine_section import Resources
from so8t.domain.events import EventKind
from so8t.domain.exchange import Arm, LoadProfile, Message
from so8t.domain.sample import Origin, Sample
from so8t.engines.memory_needs import Shape
from so8t.engines.scripted import ScriptedEngine
from so8t.errors import EngineOutOfMemory, Interrupted
from so8t.journal.conditions import conditions
from so8t.pipeline.register.reduced_profiles import longest_question, reduced_profiles
from so8t.pipeline.run.progress import StopRequest
from so8t.resources.balancer import ResourceBalancer
from so8t.resources.readings import ResourceSample as Seen

COUNT = 60


class Machine:
    """A machine whose memory somebody else fills: 5 s pass with each look."""

    def __init__(self) -> None:
        self.memory, self.looks = 0.3, 0

    def read(self, level=None) -> Seen:
        self.looks += 1
        now = 5.0 * self.looks
        return Seen(at=now, monotonic=now, memory=self.memory, cpu_others=0.0, level=level)

    def close(self) -> None:
        pass


class Watched(ScriptedEngine):
    """A scripted engine that remembers how it was asked to load, and what was open."""

    def __init__(self, answer) -> None:
        super().__init__(answer)
        self.profiles, self.open_now = [], 0

    def open(self, model, profile):
        self.profiles.append((model.arm, profile))
        session = super().open(model, profile)
        self.open_now += 1
        close = session.close

        def closed():
            self.open_now -= 1
            close()

        session.close = closed
        return session


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def balancer(machine):
    return ResourceBalancer(Resources(), sensors=machine)


@pytest.fixture
def journal(tmp_path):
    with prepared_journal(tmp_path, config(), samples(COUNT)) as opened:
        yield opened


def kinds(journal, kind):
    return [event.data for event in journal.events(kind)]


def test_answers_in_flight_follow_the_level_and_each_answer_carries_it(journal, machine, balancer):
    """Memory fills from answer 30 to 60: fewer and fewer in flight; the rows say so."""
    asked = 0

    def answer(_request):
        nonlocal asked
        asked += 1
        machine.memory = 0.885 if 30 <= asked < 60 else 0.87
        balancer.adjust_resources()
        return "yes"

    runner(journal, ScriptedEngine(answer), balancer=balancer, slots=4).run()
    loads = journal.loads()
    in_order = [loads[a.seq] for a in sorted(journal.answers(repeat=None), key=lambda a: a.seq)]
    assert len(loads) == asked == 2 * COUNT + 8
    assert in_order[:29] == [4] * 29
    assert set(in_order[60:]) == {1}
    assert not kinds(journal, EventKind.RESOURCES_REDUCED)
    first = kinds(journal, EventKind.RESOURCES_ADJUSTED)[0]
    assert (first["reason"], first["before"], first["after"]) == ("memory_filling", 4, 3)
    assert first["seen"]["memory"] == 0.885
    observed = kinds(journal, EventKind.RESOURCES_OBSERVED)
    # What came of a step is told at its own level, whatever the next step went to.
    assert [one["level"] for one in observed] == [
        one["after"] for one in kinds(journal, EventKind.RESOURCES_ADJUSTED)
    ]
    assert journal.verify()


def test_readings_that_fail_in_the_middle_are_told_once_and_change_nothing(journal, machine):
    """Memory cannot be read from answer 20 to 40: one event, every answer, the level untouched."""
    asked = 0

    class Flaky:
        def read(self, level=None):
            sample = machine.read(level)
            if not 20 <= asked < 40:
                return sample
            why = {"memory": "OSError: [Errno 24] Too many open files"}
            return replace(sample, memory=None, unreadable=why, failed=("memory",))

        def close(self):
            pass

    balancer = ResourceBalancer(Resources(), sensors=Flaky())

    def answer(_request):
        nonlocal asked
        asked += 1
        balancer.adjust_resources()
        return "yes"

    runner(journal, ScriptedEngine(answer), balancer=balancer, slots=4).run()
    (told,) = kinds(journal, EventKind.RESOURCES_UNREADABLE)
    assert told == {"what": "memory", "why": "OSError: [Errno 24] Too many open files"}
    assert not kinds(journal, EventKind.RESOURCES_ADJUSTED)
    assert all(answered.attempts == 1 for answered in journal.answers())


def test_a_pause_gives_the_memory_back_and_the_run_comes_back(journal, machine, balancer):
    """At 97 % nothing is asked and no model stays loaded; when it is over the run finishes."""
    engine = Watched(lambda _request: _answer())
    asked, open_while_paused = 0, []

    def _answer():
        nonlocal asked
        asked += 1
        if asked == 20:
            machine.memory = 0.97
            balancer.adjust_resources()
        return "yes"

    class Waiting(StopRequest):
        def wait(self, _seconds):
            open_while_paused.append(engine.open_now)
            machine.memory = 0.5
            balancer.adjust_resources()

    runner(journal, engine, balancer=balancer, stop=Waiting(), slots=2).run()
    assert open_while_paused
    assert set(open_while_paused) == {0}
    assert all(a.attempts == 1 for a in journal.answers())
    reasons = [event["reason"] for event in kinds(journal, EventKind.RESOURCES_ADJUSTED)]
    assert reasons[:2] == ["memory_critical", "resumed"]


def test_a_level_lowered_before_the_first_question_is_told_with_the_first(journal, balancer):
    """Whoever trained before has taken the steps: the benchmark still says why it asks so few."""
    balancer._sensors.memory = 0.945
    while balancer.adjust_resources() is None:
        pass
    assert balancer.take_adjustments()
    runner(journal, ScriptedEngine(lambda _request: "yes"), balancer=balancer, slots=8).run()
    first = kinds(journal, EventKind.RESOURCES_ADJUSTED)[0]
    assert first["reason"].startswith("memory")
    assert first["after"] < first["before"] == 8


def test_a_stop_is_heard_in_a_pause(journal, machine, balancer):
    """Who stops a paused run does not wait for the pause to end."""
    machine.memory = 0.99
    balancer.adjust_resources()

    class Impatient(StopRequest):
        def wait(self, _seconds):
            self.ask(15)

    with pytest.raises(Interrupted):
        runner(journal, ScriptedEngine(lambda _: "yes"), balancer=balancer, stop=Impatient()).run()
    assert journal.answer_counts() == {}


def hungry(*, at: int, until):
    """An engine that runs out of memory from answer `at` on, until the profile satisfies."""
    engine = Watched(lambda _request: _answer())
    asked = 0

    def _answer():
        nonlocal asked
        asked += 1
        _, profile = engine.profiles[-1]
        if asked > at and not until(profile):
            raise EngineOutOfMemory("killed for memory")
        return "yes"

    return engine


def unequal_pairs(journal):
    known = {digest: conditions(body) for digest, body in journal.all_settings().items()}
    found = defaultdict(set)
    for answer in journal.answers():
        found[answer.position].add(known[answer.settings])
    return [position for position, its in found.items() if len(its) > 1]


@pytest.mark.parametrize("with_balancer", [True, False])
def test_out_of_memory_loads_both_arms_smaller_and_goes_on(journal, balancer, with_balancer):
    """Slots are halved until it fits; no answer is lost, none given twice, no pair redone."""
    engine = hungry(at=25, until=lambda profile: profile.slots == 1)
    more = {"balancer": balancer} if with_balancer else {}
    runner(journal, engine, slots=4, **more).run()
    reduced = kinds(journal, EventKind.RESOURCES_REDUCED)
    assert [one["after"]["slots"] for one in reduced] == [2, 1]
    assert {one["reason"] for one in reduced} == {"out_of_memory"}
    assert all(a.attempts == 1 for a in journal.answers())
    assert {arm for arm, profile in engine.profiles if profile.slots == 1} == set(Arm)
    assert not kinds(journal, "asked_again")


def test_pairs_across_a_change_that_can_alter_answers_are_redone(journal, balancer):
    """A smaller batch in the middle of B's turn: A's answers of those questions are given again."""
    engine = hungry(at=8 + 16 + 5, until=lambda profile: profile.batch == 128)
    evidence = runner(journal, engine, slots=1, balancer=balancer).run()
    assert kinds(journal, EventKind.RESOURCES_REDUCED)[-1]["after"]["batch"] == 128
    (redone,) = kinds(journal, "asked_again")
    assert (redone["arm"], redone["answers"]) == ("a", 11)
    assert unequal_pairs(journal) == []
    assert evidence.group.pairs == COUNT
    attempts = [a.attempts for a in journal.answers(Arm.A)]
    assert attempts.count(2) == 11
    assert journal.verify()


def test_a_start_after_a_reduction_goes_on_with_it(journal, balancer):
    """The smaller way to load is found in the journal; what stood before stands beside it."""
    stop = StopRequest()
    engine = hungry(at=30, until=lambda profile: profile.batch == 128)
    listener = Listener(stop, stop_at=40)
    with pytest.raises(Interrupted):
        runner(journal, engine, listener=listener, stop=stop, slots=1, balancer=balancer).run()
    again = Watched(lambda _request: "yes")
    second = runner(journal, again, slots=1)
    assert all(journal.settings_in_force(arm) == second.settings_of(arm) for arm in Arm)
    second.run()
    assert {profile.batch for _, profile in again.profiles} == {128}
    assert unequal_pairs(journal) == []
    assert sum(journal.answer_counts().values()) == 2 * COUNT


SHAPE = Shape(
    weights=1 << 30, layers=32, width=2048, vocabulary=32_000, key=512, value=512, head=64
)


def test_the_ladder_gives_up_what_costs_nothing_first():
    """Context beyond every question, slots, layers, batch, the KV cache's type: in that order."""
    profile = LoadProfile(slots=4, context=8192, threads=2)
    profiles = reduced_profiles(
        profile, cache_types=["q8_0"], shapes=[SHAPE, SHAPE], longest=1000, cards=True
    )
    assert profiles[0] == profile
    assert [(r.context, r.slots) for r in profiles[1:4]] == [(8192, 2), (8192, 1), (1024, 1)]
    assert [r.gpu_layers for r in profiles[4:8]] == [24, 16, 8, 0]
    assert (profiles[8].batch, profiles[8].cache_type) == (128, None)
    assert (profiles[9].batch, profiles[9].cache_type) == (128, "q8_0")
    assert len(profiles) == 10


def test_the_ladder_leaves_out_what_cannot_be():
    """Without a card no layers move; Ollama's cache type is the server's; odd heads stay f16."""
    profile = LoadProfile(slots=1, context=512)
    odd = Shape(1, 2, 32, 300, 32, 32, head=16)
    assert [
        r.cache_type for r in reduced_profiles(profile, cache_types=["q8_0"], shapes=[odd])
    ] == [None, None]
    assert len(reduced_profiles(profile, shapes=[SHAPE, SHAPE])) == 2
    assert reduced_profiles(LoadProfile(gpu_layers=0), shapes=[SHAPE], cards=True)[-1].batch


def test_the_longest_question_bounds_the_context():
    """Bytes bound tokens, a sample's own budget counts, and no question is longer than said."""
    long = Sample(
        "x", "t", Origin.SUITE, "c", "ja", (Message("user", "日" * 100),), {}, max_tokens=50
    )
    assert longest_question([long], 10) == 300 + 64 + 50


def test_registered_figures_make_the_shape():
    """A registration whose file told nothing has no shape, and the ladder is shorter for it."""
    assert registration().arms["a"].shape is None
