"""Reading suites: the format, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import so8t.tasks
from so8t.domain.exchange import Message
from so8t.domain.sample import Origin
from so8t.errors import DataError, PrerequisiteError
from so8t.tasks import grade, load_suite, suite_schema, validate_suite

ITEM = {"id": "a", "category": "logic", "prompt": "Yes?", "grader": "exact", "reference": "yes"}
SCHEMA = Path(so8t.tasks.__file__).with_name("suite.schema.json")
ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, *lines: object, name: str = "suite.jsonl") -> Path:
    """Write a suite; what is no text becomes JSON."""
    path = folder / name
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_an_item_becomes_a_sample(tmp_path: Path) -> None:
    """Every key arrives where it belongs, and the suite's name stands before the id."""
    item = {
        "id": "math-1",
        "category": "mathematics",
        "language": "en",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2 + 3?"},
        ],
        "grader": {"type": "number", "tolerance": 0.5},
        "reference": "5",
        "max_tokens": 16,
        "cluster": "sums",
    }
    (sample,) = load_suite(write(tmp_path, item), name="mine")
    assert sample.id == "mine/math-1"
    assert sample.task == "mine"
    assert sample.origin is Origin.SUITE
    assert sample.messages == (Message("system", "Be brief."), Message("user", "2 + 3?"))
    assert sample.grader == {"type": "number", "tolerance": 0.5}
    assert (sample.reference, sample.max_tokens, sample.cluster) == ("5", 16, "sums")
    assert grade(sample, "It is 5.4").value == 1.0


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    """The name is the file's, the language is seen from the question."""
    japanese = {**ITEM, "id": "b", "prompt": "はい？"}
    english, other = load_suite(write(tmp_path, ITEM, "", japanese, name="quiz.jsonl"))
    assert english.id == "quiz/a"
    assert english.messages == (Message("user", "Yes?"),)
    assert (english.language, other.language) == ("en", "ja")
    assert (english.max_tokens, english.cluster) == (None, None)
    assert english.grader == {"type": "exact"}


def test_yaml_says_the_same_as_jsonl(tmp_path: Path) -> None:
    """A YAML suite gives the same samples; `no` and `1e3` in quotes stay text."""
    path = tmp_path / "suite.yaml"
    path.write_text(
        "# a comment\n"
        "- id: a\n"
        "  category: logic\n"
        "  prompt: Yes?\n"
        "  grader: exact\n"
        "  reference: yes\n"
        "- {id: b, category: logic, prompt: '2?', grader: {type: choice, options: [no, yes]}, "
        "reference: no}\n",
        encoding="utf-8",
    )
    choice = {"type": "choice", "options": ["no", "yes"]}
    second = {"id": "b", "category": "logic", "prompt": "2?", "grader": choice, "reference": "no"}
    assert load_suite(path) == load_suite(write(tmp_path, ITEM, second))


# what is wrong, the line it is in, a part of the message, a part of the hint
BAD_ITEMS = [
    ("{'id': 1}", "no JSON", "one JSON object a line"),
    ('{"id": "a", "id": "b"}', "the key 'id' stands twice", None),
    ("[1]", "an item is an object", None),
    ("[" * 5000, "no JSON", None),
    ({**ITEM, "promt": "x"}, "unknown key 'promt'", "did you mean 'prompt'?"),
    ({**ITEM, "id": 7}, "id: ", None),
    ({**ITEM, "id": "a b"}, "id has white space", None),
    ({**ITEM, "id": ""}, "id", None),
    ({k: v for k, v in ITEM.items() if k != "id"}, "has no id", None),
    (
        {k: v for k, v in ITEM.items() if k != "grader"},
        "has no grader",
        "known graders: char_f1",
    ),
    ({k: v for k, v in ITEM.items() if k != "category"}, "has no category", None),
    ({**ITEM, "category": " "}, "category is empty", None),
    ({k: v for k, v in ITEM.items() if k != "prompt"}, "neither a prompt nor messages", None),
    ({**ITEM, "messages": [{"role": "user", "content": "x"}]}, "both a prompt and", None),
    ({**ITEM, "prompt": ""}, "prompt", None),
    ({**ITEM, "prompt": ["x"]}, "prompt: ", None),
    ({**ITEM, "language": "english"}, "no two-letter code", None),
    ({**ITEM, "max_tokens": 0}, "max_tokens: ", None),
    ({**ITEM, "max_tokens": "9"}, "max_tokens: ", None),
    ({**ITEM, "reference": 5}, "put it in quotes", None),
    ({**ITEM, "reference": ""}, "an empty reference", "reference"),
    ({**ITEM, "reference": "  "}, "an empty reference", "reference"),
    ({k: v for k, v in ITEM.items() if k != "reference"}, "there is no reference", None),
    ({**ITEM, "grader": "exakt"}, "unknown grader 'exakt'", "did you mean 'exact'?"),
    ({**ITEM, "grader": 5}, "grader", None),
    ({**ITEM, "grader": "number"}, "the reference is 'yes'", "write one number"),
    (
        {**ITEM, "grader": {"type": "choice", "options": ["a", "b"]}},
        "the reference 'yes' is none of the options",
        "A, B",
    ),
    ({**ITEM, "grader": {"type": "exact", "aliase": []}}, "no option 'aliase'", "'aliases'"),
    ('{"id": "a", "category": "c", "prompt": "\\ud800", "grader": "exact"}', "half a char", None),
    (json.dumps({**ITEM, "max_tokens": float("nan")}), "cannot be kept", None),
]


@pytest.mark.parametrize(("item", "message", "hint"), BAD_ITEMS)
def test_a_bad_item_is_refused_with_file_and_line(
    tmp_path: Path, item: object, message: str, hint: str | None
) -> None:
    """The message begins with file:line and says what is wrong; the hint says what to do."""
    path = write(tmp_path, {**ITEM, "id": "fine"}, item)
    with pytest.raises(DataError) as caught:
        load_suite(path)
    error = caught.value
    assert (error.file, error.line) == (str(path), 2)
    assert str(error).startswith(f"{path}:2: ")
    assert message in error.message
    assert hint is None or hint in (error.hint or "")
    assert error.exit_code == 2


def test_a_conversation_ends_with_the_user(tmp_path: Path) -> None:
    """What is answered is a question."""
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    item = {k: v for k, v in ITEM.items() if k != "prompt"} | {"messages": turns}
    with pytest.raises(DataError, match="the last message is to be the user's"):
        load_suite(write(tmp_path, item))


def test_a_duplicate_id_is_refused_with_both_lines(tmp_path: Path) -> None:
    """Two items of one name would overwrite each other's answers."""
    with pytest.raises(DataError, match=r"suite\.jsonl:3: the id 'a' stands in line 1 already"):
        load_suite(write(tmp_path, ITEM, {**ITEM, "id": "b"}, ITEM))


def test_all_problems_are_told_at_once_up_to_ten(tmp_path: Path) -> None:
    """A person mends the whole file in one go; the first bad line is the error's line."""
    bad = [{**ITEM, "id": f"i{n}", "grader": "exakt"} for n in range(14)]
    path = write(tmp_path, ITEM, *bad)
    with pytest.raises(DataError) as caught:
        load_suite(path)
    text = str(caught.value)
    assert caught.value.line == 2
    assert "14 problems" in text
    assert f"{path}:11: " in text
    assert f"{path}:12: " not in text
    assert "and 4 more" in text
    report = validate_suite(path)
    assert len(report.problems) == 14
    assert [sample.id for sample in report.samples] == ["suite/a"]


BAD_FILES = [
    (b"", 1, "is empty", None),
    (b" \n\n", 1, "is empty", None),
    (b"\xef\xbb\xbf" + json.dumps(ITEM).encode(), 1, "byte order mark", "utf-8-sig"),
    (json.dumps(ITEM).encode("utf-16"), 1, "UTF-16", "utf-16"),
    (b"{}\n" + '{"prompt": "日本語"}'.encode("cp932"), 2, "Shift_JIS", "cp932"),
    (b"{}\n{}\n\x00\x00\x00", 3, "NUL byte", None),
    (b"{}\n\xff\xff", 2, "not UTF-8", "save the file as UTF-8"),
]


@pytest.mark.parametrize(("data", "line", "message", "hint"), BAD_FILES)
def test_a_file_that_is_no_utf8_text_is_refused(
    tmp_path: Path, data: bytes, line: int, message: str, hint: str | None
) -> None:
    """The encoding is named, with the line, and how to convert it."""
    path = tmp_path / "suite.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        load_suite(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_the_hint_for_an_encoding_works(tmp_path: Path) -> None:
    """The command in the hint makes the file readable, from whatever folder it is typed in."""
    path = tmp_path / "my suites" / "日本.jsonl"
    path.parent.mkdir()
    item = json.dumps({**ITEM, "prompt": "はい？"}, ensure_ascii=False)
    for codec in ("cp932", "utf-8-sig", "utf-16"):
        path.write_bytes(item.encode(codec))
        with pytest.raises(DataError) as caught:
            load_suite(path)
        code = (caught.value.hint or "").split('python -c "')[1].rstrip('"')
        subprocess.run([sys.executable, "-X", "utf8", "-c", code], cwd=tmp_path, check=True)
        assert load_suite(path)[0].messages[0].content == "はい？"


def test_no_command_is_shown_for_a_path_that_a_shell_would_change(tmp_path: Path) -> None:
    """A name with a quote or a dollar sign gets the advice alone."""
    path = tmp_path / "what's $this.jsonl"
    path.write_bytes('{"prompt": "日本語"}'.encode("cp932"))
    with pytest.raises(DataError) as caught:
        load_suite(path)
    assert caught.value.hint == "save it as UTF-8"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("- id: a\n  id: b\n", 2, "no YAML"),
        ("- id: a\n - b\n", 2, "no YAML"),
        ("id: a\n", 1, "a YAML suite is a list"),
        ("# nothing\n", 1, "the suite has no item"),
        ("- id: ok\n  category: c\n  prompt: p\n  grader: nmber\n", 1, "unknown grader"),
        ("# one\n\n- just text\n", 3, "an item is an object"),
        ("- {id: a, category: c, prompt: p, grader: exact, reference: 2024-01-01}", 1, "kept"),
        ("- 2024-99-99\n", 1, ""),
        ("- \x01", 1, "no YAML"),
        ("- &a\n  - *a\n", 2, ""),
    ],
)
def test_bad_yaml_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    """YAML mistakes have file and line too."""
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_suite(path)
    assert caught.value.line == line
    assert message in caught.value.message


def test_a_suite_that_is_not_there_is_a_prerequisite(tmp_path: Path) -> None:
    """A missing file or a directory is named."""
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(PrerequisiteError) as caught:
            load_suite(path)
        assert str(path) in caught.value.message


def test_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    """CRLF is no mistake."""
    path = tmp_path / "suite.jsonl"
    path.write_bytes(json.dumps(ITEM).encode() + b"\r\n")
    assert len(load_suite(path)) == 1


# the schema ----------------------------------------------------------------------------------


def test_the_committed_schema_is_the_one_in_the_code() -> None:
    """Editors are told what the reader accepts.

    After a change, from the repository's root: python -c "import json, so8t.tasks as t;
    print(json.dumps(t.suite_schema(), indent=2))" > src/so8t/tasks/suite.schema.json
    """
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == suite_schema()
    jsonschema.Draft202012Validator.check_schema(suite_schema())


def test_the_schema_accepts_what_the_reader_accepts(tmp_path: Path) -> None:
    """Good items pass both; items with a wrong shape fail both."""
    validator = jsonschema.Draft202012Validator(suite_schema())
    good = [
        ITEM,
        {**ITEM, "grader": {"type": "choice", "options": ["yes", "no"]}},
        {**ITEM, "grader": {"type": "refusal", "expect": "comply"}, "reference": "comply"},
        {**ITEM, "grader": {"type": "json_schema", "schema": {"type": "object"}}},
        {**ITEM, "language": "ja", "max_tokens": 5, "cluster": "c"},
    ]
    for item in good:
        assert validator.is_valid(item), item
        assert load_suite(write(tmp_path, item))
    shapes = ("unknown key", "id", "has no", "category", "both", "neither", "prompt", "two-letter")
    for item, message, _ in BAD_ITEMS:
        if isinstance(item, dict) and message.startswith(shapes):
            assert not validator.is_valid(item), item


def test_the_quickstart_suite_is_valid() -> None:
    """What ships as the example passes the schema and the reader."""
    path = ROOT / "src" / "so8t" / "examples" / "quickstart" / "suite.jsonl"
    validator = jsonschema.Draft202012Validator(suite_schema())
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(load_suite(path, name="quickstart")) == len(items) >= 400
    assert all(validator.is_valid(item) for item in items)


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*ITEM, "messages", "max_tokens", "language", "cluster", "x"])


@given(st.dictionaries(KEYS, JSON_VALUES, max_size=6), st.sampled_from(["jsonl", "yaml"]))
def test_no_item_raises_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, change: dict, kind: str
) -> None:
    """Whatever stands in a line, the answer is samples or problems, never a traceback."""
    path = tmp_path_factory.getbasetemp() / f"any.{kind}"
    line = json.dumps({**ITEM, **change})
    path.write_text(line if kind == "jsonl" else f"- {line}", encoding="utf-8")
    report = validate_suite(path)
    assert bool(report.samples) != bool(report.problems)


@given(st.binary(max_size=60), st.sampled_from(["jsonl", "yaml"]))
def test_no_bytes_raise_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str
) -> None:
    """Not even a file that is no suite at all."""
    path = tmp_path_factory.getbasetemp() / f"bytes.{kind}"
    path.write_bytes(data)
    assert validate_suite(path).problems
