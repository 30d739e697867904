"""A second device for torch that every machine has: computed by the CPU, with memory of its own.

`register` teaches torch a device named "second", by torch's interface for devices written in
Python. Its tensors hold CPU tensors and every operation on them is the CPU's, but for torch they
lie elsewhere: what moves between the two is a copy, and the bytes of each storage are counted
while anything holds it. With a limit, what would exceed it raises torch.OutOfMemoryError, as a
card does. In the backward pass that shows at the next operation after it, as errors of a card do
that computes asynchronously: torch ends a process in which an operation of a Python device fails
within the engine's own thread. It also ends it when the interpreter exits in the ordinary way, so
this belongs into child processes that leave by os._exit.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.utils import backend_registration

if TYPE_CHECKING:
    from so8t.config.schema import Finetune

NAME = "second"


class Memory:
    """The device's memory.

    Attributes:
        used, peak: bytes in use, and the most that ever were.
        limit: how many there are, None without end.
        left: address of the memory and bytes of each tensor that was copied to the CPU.

    """

    def __init__(self) -> None:
        self.used = self.peak = 0
        self.left: list[tuple[int, int]] = []
        self.limit: int | None = None
        self._owed: str | None = None
        self._storages: set[int] = set()

    def take(self, storage: torch.UntypedStorage) -> None:
        """Count a storage from now until nothing holds it."""
        size, address = storage.nbytes(), storage.data_ptr()
        if not size or address in self._storages:
            return
        if self.limit is not None and self.used + size > self.limit:
            said = f"out of memory: {size} more, {self.used} of {self.limit} in use"
            if torch._C._current_graph_task_id() == -1:  # not in a backward pass
                raise torch.OutOfMemoryError(said)
            self._owed = said
        self._storages.add(address)
        self.used += size
        self.peak = max(self.peak, self.used)
        weakref.finalize(storage, self._give, address, size)

    def _give(self, address: int, size: int) -> None:
        self._storages.discard(address)
        self.used -= size

    def settle(self) -> None:
        """Raise what a backward pass could not."""
        if self._owed is not None and torch._C._current_graph_task_id() == -1:
            said, self._owed = self._owed, None
            raise torch.OutOfMemoryError(said)


MEMORY = Memory()


class Held(torch.Tensor):
    """A tensor of the device."""

    inner: torch.Tensor
    storage_held: torch.UntypedStorage

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Self:
        held = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        held.inner, held.storage_held = inner, inner.untyped_storage()
        MEMORY.take(held.storage_held)
        return held

    __torch_function__ = torch._C._disabled_torch_function_impl

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the memory that the tensor lies in."""
        return self.inner.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _bare(value: Any) -> Any:
    if isinstance(value, Held):
        return value.inner
    if isinstance(value, (list, tuple)):
        return type(value)(_bare(one) for one in value)
    return value


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Let the CPU compute an operation, and hold what comes of it where it belongs."""
    MEMORY.settle()
    wanted = kwargs.get("device")
    bare = {name: _bare(value) for name, value in kwargs.items() if name != "pin_memory"}
    if "device" in bare:
        bare["device"] = torch.device("cpu")
    found = func(*[_bare(one) for one in args], **bare)
    if func is torch.ops.aten._local_scalar_dense.default:
        return found
    if func is torch.ops.aten._to_copy.default and torch.device(wanted or NAME).type == "cpu":
        MEMORY.left.append((args[0].untyped_storage().data_ptr(), args[0].nbytes))
        return found
    return _hold(found, {id(one.inner): one for one in args if isinstance(one, Held)})


def _hold(found: Any, given: dict[int, Held]) -> Any:
    """Put what the CPU computed on the device; what it changed in place is the tensor `given`."""
    if isinstance(found, (list, tuple)):
        return type(found)(_hold(one, given) for one in found)
    if not isinstance(found, torch.Tensor):
        return found
    return given[id(found)] if id(found) in given else Held(found)


_library: torch.library.Library | None = None


def register() -> None:
    """Teach torch the device, once in a process."""
    global _library  # noqa: PLW0603 - what is registered lasts as long as the library lives

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

        def is_autocast_enabled(self) -> bool:
            return False

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    _library = torch.library.Library("aten", "IMPL")
    for name, operation in _factories():
        _library.impl(name, _factory(operation), "PrivateUse1")
    _library.impl("_copy_from", _copy_from, "PrivateUse1")


def placed(settings: Finetune) -> Finetune:
    """Return the settings with this device, which no config can name."""
    return settings.model_copy(update={"device": NAME})


def _factories() -> list[tuple[str, Any]]:
    """Return every operation that makes a tensor on a device out of no other tensor."""
    found = []
    for full in torch._C._dispatch_get_all_op_names():
        namespace, _, name = full.partition("::")
        operation, _, overload = name.partition(".")
        packet = getattr(torch.ops.aten, operation, None) if namespace == "aten" else None
        chosen = getattr(packet, overload or "default", None)
        if chosen is None:
            continue
        schema = chosen._schema
        types = [str(one.type) for one in schema.arguments]
        makes = [str(one.type) for one in schema.returns] == ["Tensor"]
        placed = any(one.name == "device" for one in schema.arguments)
        if makes and placed and not any("Tensor" in one for one in types):
            found.append((name, chosen))
    return found


def _factory(operation: Any) -> Any:
    return lambda *args, **kwargs: _compute(operation, args, {**kwargs, "device": NAME})


def _copy_from(source: Any, target: Any, _non_blocking: bool = False) -> Any:
    _bare(target).copy_(_bare(source))
    return target
