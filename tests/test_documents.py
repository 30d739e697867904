"""The documents cannot rot: what they name exists, and what they claim of the demo is measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from so8t.cli import COMMANDS
from so8t.examples import CONFIGS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "src/**/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page):
    """A relative link names a file that is there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "README.ja.md"])
def test_the_first_screen_has_both_commands(page):
    """`python dev.py demo` and `python dev.py test` stand in the first 25 lines."""
    first = "\n".join((ROOT / page).read_text(encoding="utf-8").splitlines()[:25])
    assert "python dev.py demo" in first
    assert "python dev.py test" in first


def test_ci_calls_the_readmes_test_command():
    """What CI runs is what the README tells a person to run."""
    assert "\npython dev.py test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_that_is_named_exists(page):
    """`so8t something` in a document is a command of the program."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"`so8t ([a-z]+)", text) + re.findall(r"bin/so8t ([a-z]+)", text):
        assert name in COMMANDS, name


def test_every_example_is_named_in_the_readme():
    """The README lists the examples that `so8t init` knows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in CONFIGS:
        assert f"`{name}`" in text


def test_every_dependency_has_its_reason():
    """Each package of pyproject.toml has a line in docs/design/dependencies.md, and a lock."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = project.split("dependencies = [", 1)[1].split("[project.scripts]", 1)[0]
    reasons = (ROOT / "docs" / "design" / "dependencies.md").read_text(encoding="utf-8")
    locks = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    for name in re.findall(r'^  "([A-Za-z0-9_.-]+)', listed, re.MULTILINE):
        assert name in reasons or name.startswith(("types-", "scipy-stubs")), name
        assert f"{name.lower()}==" in locks, name
