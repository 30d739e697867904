"""A server process whose model says what the query tells it to.

    python serve_under_test.py DIRECTORY '{"limits": {...}, "token": null, "file_bytes": null}'

The model's reply to `say:TEXT` is TEXT, to `cut:TEXT` it is TEXT cut at the token limit;
`sleep:S` takes so long; `crash` ends the engine. Prints the port once it listens.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from so8t.domain.exchange import Arm, EngineReply, LoadProfile, ServedModel, Status
from so8t.engines.scripted import ScriptedEngine
from so8t.errors import EngineCrashed, Interrupted, signal_exit_code
from so8t.journal.audit import AuditLog
from so8t.serve.access import access
from so8t.serve.limits import RequestLimits
from so8t.serve.prompt import PromptForm
from so8t.serve.run import guard_process, listen, serve_think
from so8t.serve.safety_gate import open_gate
from so8t.system.secret_file import make_secret

FORM = "<think-safety>fine\nALLOW</think-safety><final>{}</final>"


def _says(request):
    order, _, rest = request.messages[-1].content.partition(":")
    if order in {"say", "cut"}:
        return rest
    if order == "sleep":
        time.sleep(float(rest))
        return FORM.format("awake")
    if order == "crash":
        raise EngineCrashed("crashed as it was told to; the last words were zqx-7f3a-qzx")
    return FORM.format("Hello.")


class _Session:
    """A scripted session that can also cut a reply."""

    def __init__(self, inner):
        self._inner = inner
        self.report = inner.report

    def serve(self, requests):
        for request in requests:
            (reply,) = self._inner.serve([request])
            if request.messages[-1].content == "long":
                yield EngineReply(reply.key, Status.FAILED, reason="context")
                continue
            cut = request.messages[-1].content.startswith("cut:")
            yield EngineReply(reply.key, Status.TRUNCATED, reply.text) if cut else reply

    def close(self):
        self._inner.close()


class _Engine(ScriptedEngine):
    def open(self, model, profile):
        return _Session(super().open(model, profile))


def main(directory, options):
    guard_process(RequestLimits().connections)
    if options.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"],) * 2)
        import signal  # noqa: PLC0415

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    token = options.get("token")
    witness = Path(options["witness"]) if options.get("witness") else None
    with (
        AuditLog(
            directory / "log", make_secret(directory / "keys" / "c"), witness=witness
        ) as audit,
        listen("127.0.0.1", 0) as listener,
    ):
        port = listener.getsockname()[1]
        serve_think(
            (_Engine(_says), ServedModel(Arm.B, "model", "sha256:abc"), LoadProfile()),
            (audit, make_secret(directory / "keys" / "t")),
            listener,
            access("127.0.0.1", port, token=token.encode() if token else None),
            limits=RequestLimits(**options.get("limits", {})),
            form=PromptForm(),
            gate=open_gate(Path(options["gate"])) if options.get("gate") else None,
            ready=lambda: print(port, flush=True),  # noqa: T201
        )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    except Interrupted as stopped:  # as the command line does
        sys.exit(signal_exit_code(stopped.signal))
