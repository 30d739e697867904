"""What the fake server has: blobs, models, and which of them are loaded."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fake_ollama.brain import TRAINED_CONTEXT
from so8t.engines.ollama.records import full_name

if TYPE_CHECKING:
    from collections.abc import Callable

CHATML = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n"
)
LOAD_TIME = ("num_ctx", "num_batch", "num_thread", "num_gpu", "main_gpu", "use_mmap")


@dataclass(frozen=True, slots=True)
class Toy:
    """A model of the fake server.

    Attributes:
        kind: `cyc`, `rep`, `utf` or `abc`.
        weights: 64 hex digits that name its weights blob.
        template: the Go template that `show` tells; empty for none.
        rendering: a rendering of its own, with `{content}` in it, instead of chatml.
        quantization: as `show` tells it.
        size: bytes.
        gpu_share: share of it that a load puts on the GPU.
        damage: words that every load fails with; None for a sound model.

    """

    kind: str = "cyc"
    weights: str = hashlib.sha256(b"cyc").hexdigest()
    template: str = CHATML
    rendering: str | None = None
    quantization: str = "F16"
    size: int = 2_913_110
    gpu_share: float = 0.0
    damage: str | None = None

    @property
    def digest(self) -> str:
        """Digest of the manifest: of all that makes the model what it is."""
        parts = [self.kind, self.weights, self.template, self.rendering, self.quantization]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(slots=True)
class Runner:
    """A loaded model: its load-time options and how many answers it is making."""

    toy: Toy
    options: dict[str, Any]
    busy: int = 0
    leaving: bool = False
    used: float = field(default_factory=time.monotonic)

    @property
    def context(self) -> int:
        """Tokens of one slot: more than the model was trained for is not given, silently."""
        return min(int(self.options.get("num_ctx", 4096)), TRAINED_CONTEXT)

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.toy.size + 1024 * self.context


class Store:
    """The state behind the server; every method is safe to call from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.models: dict[str, Toy] = {}
        self.blobs: dict[str, bytes | None] = {}
        self.runners: dict[str, Runner] = {}
        self.max_loaded = 3
        self.parallel = 1
        self.load_seconds = 0.0
        self.stuck = False
        self.stubborn = False
        self.closed = False
        self.before_load: Callable[[str], None] | None = None

    def find(self, name: str) -> Toy | None:
        """Return the model of that name."""
        with self.changed:
            return self.models.get(full_name(name)) if name else None

    def add(self, name: str, toy: Toy) -> None:
        """Put a model under a name, in place of what was there."""
        with self.changed:
            self.models[full_name(name)] = toy

    def remove(self, name: str) -> bool:
        """Delete a name; blobs that no name needs stay, as after a create."""
        with self.changed:
            return self.models.pop(full_name(name), None) is not None

    def change(self, name: str, **changes: Any) -> None:
        """Change a model in place, as damage or another GPU share does."""
        with self.changed:
            key = full_name(name)
            self.models[key] = replace(self.models[key], **changes)

    def acquire(self, name: str, options: dict[str, Any]) -> tuple[Runner, float, float]:
        """Wait for a slot of a loaded model, loading it first.

        Returns it, the seconds of the load and those of the wait: a real server tells the wait
        only in the total.

        Raises RuntimeError with the server's words for a model that cannot be loaded, and
        ConnectionAbortedError when the server is stopped meanwhile.
        """
        key = full_name(name)
        wanted = {name: options[name] for name in LOAD_TIME if name in options}
        began = time.monotonic()
        loading = 0.0
        with self.changed:
            while True:
                if self.closed:
                    raise ConnectionAbortedError
                toy = self.models[key]
                runner = self.runners.get(key)
                if self.stuck:
                    self.changed.wait(0.05)
                elif runner is not None and runner.options == wanted and not runner.leaving:
                    if runner.busy < self.parallel:
                        runner.busy += 1
                        return runner, loading, time.monotonic() - began - loading
                    self.changed.wait(0.05)
                elif self._make_room(key):
                    if self.before_load is not None:
                        self.before_load(key)
                        toy = self.models[key]
                    loading = self._load(key, toy, wanted)
                else:
                    self.changed.wait(0.05)

    def release(self, name: str, runner: Runner, *, keep: bool) -> None:
        """Give a slot back; `keep` false unloads the model when it is idle."""
        with self.changed:
            runner.busy -= 1
            runner.used = time.monotonic()
            runner.leaving = runner.leaving or not keep
            if runner.leaving and runner.busy <= 0 and self.runners.get(full_name(name)) is runner:
                del self.runners[full_name(name)]
            self.changed.notify_all()

    def unload(self, name: str) -> None:
        """Ask a model to leave: at once if idle, else when its answers are done."""
        with self.changed:
            self.stuck = self.stuck and self.stubborn  # an unload is what frees the real one
            runner = self.runners.get(full_name(name))
            if runner is not None:
                runner.leaving = True
                if runner.busy <= 0:
                    del self.runners[full_name(name)]
            self.changed.notify_all()

    def crash(self, name: str) -> None:
        """Kill a model's process: it is listed until the next request finds out."""
        with self.changed:
            self.runners.pop(full_name(name), None)
            self.changed.notify_all()

    def _make_room(self, key: str) -> bool:
        """Drop an old load of the same model, or the idle model used longest ago."""
        old = self.runners.get(key)
        if old is not None:
            if old.busy > 0:
                return False
            del self.runners[key]
        if len(self.runners) < self.max_loaded:
            return True
        idle = [(runner.used, name) for name, runner in self.runners.items() if runner.busy <= 0]
        if not idle:
            return False
        del self.runners[min(idle)[1]]
        return True

    def _load(self, key: str, toy: Toy, options: dict[str, Any]) -> float:
        if toy.damage is not None:
            raise RuntimeError(toy.damage)
        if self.load_seconds:
            self.changed.wait(self.load_seconds)
        self.runners[key] = Runner(toy, options)
        return max(self.load_seconds, 1e-6)
