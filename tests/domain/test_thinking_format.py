"""The fourfold thinking format as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so8t.domain.thinking_format import TAGS, FourfoldAnswer, ThinkingFormatError, has_tags, parse

GOOD = FourfoldAnswer("a sum", "harmless", "answer", "7")


def test_what_is_written_is_read():
    """Four parts come back from their text, also with white space around and between them."""
    assert parse(GOOD.text()) == GOOD
    assert parse(GOOD.text().replace("><", ">\n <") + "\n") == GOOD
    assert len(TAGS) == len(set(TAGS)) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("<think-policy>answer</think-policy>", ""), "<think-policy> is miss"),
        (lambda t: t + "<final>8</final>", "<final> is there more than once"),
        (lambda t: t.replace("</think-safety>", ""), "<think-safety> is not closed"),
        (lambda t: t.replace("<think-task>", ""), "<think-task> is closed, but not opened"),
        (lambda t: t.replace("harmless", " "), "<think-safety> is empty"),
        (lambda t: "Well: " + t, "'Well:' stands outside"),
        (lambda t: t.replace("><final", "> so <final"), "'so' stands outside"),
        (
            lambda t: "<final>7</final>" + t.replace("<final>7</final>", ""),
            "not in the order think-task",
        ),
        (lambda t: t.replace("</final>", "") + "</final></final>", "more than once"),
        (lambda _: "", "<think-task> is missing"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    """A part that is missing, doubled, open, empty or out of order is named."""
    with pytest.raises(ThinkingFormatError, match=message):
        parse(change(GOOD.text()))


WORDS = st.text(max_size=5)


@given(st.lists(st.one_of(st.sampled_from(TAGS), WORDS), max_size=14).map("".join))
def test_any_text_is_read_or_refused(text):
    """Whatever a model or a file says, it is a good answer that reads the same again, or refused.

    Nothing else is raised.
    """
    try:
        answer = parse(text)
    except ThinkingFormatError:
        return
    assert has_tags(text)
    assert parse(answer.text()) == answer
