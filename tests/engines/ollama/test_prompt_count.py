"""Our own count of prompt tokens is the one that a real server gave."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from so8t.domain.exchange import Message
from so8t.engines.ollama import PromptCounter
from so8t.errors import ModelError
from so8t.models.gguf_convert import convert

ROOT = Path(__file__).resolve().parents[3]
EXCHANGES = Path(__file__).parent / "exchanges"
MODELS = Path(os.environ.get("SO8T_OLLAMA_MODELS", ROOT.parent / "shared" / "ollama" / "models"))


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """Count by the files of the model that was asked in the recordings."""
    source = MODELS / "cyc"
    if not source.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no recorded models at {MODELS}")
    model = tmp_path_factory.mktemp("cyc") / "model"
    shutil.copytree(source, model)
    # The recorded model's file leaves out fields that its reader has defaults for; the library
    # that defines the format has none.
    tokenizer = model / "tokenizer.json"
    tokenizer.chmod(0o644)
    whole = json.loads(tokenizer.read_text(encoding="utf-8"))
    for part in ("pre_tokenizer", "post_processor", "decoder"):
        if whole.get(part) and whole[part]["type"] == "ByteLevel":
            defaults = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}
            whole[part] = defaults | whole[part]
    tokenizer.write_text(json.dumps(whole), encoding="utf-8")
    gguf = model.with_name("cyc.gguf")
    convert(model, gguf)
    return PromptCounter(gguf, tokenizer)


def chats():
    """Yield every recorded chat of `cyc` that was answered: name, messages, the server's count."""
    for file in sorted(EXCHANGES.glob("[0-9]*.json")):
        for exchange in json.loads(file.read_text(encoding="utf-8"))["exchanges"]:
            request, response = exchange["request"], exchange["response"]
            body = request.get("body")
            if request["path"] != "/api/chat" or not isinstance(body, dict):
                continue
            if body.get("model") != "cyc" or body.get("truncate") is not False:
                continue
            text = "".join(chunk["text"] for chunk in response.get("chunks", []))
            counted = [
                json.loads(line)["prompt_eval_count"]
                for line in text.split("\n")
                if "prompt_eval_count" in line and '"done":true' in line
            ]
            if counted:
                yield file.stem, body["messages"], counted[0]


def test_it_equals_what_a_real_server_counted(counter):
    """For every recorded chat our count is the server's, to the token."""
    recorded = list(chats())
    assert len(recorded) >= 2
    for name, messages, counted in recorded:
        own = counter.count(tuple(Message(m["role"], m["content"]) for m in messages))
        assert own == counted, name


def test_a_file_that_is_no_gguf_is_named(tmp_path, counter):
    """A file that is no GGUF is a clear error, not a count of zero."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUX")
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        PromptCounter(broken, tmp_path / "tokenizer.json")
    assert counter.count((Message("user", "hello"),)) > 0
