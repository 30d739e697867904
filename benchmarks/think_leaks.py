"""How often four weaker ways, and the strict one, show thinking that they should hide.

    python benchmarks/think_leaks.py [--count 200000] [--seed 1]

Hostile replies are generated (see tests/domain/hostile_outputs.py), each with a marker planted in
its thinking. For each way: how many replies it lets something out of, and how many of those show
the marker, apart for replies where a tag tells the thinking (a leak) and for those where it stands
as plain words in <final> (which no parser can see).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from so8t.domain.thinking import Final, extract
from so8t.tasks.graders.text import answer_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "domain"))

from hostile_outputs import MARKER, outputs

if TYPE_CHECKING:
    from collections.abc import Callable

_PAIR = re.compile(r"<think>.*?</think>", re.DOTALL)


def _removed(text: str, *, ended: bool) -> str:  # noqa: ARG001 - one signature for all
    return _PAIR.sub("", text).strip()


def _split(text: str, *, ended: bool) -> str:  # noqa: ARG001
    return text.rpartition("</think>")[2].strip()


def _first_final(text: str, *, ended: bool) -> str:  # noqa: ARG001
    _, found, rest = text.partition("<final>")
    return rest.partition("</final>")[0].strip() if found else ""


def _lenient(text: str, *, ended: bool) -> str:  # noqa: ARG001
    return answer_of(text)


def _strict(text: str, *, ended: bool) -> str:
    outcome = extract(text, ended=ended)
    return outcome.text if isinstance(outcome, Final) else ""


WAYS: dict[str, Callable[..., str]] = {
    "remove <think>...</think>": _removed,
    "all after the last </think>": _split,
    "the first <final>": _first_final,
    "as graders read (lenient)": _lenient,
    "strict (so8t.domain.thinking)": _strict,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    replies = list(outputs(arguments.count, arguments.seed))
    marked = sum(MARKER in reply.text and reply.marked for reply in replies)
    print(f"{len(replies):,} replies, {marked:,} with thinking that a tag tells")
    print(f"{'way':32} {'emitted':>8} {'leaked':>8} {'share':>7} {'unmarked':>8} {'us each':>8}")
    for name, way in WAYS.items():
        began = time.process_time()
        shown = [way(reply.text, ended=reply.ended) for reply in replies]
        each = (time.process_time() - began) / len(replies) * 1e6
        emitted = sum(bool(text) for text in shown)
        with_marker = [reply for text, reply in zip(shown, replies, strict=True) if MARKER in text]
        leaked = sum(reply.marked for reply in with_marker)
        print(
            f"{name:32} {emitted:8,} {leaked:8,} {leaked / max(emitted, 1):7.2%} "
            f"{len(with_marker) - leaked:8,} {each:8.1f}"
        )


if __name__ == "__main__":
    main()
