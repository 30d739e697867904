"""Where text leaves for a terminal, a pipe or a file, and what happens when nobody is there.

A closed terminal, a pager that was left and a full disk behind a redirection end no run: what is
done goes on, unheard.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing import TextIO

# The other end of a pipe, the terminal, or the disk behind it is gone.
_GONE = {errno.EPIPE, errno.EIO, errno.ENXIO, errno.ENOSPC, errno.EDQUOT, errno.EINVAL}


class NobodyReadsError(Exception):
    """Whoever read the output has left, and there is nothing else to do than to show it."""


class Outlet:
    """Standard output or error as it is now; writing to it never raises."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name
        #: Whether nobody reads any more.
        self.gone = False

    def write(self, text: str) -> int:
        """Write; what the stream's encoding lacks goes as an escape, what nobody reads is lost."""
        stream = self._stream
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._lost(error)
        except ValueError:  # the stream is closed
            self.gone = True
        return len(text)

    def flush(self) -> None:
        """Flush, as `write`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)
        except ValueError:
            self.gone = True

    @property
    def _stream(self) -> TextIO:
        # Not kept: tests and the boot service exchange the streams.
        stream: TextIO = getattr(sys, self._name)
        return stream

    def _lost(self, error: OSError) -> None:
        if error.errno not in _GONE:
            raise error
        self.gone = True
        # What is buffered would be tried again when Python ends, and raise then.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
