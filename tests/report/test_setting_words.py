"""A change of a setting in words: what is another one now, in report and console alike."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from so8t.cli.console import Console
from so8t.models.training_setting import TrainingSetting
from so8t.report.facts import event_words
from so8t.report.text import Text
from so8t.report.view import Occurrence

FULL = TrainingSetting(micro_batch=8)
SMALLER = TrainingSetting(micro_batch=4, gradient_checkpointing=True)
PAUSED = TrainingSetting(micro_batch=8, paused=True)


@pytest.mark.parametrize(
    ("language", "before", "after", "words"),
    [
        ("en", FULL, TrainingSetting(4), "From step 40 on: micro-batch 8 → micro-batch 4 (memory"),
        ("en", FULL, SMALLER, "gradient checkpointing off → micro-batch 4, gradient"),
        ("en", FULL, PAUSED, "The training paused at step 40: memory is full."),
        ("en", PAUSED, FULL, "The training went on at step 40."),
        ("ja", FULL, SMALLER, "マイクロバッチ 4, 勾配チェックポイント あり（メモリ"),
        ("ja", FULL, PAUSED, "ステップ40で学習を一時停止しました：メモリがいっぱいです。"),
    ],
)
def test_a_training_that_takes_another_setting_says_which(capsys, language, before, after, words):
    """What differs stands there, a pause is called one, and the console says the same."""
    data = {"reason": "memory_full", "step": 40}
    data |= {"before": before.asdict(), "after": after.asdict()}
    said = event_words(Occurrence(datetime.now(UTC), "training_setting", data), Text(language))
    assert words in said
    console = Console(language, as_json=False, quiet=False, verbose=False)
    console.reporter().note("training_setting", **data)
    shown = capsys.readouterr().err
    assert "micro_batch" not in said + shown
    assert ("→" in said) == ("→" in shown)
