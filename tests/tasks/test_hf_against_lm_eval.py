"""Our numbers against `lm_eval --model hf`, on the same model and the same items."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from so8t.domain.exchange import Arm, Decoding, EngineRequest, LoadProfile, ServedModel, Status
from so8t.domain.measured import read_measured
from so8t.engines.embedded import EmbeddedEngine
from so8t.examples import DEMO
from so8t.models.gguf_convert import convert
from so8t.tasks.hf import bridge, catalogue, results
from so8t.tasks.hf.bridge import load_hf_task

if TYPE_CHECKING:
    from pathlib import Path

    from so8t.domain.sample import Sample

BASE = DEMO.parent / "base"
#: The model's own context, which lm-eval rolls its windows over.
CONTEXT = 512
#: Tokens of a generated answer on both sides: enough to tell one greedy answer from another.
GENERATED = 32
#: Nats by which a likelihood may differ from transformers' in float32.
TOLERANCE = 0.02
WORDS = ["red", "blue", "cat", "dog", "tree", "house", "river", "moon", "not", "is", "was", "three"]


def _sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 12))).capitalize() + "."


def write_data(directory: Path) -> Path:
    """Write small sets of our own making, in the layouts that the sets are published in."""
    rng = random.Random(7)
    rows = {
        "CoLA/dev.tsv": [f"x\t{rng.randrange(2)}\t\t{_sentence(rng)}" for _ in range(30)],
        "CoLA/train.tsv": [f"x\t{rng.randrange(2)}\t\t{_sentence(rng)}" for _ in range(8)],
        "MRPC/dev.tsv": [
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
            *(f"{rng.randrange(2)}\t1\t2\t{_sentence(rng)}\t{_sentence(rng)}" for _ in range(24)),
        ],
        "STS-B/dev.tsv": [
            "index\tsentence1\tsentence2\tscore",
            *(
                f"{n}\t{_sentence(rng)}\t{_sentence(rng)}\t{rng.randrange(21) / 4}"
                for n in range(16)
            ),
        ],
        "COPA/val.jsonl": [
            f'{{"premise": "{_sentence(rng)}", "choice1": "{_sentence(rng)}", '
            f'"choice2": "{_sentence(rng)}", "question": "cause", "label": {rng.randrange(2)}}}'
            for _ in range(20)
        ],
        "mgsm_ja.tsv": [f"りんごが{n}個あります。何個ですか？\t{n}" for n in range(2, 10)],
    }
    for name, lines in rows.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # any other task of lm-eval by name, from the splits' own files
    choices = [
        f'{{"id": "{n}", "question": "{_sentence(rng)}", "answerKey": "{rng.choice("ABCD")}",'
        f' "choices": {{"text": ["{_sentence(rng)}", "cat", "the red house", "{_sentence(rng)}"],'
        ' "label": ["A", "B", "C", "D"]}}'
        for n in range(20)
    ]
    (directory / "arc_easy").mkdir()
    for split in ("train", "validation", "test"):
        (directory / "arc_easy" / f"{split}.jsonl").write_text(
            "\n".join(choices) + "\n", encoding="utf-8"
        )
    pages = [f'{{"page": "{" ".join(_sentence(rng) for _ in range(60))}"}}' for _ in range(2)]
    folder = directory / "wikitext"
    folder.mkdir()
    (folder / "test.jsonl").write_text("\n".join(pages) + "\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "base.gguf"
    convert(BASE, path, "f32")
    return path


@pytest.fixture(scope="module")
def theirs() -> Any:
    pytest.importorskip("lm_eval")
    torch = pytest.importorskip("torch")
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415 - an extra

    torch.set_num_threads(1)
    return HFLM(pretrained=str(BASE), device="cpu", dtype="float32", batch_size=8)


def _ask(model: Path, samples: list[Sample], *, batch: bool = True) -> dict[str, Any]:
    requests = [
        EngineRequest(sample.id, sample.messages, Decoding(max_tokens=GENERATED), sample.form)
        for sample in samples
    ]
    engine = EmbeddedEngine(batch_likelihood=batch)
    served = ServedModel(Arm.A, str(model), "sha256:0")
    with engine.open(served, LoadProfile(slots=2, context=CONTEXT, threads=1)) as session:
        return {reply.key: reply for reply in session.serve(requests)}


def _evaluated(theirs: Any, name: str, data: Path, shots: int | None) -> tuple[Any, Any]:
    """Run lm-eval itself over the task; return its task scores and its samples.

    As its `simple_evaluate` does, but for what that adds to the results: a list of all packages
    that are installed, which takes longer than the task.
    """
    from lm_eval import evaluate  # noqa: PLC0415 - an extra

    asked = catalogue.definition(name)
    task = catalogue.build(
        name,
        bridge._local(name, asked, data, bridge._shots(asked, shots))
        | {"num_fewshot": bridge._shots(asked, shots)},
    )
    loaded = catalogue.manager(name).load([task])
    if task.OUTPUT_TYPE == "generate_until":
        budget = {"max_gen_toks": GENERATED}
        task.set_config(key="generation_kwargs", value=budget, update=True)
    task.set_fewshot_seed(seed=1234)
    found = evaluate(theirs, loaded, bootstrap_iters=0)
    return found["results"][name], found["samples"][name]


def _tie(values: list[float]) -> bool:
    """Whether the two likeliest options are so near that either may win."""
    best, second = sorted(values, reverse=True)[:2]
    return best - second < 2 * TOLERANCE


CASES = [
    ("glue/cola", None),
    ("glue/cola", 2),
    ("glue/mrpc", None),
    ("glue/stsb", None),
    ("superglue/copa", None),
    ("arc_easy", 2),
    ("wikitext", None),
    ("japanese/mgsm-ja", None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shots"), CASES)
def test_likelihoods_and_scores_equal_those_of_lm_eval(
    name: str, shots: int | None, data: Path, model: Path, theirs: Any
) -> None:
    """Each log likelihood is within 0.02 of lm-eval's, and task scores are equal.

    Scores may differ only where an item's best options are nearer than the tolerance.
    """
    folder = data / "wikitext" if name == "wikitext" else data
    samples = load_hf_task(name, data_dir=folder, num_fewshot=shots)
    replies = _ask(model, samples)
    task = samples[0].task
    expected, logged = _evaluated(theirs, task, folder, shots)
    by_doc = {line["doc_id"]: line for line in logged}
    assert set(by_doc) == {sample.grader["doc_id"] for sample in samples}
    ties = 0
    for sample in samples:
        reply, line = replies[sample.id], by_doc[sample.grader["doc_id"]]
        assert reply.status is not Status.FAILED, reply.reason
        assert sample.form is not None
        if not sample.form.continuations:
            assert sample.form.prompt == line["arguments"][0][0]
            # llama.cpp ends an answer at the end of a turn as well, transformers at EOS only
            assert line["resps"][0][0].startswith(reply.text)
            continue
        ours = [one.logprob for one in read_measured(reply.text).likelihoods]
        asked = [[one.context, one.text] for one in sample.form.continuations]
        if asked[0][0] is None:
            assert ours[0] == pytest.approx(line["resps"][0][0], abs=TOLERANCE)
            continue
        assert asked == [list(argument) for argument in line["arguments"]]
        assert ours == pytest.approx([one[0][0] for one in line["resps"]], abs=TOLERANCE)
        ties += _tie(ours)
    found = results.task_result(
        results.Answered(sample, replies[sample.id].text)
        for sample in sorted(samples, key=lambda one: one.grader["doc_id"])
    )
    for key, score in found.scores.items():
        theirs_score = expected[key]
        if name in {"glue/stsb", "wikitext"}:  # made of the likelihoods themselves
            assert score == pytest.approx(theirs_score, rel=5e-3, abs=5e-3)
        elif score is None:
            assert math.isnan(theirs_score)
        elif score != theirs_score:
            assert ties, f"{key}: {score} is not {theirs_score}, and no item is a near tie"


def test_both_ways_of_measuring_agree(data: Path, model: Path) -> None:
    """Batches through the C interface and tokens forced one by one give the same likelihoods."""
    samples = [
        *load_hf_task("superglue/copa", data_dir=data, limit=4),
        *load_hf_task("wikitext", data_dir=data / "wikitext", limit=1),
    ]
    batched, forced = (_ask(model, samples, batch=batch) for batch in (True, False))
    for sample in samples:
        fast, slow = (read_measured(found[sample.id].text) for found in (batched, forced))
        assert (fast.way, slow.way) == ("batch", "grammar")
        for one, other in zip(fast.likelihoods, slow.likelihoods, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=max(TOLERANCE, one.tokens / 100))
            assert (one.tokens, one.greedy) == (other.tokens, other.greedy)
