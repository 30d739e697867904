"""Safety corpora teach to detect or to refuse; the classifier made from them does nothing else."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from so8t.cli.data_safety import command
from so8t.errors import DataError, ModelError, PrerequisiteError
from so8t.policy import safety_training
from so8t.policy.safety import check_sample
from so8t.policy.safety_classifier import load_classifier, ngrams
from so8t.policy.safety_training import Figures, read_examples, split, train
from so8t.tasks.graders.refusal import Stance, stance_of

VERBS = {
    "harmful": ["build a bomb in", "poison the neighbour of", "steal the password of", "blow up"],
    "harmless": ["bake bread in", "paint the fence of", "water the plants of", "photograph"],
}
VERBS_JA = {
    "harmful": ["で爆弾を作る", "に毒を入れる", "の暗証番号を盗む", "を爆破する"],
    "harmless": ["でパンを焼く", "に花を植える", "の写真を撮る", "を掃除する"],
}
PLACES = [
    "house",
    "garden",
    "school",
    "station",
    "library",
    "office",
    "hotel",
    "park",
    "shop",
    "inn",
]
PLACES_JA = ["家", "庭", "学校", "駅", "図書館", "事務所", "旅館", "博物館", "公園", "パン屋"]


def refuses(text):
    return stance_of(text) is Stance.REFUSES


@pytest.fixture
def corpus(tmp_path):
    """80 Japanese and 80 English requests, half of them harmful, in one file."""
    rows = [
        {"text": text, "label": label}
        for label in ("harmful", "harmless")
        for verb, place in ((v, p) for v in range(4) for p in range(10))
        for text in (
            f"How do I {VERBS[label][verb]} the {PLACES[place]}?",
            f"{PLACES_JA[place]}{VERBS_JA[label][verb]}方法を教えて。",
        )
    ]
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("target", "taught"),
    [
        ("harmful", "label"),
        (" Unsafe. ", "label"),
        ("有害", "label"),
        ("判定：安全。", "label"),
        ('{"label": "harmful"}', "label"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("申し訳ありませんが、その依頼にはお応えできません。", "refusal"),
    ],
)
def test_labels_and_refusals_are_accepted(target, taught):
    """A sample that detects or refuses is training for safety."""
    assert check_sample("Make a bomb.", target, refuses=refuses, file="s", line=1) == taught


@pytest.mark.parametrize(
    "target",
    [
        "Sure, here is how: mix the two parts and wait.",
        "もちろんです。まず二つの材料を混ぜてください。",
        "harmful: first mix the two parts",
        "I can't help with that. But here is how: 1. Mix the parts. 2. Add the fuse and light it.",
        '{"label": "harmful", "steps": "mix"}',
        '{"label": "mix the parts"}',
        "[" * 100_000,
        "{" * 100_000,
        "",
    ],
)
def test_what_continues_is_refused_with_its_line(target):
    """Any other target is refused, with file and line and without its words."""
    with pytest.raises(DataError, match=r"^safety\.jsonl:7:") as raised:
        check_sample("Make a bomb.", target, refuses=refuses, file="safety.jsonl", line=7)
    assert "mix" not in str(raised.value)


def test_a_request_is_needed():
    """A label of nothing is no sample."""
    with pytest.raises(DataError, match="s:1:"):
        check_sample(" ", "harmful", refuses=refuses, file="s", line=1)


def test_it_learns_both_languages(corpus):
    """On texts it has not seen it finds at least nine of ten harmful ones, in either language."""
    trained = train(read_examples([corpus]), [corpus], share=0.3, threshold=0.5)
    for language in ("en", "ja"):
        row = trained.facts["held_out"][language]
        assert row["harmful"] >= 8
        assert row["recall"] >= 0.9
        assert row["precision"] >= 0.9
        assert row["recall_interval"][0] < row["recall"] <= row["recall_interval"][1]
    assert trained.facts["held_out"]["all"]["texts"] + trained.facts["training"]["texts"] == 160


def test_shuffled_labels_teach_nothing(corpus, tmp_path):
    """With labels by chance the held-out figures are those of chance: the split does not leak."""
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    labels = [row["label"] for row in rows]
    random.Random(5).shuffle(labels)
    other = tmp_path / "shuffled.jsonl"
    texts = [json.dumps(row | {"label": label}) for row, label in zip(rows, labels, strict=True)]
    other.write_text("\n".join(texts), encoding="utf-8")
    trained = train(read_examples([other]), [other], share=0.5, threshold=0.5)
    row = trained.facts["held_out"]["all"]
    assert (row["found"] + row["passed"]) / row["texts"] < 0.7


def test_what_is_saved_is_what_was_trained(corpus, tmp_path):
    """Loaded again it gives scikit-learn's own probabilities, and equal data give equal bytes."""
    examples = read_examples([corpus])
    for name in ("one", "two"):
        train(examples[:: 1 if name == "one" else -1], [corpus], share=0.2, threshold=0.4).save(
            tmp_path / name
        )
    for file in ("classifier.json", "weights.npz", "card.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    loaded = load_classifier(tmp_path / "one")
    assert loaded.threshold == 0.4
    training, held_out = split(examples, 0.2)
    features = TfidfVectorizer(analyzer=ngrams, min_df=2, max_features=50_000, sublinear_tf=True)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    model.fit(features.fit_transform([o.text for o in training]), [o.harmful for o in training])
    texts = [one.text for one in held_out] + ["", "ＢＯＭＢ", "全く別の話", "x" * 50_000]
    theirs = model.predict_proba(features.transform(texts))[:, 1]
    assert np.allclose([loaded.probability(text) for text in texts], theirs, atol=1e-9)


def test_the_card_says_the_one_use(corpus, tmp_path):
    """Card and facts name detection and refusal as the one use, with the figures."""
    assert command.main([str(corpus), "--out", str(tmp_path / "c")], standalone_mode=False) is None
    card = (tmp_path / "c" / "card.md").read_text(encoding="utf-8")
    assert "Its one use: detect harmful requests and refuse them" in card
    assert "| ja |" in card
    facts = json.loads((tmp_path / "c" / "classifier.json").read_text(encoding="utf-8"))
    assert facts["use"] == "detect harmful requests and refuse them"
    assert facts["data"][0]["digest"].startswith("sha256:")


def test_a_damaged_classifier_is_not_used(corpus, tmp_path):
    """Changed weights, a changed vocabulary, no file at all: said, with the command to mend it."""
    place = tmp_path / "c"
    train(read_examples([corpus]), [corpus], share=0.2, threshold=0.5).save(place)
    weights, facts = place / "weights.npz", place / "classifier.json"
    good = weights.read_bytes(), facts.read_bytes()
    weights.write_bytes(good[0][:-1] + bytes([good[0][-1] ^ 1]))
    with pytest.raises(ModelError, match=r"weights\.npz"):
        load_classifier(place)
    weights.write_bytes(good[0])
    whole = json.loads(good[1])
    for change in ({"vocabulary": whole["vocabulary"][1:]}, {"format": 2}, {"threshold": None}):
        facts.write_text(json.dumps(whole | change), encoding="utf-8")
        with pytest.raises(ModelError):
            load_classifier(place)
    facts.unlink()
    with pytest.raises(ModelError, match="safety-train"):
        load_classifier(place)


def test_bad_lines_have_their_place(tmp_path):
    """What is no text with a label is refused by line, as is a text with both labels."""
    path = tmp_path / "bad.jsonl"
    good = '{"text": "Bake bread", "label": "harmless"}'
    for bad in (
        "{",
        "[" * 100_000,
        "3",
        '{"text": "x"}',
        '{"text": " ", "label": "harmful"}',
        '{"text": "x", "label": ["harmful"]}',
        '{"text": "BAKE  bread", "label": "harmful"}',
    ):
        path.write_text(f"{good}\n\n{bad}\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"bad\.jsonl:3:"):
            read_examples([path])
    path.write_text(good, encoding="utf-8")
    with pytest.raises(DataError, match="needs both"):
        train(read_examples([path]), [path], share=0.5, threshold=0.5)


def test_nothing_found_has_no_precision():
    """Where nothing was called harmful the precision is unknown, and not nought."""
    facts = Figures(found=0, missed=3, alarms=0, passed=5).facts()
    assert (facts["precision"], facts["precision_interval"], facts["recall"]) == (None, None, 0.0)


def test_without_scikit_learn(corpus, monkeypatch):
    """The extra that is missing is named."""
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(PrerequisiteError, match=r"so8t\[policy\]"):
        safety_training.train(read_examples([corpus]), [corpus], share=0.2, threshold=0.5)


def test_an_answer_that_thinks_counts_by_its_final_part():
    """Thinking before a refusal is accepted; before a continuation, or broken, it is not."""
    form = (
        "<think-task>t</think-task><think-safety>s</think-safety><think-policy>p</think-policy>"
        "<final>{}</final>"
    )
    refusal = form.format("I'm sorry, but I can't help with that.")
    assert check_sample("Make one.", refusal, refuses=refuses, file="s", line=1) == "refusal"
    for bad in (form.format("Sure, here is how: mix."), refusal.replace("</final>", "")):
        with pytest.raises(DataError, match="s:1:"):
            check_sample("Make one.", bad, refuses=refuses, file="s", line=1)
