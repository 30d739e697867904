"""Memory and speed of converting a random 1B-parameter Llama, beside a plain copy.

    python benchmarks/gguf_conversion.py [--layers 16] [--types f16 q8_0] [--directory DIR]

A model with Llama 3.2 1B's sizes (1.24 billion parameters, bfloat16, 2.5 GB) is written to a
temporary directory, copied with read and write and fsync, and converted to each type in a process
of its own, whose peak memory is what the operating system counted. One JSON object on stdout.
Nothing is written before the disk is known to have room, and everything is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from so8t.system.files import free_bytes

VOCABULARY, WIDTH, INNER, HEADS, KV_HEADS, HEAD_WIDTH = 128256, 2048, 8192, 32, 8, 64
CHUNK = 1 << 20
SPLIT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"  # noqa: E501 - one expression

CHILD = """
import json, sys
from pathlib import Path
from so8t.models.gguf_convert import convert
import gguf
def peak():
    if sys.platform == "win32":
        import psutil
        return psutil.Process().memory_info().peak_wset
    import resource
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
before = peak()
result = convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
print(json.dumps({"before": before, "peak": peak(), "seconds": result.seconds,
                  "size": result.size}))
"""


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Name the tensors of the model with their shapes."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for layer in range(layers):
        base = f"model.layers.{layer}"
        out |= {
            f"{base}.input_layernorm.weight": (WIDTH,),
            f"{base}.self_attn.q_proj.weight": (HEADS * HEAD_WIDTH, WIDTH),
            f"{base}.self_attn.k_proj.weight": (KV_HEADS * HEAD_WIDTH, WIDTH),
            f"{base}.self_attn.v_proj.weight": (KV_HEADS * HEAD_WIDTH, WIDTH),
            f"{base}.self_attn.o_proj.weight": (WIDTH, HEADS * HEAD_WIDTH),
            f"{base}.post_attention_layernorm.weight": (WIDTH,),
            f"{base}.mlp.gate_proj.weight": (INNER, WIDTH),
            f"{base}.mlp.up_proj.weight": (INNER, WIDTH),
            f"{base}.mlp.down_proj.weight": (WIDTH, INNER),
        }
    return out | {"model.norm.weight": (WIDTH,)}


def write_model(directory: Path, layers: int) -> int:
    """Write config, tokenizer and random bfloat16 weights; returns the number of parameters."""
    header, offset = {}, 0
    sizes = {name: int(np.prod(shape)) for name, shape in shapes(layers).items()}
    for name, shape in shapes(layers).items():
        end = offset + 2 * sizes[name]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    random = np.random.default_rng(1)
    with (directory / "model.safetensors").open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for size in sizes.values():
            for start in range(0, size, CHUNK):
                values = random.standard_normal(min(CHUNK, size - start), np.float32) * 0.02
                handle.write((values.view("<u4") >> 16).astype("<u2").tobytes())
        handle.flush()
        os.fsync(handle.fileno())
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_WIDTH,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "eos_token_id": 256,
    }
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    tokens = {chr(0x100 + value): value for value in range(256)}
    tokenizer = {
        "model": {"type": "BPE", "vocab": tokens, "merges": []},
        "added_tokens": [{"id": 256, "content": "<|end|>", "special": True}],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated"},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        },
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    return sum(sizes.values())


def plain_copy(source: Path, target: Path) -> float:
    """Copy a file in chunks, to the disk; returns seconds."""
    began = time.monotonic()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    seconds = time.monotonic() - began
    target.unlink()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--types", nargs="+", default=["f16", "q8_0", "q4_0"])
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    wanted = parser.parse_args()
    weights = 2 * sum(int(np.prod(shape)) for shape in shapes(wanted.layers).values())
    if free_bytes(wanted.directory) < 3 * weights:
        sys.exit(f"needs {3 * weights / 1e9:.1f} GB free in {wanted.directory}")
    with tempfile.TemporaryDirectory(dir=wanted.directory, prefix="so8t-bench-") as place:
        model = Path(place, "model")
        model.mkdir()
        report: dict[str, object] = {"parameters": write_model(model, wanted.layers)}
        copied = plain_copy(model / "model.safetensors", Path(place, "copy"))
        report |= {"weights_mb": weights / 1e6, "copy_mb_per_s": weights / 1e6 / copied}
        for kind in wanted.types:
            out = Path(place, f"{kind}.gguf")
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(model), str(out), kind],
                stdout=subprocess.PIPE,
                check=True,
            )
            found = json.loads(done.stdout)
            report[kind] = {
                "seconds": round(found["seconds"], 2),
                "read_mb_per_s": round(weights / 1e6 / found["seconds"], 1),
                "peak_mb": round(found["peak"] / 1e6, 1),
                "peak_before_mb": round(found["before"] / 1e6, 1),
                "file_mb": round(found["size"] / 1e6, 1),
            }
            out.unlink()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
