"""What the report says of how it was made: training, models, settings, events, the config."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from so8t.domain.canonical import canonical_json
from so8t.report.setting_words import setting_words, variant_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.report.text import Text
    from so8t.report.view import ModelView, Occurrence, View

#: Label, value, whether it is set as code. A value of None is not shown.
Fact = tuple[str, str | None, bool]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MEGA, _GIGA = 1e6, 1e9
_PLAIN_FROM, _PLAIN_BELOW = 1e-3, 1e6


def training_facts(view: View, text: Text) -> list[tuple[str, str]]:
    """Return the figures of the fine-tuning that made B, those that were measured."""
    found = view.training or {}
    shown = [
        (text(f"training.{name}"), words)
        for name, write in _training_writers(text).items()
        if found.get(name) is not None and (words := write(found[name])) is not None
    ]
    checks = {"leaks": "training.leaks_found", "policy": "training.policy_found"}
    shown += [
        (text(f"training.{name}"), text(words, **found[name]))
        for name, words in checks.items()
        if name in found
    ]
    if found.get("stopped_by") == "max_seconds":
        shown.append((text("training.stopped_by"), text("training.max_seconds")))
    return shown


def _training_writers(text: Text) -> dict[str, Callable[[Any], str | None]]:
    """Return how each figure of a training is written, in the order of the report."""

    def whole(value: Any) -> str:
        return text.number(value)

    def exact(value: Any) -> str:
        return f"{value:.7f}"

    def degrees(value: Any) -> str:
        return text("training.degrees", value=f"{value:.1f}")

    def loss(value: Any) -> str:
        return f"{value:.3f}"

    def steps(value: Any) -> str | None:
        return ", ".join(map(text.number, value)) if value else None

    def setting(value: Any) -> str:
        named = {
            "checkpointing": value["gradient_checkpointing"],
            # Trainings of earlier versions knew no offloading.
            "offloading": value.get("activation_offloading", False),
        }
        words = {name: text("profile.on" if on else "profile.off") for name, on in named.items()}
        return text("training.setting_words", **value | words)

    def search(value: Any) -> str:
        words = {"loss": loss(value["held_out_loss"]), "at_config": value["at_config"]}
        return text("training.search_words", **text.shown(value | words))

    def packing(value: Any) -> str | None:
        return text("training.packing_words") if value else None

    def pet(value: Any) -> str | None:
        weights = ", ".join(f"{one:g}" for one in value)
        return text("training.pet_words", weights=weights) if weights else None

    return {
        "method": str,
        "steps_done": whole,
        "resumed_from": steps,
        "search": search,
        "setting": setting,
        "packing": packing,
        "pet": pet,
        "training_seconds": text.duration,
        "conversations": whole,
        "tokens": whole,
        "held_out_loss_before": loss,
        "held_out_loss_after": loss,
        "trainable_parameters": whole,
        "rank": whole,
        "largest_update": small,
        "blocks": whole,
        "orthogonality_error": small,
        "determinant_min": exact,
        "determinant_max": exact,
        "largest_angle_degrees": degrees,
        "merge_error": small,
        "rounding_error": small,
    }


def training_about(view: View, text: Text) -> str:
    """Say in a sentence what the method of the fine-tuning does."""
    return text(f"training.about.{(view.training or {}).get('method', 'so8')}")


def small(value: float) -> str:
    """Write a number of any size: 4.8 x 10^-7 with real superscripts."""
    if value == 0 or _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        return f"{value:.4g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa} \N{MULTIPLICATION SIGN} 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def size(count: int | None) -> str | None:
    """Write bytes as MB or GB, powers of ten; None stays None."""
    if count is None:
        return None
    return f"{count / _GIGA:.2f} GB" if count >= _GIGA else f"{count / _MEGA:.1f} MB"


def model_facts(view: View, text: Text) -> list[dict[str, Any]]:
    """Return what is known of either model."""
    return [
        {"arm": arm.value, "label": model.label, "facts": _model(model, text)}
        for arm, model in view.models.items()
    ]


def _parity(parity: dict[str, Any], text: Text) -> str:
    """Say how the file answers beside transformers, or why that is not known."""
    if "skipped" in parity:
        return text("model.parity_skipped", why=parity["skipped"])
    return text(
        "model.parity_found",
        difference=small(parity["log_probability_difference"]),
        positions=parity["positions"],
        differing=parity["texts_with_other_tokens"],
        texts=parity["texts"],
    )


def _switch(value: str | None, text: Text) -> str | None:
    return None if value is None else text(f"profile.{value}")


def _model(model: ModelView, text: Text) -> list[Fact]:
    parameters = model.facts.get("parameters")
    found: list[Fact] = [
        (text("model.file"), model.file, True),
        (text("model.digest"), model.digest, True),
        (text("model.size"), size(model.size), False),
        (text("model.type"), model.quantization or model.facts.get("file_type"), False),
        (text("model.architecture"), model.facts.get("architecture"), False),
        (
            text("model.parameters"),
            None if parameters is None else text.number(parameters),
            False,
        ),
        (text("model.template"), model.load.get("template_digest"), True),
        (text("model.memory"), size(model.load.get("memory")), False),
        (text("model.thinking"), _switch(model.facts.get("thinking"), text), False),
        (text("model.first_prompt"), model.facts.get("first_prompt"), True),
    ]
    conversion = model.conversion or {}
    found.append((text("model.converter"), conversion.get("converter"), True))
    if (parity := conversion.get("parity")) is not None:
        found.append((text("model.parity"), _parity(parity, text), False))
    if (cost := conversion.get("quantization_cost")) is not None:
        said = text(
            "model.quantization_cost_found",
            kl=small(cost["kl_mean"]),
            largest=small(cost["kl_largest"]),
            flips=cost["flips"],
            positions=cost["positions"],
        )
        found.append((text("model.quantization_cost"), said, False))
    types = conversion.get("types")
    if types:
        said = ", ".join(f"{kind} {count}" for kind, count in types.items())
        found.append((text("model.types"), said, False))
    matrix = conversion.get("imatrix")
    if matrix:
        found.append((text("model.imatrix"), ", ".join(matrix["datasets"]) or None, False))
        found.append((text("model.imatrix_digest"), matrix["digest"], True))
    found += [(text("model.caveat"), caveat, False) for caveat in conversion.get("caveats", ())]
    for name, value in model.source.items():
        if value in (None, "") or (name, value) == ("licence", "unknown"):
            continue
        label = text.known("source", name)
        if name == "size":
            found.append((label, size(value), False))
        else:
            said = value if isinstance(value, str) else canonical_json(value)
            found.append((label, said, name != "kind"))
    return found


def provenance_facts(view: View, text: Text) -> list[Fact]:
    """Return what the answers and the verdict depend on."""
    run, engine = view.run, view.engine
    generation = run.config["generation"]
    found: list[Fact] = [
        (text("provenance.run_id"), run.run_id, True),
        (text("provenance.config_digest"), run.config_digest, True),
        (text("provenance.journal"), text("provenance.rows", rows=view.head.seq), False),
        (text("provenance.chain"), view.head.chain, True),
        (text("provenance.seed"), str(run.config["seed"]), False),
        (
            text("provenance.decoding"),
            ", ".join(f"{key} {_figure(value)}" for key, value in generation.items()),
            False,
        ),
    ]
    if view.evidence is not None and view.evidence.repeats > 1:
        found.append((text("provenance.repeats"), text.number(view.evidence.repeats), False))
    if engine is not None:
        profile = ", ".join(
            f"{text.known('profile', key)} {text('unknown') if value is None else value}"
            for key, value in engine.profile.items()
        )
        version = f"{engine.engine} · {engine.version}"
        found += [
            (
                text("provenance.engine"),
                f"{version} · {engine.detail}" if engine.detail else version,
                False,
            ),
            (text("provenance.profile"), profile, False),
        ]
    for body in view.settings.items():
        digest, plain = body
        arm = str(plain.get("arm", "")).upper()
        found.append((text("provenance.settings", arm=arm), digest, True))
    return found


def calibration_rows(view: View, text: Text) -> list[dict[str, Any]]:
    """Return the measurements by which threads and slots were chosen."""
    found = view.engine.calibration if view.engine else None
    if not found:
        return []
    chosen = (found.get("threads"), found.get("slots"))
    return [
        {
            "threads": text.number(one["threads"]),
            "slots": text.number(one["slots"]),
            "rate": text("unknown")
            if one["tokens_per_second"] is None
            else f"{one['tokens_per_second']:,.1f}",
            "failure": one.get("failure"),
            "chosen": (one["threads"], one["slots"]) == chosen,
        }
        for one in found.get("measurements", ())
    ]


def event_words(event: Occurrence, text: Text) -> str:
    """Say what happened; an event that has no words of its own is shown as it was recorded."""
    key = f"event.{variant_of(event.kind, event.data)}"
    if key not in text:
        return f"{event.kind} {canonical_json(event.data)}"
    values = text.shown(setting_words(event.data, text))
    if "arm" in values:
        values["arm"] = str(values["arm"]).upper()
    if event.data.get("phases_lost"):
        values["phases_lost"] = ", ".join(
            text.known("phase", name) for name in event.data["phases_lost"]
        )
    if "away_seconds" in values:
        values["away"] = text.duration(values["away_seconds"])
    if "outcome" in values:
        values["outcome"] = text.known("outcome", str(values["outcome"]))
    if "phase" in values:
        values["phase"] = text.known("phase", str(values["phase"]))
    return text(key, **values)


def config_yaml(view: View) -> str:
    """Write the run's config so that it can be saved and run again."""
    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(_without_none(view.run.config), out)
    return out.getvalue()


def _without_none(value: Any) -> Any:
    """Leave out what was not given: some keys exclude each other even when they are null."""
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def _figure(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
