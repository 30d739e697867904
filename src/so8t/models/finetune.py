"""Phase 2: B is A with what was trained merged into its weights.

`finetune` runs in this process, `finetune_in_child` in one of its own, so that the out-of-memory
killer or a crash of native code ends one attempt and not the run: the next one goes on from the
newest checkpoint, after running out of memory with the next smaller setting. This module stays
light: torch is imported when training starts.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from so8t import errors
from so8t.domain.events import EventKind
from so8t.models.child_work import rebuilt
from so8t.models.training_records import (
    FinetuneResult,
    Note,
    Surroundings,
    TrainingProgress,
    ignore,
    thread_count,
)
from so8t.models.training_setting import TrainingControl, TrainingSetting, setting_of
from so8t.system.child import Child, ChildTimeoutError
from so8t.system.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from so8t.config.schema import Finetune


WORKER = "so8t.models.finetune_worker"
# Longer than any step or load that is worth waiting for; a worker says something each minute.
_SILENCE_SECONDS = 3600.0
_POLL_SECONDS = 0.5
_STOP_SECONDS = 60.0
_CHECKPOINTS, _TRIALS = "checkpoints", "trials"


def finetune(
    base: Path,
    out: Path,
    settings: Finetune,
    *,
    progress: Callable[[TrainingProgress], None],
    note: Note = ignore,
    checkpoints: Path | None = None,
) -> FinetuneResult:
    """Fine-tune the Hugging Face directory `base` and write B to the directory `out`.

    `out` appears whole or not at all. The same inputs, thread count and torch give the same
    weights bit for bit on the CPU, also when the training was killed and goes on from
    `checkpoints`; with `settings.steps == 0` they are those of the base. `settings.n_trials` is
    not looked at: a search is what `finetune_in_child` does. Raises DataError, ModelError or
    TrainingError.
    """
    from so8t.models.training import train  # noqa: PLC0415 - torch takes seconds to import

    around = Surroundings(progress, note, setting_of(settings), checkpoints=checkpoints)
    return train(base, out, settings, around)


def finetune_in_child(
    base: Path,
    out: Path,
    settings: Finetune,
    *,
    progress: Callable[[TrainingProgress], None],
    note: Note = ignore,
    workspace: Path | None = None,
    control: TrainingControl | None = None,
    poll: Callable[[], None] = lambda: None,
    worker: str = WORKER,
) -> FinetuneResult:
    """Do what `finetune` does in a child process of lower priority, with the same errors.

    Args:
        base, out, settings, progress, note: as for `finetune`.
        workspace: a directory for checkpoints and the search; what is in it is resumed from, and
            `remove_checkpoints` empties it. A search needs one.
        control: by which others change the setting between steps.
        poll: called twice a second; when it raises Interrupted, the training writes a checkpoint
            and ends, and the error goes on.
        worker: the module that is the child's side, for a device that torch has to be taught.

    A child that runs out of memory is started again with the next smaller setting, which is an
    event `training_setting`; at the smallest this raises TrainingMemoryError. A child that dies
    otherwise raises TrainingError, which says that a retry can help.

    """
    control = control or TrainingControl(setting_of(settings))
    jobs = _Jobs(base, progress, note, control, poll, worker)
    found: dict[str, Any] | None = None
    if settings.n_trials:
        if workspace is None:
            raise ValueError("a search needs a workspace")
        from so8t.models import search  # noqa: PLC0415 - optuna takes a second to import

        trials = workspace / _TRIALS

        def run(chosen: Finetune, number: int) -> float:
            place = trials / f"{number:04d}"
            done = jobs.run("trial", chosen, {"checkpoints": str(place)})
            with suppress(OSError):  # left behind, it costs room alone
                remove_tree(place)
            return float(done["held_out_loss"])

        settings, found = search.search(base, settings, workspace, run=run, note=note)
    more = {"out": str(out), "checkpoints": str(workspace / _CHECKPOINTS) if workspace else None}
    result = jobs.run("finetune", settings, more)["result"]
    return FinetuneResult(**result | {"search": found})


def remove_checkpoints(workspace: Path) -> None:
    """Remove what only an unfinished training needs; the storage of a search stays."""
    for name in (_CHECKPOINTS, _TRIALS):
        with suppress(OSError):  # as above: a training that is done does not fail for it
            remove_tree(workspace / name)


def check_method(settings: Finetune) -> None:
    """Raise PrerequisiteError when something is missing that the training will need."""
    modules = ["torch", "transformers", "safetensors"]
    modules += [] if settings.method == "so8" else ["peft"]
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise errors.PrerequisiteError(
            f"fine-tuning with method {settings.method} needs {' and '.join(missing)}.",
            hint="pip install 'so8t[train]'",
        )
    if settings.n_trials and find_spec("optuna") is None:
        raise errors.PrerequisiteError(
            "n_trials needs optuna.", hint="pip install 'so8t[search]', or leave `n_trials` out"
        )
    if settings.device == "cuda" or settings.method == "qlora":
        _check_cuda(settings)


def _check_cuda(settings: Finetune) -> None:
    import torch  # noqa: PLC0415 - takes seconds, and only who asks for a GPU needs it here

    lacking = [] if torch.cuda.is_available() else ["a GPU that CUDA can use"]
    if settings.method == "qlora" and find_spec("bitsandbytes") is None:
        lacking.append("the package bitsandbytes")
    if lacking:
        asked = "method: qlora" if settings.method == "qlora" else "device: cuda"
        both = " (it needs CUDA and bitsandbytes)" if settings.method == "qlora" else ""
        raise errors.PrerequisiteError(
            f"b.finetune has {asked}{both}, but there is not {' nor '.join(lacking)}.",
            hint="take `method: lora`, which trains on any machine"
            if settings.method == "qlora"
            else "leave `device` out, or install a torch with CUDA",
        )


class _Jobs:
    """Runs trainings in children, one after the other, under one control."""

    def __init__(
        self,
        base: Path,
        progress: Callable[[TrainingProgress], None],
        note: Note,
        control: TrainingControl,
        poll: Callable[[], None],
        worker: str,
    ) -> None:
        self._base = base
        self._progress = progress
        self._note = note
        self._control = control
        self._poll = poll
        self._worker = worker
        self._at: TrainingProgress | None = None

    def run(self, op: str, settings: Finetune, more: Mapping[str, Any]) -> dict[str, Any]:
        """Run one training to its end, however many children that takes."""
        while True:
            before = self._control.setting
            try:
                return self._run_child(op, settings, more)
            except errors.TrainingMemoryError as error:
                at = self._at
                loading = at is None or at.stage == "loading"
                card = isinstance(error, errors.CardMemoryError)
                after = self._control.out_of_memory(loading=loading, card=card)
                if after is None:
                    error.message += f" This was the smallest setting ({_words(before)})."
                    raise
                self._note(
                    EventKind.TRAINING_SETTING,
                    {
                        "reason": "out_of_memory",
                        "detail": error.message,
                        "before": before.asdict(),
                        "after": after.asdict(),
                        "step": at.step if at else 0,
                    },
                )

    def _run_child(self, op: str, settings: Finetune, more: Mapping[str, Any]) -> dict[str, Any]:
        threads = thread_count(settings)
        environment = {
            "OMP_NUM_THREADS": str(threads),
            # Threads that spin while they wait made a step on a busy machine 30 times slower.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            "HF_HUB_OFFLINE": "1",
            # What CUDA asks for when it shall be deterministic.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        self._at = None
        with Child(self._worker, environment=environment, below_normal=True) as child:
            request = {
                "op": op,
                "base": str(self._base),
                "settings": settings.model_dump(mode="json"),
                **more,
            }
            try:
                with self._control.attached(child.send):
                    child.send(request | {"setting": self._control.setting.asdict()})
                    message = self._listen(child)
            except errors.EngineOutOfMemory as error:
                raise errors.TrainingMemoryError(
                    f"The training process ended for want of memory: {error.message}",
                    hint="lower `max_length` or `batch_size`, or take a smaller model",
                ) from error
            except errors.EngineCrashed as error:
                raise errors.TrainingError(
                    f"The training process did not finish: {error.message}",
                    hint="run the same command again; it goes on from the newest checkpoint",
                    retryable=True,
                ) from error
        if message["event"] == "error":
            raise rebuilt(message)
        return message

    def _listen(self, child: Child) -> dict[str, Any]:
        """Hear the child out until it is done or gives an error."""
        heard = time.monotonic()
        while True:
            try:
                self._poll()
            except errors.Interrupted:
                _stop(child)
                raise
            try:
                message = child.receive(timeout=_POLL_SECONDS)
            except ChildTimeoutError:
                if time.monotonic() - heard > _SILENCE_SECONDS:
                    raise
                continue
            heard = time.monotonic()
            if message["event"] == "progress":
                self._at = TrainingProgress(**message["progress"])
                self._progress(self._at)
            elif message["event"] == "note":
                self._note(message["kind"], message["data"])
            elif message["event"] == "device":
                self._control.computes_on(message["type"])
            else:
                return message


def _stop(child: Child) -> None:
    """Let the child write a checkpoint, unless that takes too long."""
    until = time.monotonic() + _STOP_SECONDS
    try:
        child.send({"op": "stop"})
        while (left := until - time.monotonic()) > 0:
            if child.receive(timeout=left)["event"] in {"stopped", "done", "error"}:
                return
    except errors.EngineCrashed:
        return  # it is gone; the checkpoints that it wrote are there


def _words(setting: TrainingSetting) -> str:
    how = "with" if setting.gradient_checkpointing else "without"
    words = f"micro_batch {setting.micro_batch}, {how} gradient checkpointing"
    if setting.activation_offloading:
        words += ", with activation offloading"
    return f"{words}, {setting.precision}"
