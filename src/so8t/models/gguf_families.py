"""The model families that can be converted, and how config.json becomes one model's sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from so8t.errors import ModelError, PrerequisiteError, UnsupportedModelError
from so8t.models import families_experts, families_hybrid, families_llama
from so8t.models.checkpoint_files import says_tied
from so8t.models.gguf_architecture import Architecture, Family
from so8t.models.gguf_tokens import ways_out
from so8t.system.plugins import Plugins, nearest

if TYPE_CHECKING:
    from pathlib import Path

#: The families of this project, as the entry point `built_in` in `so8t.families` offers them: name
#: of the architecture in config.json -> family. A distribution of somebody else offers a mapping
#: like this one.
FAMILIES: Final[dict[str, Family]] = {
    name: family
    for rows in (families_llama.ROWS, families_experts.ROWS, families_hybrid.ROWS)
    for family in rows
    for name in family.names
}


def _complaint(_name: str, found: Any) -> str | None:
    """Say what keeps a loaded object from being a mapping of families."""
    if not isinstance(found, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Family) for key, value in found.items()
    ):
        return "it is no mapping from architecture names to Family"
    return None


#: The mappings of families, ours and those from other distributions.
PLUGINS: Final[Plugins[Mapping[str, Family]]] = Plugins(
    "so8t.families", "set of model families", _complaint
)


def known_families() -> dict[str, Family]:
    """Return every family that can be converted, by the architecture's name in config.json.

    Raises PrerequisiteError for an architecture that two distributions offer.
    """
    offered: dict[str, str] = {}
    families: dict[str, Family] = {}
    for name, mapping in PLUGINS.usable().items():
        for architecture, family in mapping.items():
            if architecture in offered:
                first, second = (PLUGINS.distribution(one) for one in (offered[architecture], name))
                raise PrerequisiteError(
                    f"two distributions offer the model family {architecture!r}: {first} and "
                    f"{second}. Neither is used.",
                    hint="uninstall one of them",
                )
            offered[architecture], families[architecture] = name, family
    return families


def _family(path: Path, config: dict[str, Any]) -> Family:
    """Find a model's family. Raises UnsupportedModelError with the nearest name."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    families = known_families()
    family = families.get(name) if isinstance(name, str) else None
    if family is not None:
        return family
    broken = "".join(f" {problem.message}." for problem in PLUGINS.problems())
    near = nearest(str(name), list(families))
    raise UnsupportedModelError(
        f"{path}: the architecture {name or 'not named in config.json'} cannot be converted "
        f"here ({near}).{broken}",
        hint=ways_out(),
    )


def read_architecture(path: Path, config: dict[str, Any]) -> Architecture:
    """Read the sizes in a config.json.

    Raises UnsupportedModelError for an architecture or a setting that cannot be converted (naming
    the ways out), ModelError for values that are missing or make no sense.
    """
    family = _family(path, config)
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise UnsupportedModelError(
            f"{path}: the weights are already quantized ({method}).",
            hint=f"use the model in bfloat16, float16 or float32; else {ways_out()}",
        )
    config = {**family.defaults, **config}

    def number(key: str, default: int | None = None, value: Any = None) -> int:
        value = config.get(key) if value is None else value
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 32:
            raise ModelError(
                f"{path}: {key} is {value!r}, where a count is expected.",
                hint="download or write the model again",
            )
        return value

    width, heads = number("hidden_size"), number("num_attention_heads")
    head_width = number("head_dim", width // heads or None)
    kv_heads = number("num_key_value_heads", heads)
    if heads % kv_heads or head_width % 2:
        raise ModelError(
            f"{path}: {heads} heads, {kv_heads} key-value heads and a head width of {head_width} "
            "do not go together.",
            hint="download or write the model again",
        )
    activation = config.get(family.activation_key, family.activations[0])
    if activation not in family.activations:
        raise UnsupportedModelError(
            f"{path}: the activation {activation!r} is not this family's.", hint=ways_out()
        )
    if reason := family.refusal(config):
        raise UnsupportedModelError(
            f"{path}: {reason}, which llama.cpp's {family.architecture} does not compute.",
            hint=ways_out(),
        )
    context = number("max_position_embeddings")
    epsilon = config.get("norm_eps" if "norm_eps" in family.defaults else "rms_norm_eps")
    if not isinstance(epsilon, int | float) or not 0 < epsilon < 1 or not math.isfinite(epsilon):
        raise ModelError(f"{path}: rms_norm_eps is {epsilon!r}.", hint="download the model again")
    return Architecture(
        family=family,
        config=config,
        layers=number("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        feed_forward=number("intermediate_size", value=family.feed_forward(config)),
        vocabulary=number("vocab_size"),
        context=context,
        epsilon=float(epsilon),
        tied=says_tied(config),
        rope=family.rope(path, config, head_width, context),
    )
