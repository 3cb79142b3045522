"""Which recording says which caption: by the names of files, or by a table.

By name, where IMAGE is an image's id, or its file's name without the ending, or that with its folder:

    IMAGE.wav                      the only caption, or the first
    IMAGE-0.wav, PICTURE_1.wav     captions by their number, from 0 on
    IMAGE/0.wav, IMAGE/ben-3.wav likewise, by the number that ends (or begins) each name
    IMAGE/ada.wav, IMAGE/ben.wav one for each caption: in the order of the names

An image that has no captions yet gets one for each recording, in the order of numbers and names. Recordings
whose names don't tell their caption are refused.

By table: a CSV file whose first line names its columns, `recording` (path in the folder) and `image`
(as above), and where wanted `caption` (number from 0 on; else captions in the table's order), `speaker`,
`language`, `text` and `class`.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s2i.data.file_kinds import FOREIGN_IMAGES, IMAGES, find_recordings
from s2i.errors import InputError
from s2i.progress import listed, say

_DIGITS = 9  # of a caption's number
COLUMNS = ("recording", "image", "caption", "speaker", "language", "text", "class")


@dataclass(frozen=True)
class Recording:
    """A recording and what is known of it."""

    path: Path
    speaker: str | None = None
    language: str | None = None
    text: str | None = None
    class_name: str | None = None


Recordings = dict[int, Recording]  # of one image, by the number of the caption


def match_by_name(
    folder: Path, images: dict[str, str], captions: Mapping[str, int] | None = None
) -> tuple[dict[str, Recordings], list[Path]]:
    """The recordings of each image, and those that belong to none.

    Args:
        folder: where the recordings are, sub-folders included.
        images: {id: path of the image's file}.
        captions: {id: how many it has}; of an image without any, numbers say no more than an order.

    Raises:
        InputError: no recordings, names that two images share, two recordings for one caption, or names
            that don't tell which caption is spoken.
    """
    names, captions = _names(images), captions or {}
    matched: dict[str, Recordings] = defaultdict(dict)
    lost: list[Path] = []
    in_folders: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in find_recordings(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        numbered = re.fullmatch(r"(.+)[-_](\d+)", stem)
        above, _, name = stem.rpartition("/")
        if (image := names.get(stem)) is not None:
            _add(matched[image], 0, Recording(path), image)
        elif numbered and (image := names.get(numbered[1])) is not None:
            _add(matched[image], int(numbered[2]), Recording(path), image)
        elif above and (image := names.get(above)) is not None:
            # Digits of the image's own name are no caption's number: heron7/heron7-0.wav.
            called = re.escape(above.rpartition("/")[2])
            in_folders[image].append((re.sub(rf"^{called}([-_]|$)", "", name) or "0", path))
        else:
            lost.append(path)
    for image, paths in in_folders.items():
        for number, path in _place(paths, captions.get(image, 0), image):
            _add(matched[image], number, Recording(path), image)
    numbers = {number for image in matched if captions.get(image) for number in matched[image]}
    if numbers and 0 not in numbers:
        say(f"s2i: note: captions count from 0 on, and no recording in {folder} has that number")
    return dict(matched), lost


def match_by_table(table: Path, folder: Path, images: dict[str, str]) -> dict[str, Recordings]:
    """The recordings of each image as a table has them.

    Raises InputError, naming the lines, for what is not there, and for two classes of one image, two
    recordings of one caption or one recording twice.
    """
    names = _names(images)
    matched: dict[str, Recordings] = defaultdict(dict)
    classes: dict[str, tuple[str | None, int]] = {}  # of an image, and the line that says so
    rows: dict[tuple[str, str], int] = {}  # the line of an image's recording
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            unknown = [name for name in columns if name not in COLUMNS]
            if unknown or not {"recording", "image"} <= set(columns) or len(set(columns)) < len(columns):
                raise InputError(
                    f"expected a first line with recording and image, each once, out of"
                    f" {', '.join(COLUMNS)} in {table}, found {', '.join(columns) or 'nothing'}: change it"
                )
            for row in reader:
                line = f"{table}, line {reader.line_num}"
                if None in row:  # where csv puts what is beyond the columns
                    raise InputError(
                        f"expected {len(columns)} fields, found more, in {line}: quote what has commas"
                    )
                values = {name: (row[name] or "").strip() or None for name in columns}
                image = names.get(_without_ending(values["image"] or ""))
                if image is None:
                    raise InputError(
                        f"expected the id or the file of an image, found {values['image']!r} in {line}:"
                        " mend or remove the line"
                    )
                path = folder / (values["recording"] or "")
                if not path.is_file():
                    raise InputError(f"expected a recording at {path}, found none, in {line}: mend the line")
                number = values.get("caption") or str(len(matched[image]))
                if not number.isdecimal() or len(number) > _DIGITS:
                    raise InputError(f"expected a caption's number, found {number!r} in {line}: mend it")
                class_name, first = values.get("class"), (values.get("class"), reader.line_num)
                if class_name and (earlier := classes.setdefault(image, first))[0] != class_name:
                    raise InputError(
                        f"expected one class for image {image}, found {earlier[0]!r} in line {earlier[1]} and"
                        f" {class_name!r} in {line}: mend one of them"
                    )
                known = (values.get(name) for name in ("speaker", "language", "text", "class"))
                _add(matched[image], int(number), Recording(path, *known), f"{image} in {line}")
                first = rows.setdefault((image, os.path.normpath(path)), reader.line_num)
                if first != reader.line_num:
                    raise InputError(
                        f"expected a recording once for image {image}, found {path} in line {first} and"
                        f" in {line}: remove one of them"
                    )
    except OSError as error:
        raise InputError(f"expected a table at {table}, found: {error.strerror}: change --table") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected CSV in UTF-8 in {table}, found: {error}: save it so") from error
    return dict(matched)


def _place(paths: list[tuple[str, Path]], captions: int, image: str) -> list[tuple[int, Path]]:
    """The number of the caption that each recording of an image's folder speaks.

    Numbers place: recording 3 is caption 3's, whether or not there is one of 2. Where there is no 0, but one
    recording for each caption, and where no name has a number, the order of the names counts; so it does
    for an image that has no captions yet.
    """
    in_order = [path for _, path in sorted(paths, key=lambda named: _by_value(named[0]))]
    placed: list[tuple[int, Path]] = []
    for pattern in (r"(?:.*\D)?(\d+)", r"(\d+)\D.*"):
        matches = [re.fullmatch(pattern, name) for name, _ in paths]
        if all(matches):
            placed = [(int(number[1]), path) for number, (_, path) in zip(matches, paths, strict=True)]
            break
    if placed and captions and (len(paths) != captions or min(placed)[0] == 0):
        return placed
    has_numbers = any(re.search(r"\d", name) for name, _ in paths)
    if captions and (len(paths) != captions or (has_numbers and not placed)):
        raise InputError(
            "expected a number at the end of each recording's name, or none in any and one recording for each"
            f" of the {captions} captions of image {image}, found {listed(in_order)}: rename them, or"
            " match by --table"
        )
    return list(enumerate(in_order))


def _names(images: dict[str, str]) -> dict[str, str]:
    """Every name that a recording may call an image by -> its id. A name of several images is nobody's."""
    names: dict[str, set[str]] = defaultdict(set)
    for image, file in images.items():
        path = Path(file).with_suffix("")
        for name in (path.name, *("/".join(path.parts[-count:]) for count in range(2, len(path.parts) + 1))):
            names[name].add(image)
    unique = {name: next(iter(ids)) for name, ids in names.items() if len(ids) == 1}
    return unique | {image: image for image in images}


def _add(recordings: Recordings, number: int, recording: Recording, image: str) -> None:
    if number in recordings:
        raise InputError(
            f"expected one recording for caption {number} of image {image}, found"
            f" {recordings[number].path} and {recording.path}: remove or rename one"
        )
    recordings[number] = recording


def _by_value(name: str) -> list[tuple[int, int | str]]:
    """Sorts 2 before 10, and numbers before words."""
    pieces = re.split(r"(\d+)", name)
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece]


def _without_ending(name: str) -> str:
    """An image's name as `_names` has it: an id, or a path whose ending is cut."""
    stem, dot, ending = name.rpartition(".")
    return stem if f"{dot}{ending}".lower() in IMAGES + FOREIGN_IMAGES else name
