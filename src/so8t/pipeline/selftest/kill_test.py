"""`so8t doctor --kill-test`: a small run of this machine's own, killed at random moments.

A is the quickstart's base model, B the same weights in four bits: both are converted, loaded by
llama.cpp and asked, once in peace and once through kills. Nothing has to be installed for training.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from so8t.domain.plan import Phase
from so8t.errors import IncompleteError
from so8t.examples import DEMO
from so8t.journal.store import Journal
from so8t.pipeline.selftest.killing import kill_in, outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_QUESTIONS = 32
_KILLS = 8
_MOST_STARTS = 40
# Phases and the most seconds after their start at which a kill comes.
_AIMS = ((Phase.PREPARE_A, 0.1), (Phase.REGISTER, 0.5), (Phase.BENCHMARK, 0.5))


@dataclass(frozen=True, slots=True)
class KillTest:
    """What kills did to a run.

    Attributes:
        kills: how many hit.
        hit: which phases they hit, with how often.
        lost: answers that the run in peace has and this one lacks.
        twice: answers that were recorded more than once.
        phases_redone: phases that had to be begun again.
        same: whether answers, models and verdict are those of the run in peace.
        seed: repeats the same kills.

    """

    kills: int
    hit: tuple[str, ...]
    lost: int
    twice: int
    phases_redone: int
    same: bool
    seed: int

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing is there twice."""
        return self.same and not self.lost and not self.twice


def kill_test(
    directory: Path, tell: Callable[[int, int], None], *, seed: int | None = None
) -> KillTest:
    """Run in peace, then run through kills, in two directories below `directory`.

    `tell` hears the number of each kill, and of how many.

    Raises IncompleteError when the run does not get to its end without kills either.
    """
    chosen = random.SystemRandom().randrange(2**32) if seed is None else seed
    dice = random.Random(chosen)
    truth = _to_the_end(_prepare(directory / "peace"))
    config = _prepare(directory / "killed")
    hit: Counter[str] = Counter()
    for _ in range(_MOST_STARTS):
        phase, longest = _AIMS[min(sum(hit.values()) // 2, len(_AIMS) - 1)]
        with _start(config) as process:
            killed = kill_in(process, _run_directory(config), phase, longest * dice.random() ** 2)
        if killed is None:
            break
        hit[killed.phase.value if killed.phase else "start"] += 1
        tell(sum(hit.values()), _KILLS)
        if sum(hit.values()) >= _KILLS:
            break
    found = _to_the_end(config)
    with Journal(_run_directory(config), readonly=True) as journal:
        redone = sum(step.attempt - 1 for step in journal.phases() if step.state == "done")
    return KillTest(
        kills=sum(hit.values()),
        hit=tuple(f"{name} {count}" for name, count in hit.items()),
        lost=len(truth["answers"].keys() - found["answers"].keys()),
        twice=sum(attempts != 1 for *_, attempts in found["answers"].values()),
        phases_redone=redone,
        same=found == truth,
        seed=chosen,
    )


def _prepare(directory: Path) -> Path:
    directory.mkdir(parents=True)
    questions = (DEMO.parent / "suite.jsonl").read_text(encoding="utf-8").splitlines()
    chosen = questions[:: len(questions) // _QUESTIONS][:_QUESTIONS]
    (directory / "suite.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    base = json.dumps(str(DEMO.parent / "base"))
    config = directory / "so8t.yaml"
    config.write_text(
        f"""\
name: kill-test
a: {{source: {{hf: {base}}}}}
b: {{source: {{hf: {base}}}, quantization: q4_0}}
engine: {{slots: 1, threads: 1, context: 256}}
generation: {{max_tokens: 24}}
benchmark: {{suites: [suite.jsonl], noise_floor: 4, reuse_baseline: false}}
verdict: {{stop: full}}
keep_awake: false
notify: {{sound: false}}
""",
        encoding="utf-8",
    )
    return config


def _run_directory(config: Path) -> Path:
    return config.parent / "runs" / "kill-test"


def _start(config: Path) -> subprocess.Popen[bytes]:
    output = str(config.parent / "runs")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "so8t", "run", str(config), "--quiet", "--output", output],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=sys.platform != "win32",
    )


def _to_the_end(config: Path) -> dict[str, Any]:
    began = time.monotonic()
    with _start(config) as process:
        _, said = process.communicate()
    if process.returncode != 0:
        raise IncompleteError(
            f"the small run ended with exit code {process.returncode} after "
            f"{time.monotonic() - began:.0f} s, without any kill:\n"
            + said.decode("utf-8", "replace"),
            hint="fix that first; so8t doctor names what is missing",
        )
    return outcome(_run_directory(config))
