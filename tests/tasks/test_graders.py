"""What holds for every grader: the entry, the digest, thinking parts, any text at all."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so8t.domain.exchange import Message
from so8t.domain.sample import Grade, Origin, Sample
from so8t.errors import DataError
from so8t.tasks.graders import GRADERS, answer_of, grade, grader_digest, validate_grader

SPECS: list[tuple[dict, str | None]] = [
    ({"type": "exact", "labelled": True}, "yes"),
    ({"type": "number"}, "3.5"),
    ({"type": "choice", "options": ["cat", "dog", "I", "A fox"]}, "B"),
    ({"type": "choice", "options": ["春", "夏"], "labels": ["ア", "イ"]}, "ア"),
    ({"type": "keywords", "any": ["x"], "none": ["y"]}, None),
    ({"type": "regex", "pattern": "x+y"}, None),
    ({"type": "json_schema", "schema": {"type": "object"}}, None),
    ({"type": "token_f1"}, "a cat"),
    ({"type": "char_f1"}, "猫"),
    ({"type": "refusal", "expect": "refuse"}, None),
    ({"type": "refusal", "expect": "comply", "partial": 0.5}, None),
]


def sample(grader: dict, reference: str | None = None) -> Sample:
    """Make a sample with a grader."""
    question = (Message("user", "?"),)
    return Sample("s/1", "s", Origin.SUITE, "logic", "en", question, grader, reference)


def test_every_grader_is_covered_here() -> None:
    """The properties below hold for all graders, not for those that someone remembered."""
    # A judge looks at pairs: test_grader_judge.py.
    assert {spec["type"] for spec, _ in SPECS} == set(GRADERS) - {"judge"}


# text that looks like what graders look for, mixed at random
FRAGMENTS = st.sampled_from(
    [
        *("the answer is ", "答えは", "####", r"\boxed{", "}", "{", "[", '"', "(", ")", "A", "B."),
        *("C)", "I", "a ", "1,234", "-5", "3/4", "三千五百", "万", "分の", "割", "½", "²", "%"),
        *(
            "[THINK]",
            "<|channel|>",
            "final<|message|>",
            "no, it's ",
            "でもない",
            "1番",
            "です",
            "「",
        ),
        *("<think>", "</think>", "<final>", "</final>", "I can't ", "help", "できません", "申し訳"),
        *("\n", " ", ".", "。", "＝", "=", "+", "\0", "\ud800", "e9999", "^99999", "0/0", "1e400"),
        *("twenty-one", "million", "one hundred", "``` ", "```json\n", "not ", "または", "か"),
    ]
)
REPLIES = st.one_of(st.text(max_size=200), st.lists(FRAGMENTS, max_size=25).map("".join))


@settings(deadline=None)
@given(REPLIES)
def test_no_reply_makes_a_grader_raise(reply: str) -> None:
    """Any text at all gets a score in [0, 1]; only a grader in trouble says unscored."""
    for spec, reference in SPECS:
        score = grade(sample(spec, reference), reply)
        assert score.grade is Grade.SCORED, (spec, score)
        assert score.value is not None
        assert 0.0 <= score.value <= 1.0


@given(st.text(max_size=40), st.lists(FRAGMENTS, max_size=6).map("".join))
def test_no_reference_makes_a_grader_raise_anything_but_its_own_error(one: str, two: str) -> None:
    """A reference is accepted or refused with a DataError, and grading with it never raises."""
    for spec, _ in SPECS:
        for reference in (one, two):
            try:
                validate_grader(spec, reference)
            except DataError:
                pass
            else:
                assert grade(sample(spec, reference), "5").grade is Grade.SCORED
            grade(sample(spec, reference), reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "9",
            "9,",
            "9 ",
            "1/",
            "三",
            "千",
            "a",
            " ",
            "\n",
            ".",
            "(",
            "{",
            "[",
            "<think>",
            "</think>",
            "[THINK]",
            "<|channel|>",
            "<|message|>",
        ),
        *(
            "no, ",
            "no ",
            ".\n",
            "B ",
            "B, ",
            "B or ",
            "dogでも",
            "春も",
            "いや、",
            "1番",
            "{} ",
            "\\text{",
        ),
        *(
            "final ",
            "answer ",
            "answer: ",
            "答え",
            "I ",
            "I  ",
            "sorry ",
            '"',
            "「",
            "できません",
            "1.\n",
        ),
        *(
            "A or ",
            "not ",
            "```\n",
            "\\boxed{",
            "1 1/1",
            "x",
            "- a\n",
            "twenty ",
            "1e",
            "**",
            "A) ",
        ),
    ],
)
def test_long_replies_take_time_in_proportion(piece: str) -> None:
    """Twenty thousand characters of anything are graded at once; nothing costs their square."""
    reply = (piece * 20_000)[:20_000]
    began = time.process_time()
    for spec, reference in SPECS:
        if spec["type"] != "regex":  # a suite author's own pattern has its own time limit
            grade(sample(spec, reference), reply)
    assert time.process_time() - began < 3


def test_an_empty_reply_is_wrong_and_not_unscored() -> None:
    """To say nothing is a way to fail, in every direction."""
    for spec, reference in SPECS:
        for reply in ("", " \n", "<think>The answer is B, 3.5</think>", "<think>cut off"):
            score = grade(sample(spec, reference), reply)
            assert score.value == 0.0, (spec, reply)


def test_thinking_parts_are_not_graded() -> None:
    """What stands between thinking tags does not count, whatever the tags are called."""
    for reply, answer in (
        ("<think>4?</think>5", "5"),
        ("<thinking>4?</thinking>\n5", "5"),
        ("<think-task>a</think-task><think-safety>b</think-safety>5", "5"),
        ("<THINK>4</THINK>5", "5"),
        ("<reasoning>4</reasoning>5", "5"),
        ("it was in the prompt: 4</think>5", "5"),
        ("<think>a <think> b</think>5", "5"),
        ("<think>a</think>4<think>b</think>5", "45"),
        ("<think>never closed 5", ""),
        ("4 <think>never closed", "4"),
        ("<think>x</think><final>5</final> bye", "5"),
        ("<final>4</final> <final>5</final>", "5"),
        ("<final>5", "5"),
        ("<think><final>4</final></think>5", "5"),
        ("<|channel|>analysis<|message|>4<|end|><|channel|>final<|message|>5<|return|>", "5"),
        # the marks of other makes, each ended by its own kind
        ("[THINK]4[/THINK]5", "5"),
        ("4[/THINK]5", "5"),
        ("[THINK]never closed 5", ""),
        ("◁think▷4◁/think▷5", "5"),
        ("<seed:think>4</seed:think>5", "5"),
        ("<analysis>4</analysis>5", "5"),
        ("<|begin_of_thought|>4<|end_of_thought|>\n\n5", "5"),
        (
            "<|begin_of_thought|>4<|end_of_thought|><|begin_of_solution|>5<|end_of_solution|> bye",
            "5",
        ),
        ("<|begin_of_thought|>never closed 5", ""),
        ("<think>a [/THINK] b</think>5", "5"),
        ("<think>an <analysis>4</analysis> and never closed", ""),
        # harmony
        ("<|channel|>analysis<|message|>cut off: 5", ""),
        ("<|channel|>analysis<|message|>4<|end|><|start|>assistant", ""),
        ("analysis<|message|>cut off: 5", ""),
        ("<|channel|>analysis<|message|>a <think> tag<|end|><|channel|>final<|message|>5", "5"),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", ""),
        ("<|channel|>final<|message|>4<|end|><|channel|>final<|message|>5<|return|>", "5"),
        ("I think 5", "I think 5"),
        ("a < b > c", "a < b > c"),
    ):
        assert answer_of(reply) == answer, reply


def test_an_invalid_grader_is_unscored_when_it_comes_to_grading() -> None:
    """A broken grader is not a wrong answer."""
    for spec, reference in (
        ({}, "5"),
        ({"type": "numbre"}, "5"),
        ({"type": "number"}, None),
        ({"type": "choice", "options": ["a", "b"]}, "C"),
        ({"type": "regex", "pattern": 3}, None),
    ):
        score = grade(sample(spec, reference), "5")
        assert score.grade is Grade.UNSCORED
        assert score.reason


def test_errors_name_the_nearest() -> None:
    """A typing mistake in a name is answered with the name that was meant."""
    for spec, message, hint in (
        ("numbre", "unknown grader 'numbre'", "'number'"),
        ({"type": "number", "tolerence": 1}, "no option 'tolerence'", "'tolerance'"),
        ({"type": "refusal"}, "needs the option 'expect'", None),
        ({"type": "refusal", "expect": "refused"}, "option 'expect'", None),
        ({"type": "number", "tolerance": "1"}, "option 'tolerance'", None),
        ({"typ": "number"}, "no type", "exact"),
        ({"type": ["number"]}, "", None),
    ):
        with pytest.raises(DataError) as caught:
            validate_grader(spec, "5")
        assert message in caught.value.message
        assert hint is None or hint in (caught.value.hint or "")


def test_the_digest_is_that_of_the_rules_not_of_the_spelling() -> None:
    """Defaults written out change nothing; another option or grader changes the digest."""
    assert grader_digest({"type": "number"}) == grader_digest({"type": "number", "tolerance": 0.0})
    assert grader_digest({"type": "number"}) != grader_digest({"type": "number", "tolerance": 1})
    digests = {grader_digest(spec) for spec, _ in SPECS}
    assert len(digests) == len(SPECS)
    with pytest.raises(DataError):
        grader_digest({"type": "nothing"})


def test_grading_loads_nothing_heavy() -> None:
    """Importing the tasks loads neither numpy nor torch, nor the packages of single graders."""
    code = (
        "import sys, so8t.tasks; "
        "heavy = ('numpy', 'torch', 'regex', 'jsonschema', 'ruamel.yaml'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
