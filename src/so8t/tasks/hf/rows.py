"""Rows of published files, with the columns and labels that the same set has on the hub."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from so8t.errors import DataError
from so8t.system.textfile import read_text
from so8t.tasks.benchmarks.base import Row, json_file, jsonl_rows, table_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Rows = Iterator[dict[str, Any]]

_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")


def _label(row: Row, column: str, names: Sequence[str]) -> int:
    return list(names).index(row.one_of(column, names))


def _truth(row: Row, column: str) -> int:
    value = row.values.get(column)
    if value not in (True, False):
        row.fail(f"column {column!r} is to be true or false: {value!r}")
    return int(bool(value))


def as_they_are(*columns: str) -> Callable[[Path], Rows]:
    """Make a reader of JSON lines that have the hub's columns already; these must hold text."""

    def read(path: Path) -> Rows:
        for row in jsonl_rows(path):
            yield {column: row.text(column) for column in columns}

    return read


# GLUE -----------------------------------------------------------------------------------------


def cola(path: Path) -> Rows:
    """CoLA: four columns without a header."""
    columns = ("source", "label", "star", "sentence")
    for number, row in enumerate(table_rows(path, columns, delimiter="\t")):
        yield {"sentence": row.text("sentence"), "label": row.number("label", 2), "idx": number}


def sst2(path: Path) -> Rows:
    """SST-2."""
    for number, row in enumerate(table_rows(path, delimiter="\t")):
        yield {"sentence": row.text("sentence"), "label": row.number("label", 2), "idx": number}


def mrpc(path: Path) -> Rows:
    """MRPC, in GLUE's layout or in the authors'."""
    columns = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
    for number, row in enumerate(table_rows(path, delimiter="\t")):
        names = columns if "Quality" in row.values else {name: name for name in columns}
        yield {
            "sentence1": row.text(names["sentence1"]),
            "sentence2": row.text(names["sentence2"]),
            "label": row.number(names["label"], 2),
            "idx": number,
        }


def qqp(path: Path) -> Rows:
    """QQP."""
    for number, row in enumerate(table_rows(path, delimiter="\t")):
        yield {
            "question1": row.text("question1"),
            "question2": row.text("question2"),
            "label": row.number("is_duplicate", 2),
            "idx": number,
        }


def stsb(path: Path) -> Rows:
    """STS-B: similarity from 0 to 5."""
    for number, row in enumerate(table_rows(path, delimiter="\t")):
        try:
            score = float(row.text("score"))
        except ValueError:
            row.fail(f"column 'score' is no number: {row.values['score']!r}")
        if not 0 <= score <= 5:  # noqa: PLR2004 - the scale of the set
            row.fail(f"column 'score' is outside 0 to 5: {score}")
        yield {
            "sentence1": row.text("sentence1"),
            "sentence2": row.text("sentence2"),
            "label": score,
            "idx": number,
        }


def _pairs(path: Path, first: str, second: str, label: str, names: Sequence[str]) -> Rows:
    for number, row in enumerate(table_rows(path, delimiter="\t")):
        yield {
            first: row.text(first),
            second: row.text(second),
            "label": _label(row, label, names),
            "idx": number,
        }


def mnli(path: Path) -> Rows:
    """MNLI; the training file calls its label by the same name."""
    for row in _pairs(path, "sentence1", "sentence2", "gold_label", _NLI):
        yield {"premise": row.pop("sentence1"), "hypothesis": row.pop("sentence2"), **row}


def qnli(path: Path) -> Rows:
    """QNLI."""
    yield from _pairs(path, "question", "sentence", "label", _ENTAILMENT)


def glue_rte(path: Path) -> Rows:
    """RTE of GLUE."""
    yield from _pairs(path, "sentence1", "sentence2", "label", _ENTAILMENT)


def wnli(path: Path) -> Rows:
    """WNLI."""
    yield from _pairs(path, "sentence1", "sentence2", "label", ("0", "1"))


# SuperGLUE ------------------------------------------------------------------------------------


def boolq(path: Path) -> Rows:
    """BoolQ, in SuperGLUE's layout (label) or the authors' (answer)."""
    for number, row in enumerate(jsonl_rows(path)):
        yield {
            "question": row.text("question"),
            "passage": row.text("passage"),
            "idx": number,
            "label": _truth(row, "label" if "label" in row.values else "answer"),
        }


def commitment_bank(path: Path) -> Rows:
    """CB."""
    names = ("entailment", "contradiction", "neutral")
    yield from _entailments(path, names)


def super_rte(path: Path) -> Rows:
    """RTE of SuperGLUE."""
    yield from _entailments(path, _ENTAILMENT)


def _entailments(path: Path, names: Sequence[str]) -> Rows:
    for number, row in enumerate(jsonl_rows(path)):
        yield {
            "premise": row.text("premise"),
            "hypothesis": row.text("hypothesis"),
            "idx": number,
            "label": _label(row, "label", names),
        }


def copa(path: Path) -> Rows:
    """COPA."""
    for number, row in enumerate(jsonl_rows(path)):
        yield {
            **{name: row.text(name) for name in ("premise", "choice1", "choice2")},
            "question": row.one_of("question", ("cause", "effect")),
            "idx": number,
            "label": row.number("label", 2),
        }


def multirc(path: Path) -> Rows:
    """MultiRC: each answer of each question is a row."""
    for row in jsonl_rows(path):
        try:
            passage = row.values["passage"]
            for question in passage["questions"]:
                for answer in question["answers"]:
                    yield {
                        "paragraph": passage["text"],
                        "question": question["question"],
                        "answer": answer["text"],
                        "idx": {
                            "paragraph": row.values["idx"],
                            "question": question["idx"],
                            "answer": answer["idx"],
                        },
                        "label": int(answer["label"]),
                    }
        except (KeyError, TypeError) as error:
            row.fail(f"not the nesting of MultiRC (passage, questions, answers): {error!r}")


def record(path: Path) -> Rows:
    """ReCoRD: each query is a row; entities and answers are the texts at their places."""
    for row in jsonl_rows(path):
        try:
            passage = row.values["passage"]
            text = passage["text"]
            spans = [text[one["start"] : one["end"] + 1] for one in passage["entities"]]
            for query in row.values["qas"]:
                yield {
                    "passage": text,
                    "query": query["query"],
                    "entities": list(dict.fromkeys(spans)),
                    "answers": list(dict.fromkeys(one["text"] for one in query["answers"])),
                    "idx": {"passage": row.values["idx"], "query": query["idx"]},
                }
        except (KeyError, TypeError) as error:
            row.fail(f"not the nesting of ReCoRD (passage, entities, qas): {error!r}")


def wic(path: Path) -> Rows:
    """WiC."""
    for number, row in enumerate(jsonl_rows(path)):
        yield {
            **{name: row.text(name) for name in ("word", "sentence1", "sentence2")},
            **{name: row.number(name, 1 << 20) for name in ("start1", "start2", "end1", "end2")},
            "idx": number,
            "label": _truth(row, "label"),
        }


def wsc(path: Path) -> Rows:
    """WSC, spans as published; the hub's `wsc.fixed` moves a few of them by a word."""
    for number, row in enumerate(jsonl_rows(path)):
        try:
            target = row.values["target"]
            spans = {
                name: target[name]
                for name in ("span1_index", "span2_index", "span1_text", "span2_text")
            }
        except (KeyError, TypeError) as error:
            row.fail(f"no target with two spans: {error!r}")
        yield {"text": row.text("text"), **spans, "idx": number, "label": _truth(row, "label")}


# Japanese -------------------------------------------------------------------------------------


def jcommonsenseqa(path: Path) -> Rows:
    """JCommonsenseQA of JGLUE."""
    for row in jsonl_rows(path):
        yield {
            "q_id": row.values.get("q_id"),
            "question": row.text("question"),
            **{f"choice{number}": row.text(f"choice{number}") for number in range(5)},
            "label": row.number("label", 5),
        }


def jnli(path: Path) -> Rows:
    """JNLI of JGLUE."""
    for row in jsonl_rows(path):
        yield {
            "sentence_pair_id": row.text("sentence_pair_id"),
            "sentence1": row.text("sentence1"),
            "sentence2": row.text("sentence2"),
            "label": _label(row, "label", ("entailment", "contradiction", "neutral")),
        }


def jsquad(path: Path) -> Rows:
    """JSQuAD of JGLUE: each question of each paragraph is a row."""
    try:
        for article in json_file(path)["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {
                        "id": question["id"],
                        "title": article["title"],
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": {
                            "text": [one["text"] for one in question["answers"]],
                            "answer_start": [one["answer_start"] for one in question["answers"]],
                        },
                        "is_impossible": question["is_impossible"],
                    }
    except (KeyError, TypeError) as error:
        raise DataError(
            f"not the nesting of SQuAD (data, paragraphs, qas, answers): {error!r}",
            file=str(path),
        ) from error


def jmmlu(path: Path) -> Rows:
    """JMMLU: one subject a file, without a header, some with a byte order mark."""
    for row in table_rows(path, ("question", "A", "B", "C", "D", "answer")):
        yield {
            "subject": path.stem,
            "question": row.text("question").strip(),
            "choices": [row.text(letter).strip() for letter in "ABCD"],
            "answer": _label(row, "answer", "ABCD"),
        }


def jsem(path: Path) -> Rows:
    """JSeM: the problems labelled yes, no or unknown; the others ask something else."""
    try:
        root = ET.fromstring(read_text(path, what="data", allow_bom=True))  # noqa: S314 - a local file; expat bounds entities
    except ET.ParseError as error:
        raise DataError(f"no XML: {error}", file=str(path), line=error.position[0]) from error
    names = ("yes", "no", "unknown")
    for problem in root.iter("problem"):
        answer = (problem.get("answer") or "").strip()
        if answer not in names:
            continue
        yield {
            "jsem_id": problem.get("jsem_id") or "",
            "section": path.stem,
            "premises": [(node.findtext("script") or "").strip() for node in problem.findall("p")],
            "hypothesis": (problem.findtext("h/script") or "").strip(),
            "label": names.index(answer),
        }


# Others ---------------------------------------------------------------------------------------


def mgsm(path: Path) -> Rows:
    """MGSM: question and number without a header; the rationale is in the training rows only."""
    for row in table_rows(path, ("question", "number"), delimiter="\t"):
        number = row.text("number").replace(",", "").strip()
        if not number.lstrip("-").isdecimal():
            row.fail(f"the answer is no whole number: {number!r}")
        yield {
            "question": row.text("question"),
            "answer": None,
            "answer_number": int(number),
            "equation_solution": None,
        }


def mmlu(path: Path) -> Rows:
    """MMLU, in the hub's columns or the authors' table without a header."""
    if path.suffix == ".jsonl":
        for row in jsonl_rows(path):
            choices = row.values.get("choices")
            if not isinstance(choices, list) or len(choices) != 4:  # noqa: PLR2004 - A to D
                row.fail("column 'choices' is to hold four texts")
            yield {
                "question": row.text("question"),
                "subject": row.text("subject"),
                "choices": [str(choice) for choice in choices],
                "answer": row.number("answer", 4),
            }
        return
    subject = path.stem.rpartition("_")[0]
    for row in table_rows(path, ("question", "A", "B", "C", "D", "answer")):
        yield {
            "question": row.text("question"),
            "subject": subject,
            "choices": [str(row.values[letter]) for letter in "ABCD"],
            "answer": _label(row, "answer", "ABCD"),
        }


def bbh(path: Path) -> Rows:
    """BIG-Bench Hard: one task a file."""
    try:
        for example in json_file(path)["examples"]:
            yield {"input": example["input"], "target": example["target"]}
    except (KeyError, TypeError) as error:
        raise DataError(f"no list of examples: {error!r}", file=str(path)) from error


def truthfulqa(path: Path) -> Rows:
    """TruthfulQA: the multiple-choice targets, made of the lists of answers as the authors do."""
    for row in table_rows(path):
        best = row.text("Best Answer").strip()
        right = _listed(row.text("Correct Answers"))
        wrong = _listed(row.text("Incorrect Answers"))
        right = [best, *(answer for answer in right if answer != best)]
        yield {
            "question": row.text("Question").strip(),
            "mc1_targets": {
                "choices": [best, *wrong],
                "labels": [1, *([0] * len(wrong))],
            },
            "mc2_targets": {
                "choices": [*right, *wrong],
                "labels": [*([1] * len(right)), *([0] * len(wrong))],
            },
        }


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
