"""The page about the engine is executed, and names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from so8t.engines.ollama import Notice, Timing
from so8t.engines.ollama.client import MAX_BYTES
from so8t.engines.ollama.doctor import OLDEST

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "ollama.md").read_text("utf-8")


def test_the_example_runs(fake, tmp_path, monkeypatch, capsys):
    """The Python block works as it stands, given a server at its address and a model."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    monkeypatch.chdir(tmp_path)
    code = compile(block.replace("http://127.0.0.1:11434", fake.url), "docs/ollama.md", "exec")
    exec(code, {})  # noqa: S102 - our own page, as a reader would run it
    out = capsys.readouterr().out
    assert "ollama server pass" in out
    assert "truncated abcdefgh" in out


def test_every_finding_is_on_the_page():
    """Every kind of finding is documented."""
    assert not [notice.value for notice in Notice if f"`{notice.value}`" not in PAGE]


def test_the_figures_are_those_of_the_code():
    """Deadlines, cap and oldest version on the page are the defaults."""
    timing = Timing()
    for figure in (
        f"({timing.answer.first_byte:.0f} s)",
        f"({timing.answer.between:.0f} s)",
        f"up to {timing.restart:.0f} s",
        f"for up to {timing.retries.busy_seconds:.0f} s",
        f"up to {timing.retries.attempts} tries",
        ".".join(map(str, OLDEST)),
    ):
        assert figure in PAGE, figure
    assert timing.answer.whole == 3600
    assert MAX_BYTES == 64 * 2**20
