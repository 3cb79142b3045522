"""Sentences about a bird from what annotators saw: a small grammar with synonyms, orders and left-out parts.

CUB asked people which values of each attribute they saw, and tells for each class the percentage who saw
each. A sentence takes for each part that it tells one value that enough people saw, by chance and the more
likely the more of them saw it: as one more person might have seen the bird.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass

LEAST = 30.0  # per cent of annotators without whom a value is never mentioned
_NEAR_THE_TOP = 0.5  # nor is one that fewer saw than this part of the most seen value's
_TWO_COLOURS = 0.4  # chance of a second colour where enough people saw one
_DETAILS, _DETAIL_WEIGHTS = (2, 3, 4), (4, 4, 2)  # parts mentioned

_COLOURS: dict[str, tuple[str, ...]] = {  # a repeated word is likelier
    "grey": ("grey", "gray"),
    "rufous": ("rufous", "reddish brown", "rusty"),
    "buff": ("buff", "tan", "tan", "beige"),
    "olive": ("olive", "olive green"),
    "iridescent": ("iridescent", "shiny"),
}
_SPOTTED = {"spotted": ("spotted", "speckled"), "striped": ("striped", "streaked")}
_ADJECTIVES: dict[str, dict[str, tuple[str, ...]]] = {  # a value that isn't here is never mentioned
    "has_wing_shape": {
        "rounded-wings": ("rounded",),
        "pointed-wings": ("pointed",),
        "broad-wings": ("broad", "wide"),
        "tapered-wings": ("tapered",),
        "long-wings": ("long",),
    },
    "has_wing_pattern": {"spotted": ("spotted", "speckled"), "striped": ("striped", "barred")},
    "has_back_pattern": _SPOTTED,
    "has_belly_pattern": _SPOTTED,
    "has_breast_pattern": _SPOTTED,
    "has_tail_pattern": {"spotted": ("spotted",), "striped": ("striped", "barred")},
    "has_tail_shape": {
        "forked_tail": ("forked",),
        "rounded_tail": ("rounded",),
        "notched_tail": ("notched",),
        "fan-shaped_tail": ("fan-shaped", "fanned"),
        "pointed_tail": ("pointed",),
        "squared_tail": ("square", "squared"),
    },
    "has_bill_length": {
        "shorter_than_head": ("short", "short", "small"),
        "longer_than_head": ("long", "long", "very long"),
        "about_the_same_as_head": ("medium-sized", "medium length"),
    },
    "has_bill_shape": {
        "curved_(up_or_down)": ("curved",),
        "dagger": ("pointed", "pointy", "sharp"),
        "hooked": ("hooked",),
        "needle": ("thin", "needle-like", "slender"),
        "hooked_seabird": ("hooked", "curved"),
        "spatulate": ("flat", "wide"),
        "cone": ("cone-shaped", "stout", "thick"),
    },
}
_SIZES = {
    "very_small_(3_-_5_in)": ("tiny", "very small"),
    "small_(5_-_9_in)": ("small", "small", "little"),
    "medium_(9_-_16_in)": ("medium-sized", "medium sized", "mid-sized"),
    "large_(16_-_32_in)": ("large", "large", "big"),
    "very_large_(32_-_72_in)": ("very large", "huge"),
}
_SHAPES = {
    "duck-like": ("duck-like", "swimming"),
    "gull-like": ("gull-like",),
    "hummingbird-like": ("hummingbird-like", "hovering"),
    "long-legged-like": ("long-legged",),
    "owl-like": ("owl-like",),
    "hawk-like": ("hawk-like",),
    "pigeon-like": ("pigeon-like", "plump"),
    "sandpiper-like": ("sandpiper-like",),
    "swallow-like": ("swallow-like",),
    "upright-perching_water-like": ("upright",),
}
_HEAD_MARKS = {
    "malar": ("cheek stripe", "malar stripe"),
    "crested": ("crest", "crested head"),
    "masked": ("mask", "masked face"),
    "eyebrow": ("eyebrow", "stripe above its eye"),
    "eyering": ("eye ring", "eyering", "ring around its eye"),
    "eyeline": ("eye line", "line through its eye"),
    "capped": ("cap", "capped head"),
    "striped": ("striped head",),
    "spotted": ("spotted head", "speckled head"),
}


class Seen:
    """What enough annotators saw of a bird, attribute by attribute."""

    def __init__(self, percentages: Mapping[str, Mapping[str, float]]) -> None:
        """`percentages` of annotators, 0 to 100, by attribute ("has_wing_color") and value ("blue")."""
        self._likely: dict[str, tuple[list[str], list[float]]] = {}
        for name, values in percentages.items():
            least = max(LEAST, _NEAR_THE_TOP * max(values.values()))
            likely = {value: percentage for value, percentage in values.items() if percentage >= least}
            if likely:
                self._likely[name] = list(likely), list(itertools.accumulate(likely.values()))

    def value(self, name: str, rng: random.Random) -> str:
        """A value, as likely as annotators saw it; "" where they agree on none."""
        if name not in self._likely:
            return ""
        values, cumulative = self._likely[name]
        return rng.choices(values, cum_weights=cumulative)[0]

    def colour(self, name: str, rng: random.Random) -> str:
        """One colour or two, "black and white", or "" where annotators agree on none."""
        first = self.value(name, rng)
        if not first:
            return ""
        second = self.value(name, rng) if rng.random() < _TWO_COLOURS else first
        values = dict.fromkeys((first, second))
        return " and ".join(rng.choice(_COLOURS.get(value, (value,))) for value in values)


@dataclass(frozen=True)
class _Part:
    """A part of the body, and the attributes that tell of it."""

    nouns: tuple[str, ...]
    colour: str
    others: tuple[str, ...] = ()  # said before the colour, in this order
    weight: float = 1.0  # in the choice of parts


_HEAD_MARK = _Part((), "", weight=0.8)  # one of _HEAD_MARKS
_PARTS = (
    _HEAD_MARK,
    _Part(("wings", "wings", "wing feathers"), "has_wing_color", ("has_wing_shape", "has_wing_pattern"), 1.3),
    _Part(("bill", "beak"), "has_bill_color", ("has_bill_length", "has_bill_shape"), 1.6),
    _Part(("belly", "belly", "abdomen"), "has_belly_color", ("has_belly_pattern",), 1.3),
    _Part(("breast", "breast", "chest"), "has_breast_color", ("has_breast_pattern",), 1.2),
    _Part(("crown", "crown", "head"), "has_crown_color", (), 1.2),
    _Part(("back",), "has_back_color", ("has_back_pattern",)),
    _Part(("tail", "tail", "tail feathers"), "has_upper_tail_color", ("has_tail_shape", "has_tail_pattern")),
    _Part(("throat",), "has_throat_color", (), 0.8),
    _Part(("nape",), "has_nape_color", (), 0.5),
    _Part(("forehead", "face"), "has_forehead_color", (), 0.4),
    _Part(("legs", "feet"), "has_leg_color", (), 0.5),
    _Part(("eyes",), "has_eye_color", (), 0.4),
    _Part(("underside", "underparts"), "has_underparts_color", (), 0.4),
    _Part(("upper body", "upperparts"), "has_upperparts_color", (), 0.3),
)
_PLURAL = ("wings", "feathers", "legs", "feet", "eyes", "parts")


@dataclass(frozen=True)
class _Detail:
    """What is said of one or two parts: "long yellow bill", "white belly and throat"."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]  # the colour last; none for a mark of the head

    @property
    def is_plural(self) -> bool:
        return self.nouns[0].endswith(_PLURAL)

    def phrase(self) -> str:
        bare = " ".join((*self.adjectives, " and ".join(self.nouns)))
        return bare if self.is_plural else _with_article(bare)

    def clause(self, determiner: str, owner: str = "") -> str:
        verb = "are" if self.is_plural or len(self.nouns) > 1 else "is"
        return f"{determiner} {' and '.join(self.nouns)}{owner} {verb} {_listed(self.adjectives)}"


def captions(seen: Seen, count: int, rng: random.Random) -> list[str]:
    """Sentences about one bird, all different where so much is known of it.

    Raises ValueError where no value was seen by `LEAST` per cent of the annotators.
    """
    texts: dict[str, None] = {}
    for _ in range(20 * count):
        texts[describe(seen, rng)] = None
        if len(texts) == count:
            return list(texts)
    return [text for _ in range(count) for text in texts][:count]


def describe(seen: Seen, rng: random.Random) -> str:
    """One sentence, in English. Raises ValueError as `captions` does."""
    details = _share_adjectives(_details(seen, rng), rng)
    body = seen.colour("has_primary_color", rng)
    described = [detail for detail in details if detail.adjectives]
    style = rng.choice(("has", "has", "with", "with", "is", "clause", "first", "list"))
    if not details:
        if not body:
            raise ValueError(f"no value that {LEAST:.0f} per cent of the annotators saw")
        return f"this is {_with_article(f'{body} {_bird(seen, rng)}')}."
    if style == "is" and body:
        how = rng.choice(("", "", "mostly "))
        link = rng.choice(("with", "and has"))
        return f"this {_bird(seen, rng)} is {how}{body} {link} {_phrases(details)}."
    if style == "clause" and described and len(details) > 1:
        last = rng.choice(described)
        rest = _phrases([detail for detail in details if detail is not last])
        return f"this {_bird(seen, rng)} has {rest}, {rng.choice(('and ', ''))}{last.clause('its')}."
    if style == "first" and described and len(details) > 1:
        first = rng.choice(described)
        rest = _phrases([detail for detail in details if detail is not first])
        return f"{first.clause('the', f' of this {_bird(seen, rng)}')}, and it has {rest}."
    if style == "list" and len(described) == len(details) > 1:
        return f"{_with_article(_bird(seen, rng))} {_listed([detail.clause('whose') for detail in details])}."
    bird = _bird(seen, rng)
    if body and " and " not in body and rng.random() < 0.4:
        bird = bird.replace("bird", f"{body} bird")
    if style == "with":
        return f"{_with_article(bird)} with {_phrases(details)}."
    return f"{rng.choice(('this', 'this', 'the'))} {bird} has {_phrases(details)}."


def _details(seen: Seen, rng: random.Random) -> list[_Detail]:
    """The mentioned parts, in any order."""
    # A weighted sample without replacement (Efraimidis and Spirakis 2006), which also shuffles.
    keys = {part: rng.random() ** (1 / part.weight) for part in _PARTS}
    count = rng.choices(_DETAILS, _DETAIL_WEIGHTS)[0]
    details: list[_Detail] = []
    for part in sorted(_PARTS, key=keys.__getitem__, reverse=True):
        if detail := _detail(part, seen, rng):
            details.append(detail)
        if len(details) == count:
            break
    return details


def _detail(part: _Part, seen: Seen, rng: random.Random) -> _Detail | None:
    """The description of a part; None where annotators agree on nothing."""
    if part is _HEAD_MARK:
        mark = seen.value("has_head_pattern", rng)
        return _Detail((rng.choice(_HEAD_MARKS[mark]),), ()) if mark in _HEAD_MARKS else None
    adjectives = []
    for name in part.others:
        value = seen.value(name, rng)
        if value in _ADJECTIVES[name] and rng.random() < 0.6:
            adjectives.append(rng.choice(_ADJECTIVES[name][value]))
    if not adjectives or rng.random() < 0.8:
        adjectives.append(seen.colour(part.colour, rng))
    chosen = tuple(dict.fromkeys(filter(None, adjectives)))
    return _Detail((rng.choice(part.nouns),), chosen) if chosen else None


def _share_adjectives(details: list[_Detail], rng: random.Random) -> list[_Detail]:
    """Say the same once: "a white belly and throat"."""
    merged: list[_Detail] = []
    for detail in details:
        for place, other in enumerate(merged):
            is_alike = other.adjectives == detail.adjectives and len(other.nouns) == 1
            if detail.adjectives and is_alike and other.is_plural == detail.is_plural and rng.random() < 0.7:
                merged[place] = _Detail((*other.nouns, *detail.nouns), detail.adjectives)
                break
        else:
            merged.append(detail)
    return merged


def _bird(seen: Seen, rng: random.Random) -> str:
    """The word "bird", with its size, its shape, both or neither."""
    words = ["bird"]
    shape = seen.value("has_shape", rng)
    if shape in _SHAPES and rng.random() < 0.3:
        words.insert(0, rng.choice(_SHAPES[shape]))
    size = seen.value("has_size", rng)
    if size in _SIZES and rng.random() < 0.45:
        words.insert(0, rng.choice(_SIZES[size]))
    return " ".join(words)


def _phrases(details: list[_Detail]) -> str:
    return _listed([detail.phrase() for detail in details])


def _listed(words: list[str] | tuple[str, ...]) -> str:
    """Joined as in speech: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
