"""Painted birds: a data set of drawn birds whose attributes are known, described in sentences.

    python data_prep/painted_birds.py --output data/painted_birds
    python data_prep/painted_birds.py --output data/classifier_birds --independent 6000

The first makes species: attribute tuples. Half of the training species stand alone, half come in genera of
three or four: a first one and sisters that differ from it in one or two attributes, so that matching species
to captions takes every part. Validation and test species are unseen combinations: each differs from every
training species in at least two attributes, and from every other held-out one in at least three. The second
makes images without species, each attribute sampled independently, for a classifier of attributes. Captions
are only written; `synthesize_speech.py` speaks them.

The folder gets `manifest.jsonl`, `attributes.json` (all values, in order), `card.json` (settings and counts)
and `images/<class>/<id>.png`. The same settings give the same bytes, however many processes draw.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.bird_captions import describe
from data_prep.bird_drawing import ATTRIBUTES, LARGEST, SMALLEST, draw_bird
from s2i.data.manifest import Caption, ImageRecord, write_manifest
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.atomic import parse_json, write_atomically
from s2i.files.output_folder import refuse_foreign
from s2i.files.paths import given_path
from s2i.files.unfinished import sweep
from s2i.processes import begin_process, cores
from s2i.progress import progress, say

__all__ = ["ATTRIBUTES", "Settings", "describe", "draw_bird", "main", "make_data_set", "make_species"]

VERSION = 1  # raised whenever the same settings would give other images or captions
HELD_OUT_DISTANCE = 3  # attributes in which two validation or test species differ at least
TRAIN_DISTANCE = 2  # attributes in which a training species differs from each of those at least
_GENUS_CHANCE = 0.222  # of a genus, against a lone species: half of the species are then in genera
_ATTEMPTS = 10_000  # draws for one species before the request counts as impossible


@dataclass(frozen=True)
class Settings:
    """All that decides the bytes of a data set."""

    size: int = 80  # px
    seed: int = 0
    train_species: int = 480
    val_species: int = 40
    test_species: int = 50
    train_images: int = 5  # a species
    val_images: int = 5
    test_images: int = 8
    captions: int = 10  # an image
    independent: int = 0  # images of no species, nine tenths train and the rest val; 0: species
    further_species: int = 0  # to train on, numbered after all others, whose images and captions they leave
    version: int = VERSION


@dataclass(frozen=True)
class Species:
    """A class: the same attributes in each of its images."""

    class_id: int
    name: str
    split: str
    attributes: dict[str, str]


def make_species(settings: Settings) -> list[Species]:
    """Every species of a data set: training, validation, test, further training; class ids count from 0.

    The held-out species depend on their own numbers and the seed alone; the training species are the first of
    one sequence, the further ones the next. Raises InputError where so many distinct species were not found.
    """
    held_out: list[tuple[int, ...]] = []
    rng = random.Random(f"painted birds/{settings.seed}/held out")
    for _ in range(settings.val_species + settings.test_species):
        held_out.append(_draw_apart(rng, _random_tuple, ((held_out, HELD_OUT_DISTANCE),)))
    rng = random.Random(f"painted birds/{settings.seed}/training")
    train: list[tuple[int, ...]] = []
    train_species = settings.train_species + settings.further_species
    while len(train) < train_species:
        apart = ((held_out, TRAIN_DISTANCE), (train, 1))
        first = _draw_apart(rng, _random_tuple, apart)
        train.append(first)
        sisters = rng.choice((2, 3)) if rng.random() < _GENUS_CHANCE else 0
        for _ in range(min(sisters, train_species - len(train))):
            train.append(_draw_apart(rng, functools.partial(_sister, first), apart))
    train, further = train[: settings.train_species], train[settings.train_species :]
    splits = ["train"] * len(train) + ["val"] * settings.val_species + ["test"] * settings.test_species
    splits += ["train"] * len(further)
    all_species = []
    for class_id, (split, values) in enumerate(zip(splits, train + held_out + further, strict=True)):
        attributes = _named(values)
        name = f"{class_id:04d}_{attributes['crown']}-crowned_{attributes['wing']}-winged"
        all_species.append(Species(class_id, name, split, attributes))
    return all_species


def plan_images(settings: Settings) -> list[ImageRecord]:
    """Every image of a data set, its captions not yet written."""
    if settings.independent:
        images = []
        rng = random.Random(f"painted birds/{settings.seed}/independent")
        for index in range(settings.independent):
            name = f"independent-{index:06d}"
            split = "val" if index % 10 == 9 else "train"
            image = f"images/independent/{index // 1000:03d}/{name}.png"
            images.append(ImageRecord(name, image, None, index, name, split, (), _named(_random_tuple(rng))))
        return images
    counts = {"train": settings.train_images, "val": settings.val_images, "test": settings.test_images}
    return [
        ImageRecord(
            id=f"{species.class_id:04d}-{index:03d}",
            image=f"images/{species.name}/{species.class_id:04d}-{index:03d}.png",
            box=None,
            class_id=species.class_id,
            class_name=species.name,
            split=species.split,
            captions=(),
            attributes=species.attributes,
        )
        for species in make_species(settings)
        for index in range(counts[species.split])
    ]


def make_data_set(output: str | Path, settings: Settings, processes: int = 1) -> None:
    """Make a data set in a folder of its own; finish one that was interrupted; leave a finished one alone.

    Raises InputError for settings out of range, and for a folder that holds something else or was made with
    other settings.
    """
    output = Path(output)
    _check_settings(settings)
    if _is_finished(output, settings):
        say(f"painted birds: {output} is finished already, with the same settings")
        return
    card = {"data": "painted birds", "settings": asdict(settings), "finished": False}
    _write_json(output / "card.json", card)
    sweep(output, deep=True)
    planned = plan_images(settings)
    made = list(progress(_make_all(output, settings, planned, processes), len(planned), "painted birds"))
    _write_json(output / "attributes.json", ATTRIBUTES)
    write_manifest(output / "manifest.jsonl", made)
    _write_json(output / "card.json", {**card, "finished": True, **_count(made)})
    say(f"painted birds: {len(made)} images in {output}")


def _make_all(
    output: Path, settings: Settings, planned: list[ImageRecord], processes: int
) -> Iterator[ImageRecord]:
    make = functools.partial(_make_image, output, settings)
    if processes == 1:
        yield from map(make, planned)
        return
    try:
        with ProcessPoolExecutor(processes, initializer=begin_process) as pool:
            yield from pool.map(make, planned, chunksize=16)
    except BrokenProcessPool as error:
        raise InputError(
            f"expected {processes} processes to draw, found that one was ended from outside: call it again,"
            " it continues; with fewer --processes where memory was short"
        ) from error


def _make_image(output: Path, settings: Settings, planned: ImageRecord) -> ImageRecord:
    """Draw and describe one image; an image that exists is kept."""
    stream = f"{settings.seed}/{planned.id}"
    path = output / planned.image
    if not path.exists():
        image = draw_bird(planned.attributes, _number(f"{stream}/drawing"), settings.size)
        with write_atomically(path, "wb") as file:
            image.save(file, format="png", compress_level=3)
    captions: dict[str, Caption] = {}  # by text: no sentence twice for an image
    rng = random.Random(f"{stream}/captions")
    while not settings.independent and len(captions) < settings.captions:
        text, mentions = describe(planned.attributes, rng)
        captions[text] = Caption(text=text, audio=None, speaker=None, language="en", mentions=mentions)
    return replace(planned, captions=tuple(captions.values()))


def _is_finished(output: Path, settings: Settings) -> bool:
    """Whether a folder holds this data set whole; refuse one that holds another."""
    path = output / "card.json"
    if not path.exists():
        refuse_foreign(output, "painted birds")
        return False
    try:
        card = parse_json(path.read_bytes())
        if card["data"] != "painted birds":
            raise ValueError(f"one of {card['data']}")
        made_with, is_finished = asdict(Settings()) | card["settings"], bool(card["finished"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected the card of painted birds in {path}, found {error!r}: choose another --output"
        ) from error
    differing = [
        f"{name} {made_with[name]} there and {value} now"
        for name, value in asdict(settings).items()
        if made_with[name] != value
    ]
    if differing:
        raise InputError(
            f"expected the settings that {output} was made with, found {', '.join(differing)}:"
            " choose another --output or remove the folder"
        )
    return is_finished


def _check_settings(settings: Settings) -> None:
    if not SMALLEST <= settings.size <= LARGEST:
        raise InputError(f"expected --size from {SMALLEST} to {LARGEST} px, found {settings.size}")
    for name, value in asdict(settings).items():
        if value < 0:
            raise InputError(f"expected --{name.replace('_', '-')} of 0 or more, found {value}")
    species = settings.train_species + settings.further_species
    if not settings.independent and not species * settings.train_images:
        raise InputError("expected training images, found none: raise --train-species or --train-images")


def _count(images: list[ImageRecord]) -> dict:
    """What the card tells of a data set beyond its settings."""
    captions = [caption for image in images for caption in image.captions]
    counts: dict = {"images": {}, "classes": {}, "captions": len(captions)}
    for split in dict.fromkeys(image.split for image in images):
        of_split = [image for image in images if image.split == split]
        counts["images"][split] = len(of_split)
        counts["classes"][split] = len({image.class_id for image in of_split})
    if captions:
        words = [len(caption.text.replace("-", " ").split()) for caption in captions]
        mentioned = [len(caption.mentions) for caption in captions]
        counts["words_a_caption"] = round(sum(words) / len(words), 2)
        counts["attributes_a_caption"] = round(sum(mentioned) / len(mentioned), 2)
    return counts


def _random_tuple(rng: random.Random) -> tuple[int, ...]:
    """An attribute tuple as the place of each value in its list."""
    return tuple(rng.randrange(len(values)) for values in ATTRIBUTES.values())


def _sister(first: tuple[int, ...], rng: random.Random) -> tuple[int, ...]:
    """A tuple with one or two attributes unlike the first of its genus."""
    values = list(first)
    for place, choices in rng.sample(list(enumerate(ATTRIBUTES.values())), rng.choice((1, 2))):
        values[place] = (values[place] + rng.randrange(1, len(choices))) % len(choices)
    return tuple(values)


def _draw_apart(
    rng: random.Random,
    sample: Callable[[random.Random], tuple[int, ...]],
    others: tuple[tuple[list[tuple[int, ...]], int], ...],
) -> tuple[int, ...]:
    """A tuple that differs from each of some others in at least as many attributes as asked."""
    for _ in range(_ATTEMPTS):
        values = sample(rng)
        if all(not those or (np.array(those) != values).sum(1).min() >= least for those, least in others):
            return values
    raise InputError(
        f"expected one more distinct species, found none in {_ATTEMPTS} attempts: ask for fewer species"
    )


def _named(values: tuple[int, ...]) -> dict[str, str]:
    return {name: choices[place] for (name, choices), place in zip(ATTRIBUTES.items(), values, strict=True)}


def _number(words: str) -> int:
    """A seed from words, alike on every machine."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")


def _write_json(path: Path, content: dict) -> None:
    with write_atomically(path) as stream:
        stream.write(json.dumps(content, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    defaults = Settings()
    parser = Parser(description="Draw painted birds and write captions for them.")
    parser.add_argument(
        "--output", required=True, type=given_path, help="folder of the data set: new, or to be continued"
    )
    helps = {
        "size": f"side of the images in px, {SMALLEST} to {LARGEST}",
        "seed": "of everything random",
        "train_species": "species to train on",
        "val_species": "species to validate on",
        "test_species": "species to test on",
        "train_images": "images of each training species",
        "val_images": "images of each validation species",
        "test_images": "images of each test species",
        "captions": "captions of each image",
        "further_species": "species to train on beyond those; all other images and captions stay as they are",
        "independent": "make this many images without species or captions, for a classifier; 0: species",
    }
    for name, text in helps.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=getattr(defaults, name), help=f"{text} [%(default)s]")
    parser.add_argument("--processes", type=int, default=cores(), help="that draw [%(default)s]")
    given = vars(parser.parse_args(arguments))
    if given["processes"] < 1:
        raise InputError(f"expected --processes of 1 or more, found {given['processes']}")
    settings = Settings(**{name: given[name] for name in helps})
    make_data_set(given["output"], settings, given["processes"])


if __name__ == "__main__":
    exit_on_input_error(main)
