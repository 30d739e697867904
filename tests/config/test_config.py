"""A config is read strictly, and every complaint says where."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from so8t.config.load import config_schema, load_config, read_config
from so8t.config.schema import RunConfig
from so8t.errors import ConfigError
from so8t.examples import CONFIGS, DEMO

GOOD = """\
name: small
a:
  source: {hf: ./base}
b:
  finetune:
    data: [train.jsonl]
    steps: 3
engine:
  slots: auto
benchmark:
  suites: [suite.jsonl]
"""


@pytest.fixture
def write(tmp_path):
    """Write a config and return its path."""

    def writer(text: str | bytes) -> Path:
        path = tmp_path / "so8t.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return writer


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    return caught.value.message


def test_paths_are_relative_to_the_file(write):
    """A run can be started from any directory; only `output` follows the person's own."""
    path = write(GOOD)
    config = load_config(path)
    assert config.b.finetune.data == [path.parent / "train.jsonl"]
    assert config.benchmark.suites == [path.parent / "suite.jsonl"]
    assert config.a.source.hf == str(path.parent / "base")
    assert config.output == Path.cwd() / "runs"


def test_an_id_on_the_hub_stays_an_id(write):
    """`owner/name` that is no directory here is looked for on the hub."""
    config = load_config(write(GOOD.replace("./base", "Qwen/Qwen2.5-0.5B")))
    assert config.a.source.hf == "Qwen/Qwen2.5-0.5B"


def test_a_directory_that_looks_like_an_id_is_a_directory(write, tmp_path):
    """What is there wins over what could be on the hub."""
    (tmp_path / "Qwen" / "mine").mkdir(parents=True)
    config = load_config(write(GOOD.replace("./base", "Qwen/mine")))
    assert config.a.source.hf == str(tmp_path / "Qwen" / "mine")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "    steps: 3",
            "    stepz: 3",
            ":7:5: unknown key 'b.finetune.stepz'. Did you mean 'steps'?",
        ),
        ("engine:", "enginee:", ":8:1: unknown key 'enginee'. Did you mean 'engine'?"),
        ("    steps: 3", "    zzzz: 3", "Known keys: method, data"),
        ("    steps: 3", "    steps: many", ":7:5: b.finetune.steps: "),
        ("name: small", "name: ../up", ":1:1: name: "),
        ("  slots: auto", "  slots: -1", ":9:3: engine.slots: "),
        ("  slots: auto", "  slots: [1]", ":9:3: engine.slots: "),
        ("    data: [train.jsonl]", "    data: []", ":6:5: b.finetune.data: "),
        ("  suites: [suite.jsonl]", "  suites: [1, {}]", "benchmark.suites.0: "),
        ("name: small\n", "", "'name' is missing"),
        ("  source: {hf: ./base}", "  source: {}", "exactly one of hf, gguf, ollama and served"),
        ("{hf: ./base}", "{hf: x, gguf: y}", "exactly one of hf, gguf, ollama and served"),
        ("{hf: ./base}", "{gguf: y, revision: z}", "revision belongs to an hf source"),
        ("{hf: ./base}", "{gguf: y}", "b.finetune needs a.source.hf"),
        ("b:\n", "b:\n  source: {hf: x}\n", "either a source or finetune"),
        ("  suites: [suite.jsonl]", "  suites: []", "nothing to ask"),
        ("verdict", "verdict", None),
    ],
)
def test_a_wrong_config_is_explained(write, old, new, words):
    """File, line, column, what is wrong, and the nearest key."""
    path = write(GOOD.replace(old, new, 1))
    if words is None:
        assert load_config(path).name == "small"
        return
    message = complaint(path)
    assert message.startswith(f"{path}:")
    assert words in message


def test_an_ollama_source_needs_the_ollama_engine(write):
    """A tag means nothing to the embedded engine."""
    text = GOOD.replace("{hf: ./base}", "{ollama: x}").replace(
        "  finetune:\n    data: [train.jsonl]\n    steps: 3\n", "  source: {ollama: y}\n"
    )
    assert "needs engine.kind: ollama" in complaint(write(text))


def test_several_complaints_are_told_at_once(write):
    """A person mends them all before the next try."""
    text = GOOD.replace("steps: 3", "steps: x").replace("slots: auto", "slots: 0")
    message = complaint(write(text))
    assert "b.finetune.steps" in message
    assert "engine.slots" in message


def test_many_complaints_are_counted(write):
    """Twenty unknown keys do not fill the screen."""
    message = complaint(write(GOOD + "".join(f"x{n}: 1\n" for n in range(20))))
    assert "and 10 more" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2\n", "duplicate key"),
        ("- 1\n", "a mapping of keys"),
        ("", "a mapping of keys"),
        ("a: \x07", "not valid YAML"),
        (
            "名前: \x93\xfa".encode().replace("名前".encode(), "名前".encode("shift_jis")),
            "not UTF-8",
        ),
    ],
)
def test_what_is_no_config_is_refused(write, content, words):
    """Broken YAML, another document, another encoding: each says which."""
    assert words in complaint(write(content))


def test_a_missing_config_names_the_command_that_makes_one(tmp_path):
    """The hint is the next thing to type."""
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yaml")
    assert "so8t init" in caught.value.hint
    assert "directory" in complaint(tmp_path)


def test_overrides_win_over_the_file(write):
    """`--set` reaches any key, also one that the file leaves out."""
    path = write(GOOD)
    config = load_config(path, {"b.finetune.steps": "0", "verdict.stop": "full", "output": "/x"})
    assert (config.b.finetune.steps, config.verdict.stop) == (0, "full")
    with pytest.raises(ConfigError, match="name is no mapping"):
        load_config(path, {"name.x": 1})
    with pytest.raises(ConfigError, match=r"unknown key .engine\.slotz"):
        load_config(path, {"engine.slotz": 1})


def test_yaml_words_stay_words(write):
    """`no` is a word, not False, as YAML 1.2 has it."""
    assert load_config(write(GOOD + "language: ja\n")).language == "ja"
    assert load_config(write(GOOD.replace("name: small", "name: no"))).name == "no"


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, len(GOOD)),
    st.text("{}[]:,-#&*!|>'\"%@` \n\tabz019\x00é犬", max_size=6),
    st.integers(0, 8),
)
def test_no_input_gives_anything_but_a_config_or_a_config_error(tmp_path, at, put, cut):
    """A mutated config is read or refused with a place; it never ends in a traceback."""
    path = tmp_path / "mutated.yaml"
    path.write_text(GOOD[:at] + put + GOOD[at + cut :])
    try:
        read: object = load_config(path)
    except ConfigError as error:
        read = error.message
    assert isinstance(read, RunConfig) or str(read).startswith(str(path))


@pytest.mark.parametrize("path", [*CONFIGS.values(), DEMO], ids=lambda path: path.stem)
def test_every_example_is_a_valid_config(path):
    """What ships loads, and the JSON Schema for editors agrees."""
    assert load_config(path).name
    document = YAML(typ="safe").load(path.read_text())
    jsonschema.validate(document, json.loads(config_schema()))


def test_the_schema_refuses_what_the_program_refuses():
    """An editor marks an unknown key before the program sees it."""
    document = YAML(typ="safe").load(GOOD) | {"enginee": 1}
    with pytest.raises(jsonschema.ValidationError, match="enginee"):
        jsonschema.validate(document, json.loads(config_schema()))


def test_the_committed_schema_is_current():
    """docs/run.schema.json is what `so8t validate --schema` prints."""
    committed = Path(__file__).parents[2] / "docs" / "run.schema.json"
    assert committed.read_text(encoding="utf-8") == config_schema()


IMATRIX = [
    ({"quantization": "q4_k_m", "imatrix": "auto"}, {}, "needs a text"),
    ({"quantization": "q8_0", "imatrix": "m.gguf"}, {}, "no effect on q8_0"),
    ({"imatrix": "auto"}, {"calibration": "t.txt"}, "no effect on q8_0"),
    ({}, {"calibration": "t.txt"}, "no effect without imatrix: auto"),
    ({"source": {"gguf": "a.gguf"}, "imatrix": "m.gguf"}, {}, "belongs to an hf source"),
]


@pytest.mark.parametrize(("arm", "more", "said"), IMATRIX)
def test_an_importance_matrix_without_effect_is_refused(arm, more, said):
    """What would change nothing, or has no text to come from, is said before any work."""
    plain = {
        "name": "x",
        "a": {"source": {"hf": "a"}} | arm,
        "b": {"source": {"hf": "b"}},
        "benchmark": {"suites": ["default"]},
    }
    with pytest.raises(ConfigError, match=said):
        read_config(plain | more)


def test_files_of_importance_matrices_are_relative_to_the_config(tmp_path):
    """`imatrix` and `calibration` name files beside the config; `auto` is no file."""
    arm = {"source": {"hf": "a"}, "quantization": "q4_k_m"}
    plain = {
        "name": "x",
        "a": arm | {"imatrix": "m.gguf"},
        "b": arm | {"imatrix": "auto"},
        "calibration": "t.txt",
        "benchmark": {"suites": ["default"]},
    }
    config = read_config(plain, base=tmp_path)
    assert config.a.imatrix == tmp_path / "m.gguf"
    assert config.b.imatrix == "auto"
    assert config.calibration == tmp_path / "t.txt"


@pytest.mark.parametrize("named", [None, "q8_0", "f16"])
@pytest.mark.parametrize("form", ["gguf", "hf"])
def test_a_stored_config_names_the_quantizations_that_were_named(named, form):
    """What a run stores and reads again names a GGUF's quantization exactly where a person did."""
    arm = {"source": {form: "./m"}} | ({} if named is None else {"quantization": named})
    config = read_config({"name": "x", "a": arm, "b": arm, "benchmark": {"suites": ["default"]}})
    for options in ({}, {"exclude_defaults": True}):
        again = RunConfig.model_validate(config.model_dump(mode="json", **options))
        for side in (again.a, again.b):
            assert side.quantization == (named or "q8_0")
            if form == "gguf":
                assert ("quantization" in side.model_fields_set) == (named is not None)


def test_a_tilde_is_the_home_directory(monkeypatch, tmp_path):
    """`~` in a source, suite, task, training data and the output leads to the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = read_config(
        {
            "name": "x",
            "a": {"source": {"hf": "~/a"}},
            "b": {"finetune": {"data": ["~/t.jsonl"]}},
            "benchmark": {"suites": ["~/s.jsonl"], "tasks": [{"name": "gsm8k", "data": "~/g"}]},
            "judge": {"source": {"gguf": "~/j.gguf"}},
            "output": "~/runs",
        }
    )
    assert config.b.finetune is not None
    assert config.judge is not None
    found = [config.a.source.hf, config.b.finetune.data[0], config.benchmark.suites[0]]
    found += [config.benchmark.tasks[0].data, config.judge.source.gguf, config.output]
    names = ["a", "t.jsonl", "s.jsonl", "g", "j.gguf", "runs"]
    assert [Path(place) for place in found] == [tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name\uff1a x\na: 1\n", "line 1 has a full-width colon"),
        ("a:\n  source\uff1a\n    gguf: q\n", "line 2 has a full-width colon"),
        ("a:\n  - b\uff1a 1\n    c: 2\n", "line 2 has a full-width colon"),
        ("a:\n\tb: 1\n", "line 2 has a tab"),
        ("a:\n  \tb: 1\n", "line 2 has a tab"),
        ("a:\t1\n", "line 1 has a tab"),
    ],
)
def test_what_looks_right_and_is_not_is_named(write, content, words):
    """A full-width colon and a tab, which an editor hardly shows, are named with their line."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(content))
    assert words in (caught.value.hint or "")
