"""The whole engine against a real server, where SO8T_OLLAMA_URL names one.

The same steps run against the fake server, so that they are known to work before a real one is
at hand. The models are the two toys of the recordings; they are deleted at the end.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from so8t.domain.exchange import (
    Arm,
    Decoding,
    EngineRequest,
    LoadProfile,
    Message,
    ServedModel,
    Status,
)
from so8t.engines.checks import CheckOutcome
from so8t.engines.ollama import (
    OllamaClient,
    OllamaEngine,
    Rendering,
    SourceRegistration,
    examine,
    register,
)

ROOT = Path(__file__).resolve().parents[3]
MODELS = Path(os.environ.get("SO8T_OLLAMA_MODELS", ROOT.parent / "shared" / "ollama" / "models"))
CHAT = (Message("system", "s"), Message("user", "hi"))
RENDERED = (
    "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
)
PROFILE = LoadProfile(slots=1, context=256, threads=2)


def question(key, text, **decoding):
    return EngineRequest(key, (Message("user", text),), Decoding(**{"max_tokens": 8, **decoding}))


def whole_engine(url, artifacts):
    """Register both models, examine the server, benchmark in the order A B, B A, and clean up."""
    client = OllamaClient(url)
    names = {Arm.A: "so8t-live-cyc", Arm.B: "so8t-live-rep"}
    try:
        arms = {}
        for arm, name in names.items():
            want = SourceRegistration(
                name,
                MODELS / name.rpartition("-")[2],
                expected=Rendering(CHAT, RENDERED),
                overwrite=True,
            )
            done = register(client, want, artifacts=artifacts)
            again = register(client, want, artifacts=artifacts)
            assert (again.digest, again.created, again.uploaded) == (done.digest, False, 0)
            arms[arm] = ServedModel(arm, done.name, done.digest)
        checks = examine(client, models=list(names.values()), probe=names[Arm.A])
        assert not [check for check in checks if check.outcome is CheckOutcome.FAIL]
        heard = []
        with OllamaEngine(url, on_finding=heard.append) as engine:
            for arm in (Arm.A, Arm.B, Arm.B, Arm.A):
                with engine.open(arms[arm], PROFILE) as session:
                    assert session.report.context == 256
                    requests = [
                        question("short", "hi"),
                        question("stop", "hi", stop=("de",)),
                        question("long", "a" * 300),
                        question("endless", "hi", max_tokens=60),
                    ]
                    replies = {reply.key: reply for reply in session.serve(requests)}
                check_arm(arm, replies)
        assert not {model.name for model in client.loaded()} & set(names.values())
        assert not [finding for finding in heard if finding.stop]
    finally:
        for name in names.values():
            client.delete(name)
        client.close()


def check_arm(arm, replies):
    """A continues the alphabet; B repeats itself until the server gives it up."""
    texts = {key: reply.text for key, reply in replies.items()}
    assert texts["short"] == ("abcdefgh" if arm is Arm.A else "q" * 8)
    assert replies["long"].status is Status.FAILED
    assert "context" in replies["long"].reason
    if arm is Arm.A:
        assert (texts["stop"], replies["stop"].status) == ("abc", Status.COMPLETED)
        assert len(texts["endless"]) == 60
    else:
        assert replies["endless"].status is Status.FAILED
        assert "repetition" in replies["endless"].reason


def _models_are_here():
    if not MODELS.is_dir():
        pytest.skip(f"the toy models are not at {MODELS}")


@pytest.mark.ollama
@pytest.mark.skipif("SO8T_OLLAMA_URL" not in os.environ, reason="SO8T_OLLAMA_URL is not set")
def test_a_real_server(tmp_path):
    """Registration, verification, answers, faults and unloading work on a real server."""
    _models_are_here()
    whole_engine(os.environ["SO8T_OLLAMA_URL"], tmp_path)


def test_the_fake_server(fake, tmp_path):
    """The steps for a real server work on the fake one."""
    _models_are_here()
    whole_engine(fake.url, tmp_path)
