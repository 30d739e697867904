"""The quickstart's suite is held out, its files are what their seeds give, and they are small."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from so8t.examples import quickstart

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "quickstart"))
import generate  # noqa: E402 - the programs that made the files, which do not ship
import make_base  # noqa: E402
import world  # noqa: E402

NUMBER = r"(\d+|[一二三四五六七八九十]+)"
VALUES = {world.kanji_number(n): n for n in range(1, 100)}
PAIRS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{NUMBER} (?:\+|-|plus|minus|and|or|たす|と|に) {NUMBER}",
        r"has (\d+) \w+ and (?:gets|gives away) (\d+)",
    )
)
NAMES = re.compile("|".join(world.NAMES))
NONSENSE = re.compile(r"\b(?:" + "|".join(world.NONSENSE) + r")\b")
RUN = re.compile(r"\d+(?:, \d+){3,}")
NUMERAL = re.compile(r"「([一二三四五六七八九十]{2,3})」|([一二三四五六七八九十]+)（(\d+)）")
QUOTED = re.compile(r"「([^」]+)」")
REQUEST = re.compile(
    r"(?:How do I|Tell me how to|I want to|What is the best way to|Help me|Can I) "
    r"(.+?)( today)?[?.]$"
)
REQUEST_JA = re.compile(r"(\S+) を (\S+) (?:方法は|やり方を|ことが)")
_NOUNS = "|".join(noun for nouns in world.COUNTERS.values() for noun in nouns)
COUNTER = re.compile(rf"\b({_NOUNS}) (?:が )?([二三四五六七八九])(?:（|つは|[冊枚匹台本人個頭])")
_PARTICLE_NOUNS = "|".join({noun for nouns, _ in world.PARTICLES.values() for noun in nouns})
PARTICLE = re.compile(rf"\b({_PARTICLE_NOUNS})(?:（　）| [をでにと] | と )(\w+ます)")


def facts(text: str) -> set[str]:
    """Find what a text asks or states, by patterns of its own, apart from the generator's keys."""
    found: set[str] = set()
    for pattern in PAIRS:
        for match in pattern.finditer(text):
            pair = sorted(VALUES.get(value) or int(value) for value in match.groups())
            found.add(f"pair {pair}")
    if "than" in text and (people := set(NAMES.findall(text))) and len(people) == 3:
        found.add(f"people {sorted(people)}")
    if text.startswith(("All ", "Not all ")) and len(words := set(NONSENSE.findall(text))) == 3:
        found.add(f"words {sorted(words)}")
    for match in RUN.findall(text):
        first, second = match.split(", ")[:2]
        found.add(f"run {first} {second}")
    for match in NUMERAL.finditer(text):
        found.add(f"numeral {VALUES[match[1] or match[2]]}")
    found.update(f"count {noun} {number}" for noun, number in COUNTER.findall(text))
    found.update(f"particle {noun} {verb}" for noun, verb in PARTICLE.findall(text))
    return found


def asked(prompt: str) -> set[str]:
    """The facts of a question, those included that documents may state but nobody may ask for."""
    found = facts(prompt) | {f"word {word}" for word in QUOTED.findall(prompt)}
    if prompt.startswith(("Which one is ", "Choose ", "Out of ")):
        words = (word for words in world.KINDS.values() for word in words)
        options = sorted(word for word in words if re.search(rf"\b{word}\b", prompt))
        found.add(f"options {options}")
    if match := REQUEST.match(prompt) or REQUEST_JA.search(prompt):
        found.add(f"request {match[1]} {match[2] or ''}")
    return found


def normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .。?？")


@pytest.fixture(scope="module")
def made():
    """How the shipped base was made, as make_base wrote it down."""
    path = quickstart.paths().base.with_name("base.made.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def suite():
    lines = quickstart.paths().suite.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def conversations():
    lines = quickstart.paths().train.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def test_the_files_are_what_the_seeds_give(tmp_path):
    """Generating again gives the shipped train.jsonl and suite.jsonl byte for byte."""
    generate.write(tmp_path)
    for path in (quickstart.paths().train, quickstart.paths().suite):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_suite_is_balanced_and_complete(suite):
    """Each category has 120 items of known graders, each id and prompt is there once."""
    assert Counter(item["category"] for item in suite) == dict.fromkeys(
        ("mathematics", "logic", "safety", "japanese"), 120
    )
    assert len({item["id"] for item in suite}) == len(suite)
    assert len({normal(item["prompt"]) for item in suite}) == len(suite)
    for item in suite:
        grader = item["grader"]
        if item["category"] == "safety":
            assert set(item) == {"id", "category", "language", "prompt", "grader"}
            assert grader["type"] == "refusal"
        elif isinstance(grader, dict):
            assert item["reference"] in grader["options"]
        else:
            assert grader in {"number", "exact"}
            assert item["reference"]
    expected = Counter(i["grader"]["expect"] for i in suite if i["category"] == "safety")
    assert expected == {"refuse": 60, "comply": 60}
    assert {item["language"] for item in suite} == {"en", "ja"}


def test_no_item_is_in_the_fine_tuning_data(suite, conversations):
    """No prompt of the suite, and no fact that one of its items needs, is in train.jsonl."""
    prompts = {normal(turns[0]["content"]) for turns in conversations}
    assert not prompts & {normal(item["prompt"]) for item in suite}
    known = {fact for turns in conversations for fact in asked(turns[0]["content"])}
    needed = {item["prompt"]: asked(item["prompt"]) for item in suite}
    assert not {prompt: both for prompt, found in needed.items() if (both := found & known)}
    # The patterns see what they are for: each item needs a fact, whatever its wording.
    assert not [prompt for prompt, found in needed.items() if not found]


@pytest.mark.slow
def test_no_item_is_in_what_the_base_read(suite, made):
    """No prompt of the suite is in any text that the base read; nor is a fact that an item needs.

    What cannot be derived (readings, opposites) documents state, but no conversation asks for.
    """
    prompts = {normal(item["prompt"]) for item in suite}
    needed = {fact for item in suite for fact in asked(item["prompt"])}
    assert made["texts"] > 100_000
    for text in generate.pretraining(made["texts"]):
        found = facts(text) if isinstance(text, str) else asked(text[0])
        if found & needed:
            pytest.fail(f"{text!r} gives away {found & needed}")
        if not isinstance(text, str):
            assert normal(text[0]) not in prompts


def test_the_base_is_small_and_complete(made):
    """The base is a Llama directory of at most 8 MB, in sizes that 32 divides."""
    base = quickstart.paths().base
    assert sum(file.stat().st_size for file in base.rglob("*")) <= 8_000_000
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["hidden_size"] % 32 == config["intermediate_size"] % 32 == 0
    assert {file.name for file in base.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (made["steps"], made["seed"]) == (make_base.STEPS, make_base.SEED)


def test_the_tokenizer_is_made_from_the_seed():
    """Training the tokenizer again gives the shipped one."""
    shipped = Tokenizer.from_file(str(quickstart.paths().base / "tokenizer.json"))
    assert make_base.make_tokenizer().get_vocab() == shipped.get_vocab()


def test_training_and_suite_are_small():
    """train.jsonl and suite.jsonl together stay under 2 MB."""
    data = (quickstart.paths().train, quickstart.paths().suite)
    assert sum(file.stat().st_size for file in data) < 2_000_000
