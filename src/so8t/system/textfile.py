"""Read text files that people made, and say what is wrong with those that are not UTF-8."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from so8t.domain.language import is_japanese
from so8t.errors import DataError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
#: Characters that a path between quotes of both kinds cannot have in every shell.
_UNQUOTABLE = set("'\"\\$`!%")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, *, what: str, allow_bom: bool = False) -> str:
    """Read a UTF-8 file with its line ends as \\n.

    `what` names the file's part in the messages. A byte order mark is refused, as it would
    become a part of the first word, unless `allow_bom` drops it: published data has it.

    Raises:
        DataError: empty, another encoding, a byte order mark, NUL bytes; with the line.
        PrerequisiteError: there is no such file, or it cannot be read.

    """
    data = _read_bytes(path, what)
    if data.startswith(_UTF16):
        raise _encoding(path, 1, "UTF-16", "utf-16")
    if data.startswith(codecs.BOM_UTF8):
        if not allow_bom:
            raise _encoding(path, 1, "UTF-8 with a byte order mark", "utf-8-sig")
        data = data[len(codecs.BOM_UTF8) :]
    refuse_nul(data, path, 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_utf8(path, 1, error) from error
    if not text.strip():
        raise DataError(f"the {what} is empty", file=str(path), line=1)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, *, what: str) -> Iterator[str]:
    """Yield the lines that `read_text` would give, without holding more than one of them.

    The whole file is checked before its first line is given.

    Raises:
        DataError: as `read_text`.
        PrerequisiteError: as `read_text`.

    """
    if not _is_plain_text(path):
        # What is wrong is said as it always is; then little memory is no matter any more.
        yield from read_text(path, what=what).split("\n")
        return
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"the {what} was changed while it was read", file=str(path)) from error


def decode_line(raw: bytes, path: Path, line: int) -> str:
    """Decode a line (numbered from 1) of a UTF-8 file that is read line by line.

    A byte order mark before the first is dropped: whoever reads so takes data of any program.
    Raises DataError with the line, and the encoding where it can be told.
    """
    if line == 1:
        if raw.startswith(_UTF16):
            raise _encoding(path, line, "UTF-16", "utf-16")
        raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_utf8(path, line, error) from error


def refuse_nul(data: bytes, path: Path, first: int) -> None:
    """Raise DataError with the line when a NUL byte is in `data`, which begins at line `first`."""
    if (at := data.find(b"\0")) >= 0:
        raise DataError(
            "a NUL byte: this is no text file, or one that a crash has cut",
            file=str(path),
            line=first + data.count(b"\n", 0, at),
        )


def _is_plain_text(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    said = False
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                text = decoder.decode(chunk)
                if "\0" in text or (not said and text.startswith("\ufeff")):
                    return False
                said = said or bool(text.strip())
        decoder.decode(b"", final=True)
    except (OSError, UnicodeDecodeError):
        return False
    return said


def _read_bytes(path: Path, what: str) -> bytes:
    """Read a file; Windows says of a directory that permission is denied, so it is asked first."""
    if path.is_dir():
        raise PrerequisiteError(f"the {what} is a directory: {path}", hint="name a file in it")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PrerequisiteError(
            f"there is no {what} at {path}", hint="check the path in the config"
        ) from error
    except OSError as error:
        raise PrerequisiteError(f"the {what} cannot be read: {path}: {error.strerror}") from error


def _no_utf8(path: Path, first: int, error: UnicodeDecodeError) -> DataError:
    """Say what bytes are that are no UTF-8; the line numbered `first` begins with them."""
    line = first + error.object.count(b"\n", 0, error.start)
    if _is_shift_jis(error.object):
        return _encoding(path, line, "Shift_JIS", "cp932")
    start = error.object.rfind(b"\n", 0, error.start) + 1
    return DataError(
        f"not UTF-8: {error.reason} at byte {error.start - start + 1} of the line",
        file=str(path),
        line=line,
        hint="save the file as UTF-8",
    )


def _is_shift_jis(data: bytes) -> bool:
    """Whether the bytes make sense as Japanese; cp932 alone decodes nearly anything."""
    try:
        text = data.decode("cp932")
    except UnicodeDecodeError:
        return False
    return is_japanese(text) and not any("\ue000" <= char <= "\uf8ff" for char in text)


def _encoding(path: Path, line: int, found: str, codec: str) -> DataError:
    """Say which encoding was found, and the command that converts it anywhere."""
    # Forward slashes work on Windows too, and need no doubling between quotes.
    where = path.as_posix()
    hint = "save it as UTF-8"
    if not _UNQUOTABLE & set(where):
        code = (
            f"from pathlib import Path; p = Path('{where}'); "
            f"p.write_text(p.read_text({codec!r}), 'utf-8')"
        )
        hint += f', or: python -c "{code}"'
    return DataError(
        f"{found}, and UTF-8 without a byte order mark is needed",
        file=str(path),
        line=line,
        hint=hint,
    )
