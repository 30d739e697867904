"""Whatever a file holds, the readers give results or a DataError, never anything else."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_files import inspect_eval, inspect_header, inspect_sample, lm_line, review

from so8t.errors import DataError, VerdictInputError
from so8t.results.comparison import compare
from so8t.results.detect import read_results
from so8t.results.summary import summary

FUZZ = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
# Fields that the readers look for, so that the fuzz gets past the first check.
NAMES = [
    "item", "id", "score", "task", "cluster", "question", "doc_id", "doc", "filter", "metrics",
    "acc", "sample_score", "messages", "index", "version", "eval", "samples", "epoch", "scores",
]  # fmt: skip


def judge(path) -> None:
    """Read a file and compare it with itself; the result can be printed as JSON."""
    try:
        found = compare(read_results(str(path)), read_results(str(path)))
    except (DataError, VerdictInputError) as error:
        str(error).encode("utf-8")
        return
    json.dumps(summary(found), ensure_ascii=False, allow_nan=False).encode("utf-8")


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path, content):
    """Any bytes are results or a DataError."""
    path = tmp_path / "any"
    path.write_bytes(content)
    judge(path)


@FUZZ
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, min_size=1), min_size=1, max_size=4))
def test_any_objects(tmp_path, lines):
    """Any JSON objects with the right names and the wrong values are results or a DataError."""
    path = tmp_path / "any.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    judge(path)


@FUZZ
@given(
    st.lists(st.lists(st.text(max_size=6), min_size=2, max_size=4), max_size=5),
    st.sampled_from(["item,score", "item;score;task", "id\tscore\tcluster\tx", "Item,Score,a,b"]),
)
def test_any_cells(tmp_path, rows, header):
    """Any cells below a right header are results or a DataError."""
    path = tmp_path / "any.csv"
    lines = [header, *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    judge(path)


@FUZZ
@given(JSON, JSON, JSON, st.integers(0, 2))
def test_any_values_in_logs(tmp_path, name, value, more, kind):
    """Any value in any place of a well-formed log is a result or a DataError."""
    path = tmp_path / "log"
    if kind == 0:
        line = lm_line(0, acc=value) | {"filter": more, "doc_hash": more, "doc_id": name}
        path.write_text(json.dumps(line), encoding="utf-8")
    elif kind == 1:
        line = review(0, {"acc": value}) | {"messages": more}
        line["sample_score"]["group_id"] = name
        path.write_text(json.dumps(line), encoding="utf-8")
    else:
        sample = inspect_sample("q", {"match": value}, metadata=more) | {"id": name}
        header = inspect_header(planned=[name], status=more)
        inspect_eval(path, [sample], header)
    judge(path)


def test_damaged_archives(tmp_path):
    """An archive with any byte changed or missing is a result or a DataError."""
    samples = [inspect_sample(n, "C", metadata={"subject": "law"}) for n in range(20)]
    whole = inspect_eval(tmp_path / "whole.eval", samples).read_bytes()
    path = tmp_path / "broken.eval"
    chance = random.Random(1)
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(2, len(broken))] = chance.randrange(256)
        if chance.random() < 0.2:
            del broken[chance.randrange(len(broken)) :]
        path.write_bytes(bytes(broken))
        judge(path)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"item": ' * 50_000,
        '{"item": 1, "score": ' + "9" * 5000 + "}",
        '{"item": ' + "9" * 5000 + ', "score": 1}',
        '{"item": "\\ud800", "score": 1}',
        '{"item": "x", "score": 1, "a\\ud800": "b"}',
        '{"item": "x", "score": 1e999}',
        '{"item": "x", "score": "1_0"}',
        "item,score\n" + "x" * 200_000 + ",1\n",
        '"item","score"\n"' + "x" * 200_000,
        "PK\x03\x04",
        "{}",
        "[]",
        "null",
    ],
)
def test_hostile_files(tmp_path, content):
    """Nesting, huge numbers, lone surrogates and endless fields are refused, not fallen over."""
    path = tmp_path / "hostile"
    path.write_text(content, encoding="utf-8")
    judge(path)
