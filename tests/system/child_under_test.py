"""A child for the tests of so8t.system.child: does what each message says."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time

from so8t.system.child import serve_messages


def _handle(message, reply):
    op = message["op"]
    if op == "echo":
        reply(message)
    elif op == "where":
        reply({"path": sys.path, "nice": os.nice(0) if sys.platform != "win32" else None})
    elif op == "look at input":
        # As a C runtime does while it loads; on Windows this waited for the parent's next message.
        reply({"read": os.read(0, 1).decode(), "kind": stat.S_IFMT(os.fstat(0).st_mode)})
    elif op == "fail in a thread":
        threading.Thread(target=lambda: 1 / 0).start()
    elif op == "print":
        # As native code does it: straight to the descriptors.
        os.write(1, b"native noise\n")
        os.write(2, b"and on stderr\n")
        print("python noise")  # noqa: T201 - noise is what is tested
        reply({"op": "printed"})
    elif op == "sleep":
        time.sleep(message["seconds"])
    elif op == "exit":
        sys.stderr.write("last words\n")
        sys.stderr.flush()
        os._exit(message["code"])
    elif op == "signal":
        os.kill(os.getpid(), message["number"])
    elif op == "ignore terminate":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reply({"op": "ignoring"})


if __name__ == "__main__":
    serve_messages(_handle)
