"""What the balancer decides, carried out by a training between two of its steps.

The balancer counts answers in flight; a training has no such number. A step of the balancer down
for want of memory is one step down of the training's own ladder (micro-batch, gradient
checkpointing, precision), a step up one back, and its pause is a pause. Nothing else lowers a
training: a smaller micro-batch takes no less of a CPU that others need (its low priority does
that), and would change the last bits of B for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from so8t.pipeline.balance import ADJUSTED, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from so8t.models.training_setting import TrainingControl
    from so8t.resources.balancer import Adjustment, ResourceBalancer


class TrainingBalance:
    """Follows the balancer while B is trained; `follow` is called twice a second."""

    def __init__(
        self, balancer: ResourceBalancer, control: TrainingControl, note: Callable[..., None]
    ) -> None:
        self._balancer = balancer
        self._control = control
        self._note = note

    def follow(self) -> None:
        """Record the steps that the balancer took since the last call, and pass them on."""
        for step in self._balancer.take_adjustments():
            self._note(
                ADJUSTED,
                reason=step.reason,
                before=step.before,
                after=step.after,
                squeeze=step.squeeze,
                seen=seen(step.sample),
            )
            pass_on(step, self._control)


def pass_on(step: Adjustment, control: TrainingControl) -> None:
    """Ask the training for what one step of the balancer means to it."""
    if step.after == 0:
        control.pause(step.reason)
    elif step.after < step.before and step.reason.startswith("memory"):
        control.lower(step.reason)
    elif step.before == 0:
        control.go_on(step.reason)
    elif step.after > step.before:
        control.restore(step.reason)
