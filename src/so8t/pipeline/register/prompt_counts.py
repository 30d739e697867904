"""Which files count the prompt tokens of a model that a server answers with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from so8t.domain.exchange import Arm
from so8t.domain.model_form import ModelForm
from so8t.domain.plan import Phase
from so8t.engines.rendering import PromptCounter
from so8t.errors import ModelError
from so8t.pipeline.register.register import registered_name
from so8t.pipeline.run.results import read_prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.config.schema import RunConfig
    from so8t.domain.exchange import Message
    from so8t.journal.store import Journal

_PREPARED = {Arm.A: Phase.PREPARE_A, Arm.B: Phase.PREPARE_B}


def prompt_counter(
    config: RunConfig, journal: Journal, name: str
) -> Callable[[tuple[Message, ...]], int | None] | None:
    """Return what counts the prompts of the model that is registered under `name`.

    Only a model that was converted here has both a template and a tokenizer at hand: None for a
    tag, for a GGUF of somebody else, and for a tokenizer that cannot be read alone (the run can
    do without the count, which is then said).
    """
    arms = {registered_name(config, arm): arm for arm in Arm}
    arm = arms.get(name.removesuffix(":latest"))
    done = journal.phase(_PREPARED[arm]) if arm is not None else None
    if done is None or done.state != "done":
        return None
    prepared = read_prepared(done.result)
    if prepared.kind is not ModelForm.FILE or prepared.source["kind"] != ModelForm.WEIGHTS:
        return None
    tokenizer = Path(prepared.source["location"]) / "tokenizer.json"
    if not tokenizer.is_file():
        return None
    try:
        return PromptCounter(Path(prepared.location), tokenizer).count
    except ModelError:
        return None
