"""How a run lives on its machine: what it leaves to others, how it recovers, whom it tells."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from so8t.config.engine_section import Strict as _Strict

#: "07:00", local time.
TIME_OF_DAY = r"^([01]\d|2[0-3]):[0-5]\d$"
Occasion = Literal["phase", "done", "failed", "resumed"]


class Webhook(_Strict):
    """A request to a server of the person's choice, with the facts as JSON."""

    url: str = Field(pattern=r"^https?://", description="gets a POST with one JSON object")
    timeout: float = Field(default=10.0, gt=0, le=60, description="seconds without a word from it")


class Notify(_Strict):
    """How a person hears of a run. None of it can stop or delay the run."""

    on: list[Occasion] = Field(
        default=["phase", "done", "failed", "resumed"], description="what is worth a notification"
    )
    sound: bool = Field(default=True, description="play a sound; silent without a device")
    desktop: bool = Field(default=False, description="show a desktop notification")
    webhook: Webhook | None = None
    command: list[str] | None = Field(
        default=None,
        min_length=1,
        description="a program with its arguments, run without a shell; the facts are in "
        "environment variables SO8T_*",
    )
    command_timeout: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="seconds that `command` has; then its process group is ended, SIGTERM first",
    )


class Thresholds(_Strict):
    """Shares from which a resource counts as full; what is done about it, the policy decides."""

    gpu: float = Field(default=0.9, gt=0, le=1, description="utilization of a card")
    gpu_memory: float = Field(default=0.9, gt=0, le=1, description="memory of a card in use")
    cpu: float = Field(
        default=0.8, gt=0, le=1, description="all cores; work of our own is no reason to do less"
    )
    memory: float = Field(
        default=0.9, gt=0, le=1, description="memory in use, of the machine or of the container"
    )


class QuietHours(_Strict):
    """Hours, local time, in which the run keeps low or still."""

    start: str = Field(pattern=TIME_OF_DAY, description='"09:00"')
    end: str = Field(
        pattern=TIME_OF_DAY, description='"18:00"; may be past midnight; equal to start: all day'
    )
    do: Literal["low", "pause"] = Field(
        default="low", description="low: one answer at a time; pause: nothing new is asked"
    )


class Resources(_Strict):
    """How the run shares the machine with everybody else."""

    balance: bool = Field(default=True, description="watch the machine and follow it")
    interval: float = Field(default=5.0, gt=0, description="seconds between two looks")
    thresholds: Thresholds = Thresholds()
    give_way: bool = Field(
        default=True, description="do less while other programs need the CPU or a card"
    )
    quiet_hours: list[QuietHours] = Field(default=[])
    max_level: PositiveInt | None = Field(
        default=None, description="most answers in flight; default: the engine's slots"
    )
    low_priority: bool = Field(
        default=True, description="lower CPU and disk priority from the start, children included"
    )


class Recovery(_Strict):
    """A phase that failed where doing it again can help is done again, after a wait."""

    attempts: PositiveInt = Field(default=3, description="attempts at a phase in one start")
    wait: float = Field(
        default=2.0, ge=0, le=3600, description="seconds before the second attempt; then five-fold"
    )

    def waits(self) -> tuple[float, ...]:
        """Seconds before each attempt beyond the first, at most an hour."""
        return tuple(min(self.wait * 5**n, 3600.0) for n in range(self.attempts - 1))
