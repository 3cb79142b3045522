"""Captions of CUB's photographs: Reed et al.'s, which people wrote, or sentences from its attributes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from data_prep.cub_grammar import Seen, captions
from data_prep.cub_tables import FOLDER, Photograph
from s2i.errors import InputError
from s2i.files.atomic import read_lines

COUNT = 10  # captions a photograph

Writer = Callable[[Photograph], list[str] | None]  # None: this source has none for the photograph


def open_sources(names: Sequence[str], root: str | Path, seed: int) -> dict[str, Writer]:
    """The sources of captions by name, "reed" or "attributes", in the order in which they are asked."""
    makers = {"reed": lambda: reed_captions(root), "attributes": lambda: attribute_captions(root, seed)}
    return {name: makers[name]() for name in names}


def reed_captions(root: str | Path) -> Writer:
    """`text/<class>/<name>.txt`, a caption a line (Reed et al. 2016, "Learning deep representations of
    fine-grained visual descriptions", CVPR): the first ten, as AttnGAN takes them.

    The writer raises InputError for a file without a caption and for one that isn't UTF-8.
    """

    def write(photograph: Photograph) -> list[str] | None:
        path = Path(root) / "text" / f"{photograph.name}.txt"
        if not path.is_file():
            return None
        # Spaces that were lost between two encodings stand there as pairs of replacement characters.
        lines = (" ".join(line.replace("\ufffd", " ").split()) for line in read_lines(path))
        captions = [line for line in lines if any(map(str.isalnum, line))][:COUNT]
        if not captions:
            raise InputError(f"expected a caption a line, found none in {path}: fetch it again or remove it")
        return captions

    return write


def attribute_captions(root: str | Path, seed: int) -> Writer:
    """Ten sentences a photograph from what annotators saw of its class; a function of seed and photograph.

    Raises InputError for missing or bad tables; the writer raises it for a class that they lack.
    """
    folder = Path(root) / FOLDER
    # The official archive has the names beside its folder.
    places = [place / "attributes.txt" for place in (folder / "attributes", folder, Path(root))]
    names = _attribute_names(next((path for path in places if path.exists()), places[0]))
    table = folder / "attributes" / "class_attribute_labels_continuous.txt"
    rows = _percentages(table, len(names))

    @functools.cache
    def seen(class_id: int) -> Seen:
        if not 1 <= class_id <= len(rows):
            raise ValueError(f"{len(rows)} rows")
        percentages: dict[str, dict[str, float]] = {}
        for (name, value), percentage in zip(names, rows[class_id - 1], strict=True):
            percentages.setdefault(name, {})[value] = percentage
        return Seen(percentages)

    def write(photograph: Photograph) -> list[str]:
        try:
            return captions(seen(photograph.class_id), COUNT, Random(f"cub/{seed}/{photograph.id}"))
        except ValueError as error:
            raise InputError(
                f"expected row {photograph.class_id} of {table} to describe {photograph.class_name},"
                f" found {error}: fetch it again or use --captions reed"
            ) from error

    return write


def _attribute_names(path: Path) -> list[tuple[str, str]]:
    """Rows of "number has_wing_color::blue" -> attribute and value, in the order of the percentages."""
    attributes = []
    for number, line in enumerate(read_lines(path), 1):
        name, divider, value = line.strip().partition(" ")[2].strip().partition("::")
        if not divider:
            raise InputError(
                f"{path}, line {number}: expected NUMBER ATTRIBUTE::VALUE, found {line[:60]!r}:"
                " fetch it again"
            )
        attributes.append((name, value))
    return attributes


def _percentages(path: Path, columns: int) -> list[tuple[float, ...]]:
    """A row for each class id from 1 on."""
    percentages = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = tuple(map(float, line.split()))
            if len(row) != columns or not all(map(math.isfinite, row)):
                raise ValueError(f"{len(row)} numbers")
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: expected a percentage for each of {columns} attributes,"
                f" found {error}: fetch it again"
            ) from error
        percentages.append(row)
    return percentages
