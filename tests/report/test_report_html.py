"""The page: whole, safe, honest, in both languages, from the journal alone."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import apsw
import pytest
from ruamel.yaml import YAML

from so8t.config.schema import RunConfig
from so8t.domain.exchange import Arm
from so8t.errors import JournalError, PrerequisiteError
from so8t.journal.store import Journal
from so8t.report.html import render, write_report
from so8t.report.query import load_view
from so8t.report.text import Text
from so8t.report.view import Problem

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects ids, links and text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text = [], [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    @property
    def words(self):
        """All text that a person sees, with single spaces."""
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="session", params=["en", "ja"])
def page(request, finished, tmp_path_factory):
    """Return language and page of the finished run."""
    copy = tmp_path_factory.mktemp("page") / "run"
    shutil.copytree(finished, copy)
    return request.param, write_report(copy, request.param).read_text("utf-8")


def test_the_page_is_whole(page):
    """Tags nest, ids are unique, the language is named, links stay inside the page."""
    language, source = page
    outline = Outline(source)
    assert ("html", {"lang": language}) in outline.tags
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.links
    assert all(link.startswith("#") and link[1:] in outline.ids for link in outline.links)


def test_every_section_has_a_heading(page):
    """Each section is named by its own heading, in the order of the contents."""
    outline = Outline(page[1])
    sections = [a["id"] for tag, a in outline.tags if tag == "section" and "id" in a]
    assert sections == [
        "verdict",
        "differences",
        "categories",
        "course",
        "answers",
        "missing",
        "robustness",
        "latency",
        "making",
        "events",
        "provenance",
    ]
    assert all(f"{section}-h" in outline.ids for section in sections)
    assert [link[1:] for link in outline.links if link[1:] in sections][1:] == sections


def test_the_policy_forbids_everything_but_our_own(page):
    """Only the packaged script and style run; nothing is fetched, whatever an answer holds."""
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page[1])[1]
    assert policy.startswith("default-src 'none';")
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy.replace("&#39;", "'")


def test_hostile_answers_are_text(page):
    """No answer opens a tag, ends the style, hides letters or turns their direction."""
    source = page[1]
    outline = Outline(source)
    kinds = [attributes.get("type") for tag, attributes in outline.tags if tag == "script"]
    assert kinds == ["application/json", None]
    assert not any(tag in ("img", "b") for tag, _ in outline.tags)
    assert "<script>document.title='owned'</script></style>" in outline.words
    assert "{{ 7*7 }}" in outline.words
    assert not {"\x00", "\u202e", "\u2066", "\u2069"} & set(source)
    assert "<U+202E>gnp.exe<U+2066>" in outline.words
    assert not any("style" in attributes for _, attributes in outline.tags)


def test_thinking_is_shown_where_it_is_asked_for(finished, tmp_path):
    """Whoever has the journal may see what the models thought aloud; it takes a flag."""
    shutil.copytree(finished, tmp_path / "run")
    report = write_report(tmp_path / "run", "en", reveal_thinking=True)
    assert report.name == "report-with-thinking.html"
    assert "secret plan" in report.read_text("utf-8")


def test_thinking_is_hidden(page):
    """What a model thought stays in the journal."""
    language, source = page
    assert "secret plan" not in source
    assert {"en": "[thinking hidden] ", "ja": "［思考過程は非表示］"}[language] in source


def test_everything_that_must_be_there_is_there(page):
    """Verdict, figures, what went wrong and how it was made are on the page."""
    language, source = page
    words = Outline(source).words
    expected = {
        "en": [
            "is better than A (base <b>model</b>).",
            "points more items correctly than",
            "4 of 120 pairs are left out because a score is missing.",
            "engine crashed 5 times",
            "two different numbers were given",
            "The engine crashed while model B was answering",
            "away for 2 h 5 min",
            "Orthogonality error, largest 4.8 × 10⁻⁷",
            "asked twice",
            "missing scores were wrong for B and right for A",
            "so8t run nightly.yaml",
            "Mathematics",
            "The run was started 2 times.",
        ],
        "ja": [
            "より優れています。",
            "ポイント高い結果でした",
            "120組のうち4組は、得点が欠けているため除いています。",
            "engine crashed 5 times",
            "エンジンが異常終了し",
            "2時間5分後、保存済みのところから再開しました。",
            "直交性の最大誤差 4.8 × 10⁻⁷",
            "問を2回質問",
            "so8t run nightly.yaml",
            "数学",
        ],
    }[language]
    assert [each for each in expected if each not in words] == []
    assert "Undefined" not in words
    assert "None" not in words


def test_a_partial_run_says_so_loudly(partial):
    """The first words of the verdict are that it is not the last word."""
    words = Outline(write_report(partial, "en").read_text("utf-8")).words
    assert words.index("Partial result.") < words.rindex("There is no verdict yet.")
    assert "not decided yet" in words


def test_a_run_that_asked_nothing_has_a_page(begun):
    """Without evidence there are the phases and no table of zeros."""
    outline = Outline(write_report(begun, "ja").read_text("utf-8"))
    assert "まだ質問を始めていません。" in outline.words
    assert "answers" not in outline.ids
    assert "making" in outline.ids


def test_graded_scores_have_their_own_words(graded):
    """Where scores are not right or wrong, nobody is said to be right."""
    words = Outline(write_report(graded, "en").read_text("utf-8")).words
    assert "B scored higher" in words
    assert "only B right" not in words
    assert "score 75.0 %" in words


def test_the_config_on_the_page_runs_again(page):
    """The config shown is valid and equal to the one that was run."""
    shown = re.search(r"<pre[^>]*>(.*?)</pre>", page[1], re.DOTALL)[1]
    plain = YAML(typ="safe").load(
        shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    assert RunConfig.model_validate(plain).name == "nightly"


def test_the_same_journal_gives_the_same_page(finished, tmp_path):
    """A report is a function of the journal: nothing in it is new or random."""
    shutil.copytree(finished, tmp_path / "run")
    first = write_report(tmp_path / "run", "en").read_bytes()
    assert write_report(tmp_path / "run", "en").read_bytes() == first


def test_a_changed_journal_gets_no_report(finished, tmp_path):
    """An answer that was edited afterwards is found out before a page says anything."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    connection = apsw.Connection(str(run / "journal.sqlite"))
    connection.execute(
        "UPDATE score SET value = 1.0 WHERE seq = (SELECT min(seq) FROM score WHERE value = 0.0)"
    )
    connection.close()
    with pytest.raises(JournalError, match="changed after it was written"):
        write_report(run, "en")
    assert not (run / "report.html").exists()


def test_no_journal_no_report(tmp_path):
    """Where there is no run the person is told so, without a traceback's worth of guessing."""
    with pytest.raises(PrerequisiteError, match="no journal"):
        write_report(tmp_path, "en")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_does_not_fit_the_context_is_said_with_its_length(finished, language):
    """The bare reason of the journal becomes words, with the tokens where they are known."""
    with Journal(finished, readonly=True) as journal:
        view = load_view(journal)
    problems = [Problem(3, "s/3", Arm.A, "failed", "context", tokens) for tokens in (693, None)]
    text = Text(language)
    page = render(replace(view, problems=tuple(problems)), text)
    assert f"<bdi>{text('failed.context_tokens', tokens=693, context=512)}</bdi>" in page
    assert f"<bdi>{text('failed.context')}</bdi>" in page
