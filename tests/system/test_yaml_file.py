"""YAML from anyone: read with its places, or refused with them, in little time."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from so8t.config.load import load_config
from so8t.errors import ConfigError, DataError
from so8t.system.yaml_file import DEEPEST, MOST_REPEATED, YamlProblemError, load_yaml
from so8t.tasks.suite import load_suite


def laughs(levels, width, form="[{}]"):
    """Each level repeats the one before `width` times."""
    lines = ["a0: &a0 " + form.format(",".join("x" * width))]
    for level in range(1, levels):
        before = ",".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + form.format(before))
    return "\n".join(lines) + "\n"


def of_mappings(levels):
    lines = ["m0: &m0 {k: x}"]
    for level in range(1, levels):
        pairs = ", ".join(f"k{n}: *m{level - 1}" for n in range(9))
        lines.append(f"m{level}: &m{level} {{{pairs}}}")
    return "\n".join(lines) + "\n"


BOMBS = {
    "a billion laughs": laughs(9, 9),
    "with short lines": laughs(30, 2),
    "of mappings": of_mappings(9),
    "merged": "a: &a {" + ", ".join(f"k{n}: 1" for n in range(200)) + "}\nb: ["
    + ", ".join(["{<<: *a}"] * 200) + "]\n",
    "one anchor very often": "a: &a [" + "1, " * 500 + "]\nb: [" + "*a, " * 500 + "]\n",
    "itself": "a: &a [1, *a]\n",
    "itself in a mapping": "a: &a {b: {c: *a}}\n",
    "deep in brackets": "a: " + "[" * 3000,
    "deep in braces": "a: " + "{b: " * 500 + "1" + "}" * 500,
    "deep in lines": "\n".join("  " * level + "a:" for level in range(200)),
    "deep in dashes": "a:\n  " + "- " * 2000 + "x",
    "a number without end": "a: " + "9" * 6000,
    "a date that is none": "a: 2024-99-99",
    "not base64": "a: !!binary '***'",
    "a key that is a list": "? [a, b]\n: 1\n? [a, b]\n: 2\n",
    "an alias of nothing": "a: *nothing\n",
    "cut off": "a: [1, 2",
    "a control character": "a: \x1b",
    "tabs": "a:\n\t- b",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_as_a_config_and_as_a_suite(tmp_path, text):
    """In seconds, with file and line, by one error that a person can read."""
    began = time.monotonic()
    config, suite = tmp_path / "so8t.yaml", tmp_path / "suite.yaml"
    config.write_text(text)
    suite.write_text(f"- id: x\n  meta:\n    {text.replace(chr(10), chr(10) + '    ')}")
    with pytest.raises(ConfigError) as caught:
        load_config(config)
    assert str(caught.value).startswith(str(config))
    with pytest.raises(DataError) as caught:
        load_suite(suite)
    assert str(caught.value).startswith(str(suite))
    assert time.monotonic() - began < 60


def test_aliases_of_reason_are_read():
    """Anchors and merges as people use them, and a suite of many items that share one."""
    shared = "a: &shared {grader: exact, language: ja}\nb: {<<: *shared, id: 1}\nc: *shared\n"
    assert load_yaml(shared)["b"]["language"] == "ja"
    many = "- &g {name: exact}\n" + "- {id: 1, grader: *g}\n" * 2000
    assert len(load_yaml(many)) == 2001
    nested = "".join("  " * level + "a:\n" for level in range(DEEPEST - 1)) + "  " * DEEPEST + "1"
    assert load_yaml(nested)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 60))
def test_what_aliases_add_is_counted_as_they_are_built(size, levels, times):
    """The count is that of the values that building makes; beyond the limit nothing is built."""
    lines = [f"a0: &a0 [{','.join(['x'] * size)}]"]
    grown = size + 1
    added = 0
    for level in range(1, min(levels, 5)):
        lines.append(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * times)}]")
        added += grown * times
        grown = grown * times + 1
    text = "\n".join(lines)
    if added <= MOST_REPEATED:
        assert load_yaml(text) == YAML(typ="safe", pure=True).load(text)
    else:
        with pytest.raises(YamlProblemError, match="aliases stand for more"):
            load_yaml(text)


@given(st.text(st.sampled_from("ab:- \n[]{}&*!|>'\"#,?%@`\t0.~<=é\u2028\x85")))
def test_any_text_is_read_or_refused(text):
    """No other error than the one, whatever stands in a file."""
    with suppress(YamlProblemError):
        load_yaml(text)
