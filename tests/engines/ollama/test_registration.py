"""Registering: uploaded once, verified before it has its name, never over another model."""

from __future__ import annotations

import json

import pytest
from ollama_engine import FAST
from wire import WireServer, json_response, read_request

from so8t.domain.exchange import Message
from so8t.engines.ollama import (
    OllamaClient,
    Rendering,
    SourceRegistration,
    check_disk,
    register,
)
from so8t.engines.ollama.faults import Fault, OllamaError
from so8t.engines.ollama.sources import modelfile
from so8t.errors import ModelError, PrerequisiteError, UsageError

CHAT = (Message("system", "s"), Message("user", "hi"))
RENDERED = (
    "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
)
GB = 10**9


@pytest.fixture
def client(fake, client_of):
    return client_of(fake.url)


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 5000)
    return path


@pytest.fixture
def safetensors(tmp_path):
    path = tmp_path / "hf"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    (path / "model-00001-of-00002.safetensors").write_bytes(b"1" * 3000)
    (path / "model-00002-of-00002.safetensors").write_bytes(b"2" * 3000)
    (path / "optimizer.pt").write_bytes(b"never")
    return path


def uploads(fake):
    return [path for method, path, _ in fake.requests if method == "POST" and "/blobs/" in path]


def test_a_gguf_is_uploaded_created_and_verified(client, fake, gguf, tmp_path):
    """The result names digest, weights and rendering, and only the final name is left."""
    want = SourceRegistration("mine", gguf, expected=Rendering(CHAT, RENDERED))
    said = []
    done = register(client, want, artifacts=tmp_path / "art", on_status=said.append)
    assert done.name == "mine:latest"
    assert done.digest == fake.store.find("mine").digest
    assert (done.created, done.uploaded, done.rendered) == (True, 5004, RENDERED)
    assert set(fake.store.models) == {"cyc:latest", "rep:latest", "mine:latest"}
    assert not fake.store.runners
    assert "success" in said


def test_again_uploads_and_creates_nothing(client, fake, gguf, tmp_path):
    """The same input again is recognised, verified, and nothing is sent or made."""
    want = SourceRegistration("mine", gguf)
    first = register(client, want, artifacts=tmp_path / "art")
    fake.requests.clear()
    again = register(client, want, artifacts=tmp_path / "art")
    assert (again.digest, again.created, again.uploaded) == (first.digest, False, 0)
    assert not uploads(fake)
    assert not fake.asked("/api/create")
    assert any(body.get("messages") for body in fake.asked("/api/chat"))


def test_without_the_record_it_is_made_again_but_not_uploaded(client, fake, gguf, tmp_path):
    """With the artifacts lost, the same input still gives the same digest and no upload."""
    first = register(client, SourceRegistration("mine", gguf), artifacts=tmp_path / "one")
    fake.requests.clear()
    again = register(client, SourceRegistration("mine", gguf), artifacts=tmp_path / "two")
    assert (again.digest, again.uploaded) == (first.digest, 0)
    assert not uploads(fake)


def test_changed_input_under_our_own_name_needs_permission(client, gguf, tmp_path):
    """New weights do not silently replace the old model of that name."""
    register(client, SourceRegistration("mine", gguf), artifacts=tmp_path)
    gguf.write_bytes(b"GGUF" + b"\1" * 6000)
    with pytest.raises(PrerequisiteError, match="belongs to another model"):
        register(client, SourceRegistration("mine", gguf), artifacts=tmp_path)
    assert register(
        client, SourceRegistration("mine", gguf, overwrite=True), artifacts=tmp_path
    ).created


def test_another_models_name_is_kept(client, fake, gguf, tmp_path):
    """A name that is taken stays as it is, and nothing of ours is left behind."""
    before = fake.store.find("cyc").digest
    with pytest.raises(PrerequisiteError, match="belongs to another model"):
        register(client, SourceRegistration("cyc", gguf), artifacts=tmp_path)
    assert fake.store.find("cyc").digest == before
    assert set(fake.store.models) == {"cyc:latest", "rep:latest"}


def test_a_safetensors_directory_sends_what_belongs_to_the_model(
    client, fake, safetensors, tmp_path
):
    """Weights, config and tokenizer are sent; nothing else of the directory is."""
    register(client, SourceRegistration("hf", safetensors), artifacts=tmp_path / "art")
    (created,) = fake.asked("/api/create")
    assert set(created["files"]) == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }


def test_a_template_that_the_server_would_not_read_is_refused(client, fake, safetensors, tmp_path):
    """chat_template.jinja alone would be replaced by a guess, so it is refused before an upload."""
    (safetensors / "tokenizer_config.json").write_text("{}")
    (safetensors / "chat_template.jinja").write_text("x")
    with pytest.raises(ModelError, match="Ollama ignores") as refused:
        register(client, SourceRegistration("hf", safetensors), artifacts=tmp_path / "art")
    # Both ways out that there are: the server reads the one file, or we convert.
    assert "tokenizer_config.json" in refused.value.hint
    assert "llama_cpp" in refused.value.hint
    assert not fake.requests


def test_quantize_is_sent_and_checked(client, gguf, tmp_path):
    """The quantization asked for is the one that show tells afterwards."""
    want = SourceRegistration("mine", gguf, quantize="Q4_K_M")
    assert register(client, want, artifacts=tmp_path).quantization == "Q4_K_M"


def test_quantizing_what_is_quantized_is_told(client, fake, tmp_path):
    """The server's refusal reaches the person in its own words."""
    fake.store.change("cyc", quantization="Q8_0")
    want = SourceRegistration("small", base="cyc", quantize="Q4_K_M")
    with pytest.raises(OllamaError, match="only supported for F16"):
        register(client, want, artifacts=tmp_path)


def test_a_base_is_never_fetched_from_afar(client, fake, tmp_path):
    """A base that is not there is an error before the server could look for it in a registry."""
    with pytest.raises(ModelError, match="not found"):
        register(client, SourceRegistration("small", base="nope"), artifacts=tmp_path)
    assert not fake.asked("/api/create")


def test_a_wrong_template_stops_before_the_name_is_given(client, fake, gguf, tmp_path):
    """A rendering that differs is a ModelError that shows where, and the name does not exist."""
    expected = Rendering(CHAT, RENDERED.replace("user", "USER"))
    want = SourceRegistration("mine", gguf, expected=expected)
    with pytest.raises(ModelError, match=r"from character 43.*'user") as caught:
        register(client, want, artifacts=tmp_path)
    assert "template" in caught.value.hint
    assert fake.store.find("mine") is None
    assert not fake.store.runners


def test_a_begin_token_may_be_the_engines_affair(client, gguf, tmp_path):
    """A rendering that differs in the begin-of-text token alone is the same prompt."""
    expected = Rendering(CHAT, "<s>" + RENDERED, begin="<s>")
    assert register(client, SourceRegistration("mine", gguf, expected=expected), artifacts=tmp_path)


def test_a_model_that_gives_no_token_is_refused(client, fake, gguf, tmp_path):
    """A create that says success is no proof: without an answer there is no registration."""
    fake.trouble.extend(["crash"] * 3)
    with pytest.raises(OllamaError, match="unexpected EOF"):
        register(client, SourceRegistration("mine", gguf), artifacts=tmp_path)
    assert fake.store.find("mine") is None


def test_a_model_damaged_on_the_server_is_made_again(client, fake, gguf, tmp_path):
    """Damage found at the verification deletes the model and registers it again."""
    register(client, SourceRegistration("mine", gguf), artifacts=tmp_path)
    fake.store.change("mine", damage='tensor "x" offset+size (9) exceeds file size (5)')
    again = register(client, SourceRegistration("mine", gguf), artifacts=tmp_path)
    assert again.created
    assert fake.store.find("mine").damage is None


def test_a_blob_that_vanishes_is_uploaded_again(client, fake, gguf, tmp_path):
    """A blob gone between the look and the create costs one more round."""
    want = SourceRegistration("mine", gguf)
    register(client, want, artifacts=tmp_path / "one")
    digest = next(iter(fake.store.blobs))
    client.delete("mine")

    class Forgetful(OllamaClient):
        looks = 0

        def has_blob(self, digest):
            Forgetful.looks += 1
            return Forgetful.looks == 1 or super().has_blob(digest)

    fake.store.blobs.clear()
    with Forgetful(fake.url, timing=FAST) as forgetful:
        assert register(forgetful, want, artifacts=tmp_path / "two").uploaded == 5004
    assert digest in fake.store.blobs


def test_a_file_that_changes_meanwhile_is_told(fake, gguf, tmp_path):
    """A digest mismatch is looked into: a file that changed is the person's affair."""

    class Late(OllamaClient):
        def has_blob(self, digest):
            gguf.write_bytes(b"GGUF" + b"\2" * 10)
            return super().has_blob(digest)

    with Late(fake.url, timing=FAST) as late, pytest.raises(ModelError, match="changed while"):
        register(late, SourceRegistration("mine", gguf), artifacts=tmp_path)


def test_disk_for_three_times_the_model_is_checked_first(client, fake, gguf, tmp_path):
    """Too little disk is told with both figures, before a byte is uploaded; unknown passes."""
    with pytest.raises(PrerequisiteError, match="three times"):
        register(
            client, SourceRegistration("mine", gguf), artifacts=tmp_path, free_bytes=lambda: 15_011
        )
    assert not uploads(fake)
    register(
        client, SourceRegistration("mine", gguf), artifacts=tmp_path, free_bytes=lambda: 15_012
    )
    small = SourceRegistration("small", base="cyc", quantize="Q8_0")
    with pytest.raises(PrerequisiteError, match="three times"):
        register(client, small, artifacts=tmp_path, free_bytes=lambda: 1000)
    check_disk(GB, None)
    with pytest.raises(PrerequisiteError, match=r"3\.0 GB.*2\.0 GB"):
        check_disk(GB, 2 * GB)


def test_the_modelfile_repeats_it_by_hand(client, gguf, tmp_path):
    """A Modelfile with everything that was asked for lies in the artifacts."""
    want = SourceRegistration(
        "mine",
        gguf,
        quantize="Q8_0",
        template='{{ .Prompt }} "quoted"',
        system="Be kind.",
        parameters={"stop": ["<|x|>", "y"], "num_ctx": 4096},
    )
    done = register(client, want, artifacts=tmp_path / "art")
    text = done.modelfile.read_text()
    assert text == modelfile(want)
    assert text.split("\n")[1:] == [
        "#   ollama create mine -f <this file> --quantize Q8_0",
        f"FROM {gguf.resolve()}",
        'TEMPLATE """{{ .Prompt }} "quoted""""',
        'SYSTEM "Be kind."',
        'PARAMETER stop "<|x|>"',
        'PARAMETER stop "y"',
        "PARAMETER num_ctx 4096",
        "",
    ]


@pytest.mark.parametrize(
    "want",
    [
        SourceRegistration("mine"),
        SourceRegistration("", base="cyc"),
        SourceRegistration("two words", base="cyc"),
        SourceRegistration("mine", base="cyc", quantize="Q5_1"),
    ],
)
def test_a_wish_that_cannot_be_meant(client, fake, want, tmp_path):
    """A wrong wish is a UsageError, before anything is read or sent."""
    with pytest.raises(UsageError):
        register(client, want, artifacts=tmp_path)
    assert not fake.requests


def test_a_wrong_parameter_is_refused_here(client, fake, tmp_path):
    """The server would take it and fail at the first answer."""
    with pytest.raises(OllamaError, match="num_ctx"):
        register(
            client,
            SourceRegistration("mine", base="cyc", parameters={"num_ctx": "1"}),
            artifacts=tmp_path,
        )
    assert not fake.requests


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_an_incomplete_directory(client, safetensors, tmp_path, missing):
    """A directory without config or tokenizer is told before an upload."""
    (safetensors / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        register(client, SourceRegistration("hf", safetensors), artifacts=tmp_path / "art")


def test_no_gguf(client, tmp_path):
    """A file that is no GGUF, or is not there, is told before an upload."""
    other = tmp_path / "model.gguf"
    other.write_text("hello")
    with pytest.raises(ModelError, match="no GGUF"):
        register(client, SourceRegistration("mine", other), artifacts=tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        register(client, SourceRegistration("mine", tmp_path / "nope"), artifacts=tmp_path)


def test_a_late_error_of_create_is_an_error(client_of):
    """An error inside a 200 stream of a create is raised, not read over."""

    def create(connection):
        read_request(connection)
        lines = [{"status": "parsing GGUF"}, {"error": 'unsupported architecture "X"'}]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    with WireServer(create) as server, pytest.raises(OllamaError) as caught:
        list(client_of(server.url).create({"model": "m"}))
    assert caught.value.fault is Fault.BAD_MODEL


def test_a_server_too_old_to_render_is_told(client_of):
    """A server that answers instead of rendering cannot verify a template, and says so."""

    def chat(connection):
        read_request(connection)
        connection.sendall(
            json_response({"message": {"content": "a"}, "done": True, "done_reason": "length"})
        )

    with WireServer(chat) as server, pytest.raises(OllamaError, match="rendered prompt"):
        client_of(server.url).render("m", CHAT)
