"""Examples that ship with the package: configs, and the model and data of the quickstart."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent

#: Name -> config file, as `so8t init --example NAME` writes it.
CONFIGS = {path.stem: path for path in sorted((_HERE / "configs").glob("*.yaml"))}
#: The quickstart: a tiny model (`base`), what it is trained on, what it is asked.
QUICKSTART = _HERE / "quickstart"
#: The config of the main job on the quickstart's tiny model.
DEMO = QUICKSTART / "demo.yaml"
