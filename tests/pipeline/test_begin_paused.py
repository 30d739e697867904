"""Nothing new begins while the balancer says pause: no phase, not only no answer."""

from __future__ import annotations

from datetime import time

import pytest
from scripted_run import Listener
from test_balance import Machine
from tiny_run import write_config

from so8t.config.load import load_config
from so8t.config.machine_section import QuietHours, Resources
from so8t.domain.events import EventKind
from so8t.domain.plan import Phase
from so8t.engines.scripted import ScriptedEngine
from so8t.errors import Interrupted
from so8t.journal.store import Journal
from so8t.pipeline.complete import CompleteAutomatedABPipeline
from so8t.pipeline.run.progress import StopRequest
from so8t.resources.balancer import ResourceBalancer

ALL_DAY = QuietHours(start="00:00", end="23:59", do="pause")


@pytest.fixture
def hour():
    return {"now": time(12)}


@pytest.fixture
def balancer(hour):
    return ResourceBalancer(
        Resources(quiet_hours=[ALL_DAY], interval=0.01),
        sensors=Machine(),
        local_time=lambda: hour["now"],
    )


@pytest.mark.parametrize("phase", [Phase.PREPARE_A, Phase.PREPARE_B, Phase.REGISTER])
def test_a_phase_waits_for_the_end_of_quiet_hours(tmp_path, balancer, hour, phase):
    """In quiet hours that pause no phase starts its work; the pause and its end are told."""
    waits, worked = [], []

    class Waiting(StopRequest):
        def wait(self, seconds):
            assert not worked
            waits.append(seconds)
            if len(waits) == 3:
                hour["now"] = time(23, 59, 30)
            super().wait(0.05)

    def work():
        worked.append(balancer.level)
        return {}

    with Journal(tmp_path / "run") as journal, balancer:
        pipeline = started(tmp_path, journal, balancer, Waiting())
        pipeline._attempt(phase, 1, "in", work)
        steps = [event.data for event in journal.events(EventKind.RESOURCES_ADJUSTED)]
        assert journal.phase(phase).state == "done"
    assert len(waits) >= 3
    assert worked[0] > 0
    assert [(one["reason"], one["after"]) for one in steps] == [("quiet_hours", 0), ("resumed", 1)]


def test_a_stop_is_heard_before_a_phase_begins(tmp_path, balancer):
    """Who stops a run that waits to begin does not wait for the quiet hours to end."""

    class Stopping(StopRequest):
        def wait(self, _seconds):
            self.ask(15)

    with Journal(tmp_path / "run") as journal, balancer:
        pipeline = started(tmp_path, journal, balancer, Stopping())
        with pytest.raises(Interrupted):
            pipeline._attempt(Phase.REGISTER, 1, "in", dict)
        assert journal.phase(Phase.REGISTER) is None


def started(tmp_path, journal, balancer, stop):
    config = load_config(write_config(tmp_path, questions=8))
    journal.create_run("tiny", config.model_dump(mode="json"), "0")
    return CompleteAutomatedABPipeline(
        config,
        tmp_path / "run",
        journal,
        ScriptedEngine(lambda _: "yes"),
        reporter=Listener(),
        stop=stop,
        balancer=balancer,
    )
