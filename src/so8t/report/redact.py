"""What is not shown as it came: the middle of long texts.

Thinking is hidden by `so8t.domain.thinking`, characters that deceive by `so8t.domain.plain_text`.
"""

from __future__ import annotations


def shorten(text: str, limit: int, mark: str) -> str:
    """Keep head and tail of a text longer than `limit`; `mark` may say {count} characters went.

    Both ends are kept because an answer often begins with its thought and ends with its result.
    """
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return text[:head] + mark.format(count=f"{len(text) - head - tail:,}") + text[-tail:]
