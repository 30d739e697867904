"""A run in a control group with too little memory for the load that was asked for.

    python tests/lab/cgroup_pressure.py [--limit MIB] [--stress]

Twice the same model, the same questions, the same limit: once the engine at the fixed load that
the config names, once a whole `so8t run` with the balancer. Prints what became of each: finished
or killed, answers, peak memory, processes that the kernel killed. `--stress` has stress-ng use
both cores meanwhile. Linux only; needs a memory control group (v1 or v2) that may be written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
SLOTS, CONTEXT, QUESTIONS = 8, 4096, 24
LIMIT = 260

FIXED = """
import sys
from so8t.domain.exchange import *
from so8t.engines.embedded import EmbeddedEngine
from so8t.errors import SO8TError
model, slots, context, count = sys.argv[1], *map(int, sys.argv[2:])
answered = 0
try:
    with EmbeddedEngine().open(
        ServedModel(Arm.A, model, "x"), LoadProfile(slots=slots, context=context, threads=1)
    ) as session:
        asked = (
            EngineRequest(str(n), (Message("user", f"question {n}"),), Decoding(max_tokens=8))
            for n in range(count)
        )
        for _ in session.serve(asked):
            answered += 1
except SO8TError as error:
    print(type(error).__name__, file=sys.stderr)
    sys.exit(4)
finally:
    print(answered)
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt. `peak` is in bytes; `events` are those of the balancer."""

    name: str
    code: int
    answers: int
    peak: int
    killed: int
    seconds: float
    events: tuple[str, ...] = ()


class Group:
    """A memory control group of version 1 or 2."""

    def __init__(self, path: Path, version: int) -> None:
        self.path, self.version = path, version

    def limit(self, size: int) -> None:
        names = ("memory.limit_in_bytes",) if self.version == 1 else ("memory.max",)
        for name in names:
            (self.path / name).write_text(str(size))

    @property
    def peak(self) -> int:
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        return int((self.path / name).read_text())

    @property
    def killed(self) -> int:
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        lines = (self.path / name).read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@contextmanager
def group(limit: int) -> Iterator[Group | None]:
    """Make a group with a limit, or give None where that is not allowed."""
    for version, root in ((1, Path("/sys/fs/cgroup/memory")), (2, Path("/sys/fs/cgroup"))):
        path = root / f"so8t-lab-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            continue
        try:
            made = Group(path, version)
            try:
                made.limit(limit)
            except OSError:
                continue
            yield made
        finally:
            for _ in range(50):
                try:
                    path.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
        return
    yield None


def within(made: Group, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command, its children included, inside the group."""
    enter = f'echo $$ > "{made.path}/cgroup.procs" && exec "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", enter, "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "OMP_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",
            "XDG_STATE_HOME": str(cwd / "state"),
        },
        timeout=900,
    )


def prepare(directory: Path) -> Path:
    """Write the model (6 MB, but with 8 kB of KV cache a token), the questions and the config."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny_gguf  # noqa: PLC0415 - the tests' own model, in other sizes

    tiny_gguf.WIDTH, tiny_gguf.HIDDEN, tiny_gguf.HEADS, tiny_gguf.LAYERS = 128, 256, 4, 16
    model = tiny_gguf.write_tiny_gguf(directory / "model.gguf")
    lines = [
        {"id": f"q{n}", "category": "c", "prompt": f"question {n}", "reference": "x",
         "grader": {"type": "exact"}}
        for n in range(QUESTIONS)
    ]  # fmt: skip
    suite = directory / "suite.jsonl"
    suite.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = directory / "so8t.yaml"
    config.write_text(
        f"""\
name: lab
a: {{source: {{gguf: {model}}}}}
b: {{source: {{gguf: {model}}}}}
engine: {{slots: {SLOTS}, threads: 1, context: {CONTEXT}}}
generation: {{max_tokens: 8}}
benchmark: {{suites: [{suite}], noise_floor: 0}}
verdict: {{stop: full}}
resources: {{interval: 1, give_way: false}}
notify: {{sound: false}}
""",
        encoding="utf-8",
    )
    return config


def fixed(config: Path, limit: int) -> Outcome | None:
    """The engine at the load that the config names, whatever the memory."""
    with group(limit * MIB) as made:
        if made is None:
            return None
        began = time.monotonic()
        model = str(config.parent / "model.gguf")
        sizes = (SLOTS, CONTEXT, QUESTIONS)
        command = [sys.executable, "-c", FIXED, model, *map(str, sizes)]
        answer = within(made, command, config.parent)
        said = answer.stdout.strip()
        return Outcome("fixed", answer.returncode, int(said) if said.isdigit() else 0, made.peak,
                       made.killed, time.monotonic() - began)  # fmt: skip


def balanced(config: Path, limit: int) -> Outcome | None:
    """A whole run with the balancer."""
    with group(limit * MIB) as made:
        if made is None:
            return None
        began = time.monotonic()
        output = config.parent / "runs"
        command = [sys.executable, "-m", "so8t", "run", str(config), "--output", str(output), "-q"]
        answer = within(made, command, config.parent)
        seconds = time.monotonic() - began
        peak, killed = made.peak, made.killed
    sys.path.insert(0, str(ROOT / "src"))
    from so8t.journal.store import Journal  # noqa: PLC0415 - only once there is a run

    if answer.returncode:
        sys.stderr.write(answer.stderr[-2000:])
    with Journal(output / "lab", readonly=True) as journal:
        answers = sum(journal.answer_counts().values())
        kinds = ("profile_reduced", "resources_reduced", "resources_adjusted", "engine_crashed")
        events = tuple(
            f"{event.kind}:{event.data.get('reason', '')}"
            for event in journal.events()
            if event.kind in kinds
        )
    return Outcome("balanced", answer.returncode, answers, peak, killed, seconds, events)


@contextmanager
def stress(*, wanted: bool) -> Iterator[None]:
    """Let stress-ng use every core meanwhile."""
    program = shutil.which("stress-ng")
    if not wanted:
        yield
        return
    if program is None:
        raise SystemExit("stress-ng is not installed: apt-get install stress-ng")
    with subprocess.Popen([program, "--cpu", "0", "--quiet"]) as process:
        try:
            yield
        finally:
            process.terminate()


def main() -> int:
    """Print the table; fail where the balanced run did not finish unharmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=LIMIT, help="MiB for everything together")
    parser.add_argument("--stress", action="store_true", help="stress-ng on every core beside it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, stress(wanted=asked.stress):
        config = prepare(Path(directory))
        found = [fixed(config, asked.limit), balanced(config, asked.limit)]
    if None in found:
        print("no memory control group may be made here: nothing was tried")
        return 1
    print(f"limit {asked.limit} MiB; asked for: {SLOTS} slots of {CONTEXT} tokens")
    for one in found:
        assert one is not None
        print(
            f"{one.name:9} exit {one.code}, {one.answers} answers, peak {one.peak / MIB:.0f} MiB, "
            f"{one.killed} killed, {one.seconds:.0f} s  {' '.join(one.events)}"
        )
    last = found[-1]
    return 0 if last is not None and last.code == 0 and last.killed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
