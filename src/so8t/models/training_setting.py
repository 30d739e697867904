"""How much memory a training takes at once, as plain data that can be changed between two steps.

The effective batch never changes: a smaller micro-batch only means that more gradients are added
up before a step. The order of what is given up is fixed: micro-batch, then time for memory
(gradient checkpointing, then, where a card's memory is short, activations that wait in the
machine's), and last the precision of the frozen base, which is the only one that changes B.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from so8t.config.schema import Finetune

Precision = Literal["float32", "bfloat16"]
#: Keys of `b.finetune` that say how a training is kept, and nothing of what becomes of it: a
#: finished one is not done again for them, and a search goes on.
KEEPING = {"checkpoint_interval", "checkpoints_kept", "memory_limit_gb"}


@dataclass(frozen=True)
class TrainingSetting:
    """What a training takes.

    Attributes:
        micro_batch: conversations in memory at once.
        gradient_checkpointing: whether activations are computed twice instead of kept.
        activation_offloading: whether those that are kept wait in the machine's memory instead
            of the card's.
        precision: type of the frozen base in memory; what is trained stays in float32.
        paused: whether the training waits between two steps.

    """

    micro_batch: int
    gradient_checkpointing: bool = False
    activation_offloading: bool = False
    precision: Precision = "float32"
    paused: bool = False

    def asdict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def setting_of(settings: Finetune) -> TrainingSetting:
    """Return the setting that a config asks for."""
    return TrainingSetting(
        micro_batch=min(settings.micro_batch or settings.batch_size, settings.batch_size),
        gradient_checkpointing=settings.gradient_checkpointing,
        activation_offloading=settings.activation_offloading,
        # In qlora the base is in 4 bits and computes in bfloat16: there is nothing to lower.
        precision="bfloat16" if settings.method == "qlora" else settings.precision,
    )


def smaller(
    setting: TrainingSetting, *, loading: bool = False, card: bool = False
) -> TrainingSetting | None:
    """Return the next smaller setting, or None at the smallest.

    `loading`: only the weights are in memory yet, so that nothing but their precision helps.
    `card`: it is a card's memory that is short. Where it is the machine's, nothing is moved there,
    and with the last step nothing is any more.
    """
    if setting.micro_batch > 1 and not loading:
        return replace(setting, micro_batch=setting.micro_batch // 2)
    if not setting.gradient_checkpointing and not loading:
        return replace(setting, gradient_checkpointing=True)
    if card and not setting.activation_offloading and not loading:
        return replace(setting, activation_offloading=True)
    if setting.precision != "bfloat16":
        offloading = setting.activation_offloading and card
        return replace(setting, precision="bfloat16", activation_offloading=offloading)
    return None


def larger(setting: TrainingSetting, full: TrainingSetting) -> TrainingSetting | None:
    """Return the next setting on the way back to `full`, or None when that is reached."""
    if setting.precision != full.precision:
        offloading = setting.activation_offloading or full.activation_offloading
        return replace(setting, precision=full.precision, activation_offloading=offloading)
    if setting.activation_offloading and not full.activation_offloading:
        return replace(setting, activation_offloading=False)
    if setting.gradient_checkpointing and not full.gradient_checkpointing:
        return replace(setting, gradient_checkpointing=False)
    if setting.micro_batch < full.micro_batch:
        return replace(setting, micro_batch=min(2 * setting.micro_batch, full.micro_batch))
    return None


class TrainingControl:
    """The handle on a training in a child process; its methods may be called from any thread.

    A change takes effect before the next step, or when the training starts. A change of precision
    loads the base again, from a checkpoint made at that moment; the others cost nothing. Each is
    recorded as an event `training_setting` (reason, before, after, step) once it took effect.
    """

    def __init__(self, full: TrainingSetting) -> None:
        """Begin at `full`, which `restore` never exceeds."""
        self._lock = threading.Lock()
        self._full = full
        self._setting = full
        self._on_card = False
        self._send: Callable[[Mapping[str, Any]], None] | None = None

    @property
    def setting(self) -> TrainingSetting:
        """The setting that was asked for last."""
        with self._lock:
            return self._setting

    def request(self, setting: TrainingSetting, reason: str) -> None:
        """Ask for a setting; `reason` is a sentence for the journal."""
        with self._lock:
            self._request(setting, reason)

    def computes_on(self, device: str) -> None:
        """Hear from the training on what kind of device it computes ("cpu", "cuda")."""
        with self._lock:
            self._on_card = device != "cpu"

    def lower(self, reason: str, *, card: bool = False) -> bool:
        """Ask for the next smaller setting. Returns whether there is one.

        `card`: it is a card's memory that is short; a training on the CPU takes none of that.
        """
        with self._lock:
            if card and not self._on_card:
                return False
            found = smaller(self._setting, card=card)
            if found is not None:
                self._request(found, reason)
            return found is not None

    def restore(self, reason: str) -> bool:
        """Ask for one step back towards the config's setting. Returns whether there is one."""
        with self._lock:
            found = larger(self._setting, self._full)
            if found is not None:
                self._request(found, reason)
            return found is not None

    def pause(self, reason: str) -> None:
        """Ask the training to wait after the present step, once a checkpoint is written."""
        with self._lock:
            self._request(replace(self._setting, paused=True), reason)

    def go_on(self, reason: str) -> None:
        """End a pause."""
        with self._lock:
            self._request(replace(self._setting, paused=False), reason)

    def out_of_memory(self, *, loading: bool, card: bool = False) -> TrainingSetting | None:
        """Take the next smaller setting for good: `restore` will not go beyond it again.

        `card`: it was a card's memory. Returns None at the smallest. For whoever starts the
        training again.
        """
        with self._lock:
            found = smaller(self._setting, loading=loading, card=card)
            if found is not None:
                self._setting = self._full = found
            return found

    @contextmanager
    def attached(self, send: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
        """Pass what is asked for on to a running training by `send`."""
        with self._lock:
            self._send = send
        try:
            yield
        finally:
            with self._lock:
                self._send = None

    def _request(self, setting: TrainingSetting, reason: str) -> None:
        if setting == self._setting:
            return
        self._setting = setting
        if self._send is not None:
            self._send({"op": "setting", "setting": setting.asdict(), "reason": reason})


class Mailbox:
    """What the parent asked for while the training computes; read between two steps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._request: tuple[TrainingSetting, str] | None = None
        self._stop = False

    @property
    def stopping(self) -> bool:
        """Whether the training shall end after the present step."""
        with self._changed:
            return self._stop

    def put(self, setting: TrainingSetting, reason: str) -> None:
        """Leave a request; a newer one replaces one that was not read yet."""
        with self._changed:
            self._request = (setting, reason)
            self._changed.notify_all()

    def stop(self) -> None:
        """Ask the training to end after the present step."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()

    def take(self) -> tuple[TrainingSetting, str] | None:
        """Return the newest request once, or None."""
        with self._changed:
            found, self._request = self._request, None
            return found

    def wait(self, seconds: float) -> None:
        """Wait for a request or a stop, at most `seconds`."""
        with self._changed:
            if self._request is None and not self._stop:
                self._changed.wait(seconds)
