"""Whole runs over places: real servers, killed, stopped and started again while they answer."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from so8t.domain.exchange import Arm, Status
from so8t.journal.store import Journal

QUESTIONS = 48

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path, models):
    """Write a config for places; what is asked is the same each time."""
    lines = [
        {
            "id": str(n),
            "category": "x",
            "prompt": f"question {n} {'x' * (n % 17)}",
            "grader": {"type": "keywords", "any": ["e", "t"]},
        }
        for n in range(QUESTIONS)
    ]
    (tmp_path / "suite.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def write(name, *places, engine=None):
        asked = {
            "name": name,
            "a": {"source": {"gguf": models[Arm.A].location}},
            "b": {"source": {"gguf": models[Arm.B].location}},
            "engine": {
                "kind": "openai",
                "context": 256,
                "places": [place.config for place in places],
                **(engine or {}),
            },
            "generation": {"max_tokens": 12},
            "benchmark": {"suites": ["suite.jsonl"], "noise_floor": 8, "reuse_baseline": False},
            "verdict": {"stop": "full"},
            "notify": {"sound": False},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(asked))
        return path

    return write


def command(path, *more):
    arguments = [sys.executable, "-m", "so8t", "run", str(path), "--quiet", *more]
    return [*arguments, "--output", str(path.parent / "runs")]


def run(path):
    return subprocess.run(
        command(path),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "NO_COLOR": "1", "LC_ALL": "C.UTF-8"},
    )


def answers(path):
    """Arm -> what was answered to each question, in the order of the questions."""
    with Journal(path.parent / "runs" / path.stem, readonly=True) as journal:
        return {
            arm: [(one.reply.status, one.reply.text) for one in journal.answers(arm)] for arm in Arm
        }


def results(path):
    file = path.parent / "runs" / path.stem / "artifacts" / "results.json"
    whole = json.loads(file.read_text())
    return [whole[part] for part in ("overall", "sensitivity", "noise_floor", "items")]


def test_two_places_give_the_verdict_of_one(start, config):
    """Equal answers, in whatever order they came: the verdict is the same to the last bit."""
    east, west = start("east", context=256), start("west", context=256)
    paths = [config("one", east), config("two", east, west)]
    for path in paths:
        done = run(path)
        assert done.returncode == 0, done.stderr
    assert answers(paths[0]) == answers(paths[1])
    assert results(paths[0]) == results(paths[1])


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_and_hangs_lose_nothing_and_blame_nobody(start, config, seed):
    """SIGKILL, and SIGSTOP past the deadline, at random: every answer is there, once, and right."""
    places = [start(name, context=256) for name in ("east", "west")]
    calm = config("calm", *places)
    assert run(calm).returncode == 0
    path = config("storm", *places, engine={"answer_seconds": 2.0, "patience": 60.0})
    chances, over, hit = random.Random(seed), threading.Event(), []

    def storm():
        while not over.is_set():
            over.wait(chances.uniform(0.05, 0.4))
            server = chances.choice([s for place in places for s in place.servers.values()])
            if chances.random() < 0.25:
                hit.append("stop")
                server.pause()
                over.wait(2.5)
                server.go_on()
            else:
                hit.append("kill")
                server.kill()
                over.wait(chances.uniform(0.0, 0.5))
                server.start()

    process = subprocess.Popen(
        command(path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    time.sleep(1.5)
    thread = threading.Thread(target=storm)
    thread.start()
    try:
        _, said = process.communicate(timeout=240)
    finally:
        over.set()
        thread.join()
    assert process.returncode in {0, 4}, said
    for place in places:
        for server in place.servers.values():
            server.wait()
    for _ in range(3):
        if process.returncode == 0 or run(path).returncode == 0:
            break
    assert "kill" in hit
    assert answers(path) == answers(calm)
    assert all(status is not Status.FAILED for arm in Arm for status, _ in answers(path)[arm])


def test_a_run_goes_on_with_the_places_that_are_there(start, config):
    """A place that was taken away between two starts is told, and its questions move."""
    east, west = start("east", context=256), start("west", context=256)
    path = config("night", east, west)
    process = subprocess.Popen(command(path), stderr=subprocess.DEVNULL)
    time.sleep(2.0)
    process.kill()
    process.wait()
    for server in west.servers.values():
        server.kill()
    done = run(path)
    assert done.returncode == 0, done.stderr
    with Journal(path.parent / "runs" / "night", readonly=True) as journal:
        assert sum(journal.answer_counts().values()) >= 2 * QUESTIONS
        assert all(a.reply.status is not Status.FAILED for arm in Arm for a in journal.answers(arm))


def test_when_no_place_is_left_the_run_stops_and_goes_on_later(start, config):
    """Exit code 4 with what to do; the same command finishes when the servers are back."""
    east = start("east", context=256)
    path = config("alone", east, engine={"patience": 0.5})
    for server in east.servers.values():
        server.kill()
    done = run(path)
    assert done.returncode == 4
    assert "no place answers" in done.stderr
    for server in east.servers.values():
        server.start()
        server.wait()
    assert run(path).returncode == 0
