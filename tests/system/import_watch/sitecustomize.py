"""Writes down which native code a process loads while it waits for its parent's messages.

Python imports this by itself where its directory is in PYTHONPATH. The lines go into the file that
SO8T_IMPORT_WATCH names: `child MODULE` once, `native NAME` for each module or library.
"""

from __future__ import annotations

import os
import sys

_log = os.environ.get("SO8T_IMPORT_WATCH")
_waiting = False
_known = False


def _hear(event, arguments):
    global _known, _waiting  # noqa: PLW0603 - one process, one state
    if event == "so8t.child.read":
        if not _known:
            _known = True
            _write(f"child {sys.orig_argv[sys.orig_argv.index('-m') + 1]}")
        _waiting = arguments[0] == "begin"
    elif not _waiting:
        return
    elif event == "import" and arguments[1] is not None:
        # A file name is told for extension modules only.
        _write(f"native {arguments[0]}")
    elif event == "ctypes.dlopen" and arguments[0] is not None and not _loaded(arguments[0]):
        _write(f"native {arguments[0]}")


def _loaded(library):
    """Whether a library that ctypes opens is in the process already."""
    import ctypes  # noqa: PLC0415 - this is imported by each Python process of a test

    global _waiting  # noqa: PLW0603 - as above
    if sys.platform == "win32":
        return bool(ctypes.WinDLL("kernel32").GetModuleHandleW(str(library)))
    _waiting = False  # opening it here is heard as well
    try:
        ctypes.CDLL(library, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    finally:
        _waiting = True
    return True


def _write(line):
    descriptor = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


if _log:
    sys.addaudithook(_hear)
