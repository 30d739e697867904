from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from so8t.errors import DataError, ModelError
from so8t.examples import quickstart
from so8t.models import training_data as data


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(quickstart.paths().base, local_files_only=True)


def chat(*turns):
    roles = ["user", "assistant"] * len(turns)
    return {"messages": [{"role": r, "content": c} for r, c in zip(roles, turns, strict=False)]}


def write(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_shapes_are_read(tmp_path):
    """Chat rows and instruction rows, with or without an input, become the same conversations."""
    path = write(
        tmp_path / "data.jsonl",
        chat("犬?", "いぬ"),
        "",
        {"instruction": "Add.", "input": "1, 2", "output": "3"},
        {"instruction": "犬?", "output": "いぬ"},
    )
    first, second, third = data.read_conversations([path])
    assert first.messages == third.messages == (("user", "犬?"), ("assistant", "いぬ"))
    assert first.digest == third.digest
    assert (first.line, second.line, third.line) == (1, 3, 4)
    assert second.messages[0] == ("user", "Add.\n\n1, 2")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "no JSON"),
        ('"text"', "neither a conversation nor an instruction"),
        ("{}", "neither a conversation nor an instruction"),
        ({"messages": [], "instruction": "a"}, "neither"),
        ({"messages": []}, "at least one message"),
        ({"messages": ["hello"]}, "Message 1 must have `role` and `content`"),
        ({"messages": [{"role": "user"}]}, "Message 1 must have"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "the role 'robot'"),
        (chat("question", " "), "Message 2 has no text"),
        (chat("question"), "last message is not the assistant's"),
        ({"messages": [{"role": "assistant", "content": "a"}] * 2}, "follow each other"),
        ({"instruction": "a", "output": 3}, "must be text"),
        ({"instruction": "a"}, "must be text"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(tmp_path, row, message):
    """Whatever is wrong with a line, the error begins with file and line and has a hint."""
    path = write(tmp_path / "data.jsonl", chat("a", "b"), row)
    with pytest.raises(DataError, match=message) as caught:
        data.read_conversations([path])
    assert caught.value.message.startswith(f"{path}:2: ")
    assert caught.value.hint


TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["user", "assistant", "<final>", "\ud800"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "task", "safety"]), inner, max_size=3),
    ),
    max_leaves=6,
)
KEYS = ["messages", "instruction", "input", "output", "prompt", "thinking", "final", "system"]
ROWS = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4).map(json.dumps),
    st.text(max_size=30),
)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_any_line_is_read_or_refused_with_its_place(tmp_path_factory, line):
    """Whatever a line holds, it is a conversation, nothing, or an error with file and line."""
    path = tmp_path_factory.mktemp("fuzz") / "data.jsonl"
    path.write_text(json.dumps(chat("a", "b")) + "\n", "utf-8")
    with path.open("ab") as file:
        file.write(line.encode("utf-8", "surrogatepass"))
    try:
        read = data.read_conversations([path])
    except DataError as error:
        refused = error
    else:
        assert all(one.messages[-1][0] == "assistant" for one in read)
        return
    assert refused.message.startswith(f"{path}:")
    assert refused.hint


def test_brackets_without_end_and_half_characters_are_refused(tmp_path):
    """Nesting beyond any sense and half a surrogate pair are refused by line, not by a crash."""
    for row in ("[" * 100_000, json.dumps(chat("a", "b\ud800"))):
        path = write(tmp_path / "data.jsonl", chat("a", "b"), row)
        with pytest.raises(DataError, match=r"data\.jsonl:2: "):
            data.read_conversations([path])


def test_bytes_that_are_no_text_are_refused_with_their_place(tmp_path):
    """A line in another encoding than UTF-8 is named, not guessed at."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(chat("a", "b")).encode() + b"\n\x83\x65\n")
    with pytest.raises(DataError, match=r"data\.jsonl:2: Shift_JIS"):
        data.read_conversations([path])


def test_no_data_is_refused(tmp_path):
    """A file that is absent or empty is refused before any training."""
    with pytest.raises(DataError, match="cannot be read"):
        data.read_conversations([tmp_path / "absent.jsonl"])
    with pytest.raises(DataError, match="nothing to train on"):
        data.read_conversations([write(tmp_path / "empty.jsonl")])


def test_the_split_depends_on_content_alone(tmp_path):
    """Order, file and copies do not move a conversation from one side of the split to the other."""
    rows = [chat(f"question {n}", f"answer {n}") for n in range(400)]
    one = data.read_conversations([write(tmp_path / "one.jsonl", *rows)])
    two = data.read_conversations([write(tmp_path / "two.jsonl", *reversed(rows), *rows)])
    training, held_out = data.split_held_out(one, 0.2)
    training_again, held_out_again = data.split_held_out(two, 0.2)
    assert {c.digest for c in training} == {c.digest for c in training_again}
    assert {c.digest for c in held_out} == {c.digest for c in held_out_again}
    assert not {c.digest for c in training} & {c.digest for c in held_out}
    assert 50 <= len(held_out) <= 110


def test_a_one_sided_split_is_refused(tmp_path):
    """Data so small that one side stays empty is refused, since its loss would mean nothing."""
    path = write(tmp_path / "data.jsonl", chat("a", "b"))
    with pytest.raises(DataError, match="leave nothing for"):
        data.split_held_out(data.read_conversations([path]), 0.05)


def test_loss_is_on_the_answers_only(tmp_path, tokenizer):
    """Labels cover each answer with its end of turn; ids are what the chat template gives."""
    turns = ("What is 3 + 4?", "7", "「山」の 読みは？", "やま")
    (conversation,) = data.read_conversations([write(tmp_path / "data.jsonl", chat(*turns))])
    example = data.encode(conversation, tokenizer, 96)
    rendered = tokenizer.apply_chat_template(chat(*turns)["messages"], tokenize=False)
    assert tokenizer.decode(example.ids) == rendered.removesuffix("\n")
    answers = [label for label in example.labels if label != data.IGNORED]
    assert tokenizer.decode(answers) == "7<|im_end|>やま<|im_end|>"
    assert example.answer_tokens == len(answers)
    learnt = zip(example.ids, example.labels, strict=True)
    assert all(label in (data.IGNORED, token) for token, label in learnt)


def test_a_prompt_is_encoded_as_it_is_when_served(tmp_path, tokenizer):
    """What stands before the answer has exactly the ids that generation starts from."""
    row = chat("Which is larger, 12 or 21?", "21")
    (conversation,) = data.read_conversations([write(tmp_path / "data.jsonl", row)])
    example = data.encode(conversation, tokenizer, 96)
    prompt = tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True)
    ids = list(prompt["input_ids"])
    assert list(example.ids[: len(ids)]) == ids
    assert example.labels[: len(ids)] == (data.IGNORED,) * len(ids)
    assert data.IGNORED not in example.labels[len(ids) :]


def test_a_long_example_is_refused_with_its_line(tmp_path, tokenizer):
    """An example over max_length is refused, never cut, since a cut answer teaches nonsense."""
    path = write(tmp_path / "data.jsonl", chat("a", "b"), chat("number " * 50, "b"))
    long = data.read_conversations([path])[1]
    with pytest.raises(DataError, match=r"data\.jsonl:2: .* tokens; max_length is 32"):
        data.encode(long, tokenizer, 32)


def test_a_template_that_rewrites_history_is_refused(tmp_path, tokenizer):
    """A template whose earlier turns change later cannot mark answers, and that is said."""
    path = write(tmp_path / "data.jsonl", chat("a", "b", "c", "d"))
    (conversation,) = data.read_conversations([path])
    plain = tokenizer.chat_template
    tokenizer.chat_template = "{{ messages | length }} {{ messages[-1]['content'] }}"
    try:
        with pytest.raises(ModelError, match="chat template changes what it wrote before"):
            data.encode(conversation, tokenizer, 96)
        tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
        with pytest.raises(DataError, match=r"data\.jsonl:1: .* roles must alternate"):
            data.encode(conversation, tokenizer, 96)
    finally:
        tokenizer.chat_template = plain


def test_every_epoch_covers_the_data_once():
    """Each epoch has every example exactly once, and epochs differ in their order."""
    lengths = [5 + n % 17 for n in range(50)]
    batches = list(islice(data.sample_batches(lengths, 8, seed=1), 14))
    first, second = batches[:7], batches[7:]
    for epoch in (first, second):
        assert Counter(index for batch in epoch for index in batch) == Counter(range(50))
    assert first != second


def test_the_order_is_set_by_the_seed():
    """The same seed gives the same batches, another seed others."""
    lengths = list(range(40))

    def draw(seed):
        return list(islice(data.sample_batches(lengths, 4, seed), 30))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_like_lengths_share_a_batch():
    """Batches need less padding than batches of a random order would."""
    lengths = [4 + 7 * n % 61 for n in range(64)]
    batches = list(islice(data.sample_batches(lengths, 8, seed=3), 8))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 0.85 * len(lengths) * max(lengths)


def test_measuring_covers_each_example_once():
    """The batches for the held-out loss cover each example once, in order of length."""
    batches = data.batches_in_order([9, 3, 7, 5, 1], 2)
    assert batches == [[4, 1], [3, 2], [0]]


def test_padding_is_masked_and_carries_no_loss():
    """Short examples are padded on the right; padding has mask 0 and no label."""
    batch = data.pad([data.Example((5, 6, 7), (-100, 6, 7)), data.Example((8,), (8,))], pad_id=0)
    assert batch.ids == [[5, 6, 7], [8, 0, 0]]
    assert batch.mask == [[1, 1, 1], [1, 0, 0]]
    assert batch.labels == [[-100, 6, 7], [8, -100, -100]]
