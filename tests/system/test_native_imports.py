"""No child loads native code for the first time while it reads its parent's messages.

On Windows that is a deadlock (see `so8t.system.child`); here it is watched on any system, in every
child of the product, at its real work.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hf_models as hf
import so8t
from excerpts import excerpt
from hf_directories import plain
from so8t.config.schema import Finetune
from so8t.domain.exchange import (
    Arm,
    Continuation,
    EngineRequest,
    Form,
    LoadProfile,
    Message,
    ServedModel,
)
from so8t.engines.distributions import distributions, prompts_of
from so8t.engines.embedded import EmbeddedEngine
from so8t.examples import quickstart
from so8t.journal.check import BackgroundCheck
from so8t.journal.store import Journal
from so8t.models import tokenizer_files
from so8t.models.adapters import merge_in_child
from so8t.models.calibration import make_imatrix
from so8t.models.child_work import run_in_child
from so8t.models.conversion import convert_directory
from so8t.models.finetune import finetune_in_child
from so8t.models.reference import reference_of
from so8t.models.thinking_tokens import add_in_child
from tiny_gguf import write_tiny_gguf

ASK = (Message("user", "One?"),)


def _embedded(place):
    model = ServedModel(Arm.A, str(write_tiny_gguf(place / "m.gguf")), "sha256:tiny")
    texts = (Continuation("one", " two"), Continuation("one", " three"))
    requests = [
        EngineRequest("answer", ASK),
        EngineRequest("choose", ASK, form=Form(choices=("A", "B"))),
        EngineRequest("measure", (), form=Form(texts)),
    ]
    with EmbeddedEngine().open(model, LoadProfile(slots=2, context=256, threads=1)) as session:
        assert len(list(session.serve(requests))) == len(requests)


def _distributions(place):
    model = write_tiny_gguf(place / "m.gguf")
    texts = prompts_of(model, [ASK], threads=1)
    assert distributions(model, texts, 261, per_text=2, follow=True, threads=1).per_text == 2


def _check(place):
    with Journal(place) as journal:
        journal.create_run("small", {}, "0.1")
        assert BackgroundCheck(journal.path).result(60) == ""


def _base(place):
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, place / "base")
    hf.save_model("Qwen2", place / "base", tie_word_embeddings=True)
    return place / "base"


def _thinking(place):
    assert add_in_child(_base(place), place / "tags")["ids"]


def _tokenizer(place):
    out = place / "tokenizer.json"
    # Not through `resolve_tokenizer`: with transformers in this process it needs no child.
    request = {"directory": str(quickstart.paths().base), "out": str(out)}
    run_in_child(tokenizer_files.WORKER, request, what="reading the tokenizer")
    assert out.stat().st_size


def _adapter(place):
    import peft  # noqa: PLC0415 - slow, and only here
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    base = _base(place)
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"]))
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            value.data = value.data + 0.1
    adapted.save_pretrained(place / "adapter")
    merge_in_child(base, place / "adapter", place / "merged", "one")


def _finetune(place, method="so8"):
    settings = Finetune(
        data=[excerpt(place, "train.jsonl", 60)],
        method=method,
        steps=2,
        batch_size=4,
        warmup_steps=1,
        threads=1,
        max_length=96,
    )
    base = quickstart.paths().base
    result = finetune_in_child(base, place / "b", settings, progress=lambda _: None)
    assert result.steps_done == 2


def _finetune_lora(place):
    _finetune(place, "lora")


def _conversion(place):
    plain(place)
    convert_directory(place, place / "q8_0.gguf", "q8_0")


def _calibration(place):
    (place / "text.txt").write_text("One, two, three. " * 200, "utf-8")
    make_imatrix(_base(place), place / "imatrix.gguf", text=place / "text.txt")


def _reference(place):
    assert reference_of(_base(place), threads=1).rows.size


SLOW = pytest.mark.slow  # torch and transformers are loaded, beside this process and in the child
WORK = [
    pytest.param("so8t.engines.embedded_worker", _embedded),
    pytest.param("so8t.engines.distribution_worker", _distributions),
    pytest.param("so8t.journal.check", _check),
    pytest.param("so8t.models.conversion_worker", _conversion),
    pytest.param("so8t.models.calibration_worker", _calibration, marks=SLOW),
    pytest.param("so8t.models.tokenizer_worker", _tokenizer, marks=SLOW),
    pytest.param("so8t.models.thinking_worker", _thinking, marks=SLOW),
    pytest.param("so8t.models.adapter_worker", _adapter, marks=SLOW),
    pytest.param("so8t.models.reference_worker", _reference, marks=SLOW),
    pytest.param("so8t.models.finetune_worker", _finetune, marks=SLOW),
    pytest.param("so8t.models.finetune_worker", _finetune_lora, marks=SLOW, id="lora"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "work"), WORK)
def test_no_native_code_is_loaded_while_a_child_reads(module, work, tmp_path, monkeypatch):
    """From its first message to its last, the child loads native code between two reads only."""
    log = tmp_path / "watch.log"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "import_watch"))
    monkeypatch.setenv("SO8T_IMPORT_WATCH", str(log))
    work(tmp_path)
    lines = log.read_text("utf-8").splitlines()
    assert f"child {module}" in lines
    assert [line for line in lines if line.startswith("native")] == []


def test_every_child_of_the_product_is_watched():
    """A module that serves a parent's messages has its work in the list above."""
    root = Path(so8t.__file__).parent
    serves = re.compile(r"^\s+serve_(messages|work)\(", re.MULTILINE)
    found = {
        ".".join(("so8t", *file.relative_to(root).with_suffix("").parts))
        for file in root.rglob("*.py")
        if serves.search(file.read_text("utf-8"))
    }
    # This one only hands its caller's work on.
    assert found - {"so8t.models.child_work"} == {param.values[0] for param in WORK}
