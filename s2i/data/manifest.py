"""The manifest: what a data set is. JSON Lines, one image a line, its captions inside; relative paths.

    {"id": "0001", "image": "images/0001.png", "box": [x, y, width, height] or null, "class_id": 3,
     "class_name": "Painted Wren", "split": "train" | "val" | "test",
     "captions": [{"text": "..." or null, "audio": "speech/0001-0.wav" or null, "speaker": "..." or null,
                   "language": "en" or null, "mentions": ["wing", ...] (optional)}],
     "attributes": {"wing": "red", ...} (optional)}

An unwritten language has no text; before synthesis there is no audio; a caption with neither is an error.
Beside a manifest with attributes lies `attributes.json`: {attribute: [all its values, in order]}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s2i.errors import InputError
from s2i.files.atomic import is_utf8, parse_json, write_atomically
from s2i.files.output_folder import check_output_file
from s2i.progress import progress

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Caption:
    """One description of an image: written, spoken or both."""

    text: str | None
    audio: str | None
    speaker: str | None
    language: str | None
    mentions: tuple[str, ...] = ()  # attributes that the caption tells


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One line of a manifest."""

    id: str
    image: str
    box: tuple[float, float, float, float] | None  # x, y, width, height in px
    class_id: int
    class_name: str
    split: str
    captions: tuple[Caption, ...]
    attributes: dict[str, str] = field(default_factory=dict)


def read_manifest(path: str | Path) -> list[ImageRecord]:
    """All images of a manifest, in order. Raises as `iterate_manifest` does."""
    return list(iterate_manifest(path))


def iterate_manifest(path: str | Path) -> Iterator[ImageRecord]:
    """The images one by one, so that memory use does not grow with the data set.

    Raises InputError, naming file and line, for bad JSON, a missing or unknown key, a value of the wrong type
    or a duplicate id.
    """
    lines: dict[str, int] = {}
    for number, line in _numbered_lines(Path(path)):
        try:
            image = _parse_line(line)
            if image.id in lines:
                raise ValueError(f"expected a new id, found {image.id!r} of line {lines[image.id]} again")
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}: mend or remove the line") from error
        lines[image.id] = number
        yield image


def write_manifest(path: str | Path, images: Iterable[ImageRecord]) -> None:
    """Write a manifest: whole, or not at all."""
    with write_atomically(path, "wb") as stream:
        for image in images:
            line = format_line(image)
            if not is_utf8(line):
                raise InputError(
                    f"expected text and names in UTF-8 for {path}, found others at image {image.id!r}:"
                    " rename its files or mend its captions"
                )
            stream.write(line.encode() + b"\n")


def check_manifest_file(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Whether a manifest may be written onto a file that was named to a command; see `check_output_file`.

    Raises InputError for an input, and for a file that is there and is no manifest.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size:
        try:
            next(iterate_manifest(path))
        except (InputError, StopIteration) as error:
            raise InputError(
                f"expected a manifest to replace at {path}, found another file: name another"
            ) from error
    check_output_file(path, inputs)


def format_line(image: ImageRecord) -> str:
    """An image as its line of JSON, without the line's end."""
    values = asdict(image)
    if not image.attributes:
        del values["attributes"]
    for caption in values["captions"]:
        if not caption["mentions"]:
            del caption["mentions"]
    return json.dumps(values, ensure_ascii=False)


def read_attributes(manifest: str | Path) -> dict[str, list[str]]:
    """Every attribute and its values in order, from `attributes.json` beside the manifest; {} without one."""
    path = Path(manifest).parent / "attributes.json"
    if not path.exists():
        return {}
    try:
        schema = parse_json(path.read_bytes())
        if not isinstance(schema, dict) or not all(_is_list_of_words(values) for values in schema.values()):
            raise ValueError("something else")
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected {{attribute: [values]}} as JSON in {path}, found {error}: make the data again"
        ) from error
    return schema


def check_manifest(path: str | Path, root: str | Path, listen: bool = False) -> list[str]:
    """Everything wrong with a manifest whose paths start from `root`: one message each, [] when all is well.

    Beyond what reading refuses: missing, empty and broken files, boxes outside their images, class ids and
    names that disagree, attributes outside their schema, classes of test seen in training or validation.
    Images are decoded; of recordings only the header is read, unless `listen` is set: then silence,
    samples that are no numbers and broken files are found too, at some 2 ms a recording.
    """
    path, root = Path(path), Path(root)
    schema = read_attributes(path)
    problems: list[str] = []
    id_lines: dict[str, int] = {}
    class_names: dict[int, tuple[str, int]] = {}
    class_ids: dict[str, tuple[int, int]] = {}
    class_sides: dict[int, tuple[bool, int]] = {}  # class -> (is it of test?, first line)

    total = sum(1 for _ in _numbered_lines(path))
    for number, line in progress(_numbered_lines(path), total, "manifest lines checked"):
        try:
            image = _parse_line(line)
        except ValueError as error:
            problems.append(f"{path}, line {number}: {error}")
            continue
        of_line = []
        first = id_lines.setdefault(image.id, number)
        if first != number:
            of_line.append(f"expected a new id, found {image.id!r} of line {first} again")
        name, first = class_names.setdefault(image.class_id, (image.class_name, number))
        if name != image.class_name:
            of_line.append(
                f"expected class {image.class_id} to be {name!r} as on line {first},"
                f" found {image.class_name!r}"
            )
        class_id, first = class_ids.setdefault(image.class_name, (image.class_id, number))
        if class_id != image.class_id:
            of_line.append(
                f"expected {image.class_name!r} to be class {class_id} as on line {first},"
                f" found {image.class_id}"
            )
        is_test = image.split == "test"
        was_test, first = class_sides.setdefault(image.class_id, (is_test, number))
        if is_test != was_test:
            of_line.append(
                f"expected classes of test to be unseen, found class {image.class_id}"
                f" ({image.class_name}) in {image.split} here"
                f" and {'in test' if was_test else 'outside test'} on line {first}"
            )
        of_line += _attribute_problems(image, schema)
        of_line += _file_problems(image, root, listen)
        problems += [f"{path}, line {number}: {problem}" for problem in of_line]
    if not id_lines and not problems:
        problems.append(f"{path}: expected at least one image, found none")
    return problems


def _attribute_problems(image: ImageRecord, schema: dict[str, list[str]]) -> list[str]:
    problems = []
    if image.attributes and image.attributes.keys() != schema.keys():
        differing = sorted(image.attributes.keys() ^ schema.keys())
        problems.append(
            f"expected the attributes of attributes.json, found a difference in {', '.join(differing)}"
        )
    for name, value in image.attributes.items():
        if name in schema and value not in schema[name]:
            problems.append(
                f"expected attribute {name} to be one of {', '.join(schema[name])}, found {value!r}"
            )
    for name in dict.fromkeys(name for caption in image.captions for name in caption.mentions):
        if name not in image.attributes:
            problems.append(f"expected mentions of the image's attributes, found {name!r}")
    return problems


def _file_problems(image: ImageRecord, root: Path, listen: bool) -> list[str]:
    # Here, not above: reading a manifest must not cost the start of torch.
    from s2i.config_data import AudioConfig
    from s2i.data.audio import load_waveform
    from s2i.data.images import load_image
    from s2i.data.sound_files import check_recording

    problems = []
    try:
        width, height = load_image(root / image.image).size
        if image.box is not None:
            x, y, box_width, box_height = image.box
            # Half a pixel of grace: boxes are often rounded.
            if min(x, y) < -0.5 or x + box_width > width + 0.5 or y + box_height > height + 0.5:
                problems.append(
                    f"expected a box inside the image of {width} x {height} px, found {list(image.box)}"
                    f" for {root / image.image}"
                )
    except InputError as error:
        problems.append(str(error))
    for caption in image.captions:
        if caption.audio is not None:
            try:
                if listen:
                    load_waveform(root / caption.audio, AudioConfig())
                else:
                    check_recording(root / caption.audio, AudioConfig().max_seconds)
            except InputError as error:
                problems.append(str(error))
    return problems


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines from 1 on; blank ones are passed over."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InputError(
            f"expected a manifest at {path}, found: {error.strerror or error}:"
            " check the path or make the data first"
        ) from error


def _parse_line(line: bytes) -> ImageRecord:
    """An image from one line. Raises ValueError with what was expected and what was found."""
    try:
        values = parse_json(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8, found other bytes at byte {error.start}") from error
    except ValueError as error:
        raise ValueError(f"expected one JSON object, found {error}") from error
    if b"\\u" in line:  # the only way to what isn't text
        _refuse_no_text(values)
    required = ("id", "image", "box", "class_id", "class_name", "split", "captions")
    _check_keys(values, "the image", required, ("attributes",))
    for key in ("id", "image", "class_name"):
        _check(isinstance(values[key], str) and values[key] != "", key, "a word or a path", values[key])
    box = values["box"]
    _check(box is None or _is_box(box), "box", "[x, y, width, height] or null", box)
    class_id = values["class_id"]
    is_whole = isinstance(class_id, int) and not isinstance(class_id, bool)
    _check(is_whole and abs(class_id) < 2**63, "class_id", "a whole number of 64 bits", class_id)
    _check(values["split"] in SPLITS, "split", " or ".join(SPLITS), values["split"])
    _check(isinstance(values["captions"], list), "captions", "a list", values["captions"])
    attributes = values.get("attributes", {})
    is_words = isinstance(attributes, dict) and all(isinstance(value, str) for value in attributes.values())
    _check(is_words, "attributes", "{name: value} of words", attributes)
    return ImageRecord(
        id=values["id"],
        image=values["image"],
        box=None if box is None else tuple(box),
        class_id=class_id,
        class_name=values["class_name"],
        split=values["split"],
        captions=tuple(_parse_caption(caption, index) for index, caption in enumerate(values["captions"])),
        attributes=attributes,
    )


def _refuse_no_text(values: Any) -> None:
    """Half of an emoji can't be written as UTF-8, a NUL ends a path: neither stands in any text."""
    if isinstance(values, str) and ("\0" in values or not is_utf8(values)):
        raise ValueError(f"expected text of whole letters, without NUL, found {ascii(values)[:60]}")
    if isinstance(values, (list, dict)):
        for item in values:
            _refuse_no_text(item)
            if isinstance(values, dict):
                _refuse_no_text(values[item])


def _parse_caption(values: Any, index: int) -> Caption:
    where = f"caption {index}"
    _check_keys(values, where, ("text", "audio", "speaker", "language"), ("mentions",))
    for key in ("text", "audio", "speaker", "language"):
        is_word = values[key] is None or (isinstance(values[key], str) and values[key].strip() != "")
        _check(is_word, f"{key} of {where}", "words or null", values[key])
    if values["text"] is None and values["audio"] is None:
        raise ValueError(f"expected text or audio in {where}, found neither")
    mentions = values.get("mentions", [])
    _check(_is_list_of_words(mentions), f"mentions of {where}", "a list of attribute names", mentions)
    return Caption(values["text"], values["audio"], values["speaker"], values["language"], tuple(mentions))


def _check_keys(values: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object for {where}, found {json.dumps(values)[:60]}")
    missing = [key for key in required if key not in values]
    unknown = [key for key in values if key not in required + optional]
    if missing or unknown:
        problems = [f"no {key}" for key in missing] + [f"an unknown {key!r}" for key in unknown]
        raise ValueError(
            f"expected the keys {', '.join(required)} in {where}, found {' and '.join(problems)}"
        )


def _check(is_right: bool, name: str, expected: str, actual: Any) -> None:
    if not is_right:
        raise ValueError(
            f"expected {expected} for {name}, found {json.dumps(actual, ensure_ascii=False)[:60]}"
        )


def _is_box(box: Any) -> bool:
    is_number = (
        isinstance(box, list)
        and len(box) == 4
        and all(
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            for value in box
        )
    )
    return is_number and box[2] > 0 and box[3] > 0


def _is_list_of_words(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
