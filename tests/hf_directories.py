"""Hugging Face directories for tests: random models of families, and small ones without torch."""

from __future__ import annotations

import json
import struct

import numpy as np
from tokenizers import Tokenizer

import hf_models as hf
from so8t.system.gguf import read_header

TOKENIZERS = {
    "qwen": hf.qwen_tokenizer,
    "llama3": hf.llama3_tokenizer,
    "mistral": hf.mistral_tokenizer,
    "phi3": hf.phi3_tokenizer,
    "gpt4o": hf.gpt4o_tokenizer,
}
CHATS = {
    "qwen": ["<|im_start|>user\n日本は？<|im_end|>\n<|im_start|>assistant\n<think>\nhm</think>"],
    "llama3": ["<|end_of_text|> hello <|eot_id|>\n\nworld"],
    "mistral": ["Hi there</s> and on</s>"],
    "gpt4o": ["<|user|>hello<|end|>"],
    "phi3": [
        "<|user|>\nHow many?<|end|>\n<|assistant|>\n  Three.<|end|>",
        "<s> <|system|>  Be brief.<|end|><|endoftext|>\nok",
    ],
}


def rope(kind: str, **more) -> dict:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


LLAMA3_ROPE = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
FAMILIES = {
    "Llama": ("llama3", LLAMA3_ROPE),
    "Mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "Qwen2": ("qwen", {"tie_word_embeddings": True}),
    "Qwen3": ("qwen", {"head_dim": 32}),
    "Phi3": ("phi3", {}),
    "SmolLM3": ("llama3", {"num_hidden_layers": 4}),
    "Granite": (
        "qwen",
        {
            "attention_multiplier": 0.0625,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
        },
    ),
    "GraniteMoeHybrid": (
        "qwen",
        {
            "layer_types": ["attention", "attention"],
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 160,
            "position_embedding_type": "rope",
            "attention_multiplier": 0.0625,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
        },
    ),
    "Olmo2": ("qwen", {}),
    "Exaone4": ("qwen", {"num_hidden_layers": 64, "sliding_window": 8, "head_dim": 16}),
    "Glm4": ("qwen", {"head_dim": 16, "attention_bias": True}),
    "Gemma3": (
        "mistral",
        {"num_hidden_layers": 6, "sliding_window": 8, "head_dim": 32, "query_pre_attn_scalar": 32},
    ),
    "Ministral3": ("qwen", {"head_dim": 16}),
    "Qwen3Moe": (
        "qwen",
        {
            "head_dim": 32,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 48,
            "norm_topk_prob": True,
        },
    ),
    "GptOss": (
        "qwen",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 8,
            "intermediate_size": 96,
            **rope("yarn", factor=32.0, original_max_position_embeddings=4096),
        },
    ),
    "Lfm2": (
        "qwen",
        {
            "num_hidden_layers": 4,
            "layer_types": ["conv", "full_attention", "conv", "full_attention"],
        },
    ),
    "Qwen3_5": (
        "qwen",
        {
            "num_hidden_layers": 4,
            "head_dim": 32,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        },
    ),
}


def build(directory, family: str, tokenizer: str = "qwen", **changes):
    """Save a random model of a family; returns (model, tokenizer)."""
    made, settings = TOKENIZERS[tokenizer]()
    hf.save_tokenizer(made, settings, directory)
    return hf.save_model(family, directory, **changes), made


def real_tokenizer(source, directory) -> dict:
    """Write tokenizer.json for a vocabulary that is only there as GGUF."""
    data = read_header(source).metadata
    tokens = data["tokenizer.ggml.tokens"].strings()
    types = data["tokenizer.ggml.token_type"].numbers()
    model = {"type": "BPE", "vocab": {text: number for number, text in enumerate(tokens)}}
    out = {"version": "1.0", "model": model, "normalizer": None, "pre_tokenizer": None}
    if data["tokenizer.ggml.model"] == "gpt2":
        model["merges"] = data["tokenizer.ggml.merges"].strings()
        out["pre_tokenizer"] = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
    else:
        scores = data["tokenizer.ggml.scores"].numbers()
        pieces = [n for n, kind in enumerate(types) if kind == 1 and len(tokens[n]) > 1]
        pieces.sort(key=lambda number: -scores[number])
        model["merges"] = [
            [text[:cut], text[cut:]]
            for text in (tokens[number] for number in pieces)
            for cut in range(1, len(text))
            if text[:cut] in model["vocab"] and text[cut:] in model["vocab"]
        ]
        model |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
        out["normalizer"] = {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        }
    out["added_tokens"] = [
        {
            "id": number,
            "content": tokens[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != 4,
        }
        for number, kind in enumerate(types)
        if kind in {2, 3, 4}
    ]
    settings = {"eos_token": tokens[data["tokenizer.ggml.eos_token_id"]]}
    if data.get("tokenizer.ggml.add_bos_token"):
        settings |= {"bos_token": tokens[data["tokenizer.ggml.bos_token_id"]]}
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.json").write_text(json.dumps(out), "utf-8")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    if "bos_token" in settings:
        hf.with_bos(tokenizer, settings["bos_token"])
    hf.save_tokenizer(tokenizer, settings, directory, None)
    return settings


def plain(directory, *, dtype="<f4", **changes):
    """Write a small Llama directory without torch; returns its tensors by name."""
    tokenizer, settings = hf.qwen_tokenizer()
    hf.save_tokenizer(tokenizer, settings, directory)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        **changes,
    }
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    width, inner, rows = 64, config["intermediate_size"], config["vocab_size"]
    shapes = {
        "model.embed_tokens.weight": (rows, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (rows, width),
    }
    for layer in range(config["num_hidden_layers"]):
        base = f"model.layers.{layer}"
        shapes |= {
            f"{base}.input_layernorm.weight": (width,),
            f"{base}.post_attention_layernorm.weight": (width,),
            f"{base}.self_attn.q_proj.weight": (width, width),
            f"{base}.self_attn.k_proj.weight": (width // 2, width),
            f"{base}.self_attn.v_proj.weight": (width // 2, width),
            f"{base}.self_attn.o_proj.weight": (width, width),
            f"{base}.mlp.gate_proj.weight": (inner, width),
            f"{base}.mlp.up_proj.weight": (inner, width),
            f"{base}.mlp.down_proj.weight": (width, inner),
        }
    random = np.random.default_rng(1)
    tensors = {
        name: random.standard_normal(shape, np.float32).astype(dtype)
        for name, shape in shapes.items()
    }
    write_safetensors(directory / "model.safetensors", tensors)
    return tensors


def write_safetensors(path, tensors) -> None:
    """Write arrays as safetensors; uint16 stands for bfloat16."""
    kinds = {"<f4": "F32", "<f2": "F16", "<u2": "BF16", "<i8": "I64"}
    header, offset = {}, 0
    for name, array in tensors.items():
        place = [offset, offset + array.nbytes]
        kind = kinds[array.dtype.str]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        offset = place[1]
    text = json.dumps(header).encode()
    body = b"".join(array.tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
