"""Tasks of lm-eval from local files: what loads, what is refused, what becomes of an answer."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest

from so8t.domain.measured import ChoiceMethod, Likelihood, write_choice, write_likelihoods
from so8t.domain.sample import Grade, Sample
from so8t.errors import DataError, PrerequisiteError, UsageError
from so8t.results.lm_eval import read_directory
from so8t.system.plugins import nearest
from so8t.tasks.graders import grade, grader_digest, is_binary
from so8t.tasks.hf.bridge import load_hf_task
from so8t.tasks.hf.catalogue import GROUPS
from so8t.tasks.hf.local import _known, expected_file
from so8t.tasks.hf.results import Answered, write_summary, write_task
from so8t.tasks.hf.scoring import item_score

pytest.importorskip("lm_eval")

#: Task, folder of the shared data, few-shot examples, items that it has there.
COUNTS = [
    ("glue/cola", "glue", None, 263),
    ("glue/sst2", "glue", None, 436),
    ("glue/mnli", "glue", 2, 2),
    ("glue/qnli", "glue", 2, 2),
    ("glue/rte", "glue", 2, 2),
    ("glue/stsb", "glue", 2, 2),
    ("superglue/boolq", "superglue", 2, 2),
    ("superglue/boolq", "boolq", None, 500),
    ("superglue/cb", "superglue", None, 56),
    ("superglue/copa", "superglue", 2, 2),
    ("superglue/multirc", "superglue", None, 62),
    ("superglue/record", "superglue", None, 2),
    ("superglue/rte", "superglue", None, 139),
    ("superglue/wic", "superglue", 2, 2),
    ("superglue/wsc", "superglue", 2, 2),
    ("japanese/jcommonsenseqa", "jglue", 3, 1119),
    ("japanese/jnli", "jglue", 0, 500),
    ("japanese/jsquad", "jglue", 0, 508),
    ("japanese/jsem", "jsem", None, 822),
    ("japanese/jmmlu", "jmmlu", None, 828),
    ("japanese/mgsm-ja", "mgsm", None, 125),
]
#: The same for tasks that only lm-eval's whole index knows, which takes ten seconds to read.
OTHERS = [
    ("wnli", "glue", None, 2),
    ("mmlu_anatomy", "mmlu", 5, 135),
    ("gsm8k", "gsm8k", None, 500),
    ("truthfulqa_mc1", "truthfulqa", None, 409),
    ("truthfulqa_mc2", "truthfulqa", None, 409),
    ("bbh_zeroshot_navigate", "bbh", None, 125),
]


@pytest.fixture
def copa(tmp_path: Path) -> list[Sample]:
    rows = [
        {
            "premise": f"The cat {n} was wet.",
            "choice1": "It rained.",
            "choice2": "It slept.",
            "question": "cause",
            "label": n % 2,
        }
        for n in range(6)
    ]
    (tmp_path / "COPA").mkdir()
    (tmp_path / "COPA" / "val.jsonl").write_text(
        "\n".join(json.dumps(row) for row in rows), encoding="utf-8"
    )
    return load_hf_task("superglue/copa", data_dir=tmp_path)


def _measured(*values: float) -> str:
    return write_likelihoods([Likelihood(value, 2, greedy=False) for value in values], "batch")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder", "shots", "count"), [*COUNTS, *OTHERS])
def test_the_published_sets_load_whole(
    name: str, folder: str, shots: int | None, count: int, shared_data: Path
) -> None:
    """Every item of the real files becomes a sample with one question, and grades."""
    samples = load_hf_task(name, data_dir=shared_data / folder, num_fewshot=shots)
    assert len(samples) == count
    assert len({sample.id for sample in samples}) == count
    first = samples[0]
    assert first.form is not None
    said = _measured(*range(-1, -1 - len(first.form.continuations), -1))
    score = grade(first, said if first.form.continuations else "18")
    assert score.grade is Grade.SCORED


@pytest.mark.parametrize(("train", "shots"), [(False, 0), (True, 1)])
def test_qqp_is_read_in_glues_layout(train: bool, shots: int, tmp_path: Path) -> None:
    """Both questions and the label come from their columns, quotes as they stand."""
    rows = [
        (f'How "odd" is {n}?', f"Is {n} odd, or how odd?", n % 2)
        for n in range(6)
    ]  # fmt: skip
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    text = "\n".join([head, *(f"{n}\t1\t2\t{a}\t{b}\t{c}" for n, (a, b, c) in enumerate(rows))])
    (tmp_path / "QQP").mkdir()
    for name in ("dev.tsv", "train.tsv") if train else ("dev.tsv",):
        (tmp_path / "QQP" / name).write_text(text + "\n", encoding="utf-8")
    samples = load_hf_task("glue/qqp", data_dir=tmp_path, num_fewshot=shots)
    assert [sample.id for sample in samples] == [f"qqp/{n}" for n in range(6)]
    for sample, (first, second, label) in zip(samples, rows, strict=True):
        assert sample.form is not None
        context = sample.form.continuations[0].context or ""
        own = f"Question 1: {first}\nQuestion 2: {second}\n"
        assert own in context
        assert context.count("Question 1:") == 1 + shots
        assert [one.text.strip() for one in sample.form.continuations] == ["no", "yes"]
        wanted = _measured(-1.0, -2.0) if label == 0 else _measured(-2.0, -1.0)
        assert grade(sample, wanted).value == 1.0


def test_a_label_of_qqp_outside_the_set_is_refused(tmp_path: Path) -> None:
    """A label that is neither 0 nor 1 is refused with file and line."""
    (tmp_path / "QQP").mkdir()
    path = tmp_path / "QQP" / "dev.tsv"
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    path.write_text(f"{head}\n0\t1\t2\tA?\tB?\t1\n1\t1\t2\tA?\tB?\t3\n", encoding="utf-8")
    with pytest.raises(DataError, match="0 to 1") as caught:
        load_hf_task("glue/qqp", data_dir=tmp_path)
    assert (caught.value.file, caught.value.line) == (str(path), 3)


def test_mgsm_is_told_to_end_where_lm_eval_ends_it(tmp_path: Path) -> None:
    """The texts at which an answer ends are those of lm-eval's own definition of the task."""
    from so8t.tasks.hf import catalogue  # noqa: PLC0415 - lm-eval is looked for first

    (tmp_path / "mgsm_ja.tsv").write_text(
        "りんごが2個あります。何個ですか？\t2\n", encoding="utf-8"
    )
    (sample,) = load_hf_task("japanese/mgsm-ja", data_dir=tmp_path)
    options = catalogue.definition("mgsm_direct_ja")["generation_kwargs"]
    assert sample.form is not None
    assert options["until"]
    assert sample.form.stop == tuple(options["until"])
    assert options["do_sample"] is False


def test_a_limit_draws_with_the_seed(shared_data: Path) -> None:
    """A limited task is a random subset that the seed alone decides, not the first items."""
    folder = shared_data / "superglue"
    draws = [
        [one.id for one in load_hf_task("superglue/cb", data_dir=folder, limit=10, seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[0] != [f"cb/{number}" for number in range(10)]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Data that is not there is refused with the file that would provide it."""
    with pytest.raises(PrerequisiteError, match=r"CoLA.dev\.tsv"):
        load_hf_task("glue/cola", data_dir=tmp_path)
    with pytest.raises(PrerequisiteError, match="is not there"):
        load_hf_task("glue/cola", data_dir=tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("group", ["japanese", "superglue"])
def test_a_whole_group_loads_from_one_folder(group: str, shared_data: Path) -> None:
    """Each set of a group is found in the subfolder that has its usual name."""
    samples = load_hf_task(group, data_dir=shared_data, num_fewshot=0, limit=2)
    assert {one.task for one in samples} == set(GROUPS[group].values())


def test_a_missing_file_is_expected_beside_its_sibling(tmp_path: Path) -> None:
    """The examples' file is named in the folder in which the questions were found."""
    folder = tmp_path / "sets" / "jglue" / "jnli-v1.3"
    folder.mkdir(parents=True)
    row = {"sentence_pair_id": "0", "sentence1": "犬。", "sentence2": "猫。", "label": "neutral"}
    (folder / "valid-v1.3.json").write_text(json.dumps(row), encoding="utf-8")
    assert len(load_hf_task("japanese/jnli", data_dir=tmp_path, num_fewshot=0)) == 1
    # Of another set, as its folder tells.
    (tmp_path / "train-v1.3.json").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(PrerequisiteError) as caught:
        load_hf_task("japanese/jnli", data_dir=tmp_path)
    assert str(folder / "train-v1.3.json") in caught.value.message


@pytest.mark.parametrize(("folder", "depth"), [("WNLI", 0), ("tiny/WNLI", 1), ("", 2)])
def test_the_nearest_folder_of_a_set_is_read(folder: str, depth: int, tmp_path: Path) -> None:
    """Of several folders with a set's name the nearest counts; a file in none comes last."""
    known = _known("nyu-mll/glue", "wnli")
    assert known is not None
    for place in ("WNLI", "tiny/WNLI", "")[depth:]:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "dev.tsv").write_text("x", encoding="utf-8")
    assert known.find(tmp_path, ["validation"]) == {"validation": [tmp_path / folder / "dev.tsv"]}


@pytest.mark.parametrize(
    ("name", "config", "found", "missing"),
    [
        ("cais/mmlu", "anatomy", "test/anatomy_test.csv", "dev/anatomy_dev.csv"),
        ("aps/super_glue", "boolq", "boolq/dev.jsonl", "boolq/train.jsonl"),
        ("allenai/ai2_arc", "ARC-Easy", "t/validation.csv", "t/dev.csv"),
    ],
)
def test_what_is_missing_has_the_names_of_what_is_there(
    name: str, config: str, found: str, missing: str, tmp_path: Path
) -> None:
    """The file that is named belongs to the same of several layouts."""
    (tmp_path / found).parent.mkdir()
    (tmp_path / found).write_text("x", encoding="utf-8")
    there = "test" if name == "cais/mmlu" else "validation"
    wanted = Path(missing).stem.rpartition("_")[2]
    assert expected_file("t", name, config, wanted, tmp_path, [there]) == str(tmp_path / missing)


def test_few_shot_examples_need_their_file(tmp_path: Path) -> None:
    """Examples are never taken from the questions: without their split the file is named."""
    (tmp_path / "CoLA").mkdir()
    (tmp_path / "CoLA" / "dev.tsv").write_text("x\t1\t\tA dog runs.\n", encoding="utf-8")
    assert len(load_hf_task("glue/cola", data_dir=tmp_path)) == 1
    with pytest.raises(PrerequisiteError, match=r"CoLA.train\.tsv") as caught:
        load_hf_task("glue/cola", data_dir=tmp_path, num_fewshot=2)
    assert "num_fewshot to 0" in (caught.value.hint or "")


@pytest.mark.slow
def test_a_task_without_data_dir_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that only a script could load is refused with the way out, network or not."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PrerequisiteError, match="JMMLU") as caught:
        load_hf_task("japanese/jmmlu")
    assert "data_dir" in (caught.value.hint or "")


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    """A name that nobody knows gets the nearest one."""
    with pytest.raises(UsageError) as caught:
        load_hf_task("glue/colla", data_dir=tmp_path)
    assert "cola" in (caught.value.hint or "")


def test_a_hint_lists_some_names_and_the_number_of_the_others() -> None:
    """Of the thousands of tasks that lm-eval knows a message shows a few."""
    names = [f"task_{number}" for number in range(14_700)]
    assert nearest("task_99x", names).startswith("did you mean 'task_99'?")
    assert nearest("task_99x", names).endswith(" more")
    assert nearest("qqqq", names).endswith("and 14,660 more")
    assert nearest("qqqq", ["one", "two"]) == "known: one, two"


@pytest.mark.parametrize("label", ['"answerKey": "Z"', '"answerKey": ""', '"nothing": 1'])
def test_a_row_that_is_no_question_is_refused_with_file_and_line(
    label: str, tmp_path: Path
) -> None:
    """So it is in a set whose columns only lm-eval's definition knows."""
    choices = '"choices": {"text": ["a", "b"], "label": ["A", "B"]}'
    row = f'{{"id": "1", "question": "What?", {choices}, '
    path = tmp_path / "test.jsonl"
    path.write_text(f'{row}"answerKey": "A"}}\n\n{row}{label}}}\n', encoding="utf-8")
    with pytest.raises(DataError, match="row 2") as caught:
        load_hf_task("arc_easy", data_dir=tmp_path)
    assert (caught.value.file, caught.value.line) == (str(path), 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x\t2\t\tA label outside.", "0 to 1"),
        ("x\t1\t\t", "no text"),
        ("x\t1", "cells"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(row: str, message: str, tmp_path: Path) -> None:
    """A label outside the set, an empty text and a torn row are refused where they stand."""
    (tmp_path / "CoLA").mkdir()
    path = tmp_path / "CoLA" / "dev.tsv"
    path.write_text(f"x\t1\t\tA dog runs.\n{row}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load_hf_task("glue/cola", data_dir=tmp_path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)


def test_both_lanes_grade_by_the_same_metric(copa: list[Sample]) -> None:
    """Likelihoods and a chosen label give the same score for the same choice."""
    first, second = copa[:2]
    assert is_binary(first.grader)
    assert grade(first, _measured(-1.0, -2.0)).value == 1.0
    assert grade(second, _measured(-1.0, -2.0)).value == 0.0
    chosen = write_choice(ChoiceMethod.FIRST_TOKEN, 0, [-0.1, -3.0])
    assert grade(first, chosen).value == 1.0
    assert "first_token" in (grade(first, chosen).reason or "")
    assert "exact" in (grade(first, _measured(-1.0, -2.0)).reason or "")


def test_an_answer_of_another_kind_is_unscored(copa: list[Sample]) -> None:
    """What cannot be graded is unscored with the reason, never zero."""
    for text in ("I think A.", _measured(-1.0), "{}"):
        score = grade(copa[0], text)
        assert score.grade is Grade.UNSCORED
        assert score.value is None


def test_scores_of_other_rules_are_told_apart(copa: list[Sample]) -> None:
    """The digest of the rules is the same for all items of a task and changes with the metric."""
    digests = {grader_digest(sample.grader) for sample in copa}
    assert len(digests) == 1
    assert grader_digest({**copa[0].grader, "metric": "f1,none"}) not in digests


@pytest.mark.parametrize(
    ("value", "score"),
    [(1, 1.0), (0.25, 0.25), ((1, 1), 1.0), ((1, 0), 0.0), (([0, 2], 2), 1.0), (57.0, None)],
)
def test_item_scores(value: object, score: float | None) -> None:
    """A metric's value is a score as it is, by agreement of its label, or none at all."""
    assert item_score(value) == score


def test_files_are_read_back(copa: list[Sample], tmp_path: Path) -> None:
    """What is written in lm-eval's format is read by our own `compare` with the same scores."""
    answered = [
        Answered(sample, _measured(-1.0 - (number % 3), -2.0)) for number, sample in enumerate(copa)
    ]
    date = "2026-11-23T10:00:00.123456+00:00"
    result = write_task(tmp_path / "b", "copa", answered, date=date)
    write_summary(tmp_path / "b", {"copa": result}, label="B", date=date)
    items = read_directory(tmp_path / "b").items
    expected = {
        str(one.sample.grader["doc_id"]): grade(one.sample, one.text).value for one in answered
    }
    assert {item.id: item.scores["acc,none"][0] for item in items} == expected
    (file,) = (tmp_path / "b").glob("results_*.json")
    plain = json.loads(file.read_text(encoding="utf-8"))
    assert plain["results"]["copa"]["acc,none"] == sum(expected.values()) / len(expected)
    spread = statistics.stdev(expected.values()) / math.sqrt(len(expected))
    assert plain["results"]["copa"]["acc_stderr,none"] == pytest.approx(spread)
