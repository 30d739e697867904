"""What the embedded engine costs over calling llama.cpp in one's own process.

    python benchmarks/engine_overhead.py MODEL.gguf [--requests 200] [--slots 1 2 4 8]

For each slot count it asks the same questions through EmbeddedEngine (a child process, JSON lines,
deadlines) and through xllamacpp in this process (the chat endpoint, one thread a slot), in turns,
and prints requests a second, CPU milliseconds an answer, and their ratio. Then it asks everything
twice more through the engine and prints the A/A flip rate: the share of greedy answers whose text
differs between two equal passes, and from a pass at one slot.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import psutil

from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, Message, ServedModel
from so8t.engines.embedded import EmbeddedEngine, EmbeddedSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Round = Callable[[], tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    requests = [
        EngineRequest(
            str(n),
            (Message("user", f"{n} + {n * 7 % 31} = ? Say it {'very ' * (n % 9)}shortly."),),
            Decoding(max_tokens=options.max_tokens),
        )
        for n in range(options.requests)
    ]
    print("slots  engine req/s  direct req/s  ratio  engine ms  direct ms  ratio   A/A flips  vs 1")
    alone: dict[str, str] | None = None
    for slots in options.slots:
        profile = LoadProfile(slots, options.context, options.threads)
        model = ServedModel(Arm.A, options.model, "")
        with EmbeddedEngine().open(model, profile) as session:
            rounds = _in_turns(session, _direct(options.model, profile), requests, options.rounds)
            first, second = (_texts(session, requests) for _ in range(2))
        alone = alone or first
        engine, direct = zip(*rounds, strict=True)
        speed = [
            len(requests) / statistics.median(each[0] for each in way) for way in (engine, direct)
        ]
        cpu = [statistics.median(each[1] for each in way) for way in (engine, direct)]
        cpu = [1000 * seconds / len(requests) for seconds in cpu]
        print(
            f"{slots:5d}  {speed[0]:12.1f}  {speed[1]:12.1f}  {speed[0] / speed[1]:5.2f}"
            f"  {cpu[0]:9.2f}  {cpu[1]:9.2f}  {cpu[0] / cpu[1]:5.2f}"
            f"  {_flips(first, second):10.1%}  {_flips(first, alone):.1%}"
        )


def _in_turns(
    session: EmbeddedSession,
    direct: Callable[[Sequence[EngineRequest]], None],
    requests: Sequence[EngineRequest],
    rounds: int,
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Seconds and CPU seconds of the engine and of the direct way, round by round."""
    here, there = psutil.Process(), psutil.Process(session.pid)

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in (here, there))

    def timed(work: Callable[[], Any]) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), spent()
        work()
        return time.perf_counter() - wall, spent() - cpu

    for warm_up in (lambda: direct(requests[:8]), lambda: list(session.serve(requests[:8]))):
        warm_up()
    return [
        (timed(lambda: list(session.serve(requests))), timed(lambda: direct(requests)))
        for _ in range(rounds)
    ]


def _direct(path: str, profile: LoadProfile) -> Callable[[Sequence[EngineRequest]], None]:
    import xllamacpp  # noqa: PLC0415 - this process is the native one here, on purpose

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = profile.slots
    parameters.n_ctx = profile.context * profile.slots
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = profile.threads
    parameters.verbosity = 0
    parameters.cache_ram_mib = 0
    parameters.fit_params = False
    server = xllamacpp.Server(parameters)

    def ask(request: EngineRequest) -> None:
        answer = server.handle_chat_completions(
            {
                "messages": [asdict(message) for message in request.messages],
                "max_tokens": request.decoding.max_tokens,
                "temperature": 0,
                "cache_prompt": False,
            }
        )
        if "choices" not in answer:
            raise SystemExit(f"no answer: {answer}")

    def ask_all(requests: Sequence[EngineRequest]) -> None:
        with ThreadPoolExecutor(profile.slots) as pool:
            list(pool.map(ask, requests))

    return ask_all


def _texts(session: EmbeddedSession, requests: Sequence[EngineRequest]) -> dict[str, str]:
    return {reply.key: reply.text for reply in session.serve(requests)}


def _flips(one: dict[str, str], other: dict[str, str]) -> float:
    return sum(one[key] != other[key] for key in one) / len(one)


if __name__ == "__main__":
    main()
