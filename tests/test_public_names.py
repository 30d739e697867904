"""The names of the design document are the implementations, and stay where they are."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from so8t.autostart.resume import AutoStartCompleteABPipeline
from so8t.pipeline.benchmark.phase4 import Phase4BenchmarkRunner
from so8t.pipeline.complete import CompleteAutomatedABPipeline
from so8t.resources.balancer import ResourceBalancer

ROOT = Path(__file__).resolve().parent.parent
SIGNATURES = {
    CompleteAutomatedABPipeline: {
        "__init__": "(self, config, directory, journal, engine, *, reporter, stop, balancer)",
        "run_phase1": "(self)",
        "run_phase2": "(self)",
        "run_phase3": "(self)",
        "run_phase4": "(self, origin)",
        "run_complete_pipeline": "(self, origin)",
    },
    AutoStartCompleteABPipeline: {
        "setup_auto_start": "(self)",
        "check_and_resume": "(self)",
        "run_pipeline_with_progress": "(self, entry)",
    },
    Phase4BenchmarkRunner: {
        "run_hf_benchmark": "(self)",
        "run_llm_benchmark": "(self)",
    },
    ResourceBalancer: {
        "get_gpu_metrics": "(self)",
        "get_cpu_metrics": "(self)",
        "get_memory_metrics": "(self)",
        "check_thresholds": "(self)",
        "adjust_resources": "(self)",
        "monitor_loop": "(self, duration)",
        "start_monitoring": "(self)",
        "stop_monitoring": "(self)",
        "save_metrics_history": "(self, path)",
        "get_metrics_summary": "(self)",
    },
}


@pytest.mark.parametrize("cls", SIGNATURES, ids=lambda cls: cls.__name__)
def test_public_methods_keep_their_parameters(cls):
    """Who calls these by name is not broken by a rename."""
    for name, wanted in SIGNATURES[cls].items():
        parameters = []
        for parameter in inspect.signature(getattr(cls, name)).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
                parameters.append("*")
            parameters.append(parameter.name)
        assert f"({', '.join(parameters)})" == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    sorted(
        str(path.relative_to(ROOT))
        for folder in ("pipelines", "utils")
        for path in (ROOT / "scripts" / folder).glob("*.py")
    ),
)
def test_scripts_run_from_another_directory(script, tmp_path):
    """Each documented entry point answers --help from anywhere."""
    answer = subprocess.run(
        [sys.executable, str(ROOT / script), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout


def test_both_documented_scripts_are_there():
    """The two entry points that exist so far stand under their documented names."""
    scripts = {path.name for path in (ROOT / "scripts").rglob("*.py")}
    assert {"run_complete_automated_ab_pipeline.py", "phase4_run_benchmarks.py"} <= scripts


def test_every_module_says_what_it_is_for():
    """A public module, class and function has a docstring."""

    missing = []
    for path in (ROOT / "src" / "so8t").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name != "__init__.py" and not ast.get_docstring(tree):
            missing.append(str(path))
        for node in tree.body:
            is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{path.name}:{node.name}")
    assert missing == []


def test_no_module_outgrows_its_room():
    """At 600 lines a module is two things."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "src").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}
