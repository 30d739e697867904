"""Read the entries of a zip archive from anyone: streamed, with a bound on what comes out of it.

A megabyte of deflate can stand for a gigabyte, and entries may overlap in the file. So what an
archive claims is looked at before anything is read (zipfile gives no more than an entry claims),
one entry's list is read element by element, and nothing larger than a sample is held at once.
"""

from __future__ import annotations

import codecs
import json
from typing import IO, TYPE_CHECKING, Any

from so8t.results.lines import parse_json

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Iterator

    from so8t.results.items import SourcePlace

# Logs of real evaluations compress 5 to 60 times.
_RATIO = 200
_UNSUSPICIOUS = 16 << 20
_LARGEST_OBJECT = 128 << 20
_LARGEST_TOTAL = 8 << 30
_CHUNK = 1 << 16


def check_sizes(archive: zipfile.ZipFile, names: Iterable[str], place: SourcePlace) -> None:
    """Look at what the entries that will be read claim to hold.

    Raises DataError: more than 8 GiB, or more than 200 times what the file has.
    """
    claimed = sum(archive.getinfo(name).file_size for name in names)
    file = place.file.stat().st_size
    if claimed > _LARGEST_TOTAL or claimed > max(_UNSUSPICIOUS, _RATIO * file):
        raise place.error(
            f"a file of {file:,} bytes that claims to hold {claimed:,}",
            hint="it is damaged or made to do harm; a log of this size can be read as .json",
        )


def read_object(archive: zipfile.ZipFile, name: str, place: SourcePlace) -> Any:
    """Read an entry that is one JSON value. Raises DataError: no JSON, or too large."""
    _check_entry(archive, name, place)
    if archive.getinfo(name).file_size > _LARGEST_OBJECT:
        raise place.error(f"an entry of more than {_LARGEST_OBJECT >> 20} MiB")
    return parse_json(archive.read(name), place)


def read_list(archive: zipfile.ZipFile, name: str, place: SourcePlace) -> Iterator[Any]:
    """Yield the objects of an entry that is a JSON list of them, holding one at a time.

    Raises DataError: not such a list, one that is cut off, or an object that is too large.
    """
    _check_entry(archive, name, place)
    with archive.open(name) as stream:
        yield from _elements(stream, place)


def _check_entry(archive: zipfile.ZipFile, name: str, place: SourcePlace) -> None:
    entry = archive.getinfo(name)
    if entry.file_size > max(_UNSUSPICIOUS, _RATIO * entry.compress_size):
        raise place.error(
            f"an entry of {entry.compress_size:,} bytes that claims to hold {entry.file_size:,}",
            hint="it is damaged or made to do harm",
        )


def _elements(stream: IO[bytes], place: SourcePlace) -> Iterator[Any]:
    buffer = _Buffer(stream, place)
    if buffer.next_sign() != "[":
        raise place.error("not a list of samples")
    buffer.take(1)
    if buffer.next_sign() == "]":
        buffer.take(1)
    else:
        while True:
            yield buffer.element()
            sign = buffer.next_sign()
            buffer.take(1)
            if sign == "]":
                break
            if sign != ",":
                raise place.error(f"no JSON: {sign!r} between two samples" if sign else _CUT)
    if buffer.next_sign():
        raise place.error("no JSON: something stands behind the list")


_CUT = "no JSON: the list is cut off"
_DECODER = json.JSONDecoder()


class _Buffer:
    """The text of a stream, as much of it as the element at hand needs."""

    def __init__(self, stream: IO[bytes], place: SourcePlace) -> None:
        self._stream, self._place = stream, place
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._ended = "", 0, False

    def next_sign(self) -> str:
        """Go to the next character that is no white space; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = "", 0
            if not self._more(_CHUNK):
                return ""

    def take(self, count: int) -> None:
        """Go over characters."""
        self._at += count

    def element(self) -> Any:
        """Read the object that begins here."""
        if self.next_sign() != "{":
            raise self._place.error(_CUT if not self._text else "a sample that is no object")
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                self._text, self._at = self._text[self._at :], 0
                if len(self._text) > _LARGEST_OBJECT:
                    raise self._place.error("a sample that is too large") from error
                # Twice as much each time: reading a large one stays linear.
                if not self._more(max(_CHUNK, len(self._text))):
                    raise self._place.error(f"no JSON: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise self._place.error(f"no JSON that can be read: {error}") from error
            else:
                return found

    def _more(self, count: int) -> bool:
        """Read on; False where nothing is left."""
        if self._ended:
            return False
        raw = self._stream.read(count)
        self._ended = not raw
        try:
            self._text += self._decoder.decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._place.error(f"no UTF-8: {error.reason}") from error
        return not self._ended
