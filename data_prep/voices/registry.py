"""The families that there are, by name. A module is imported when its family is asked for."""

from __future__ import annotations

from importlib import import_module

from data_prep.voices.family import Family
from s2i.errors import InputError

TACOTRON2 = "tacotron2"
FAMILIES = {
    "espeak-ng": ("espeak", "EspeakFamily"),
    "flite": ("flite", "FliteFamily"),
    "festival": ("festival", "FestivalFamily"),
    "piper": ("piper", "PiperFamily"),
    TACOTRON2: ("tacotron2", "Tacotron2Family"),
}


def find_family(name: str) -> type[Family]:
    """Raises InputError for a name that no family has."""
    if name not in FAMILIES:
        raise InputError(
            f"expected a family of synthesisers ({', '.join(FAMILIES)}), found {name!r}: change it"
        )
    module, kind = FAMILIES[name]
    return getattr(import_module(f"data_prep.voices.{module}"), kind)
