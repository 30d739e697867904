"""Questions that are longer than the context: counted apart, and no retry is advised for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_run import config, prepared_journal, runner, samples

from so8t.cli.next_step import next_command
from so8t.domain.exchange import CONTEXT
from so8t.engines.scripted import Faults, ScriptedEngine
from so8t.pipeline.run.progress_state import read_progress
from so8t.pipeline.run.progress_text import summary_lines
from so8t.report.text import Text


@pytest.mark.parametrize(
    ("reasons", "unfit", "retry"),
    [
        ({"a/3/0": CONTEXT, "b/3/0": CONTEXT, "b/13/0": CONTEXT}, 3, False),
        ({"a/3/0": CONTEXT, "b/3/0": "no answer"}, 1, True),
        ({"b/3/0": "no answer"}, 0, True),
    ],
)
def test_a_retry_is_advised_for_what_it_may_change(tmp_path, reasons, unfit, retry):
    """What is too long stays so: it is said what to change; any other failure may be retried."""
    asked = config(benchmark={"noise_floor": 0})
    with prepared_journal(tmp_path, asked, samples(20)) as journal:
        runner(journal, ScriptedEngine(lambda _: "yes", Faults(fail=reasons)), asked).run()
        progress = replace(read_progress(journal, held=False), state="complete")
    assert (progress.failed, progress.unfit) == (len(reasons), unfit)
    advised = next_command(progress, tmp_path) or ""
    assert advised.startswith("so8t retry") == retry
    said = "\n".join(summary_lines(progress, Text("en")))
    assert ("engine.context" in said) == bool(unfit)
