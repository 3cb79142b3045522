"""CUB-200-2011's own tables, joined by id, and its photographs, checked one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from s2i.data.images import open_image, upright_size
from s2i.errors import InputError
from s2i.files.atomic import read_lines

FOLDER = "CUB_200_2011"
_INSIDE = 0.5  # part of a box that must lie in its image; a few of CUB's stick out, by up to a tenth


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph as the tables have it."""

    name: str  # "002.Laysan_Albatross/Laysan_Albatross_0002_1027", as the published lists write it
    image: str  # path from the root
    box: tuple[float, float, float, float]  # x, y, width, height in px
    class_id: int  # CUB's own, from 1
    class_name: str  # "Laysan Albatross"

    @property
    def id(self) -> str:
        """The file's name without folder and ending, which no two photographs of CUB share."""
        return PurePosixPath(self.image).stem


def read_photographs(root: str | Path) -> tuple[list[Photograph], dict[str, int]]:
    """Every photograph that each table has a row for, in the order of `images.txt`.

    Tables may lack rows, as in a part of the data set. `train_test_split.txt` is not read: it divides the
    photographs of each class, and here whole classes are held out.

    Returns:
        The photographs, and for each table how many it had no row for.

    Raises:
        InputError: a missing table, or a bad row, by file and line.
    """
    folder = Path(root) / FOLDER
    images = dict(_rows(folder / "images.txt", 1))
    words = {"bounding_boxes.txt": 4, "image_class_labels.txt": 1, "classes.txt": 1}  # of a row, after the id
    tables = {name: dict(_rows(folder / name, count)) for name, count in words.items()}
    boxes, labels, classes = tables.values()
    photographs, left_out = [], dict.fromkeys(tables, 0)
    files: dict[str, str] = {}
    for number, row in images.items():
        path = PurePosixPath(row.words[0])
        if path.is_absolute() or ".." in path.parts or len(path.parts) != 2:
            raise row.error("CLASS/IMAGE.jpg", str(path))
        if number not in boxes:
            left_out["bounding_boxes.txt"] += 1
        elif number not in labels:
            left_out["image_class_labels.txt"] += 1
        elif (class_id := labels[number].whole_number()) not in classes:
            left_out["classes.txt"] += 1
        else:
            if path.stem in files:
                raise row.error("a new file name", f"that of {files[path.stem]} again")
            files[path.stem] = str(path)
            class_name = classes[class_id].words[0].partition(".")[2] or classes[class_id].words[0]
            photographs.append(
                Photograph(
                    name=str(path.with_suffix("")),
                    image=str(PurePosixPath(FOLDER, "images", path)),
                    box=boxes[number].box(),
                    class_id=class_id,
                    class_name=class_name.replace("_", " "),
                )
            )
    return photographs, left_out


def check_photograph(
    root: str | Path, photograph: Photograph
) -> tuple[tuple[float, float, float, float], list[str]]:
    """Decode a photograph, at low resolution; its box cut to the image, and what is worth a note.

    The published code cuts the crop and not the box, whose middle so lies a little nearer to the border: one
    photograph in five hundred.

    Raises InputError, naming the file, for a missing or broken one and for a box outside its image.
    """
    path = Path(root) / photograph.image
    with open_image(path) as image:
        mode, (width, height) = image.mode, upright_size(image)
        image.draft(mode, (1, 1))  # all of a JPEG is read, an eighth of its side computed
        image.load()
    notes = []
    if mode != "RGB":
        kind = {"L": "a greyscale", "CMYK": "a CMYK"}.get(mode, f"a {mode}")
        notes.append(f"{path} is {kind} image: read as RGB")
    x, y, box_width, box_height = photograph.box
    left, top, right, bottom = max(0, x), max(0, y), min(width, x + box_width), min(height, y + box_height)
    inside = max(0, right - left) * max(0, bottom - top)
    if inside < _INSIDE * box_width * box_height:
        raise InputError(
            f"expected a box inside the image of {width} x {height} px, found {list(photograph.box)} for"
            f" {path}: mend its row of bounding_boxes.txt"
        )
    if min(x, y) < -0.5 or x + box_width > width + 0.5 or y + box_height > height + 0.5:
        notes.append(f"{path} has a box {list(photograph.box)} beyond its {width} x {height} px: cut to them")
    return tuple(round(value, 2) for value in (left, top, right - left, bottom - top)), notes


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    line: int
    words: list[str]  # after the id

    def error(self, expected: str, actual: str) -> InputError:
        return InputError(f"{self.path}, line {self.line}: expected {expected}, found {actual}: mend the row")

    def whole_number(self) -> int:
        try:
            return int(self.words[0])
        except ValueError:
            raise self.error("a whole number", repr(self.words[0])) from None

    def box(self) -> tuple[float, float, float, float]:
        try:
            x, y, width, height = map(float, self.words)
        except ValueError:
            raise self.error("x y width height in px", " ".join(self.words)) from None
        if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
            raise self.error("a box with an area", " ".join(self.words))
        return x, y, width, height


def _rows(path: Path, words: int) -> Iterator[tuple[int, _Row]]:
    """Rows of "id word ..." by id; each id once."""
    lines: dict[int, int] = {}
    for line, text in enumerate(read_lines(path), 1):
        if not text.strip():
            continue
        first, *rest = text.split()
        row = _Row(path, line, rest)
        if not first.isdecimal() or len(rest) != words:
            raise row.error(f"an id and {words} more words", repr(text[:60]))
        number = int(first)
        if number in lines:
            raise row.error("a new id", f"{number} of line {lines[number]} again")
        lines[number] = line
        yield number, row
