"""Small random Hugging Face models with tokenizers of the families' real structure.

Nothing is downloaded: the tokenizers are trained here on this file's own text, with the
expressions, normalizers and post-processors that the families' tokenizer.json files have.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_LEAD, _UP, _LOW = (
    r"[^\r\n\p{L}\p{N}]?",
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
)
TEKKEN = (
    f"{_LEAD}{_UP}*{_LOW}+|{_LEAD}{_UP}+{_LOW}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (
    f"{_LEAD}{_UP}*{_LOW}+{_CONTRACTION}|{_LEAD}{_UP}+{_LOW}*{_CONTRACTION}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

ENGLISH = [
    "Hello world",
    "The quick brown fox jumps over the lazy dog.",
    "It's 12345 o'clock, isn't it? We'll see; they've WE'VE gone.",
    "   leading and trailing   ",
    "Line one\nline two\n\n\nline five",
    "A\tB\t\tC",
    "Prices: $1,234.56 (+7%) – roughly €1 000",
    "e = mc²; ½ + ¼ = ¾",
    "don't DON'T Don’t",
    "Natural language processing, 1999-2026.",
    "x",
    "naïve café Ångström Straße",
    "…and so on…",
]
JAPANESE = [
    "日本の首都は東京です。",
    "こんにちは、世界！",
    "ありがとうございます。",
    "カタカナとひらがなと漢字",
    "１２３４５は全角の数字です。",
    "りんごが3個、みかんが12個あります。全部で何個ですか？",
    "「はい」と彼は言った。\n「いいえ」と彼女は言った。",
    "東京都千代田区1-1",
    "ｶﾀｶﾅ半角",
    "質問：次の計算をしなさい。 7 + 8 =",
    "お誕生日おめでとう🎂",
    "薔薇、憂鬱、麒麟",
]
CODE = [
    "def f(x):\n    return x + 1\n",
    "for (int i = 0; i < 10; ++i) { sum += a[i]; }",
    "SELECT * FROM t WHERE a >= 1 AND b <> 'x';",
    '{"key": [1, 2.5e-3, null, true]}',
    "<html><body class='a'>&nbsp;</body></html>",
    "#!/usr/bin/env python3\nimport os, sys\n",
    "if __name__ == '__main__':\n\tmain()\n",
    "a->b(c)[d] = *e++;",
    "git commit -m 'fix: #123'",
    "\\frac{a}{b} \\times \\alpha",
    "lambda self, *args, **kwargs: None",
    "https://example.org/path?q=1&r=%20#top",
]
EMOJI = [
    "🎉",
    "👩‍👩‍👧 family 🎉🎉",
    "I ❤️ you ☺",
    "🇯🇵🇺🇳",
    "👍🏽 ok 👌",
    "mixed 混合 🙂 text",
    "☃️❄️ snow",
    "emoji at end 😀",
    "😀 emoji at start",
    "a😀b😀c",
    "✅ done ❌ failed",
    "🧑‍💻 writes code 💻",
    "⚠️ 警告",
]
PROMPTS = [*ENGLISH, *JAPANESE, *CODE, *EMOJI]

_JAPANESE_TEXT = "".join(JAPANESE) * 3 + "これは日本語の文章です。" * 5


@cache
def corpus() -> tuple[str, ...]:
    """Text to train tokenizers on: this file, which only changes with the tests, and prompts."""
    return (Path(__file__).read_text("utf-8"), _JAPANESE_TEXT, *PROMPTS)


def byte_level(
    pattern: str | None, *, size: int = 700, ignore_merges: bool = False, digits: bool = False
) -> Tokenizer:
    """A byte-level BPE that splits with `pattern`; None is GPT-2's own expression."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if pattern is None:
        steps = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
    else:
        steps = [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def sentencepiece_like(*, size: int = 700, prepend: bool = True) -> Tokenizer:
    """A BPE with byte fallback, its merges laid out as the conversion from SentencePiece does."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size - 259, show_progress=False, limit_alphabet=150)
    trained.train_from_iterator(corpus(), trainer)
    order = [text for text, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])]
    pieces = [text for text in order if len(text) > 1]
    characters = [text for text in order if len(text) == 1]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    names += [*pieces, *characters]
    vocabulary = {text: number for number, text in enumerate(names)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=names[0], fuse_unk=True, byte_fallback=True)
    )
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prepend else replace
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prepend else []),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def with_bos(tokenizer: Tokenizer, token: str) -> Tokenizer:
    """Make a tokenizer put `token` before every text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token} $B",
        special_tokens=[(token, tokenizer.token_to_id(token))],
    )
    return tokenizer


def qwen_tokenizer() -> tuple[Tokenizer, dict]:
    """Qwen 2 and 3: NFC, single digits, ChatML tokens, no bos."""
    tokenizer = byte_level(QWEN2)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def llama3_tokenizer() -> tuple[Tokenizer, dict]:
    """Llama 3: groups of three digits, whole words before merges, a bos token."""
    tokenizer = byte_level(LLAMA3, ignore_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    return with_bos(tokenizer, "<|begin_of_text|>"), {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
    }


def mistral_tokenizer() -> tuple[Tokenizer, dict]:
    """Mistral 0.1-0.3 and Llama 2: SentencePiece-like, bos and a space before every text."""
    return with_bos(sentencepiece_like(), "<s>"), {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }


def phi3_tokenizer() -> tuple[Tokenizer, dict]:
    """Phi-3: SentencePiece-like without bos, chat tokens that swallow white space after them."""
    tokenizer = sentencepiece_like()
    tokenizer.add_special_tokens(
        [
            AddedToken("</s>", rstrip=True, special=True),
            "<|endoftext|>",
            *(
                AddedToken(f"<|{name}|>", rstrip=True, special=True)
                for name in ("assistant", "system", "end", "user")
            ),
        ]
    )
    return tokenizer, {
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<unk>",
    }


def gpt4o_tokenizer() -> tuple[Tokenizer, dict]:
    """Phi-4-mini: GPT-4o's expression, no bos."""
    tokenizer = byte_level(GPT4O)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"])
    return tokenizer, {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}


def save_tokenizer(
    tokenizer: Tokenizer, settings: dict, directory: Path, template: str | None = TEMPLATE
) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template, as transformers does."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "TokenizersBackend", **settings}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    if template is not None:
        (directory / "chat_template.jinja").write_text(template, "utf-8")


def save_model(name: str, directory: Path, *, seed: int = 0, rows: int | None = None, **changes):
    """Save a random model of the family `name` ("Llama", "Qwen2", ...) beside its tokenizer.

    Returns the model. `rows` is the size of the embedding, the tokenizer's where not given.
    """
    import torch  # noqa: PLC0415 - most tests here need no model
    import transformers  # noqa: PLC0415

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    settings = json.loads((directory / "tokenizer_config.json").read_text("utf-8"))

    def token(key: str) -> int | None:
        value = settings.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        return None if text is None else tokenizer.token_to_id(text)

    config = {
        "vocab_size": rows or tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "initializer_range": 0.15,
        "bos_token_id": token("bos_token"),
        "eos_token_id": token("eos_token"),
        "pad_token_id": token("pad_token"),
        **changes,
    }
    model = getattr(transformers, f"{name}ForCausalLM")(
        getattr(transformers, f"{name}TextConfig", getattr(transformers, f"{name}Config"))(**config)
    )
    # Norms and biases start as ones and zeros, which would hide a mistake with them.
    for key, value in model.named_parameters():
        if key.endswith("bias") or "norm" in key:
            value.data += 0.3 * torch.randn_like(value)
    model.eval().save_pretrained(directory)
    return model
