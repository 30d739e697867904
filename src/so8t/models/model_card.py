"""The card of a model that was made here: what it is made of, how, and what that proves.

A Markdown file with YAML front matter, as model hubs read it. It stands as README.md beside the
weights and names files and digests, never places on this machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from so8t.domain.plain_text import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from so8t.models.sources import ResolvedSource

NAME: Final = "README.md"
_HUB_PATH: Final = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")
# What hubs take as `license:`; anything else is "other" with its name.
# An id that YAML reads as text as it stands; anything else is quoted (JSON is YAML).
_HUB_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_LICENCE_ID: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")
_NO_SAFETY: Final = "No part of the data was declared as a safety corpus (`safety_data`)."
_SAFETY: Final = (
    "Safety corpora: {count} of the files, for refusal and detection only. Each answer in them was "
    "checked before the training: it refuses, or it is a label."
)
_METHODS: Final = {
    "so8": "block-diagonal SO(8) rotations on the input side of linear layers (orthogonal "
    "fine-tuning with blocks of 8), merged into the weights",
    "lora": "low-rank updates (LoRA), merged into the weights",
    "qlora": "low-rank updates (LoRA) trained beside a base in 4 bits (QLoRA), merged into the "
    "weights",
}


def model_card(
    label: str, base: ResolvedSource, method: str, training: Mapping[str, Any], version: str
) -> str:
    """Write the card of a fine-tuned model.

    Args:
        label: the model's name.
        base: what it was made from.
        method: so8, lora or qlora.
        training: what the training measured (`FinetuneResult.asdict()`), with `leaks` where
            benchmark items were looked for and `policy` where the rules for training data were
            applied. Unknown figures are said to be unknown.
        version: of so8t.

    """
    name = base_name(base)
    return "\n".join(
        [
            "---",
            *_front_matter(name, base, method),
            "---",
            "",
            f"# {markdown(label)}",
            "",
            (
                f"Fine-tuned from {markdown(name)} with so8t {version}. The weights are an "
                "ordinary model of the base's architecture; every runtime that serves the base "
                "serves this one."
            ),
            "",
            "## Base",
            "",
            *_base(name, base),
            "",
            "## Method",
            "",
            f"{_METHODS[method][0].upper()}{_METHODS[method][1:]}.",
            "",
            *_figures(training),
            "",
            "## Data",
            "",
            *_data(training),
            "",
            *_rules(training),
            "",
            "## Result",
            "",
            *_result(training),
            "",
            "## Licence",
            "",
            _licence(base),
            "",
        ]
    )


def _rules(training: Mapping[str, Any]) -> list[str]:
    policy = training.get("policy")
    if policy is None:
        return ["Whether there are safety corpora or personal data in it was not looked at."]
    count = policy["safety_files"]
    personal = (
        f"Personal data: {policy['found']} places found by patterns, {policy['masked']} lines "
        f"masked, {policy['excluded']} left out ({policy['confidential']} marked confidential)."
    )
    return [_SAFETY.format(count=count) if count else _NO_SAFETY, "", personal]


def base_name(base: ResolvedSource) -> str:
    """Name a base: its id on the hub, else the name of its directory."""
    for part in Path(base.location).parts:
        found = _HUB_PATH.fullmatch(part)
        if found is not None and base.commit is not None:
            return f"{found['owner']}/{found['name']}"
    return Path(base.location).name


def _front_matter(name: str, base: ResolvedSource, method: str) -> list[str]:
    known = base.licence is not None and _LICENCE_ID.fullmatch(base.licence) is not None
    lines = [f"license: {base.licence}"] if known else ["license: other"]
    if not known:
        lines.append(f"license_name: {json.dumps(base.licence or 'unknown')}")
    if base.commit is not None:
        lines += [
            f"base_model: {name if _HUB_ID.fullmatch(name) else json.dumps(name)}",
            "base_model_relation: finetune",
        ]
    return [*lines, "library_name: transformers", "pipeline_tag: text-generation", "tags:",
            "- so8t", f"- {method}"]  # fmt: skip


def _base(name: str, base: ResolvedSource) -> list[str]:
    lines = [f"- model: {markdown(name)}", f"- commit: {base.commit or 'none, a directory'}"]
    if base.adapter is not None:
        lines += [
            f"- digest of the base: `{base.base_digest}`",
            (
                f"- with the adapter {markdown(Path(base.adapter).name)} ({base.adapter_kind}) "
                f"merged into it, digest `{base.adapter_digest}`"
            ),
        ]
    return [*lines, f"- digest: `{base.digest}`"]


def _figures(training: Mapping[str, Any]) -> list[str]:
    names = {
        "steps_done": "steps",
        "trainable_parameters": "trained parameters",
        "blocks": "8 x 8 blocks",
        "orthogonality_error": "largest entry of |R R^T - I|",
        "determinant_min": "smallest determinant",
        "determinant_max": "largest determinant",
        "largest_angle_degrees": "largest angle, degrees",
        "rank": "rank",
        "largest_update": "largest update (Frobenius norm)",
        "merge_error": "merged against unmerged, largest difference of a logit",
        "rounding_error": "rounding to the base's type, largest difference of a logit",
    }
    shown = [
        f"- {words}: {_number(training[key])}"
        for key, words in names.items()
        if training.get(key) is not None
    ]
    if training.get("thinking_tokens"):
        shown.append("- the eight tags of the fourfold thinking format are tokens of their own")
    return shown


def _data(training: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- {markdown(Path(path).name)}: `{digest}`"
        for path, digest in (training.get("data_digests") or {}).items()
    ]
    lines.append(
        f"- {_number(training.get('conversations'))} conversations trained on, "
        f"{_number(training.get('held_out_conversations'))} held out by the hash of their content"
    )
    leaks = training.get("leaks")
    if leaks is not None:
        lines.append(
            f"- benchmark items in the data: {leaks['found']} lines of {leaks['lines']} found "
            f"(equal text, {leaks['words']} words or {leaks['characters']} Japanese characters in "
            f"a row), {leaks['dropped']} left out"
        )
    return lines


def _result(training: Mapping[str, Any]) -> list[str]:
    before, after = training.get("held_out_loss_before"), training.get("held_out_loss_after")
    return [
        (
            f"Held-out loss, nats a token of an answer: {_number(before)} before, {_number(after)} "
            "after. This says how well the data is imitated. Whether the model answers better "
            "than its base is what the benchmark's report says."
        ),
    ]


def _licence(base: ResolvedSource) -> str:
    if base.licence is None:
        return (
            "Unknown: neither the base's card nor a licence file beside it names one. Find out "
            "before passing this model on."
        )
    return (
        f"That of the base: {markdown(base.licence)}. The training data may add terms of its own."
    )


def _number(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
