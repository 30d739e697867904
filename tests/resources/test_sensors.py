"""The sensors on this machine, and what other machines' tools say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from so8t.resources import amd, apple
from so8t.resources.guard import Guard
from so8t.resources.nvidia import parse_smi, throttle_words
from so8t.resources.readings import Gpu
from so8t.resources.sensors import Sensors, descendants
from so8t.system.memory import kills_for_memory, memory_pressure, memory_rooms

MIB = 1 << 20


def test_this_machine_is_read():
    """CPU and memory are shares, own memory is ours, and what is missing has a reason."""
    sensors = Sensors()
    first = sensors.read()
    assert first.cpu is None
    assert "cpu" in first.unreadable
    deadline = time.monotonic() + 0.4
    while time.monotonic() < deadline:
        pass
    sample = sensors.read(level=3)
    sensors.close()
    assert 0 < sample.cpu_own <= sample.cpu <= 1
    assert sample.cpu_others == pytest.approx(sample.cpu - sample.cpu_own)
    assert 0 < sample.memory < 1
    assert sample.own_memory == pytest.approx(psutil.Process().memory_info().rss, rel=0.3)
    assert sample.level == 3
    assert sample.gpus or "gpu" in sample.unreadable


def test_a_childs_work_is_our_own():
    """Work of children and of their children counts as ours, from the moment they are there."""
    burn = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    sensors = Sensors()
    with subprocess.Popen([sys.executable, "-c", nested]) as child:
        try:
            until = time.monotonic() + 20
            while len(list(descendants(child.pid))) < 1 and time.monotonic() < until:
                time.sleep(0.05)
            grandchildren = list(descendants(child.pid))
            sensors.read()
            time.sleep(1.0)
            sample = sensors.read()
        finally:
            for pid in [*descendants(child.pid), child.pid]:
                psutil.Process(pid).kill()
    assert len(grandchildren) == 1
    assert sample.cpu_own > 0.1 / psutil.cpu_count()


def write_v1(root, path, **numbers):
    group = root / "memory" / path
    group.mkdir(parents=True, exist_ok=True)
    for name, value in numbers.items():
        (group / f"memory.{name}").write_text(f"{value}\n")


def test_the_tightest_group_along_the_ancestry_counts(tmp_path):
    """v1: a parent's limit binds too; unmapped file pages are free; "no limit" is none."""
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/outer/inner\n1:cpu:/elsewhere\n")
    stat = f"cache 1\ntotal_inactive_file {30 * MIB}\ntotal_active_file {20 * MIB}\n"
    stat += f"total_mapped_file {10 * MIB}"
    unlimited = 9223372036854771712
    write_v1(tmp_path, "outer/inner", limit_in_bytes=unlimited, usage_in_bytes=90 * MIB)
    write_v1(tmp_path, "outer", limit_in_bytes=100 * MIB, usage_in_bytes=90 * MIB, stat=stat)
    _, room = memory_rooms(membership, tmp_path)
    assert (room.total, room.available) == (100 * MIB, 50 * MIB)
    assert room.used == pytest.approx(0.5)


def test_version_two_knows_max_and_high(tmp_path):
    """v2: memory.high binds below memory.max; "max" is no limit; pressure is the group's."""
    membership = tmp_path / "cgroup"
    membership.write_text("0::/run\n")
    group = tmp_path / "run"
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (group / "memory.high").write_text(f"{80 * MIB}\n")
    (group / "memory.current").write_text(f"{60 * MIB}\n")
    (group / "memory.stat").write_text(f"inactive_file {20 * MIB}\nfile_mapped 0\n")
    (group / "memory.pressure").write_text("some avg10=99.50 avg60=1.00 avg300=0 total=1\n")
    (group / "memory.events").write_text("oom 4\noom_kill 3\n")
    _, room = memory_rooms(membership, tmp_path)
    assert (room.total, room.available) == (80 * MIB, 40 * MIB)
    assert memory_pressure(membership, tmp_path) == pytest.approx(0.995)
    assert kills_for_memory(membership, tmp_path, tmp_path / "none") == 3


def test_no_groups_no_bounds_but_the_machine(tmp_path):
    """Where no control group is, the machine's memory is the only bound."""
    (room,) = memory_rooms(tmp_path / "none", tmp_path)
    assert room.total == psutil.virtual_memory().total
    assert kills_for_memory(tmp_path / "none", tmp_path, tmp_path / "none") is None


SMI = """\
0, NVIDIA GeForce RTX 4090, 97, 20480, 24564, 81, 412.35, 0x0000000000000004
1, NVIDIA A100, [N/A], 100, 40960, 40, [Not Supported], 0x0000000000000001
2, NVIDIA T4, ERR!, [Unknown Error], [Unknown Error], ERR!, ERR!, [N/A]
"""


def test_nvidia_smi_is_read_and_what_it_does_not_tell_is_none():
    """Three cards: a full one, one that tells little, one that is lost."""
    busy, quiet, lost = parse_smi(SMI)
    assert (busy.utilization, busy.temperature, busy.power) == (0.97, 81.0, 412.35)
    assert busy.memory == pytest.approx(20480 / 24564)
    assert busy.throttled == ("power",)
    assert (quiet.utilization, quiet.power, quiet.throttled) == (None, None, ())
    assert (lost.memory, lost.throttled) == (None, None)
    assert lost.fault
    assert parse_smi("No devices were found\n") == ()
    assert throttle_words(0x20 | 0x40 | 0x1) == ("heat",)


def test_amd_smi_is_read_in_both_forms():
    """A list of cards, or one under gpu_data; "N/A" is None."""
    card = {
        "gpu": 0,
        "usage": {"gfx_activity": {"value": 55, "unit": "%"}},
        "power": {"socket_power": {"value": 130, "unit": "W"}},
        "temperature": {"edge": {"value": 60, "unit": "C"}, "hotspot": "N/A"},
        "mem_usage": {
            "total_vram": {"value": 16368, "unit": "MB"},
            "used_vram": {"value": 8184, "unit": "MB"},
        },
    }
    for said in ([card], {"gpu_data": [card]}):
        (gpu,) = amd.parse(said)
        assert (gpu.utilization, gpu.memory, gpu.temperature, gpu.power) == (0.55, 0.5, 60.0, 130.0)
    (empty,) = amd.parse([{"gpu": 1, "usage": "N/A"}])
    assert (empty.utilization, empty.memory, empty.power) == (None, None, None)
    assert amd.parse("nothing") == ()


def test_macos_names_its_pressure():
    """1, 2 and 4 are the kernel's levels; anything else is unknown."""
    assert [apple.read_level(said) for said in ("1\n", "2", "4", "3", "")] == [
        "normal",
        "warning",
        "critical",
        None,
        None,
    ]


@pytest.mark.parametrize(("plugged", "on_battery"), [(True, False), (False, True), (None, None)])
def test_a_battery_tells_what_it_knows(monkeypatch, plugged, on_battery):
    """Whether the mains are there may be unknown, which is not the same as being without."""
    told = SimpleNamespace(percent=40, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: told, raising=False)
    sensors = Sensors()
    sample = sensors.read()
    sensors.close()
    assert (sample.battery, sample.on_battery) == (0.4, on_battery)
    assert ("battery" in sample.unreadable) == (plugged is None)


def test_a_battery_that_cannot_be_read_is_a_reading_that_failed(monkeypatch):
    """The rest of the sample is there, and the reason beside it."""

    def broken():
        raise OSError("no such device")

    monkeypatch.setattr(psutil, "sensors_battery", broken, raising=False)
    sensors = Sensors()
    sample = sensors.read()
    sensors.close()
    assert sample.battery is sample.on_battery is None
    assert sample.unreadable["battery"] == "OSError: no such device"
    assert sample.failed == ("battery",)
    assert sample.memory is not None


def test_what_a_card_does_not_tell_is_named(monkeypatch):
    """A card that is silent about its heat: no figure, and the sample says whose fault it is."""
    card = Gpu(0, utilization=0.5, memory_used=1, memory_total=2, power=9.0, throttled=())
    sensors = Sensors()
    monkeypatch.setattr(sensors._nvidia, "read", lambda _own: (card,))
    monkeypatch.setattr(sensors._amd, "read", tuple)
    sample = sensors.read()
    sensors.close()
    assert sample.temperature is None
    told = "its driver does not tell: temperature, others_utilization"
    assert sample.unreadable["gpu 0"] == told


NO_HANDLES = """
import json, os, resource, time
from so8t.resources.sensors import Sensors, lower_priority
from so8t.system.files import free_bytes
from so8t.system.memory import available_memory, kills_for_memory, resident_memory
from pathlib import Path

sensors = Sensors(("ollama",))
sensors.read()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
looks = []
for limit in (len(os.listdir("/proc/self/fd")) - 1, soft):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    sensors._guard._faults.clear()  # time passes
    samples = [sensors.read(), time.sleep(0.3) or sensors.read()]
    asked = [available_memory(), kills_for_memory(), resident_memory()]
    looks.append([sample.asdict() for sample in samples] + [asked])
    lower_priority()
print(json.dumps(looks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc through file handles")
def test_a_process_without_file_handles_reads_unknown_and_recovers():
    """Every open fails (EMFILE): nothing raises, each figure is None and named; then all return."""
    answer = subprocess.run(
        [sys.executable, "-c", NO_HANDLES], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    (first, second, asked), (_, after, known) = json.loads(answer.stdout)
    for sample in (first, second):
        for name in ("cpu", "cpu_own", "cpu_others", "memory", "memory_available", "own_memory"):
            assert sample[name] is None
        assert {"cpu", "memory", "own processes"} <= set(sample["failed"])
        assert "Too many open files" in sample["unreadable"]["memory"]
    assert asked == [None, None, None]
    assert after["failed"] == []
    assert 0 <= after["cpu_own"] <= after["cpu"] <= 1
    assert after["cpu_others"] == pytest.approx(after["cpu"] - after["cpu_own"])
    assert 0 < after["memory"] < 1
    assert known[0] > 0
    assert known[2] > 0


FAULTS = [OSError("gone"), PermissionError(13, "no"), ValueError("a new line"), RuntimeError(""),
          ZeroDivisionError("0"), psutil.AccessDenied(1), KeyError("Cached"), ImportError("lib"),
          subprocess.TimeoutExpired("amd-smi", 30), NotImplementedError("os")]  # fmt: skip


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_whatever_a_reading_raises_it_is_unknown_named_and_asked_again(error):
    """None with the reason at once; it rests, longer each time, and is forgotten once it works."""
    now, asked = [0.0], []

    def broken():
        asked.append(now[0])
        if now[0] < 100:
            raise error
        return 7

    guard = Guard(clock=lambda: now[0])
    while now[0] < 200:
        value = guard.ask("it", broken)
        assert (value is None) == ("it" in guard.faults)
        if value is None:
            assert type(error).__name__ in guard.faults["it"]
        now[0] += 5.0
    assert asked[:5] == [0, 5, 15, 35, 75]
    assert value == 7
    assert guard.faults == {}


def test_a_limit_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    """A group's limit that fails to be read makes the room unknown: no larger than it is."""
    membership = tmp_path / "cgroup"
    membership.write_text("0::/run\n")
    (tmp_path / "run" / "memory.max").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        memory_rooms(membership, tmp_path)
    membership.write_text("a line of a new kind\n")
    with pytest.raises(ValueError, match="unpack"):
        memory_rooms(membership, tmp_path)
