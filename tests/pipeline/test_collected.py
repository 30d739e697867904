"""The questions of a plan before they are frozen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from tiny_run import write_config

from so8t.config.load import load_config
from so8t.domain.plan import one_cluster
from so8t.errors import DataError
from so8t.pipeline.plan.collected import CollectedSamples
from so8t.pipeline.plan.planning import collect_samples
from so8t.tasks.suite import load_suite

_MEASURED = """
import resource, sys
from pathlib import Path
from so8t.pipeline.plan.planning import collect_samples
from so8t.config.load import load_config
config = load_config(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(collect_samples(config)) == 20_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def write_suite(path, count, text="How many?"):
    """Write questions, every fifth with a twin, some on passages."""
    items = [
        {
            "id": f"q{n}",
            "category": "logic",
            "prompt": f"{text} {n - n % 5 // 4}",
            "grader": "number",
            "reference": str(n),
        }
        | ({"cluster": f"passage {n % 7}"} if n % 3 == 0 else {})
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")


def by_the_rule(samples, seed):
    """Order samples as docs/design/order.md says: SHA-256 of seed and name, then the id."""

    def rank(sample):
        name, cluster = sample.id, sample.cluster
        if cluster is not None:
            joined = cluster.startswith("same question ")
            name = cluster if joined else f"{sample.task}\0{cluster}"
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest(), sample.id

    return sorted(samples, key=rank)


def test_questions_in_a_file_are_those_of_a_list_in_the_order_of_the_rule(tmp_path):
    """Not one field differs, and the order is the sorted list's, clusters and twins included."""
    config = load_config(write_config(tmp_path, questions=8))
    write_suite(tmp_path / "suite.jsonl", 200)
    read = load_suite(tmp_path / "suite.jsonl")
    expected = CollectedSamples()
    for sample in read:
        expected.append(sample)
    assert list(expected) == read
    clusters = one_cluster(read)
    assert clusters
    expected.join(clusters)
    assert list(collect_samples(config)) == by_the_rule(expected, config.seed)


def test_plans_beyond_the_memory_for_small_ones_lie_in_a_file(tmp_path, monkeypatch):
    """What is read back from the disk is what was put there, in any order."""
    monkeypatch.setattr("so8t.pipeline.plan.collected._IN_MEMORY", 100)
    write_suite(tmp_path / "suite.jsonl", 50)
    read = load_suite(tmp_path / "suite.jsonl")
    held = CollectedSamples()
    for sample in read:
        held.append(sample)
    assert held[7] == read[7]
    held.arrange(range(49, -1, -1))
    assert held[:3] == read[:-4:-1]
    assert list(held) == read[::-1]


def test_suites_of_the_same_name_are_refused(tmp_path):
    """Their scores would be shown as those of one; both are named, whatever their ids."""
    config = load_config(write_config(tmp_path, questions=8))
    (tmp_path / "other").mkdir()
    suites = [tmp_path / "suite.jsonl", tmp_path / "other" / "suite.jsonl"]
    for file in suites:
        write_suite(file, 20, text=file.parent.name)
    both = config.model_copy(
        update={"benchmark": config.benchmark.model_copy(update={"suites": suites})}
    )
    with pytest.raises(DataError, match=r"two suites are called 'suite': .*other"):
        collect_samples(both)


def test_a_task_asked_for_twice_is_refused(tmp_path):
    """The id that stands twice is named."""
    path = write_config(tmp_path, questions=8)
    row = {"question": "What is 3 and 4?", "answer": "3 + 4 = 7\n#### 7"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    task = f"{{name: gsm8k, data: {json.dumps(str(tmp_path))}}}"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("suites: [suite.jsonl]", f"tasks: [{task}, {task}]"), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"two samples are called 'gsm8k/.*'"):
        collect_samples(load_config(path))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX")
def test_collecting_needs_little_memory_beside_the_questions(tmp_path):
    """A suite of 40 MB is planned within 30 MB: no two of its questions' texts are held."""
    path = write_config(tmp_path, questions=8)
    write_suite(tmp_path / "suite.jsonl", 20_000, text="How many jars are there? " * 80)
    assert (tmp_path / "suite.jsonl").stat().st_size > 40e6
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, path], capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 30e6
