"""Japanese benchmarks: JGLUE, JMMLU, JCommonsenseMorality, JSICK, JSeM."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from so8t.errors import DataError
from so8t.system.textfile import read_text
from so8t.tasks.benchmarks.base import (
    Benchmark,
    BenchmarkItem,
    Row,
    choice_item,
    each,
    json_file,
    jsonl_rows,
    table_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_JGLUE = "https://github.com/yahoojapan/JGLUE (datasets/)"
_NLI = {"entailment": "含意", "contradiction": "矛盾", "neutral": "中立"}
_NLI_QUESTION = "前提と仮説の関係を選んでください。\n\n前提：{premise}\n仮説：{hypothesis}\n"


def _train_beside(path: Path) -> Path:
    return path.with_name("train-v1.3.json")


def read_jcommonsenseqa(path: Path) -> Iterator[BenchmarkItem]:
    """Five choices of everyday knowledge."""

    def item(_: int, row: Row) -> BenchmarkItem:
        options = [row.text(f"choice{number}") for number in range(5)]
        key = str(row.values.get("q_id"))
        return choice_item(row, key, row.text("question"), options, row.number("label", 5), "ja")

    yield from each(jsonl_rows(path), item)


def _nli(row: Row, key: str, premise: str, hypothesis: str, label: str) -> BenchmarkItem:
    question = _NLI_QUESTION.format(premise=premise, hypothesis=hypothesis)
    right = list(_NLI).index(label)
    return choice_item(row, key, question, list(_NLI.values()), right, "ja")


def read_jnli(path: Path) -> Iterator[BenchmarkItem]:
    """Entailment, contradiction or neither."""

    def item(_: int, row: Row) -> BenchmarkItem:
        premise, hypothesis = row.text("sentence1"), row.text("sentence2")
        label = row.one_of("label", _NLI)
        return _nli(row, row.text("sentence_pair_id"), premise, hypothesis, label)

    yield from each(jsonl_rows(path), item)


def read_jsick(path: Path) -> Iterator[BenchmarkItem]:
    """JSICK's Japanese sentence pairs."""

    def item(_: int, row: Row) -> BenchmarkItem:
        premise, hypothesis = row.text("sentence_A_Ja"), row.text("sentence_B_Ja")
        label = row.one_of("entailment_label_Ja", _NLI)
        return _nli(row, row.text("pair_ID"), premise, hypothesis, label)

    yield from each(table_rows(path, delimiter="\t"), item)


def read_jsquad(path: Path) -> Iterator[BenchmarkItem]:
    """Answer with words of a passage; the questions of one passage are a cluster."""
    place = (str(path), 1)
    try:
        for article in json_file(path)["data"]:
            for paragraph in article["paragraphs"]:
                passage = str(paragraph["context"])
                title, mark, body = passage.partition(" [SEP] ")
                context = f"{title}\n{body}" if mark else passage
                cluster = hashlib.sha256(passage.encode()).hexdigest()[:12]
                for question in paragraph["qas"]:
                    answers = list(dict.fromkeys(str(a["text"]) for a in question["answers"]))
                    yield BenchmarkItem(
                        key=str(question["id"]),
                        question=(
                            "次の文章を読み、質問に文章中の語句だけで短く答えてください。\n\n"
                            f"{context}\n\n質問：{question['question']}"
                        ),
                        grader={"type": "char_f1", "aliases": answers[1:]},
                        reference=answers[0] if answers else None,
                        answer=answers[0] if answers else "",
                        cluster=cluster,
                        place=place,
                    )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"not the nesting of SQuAD (data, paragraphs, qas, answers): {error!r}",
            file=str(path),
        ) from error


def read_jmmlu(path: Path) -> Iterator[BenchmarkItem]:
    """Four choices of a school subject, named by the file. Upstream has a BOM in some files."""

    def item(number: int, row: Row) -> BenchmarkItem:
        right = "ABCD".index(row.one_of("answer", "ABCD"))
        options = [row.text(letter) for letter in "ABCD"]
        key = f"{path.stem}-{number:04d}"
        return choice_item(row, key, row.text("question"), options, right, "ja")

    yield from each(table_rows(path, ["question", "A", "B", "C", "D", "answer"]), item)


def read_jcommonsensemorality(path: Path) -> Iterator[BenchmarkItem]:
    """Whether an everyday act is acceptable (0) or wrong (1)."""
    question = "次の行為は、道徳的に許容できますか、それとも間違っていますか。\n\n行為：{}\n"

    def item(_: int, row: Row) -> BenchmarkItem:
        key = row.text("")
        text = question.format(row.text("sent"))
        options = ["許容できる", "間違っている"]
        return choice_item(row, key, text, options, row.number("label", 2), "ja")

    yield from each(table_rows(path), item)


_JSEM = {"yes": "はい", "no": "いいえ", "unknown": "どちらとも言えない"}


def read_jsem(path: Path) -> Iterator[BenchmarkItem]:
    """Semantic inference with one or more premises, from the XML files.

    Only the problems labelled yes, no or unknown; the others (undef, and judgements of
    acceptability) ask something else and are left out.
    """
    text = read_text(path, what="data", allow_bom=True)
    try:
        root = ET.fromstring(text)  # noqa: S314 - expat bounds entity expansion; a local file
    except ET.ParseError as error:
        raise DataError(f"no XML: {error}", file=str(path), line=error.position[0]) from error
    for problem in root.iter("problem"):
        answer = (problem.get("answer") or "").strip()
        if answer not in _JSEM:
            continue
        key = problem.get("jsem_id") or ""
        row = Row({}, path, 1)
        premises = [_script(node) for node in problem.findall("p")]
        hypotheses = [_script(node) for node in problem.findall("h")]
        if not key or not all(premises) or len(hypotheses) != 1 or not hypotheses[0]:
            row.fail(f"problem {key!r} lacks a premise, a hypothesis or its jsem_id")
        question = (
            "前提が正しいとき、仮説は正しいと言えますか。\n\n"
            + "\n".join(f"前提：{premise}" for premise in premises)
            + f"\n仮説：{hypotheses[0]}\n"
        )
        right = list(_JSEM).index(answer)
        yield choice_item(row, key, question, list(_JSEM.values()), right, "ja")


def _script(node: ET.Element) -> str:
    return (node.findtext("script") or "").strip()


def benchmarks() -> list[Benchmark]:
    """Describe this module's benchmarks."""
    by_sa = "CC BY-SA 4.0"
    return [
        Benchmark(
            name="jcommonsenseqa",
            description="Japanese everyday knowledge, five choices (JGLUE)",
            licence=by_sa,
            source=_JGLUE,
            metric="accuracy",
            language="ja",
            category="japanese",
            files=("jcommonsenseqa/valid-v1.3.json", "valid-v1.3.json"),
            read=read_jcommonsenseqa,
            shots=_train_beside,
        ),
        Benchmark(
            name="jnli",
            description="Japanese entailment of picture captions, three labels (JGLUE)",
            licence=by_sa,
            source=_JGLUE,
            metric="accuracy",
            language="ja",
            category="japanese",
            files=("jnli/valid-v1.3.json", "valid-v1.3.json"),
            read=read_jnli,
            shots=_train_beside,
        ),
        Benchmark(
            name="jsquad",
            description="Japanese reading comprehension, answers from a passage (JGLUE)",
            licence=by_sa,
            source=_JGLUE,
            metric="character F1",
            language="ja",
            category="reading",
            files=("jsquad/valid-v1.3.json", "valid-v1.3.json"),
            read=read_jsquad,
            shots=_train_beside,
        ),
        Benchmark(
            name="jmmlu",
            description="Japanese school and university subjects, four choices",
            licence=by_sa,
            source="https://github.com/nlp-waseda/JMMLU (JMMLU/)",
            metric="accuracy",
            language="ja",
            category="japanese",
            files=("*.csv", "JMMLU/*.csv"),
            read=read_jmmlu,
        ),
        Benchmark(
            name="jcommonsensemorality",
            description="Japanese everyday ethics: acceptable or wrong",
            licence="MIT",
            source="https://github.com/Language-Media-Lab/commonsense-moral-ja (data/)",
            metric="accuracy",
            language="ja",
            category="safety",
            files=("data_val.csv", "data/data_val.csv"),
            read=read_jcommonsensemorality,
            shots=lambda path: path.with_name("data_train.csv"),
        ),
        Benchmark(
            name="jsick",
            description="Japanese compositional entailment, three labels",
            licence=by_sa,
            source="https://github.com/verypluming/JSICK (jsick/test.tsv)",
            metric="accuracy",
            language="ja",
            category="japanese",
            files=("test.tsv", "jsick/test.tsv"),
            read=read_jsick,
            shots=lambda path: path.with_name("train.tsv"),
        ),
        Benchmark(
            name="jsem",
            description="Japanese formal semantics: does it follow? (yes, no, unknown)",
            licence="BSD-3-Clause",
            source="https://github.com/DaisukeBekki/JSeM (data/v1.0/*.xml)",
            metric="accuracy",
            language="ja",
            category="logic",
            files=("*.xml", "data/v1.0/*.xml"),
            read=read_jsem,
        ),
    ]
