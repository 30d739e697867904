"""Training data follows the rules: masked, left out or refused, and told without the values."""

from __future__ import annotations

import json

import pytest

from so8t.cli import invoke as run
from so8t.errors import DataError
from so8t.policy.clean import PolicyReport, Rules, check, clean
from so8t.policy.confidential import is_marked

MAIL = "taro@example.co.jp"


def rows(path, *texts):
    lines = [
        json.dumps({"instruction": "Say it.", "output": text}, ensure_ascii=False) for text in texts
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "【社外秘】\n会議の記録",
        "会議の記録\n*** CONFIDENTIAL ***\n終わり",
        "機密：人事の件",
        "Strictly confidential\nPlans",
        "極秘 / TOP SECRET\n計画",
        "本文[機密]本文",
        "（社外秘）\n本文",
    ],
)
def test_a_mark_is_seen(text):
    """A mark on its own line, in brackets, or at the head makes a document confidential."""
    assert is_marked(text)


@pytest.mark.parametrize(
    "text",
    [
        "This is confidential between us.",
        "機密性の高い情報を扱う仕事です。",
        "社外秘とは何ですか。",
        "He asked: is it confidential?",
        "",
    ],
)
def test_a_sentence_about_it_is_no_mark(text):
    """Sentences that speak of confidential things are ordinary text."""
    assert not is_marked(text)


def test_masked_lines_keep_their_place(tmp_path):
    """Values are masked within the row, marked lines become empty, all others stay as they are."""
    path = rows(tmp_path / "a.jsonl", "plain", f"write to {MAIL}", "【社外秘】計画")
    report = PolicyReport(Rules())
    lines = clean(path, Rules(), report).split(b"\n")
    assert lines[0] == path.read_bytes().split(b"\n")[0]
    assert json.loads(lines[1])["output"] == "write to [EMAIL]"
    assert lines[2] == b""
    facts = report.facts()
    assert (facts["documents"], facts["masked"], facts["excluded"]) == (3, 1, 1)
    assert facts["personal_data"]["email"] == 1
    assert MAIL not in json.dumps(facts)


def test_excluded_lines_are_gone(tmp_path):
    """With exclude, a line with personal data is left out."""
    path = rows(tmp_path / "a.jsonl", "plain", MAIL)
    cleaned = clean(path, Rules("exclude"), PolicyReport(Rules("exclude")))
    assert cleaned.count(b"instruction") == 1


@pytest.mark.parametrize(
    ("rules", "text"), [(Rules("fail"), MAIL), (Rules("mask", "fail"), "機密\nplan")]
)
def test_fail_names_the_line_and_not_the_value(tmp_path, rules, text):
    """With fail the error has file, line and kind; what was found is not in it."""
    path = rows(tmp_path / "a.jsonl", "plain", text)
    with pytest.raises(DataError) as caught:
        check([path], rules)
    assert "a.jsonl" in str(caught.value)
    assert caught.value.line == 2
    assert text not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"{nonsense"])
def test_unreadable_lines_are_named(tmp_path, content):
    """What is no UTF-8 or no JSON is an error with file and line."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' + content)
    with pytest.raises(DataError) as caught:
        check([path], Rules())
    assert caught.value.line == 2


def test_data_check_tells_places_and_writes_copies(tmp_path, capsys, monkeypatch):
    """Found without a copy is exit code 2; with one it is 0 and the copy has nothing to find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    path = rows(tmp_path / "a.jsonl", "plain", MAIL, "CONFIDENTIAL\nplan")
    assert run(["data", "check", str(path), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["places"]["email"] == [f"{path}:2"]
    assert told["confidential_places"] == [f"{path}:3"]
    assert run(["data", "check", str(path), "--out", "clean"]) == 0
    captured = capsys.readouterr()
    assert MAIL not in captured.out + captured.err
    assert run(["data", "check", "clean/a.jsonl"]) == 0
