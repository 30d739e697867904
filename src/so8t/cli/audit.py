"""`so8t audit`: is the log of /think what was written?"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from so8t.cli.console import common
from so8t.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from so8t.cli.console import Console
    from so8t.journal.audit import AuditLog

R = TypeVar("R")
_CHAIN_KEY = "audit-chain.key"
_TEXT_KEY = "audit-text.key"


@dataclass(frozen=True, slots=True)
class AuditPlaces:
    """Where the log, its witness and its keys are. Keys never stand beside the log."""

    directory: Path
    keys: Path
    witness: Path | None

    @contextmanager
    def open(self) -> Iterator[AuditLog]:
        """Open the log for adding rows; a first start makes it and its keys."""
        from so8t.journal.audit import AuditLog  # noqa: PLC0415 - APSW only when it is used
        from so8t.system.secret_file import make_secret  # noqa: PLC0415

        key = make_secret(self.keys / _CHAIN_KEY)
        with AuditLog(self.directory, key, witness=self.witness) as log:
            yield log

    def text_key(self) -> bytes:
        """Return the key of the texts' hashes, another one than the chain's."""
        from so8t.system.secret_file import make_secret  # noqa: PLC0415 - as above

        return make_secret(self.keys / _TEXT_KEY)

    def chain_key(self) -> bytes:
        """Return the chain's key. Raises PrerequisiteError where there is none."""
        from so8t.system.secret_file import read_secret  # noqa: PLC0415 - as above

        return read_secret(self.keys / _CHAIN_KEY)


def audit_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command --audit, --keys and --witness, as one AuditPlaces."""

    @click.option(
        "--audit",
        "directory",
        type=click.Path(path_type=Path),
        help="Directory of the audit log (default: the user's state directory).",
    )
    @click.option(
        "--keys",
        type=click.Path(path_type=Path),
        help="Directory of its keys (default: the user's config directory).",
    )
    @click.option(
        "--witness",
        type=click.Path(path_type=Path),
        help="File for count and head; on another disk it survives what happens to the log.",
    )
    @wraps(function)
    def wrapper(
        *, directory: Path | None, keys: Path | None, witness: Path | None, **values: Any
    ) -> R:
        import platformdirs  # noqa: PLC0415 - only where a default is needed

        places = AuditPlaces(
            directory or platformdirs.user_state_path("so8t") / "think",
            keys or platformdirs.user_config_path("so8t") / "keys",
            witness,
        )
        return function(places=places, **values)

    return wrapper


@click.group("audit")
def command() -> None:
    """Check the audit log of `so8t serve`, or make a token for it."""


@command.command("verify")
@audit_options
@common
def verify(console: Console, places: AuditPlaces) -> int:
    """Recompute the whole log: every row that was changed, removed, inserted or moved is named."""
    from so8t.journal.audit import verify_audit  # noqa: PLC0415 - APSW only when it is used

    count, findings = verify_audit(places.directory, places.chain_key(), witness=places.witness)
    console.data({"rows": count, "findings": [asdict(finding) for finding in findings]})
    for finding in findings:
        where = "log" if finding.row is None else f"row {finding.row}"
        console.line(f"FAIL  {where}: {finding.what}")
    verdict = (
        "is not as it was written" if findings else "is whole, and ends where it was witnessed"
    )
    console.line(f"{places.directory}: {count:,} rows; the log {verdict}.")
    return VerificationFailed.exit_code if findings else 0


@command.command("token")
@click.argument("path", type=click.Path(path_type=Path))
@common
def token(console: Console, path: Path) -> int:
    """Make a random bearer token in PATH, a file that only its owner can read."""
    from so8t.system.secret_file import make_secret  # noqa: PLC0415 - only here

    make_secret(path)
    console.data({"path": str(path)})
    console.line(f'{path} holds the token; curl -H "Authorization: Bearer $(cat {path})"')
    return 0
