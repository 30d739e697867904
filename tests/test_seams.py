"""The seams stay open: nobody outside `engines/` asks an engine or a source for its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import so8t
from so8t.config.engine_section import ENGINES
from so8t.config.schema import Source

SOURCE = Path(so8t.__file__).parent
# Names of engines that are not registered but shipped, of those that may come, and of sources.
ENGINE_NAMES = {*ENGINES.names, "scripted", "openai", "ray", "vllm", "llama.cpp"}
SOURCE_NAMES = {"hf", "gguf", "ollama", "served", "safetensors"}
#: What knows names by right: the engines' own folder, and the config's union with its loader.
OWN = ("engines/", "config/", "domain/model_form.py")
#: Whose names are not these: the detector of OpenAI's keys, and the origin of a question.
NOT_ENGINES = {("policy/personal_data.py", "openai")}


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith((*OWN, "examples/", "tasks/hf/definitions/")):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree: ast.AST) -> set[ast.AST]:
    bodies = (node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list))
    return {
        body[0].value
        for body in bodies
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    }


def engine_names(tree: ast.AST) -> list[str]:
    """Every string that is an engine's name and nothing else, docstrings aside."""
    left_out = docstrings(tree)
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in ENGINE_NAMES and node not in left_out
    ]


def source_tests(tree: ast.AST) -> list[str]:
    """Every comparison of something's kind, form or source with a source's name."""
    return [
        f"{ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(n, ast.Constant) and n.value in SOURCE_NAMES for n in ast.walk(node))
        and any(word in ast.unparse(node) for word in ("kind", "form", "source"))
    ]


def engine_imports(tree: ast.AST) -> list[str]:
    """Every import of a module that belongs to one engine."""
    shared = {"protocol", "registry", "checks", "loads", "calibrate", "memory_needs", "rendering"}
    shared |= {"measuring", "distributions"}  # what quantization costs, whatever engine answers
    return [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("so8t.engines.")
        and (node.module or "").split(".")[2] not in shared
    ]


@pytest.mark.slow
@pytest.mark.parametrize("found_by", [engine_names, source_tests, engine_imports])
def test_no_name_of_an_engine_or_a_source_stands_outside_its_own_folder(found_by):
    """What an engine can do is asked of its Capabilities, what a model is of its ModelForm."""
    found = {
        (name, what)
        for name, tree in modules()
        for what in found_by(tree)
        if (name, what) not in NOT_ENGINES
    }
    assert found == set()


@pytest.mark.parametrize(
    ("found_by", "code"),
    [
        (engine_names, 'if config.engine.kind == "ollama": pass'),
        (engine_names, 'X = {"embedded": 1}'),
        (engine_names, 'match kind:\n    case "openai": pass'),
        (source_tests, 'if source.kind in ("hf", "gguf"): pass'),
        (source_tests, 'prepared.get("kind") != "gguf"'),
        (engine_imports, "from so8t.engines.ollama.client import OllamaClient"),
        (engine_imports, "from so8t.engines.embedded import EmbeddedEngine"),
    ],
)
def test_the_scan_finds_what_it_is_for(found_by, code):
    """Each way to ask for a name is seen."""
    assert found_by(ast.parse(code))


def test_every_key_of_a_source_is_scanned_for():
    """A new key of a source is a new name to scan for."""
    keys = set(Source.model_fields) - {"revision", "adapter"}
    assert keys <= SOURCE_NAMES
