"""NVIDIA cards through NVML, and through `nvidia-smi` where NVML cannot be loaded."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from so8t.resources.readings import Gpu
from so8t.system.attempt import attempt, reading

if TYPE_CHECKING:
    from collections.abc import Collection

# A program started for each sample costs more than all other sensors together.
_SMI_EVERY = 30.0
_SMI_TIMEOUT = 20.0
_MIB = 1 << 20
_QUERY = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"
_REASONS = "clocks_throttle_reasons.active"

# Bits of NVML's clock event reasons that mean less work, in our words. An idle card and clocks
# that a person set are not among them.
_THROTTLE = (
    (0x04, "power"),
    (0x08, "hardware"),
    (0x20, "heat"),
    (0x40, "heat"),
    (0x80, "power brake"),
)


class DriverLostError(RuntimeError):
    """The driver is there and does not answer; the next `read` begins anew."""


class NvidiaSensor:
    """Reads every card; a card or a driver that goes is reported, and looked for again."""

    def __init__(self) -> None:
        #: Why there is no card, where nothing failed.
        self.absent: str | None = None
        self._nvml: Any = None
        self._no_library = False
        self._seen: dict[int, int] = {}
        self._smi_at = 0.0
        self._smi: tuple[Gpu, ...] = ()

    def read(self, own: Collection[int] = ()) -> tuple[Gpu, ...]:
        """Return every card; `own` holds the process ids of this run.

        Without any, `absent` says why. A card that does not answer is in the list with its fault.
        Raises DriverLostError where the driver does not answer at all, OSError where `nvidia-smi`
        does not start.
        """
        if not self._ready():
            return self._through_smi()
        count, why = attempt(self._nvml.nvmlDeviceGetCount)
        if count is None:
            self.close()  # a driver that was reset forgets who asked
            raise DriverLostError(f"NVML: {_words(why)}")
        self.absent = None if count else "no NVIDIA card"
        return tuple(self._card(index, own) for index in range(count))

    def close(self) -> None:
        """Let the driver go. Safe to call twice."""
        if self._nvml is not None:
            nvml, self._nvml = self._nvml, None
            with suppress(nvml.NVMLError, OSError):
                nvml.nvmlShutdown()

    def _ready(self) -> bool:
        """Whether NVML answers; False where this machine has none."""
        if self._nvml is not None:
            return True
        if self._no_library:
            return False
        import pynvml  # noqa: PLC0415 - loaded where a machine is looked at, not for `--help`

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError_LibraryNotFound:
            self._no_library = True
            self.absent = "no NVIDIA driver"
            return False
        except (pynvml.NVMLError, OSError) as error:
            raise DriverLostError(f"NVML: {error}") from error
        self._nvml = pynvml
        return True

    def _card(self, index: int, own: Collection[int]) -> Gpu:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = self._memory(handle)
        except (nvml.NVMLError, OSError) as error:
            # The other cards go on; a lost card comes back after a reset, if at all. A driver
            # that was reset fails the next count, and is begun anew.
            return Gpu(index, fault=str(error))
        milliwatts = reading(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        reasons = reading(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        load = reading(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        return Gpu(
            index,
            name=reading(lambda: _text(nvml.nvmlDeviceGetName(handle))),
            utilization=None if load is None else load.gpu / 100,
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            temperature=reading(
                lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
            ),
            power=None if milliwatts is None else milliwatts / 1000,
            throttled=None if reasons is None else throttle_words(reasons),
            others_utilization=self._others(index, handle, own),
            others_memory=self._others_memory(handle, own),
        )

    def _memory(self, handle: Any) -> Any:
        """Return total and used bytes; None for a card that shares the machine's memory."""
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError_NotSupported:
            return None

    def _others(self, index: int, handle: Any, own: Collection[int]) -> float | None:
        """Share of the card's time that other processes had since the sample before."""
        nvml = self._nvml
        since = self._seen.get(index, 0)

        def uses() -> Any:
            try:
                return nvml.nvmlDeviceGetProcessUtilization(handle, since)
            except nvml.NVMLError_NotFound:
                return ()  # nobody used it since

        found = reading(uses)
        if found is None:
            return None
        self._seen[index] = max((one.timeStamp for one in found), default=0)
        newest = {one.pid: one.smUtil for one in sorted(found, key=lambda one: one.timeStamp)}
        others: float = sum(share for pid, share in newest.items() if pid not in own) / 100
        return min(1.0, others)

    def _others_memory(self, handle: Any, own: Collection[int]) -> int | None:
        found = reading(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        if found is None:
            return None
        held = [one.usedGpuMemory for one in found if one.pid not in own]
        return None if None in held else sum(held)

    def _through_smi(self) -> tuple[Gpu, ...]:
        program = shutil.which("nvidia-smi")
        if program is None or time.monotonic() < self._smi_at:
            return self._smi
        for query in (f"{_QUERY},{_REASONS}", _QUERY):
            answer = subprocess.run(
                [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_SMI_TIMEOUT,
            )
            if answer.returncode == 0:
                self._smi = parse_smi(answer.stdout)
                self._smi_at = time.monotonic() + _SMI_EVERY
                return self._smi
        self._smi = ()
        raise DriverLostError(f"nvidia-smi: {(answer.stdout + answer.stderr).strip()[:200]}")


def throttle_words(reasons: int) -> tuple[str, ...]:
    """Name the reasons in NVML's bit mask for which the clocks are held down."""
    return tuple(dict.fromkeys(word for bit, word in _THROTTLE if reasons & bit))


def parse_smi(text: str) -> tuple[Gpu, ...]:
    """Read `nvidia-smi --format=csv,noheader,nounits`; "[N/A]" and its like become None."""
    cards = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) < len(_QUERY.split(",")) or not fields[0].isdigit():
            continue
        load, used, total, heat, watts = (_float(field) for field in fields[2:7])
        mask = fields[7] if len(fields) > 7 else ""  # noqa: PLR2004 - after the seven of _QUERY
        cards.append(
            Gpu(
                int(fields[0]),
                name=fields[1] or None,
                utilization=None if load is None else load / 100,
                memory_used=None if used is None else round(used * _MIB),
                memory_total=None if total is None else round(total * _MIB),
                temperature=heat,
                power=watts,
                throttled=throttle_words(int(mask, 16)) if mask.startswith("0x") else None,
                fault=None if used is not None else "nvidia-smi does not tell",
            )
        )
    return tuple(cards)


def _float(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _words(why: str | None) -> str:
    """Return what NVML said, without the name of its class."""
    return (why or "").partition(": ")[2] or str(why)


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
