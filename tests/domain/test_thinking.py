"""The gate: an answer leaves whole and checked, or nothing does."""

from __future__ import annotations

import json

import pytest
from hostile_outputs import MARKER, outputs

from so8t.domain.fourfold import Label, rule, safety_label
from so8t.domain.tag_disguise import has_tag
from so8t.domain.thinking import (
    LONGEST_FINAL,
    Final,
    Reason,
    Refused,
    ReplyParts,
    extract,
    join_reply,
    opened_by,
    redact,
    split_reply,
)
from so8t.engines.ollama.answers import read_answer

HEAD = (
    "<think-task>t</think-task><think-safety>harmless\nALLOW</think-safety>"
    "<think-policy>p</think-policy>"
)

GOOD = [
    "42",
    "東京です。",
    "<div>a</div>",
    "```html\n<div class='a'>x &lt; y</div>\n```",
    "for (int i = 0; i < finalCount; ++i) { a > b }",
    "if (x < final) return; y > 3;",
    "finally { final int x = a < b; }",
    "arr[final] and std::vector<int>",
    "I think, therefore I am.",
    "the <finale> of an opera",
    "100% of \\u0041 and %20",
    "« finale »",
    "مرحبا 👩‍💻 naïve",
]

DISGUISED = [
    "<think>",
    "</think>",
    "<final>",
    "</final>",
    "</ final >",
    "<THINK>",
    "<Think-Policy >",
    "< think",
    '<think lang="en">',
    "<thinking>",
    "<thinkpad>",
    "<think/>",
    "<final-answer>",
    "<Final/>",
    "List<Final>",
    "＜ｔｈｉｎｋ＞",
    "‹think›",
    "〈/think〉",
    "◁think▷",
    "<th\u200bink>",
    "<\u2060think>",
    "<t\u0336hink>",
    "<thínk>",
    "<тhink>",
    "<thіnk>",
    "<ᴛʜɪɴᴋ>",
    "<𝓽𝓱𝓲𝓷𝓴>",
    "<🅣🅗🅘🅝🅚>",
    "<th1nk>",
    "<f1na1>",
    "<t h i n k>",
    "<t.h.i.n.k>",
    "<x:think>",
    "<|think|>",
    "<|channel|>analysis<|message|>",
    "\\<think\\>",
    "&lt;think&gt;",
    "&LTthink",
    "&#60;think&#62;",
    "&#x3c;final&#x3e;",
    "&amp;amp;lt;think",
    "＆ｌｔ；think",
    "%3Cthink%3E",
    "%253Cthink",
    "\\u003cthink\\u003e",
    "\\x3c/final",
    "[think]",
    "[/THINK]",
    "{/final}",
    "【think】",
    "<reasoning>",
    "<thought>",
    "think-safety: harmless",
    "\u202e>kniht<",
    "```\n<think>\n```",
    "<!-- <think> -->",
]


@pytest.mark.parametrize("body", GOOD)
def test_an_answer_leaves_as_it_was(body):
    """Words about HTML, code and mathematics pass; nothing of them is changed."""
    assert extract(f"{HEAD}\n<final>\n{body}\n</final>\n", ended=True) == Final(body)


@pytest.mark.parametrize("tag", DISGUISED, ids=ascii)
def test_no_tag_passes_in_any_disguise(tag):
    """Look-alikes, invisible signs, entities, escapes and fences hide no tag in an answer."""
    assert has_tag(tag)
    for body in (tag, f"an answer {tag} more", f"{tag}{tag}"):
        assert isinstance(extract(f"{HEAD}<final>{body}</final>", ended=True), Refused)
        assert MARKER not in redact(f"{MARKER}{body}", "[hidden]")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", Reason.NO_FINAL),
        ("just words", Reason.NO_FINAL),
        (HEAD, Reason.NO_FINAL),
        (f"{HEAD}</final>x", Reason.NO_FINAL),
        (f"{HEAD}<final>x", Reason.NOT_CLOSED),
        (f"{HEAD}<final>x</final", Reason.NOT_CLOSED),
        (f"{HEAD}</final>x<final>", Reason.UNBALANCED),
        (f"{HEAD}<final></final>", Reason.EMPTY),
        (f"{HEAD}<final> \n\u200b\u3000</final>", Reason.EMPTY),
        (f"{HEAD}<final>x</final><final>y</final>", Reason.REPEATED),
        (f"{HEAD}<final><final>x</final></final>", Reason.REPEATED),
        (f"{HEAD}<final>x</final></final>", Reason.REPEATED),
        (f"{HEAD}<final>x</final>.", Reason.AFTER_FINAL),
        (f"<final>x</final>{HEAD}", Reason.AFTER_FINAL),
        (f"{HEAD}<final>x<think>y</think></final>", Reason.UNBALANCED),
        (f"{HEAD}<think><final>x</final></think>", Reason.UNBALANCED),
        ("<think>y<final>x</final>", Reason.UNBALANCED),
        ("y</think><final>x</final>", Reason.UNBALANCED),
        ("<think>y</think-task><final>x</final>", Reason.UNBALANCED),
        ("<think><think>y</think></think><final>x</final>", Reason.UNBALANCED),
        ("<think>y</think><think>y</think><final>x</final>", Reason.REPEATED),
        ("<think >y <final>draft</final>", Reason.TAG_INSIDE),
        ("<THINK>y <final>draft</final>", Reason.TAG_INSIDE),
        (f"{HEAD}<FINAL>x</FINAL>", Reason.NO_FINAL),
        (f"{HEAD}<final>x\ud800</final>", Reason.NOT_TEXT),
        (f"{HEAD}<final>{'x' * (LONGEST_FINAL + 1)}</final>", Reason.TOO_LONG),
        ("<think>" * 10_000 + "<final>x</final>", Reason.UNBALANCED),
    ],
    ids=lambda value: value if isinstance(value, Reason) else "",
)
def test_what_is_not_well_formed_is_refused_with_its_reason(reply, reason):
    """Missing, repeated, nested, unclosed, misplaced: each is a refusal, never a fragment."""
    assert extract(reply, ended=True) == Refused(reason)


def test_a_reply_that_was_cut_is_refused():
    """However well-formed it looks: what did not end normally may lack its closing."""
    assert extract(f"{HEAD}<final>x</final>", ended=False) == Refused(Reason.UNFINISHED)


def test_tags_split_over_chunks_at_any_byte_change_nothing():
    """The buffer is checked whole: where the network cuts a reply does not matter."""
    for body in ("é東<div>", "<th\u200bink>x", "&lt;/final&gt;"):
        reply = f"<think-safety>ALLOW</think-safety><final>{body}</final>"
        wanted = extract(reply, ended=True)
        for at in range(len(reply) + 1):
            lines = [
                {"message": {"role": "assistant", "content": piece}, "done": False}
                for piece in (reply[:at], reply[at:])
            ]
            lines.append({"message": {"content": ""}, "done": True, "done_reason": "stop"})
            raw = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
            cut = at * len(raw) // (len(reply) + 1)
            answer = read_answer(200, [raw[:cut], raw[cut:]])
            assert extract(answer.text, ended=answer.done_reason == "stop") == wanted


@pytest.mark.slow
def test_of_200_000_hostile_replies_none_shows_marked_thinking():
    """No answer holds the marker that was planted in thinking, and some answers do get through."""
    emitted = 0
    for output in outputs(200_000):
        outcome = extract(output.text, ended=output.ended)
        if isinstance(outcome, Final):
            emitted += 1
            assert not output.marked or MARKER not in outcome.text, ascii(output.text)
            assert output.ended
    assert emitted > 5_000


@pytest.mark.slow
def test_what_leaves_the_benchmark_shows_no_marked_thinking():
    """`redact` fails closed as well; only what carries no tag at all is shown as it is."""
    for output in outputs(20_000, seed=2):
        if output.marked and not output.cut and ("think" in output.text or "<rea" in output.text):
            assert MARKER not in redact(output.text, "[hidden]"), ascii(output.text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("42", "42"),
        ("<think>secret</think>42", "[x]42"),
        ("<think>\nsecret\n</think>\n\n42", "[x]\n\n42"),
        ("<think-task>a</think-task><think-safety>b</think-safety>42", "[x]42"),
        ("<thinking>a</thinking>42", "[x]42"),
        ("<THINK lang='en'>secret</Think >42", "[x]42"),
        ("the template opened it</think>42", "[x]42"),
        (f"{HEAD}<final>42</final>", "[x]42"),
        (f"{HEAD}<final>42", "[x]"),
        ("<think>a<think>b</think>secret</think>42", "[x]"),
        ("<think>a <think-task>b</think-task> secret</think>42", "[x]"),
        ("<think>cut in the middle of", "[x]"),
        ("42 <think>and then cut", "[x]"),
        ("<think>a</think>42 ＜think＞secret", "[x]"),
        ("a < b and b > c", "a < b and b > c"),
        ("", ""),
    ],
)
def test_thinking_is_replaced(text, shown):
    """Well-formed thinking is hidden and what follows is shown; of the rest nothing is."""
    assert redact(text, "[x]") == shown


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_hostile_texts_take_linear_time():
    """Texts of 300,000 signs made to confuse a pattern cost seconds, not hours."""
    for piece in ("<think>", "<", "&lt", "<t!h!", "[   ", "<a:", "あ", "&amp;", "<f|||"):
        has_tag(piece * (300_000 // len(piece)))
        redact(piece * (300_000 // len(piece)), "")


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("ALLOW", Label.ALLOW),
        ("It is harmless.\nALLOW\n", Label.ALLOW),
        ("label: ESCALATE.", Label.ESCALATE),
        ("**refuse**", Label.REFUSE),
        ("ＡＬＬＯＷ", Label.ALLOW),
        (None, None),
        ("", None),
        ("ALLOW\nbecause it is harmless", None),
        ("ALLOWED", None),
        ("not ALLOW", None),
        ("I would REFUSE this.\nALLOW", None),
        ("ALLOW REFUSE", None),
    ],
)
def test_the_label_is_the_last_line_alone(said, label):
    """What is not clearly one label is none."""
    assert safety_label(said) == label


def _reply(safety, final="Paris.", policy="none"):
    return (
        f"<think-safety>{safety}</think-safety><think-policy>{policy}</think-policy>"
        f"<final>{final}</final>"
    )


def test_a_ruling_fails_closed():
    """Only ALLOW and ESCALATE let the answer out; an unclear label is REFUSE."""
    allowed = rule(_reply("ALLOW"), ended=True)
    assert (allowed.label, allowed.final) == (Label.ALLOW, "Paris.")
    assert "ALLOW" in allowed.thinking
    assert "Paris" not in allowed.thinking
    assert rule(_reply("ESCALATE"), ended=True).final == "Paris."
    for safety, reason in (("REFUSE", "label"), ("maybe", "no_label")):
        ruling = rule(_reply(safety), ended=True)
        assert (ruling.label, ruling.final, ruling.reason) == (Label.REFUSE, None, reason)
    assert rule("<final>x</final>", ended=True).reason == "no_label"
    assert rule(_reply("ALLOW"), ended=False).reason == "unfinished"
    assert "Paris" not in repr(rule("Paris", ended=True))


def test_thinking_that_the_engine_kept_apart_is_taken_and_checked():
    """The label may come from the engine's own field; two safety parts are one too many."""
    apart = "<think-safety>ALLOW</think-safety>"
    assert rule("<final>x</final>", ended=True, separate=apart).final == "x"
    assert rule("<final><think>y</think></final>", ended=True, separate=apart).final is None
    assert rule(_reply("ALLOW"), ended=True, separate=apart).reason == "no_label"


def test_an_answer_that_copies_the_policy_part_is_refused():
    """A long copy of the policy part is seen without any tag; the query may be quoted."""
    rule_text = "internal rule seven says that nobody may be told of the budget"
    assert rule(_reply("ALLOW", f"Well: {rule_text}", rule_text), ended=True).reason == "copied"
    assert rule(_reply("ALLOW", f"Well: {rule_text}", rule_text), ended=True, query=rule_text).final


# --- telling apart -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "answer", "thinking", "cut"),
    [
        (" 5 \n", " 5 \n", "", False),
        ("<think>4?</think>\n\n5", "5", "4?", False),
        ("4?</think>\n5", "5", "4?", False),
        ("<think>4?", "", "4?", True),
        ("<think>4?</think>", "", "4?", False),
        ("5 <think>really?", "5 ", "really?", False),
        ("[THINK]4?[/THINK]5", "5", "4?", False),
        ("[THINK]4?", "", "4?", True),
        ("◁think▷4?", "", "4?", True),
        ("<seed:think>4?", "", "4?", True),
        ("<|begin_of_thought|>4?", "", "4?", True),
        ("<|channel|>analysis<|message|>4?", "", "4?", True),
        ("<|channel|>analysis<|message|>4?<|end|><|start|>assistant", "", "4?", True),
        (
            "<|channel|>analysis<|message|>4?<|end|><|start|>assistant<|channel|>final<|message|>5",
            "5",
            "4?",
            False,
        ),
        ("<|channel|>commentary to=f<|message|>{}<|call|>", "", "{}", False),
        ("<think>4?</think><final>5</final>", "5", "4?", False),
        ("<think>4?</think><final>", "", "4?", False),
    ],
)
def test_a_reply_is_told_apart(reply, answer, thinking, cut):
    """Answer, thinking, and whether the reply ended inside its thinking, for every kind of mark."""
    assert split_reply(reply) == ReplyParts(answer, thinking, cut)


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("<|im_start|>user\nWhat is <think>?<|im_end|>\n<|im_start|>assistant\n", ""),
        ("[/INST][THINK]", "[THINK]"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>analysis<|message|>"),
        ("<|start|>assistant", ""),
        ("", ""),
    ],
)
def test_thinking_that_the_prompt_opened_belongs_to_the_reply(prompt, opened):
    """A mark that a prompt leaves open is found; a reply that ends behind it has no answer."""
    assert opened_by(prompt) == opened
    assert split_reply(opened_by(prompt) + "It is 5.").cut is bool(opened)


@pytest.mark.parametrize(
    ("thinking", "answer"), [("", "5"), ("4?", "5"), ("4?", ""), ("4?", "\n"), ("", "")]
)
def test_what_an_engine_kept_apart_is_the_same_reply(thinking, answer):
    """Thinking in a field of its own and thinking in the text are graded alike."""
    parts = split_reply(join_reply(thinking, answer))
    assert parts.thinking.strip() == thinking
    assert parts.answer.strip() == answer.strip()
    assert parts.cut is bool(thinking and not answer.strip())
