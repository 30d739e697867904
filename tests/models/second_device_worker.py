"""`so8t.models.finetune_worker` for the second device: `python -m second_device_worker`.

SECOND_DEVICE_BYTES in the environment limits the device's memory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import second_device

from so8t.models.finetune_worker import Worker
from so8t.system.child import serve_messages

if TYPE_CHECKING:
    from so8t.config.schema import Finetune


class SecondDeviceWorker(Worker):
    """Computes on the device that no config can name."""

    def settings_of(self, request: dict[str, Any]) -> Finetune:
        """Return the settings that a request asks for, but for the device."""
        return second_device.placed(super().settings_of(request))


if __name__ == "__main__":
    second_device.register()
    if limit := os.environ.get("SECOND_DEVICE_BYTES"):
        second_device.MEMORY.limit = int(limit)
    serve_messages(SecondDeviceWorker().handle)
