"""Where models come from: directories, the hub's cache, GGUF files, Ollama tags."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from hf_directories import plain
from so8t.config.schema import Source
from so8t.domain.model_form import ModelForm
from so8t.errors import ModelError, PrerequisiteError
from so8t.models.gguf_convert import convert
from so8t.models.sources import resolve
from so8t.system.files import file_digest

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_directory_is_digested(tmp_path):
    """A directory's digest is of what makes the model: each of its files counts, others do not."""
    model = tmp_path / "model"
    model.mkdir()
    plain(model)
    (model / "README.md").write_text("---\nlanguage: ja\nlicense: apache-2.0\n---\n# M\n", "utf-8")
    found = resolve(Source(hf="model"), base_directory=tmp_path)
    assert (found.kind, found.path, found.commit) == ("hf", model, None)
    assert found.size > (model / "model.safetensors").stat().st_size
    assert found.licence == "apache-2.0"
    assert json.loads(json.dumps(found.facts()))["location"] == str(model)
    (model / "checkpoint-1").mkdir()
    (model / "checkpoint-1" / "optimizer.pt").write_bytes(b"state")
    (model / "picture.png").write_bytes(b"png")
    (model / "consolidated.safetensors").write_bytes(b"the same weights in another layout")
    assert resolve(Source(hf=str(model))).digest == found.digest
    for name in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
        whole = (model / name).read_bytes()
        (model / name).write_bytes(whole + b" ")
        assert resolve(Source(hf=str(model))).digest != found.digest
        (model / name).write_bytes(whole)
    assert resolve(Source(hf=str(model))).digest == found.digest


def test_a_named_licence_is_found(tmp_path):
    """`license: other` is followed to its name, and a licence file alone is named."""
    plain(tmp_path)
    assert resolve(Source(hf=str(tmp_path))).licence is None
    (tmp_path / "LICENSE.txt").write_text("terms", "utf-8")
    assert resolve(Source(hf=str(tmp_path))).licence == "see LICENSE.txt"
    card = "---\nlicense: other\nlicense_name: my-terms\n---\n"
    (tmp_path / "README.md").write_text(card, "utf-8")
    assert resolve(Source(hf=str(tmp_path))).licence == "my-terms"


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "weights"),
        ("tokenizer.json", "a tokenizer"),
    ],
)
def test_what_a_directory_lacks_is_named(removed, named, tmp_path):
    """A directory that is no model says what is missing."""
    plain(tmp_path)
    (tmp_path / removed).unlink()
    with pytest.raises(ModelError) as caught:
        resolve(Source(hf=str(tmp_path)))
    assert named in str(caught.value)
    assert caught.value.hint


def test_an_adapter_is_told_apart(tmp_path):
    """A PEFT adapter's directory is refused with the word for it, not as a random directory."""
    (tmp_path / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match=r"config\.json, weights") as caught:
        resolve(Source(hf=str(tmp_path)))
    assert "adapter" in str(caught.value.hint)


def test_pickled_weights_are_refused_with_the_way(tmp_path):
    """Old pickle weights are refused, and the hint says how to save them as safetensors."""
    plain(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        resolve(Source(hf=str(tmp_path)))
    assert "save_pretrained" in str(caught.value.hint)


def test_a_gguf_file_is_checked_and_digested(tmp_path):
    """A GGUF file gives its digest; a damaged or absent one is refused."""
    plain(tmp_path)
    made = convert(tmp_path, tmp_path / "model.gguf", "q8_0")
    found = resolve(Source(gguf="model.gguf"), base_directory=tmp_path)
    assert (found.kind, found.path) == ("gguf", made.path)
    assert found.digest == file_digest(made.path) == made.digest
    made.path.write_bytes(made.path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        resolve(Source(gguf=str(made.path)))
    with pytest.raises(ModelError, match="no such file"):
        resolve(Source(gguf=str(tmp_path / "absent.gguf")))


def test_an_ollama_tag_is_passed_on():
    """A tag is taken as it is; asking for its files says why there are none."""
    found = resolve(Source(ollama="qwen2.5:0.5b"))
    assert (found.kind, found.location, found.size) == (ModelForm.SERVED, "qwen2.5:0.5b", 0)
    with pytest.raises(ModelError, match="server of models"):
        _ = found.path


def test_an_absent_directory_is_not_looked_up_as_a_name(tmp_path):
    """A path that does not exist and cannot be a hub id is refused without the network."""
    with pytest.raises(ModelError, match="no such directory") as caught:
        resolve(Source(hf="./models/absent"), base_directory=tmp_path)
    assert "relative paths" in str(caught.value.hint)
    plain(tmp_path)
    with pytest.raises(ModelError, match="revision"):
        resolve(Source(hf=str(tmp_path), revision="main"))


def cache(home: Path, name: str, revision: str) -> Path:
    """Lay out a model in the hub's cache, as a finished download leaves it."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    plain(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(COMMIT, "utf-8")
    return snapshot


def outcome(hf: str, revision: str | None, **environment: str) -> dict:
    """Resolve in a process of its own: the hub's settings are read when it is imported."""
    code = (
        "import json, sys\n"
        "from so8t.config.schema import Source\n"
        "from so8t.errors import SO8TError\n"
        "from so8t.models.sources import resolve\n"
        "try:\n"
        f"    print(json.dumps(resolve(Source(hf={hf!r}, revision={revision!r})).facts()))\n"
        "except SO8TError as e:\n"
        "    print(json.dumps({'error': type(e).__name__, 'text': str(e), 'hint': e.hint}))\n"
    )
    names = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN", "TRANSFORMERS_OFFLINE")
    clean = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment, "NO_PROXY": "*", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_hubs_cache_is_used_offline(tmp_path):
    """Offline, an id comes from the cache at its revision, and its commit is recorded."""
    snapshot = cache(tmp_path, "someone/model", "v1")
    found = outcome("someone/model", "v1", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert (found["commit"], found["location"]) == (COMMIT, str(snapshot))
    assert found["digest"] == resolve(Source(hf=str(snapshot))).digest


def test_what_is_not_cached_says_so_offline(tmp_path):
    """Offline and not in the cache: a missing prerequisite, with what to do."""
    found = outcome("someone/other", None, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert found["error"] == PrerequisiteError.__name__
    assert "HF_HUB_OFFLINE" in found["text"]
    assert found["hint"]


class _Hub(http.server.BaseHTTPRequestHandler):
    """A hub that answers every question with one status, as the real one words it."""

    status, headers_sent = 404, {"X-Error-Code": "RepoNotFound"}

    def do_GET(self):
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - as above

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "no such model"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no revision"),
        (403, {"X-Error-Code": "GatedRepo"}, "accepted its terms"),
    ],
)
def test_the_hubs_refusals_are_told_apart(status, headers, words, tmp_path):
    """An unknown model, an unknown revision and a gated model each say what to do."""
    handler = type("Hub", (_Hub,), {"status": status, "headers_sent": headers})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        found = outcome("someone/model", "v9", HF_HOME=str(tmp_path), HF_ENDPOINT=endpoint)
        server.shutdown()
    assert found["error"] == PrerequisiteError.__name__
    assert words in found["text"]
    assert found["hint"]


class _ServingHub(_Hub):
    """A hub that serves one model, of which tag v1 is one commit; it notes what was fetched."""

    directory, fetched = None, None

    def do_GET(self):
        path = self.path.split("?")[0]
        names = sorted(file.name for file in self.directory.iterdir())
        if path == "/api/models/someone/model/revision/v1":
            siblings = [{"rfilename": name} for name in names]
            self.reply({"id": "someone/model", "sha": COMMIT, "siblings": siblings})
        elif path == f"/api/models/someone/model/tree/{COMMIT}":
            sizes = {name: (self.directory / name).stat().st_size for name in names}
            self.reply(
                [
                    {"type": "file", "path": name, "size": size, "oid": "a" * 40}
                    for name, size in sizes.items()
                ]
            )
        elif path.startswith(f"/someone/model/resolve/{COMMIT}/"):
            name = path.rpartition("/")[2]
            if self.command == "GET":
                self.fetched.append(name)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"'}
            self.reply((self.directory / name).read_bytes(), headers)
        else:
            super().do_GET()

    do_HEAD = do_GET  # noqa: N815 - as above

    def reply(self, body, headers=None):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def test_a_model_is_fetched_once_at_its_revision(tmp_path):
    """An id is downloaded at its revision, its commit recorded; afterwards no hub is needed."""
    model = tmp_path / "served"
    model.mkdir()
    plain(model)
    (model / "pytorch_model.bin").write_bytes(b"the same weights as a pickle")
    (model / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")
    fetched = []
    handler = type("Hub", (_ServingHub,), {"directory": model, "fetched": fetched})
    home = str(tmp_path / "home")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        found = outcome("someone/model", "v1", HF_HOME=home, HF_ENDPOINT=endpoint)
        server.shutdown()
    assert (found["commit"], found["licence"]) == (COMMIT, "mit")
    assert found["digest"] == resolve(Source(hf=str(model))).digest
    assert "model.safetensors" in fetched
    assert "pytorch_model.bin" not in fetched
    assert outcome("someone/model", "v1", HF_HOME=home, HF_HUB_OFFLINE="1") == found


def test_a_hub_that_cannot_be_reached_says_so(tmp_path):
    """Nobody answers at the hub's address: a missing prerequisite, not a traceback."""
    found = outcome("someone/model", None, HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9")
    assert found["error"] == PrerequisiteError.__name__
    assert found["hint"]
