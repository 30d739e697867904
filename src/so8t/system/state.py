"""What this program keeps per user beside the runs, and how this start of the machine is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def state_directory() -> Path:
    """Return where the register of runs and what waits for a person are kept.

    `SO8T_STATE_DIR`, else the system's own place (on Linux `~/.local/state/so8t`).
    """
    asked = os.environ.get("SO8T_STATE_DIR")
    if asked:
        return Path(asked)
    import platformdirs  # noqa: PLC0415 - only a run or the boot service asks

    return platformdirs.user_state_path("so8t", appauthor=False)


def boot_id() -> str:
    """Name this start of the machine: the same until it is started again.

    Linux has an id for it; elsewhere it is the minute of the start, which a clock that is put
    right may move by one.
    """
    if sys.platform == "linux" and _BOOT_ID.exists():
        return _BOOT_ID.read_text(encoding="ascii").strip()
    import psutil  # noqa: PLC0415 - only where the system has no id

    return f"booted-{round(psutil.boot_time() / 60)}"
