"""What the pipeline does with training lines that a benchmark item stands in."""

from __future__ import annotations

import json

import pytest

from so8t.config.schema import Finetune
from so8t.domain.exchange import Message
from so8t.domain.sample import Origin, Sample
from so8t.errors import DataError
from so8t.models.training_data import read_conversations
from so8t.pipeline.prepare import contamination

QUESTIONS = [f"What is {n} times {n + 1}?" for n in range(5)]
SAMPLES = [
    Sample(f"t/{n}", "t", Origin.SUITE, "mathematics", "en", (Message("user", text),))
    for n, text in enumerate(QUESTIONS)
]


@pytest.fixture
def files(tmp_path):
    """Two files of which the second has questions in lines 3 and 5, after an empty line."""
    paths = tmp_path / "clean.jsonl", tmp_path / "leaky.jsonl"
    for path, extra in zip(paths, ([], [QUESTIONS[0], "more", QUESTIONS[3]]), strict=True):
        users = [f"{path.stem} {n}" for n in range(60)]
        users[1:1] = extra
        lines = [json.dumps({"instruction": text, "output": "b"}) for text in users]
        lines[1:1] = [""]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    return list(paths)


def test_leaking_lines_are_left_out_and_others_keep_their_number(files, tmp_path):
    """By default a copy without them is trained on; clean files are used as they are."""
    settings = Finetune(data=files, held_out=0.2)
    report = contamination.check(settings, SAMPLES)
    assert [(leak.line, leak.item) for leak in report.leaks] == [(3, "t/0"), (5, "t/3")]
    changed = contamination.without_leaks(settings, report, tmp_path / "data")
    assert changed.data[0] == files[0]
    before = {one.line: one.digest for one in read_conversations([files[1]])}
    after = {one.line: one.digest for one in read_conversations([changed.data[1]])}
    assert after == {line: digest for line, digest in before.items() if line not in {3, 5}}
    assert contamination.check(changed, SAMPLES).leaks == ()
    assert contamination.facts(settings, report)["dropped"] == 2


def test_a_leak_can_be_kept_or_be_an_error(files, tmp_path):
    """`keep` trains on everything and still counts; `fail` names file, line and item."""
    settings = Finetune(data=files, held_out=0.2, leaks="keep")
    report = contamination.check(settings, SAMPLES)
    assert contamination.without_leaks(settings, report, tmp_path / "data") is settings
    assert contamination.facts(settings, report) | {
        "found": 2,
        "dropped": 0,
    } == contamination.facts(settings, report)
    with pytest.raises(DataError, match=r"leaky\.jsonl:3: 2 training lines .*t/0") as caught:
        contamination.check(Finetune(data=files, held_out=0.2, leaks="fail"), SAMPLES)
    assert "drop" in str(caught.value.hint)


def test_dropping_everything_is_refused(tmp_path):
    """Data that is nothing but benchmark items leaves nothing to train on, and that is said."""
    path = tmp_path / "all.jsonl"
    rows = [json.dumps({"instruction": text, "output": "b"}) for text in QUESTIONS]
    path.write_text("\n".join(rows), "utf-8")
    with pytest.raises(DataError, match=r"5 of 5 training lines .* dropped; the 0 that are left"):
        contamination.check(Finetune(data=[path], held_out=0.4), SAMPLES)
