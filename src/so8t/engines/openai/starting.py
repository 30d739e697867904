"""The commands that start the servers of the places, for a person to run there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from so8t.domain.exchange import Arm

if TYPE_CHECKING:
    from so8t.engines.openai.kind import OpenAISettings

_GGUF = ".gguf"


def how_to_start(settings: OpenAISettings, models: dict[str, str]) -> list[str]:
    """Return one command for each server of each place: llama-server for a file, else vLLM.

    `models` names each arm's path, or the name it has on a server. One server for both models is
    not started by one command, and gets none.
    """
    lines = []
    for place in settings.places:
        addresses = place.addresses
        if addresses[Arm.A] == addresses[Arm.B]:
            continue
        for arm, url in addresses.items():
            port = urlsplit(url).port or 8000
            model = shlex.quote(models[arm.value])
            alias = shlex.quote(Path(models[arm.value]).stem)
            if models[arm.value].endswith(_GGUF):
                slots, context = place.slots, place.slots * settings.context
                command = (
                    f"llama-server -m {model} -a {alias} --port {port} -np {slots} -c {context} "
                    "--no-context-shift"
                )
            else:
                command = (
                    f"vllm serve {model} --served-model-name {alias} --port {port} "
                    f"--max-num-seqs {place.slots} --max-model-len {settings.context}"
                )
            lines.append(f"{place.name}, {arm.upper()}: {command}")
    return lines
