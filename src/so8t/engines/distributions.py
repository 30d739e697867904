"""What a model expects next: log probabilities of its whole vocabulary at a few positions.

In a child process, as all native code. The distribution at a position does not depend on which
token is taken there, so a token of ordinary text is forced by a grammar: llama.cpp tells nothing
of a token that ends within a character.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from so8t.errors import EngineCrashed, EngineError
from so8t.system.child import Child

if TYPE_CHECKING:
    from collections.abc import Sequence

    from so8t.domain.exchange import Message

WORKER: Final = "so8t.engines.distribution_worker"
_DEADLINE: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Positions:
    """Log probabilities and where they were taken.

    Attributes:
        texts: token ids of each text, prompt and answer so far.
        rows: float32 (positions, vocabulary); `per_text` rows for each text.
        per_text: positions in each text: after the prompt, and after each further token.

    """

    texts: list[list[int]]
    rows: NDArray[np.float32]
    per_text: int


def prompts_of(
    path: Path, conversations: Sequence[Sequence[Message]], *, threads: int | None
) -> list[list[int]]:
    """Render conversations with a model's own template and return their token ids."""
    plain = [[{"role": m.role, "content": m.content} for m in one] for one in conversations]
    answer = _ask(path, {"op": "prompts", "conversations": plain}, 2048, threads)
    texts: list[list[int]] = answer["texts"]
    return texts


def distributions(
    path: Path,
    texts: list[list[int]],
    vocabulary: int,
    *,
    per_text: int,
    follow: bool,
    threads: int | None,
) -> Positions:
    """Take log probabilities at `per_text` positions of each text.

    With `follow` the texts are prompts, and each position's most likely token is added to them;
    without, they are whole already and the last `per_text` positions are taken, so that a second
    model is asked exactly what the first one was. Raises ModelError for a file that cannot be
    loaded, EngineError when the engine does not tell all probabilities.
    """
    context = max(map(len, texts)) + per_text + 8
    with tempfile.TemporaryDirectory(prefix="so8t-") as place:
        out = Path(place, "rows.f32")
        request = {
            "op": "distributions",
            "texts": texts,
            "vocabulary": vocabulary,
            "per_text": per_text,
            "follow": follow,
            "out": str(out),
        }
        answer = _ask(path, request, context, threads)
        rows = np.fromfile(out, np.float32).reshape(-1, vocabulary)
    return Positions(answer["texts"], rows, per_text)


def ids_and_distributions(
    path: Path,
    strings: list[str],
    texts: list[list[int]],
    vocabulary: int,
    *,
    per_text: int,
    threads: int | None,
) -> tuple[list[list[int]], NDArray[np.float32]]:
    """Return the token ids of `strings`, and log probabilities at the end of `texts`.

    A row is the distribution of what follows: the last of a text's `per_text` rows stands after
    its last token, with keys and values in float32. Raises as `distributions` does.
    """
    context = max(map(len, texts), default=1) + per_text + 8
    with tempfile.TemporaryDirectory(prefix="so8t-") as place:
        out = Path(place, "rows.f32")
        request = {
            "op": "check",
            "strings": strings,
            "texts": texts,
            "vocabulary": vocabulary,
            "per_text": per_text,
            "follow": False,
            "out": str(out),
        }
        answer = _ask(path, request, context, threads, cache_type="f32")
        rows = np.fromfile(out, np.float32).reshape(-1, vocabulary)
    ids: list[list[int]] = answer["ids"]
    return ids, rows


def _ask(
    path: Path,
    request: dict[str, Any],
    context: int,
    threads: int | None,
    cache_type: str | None = None,
) -> dict[str, Any]:
    load = {
        "path": str(path),
        "slots": 1,
        "context": context,
        "threads": threads,
        "gpu_layers": -1,
        "batch": None,
        "cache_type": cache_type,
    }
    with Child(WORKER, below_normal=True) as child:
        try:
            child.send(request | {"load": load})
            answer = child.receive(timeout=_DEADLINE)
        except EngineCrashed as error:
            raise EngineError(
                f"{path}: its probabilities could not be measured: {error.message}",
                hint="close other programs, or leave out measure_quantization if it is asked for",
            ) from error
    return answer
