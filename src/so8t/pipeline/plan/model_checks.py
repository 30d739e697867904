"""What phase 3 will ask of the models, asked before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from so8t.domain.exchange import Arm
from so8t.domain.model_form import ModelForm
from so8t.engines.registry import kind_of
from so8t.errors import PrerequisiteError
from so8t.models.gguf_check import inspect_gguf
from so8t.pipeline.register.templates import check_template, ways_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from so8t.config.schema import RunConfig
    from so8t.domain.sample import Sample
    from so8t.models.sources import ResolvedSource

#: A note for a person: the key of its words, and the values in them.
Note = tuple[str, dict[str, Any]]


def check_models(
    config: RunConfig, sources: Mapping[Arm, ResolvedSource], samples: Iterable[Sample]
) -> list[Note]:
    """Ask what phase 3 will ask; return notes on what a person may not expect.

    Raises ModelError for a model that cannot take the questions (no template, or a broken one, a
    projector's file, a part of a split one), PrerequisiteError for a server that does not answer.
    """
    kind = kind_of(config.engine)
    if kind.reachable is not None and not kind.reachable(config.engine):
        raise PrerequisiteError(
            f"engine.kind: {config.engine.kind}: no server answers.",
            hint="start it, or mend engine.url; so8t doctor says more",
        )
    ways = ways_of(samples, config)
    notes: list[Note] = []
    for arm in Arm:
        source = sources.get(arm, sources[Arm.A])
        thinking = check_template(config, arm, source, ways)
        if thinking is not None:
            notes.append((f"cli.note.thinking_{thinking}", {"arm": arm.upper()}))
        if source.kind is not ModelForm.FILE:
            continue
        trained = inspect_gguf(source.path).context_length
        if trained is not None and trained < config.engine.context:
            values = {"arm": arm.upper(), "trained": trained, "wanted": config.engine.context}
            notes.append(("cli.note.context_of_model", values))
    return notes
