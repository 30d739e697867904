"""The NVIDIA sensor and the policy over a pretended driver that replays traces.

The real pynvml loads a real shared library; only what is behind it is made up. No real card has
been seen by these tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from needs import absent

STUB = Path(__file__).with_name("nvml_stub.c")

LOOK = """
import json, sys
from dataclasses import asdict
from datetime import time
from so8t.resources.nvidia import DriverLostError, NvidiaSensor
from so8t.resources.policy import ResourceLimits, State, decide
from so8t.resources.readings import ResourceSample
sensor, state, history = NvidiaSensor(), State(level=8), []
for look in range(int(sys.argv[1])):
    try:
        cards, fault = sensor.read(), None
    except DriverLostError as error:
        cards, fault = (), str(error)
    at = 5.0 * look
    history.append(ResourceSample(at=at, monotonic=at, memory=0.3, gpus=cards, level=state.level))
    decision = decide(history, state, ResourceLimits(most=8), time(12))
    state = decision.state
    card = asdict(cards[0]) if cards else None
    print(json.dumps([card, fault, state.level, decision.reason]))
sensor.close()
"""


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        absent("a C compiler for the stub driver, on Linux")
    directory = tmp_path_factory.mktemp("nvml")
    library = directory / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, STUB], check=True)
    return directory


def replay(driver, tmp_path, trace: str, looks: int):
    path = tmp_path / "trace"
    path.write_text(trace)
    answer = subprocess.run(
        [sys.executable, "-c", LOOK, str(looks)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), "NVML_TRACE": str(path)},
    )
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_a_card_is_read_as_the_driver_tells_it(driver, tmp_path):
    """Name, load, memory, degrees and watts; what it does not support is None."""
    ((card, fault, _, _),) = replay(driver, tmp_path, "0 0 6000 24000 97 71 350500 0\n", 1)
    assert fault is None
    assert (card["name"], card["utilization"], card["temperature"]) == ("Stub 4090", 0.97, 71.0)
    assert (card["memory_used"], card["memory_total"]) == (6000 << 20, 24000 << 20)
    assert (card["power"], card["throttled"]) == (350.5, [])
    assert card["others_memory"] is None
    ((card, *_),) = replay(driver, tmp_path, "0 0 6000 24000 97 71 0 0\n", 1)
    assert card["power"] is None


def test_full_memory_and_heat_lower_the_level(driver, tmp_path):
    """A card that fills to 94 %: half; at 97 %: a pause; one that throttles for heat: one less."""
    looks = replay(driver, tmp_path, "0 0 94 100 50 60 1 0\n0 0 97 100 50 60 1 0\n", 2)
    assert [(level, reason) for _, _, level, reason in looks] == [
        (4, "memory_full"),
        (0, "memory_critical"),
    ]
    looks = replay(driver, tmp_path, "0 0 10 100 50 70 1 0\n0 0 10 100 50 83 1 64\n", 2)
    assert [reason for *_, reason in looks] == [None, "gpu_hot"]


def test_a_card_lost_from_the_bus_is_unknown_and_not_zero(driver, tmp_path):
    """Its figures are None, the driver's words stand beside it, and nothing moves."""
    looks = replay(driver, tmp_path, "0 0 50 100 50 60 1 0\n0 15 0 0 0 0 0 0\n", 3)
    card, _, level, reason = looks[-1]
    assert (card["utilization"], card["memory_used"], card["temperature"]) == (None, None, None)
    assert "lost" in card["fault"].lower()
    assert (level, reason) == (8, None)


def test_after_a_driver_reset_the_card_is_found_again(driver, tmp_path):
    """While the driver is away the fault is told; the next look starts it anew."""
    trace = "0 0 50 100 50 60 1 0\n1 0 0 0 0 0 0 0\n0 0 60 100 50 60 1 0\n"
    before, away, after = replay(driver, tmp_path, trace, 3)
    assert before[0]["memory_used"] == 50 << 20
    assert (away[0], away[1]) == (None, "NVML: Uninitialized")
    assert after[0]["memory_used"] == 60 << 20
    assert after[1] is None
