"""A plan with the voices that are there, and its choice of one for each caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Voices
from data_prep.voices.plan import REDISTRIBUTE, REFUSE, FamilyPlan, Plan
from s2i.data.manifest import ImageRecord
from s2i.errors import InputError
from s2i.progress import say

SEEN, UNSEEN = "seen", "unseen"  # speakers that all captions get, instead of every second one an unseen one


@dataclass(frozen=True)
class Part:
    """What a family has of a plan.

    `voices` and `test_voices`: by language, those of every split and those of the test split alone; empty
    where the family isn't installed. `ranges`: of each setting, least, most, whether it is a whole number.
    """

    family: str
    share: float
    test_share: float
    voices: Voices
    test_voices: Voices
    ranges: tuple[tuple[float, float, bool], ...]
    is_installed: bool = True


@dataclass(frozen=True)
class Cast:
    """Who may speak.

    `languages`: captions in others are left as they are; captions that name none are in the first.
    `is_shared`: whether the captions of a family that isn't installed go to the others.
    """

    families: tuple[Part, ...]
    languages: tuple[str, ...]
    is_shared: bool = False

    def choose(self, image: ImageRecord, seed: int, speakers: str | None = None) -> dict[int, Utterance]:
        """What is to be spoken for an image, by the number of its caption.

        A function of the seed, the image's id, the caption's number and the plan. Of a test image's captions
        every second one has an unseen speaker, from the first or the second on, where there are any.

        Args:
            speakers: `seen` or `unseen` for all captions alike, of whichever split.
        """
        chosen = {}
        first = Random(f"{seed}/{image.id}").randrange(2)
        for number, caption in enumerate(image.captions):
            language = caption.language or self.languages[0]
            if caption.text is None or caption.audio is not None or language not in self.languages:
                continue
            is_unseen = image.split == "test" and number % 2 == first
            if speakers is not None:
                is_unseen = speakers == UNSEEN
            key = f"{seed}/{image.id}/{number}"
            part = self._part(language, is_unseen, key) if is_unseen else None
            voices = part.test_voices if part else None
            if part is None and speakers != UNSEEN:
                part = self._part(language, False, key)
                voices = part.voices if part else None
            if part is None or not part.is_installed:
                continue
            rng = Random(key)
            voice = rng.choice(voices[language])
            chosen[number] = Utterance(
                caption.text, language, part.family, voice,
                tuple(_draw(rng, *limits) for limits in part.ranges),
            )  # fmt: skip
        return chosen

    def _part(self, language: str, is_unseen: bool, key: str) -> Part | None:
        """The family that speaks a caption; None where none is for it."""
        part = _pick(self.families, language, is_unseen, f"{key}/family")
        if part is not None and not part.is_installed and self.is_shared:
            # Drawn again, not shared out anew: the others' captions stay what they are.
            there = [part for part in self.families if part.is_installed]
            part = _pick(there, language, is_unseen, f"{key}/instead")
        return part


def _pick(members: Sequence[Part], language: str, is_unseen: bool, key: str) -> Part | None:
    candidates = [
        part
        for part in members
        if (part.test_share if is_unseen else part.share)
        and (
            (part.test_voices if is_unseen else part.voices).get(language)
            if part.is_installed
            else language.lower().split("-")[0] == "en"  # those that may be missing speak English
        )
    ]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    shares = [part.test_share if is_unseen else part.share for part in candidates]
    return Random(key).choices(candidates, shares)[0]


def _draw(rng: Random, least: float, most: float, whole: bool) -> float:
    return rng.randint(least, most) if whole else round(rng.uniform(least, most), 2)


def choose_cast(plan: Plan, families: dict[str, Family], languages: Sequence[str]) -> Cast:
    """The plan, with the voices of the families that are there.

    Raises InputError for a family that is missing where the plan refuses that, for a voice that doesn't
    exist, and for a language that nobody speaks.
    """
    members = []
    for name, given in plan.families.items():
        if not given.share and given.test_share == 0:
            continue  # there for whoever asks for it by name
        family = families[name]
        remedy = family.missing([*(given.voices or ()), *(given.test_voices or ())])
        if remedy is None:
            members.append(_part_of(family, given, languages))
            continue
        if plan.missing == REFUSE:
            raise InputError(f"expected {name}, found it missing: {remedy}, or set `missing` in the plan")
        others = "others speak its captions" if plan.missing == REDISTRIBUTE else "its captions stay unspoken"
        say(f"{name} is missing ({remedy}): {others}")
        test_share = given.test_share if given.test_share is not None else bool(given.test_voices)
        members.append(Part(name, given.share, float(test_share), {}, {}, (), False))
    for language in languages:
        if not any(part.voices.get(language) or part.test_voices.get(language) for part in members):
            raise InputError(
                f"expected a voice that speaks {language!r}, found none: change --languages or the voices"
                + _languages(families)
            )
    return Cast(tuple(members), tuple(languages), plan.missing == REDISTRIBUTE)


def _languages(families: dict[str, Family]) -> str:
    """Languages that can be had, for a message."""
    spoken = getattr(families.get("espeak-ng"), "languages", None)
    return f" (espeak-ng speaks {', '.join(spoken())})" if spoken else ""


def _part_of(family: Family, given: FamilyPlan, languages: Sequence[str]) -> Part:
    voices, test_voices = family.choose_voices(languages, given.voices, given.test_voices)
    if not given.share:  # the whole family is kept for the test split
        test_voices = {name: (*voices[name], *test_voices[name]) for name in languages}
        voices = dict.fromkeys(languages, ())
    test_share = given.test_share
    if test_share is None:
        test_share = given.share if any(test_voices.values()) else 0.0
    given_ranges = dict(given.ranges)
    ranges = tuple(
        (*given_ranges.get(name, setting.range), setting.whole) for name, setting in family.settings.items()
    )
    return Part(family.name, given.share, test_share, voices, test_voices, ranges)
