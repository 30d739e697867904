"""`so8t serve`: answers over HTTP without showing the thinking behind them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so8t.cli.audit import AuditPlaces, audit_options
from so8t.cli.console import common
from so8t.cli.engine_options import kinds_with_names, name_options
from so8t.errors import UsageError
from so8t.system.address import is_loopback
from so8t.system.textfile import read_text

if TYPE_CHECKING:
    from so8t.cli.console import Console
    from so8t.cli.think_target import Target
    from so8t.engines.protocol import EngineKind
    from so8t.serve.limits import RequestLimits
    from so8t.serve.prompt import PromptForm
    from so8t.serve.safety_gate import SafetyGate

_TOKEN = "SO8T_THINK_TOKEN"  # noqa: S105 - the name of a variable
_SHORTEST_TOKEN = 16


@click.command("serve")
@click.option("--run", "run", type=click.Path(path_type=Path), help="Serve a model of this run.")
@click.option(
    "--arm",
    type=click.Choice(["A", "B"], case_sensitive=False),
    default="B",
    show_default=True,
    help="Which of the run's models.",
)
@click.option("--gguf", type=click.Path(path_type=Path), help="Serve this GGUF file.")
@name_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8642,
    show_default=True,
    help="0 takes a free one.",
)
@click.option("--name", "names", multiple=True, help="Another host name of this server.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"File with the bearer token (or ${_TOKEN}); needed beyond loopback.",
)
@click.option("--context", type=click.IntRange(64), help="Tokens of context.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Longest reply, thinking included.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    help="Seconds for one answer.",
)
@click.option(
    "--queue",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    help="Requests that may wait for the model.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    help="Requests a minute for each address.",
)
@click.option(
    "--instruction",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Other words that ask for the form; an empty file asks for nothing.",
)
@click.option("--role", type=click.Choice(["auto", "system", "user"]), default="auto")
@click.option(
    "--safety-gate",
    "safety_gate",
    type=click.Path(path_type=Path),
    help="Ask this classifier before the model (a directory of `so8t data safety-train`).",
)
@audit_options
@common
def command(
    console: Console,
    places: AuditPlaces,
    *,
    run: Path | None,
    arm: str,
    gguf: Path | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    token_file: Path | None,
    context: int | None,
    threads: int | None,
    max_tokens: int,
    timeout: float,
    queue: int,
    rate: float,
    instruction: Path | None,
    role: str,
    safety_gate: Path | None,
    **servers: str | None,
) -> int:
    """Serve POST /think: the answer of a model, never its thinking. See docs/think.md."""
    from so8t.serve.limits import RequestLimits  # noqa: PLC0415 - starlette only when it serves
    from so8t.serve.prompt import INSTRUCTION, PromptForm  # noqa: PLC0415
    from so8t.serve.safety_gate import open_gate  # noqa: PLC0415

    named = [
        (kind, name) for kind in kinds_with_names() if (name := servers[kind.name]) is not None
    ]
    if sum(given is not None for given in (run, gguf)) + len(named) > 1:
        more = ", ".join(f"--{kind.name}" for kind in kinds_with_names())
        raise UsageError(f"--run, --gguf and {more} exclude each other.")
    token = _token(token_file, host)
    limits = RequestLimits(max_tokens=max_tokens, answer=timeout, waiting=queue, per_minute=rate)
    on_server = [(kind, name, servers[f"{kind.name}_url"]) for kind, name in named]
    gate = None if safety_gate is None else open_gate(safety_gate)
    target = _target(run, arm, gguf, on_server, context, threads)
    words = INSTRUCTION if instruction is None else _words(instruction)
    form = PromptForm(words, role)
    _serve(console, places, target, limits, (host, port, names, token), form, gate)
    return 0


def _words(file: Path) -> str:
    """Read a person's own instruction; an empty file is one too."""
    if not file.read_bytes().strip():
        return ""
    return read_text(file, what="instruction", allow_bom=True).strip()


def _token(file: Path | None, host: str) -> bytes | None:
    from so8t.system.secret_file import read_secret  # noqa: PLC0415 - only when it serves

    token = read_secret(file) if file else os.environ.get(_TOKEN, "").encode() or None
    if token is None and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, so a token is needed.",
            hint="--token-file FILE: `so8t audit token FILE` makes one",
        )
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise UsageError(f"the token is shorter than {_SHORTEST_TOKEN} characters.")
    return token


def _target(
    run: Path | None,
    arm: str,
    gguf: Path | None,
    on_server: list[tuple[EngineKind, str, str | None]],
    context: int | None,
    threads: int | None,
) -> Target:
    from so8t.cli import think_target  # noqa: PLC0415 - the engines' side, only when it serves

    if gguf is not None:
        found = think_target.target_of_file(gguf)
    elif on_server:
        found = think_target.target_of_name(*on_server[0])
    else:
        found = think_target.target_of_run(run, arm)
    profile = found.profile
    return replace(
        found,
        profile=replace(
            profile,
            context=context or profile.context,
            threads=threads or profile.threads,
        ),
    )


def _serve(
    console: Console,
    places: AuditPlaces,
    target: Target,
    limits: RequestLimits,
    at: tuple[str, int, tuple[str, ...], bytes | None],
    form: PromptForm,
    gate: SafetyGate | None,
) -> None:
    from so8t.cli.think_target import engine_of  # noqa: PLC0415 - as above
    from so8t.journal.lease import Lease  # noqa: PLC0415
    from so8t.journal.store import system_now  # noqa: PLC0415
    from so8t.serve.access import access  # noqa: PLC0415
    from so8t.serve.run import guard_process, listen, serve_think  # noqa: PLC0415

    def ready() -> None:
        console.message("serve.ready", url=f"http://{shown}:{port}/think")
        if gate is not None:
            _tell(console, gate)

    host, port, names, token = at
    guard_process(limits.connections)
    places.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        Lease(places.directory, now=system_now()),
        places.open() as audit,
        listen(host, port) as listener,
        engine_of(target, places.directory, limits.answer) as (engine, model),
    ):
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        serve_think(
            (engine, model, target.profile),
            (audit, places.text_key()),
            listener,
            access(host, port, names=names, token=token),
            limits=limits,
            form=form,
            ready=ready,
            gate=gate,
        )


def _tell(console: Console, gate: SafetyGate) -> None:
    """Say which questions the gate decides, and which go to the model unjudged."""
    names = {"en": console.text("serve.gate.en"), "ja": console.text("serve.gate.ja")}
    measured = [names[language] for language in gate.languages]
    others = [name for language, name in names.items() if language not in gate.languages]
    rest = ", ".join([*others, console.text("serve.gate.others")])
    console.message("serve.gate", measured=", ".join(measured), rest=rest)
