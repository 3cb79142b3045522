"""Sentences about a painted bird: a small grammar with synonyms, orders and left-out parts.

No synonym is shared between two attributes or two values, so a sentence never says anything false or unclear.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from data_prep.bird_drawing import ATTRIBUTES, COLOURED_PARTS, check_attributes

LONGEST = 13  # words of a caption

_WORDS: dict[str, tuple[str, ...]] = {  # values that have several words; a repeated word is likelier
    "grey": ("grey", "gray"),
    "purple": ("purple", "purple", "purple", "violet"),
    "short": ("short", "short", "stubby"),
    "hooked": ("hooked", "hooked", "curved"),
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium", "medium", "medium-sized", "mid-sized"),
    "large": ("large", "large", "big"),
}
_NOUNS: dict[str, tuple[str, ...]] = {
    "crown": ("head", "head", "crown", "cap"),
    "wing": ("wings", "wings", "wing"),
    "belly": ("belly", "belly", "underside"),
    "back": ("back",),
    "tail": ("tail",),
    "bill": ("bill", "beak"),
}
_EYE_STRIPE = ("eye stripe", "eye stripe", "striped eye")
_PATTERNED_PART = {
    "spotted": ("belly", ("spotted", "speckled")),
    "wing-barred": ("wing", ("barred", "banded")),
}
_COMPOUNDS = {
    "crown": ("headed", "crowned", "capped"),
    "wing": ("winged",),
    "belly": ("bellied",),
    "back": ("backed",),
    "tail": ("tailed",),
    "bill": ("billed", "beaked"),
}
_COUNTS, _COUNT_WEIGHTS = (4, 5, 6), (0.4, 0.4, 0.2)  # attributes that a caption mentions
_SHAPE_WEIGHT = 0.75  # of bill shape, size and pattern in the choice of attributes; a colour has 1


@dataclass(frozen=True)
class _Part:
    """What is said of one or more parts: "long yellow bill", "red head and tail"."""

    nouns: tuple[str, ...]
    qualities: tuple[str, ...]  # adjectives, the colour last
    name: str  # of the attribute where it has a colour and nothing else, else ""

    @property
    def is_plural(self) -> bool:
        return self.nouns[0] == "wings"

    def bare(self) -> str:
        return " ".join((*self.qualities, " and ".join(self.nouns)))

    def with_article(self) -> str:
        return self.bare() if self.is_plural else _article(self.bare())

    def clause(self, determiner: str) -> str:
        verb = "are" if self.is_plural or len(self.nouns) > 1 else "is"
        return f"{determiner} {' and '.join(self.nouns)} {verb} {' and '.join(self.qualities)}"

    def verbless(self) -> str:
        return f"{' and '.join(self.nouns)} {' and '.join(self.qualities)}"


def describe(attributes: dict[str, str], rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """Say some of what is known of a bird, as one person might.

    Args:
        attributes: a value of `ATTRIBUTES` for each of its names.
        rng: chooses attributes and words.

    Returns:
        The sentence (English, at most `LONGEST` words) and the attributes that it tells: four to six of the
        nine, in the order of `ATTRIBUTES`. A plain pattern is never mentioned.

    Raises InputError for an unknown attribute or value.
    """
    check_attributes(attributes)
    mentioned = _choose(attributes, rng)
    while True:
        text = _sentence({name: attributes[name] for name in mentioned}, rng)
        if len(text.replace("-", " ").split()) <= LONGEST:
            return text, mentioned


def _choose(attributes: dict[str, str], rng: random.Random) -> tuple[str, ...]:
    count = rng.choices(_COUNTS, _COUNT_WEIGHTS)[0]
    names = [name for name in ATTRIBUTES if attributes[name] != "plain"]
    # A weighted sample without replacement (Efraimidis and Spirakis 2006).
    keys = {name: rng.random() ** (1 / (1 if name in COLOURED_PARTS else _SHAPE_WEIGHT)) for name in names}
    chosen = sorted(names, key=keys.__getitem__)[-count:]
    return tuple(name for name in ATTRIBUTES if name in chosen)


def _sentence(mentioned: dict[str, str], rng: random.Random) -> str:
    body_parts = _parts(mentioned, rng)
    bird = "bird"
    plain = [part for part in body_parts if part.name]
    if plain and rng.random() < 0.3:
        first = plain[0]
        body_parts.remove(first)
        bird = f"{first.qualities[0]}-{rng.choice(_COMPOUNDS[first.name])} {bird}"
    if "size" in mentioned:
        bird = f"{_word(mentioned['size'], rng)} {bird}"
    body_parts = _share_colours(body_parts, rng)
    style = rng.choice(("has", "with", "with", "list", "list", "on", "verbless", "split"))
    described = [part for part in body_parts if part.qualities]
    if style == "verbless" and len(described) == len(body_parts):
        opening = f"{_article(bird)}, " if bird != "bird" else ""
        clauses = [
            body_parts[0].clause(rng.choice(("its", "the"))),
            *(part.verbless() for part in body_parts[1:]),
        ]
        text = opening + _join(clauses, rng)
    elif style == "split" and len(body_parts) > 1 and described:
        last = described[-1]
        rest = _join(_phrases([part for part in body_parts if part is not last], rng), rng)
        clause = last.clause(rng.choice(("its", "the")))
        text = f"{_article(bird)} with {rest}, {rng.choice(('', 'and '))}{clause}"
    elif style == "has":
        text = f"{rng.choice(('this', 'the'))} {bird} has {_join(_phrases(body_parts, rng), rng)}"
    elif style == "on":
        text = f"{_join(_phrases(body_parts, rng), rng)} on {_article(bird)}"
    elif style == "list":
        text = f"{bird}, {', '.join(part.bare() for part in body_parts)}"
    else:
        text = f"{_article(bird)} with {_join(_phrases(body_parts, rng), rng)}"
    return f"{text}."


def _parts(mentioned: dict[str, str], rng: random.Random) -> list[_Part]:
    """The mentioned parts with their adjectives, in any order."""
    qualities: dict[str, list[str]] = {}
    if "bill_shape" in mentioned:
        qualities["bill"] = [_word(mentioned["bill_shape"], rng)]
    if mentioned.get("pattern") in _PATTERNED_PART:
        name, adjectives = _PATTERNED_PART[mentioned["pattern"]]
        qualities[name] = [rng.choice(adjectives)]
    body_parts = []
    for name in COLOURED_PARTS:
        others = qualities.get(name, [])
        colour = [_word(mentioned[name], rng)] if name in mentioned else []
        if others or colour:
            is_plain = not others
            noun = rng.choice(_NOUNS[name])
            body_parts.append(_Part((noun,), (*others, *colour), name if is_plain else ""))
    if mentioned.get("pattern") == "eye-striped":
        body_parts.append(_Part((rng.choice(_EYE_STRIPE),), (), ""))
    rng.shuffle(body_parts)
    return body_parts


def _share_colours(body_parts: list[_Part], rng: random.Random) -> list[_Part]:
    """Say one colour once: "a red head and tail"."""
    merged: list[_Part] = []
    for part in body_parts:
        # A plural noun comes last, so that the article of the first fits both.
        twins = [other for other in merged if other.qualities == part.qualities and not other.is_plural]
        if part.name and twins and len(twins[0].nouns) == 1 and rng.random() < 0.7:
            merged[merged.index(twins[0])] = _Part((*twins[0].nouns, *part.nouns), part.qualities, part.name)
        else:
            merged.append(part)
    return merged


def _phrases(body_parts: list[_Part], rng: random.Random) -> list[str]:
    """With articles throughout, or without."""
    if rng.random() < 0.4:
        return [part.with_article() for part in body_parts]
    return [part.bare() for part in body_parts]


def _join(phrases: list[str], rng: random.Random) -> str:
    if len(phrases) == 1:
        return phrases[0]
    last = rng.choice((" and ", " and ", ", "))
    return ", ".join(phrases[:-1]) + last + phrases[-1]


def _word(value: str, rng: random.Random) -> str:
    return rng.choice(_WORDS.get(value, (value,)))


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"
