"""What phase 3 will ask of the models is asked by validate and plan, with the same words."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGUFWriter

from so8t.config.load import read_config
from so8t.domain.exchange import Arm, Continuation, Decoding, Form, Message, ServedModel
from so8t.domain.sample import Origin, Sample
from so8t.errors import ConfigError, ModelError, PrerequisiteError
from so8t.pipeline.plan.model_checks import check_models
from so8t.pipeline.plan.planning import resolve_sources
from so8t.pipeline.register.templates import Ask, probes, thinking_switch, ways_of, with_template
from tiny_gguf import TEMPLATE, write_tiny_gguf

SWITCH = TEMPLATE + "{% if enable_thinking is defined and enable_thinking is false %}x{% endif %}"
OFF_BY_DEFAULT = TEMPLATE + "{% if enable_thinking | default(false) %}<think>{% endif %}"


def sample(form: Form | None = None) -> Sample:
    return Sample("t/1", "t", Origin.SUITE, "m", "en", (Message("user", "One?"),), form=form)


CHAT = [sample()]
MEASURED = [sample(Form((Continuation("One", " two"),)))]
CONTINUED = [sample(Form(prompt="One, two,"))]


def asked(path, arm=None, **more):
    source = {"source": {"gguf": str(path)}}
    plain = {
        "name": "x",
        "a": source | (arm or {}),
        "b": source,
        "benchmark": {"suites": ["default"]},
    }
    return read_config(plain | more)


def checked(config, samples):
    return check_models(config, resolve_sources(config), samples)


def test_a_base_model_is_refused_only_for_conversations(tmp_path):
    """Without a template log likelihoods and completions are valid, conversations are not."""
    config = asked(write_tiny_gguf(tmp_path / "base.gguf", template=None))
    assert checked(config, MEASURED) == []
    assert checked(config, CONTINUED) == []
    with pytest.raises(ModelError, match="no chat template") as caught:
        checked(config, [*MEASURED, *CHAT])
    assert "template: FILE" in str(caught.value.hint)
    given = asked(tmp_path / "base.gguf", {"template": TEMPLATE})
    with pytest.raises(ModelError, match="no chat template"):
        checked(given, CHAT)  # B has none still


def test_the_questions_decide_what_phase_3_asks():
    """Each way of asking that the run has is tried once, and no other."""
    config = read_config(
        {
            "name": "x",
            "a": {"source": {"gguf": "a"}},
            "b": {"source": {"gguf": "b"}},
            "benchmark": {"suites": ["default"]},
        }
    )
    ways = ways_of([*MEASURED, *CONTINUED], config)
    assert ways == {Ask.LIKELIHOOD, Ask.COMPLETION}
    assert [one.key for one in probes(ways, Decoding())] == [
        "register completion",
        "register likelihood",
    ]


@pytest.mark.parametrize(
    ("template", "said"),
    [("{% if %}", "cannot be rendered"), ("{{ messages[0].content + 1 }}", "cannot be rendered")],
)
def test_a_broken_template_is_said_before_the_night(template, said, tmp_path):
    """A template that is no Jinja, or fails on a question, does not pass."""
    config = asked(write_tiny_gguf(tmp_path / "m.gguf", template=template))
    with pytest.raises(ModelError, match=said):
        checked(config, CHAT)


def test_files_that_are_no_model_are_said(tmp_path):
    """A projector's file is refused by name of what it is."""
    path = tmp_path / "mmproj.gguf"
    writer = GGUFWriter(path, "clip")
    writer.add_tensor("v.patch_embd.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="projector"):
        checked(asked(path), MEASURED)


def test_a_context_beyond_the_model_is_told(tmp_path):
    """What the model was trained for is used, and the note names both numbers."""
    config = asked(write_tiny_gguf(tmp_path / "m.gguf"), engine={"context": 9000})
    notes = checked(config, CHAT)
    assert [key for key, _ in notes] == ["cli.note.context_of_model"] * 2
    assert notes[0][1] == {"arm": "A", "trained": 4096, "wanted": 9000}


def test_a_dead_server_is_no_valid_config(tmp_path):
    """A server that does not answer is said now, not at phase 3."""
    path = write_tiny_gguf(tmp_path / "m.gguf")
    config = asked(path, engine={"kind": "ollama", "url": "http://127.0.0.1:9"})
    with pytest.raises(PrerequisiteError, match="no server answers"):
        checked(config, CHAT)


@pytest.mark.parametrize(
    ("template", "arguments", "found"),
    [
        (TEMPLATE, {}, None),
        (SWITCH, {}, "on"),
        (SWITCH, {"enable_thinking": False}, "off"),
        (OFF_BY_DEFAULT, {}, "off"),
        (OFF_BY_DEFAULT, {"enable_thinking": True}, "on"),
    ],
)
def test_the_thinking_switch_is_found_by_what_it_does(template, arguments, found, tmp_path):
    """On in one file and off in another: the template itself says which, with its arguments."""
    path = write_tiny_gguf(tmp_path / "m.gguf", template=template)
    config = asked(path, {"template_arguments": arguments})
    model = with_template(config, ServedModel(Arm.A, str(path), "d"), "2026-01-01T00:00:00+00:00")
    assert thinking_switch(path, model.template) == found
    notes = {values["arm"]: key for key, values in checked(config, CHAT)}
    assert notes.get("A") == (found and f"cli.note.thinking_{found}")


def test_the_date_is_the_run_s(tmp_path):
    """A template that asks the clock is told when the run began; others are told nothing."""
    now = "2026-01-01T00:00:00+00:00"
    dated = write_tiny_gguf(tmp_path / "d.gguf", template=TEMPLATE + "{{ strftime_now('%d') }}")
    plain = write_tiny_gguf(tmp_path / "p.gguf")
    found = [
        with_template(asked(path), ServedModel(Arm.A, str(path), "d"), now).template
        for path in (dated, plain)
    ]
    assert found[0] is not None
    assert found[0].now == now
    assert found[1] is None


def test_a_template_is_a_file_or_the_text(tmp_path):
    """A name is a file beside the config; an absent one, and keys without effect, are errors."""
    path = write_tiny_gguf(tmp_path / "m.gguf", template=None)
    file = tmp_path / "t.jinja"
    file.write_text(TEMPLATE, "utf-8")
    model = ServedModel(Arm.A, str(path), "d")
    for value in (str(file), TEMPLATE):
        found = with_template(asked(path, {"template": value}), model, "").template
        assert found is not None
        assert found.source == TEMPLATE
    with pytest.raises(PrerequisiteError, match=r"a\.template.*cannot be read"):
        with_template(asked(path, {"template": "absent.jinja"}), model, "")
    config = asked(path, {"template_arguments": {"a": 1}}, engine={"kind": "ollama"})
    with pytest.raises(ConfigError, match=r"no effect with engine\.kind: ollama"):
        with_template(config, model, "")
