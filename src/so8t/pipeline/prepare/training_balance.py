"""What the balancer decides, carried out by a training between two of its steps.

The balancer counts answers in flight; a training has no such number. A step of the balancer down
for want of memory is one step down of the training's own ladder (micro-batch, gradient
checkpointing, activations offloaded where it is the card that is full, precision), a step up one
back, and its pause is a pause. Nothing else lowers a training: a smaller micro-batch takes no less
of a CPU that others need (its low priority does that), and would change the last bits of B for
nothing; nor does a full card lower a training on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.domain.events import EventKind
from so8t.pipeline.benchmark.balance import seen, tell_failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.config.machine_section import Thresholds
    from so8t.models.training_setting import TrainingControl
    from so8t.resources.balancer import Adjustment, ResourceBalancer


class TrainingBalance:
    """Follows the balancer while B is trained; `follow` is called twice a second."""

    def __init__(
        self, balancer: ResourceBalancer, control: TrainingControl, record: Callable[..., None]
    ) -> None:
        """`record(kind, **data)` keeps what was asked for; the training tells what it did."""
        self._balancer = balancer
        self._control = control
        self._record = record

    def follow(self) -> None:
        """Pass on the steps that the balancer took since the last call, and record what they ask.

        A step that asks for nothing here (others' work, a level that no answer is in flight at)
        leaves no trace: nothing changes.
        """
        tell_failures(self._balancer, self._record)
        for step in self._balancer.take_adjustments():
            before = self._control.setting
            pass_on(step, self._control, self._balancer.settings.thresholds)
            after = self._control.setting
            if after != before:
                self._record(
                    EventKind.TRAINING_SETTING_ASKED,
                    reason=step.reason,
                    before=before.asdict(),
                    after=after.asdict(),
                    seen=seen(step.sample),
                )


def pass_on(step: Adjustment, control: TrainingControl, thresholds: Thresholds) -> None:
    """Ask the training for what one step of the balancer means to it."""
    if step.after == 0:
        control.pause(step.reason)
    elif step.after < step.before and step.reason.startswith("memory"):
        control.lower(step.reason, card=_card_is_short(step, thresholds))
    elif step.before == 0:
        control.go_on(step.reason)
    elif step.after > step.before:
        control.restore(step.reason)


def _card_is_short(step: Adjustment, thresholds: Thresholds) -> bool:
    """Whether it is a card's memory that the step is about, and not the machine's."""
    sample = step.sample
    if sample.gpu_memory is None or step.reason == "memory_pressure":
        return False
    if sample.memory is None:
        return True
    return sample.gpu_memory - thresholds.gpu_memory > sample.memory - thresholds.memory
