"""What a finished phase 2 depends on, and what it does not."""

from __future__ import annotations

import pytest

from so8t.config.schema import RunConfig
from so8t.examples import quickstart
from so8t.models.sources import resolve
from so8t.pipeline.prepare.prepare import inputs_b

PATHS = quickstart.paths()


def inputs(**finetune):
    config = RunConfig.model_validate(
        {
            "name": "tiny",
            "a": {"source": {"hf": str(PATHS.base)}},
            "b": {"finetune": {"data": [PATHS.train], **finetune}},
            "benchmark": {"suites": [PATHS.suite]},
        }
    )
    return inputs_b(config, resolve(config.a.source), None)


@pytest.mark.parametrize(
    "changed", [{"checkpoint_interval": 5}, {"checkpoints_kept": 2}, {"memory_limit_gb": 3}]
)
def test_how_a_training_is_kept_does_not_do_it_again(changed):
    """These keys change nothing of B, so a finished phase 2 holds."""
    assert inputs(**changed) == inputs()


@pytest.mark.parametrize("changed", [{"steps": 5}, {"learning_rate": 0.1}, {"pet": True}])
def test_what_decides_the_weights_does_it_again(changed):
    """A phase 2 that was finished under other settings is not taken for this one."""
    assert inputs(**changed) != inputs()
