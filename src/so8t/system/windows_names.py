"""Names that Windows takes for something else than a person meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import PureWindowsPath

#: Devices, in each directory, also with an extension (learn.microsoft.com, "Naming Files").
_DEVICES: Final = frozenset(
    [
        *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
        *(f"{port}{sign}" for port in ("COM", "LPT") for sign in "0123456789¹²³"),
    ]
)
_REFUSED: Final = frozenset('<>"|?*')


def objection(path: PureWindowsPath) -> str | None:
    """Say why a directory of this name cannot be made on Windows, or would be another one."""
    if path.drive.endswith(":") and not path.root:
        return f"{path} names the drive {path.drive} and a place that depends on its history"
    for part in path.parts[1:] if path.anchor else path.parts:
        if part.split(".")[0].rstrip(" ").upper() in _DEVICES:
            return f"{part!r} in {path} is a device of Windows"
        if part not in (".", "..") and part[-1:] in (".", " "):
            return f"Windows drops what {part!r} in {path} ends with"
        if bad := sorted(_REFUSED & set(part)) + [sign for sign in part if sign < " "]:
            return f"Windows refuses {bad[0]!r} in {path}"
        if ":" in part:
            return f"{part!r} in {path} names a stream within a file"
    return None
