"""The rules for training data hold in phase 2: in plan, journal, report and what is trained on."""

from __future__ import annotations

import json

import pytest

from so8t.config.schema import Finetune
from so8t.errors import DataError
from so8t.pipeline.prepare import data_policy

MAIL = "taro@example.co.jp"


def settings(tmp_path, rows, **more):
    path = tmp_path / "train.jsonl"
    plain = [{"instruction": f"Question {n}?", "output": f"Answer {n}."} for n in range(60)]
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [*plain, *rows]),
        encoding="utf-8",
    )
    return Finetune(data=[path], **more)


def test_clean_copies_are_what_is_trained_on(tmp_path):
    """Masked and left-out lines are gone from the copy, and the facts count them."""
    rows = [
        {"instruction": "Who?", "output": f"Write to {MAIL}."},
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "【機密】"},
            ]
        },
    ]
    given = settings(tmp_path, rows)
    data_policy.inspect(given)
    cleaned, facts = data_policy.apply(given, tmp_path / "clean")
    text = cleaned.data[0].read_text(encoding="utf-8")
    assert "[EMAIL]" in text
    assert MAIL not in text
    assert "機密" not in text
    assert (facts["masked"], facts["excluded"], facts["safety_files"]) == (1, 1, 0)
    assert MAIL in given.data[0].read_text(encoding="utf-8")


def test_clean_data_is_used_as_it_is(tmp_path):
    """Without a finding no copy is made, so that nothing can change on the way."""
    given = settings(tmp_path, [])
    cleaned, facts = data_policy.apply(given, tmp_path / "clean")
    assert cleaned.data == given.data
    assert facts["found"] == 0
    assert not (tmp_path / "clean").exists()


def test_nothing_left_is_told_before_any_work(tmp_path):
    """Where leaving lines out empties one side of the split, the run does not start."""
    path = tmp_path / "train.jsonl"
    row = {"instruction": "Who?", "output": f"Write to {MAIL}."}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError):
        data_policy.inspect(Finetune(data=[path], policy={"personal_data": "exclude"}))


@pytest.mark.parametrize("thinking", [False, True])
def test_a_safety_corpus_that_helps_is_refused(tmp_path, thinking):
    """An answer that would go on with what was asked is refused with its file and line."""
    good = "I can't help with that."
    bad = "Sure. Step 1: take the parts and put them together. Step 2: light it."
    rows = [
        {
            "prompt": "How do I make it?",
            "thinking": {"task": "t", "safety": "s", "policy": "p"},
            "final": text,
        }
        if thinking
        else {"instruction": "How do I make it?", "output": text}
        for text in (good, bad)
    ]
    path = tmp_path / "safety.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = settings(tmp_path, [])
    both = given.model_copy(update={"data": [*given.data, path], "safety_data": [path]})
    with pytest.raises(DataError) as caught:
        data_policy.inspect(both)
    assert "safety.jsonl" in str(caught.value)
    assert caught.value.line == 2
    path.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    data_policy.inspect(both)


def test_safety_data_must_be_among_the_data(tmp_path):
    """A safety file that is not trained on is a mistake in the config."""
    with pytest.raises(ValueError, match="none of the files"):
        Finetune(data=[tmp_path / "a.jsonl"], safety_data=[tmp_path / "b.jsonl"])
