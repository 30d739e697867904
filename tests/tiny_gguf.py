"""A tiny random Llama as a GGUF file, made here so that engine tests need nothing from outside.

Byte-level vocabulary, ChatML template, about 70 kB. Equal seeds give equal bytes. The weights are
random, so the answers mean nothing; they depend on the whole prompt, and they end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HIDDEN, HEADS, LAYERS, TRAINED_CONTEXT = 32, 64, 2, 2, 4096
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONTROL = ["<|bos|>", "<|im_end|>", "<|im_start|>"]


def _byte_tokens() -> list[str]:
    """GPT-2's printable names of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable}
    names |= {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 1,
    template: str | None = TEMPLATE,
    end_weight: float = 1.4,
    space_weight: float = 1.0,
    sampling_temperature: float | None = None,
    more_tokens: int = 0,
) -> Path:
    """Write the model to `path` and return it.

    `end_weight` scales how soon an answer ends; 0 makes the end unlikely. `space_weight` scales
    the wish for spaces. A GGUF can bring a `sampling_temperature` of its own. `more_tokens` widens
    the vocabulary by tokens that no text contains.
    """
    random = np.random.default_rng(seed)
    tokens = [*_byte_tokens(), *_CONTROL, "Ġt", "he"]
    tokens += [f"<|more{n}|>" for n in range(more_tokens)]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(TRAINED_CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    kinds = [TokenType.CONTROL if token in _CONTROL else TokenType.NORMAL for token in tokens]
    writer.add_token_types(kinds)
    writer.add_token_merges(["Ġ t", "h e"])
    writer.add_bos_token_id(tokens.index("<|bos|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    if sampling_temperature is not None:
        writer.add_sampling_temp(sampling_temperature)
    if template is not None:
        writer.add_chat_template(template)

    def matrix(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        values = random.standard_normal((rows, columns)) * (scale / np.sqrt(columns))
        writer.add_tensor(name, values.astype(np.float16), raw_dtype=GGMLQuantizationType.F16)

    matrix("token_embd.weight", len(tokens), WIDTH, 4.0)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        writer.add_tensor(block + "attn_norm.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(block + "ffn_norm.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(block + name + ".weight", WIDTH, WIDTH, 2.0)
        matrix(block + "ffn_gate.weight", HIDDEN, WIDTH, 2.0)
        matrix(block + "ffn_up.weight", HIDDEN, WIDTH, 2.0)
        matrix(block + "ffn_down.weight", WIDTH, HIDDEN, 2.0)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    output = random.standard_normal((len(tokens), WIDTH))
    # Only letters, space and the end are likely, so that answers are readable and end.
    output[:] *= 0.2
    for byte in [*range(97, 123), 32]:
        output[byte] *= 5.0
    output[tokens.index("<|im_end|>")] *= 5.0 * end_weight
    output[tokens.index("<|im_start|>")] *= 0.0
    output[32] *= space_weight
    writer.add_tensor(
        "output.weight", output.astype(np.float16), raw_dtype=GGMLQuantizationType.F16
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
