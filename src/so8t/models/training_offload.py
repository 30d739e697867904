"""Activations that wait in the machine's memory until the backward pass wants them.

Imports torch; import it late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.autograd.graph import save_on_cpu

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Bytes of the smallest tensor that is moved: what a copy costs at least is the time of about so
#: many, and what is smaller adds up to little.
SMALLEST = 1 << 16


class ActivationOffload(save_on_cpu):
    """A context: what the forward pass inside saves on a card goes to the machine's memory.

    torch's own `save_on_cpu`, but for what gains nothing: parameters and buffers, which stay on
    the card anyhow (the weight of a linear layer is saved as a view of itself), tensors that are
    small, tensors that are larger than their memory (expanded ones), and all that is on the CPU.

    Not pinned: torch keeps pinned memory until the process ends, rounded up to powers of two, and
    the system can never swap it; too much to take from a machine that others need too.

    Around a checkpointed layer only its input is saved; what is computed again for the backward
    pass stays on the card, one layer at a time.

    Attributes:
        tensors, nbytes: how much was moved since `begin_step`, counted at each save.

    """

    def __init__(self, staying: Iterable[torch.Tensor], smallest: int = SMALLEST) -> None:
        """Leave `staying`, with all views of them, and what has fewer than `smallest` bytes."""
        super().__init__(pin_memory=False)
        self._staying = {one.untyped_storage().data_ptr() for one in staying}
        self._smallest = smallest
        self._to_machine, self._to_card = self.pack_hook, self.unpack_hook
        self.pack_hook, self.unpack_hook = self._pack, self._unpack
        self.begin_step()

    def begin_step(self) -> None:
        """Count from zero."""
        self.tensors = self.nbytes = 0

    def _pack(self, tensor: torch.Tensor) -> Any:
        if not self._gains(tensor):
            # The tensor itself may be an output of the operation that saves it, and would then
            # keep itself alive until a backward pass, which need not come.
            return tensor.detach()
        self.tensors += 1
        self.nbytes += tensor.nbytes
        return self._to_machine(tensor)

    def _unpack(self, packed: Any) -> torch.Tensor:
        return packed if isinstance(packed, torch.Tensor) else self._to_card(packed)

    def _gains(self, tensor: torch.Tensor) -> bool:
        if tensor.device.type == "cpu" or tensor.layout != torch.strided:
            return False
        if tensor.nbytes < self._smallest:
            return False
        storage = tensor.untyped_storage()
        return tensor.nbytes <= storage.nbytes() and storage.data_ptr() not in self._staying
