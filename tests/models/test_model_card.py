"""The card of a model that was made here."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from so8t.models.model_card import model_card
from so8t.models.sources import ResolvedSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAINING = {
    "policy": {"safety_files": 1, "found": 2, "masked": 1, "excluded": 1, "confidential": 1},
    "steps_done": 300,
    "trainable_parameters": 16128,
    "orthogonality_error": 5.7e-7,
    "held_out_loss_before": 3.25,
    "held_out_loss_after": 1.5,
    "conversations": 950,
    "held_out_conversations": 50,
    "data_digests": {"/home/someone/secret/train.jsonl": "sha256:dd"},
    "leaks": {"found": 2, "lines": 1002, "words": 13, "characters": 30, "dropped": 2},
}


def source(**changes):
    plain = {
        "kind": "hf",
        "location": "/home/someone/models/base-1b",
        "commit": None,
        "digest": "sha256:aa",
        "size": 10,
        "licence": "apache-2.0",
    }
    return ResolvedSource(**{**plain, **changes})


def read(card):
    """Split a card into its front matter and its text."""
    _, front, text = card.split("---\n", 2)
    return YAML(typ="safe", pure=True).load(front), text


def test_the_card_says_what_the_model_is_made_of():
    """Base, commit, method, data digests, losses, leaks, the statement on safety data, licence."""
    place = f"/cache/hub/models--someone--base-1b/snapshots/{COMMIT}"
    card = model_card("B", source(location=place, commit=COMMIT), "so8", TRAINING, "0.1.0")
    front, text = read(card)
    assert front["base_model"] == "someone/base-1b"
    assert front["base_model_relation"] == "finetune"
    assert front["license"] == "apache-2.0"
    assert front["tags"] == ["so8t", "so8"]
    for words in (
        COMMIT,
        "SO(8) rotations",
        "train.jsonl: `sha256:dd`",
        "3.25 before, 1.5 after",
        "950 conversations trained on, 50 held out",
        "2 lines of 1002 found",
        "for refusal and detection only",
        "That of the base: apache-2.0",
        "16,128",
        "5.7e-07",
    ):
        assert words in text, words


@pytest.mark.parametrize("licence", [None, "see LICENSE", 'a "very" own \\ licence'])
def test_an_unknown_licence_is_said_to_be_unknown(licence):
    """A licence that hubs have no id for is `other` with its name; none is unknown."""
    front, text = read(model_card("B", source(licence=licence), "lora", TRAINING, "0.1.0"))
    assert front["license"] == "other"
    assert front["license_name"] == (licence or "unknown")
    assert ("Unknown: neither" in text) == (licence is None)


def test_no_place_on_this_machine_is_in_it():
    """Names and digests are in the card, directories are not; an adapter is named."""
    base = source(
        adapter="/home/someone/adapters/tuned",
        adapter_kind="LORA",
        adapter_digest="sha256:bb",
        base_digest="sha256:cc",
    )
    card = model_card("B", base, "qlora", TRAINING, "0.1.0")
    assert "/home" not in card
    assert "base-1b" in card
    assert "tuned (LORA)" in card
    assert "sha256:bb" in card


def test_what_was_not_measured_is_unknown():
    """A figure that is missing is called unknown, never zero."""
    _, text = read(model_card("B", source(), "so8", {}, "0.1.0"))
    assert "unknown before, unknown after" in text
    assert "unknown conversations trained on" in text
