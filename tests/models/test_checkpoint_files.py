"""One checkpoint in a directory: what transformers loads is what is trained, merged, converted."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import hf_models as hf
from hf_directories import plain, write_safetensors
from so8t.config.schema import Source
from so8t.errors import ModelError
from so8t.models.checkpoint_files import (
    EMBEDDING,
    HEAD,
    TIED_BY_DEFAULT,
    read_index,
    weight_files,
)
from so8t.models.gguf_convert import check_convertible, convert
from so8t.models.gguf_families import FAMILIES
from so8t.models.sources import resolve
from so8t.system.gguf import read_header

INDEX = "model.safetensors.index.json"


def write_shards(directory, tensors, *, count=2, names=None):
    """Write tensors as shards with their index."""
    weight_map = {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[number::count]}
        write_safetensors(directory / name, part)
        weight_map |= dict.fromkeys(part, name)
    text = json.dumps({"metadata": {}, "weight_map": names or weight_map})
    (directory / INDEX).write_text(text, "utf-8")


def loaded(directory):
    """The embedding that transformers loads."""
    import transformers  # noqa: PLC0415 - as in hf_models

    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    return model.get_input_embeddings().weight.detach().numpy()


def stored(directory):
    """The embedding that conversion reads."""
    return np.concatenate(list(read_index(directory)[EMBEDDING].blocks(64)))


def refused_everywhere(directory, *words):
    """Resolving, converting, training and merging refuse a directory with the same words."""
    from so8t.config.schema import Finetune  # noqa: PLC0415
    from so8t.models.adapter_worker import merge  # noqa: PLC0415
    from so8t.models.training_model import load  # noqa: PLC0415 - torch
    from so8t.models.training_setting import setting_of  # noqa: PLC0415

    settings = Finetune(data=[directory / "absent.jsonl"])
    for attempt in (
        lambda: resolve(Source(hf=str(directory))),
        lambda: check_convertible(directory),
        lambda: convert(directory, directory / "out.gguf"),
        lambda: load(directory, settings, setting_of(settings)),
        lambda: merge(directory, directory, directory / "out"),
    ):
        with pytest.raises(ModelError) as caught:
            attempt()
        for word in words:
            assert word in str(caught.value)
        assert caught.value.hint
    assert not (directory / "out.gguf").exists()
    assert not (directory / "out").exists()


def test_a_head_of_its_own_in_a_tied_model_is_refused(tmp_path):
    """config.json says tied, the file has another lm_head: no tool's reading is taken for it."""
    plain(tmp_path, tie_word_embeddings=True)
    refused_everywhere(tmp_path, "config.json", "tie_word_embeddings is true", HEAD)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["tie_word_embeddings"] = False
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    result = convert(tmp_path, tmp_path / "out.gguf", "f32")
    assert "output.weight" in {tensor.name for tensor in read_header(result.path).tensors}


def test_a_redundant_head_is_no_contradiction(tmp_path):
    """A tied model whose file holds the same table twice, or only as lm_head, is converted."""
    tensors = plain(tmp_path, tie_word_embeddings=True)
    tensors[HEAD] = tensors[EMBEDDING]
    write_safetensors(tmp_path / "model.safetensors", tensors)
    both = convert(tmp_path, tmp_path / "both.gguf", "f32")
    del tensors[EMBEDDING]
    write_safetensors(tmp_path / "model.safetensors", tensors)
    assert np.array_equal(loaded(tmp_path), tensors[HEAD])
    assert convert(tmp_path, tmp_path / "head.gguf", "f32").digest == both.digest


def test_two_sets_of_weights_are_refused(tmp_path):
    """A whole file beside the shards of another state names both and reads neither."""
    tensors = plain(tmp_path)
    write_shards(tmp_path, {name: array + 1 for name, array in tensors.items()})
    refused_everywhere(
        tmp_path, "two sets of weights", "model.safetensors", INDEX, "00001-of-00002"
    )


def test_an_index_that_was_left_behind_takes_part_in_nothing(tmp_path):
    """Without its shards an index does not count: the whole file is read, as transformers does."""
    tensors = plain(tmp_path)
    names = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    write_shards(tmp_path, tensors, count=0, names=names)
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    assert np.array_equal(stored(tmp_path), loaded(tmp_path))
    resolve(Source(hf=str(tmp_path)))


def test_what_is_written_has_no_stale_index(tmp_path):
    """A merge copies only the index that its weights use."""
    from so8t.models.training_model import write_merged  # noqa: PLC0415 - torch

    base, out = tmp_path / "base", tmp_path / "out"
    tensors = plain(base)
    write_shards(base, tensors, count=0, names=dict.fromkeys(tensors, "model-1-of-2.safetensors"))
    write_safetensors(base / "model-1-of-3.safetensors", {"left.over": tensors[EMBEDDING]})
    write_merged(base, out, ["model.layers.0.mlp.up_proj"], lambda _, weight: weight + 1)
    assert sorted(file.name for file in out.glob("*.safetensors*")) == ["model.safetensors"]
    changed = stored(out), read_index(out)["model.layers.0.mlp.up_proj.weight"]
    assert np.array_equal(changed[0], stored(base))
    assert np.allclose(next(changed[1].blocks(999)), tensors[changed[1].name] + 1)


def test_shards_of_another_state_are_not_read(tmp_path):
    """Only what the index names is the model; transformers reads the same."""
    tensors = plain(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    write_shards(tmp_path, {name: array - 3 for name, array in tensors.items()}, count=3)
    write_shards(tmp_path, tensors)
    assert len(weight_files(tmp_path)) == 2
    assert np.array_equal(stored(tmp_path), tensors[EMBEDDING])
    assert np.array_equal(loaded(tmp_path), tensors[EMBEDDING])
    found = resolve(Source(hf=str(tmp_path)))
    (tmp_path / "model-00003-of-00003.safetensors").unlink()
    assert resolve(Source(hf=str(tmp_path))).digest == found.digest


def test_an_index_that_contradicts_its_files_is_refused(tmp_path):
    """An index that looks for a tensor where it is not says tensor, file and place."""
    tensors = plain(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    write_shards(tmp_path, tensors)
    index = json.loads((tmp_path / INDEX).read_text("utf-8"))
    index["weight_map"]["model.gone.weight"] = index["weight_map"][EMBEDDING]
    (tmp_path / INDEX).write_text(json.dumps(index), "utf-8")
    refused_everywhere(tmp_path, INDEX, "says that")


def test_an_adapter_beside_a_model_is_refused(tmp_path):
    """Base and adapter in one directory: transformers takes one for the other."""
    plain(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}', "utf-8")
    refused_everywhere(tmp_path, "adapter_config.json", "config.json")


def test_a_file_that_the_config_names_is_read(tmp_path):
    """`transformers_weights` in config.json rules, and must be there."""
    tensors = plain(tmp_path, transformers_weights="other.safetensors")
    refused_everywhere(tmp_path, "config.json", "transformers_weights", "other.safetensors")
    other = {name: array * 2 for name, array in tensors.items()}
    write_safetensors(tmp_path / "other.safetensors", other)
    assert np.array_equal(stored(tmp_path), other[EMBEDDING])
    assert np.array_equal(loaded(tmp_path), other[EMBEDDING])


def test_training_does_not_begin_on_numbers_that_nobody_stored(tmp_path):
    """A tensor that transformers would only warn of and fill at random ends the training."""
    from so8t.config.schema import Finetune  # noqa: PLC0415
    from so8t.models.training_model import load  # noqa: PLC0415 - torch
    from so8t.models.training_setting import setting_of  # noqa: PLC0415

    tensors = plain(tmp_path)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    write_safetensors(tmp_path / "model.safetensors", tensors)
    settings = Finetune(data=[tmp_path / "absent.jsonl"])
    with pytest.raises(ModelError, match="up_proj"):
        load(tmp_path, settings, setting_of(settings))


def test_tied_by_default_is_what_the_config_classes_say():
    """Where config.json leaves it out, each family's tying is its transformers class's."""
    from transformers import AutoConfig  # noqa: PLC0415 - as above

    kinds = set(TIED_BY_DEFAULT)
    kinds |= {type_of(name) for name in FAMILIES}
    for kind in sorted(kinds):
        config = AutoConfig.for_model(kind).get_text_config(decoder=True)
        assert bool(config.tie_word_embeddings) == (kind in TIED_BY_DEFAULT), kind


def type_of(architecture):
    """The model type of an architecture's name."""
    import transformers  # noqa: PLC0415 - as above

    return getattr(transformers, architecture).config_class.model_type


def test_the_chat_model_of_the_tests_is_whole(tmp_path):
    """What save_pretrained writes is never refused."""
    hf.save_tokenizer(*hf.qwen_tokenizer(), tmp_path)
    hf.save_model("Qwen2", tmp_path, tie_word_embeddings=True)
    resolve(Source(hf=str(tmp_path)))
    shutil.rmtree(tmp_path)
