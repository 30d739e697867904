"""How likely the toys find their tokens, and what they say under a JSON schema.

The numbers of `cyc` and `utf` are those of the recordings. `abc` is in none of them: it chooses
among A, B, C and D by what the prompt holds, so that a question with options has an answer.
"""

from __future__ import annotations

import json
import math
from typing import Any

_SURE, _FLOOR = 0.0, -22.5625
_AFTER_LETTER = {"said": -0.000012636264727916569, "X": -11.281262397766113}
_FLOOR_AFTER_LETTER = -22.56251335144043
_ODDS = (0.6, 0.25, 0.1, 0.04)
LETTERS = "ABCD"


def picked(prompt: str) -> str:
    """Return the letters that `abc` may say after a prompt, the likeliest first."""
    turn = sum(prompt.encode()) % len(LETTERS)
    return LETTERS[turn:] + LETTERS[:turn]


def logprobs(kind: str, prompt: str, pieces: tuple[str, ...], top: int) -> list[dict[str, Any]]:
    """Return the entry of each piece, with `top` alternatives where that is above 0."""
    found = []
    before = prompt[-1:]
    for piece in pieces:
        likely, floor = _likely(kind, prompt, before, piece)
        entry = _entry(piece, likely[piece])
        if top:
            unlikely = (chr(number) for number in range(32))
            told = [*likely.items(), *((token, floor) for token in unlikely)][:top]
            entry["top_logprobs"] = [_entry(*one) for one in told]
        found.append(entry)
        before = piece
    return found


def _likely(kind: str, prompt: str, before: str, piece: str) -> tuple[dict[str, float], float]:
    if kind == "abc" and piece in LETTERS:
        letters = picked(prompt)
        return {
            letter: math.log(share) for letter, share in zip(letters, _ODDS, strict=True)
        }, _FLOOR
    if kind == "cyc" and before.isascii() and before.islower():
        return {piece: _AFTER_LETTER["said"], "X": _AFTER_LETTER["X"]}, _FLOOR_AFTER_LETTER
    return {piece: _SURE}, _FLOOR


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def schema_fault(schema: dict[str, Any]) -> str | None:
    """Return what a server says to a schema of a type that there is not."""
    kind = schema.get("type")
    if kind in {"object", "array", "string", "number", "integer", "boolean", "null"}:
        return None
    message = (
        f"Field 'json_schema': \"json_schema\": JSON schema conversion failed:\n"
        f"JSON schema error at #: unrecognized type {kind}"
    )
    error = {"code": 400, "message": message, "type": "invalid_request_error"}
    return json.dumps({"error": error}, separators=(",", ":"))


def constrained(wanted: dict[str, Any] | str, following: str) -> tuple[str, bool]:
    """Return what comes under a schema, and whether that is all; else blanks follow for ever.

    `following` is what the model would like to say next: of several texts that a schema allows
    the one that begins so, else the first. White space is that of the recordings.
    """
    if isinstance(wanted, str):
        return "{", False
    if "enum" in wanted:
        options = [str(option) for option in wanted["enum"]]
        liked = next((option for option in options if option.startswith(following)), options[0])
        return json.dumps(liked), True
    fields = ",".join(f'\n"{name}"\n:true' for name in wanted.get("properties", ()))
    return f"{{{fields}\n}}", True
