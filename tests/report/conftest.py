"""Journals that several modules read, built once."""

from __future__ import annotations

import pytest
from build import Shape, build

#: What a hostile model may answer, by position.
HOSTILE = {
    1: "<script>document.title='owned'</script></style></script><img src=x onerror=alert(1)>",
    6: "\x00\u202egnp.exe\u2066 and W" + "W" * 20_000,
    11: "{{ 7*7 }}{% raw %}<!-- ",
    16: "line\n" * 400,
    22: "\n \n" * 40 + "first" + "\n" * 50 + "last\n\n",
    21: "長い日本語の回答です。" * 600,
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return the directory of a finished run with every kind of trouble."""
    shape = Shape(
        margin=0.05, label_a="base <b>model</b>", label_b="tuned & \u202esafe", samples=120
    )
    return build(tmp_path_factory.mktemp("finished"), shape, HOSTILE)


@pytest.fixture(scope="session")
def partial(tmp_path_factory):
    """Return the directory of a run that stopped half-way."""
    return build(tmp_path_factory.mktemp("partial"), Shape(samples=120, answered=50))


@pytest.fixture(scope="session")
def graded(tmp_path_factory):
    """Return the directory of a run whose scores are not only 0 and 1."""
    return build(tmp_path_factory.mktemp("graded"), Shape(samples=80, graded=True, trouble=False))


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    """Return the directory of a run that has prepared its models and asked nothing."""
    return build(tmp_path_factory.mktemp("begun"), Shape(samples=40, phases_only=True))
