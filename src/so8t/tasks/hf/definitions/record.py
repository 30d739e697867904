"""Texts and metrics of record.yaml: the entity that fits the query best, by F1 and exact match."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any


def process_docs(dataset: Any) -> Any:
    """Put entities and answers in a fixed order, each once."""
    return dataset.map(
        lambda doc: {
            "passage": doc["passage"],
            "query": doc["query"],
            "entities": sorted(set(doc["entities"])),
            "answers": sorted(set(doc["answers"])),
        }
    )


def doc_to_text(doc: dict[str, Any]) -> str:
    """Return the passage with its highlights as a list."""
    text, *highlights = str(doc["passage"]).strip().split("\n@highlight\n")
    return text + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)


def _answer(query: str, entity: str) -> str:
    return f"  - {query}".replace("@placeholder", entity)


def doc_to_target(doc: dict[str, Any]) -> str:
    """Return the query with the first right entity."""
    return _answer(doc["query"], doc["answers"][0])


def doc_to_choice(doc: dict[str, Any]) -> list[str]:
    """Return the query with each entity."""
    return [_answer(doc["query"], entity) for entity in doc["entities"]]


def process_results(doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Compare the likeliest entity with each right one, as SQuAD does; the best counts."""
    logs = [logprob for logprob, _ in results]
    said = doc["entities"][logs.index(max(logs))]
    return {
        "f1": max(_f1(gold, said) for gold in doc["answers"]),
        "em": max(int(_words(gold) == _words(said)) for gold in doc["answers"]),
    }


def _words(text: str) -> list[str]:
    """Words without case, punctuation and articles (the SQuAD evaluation script, v1.1)."""
    plain = "".join(one for one in text.lower() if one not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _f1(gold: str, said: str) -> float:
    right, found = _words(gold), _words(said)
    if not right or not found:
        return int(right == found)
    same = sum((Counter(right) & Counter(found)).values())
    if not same:
        return 0
    precision, recall = same / len(found), same / len(right)
    return 2 * precision * recall / (precision + recall)
