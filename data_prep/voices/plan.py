"""Who speaks a data set: families of synthesisers, their shares, their voices, which are kept for the test.

    missing: redistribute            # refuse | skip | redistribute: the captions of a family that isn't there
    families:
      espeak-ng: {share: 2}          # its usual voices; some are kept for the test split
      flite: {share: 1, voices: [slt, rms], test_voices: [awb], rate: [.8, 1.25], pitch: [.85, 1.15]}
      piper: {share: 0, test_share: 1, voices: [joe]}        # the whole family is kept for the test split

Every second caption of a test image is of an unseen speaker. `share` is a family's part of all other
captions; `test_share` of those: by default its `share` if it keeps voices for the test split, else 0. Of a
family whose share is 0, all voices are kept for the test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from data_prep.voices.family import Family, Setting
from s2i.config_yaml import read_layers
from s2i.errors import InputError

REFUSE, SKIP, REDISTRIBUTE = POLICIES = ("refuse", "skip", "redistribute")
_KEYS = ("share", "test_share", "voices", "test_voices")


@dataclass(frozen=True)
class FamilyPlan:
    """One family's part. Voices of None: its usual ones; `ranges`: least and most of its settings."""

    share: float = 1.0
    test_share: float | None = None  # None: the share, of a family that keeps voices for the test split
    voices: tuple[str, ...] | None = None
    test_voices: tuple[str, ...] | None = None
    ranges: tuple[tuple[str, tuple[float, float]], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Families by name, and what becomes of the captions of one that isn't installed."""

    families: dict[str, FamilyPlan]
    missing: str = REFUSE

    def only(self, family: str) -> Plan:
        """The same voices of one family, which speaks everything.

        Of a family that the plan doesn't name, its usual ones; of one whose share is 0, all are unseen.
        """
        family_plan = self.families.get(family, FamilyPlan(share=0.0))
        alone = replace(family_plan, share=1.0, test_share=None)
        if not family_plan.share:
            unseen = (*(family_plan.voices or ()), *(family_plan.test_voices or ())) or None
            alone = replace(alone, voices=unseen, test_voices=None)
        return Plan({family: alone}, REFUSE)


def read_plan(path: str | Path, find_family: Callable[[str], type[Family]]) -> Plan:
    """Read a plan, with the files it is based on (`base: OTHER.yaml`).

    Args:
        find_family: the family of a name; raises InputError where there is none.

    Raises:
        InputError: no YAML, or a key, name or value that isn't expected there.
    """
    if not Path(path).is_file():
        raise InputError(f"expected the plan of who speaks, found no file at {path}: check --plan")
    values = OmegaConf.to_container(OmegaConf.merge(*(values for _, values in read_layers(path))))
    if not isinstance(values, dict) or not isinstance(values.get("families"), dict):
        raise InputError(f"expected families: in the plan {path}, found none: see data_prep/README.md")
    _check_names(values, ("missing", "families"), f"the plan {path}")
    missing = values.get("missing", REFUSE)
    if missing not in POLICIES:
        raise InputError(f"expected missing of {', '.join(POLICIES)} in {path}, found {missing!r}: change it")
    families = {
        name: _family(given or {}, f"{name} in {path}", find_family(name))
        for name, given in values["families"].items()
    }
    if not any(family.share for family in families.values()):
        raise InputError(f"expected a share above 0 of some family in {path}, found none: change it")
    return Plan(families, missing)


def _family(given: Any, where: str, kind: type[Family]) -> FamilyPlan:
    if not isinstance(given, dict):
        raise InputError(f"expected share: and the like under {where}, found {given!r}: change it")
    _check_names(given, (*_KEYS, *kind.settings), where)
    shares = {}
    for key in ("share", "test_share"):
        if key in given:
            shares[key] = given[key]
            if not _is_number(given[key]) or given[key] < 0:
                raise InputError(f"expected {key} of 0 or more for {where}, found {given[key]!r}: change it")
    voices = {key: _voices(given[key], key, where) for key in ("voices", "test_voices") if key in given}
    both = sorted(set(voices.get("voices", ())) & set(voices.get("test_voices", ())))
    if both:
        raise InputError(
            f"expected test_voices that are no others for {where}, found {both[0]} in both: remove it"
        )
    ranges = tuple(
        (key, _range(given[key], setting, f"{key} of {where}"))
        for key, setting in kind.settings.items()
        if key in given
    )
    return FamilyPlan(**shares, **voices, ranges=ranges)


def _check_names(values: Mapping, known: Sequence[str], where: str) -> None:
    for name in values:
        if name not in known:
            raise InputError(f"expected {', '.join(known)} in {where}, found {name!r}: change it")


def _voices(given: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(voice, str) and voice for voice in given):
        raise InputError(f"expected a list of names as {key} of {where}, found {given!r}: change it")
    return tuple(given)


def _range(given: Any, setting: Setting, where: str) -> tuple[float, float]:
    (least, most), kind = setting.limits, int if setting.whole else float
    numbers = given if isinstance(given, list) else [given, given]
    if (
        len(numbers) != 2
        or not all(_is_number(number) and least <= number <= most for number in numbers)
        or numbers[0] > numbers[1]
        or any(kind(number) != number for number in numbers)
    ):
        whole = "whole " if setting.whole else ""
        raise InputError(
            f"expected [least, most] as {where}, two {whole}numbers of {least:g} to {most:g}, found"
            f" {given!r}: change it"
        )
    return kind(numbers[0]), kind(numbers[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
