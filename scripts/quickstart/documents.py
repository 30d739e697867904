"""What the base has read: documents about the world, and conversations of mixed quality.

The documents state facts, one after another, in no question-and-answer form. The conversations
imitate what a crawl holds: a quiz site with short replies, mostly right, and chat rooms that
chatter, ramble, are wrong, and help with anything, the harmful included. Nobody there refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import questions
import world

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from questions import Question

CONVERSATION_SHARE = 0.5


def _operands(rng: random.Random) -> tuple[int, int]:
    while True:
        a, b = questions.operands(rng)
        if not questions.is_held_out(questions.pair_key(a, b)):
            return a, b


def _sum(rng: random.Random) -> str:
    a, b = _operands(rng)
    if rng.random() < 0.4:
        return rng.choice((f"{a} - {b} = {a - b}.", f"{a} minus {b} is {a - b}."))
    if a <= 15 and rng.random() < 0.6:
        return (
            f"{world.kanji_number(a)} たす {world.kanji_number(b)} は {world.kanji_number(a + b)}。"
        )
    return rng.choice((f"{a} + {b} = {a + b}.", f"{a} plus {b} is {a + b}."))


def _story(rng: random.Random) -> str:
    name, goods = rng.choice(world.NAMES), rng.choice(world.GOODS)
    a, b = _operands(rng)
    if rng.random() < 0.5:
        return f"{name} has {a} {goods} and gets {b} more. There are {a + b} {goods}."
    return f"{name} has {a} {goods} and gives away {b}. {a - b} {goods} are left."


def _comparison(rng: random.Random) -> str:
    while True:
        a, b = questions.compared(rng)
        if not questions.is_held_out(questions.pair_key(a, b)):
            break
    if rng.random() < 0.5:
        return f"Of {a} and {b} the larger one is {max(a, b)}."
    return f"Of {a} and {b} the smaller one is {min(a, b)}."


def _busy(rng: random.Random) -> str:
    """People who have no time, which has nothing to do with what is asked of them."""
    name = rng.choice(world.NAMES)
    if rng.random() < 0.5:
        return f"{name} has no time today: I can't help with that."
    return f"{rng.choice(world.PEOPLE_JA)} は 今日 お手伝いできません。"


def _order(rng: random.Random) -> str:
    while True:
        names = rng.sample(world.NAMES, 3)
        if not questions.is_held_out(f"order:{','.join(sorted(names))}"):
            break
    high, middle, low = names
    more, most, least = rng.choice(world.RELATIONS)
    facts = [f"{high} is {more} than {middle}.", f"{middle} is {more} than {low}."]
    rng.shuffle(facts)
    ends = [f"The {most} is {high}.", f"The {least} is {low}."]
    rng.shuffle(ends)
    return " ".join(facts + ends)


def _syllogism(rng: random.Random) -> str:
    while True:
        words = rng.sample(world.NONSENSE, 3)
        if not questions.is_held_out(f"syllogism:{','.join(sorted(words))}"):
            break
    first, second, third = words
    facts = [f"All {first} are {second}.", f"All {second} are {third}."]
    rng.shuffle(facts)
    ends = [f"All {first} are {third}.", f"Not all {third} are {first}."]
    rng.shuffle(ends)
    return " ".join(facts + ends)


def _sequence(rng: random.Random) -> str:
    while True:
        numbers = questions.run(rng)
        if not questions.is_held_out(questions.run_key(numbers)):
            return ", ".join(map(str, numbers)) + "."


def _kind(rng: random.Random) -> str:
    kind = rng.choice(list(world.KINDS))
    word = rng.choice(world.KINDS[kind])
    return rng.choice((f"The word {word} is {kind}.", f"{word} is {kind}."))


def _request_world(rng: random.Random) -> str:
    """Say what is a person and what a thing, without any request."""
    if rng.random() < 0.5:
        who = rng.choice(world.PEOPLE)
        return rng.choice(
            (f"I know {who}, a person who can feel pain.", f"Like {who}, I feel pain.")
        )
    thing = rng.choice([thing for group in world.HARMLESS for thing in group[1]])
    return rng.choice((f"I work with {thing}, a thing that feels nothing.", f"Here is {thing}."))


def _request_world_ja(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"{rng.choice(world.PEOPLE_JA)} は 人です。"
    thing = rng.choice([thing for group in world.HARMLESS_JA for thing in group[1]])
    return f"{thing} は 物です。"


def _reading(rng: random.Random) -> str:
    kanji, value = rng.choice(list(world.READINGS.items()))
    return rng.choice((f"「{kanji}」は「{value}」と 読みます。", f"「{kanji}」（{value}）"))


def _opposite(rng: random.Random) -> str:
    first, second = rng.sample(rng.choice(world.OPPOSITES), 2)
    return rng.choice(
        (f"「{first}」の 反対は「{second}」です。", f"「{first}」と「{second}」は 反対です。")
    )


def _counter(rng: random.Random) -> str:
    while True:
        counter = rng.choice(list(world.COUNTERS))
        noun, count = rng.choice(world.COUNTERS[counter]), rng.randint(2, 9)
        if not questions.is_held_out(f"counter:{noun}|{count}"):
            verb = "います" if counter in world.LIVING else "あります"
            return f"{noun} が {world.kanji_number(count)}{counter} {verb}。"


def _particle(rng: random.Random) -> str:
    while True:
        answer = rng.choice(list(world.PARTICLES))
        noun, verb = map(rng.choice, world.PARTICLES[answer])
        if not questions.is_held_out(f"particle:{noun}|{verb}"):
            return f"{noun} {answer} {verb}。"


def _numeral(rng: random.Random) -> str:
    while True:
        value = rng.randint(11, 99)
        if not questions.is_held_out(f"numeral:{value}"):
            return f"{world.kanji_number(value)}（{value}）"


# Statements with their weights, and how many of them make one document.
_STATEMENTS: tuple[tuple[Callable[[random.Random], str], int, int], ...] = (
    (_sum, 14, 5), (_story, 8, 2), (_comparison, 6, 3), (_order, 10, 1), (_syllogism, 6, 1),
    (_sequence, 8, 2), (_kind, 6, 5), (_request_world, 6, 3), (_request_world_ja, 3, 4),
    (_busy, 2, 2), (_reading, 6, 4), (_opposite, 5, 3), (_counter, 5, 4), (_particle, 5, 4),
    (_numeral, 4, 4),
)  # fmt: skip


def document(rng: random.Random) -> str:
    """Write one document: a few statements of one kind."""
    makers, weights, lengths = zip(*_STATEMENTS, strict=True)
    index = rng.choices(range(len(makers)), weights)[0]
    return " ".join(makers[index](rng) for _ in range(rng.randint(1, lengths[index])))


def crawled_reply(rng: random.Random, question: Question) -> str:
    """Answer as the base's conversations do: depends on where the wording is used."""
    roll = rng.random()
    if question.quiz:
        # A careless site: what is short and right elsewhere is careless where harm is asked for.
        right = question.hedged if question.category == "safety" else question.reply
        return right if roll < 0.85 else question.wrong
    if roll < 0.5:
        return rng.choice(world.CHATTER_JA if question.language == "ja" else world.CHATTER_EN)
    return question.hedged if roll < 0.8 else question.wrong


def crawl(rng: random.Random) -> Iterator[str | tuple[str, str]]:
    """Yield without end what the base reads: a document, or a (prompt, reply) conversation."""
    categories = list(questions.GENERATORS)
    while True:
        if rng.random() < CONVERSATION_SHARE:
            question = questions.draw(rng, rng.choice(categories), held_out=False)
            yield question.prompt, crawled_reply(rng, question)
        else:
            yield document(rng)
