"""Promises that every engine keeps, checked in the same way for each."""

from __future__ import annotations

from itertools import count, islice


def pulls_as_slots_get_free(session, question, slots):
    """Serve an endless iterable: never pulled further than the replies received plus the slots."""
    pulled = 0

    def endless():
        nonlocal pulled
        for number in count():
            pulled += 1
            yield question(number)

    replies = session.serve(endless())
    for received, _reply in enumerate(islice(replies, 9), start=1):
        assert pulled <= received + slots
    replies.close()
