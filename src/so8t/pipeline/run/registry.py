"""The register of a user's unfinished runs, so that the boot service finds them.

One small file a run in the user's state directory, written when a run starts and removed when it
is done. How far a run is stands in its journal alone; here is only where it is, with which config
it was last started, and why it is not to be started again.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from so8t.config.schema import RunConfig
from so8t.errors import ConfigError
from so8t.system.files import remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

State = Literal["open", "blocked", "given_up"]


class RegisteredRun(BaseModel):
    """A run that is not done.

    `state` is open, blocked (something is missing that a restart cannot bring; tried again after
    the next boot) or given_up (only a person starts it again). `boot` names the boot in which it
    was blocked.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    directory: Path
    name: str
    registered: datetime
    config: dict[str, Any]
    origin: Literal["all", "hf", "suite"] = "all"
    state: State = "open"
    reason: str | None = None
    boot: str | None = None

    def run_config(self) -> RunConfig:
        """Return the config with which the run was last started.

        Raises ConfigError where another version of this program wrote it, with other keys.
        """
        try:
            return RunConfig.model_validate(self.config)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"{self.name} was started by another version, with a config that this one does "
                f"not take: {key}: {first['msg']}.",
                hint="so8t run CONFIG, with the config file as this version wants it",
            ) from None


class Registry:
    """The register in a state directory. Several processes may use it at once."""

    def __init__(self, state: Path) -> None:
        self._runs = state / "runs"

    def entries(self) -> list[RegisteredRun]:
        """Return the runs that are not done, the one that was registered first in front."""
        found = [entry for _, entry in self._read() if entry is not None]
        return sorted(found, key=lambda entry: (entry.registered, str(entry.directory)))

    def damaged(self) -> list[Path]:
        """Return files of the register that cannot be read."""
        return [path for path, entry in self._read() if entry is None]

    def find(self, directory: Path) -> RegisteredRun | None:
        """Return the entry of the run in `directory`, or None."""
        wanted = directory.resolve()
        return next((entry for entry in self.entries() if entry.directory == wanted), None)

    def enter(self, entry: RegisteredRun) -> None:
        """Write an entry, durably, in the place of the run's earlier one."""
        write_atomic(self._file(entry.directory), entry.model_dump_json(indent=1) + "\n")
        if self._file(entry.directory).exists():
            # The config may name a webhook whose address is a secret.
            self._file(entry.directory).chmod(0o600)

    def start(
        self,
        config: RunConfig,
        directory: Path,
        origin: Literal["all", "hf", "suite"],
        now: datetime,
    ) -> None:
        """Register a run that starts or goes on; its place in the order stays."""
        before = self.find(directory)
        self.enter(
            RegisteredRun(
                directory=directory.resolve(),
                name=config.name,
                registered=before.registered if before is not None else now,
                config=config.model_dump(mode="json"),
                origin=origin,
            )
        )

    def mark(self, entry: RegisteredRun, state: State, reason: str, boot: str) -> None:
        """Record that a run is not to be started again for now, and why."""
        self.enter(entry.model_copy(update={"state": state, "reason": reason, "boot": boot}))

    def leave(self, directory: Path) -> bool:
        """Forget a run; whether it was registered."""
        file = self._file(directory.resolve())
        known = file.exists()
        remove_file(file)
        return known

    def _file(self, directory: Path) -> Path:
        return self._runs / f"{hashlib.sha256(str(directory).encode()).hexdigest()[:24]}.json"

    def _read(self) -> Iterator[tuple[Path, RegisteredRun | None]]:
        for path in sorted(self._runs.glob("*.json")):
            try:
                yield path, RegisteredRun.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue  # another process has just finished that run
            except ValidationError:
                yield path, None
