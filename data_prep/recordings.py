"""Which recording says which caption: by the names of files, or by a table.

By name, where PICTURE is a picture's id, or its file's name without the ending, or that with its folder:

    PICTURE.wav                      the only caption, or the first
    PICTURE-0.wav, PICTURE_1.wav     captions by their number, from 0 on
    PICTURE/*.wav                    captions in the order of the names, numbers by value (2 before 10)

By table: a CSV file whose first line names its columns, `recording` (path in the folder) and `picture`
(as above), and where wanted `caption` (number from 0 on; else captions in the table's order), `speaker`,
`language`, `text` and `class`.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from s2i.errors import InputError

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
COLUMNS = ("recording", "picture", "caption", "speaker", "language", "text", "class")


@dataclass(frozen=True)
class Recording:
    """A recording and what is known of it."""

    path: Path
    speaker: str | None = None
    language: str | None = None
    text: str | None = None
    class_name: str | None = None


Recordings = dict[int, Recording]  # of one picture, by the number of the caption


def match_by_name(folder: Path, pictures: dict[str, str]) -> tuple[dict[str, Recordings], list[Path]]:
    """The recordings of each picture, and those that belong to none.

    Args:
        folder: where the recordings are, sub-folders included.
        pictures: {id: path of the picture's file}.

    Raises:
        InputError: no recordings, names that two pictures share, or two recordings for one caption.
    """
    names = _names(pictures)
    found: dict[str, Recordings] = defaultdict(dict)
    lost: list[Path] = []
    in_folders: dict[str, list[Path]] = defaultdict(list)
    for path in list_recordings(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        numbered = re.fullmatch(r"(.+)[-_](\d+)", stem)
        above = stem.rpartition("/")[0]
        if (picture := names.get(stem)) is not None:
            _add(found[picture], 0, Recording(path), picture)
        elif numbered and (picture := names.get(numbered[1])) is not None:
            _add(found[picture], int(numbered[2]), Recording(path), picture)
        elif above and (picture := names.get(above)) is not None:
            in_folders[picture].append(path)
        else:
            lost.append(path)
    for picture, paths in in_folders.items():
        for number, path in enumerate(sorted(paths, key=_by_value)):
            _add(found[picture], number, Recording(path), picture)
    return dict(found), lost


def match_by_table(table: Path, folder: Path, pictures: dict[str, str]) -> dict[str, Recordings]:
    """The recordings of each picture as a table has them. Raises InputError, naming the line."""
    names = _names(pictures)
    found: dict[str, Recordings] = defaultdict(dict)
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            unknown = [name for name in columns if name not in COLUMNS]
            if unknown or not {"recording", "picture"} <= set(columns):
                raise InputError(
                    f"expected a first line with recording and picture out of {', '.join(COLUMNS)} in"
                    f" {table}, found {', '.join(columns) or 'nothing'}: change it"
                )
            for row in reader:
                line = f"{table}, line {reader.line_num}"
                if None in row:  # where csv puts what is beyond the columns
                    raise InputError(
                        f"expected {len(columns)} fields, found more, in {line}: quote what has commas"
                    )
                values = {name: (row[name] or "").strip() or None for name in columns}
                picture = names.get(_without_ending(values["picture"] or ""))
                if picture is None:
                    raise InputError(
                        f"expected the id or the file of a picture, found {values['picture']!r} in {line}:"
                        " mend or remove the line"
                    )
                path = folder / (values["recording"] or "")
                if not path.is_file():
                    raise InputError(f"expected a recording at {path}, found none, in {line}: mend the line")
                number = values.get("caption") or str(len(found[picture]))
                if not number.isdecimal():
                    raise InputError(f"expected a caption's number, found {number!r} in {line}: mend it")
                known = (values.get(name) for name in ("speaker", "language", "text", "class"))
                _add(found[picture], int(number), Recording(path, *known), f"{picture} in {line}")
    except OSError as error:
        raise InputError(f"expected a table at {table}, found: {error.strerror}: change --table") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected CSV in UTF-8 in {table}, found: {error}: save it so") from error
    return dict(found)


def list_recordings(folder: Path) -> list[Path]:
    """Sound files in a folder and its sub-folders, in order. Raises InputError where there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise InputError(
            f"expected recordings ({', '.join(ENDINGS)}) in {folder}, found none: check the folder"
        )
    return paths


def listed(things: Iterable[str | Path], most: int = 5) -> str:
    """Some of many things, and how many more there are."""
    things = [str(thing) for thing in things]
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more


def _names(pictures: dict[str, str]) -> dict[str, str]:
    """Every name that a recording may call a picture by -> its id. A name of several pictures is nobody's."""
    names: dict[str, set[str]] = defaultdict(set)
    for picture, file in pictures.items():
        path = Path(file).with_suffix("")
        for name in (path.name, *("/".join(path.parts[-count:]) for count in range(2, len(path.parts) + 1))):
            names[name].add(picture)
    found = {name: next(iter(ids)) for name, ids in names.items() if len(ids) == 1}
    return found | {picture: picture for picture in pictures}


def _add(recordings: Recordings, number: int, recording: Recording, picture: str) -> None:
    if number in recordings:
        raise InputError(
            f"expected one recording for caption {number} of picture {picture}, found"
            f" {recordings[number].path} and {recording.path}: remove or rename one"
        )
    recordings[number] = recording


def _by_value(path: Path) -> list[tuple[int, int | str]]:
    """Sorts 2 before 10, and numbers before words."""
    parts = re.split(r"(\d+)", path.stem)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def _without_ending(name: str) -> str:
    """A picture's name as `_names` has it: an id, or a path whose ending is cut."""
    return re.sub(r"\.(png|jpe?g|bmp|webp|tiff?)$", "", name, flags=re.IGNORECASE)
