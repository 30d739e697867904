"""ResourceBalancer: what it tells, what it remembers, and that it follows the policy."""

from __future__ import annotations

import json
import threading
import time
from datetime import time as time_of_day

import pytest

from so8t.config.machine_section import QuietHours, Resources
from so8t.resources.balancer import ResourceBalancer
from so8t.resources.readings import METRICS, Gpu, ResourceSample


class Recording:
    """Plays recorded samples, the last one for ever; tells how often it was asked and closed."""

    def __init__(self, *samples: dict) -> None:
        self.samples, self.taken, self.closed = list(samples), 0, 0

    def read(self, level=None) -> ResourceSample:
        seen = self.samples[min(self.taken, len(self.samples) - 1)]
        self.taken += 1
        return ResourceSample(at=5.0 * self.taken, monotonic=5.0 * self.taken, level=level, **seen)

    def close(self) -> None:
        self.closed += 1


def balancer(*samples: dict, most: int = 8, **settings) -> ResourceBalancer:
    return ResourceBalancer(Resources(**settings), sensors=Recording(*samples), most=most)


def test_unknown_is_none_and_never_zero():
    """What no sensor tells is None in the metrics, the thresholds and the summary, with why."""
    one = balancer({"unreadable": {"gpu": "no NVIDIA driver"}})
    assert one.get_gpu_metrics() == (None, None)
    assert one.get_cpu_metrics() is one.get_memory_metrics() is None
    assert set(one.check_thresholds().values()) == {None}
    summary = one.get_metrics_summary()
    assert all(summary[name] is None for name in METRICS if name != "level")
    assert summary["unreadable"] == {"gpu": "no NVIDIA driver"}


def test_the_documented_thresholds():
    """GPU 0.9, its memory 0.9, CPU 0.8, memory 0.9, every 5 s, unless the config says other."""
    card = Gpu(0, utilization=0.91, memory_used=89, memory_total=100)
    seen = {"cpu": 0.81, "memory": 0.9, "gpus": (card,)}
    told = {"gpu": True, "gpu_memory": False, "cpu": True, "memory": False}
    assert balancer(seen).check_thresholds() == told
    assert Resources().interval == 5.0
    lower = balancer(seen, thresholds={"memory": 0.5, "gpu": 0.95})
    assert lower.check_thresholds() == told | {"memory": True, "gpu": False}


def test_it_follows_the_policy_and_tells_each_step_once():
    """A step has reason, before, after and what was seen; who takes the steps gets each once."""
    one = balancer({"memory": 0.94})
    step = one.adjust_resources()
    assert (step.reason, step.before, step.after) == ("memory_full", 8, 4)
    assert step.sample.memory == 0.94
    assert one.level == 4
    assert one.take_adjustments() == [step]
    assert one.take_adjustments() == []


def test_it_only_watches_where_balancing_is_off():
    """With `balance: false` samples are taken and nothing follows from them."""
    one = balancer({"memory": 0.99}, balance=False)
    assert one.adjust_resources() is None
    assert one.level == 8
    assert one.latest.memory == 0.99


def test_quiet_hours_and_the_highest_level_come_from_the_config():
    """`max_level` bounds the level, `quiet_hours` hold it down while they last."""
    hours = QuietHours(start="22:00", end="07:00", do="pause")
    one = ResourceBalancer(
        Resources(max_level=3, quiet_hours=[hours]),
        sensors=Recording({"memory": 0.2}),
        most=8,
        local_time=lambda: time_of_day(23),
    )
    assert one.level == 3
    assert one.adjust_resources().reason == "quiet_hours"
    assert one.level == 0


@pytest.mark.parametrize(("lowered", "level"), [(False, 2), (True, 1)])
def test_the_range_that_loading_gave(lowered, level):
    """A level that nothing lowered becomes the new highest; one that was lowered stays low."""
    one = balancer({"cpu_others": 0.9 if lowered else 0.0, "memory": 0.2})
    for _ in range(3):
        one.adjust_resources()
    one.fit(most=2, reductions=3, reduction=1)
    assert (one.level, one.reduction) == (level, 1)


def test_the_loop_runs_until_it_is_stopped(tmp_path):
    """Samples come at the interval in a thread of its own, are kept, and end with stop."""
    kept = []
    sensors = Recording({"memory": 0.3, "cpu": 0.5})
    one = ResourceBalancer(Resources(interval=0.01), sensors=sensors, keep=kept.append)
    one.start_monitoring()
    one.start_monitoring()
    assert sum(thread.name == "so8t-resources" for thread in threading.enumerate()) == 1
    while len(kept) < 5:
        time.sleep(0.01)
    one.stop_monitoring()
    one.stop_monitoring()
    taken = sensors.taken
    time.sleep(0.05)
    assert sensors.taken == taken
    assert sensors.closed == 2
    lines = one.save_metrics_history(tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == taken
    assert json.loads(lines[0])["memory"] == 0.3
    summary = one.get_metrics_summary()
    assert summary["cpu"] == {"min": 0.5, "mean": 0.5, "p95": 0.5, "max": 0.5}
    assert summary["gpu"] is None


def test_the_loop_ends_after_its_duration():
    """`monitor_loop(duration)` returns by itself."""
    one = balancer({"memory": 0.3}, interval=0.05)
    began = time.monotonic()
    one.monitor_loop(duration=0.2)
    assert 0.15 < time.monotonic() - began < 5
    assert one.get_metrics_summary()["samples"] >= 3


class Breaking:
    """Full memory twice, then only faults, until it is mended; counts its looks."""

    def __init__(self) -> None:
        self.looks, self.mended = 0, False

    def read(self, level=None) -> ResourceSample:
        self.looks += 1
        if self.looks > 2 and not self.mended:
            raise OSError("sensor broke")
        memory = 0.3 if self.mended else 0.99
        return ResourceSample(at=self.looks, monotonic=5.0 * self.looks, memory=memory, level=level)

    def close(self) -> None:
        pass


def until(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_fault_of_the_watch_keeps_no_run_paused():
    """Paused, then every reading fails: one answer again, and all of them once it is mended."""
    sensors = Breaking()
    with ResourceBalancer(Resources(interval=0.01), sensors=sensors) as one:
        until(lambda: one.level == 1)
        assert str(one.fault) == "sensor broke"
        steps = one.take_adjustments()
        assert [(step.reason, step.after) for step in steps] == [
            ("memory_critical", 0),
            ("unwatched", 1),
        ]
        sensors.mended = True
        until(lambda: one.level > 1)


def test_what_keeps_samples_may_fail_and_the_watch_goes_on():
    """A fault of whoever keeps the samples moves nothing, and full memory still pauses."""

    def keep(_sample: ResourceSample) -> None:
        raise ValueError("no room")

    sensors = Recording({"memory": 0.3}, *[{"memory": 0.99}])
    with ResourceBalancer(Resources(interval=0.01), sensors=sensors, keep=keep) as one:
        until(lambda: sensors.taken > 12)
        assert one.level == 0
        assert isinstance(one.fault, ValueError)


class Failing:
    """Tells that one reading failed, at every look."""

    def __init__(self, *names: str) -> None:
        self.names, self.looks = names, 0

    def read(self, level=None) -> ResourceSample:
        self.looks += 1
        why = dict.fromkeys(self.names, f"OSError: look {self.looks}")
        now = 5.0 * self.looks
        return ResourceSample(at=now, monotonic=now, level=level, unreadable=why, failed=self.names)

    def close(self) -> None:
        pass


def test_a_failed_reading_is_handed_over_once():
    """Whoever records failures gets each name with its first reason, however often it fails."""
    one = ResourceBalancer(Resources(), sensors=Failing("memory", "cpu"))
    for _ in range(5):
        one.adjust_resources()
    assert one.take_failures() == {"memory": "OSError: look 1", "cpu": "OSError: look 1"}
    one.adjust_resources()
    assert one.take_failures() == {}
    assert one.level == 8


def test_a_watch_that_never_saw_anything_breaks_nobody_who_asks():
    """While every look raises, figures and cards are unknown in the run's own thread too."""
    broken = Breaking()
    broken.looks = 2
    with ResourceBalancer(Resources(interval=0.01), sensors=broken) as one:
        assert one.cards == 0
        assert one.get_gpu_metrics() == (None, None)
        assert one.get_memory_metrics() is None
        assert set(one.check_thresholds().values()) == {None}
    assert one.take_failures() == {"watch": "OSError: sensor broke"}


def test_a_dead_thread_can_be_started_again():
    """Whatever ended the thread, `start_monitoring` begins a new one."""
    sensors = Recording({"memory": 0.3})
    one = ResourceBalancer(Resources(interval=0.01), sensors=sensors)
    one._thread = threading.Thread(target=lambda: None)
    one._thread.start()
    one._thread.join()
    one.start_monitoring()
    until(lambda: sensors.taken > 2)
    one.stop_monitoring()


def test_without_a_watch_each_question_finds_fresh_figures():
    """`get_*` reads anew once the newest sample is older than the interval, or a second."""
    one = balancer({"cpu": None}, {"cpu": 0.4, "memory": 0.6}, interval=0.02)
    assert one.get_cpu_metrics() is None
    time.sleep(0.03)
    assert one.get_cpu_metrics() == 0.4
    assert one.get_memory_metrics() == 0.6


def test_the_history_is_written_to_a_path_given_as_text(tmp_path):
    """`save_metrics_history` takes a string too."""
    one = balancer({"memory": 0.3})
    one.adjust_resources()
    assert one.save_metrics_history(str(tmp_path / "h.jsonl")).read_text().count("\n") == 1
