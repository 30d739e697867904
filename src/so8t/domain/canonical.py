"""One way to turn plain data into bytes, so that equal data has equal digests everywhere."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# One for all: `json.dumps` would make one for each row of a journal.
_ENCODER = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no white space and no escapes; NaN and infinity are refused."""
    return _ENCODER.encode(value)


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of plain data, as `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(canonical_json(value).encode()).hexdigest()}"
