"""Benchmark items in the training data."""

from __future__ import annotations

import json
import random

import pytest
from test_training_data import chat, write

from so8t.examples import quickstart
from so8t.models import training_data as data
from so8t.models.contamination import Item, find_leaks, units

LONG = (
    "Natalia sold clips to forty eight of her friends in April, and then she sold half as many "
    "clips in May. How many clips did Natalia sell altogether in April and May?"
)
JAPANESE = (
    "りんごが３個、みかんが12個あります。となりの家から、"
    "りんごを５個もらいました。全部で何個ですか？"
)


def found(tmp_path, rows, *items):
    read = data.read_conversations([write(tmp_path / "data.jsonl", *rows)])
    report = find_leaks(
        read,
        [
            Item(f"item/{n}", *one) if isinstance(one, tuple) else Item(f"item/{n}", tuple(one))
            for n, one in enumerate(items)
        ],
    )
    return [(leak.line, leak.item, leak.kind) for leak in report.leaks]


def test_the_same_question_is_found_however_it_is_written(tmp_path):
    """Case, width, punctuation and spacing do not hide a question, short or long."""
    rows = [
        chat("Anything else?", "b"),
        chat("  what is\t３ + 4 ", "7"),
        chat("リンゴ は何色？", "赤"),
        chat("Answer briefly.\n\nWhat is 3 + 4?\n\nThanks", "7"),
        {"instruction": "Say it.", "output": "What is 3 + 4"},
    ]
    assert found(tmp_path, rows, ["What is 3 + 4?"], ["ﾘﾝｺﾞは何色"]) == [
        (2, "item/0", "exact"),
        (3, "item/1", "exact"),
        (4, "item/0", "exact"),
        (5, "item/0", "exact"),
    ]


def test_a_long_piece_is_found_within_other_text(tmp_path):
    """13 words of an item, or 30 units of a Japanese one, are found; a few are not."""
    words = LONG.split()
    near = JAPANESE[:20] + "犬" + JAPANESE[21:]
    rows = [
        chat("So: " + " ".join(words[3:16]) + " and so on", "b"),
        chat("So: " + " ".join(words[3:9]) + " and so on", "b"),
        chat("問題です。" + JAPANESE[3:] + "よく考えて。", "20個"),
        chat(JAPANESE[:20], "?"),
        chat("a", f"As I said, {LONG}"),
    ]
    assert len(units(JAPANESE)) > 40
    assert found(tmp_path, rows, [LONG], [JAPANESE]) == [
        (1, "item/0", "overlap"),
        (3, "item/1", "overlap"),
        (5, "item/0", "overlap"),
    ]
    assert found(tmp_path, [chat(near[:34], "?")], [JAPANESE]) == [(1, "item/0", "overlap")]
    assert found(tmp_path, [chat(near[10:30], "?")], [JAPANESE]) == []


def test_a_reference_answer_leaks_too(tmp_path):
    """A long reference is compared piece by piece; equal short answers are no leak."""
    rows = [chat("Tell me.", f"Well: {LONG}"), chat("Is it so?", "yes")]
    items = [(("Say it.",), LONG), (("Is it?",), "yes")]
    assert found(tmp_path, rows, *items) == [(1, "item/0", "overlap")]


def test_what_items_share_is_no_leak(tmp_path):
    """Instructions and examples that stand in several items are not compared, however few."""
    prompt = f"Answer with a number only, as in this example, and say nothing else: {LONG}\n"
    items = [[prompt + f"What is {n} times {n}?"] for n in range(11)]
    rows = [chat(prompt, "42"), chat("What is 7 times 7?", "49")]
    assert found(tmp_path, rows, *items) == [(2, "item/7", "exact")]
    assert found(tmp_path, rows, *items[:2]) == []
    assert found(tmp_path, rows, *items[6:8]) == [(2, "item/1", "exact")]


def test_what_many_lines_share_is_no_leak(tmp_path):
    """Beside a single item the lines themselves tell the instruction from the question."""
    instruction = "\nThink step by step, then write the final number alone on the last line: ####."
    rows = [
        chat(f"A shop has {n} red, {n * n} blue and {n + 7} green lamps.{instruction}", "b")
        for n in range(30)
    ]
    assert found(tmp_path, rows, [LONG + instruction]) == []
    assert found(tmp_path, [*rows, chat(LONG + instruction, "72")], [LONG + instruction]) == [
        (31, "item/0", "exact")
    ]
    near = LONG.replace("Natalia", "Lena").replace("forty eight", "ninety").replace("clips", "pins")
    assert found(tmp_path, [*rows, chat(near + instruction, "72")], [LONG + instruction]) == [
        (31, "item/0", "overlap")
    ]


INSTRUCTION = "\n\nReason step by step, and end with #### and the number, without units."


def exchanged(text: str, rng: random.Random, share: float) -> str:
    """Exchange about `share` of a text's words for others."""
    others = ("Tom", "seven", "12", "blue", "apples")
    words = text.split()
    return " ".join(rng.choice(others) if rng.random() < share else word for word in words)


@pytest.mark.parametrize("count", [1, 10, 100, None])
def test_training_and_test_set_are_told_apart(count, shared_data, tmp_path):
    """Of 200 GSM8K training lines at most one counts, at any number of items; copies all do."""

    def rows(name):
        with (shared_data / "gsm8k" / f"{name}.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    asked = rows("test")[:count]
    items = [
        Item(f"gsm8k/{n}", (row["question"] + INSTRUCTION,), row["answer"].split("####")[1].strip())
        for n, row in enumerate(asked)
    ]
    lines = [chat(row["question"] + INSTRUCTION, row["answer"]) for row in rows("train")[:200]]
    rng = random.Random(5)
    copies = [
        chat(exchanged(row["question"], rng, share) + INSTRUCTION, row["answer"])
        for row in asked[:100]
        for share in (0, 0.1)
    ]
    read = data.read_conversations([write(tmp_path / "data.jsonl", *lines, *copies)])
    leaks = {leak.line for leak in find_leaks(read, items).leaks}
    assert len([line for line in leaks if line <= 200]) <= 1
    assert len([line for line in leaks if line > 200]) == len(copies)


def test_the_report_counts_and_lists(tmp_path):
    """Facts are plain data: how much was compared, how much was found of each kind, and where."""
    rows = [chat(LONG, "72"), chat("x " + LONG, "72"), chat("harmless", "b")]
    path = write(tmp_path / "data.jsonl", *rows)
    report = find_leaks(data.read_conversations([path]), [Item("gsm8k/1", (LONG,))])
    facts = json.loads(json.dumps(report.facts()))
    assert (facts["items"], facts["lines"], facts["exact"], facts["overlap"]) == (1, 3, 1, 1)
    assert facts["listed"][0] == {
        "file": str(path),
        "line": 1,
        "item": "gsm8k/1",
        "kind": "exact",
    }


def test_the_quickstarts_data_is_told_apart(tmp_path):
    """Lines of 6,000 that have the form of a question are none; what is planted is found."""
    lines = quickstart.paths().suite.read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    questions = [row["prompt"] for row in rows]
    items = [Item(row["id"], (row["prompt"],), row.get("reference")) for row in rows]
    read = data.read_conversations([quickstart.paths().train])
    report = find_leaks(read, items)
    assert (report.items, report.lines) == (480, len(read))
    assert len(report.leaks) <= 1
    planted = [chat(text, "b") for text in questions[:40]]
    more = data.read_conversations([write(tmp_path / "data.jsonl", *planted)])
    assert len(find_leaks(more, items).leaks) == 40
