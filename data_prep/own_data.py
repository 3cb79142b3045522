"""Your own images and recordings -> a manifest with classes and splits, checked; and the commands to train.

    python -m data_prep.own_data --images FOLDER --recordings FOLDER --output DIR

Recordings are matched with images by their names or by a table (`data_prep/recordings.py` says how); no
text is needed. Images in sub-folders of --images have these as classes; without sub-folders, or with fewer
than FEWEST_CLASSES, each image is a class of its own, as S2IGAN treats Flickr8k. Test has whole classes
that are in no other split; validation is carved from the training classes where these have images to
spare. The split is a function of the seed and the names.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_prep.check import card, count
from data_prep.recorded_captions import fill_captions, path_under
from data_prep.recordings import Recordings, match_by_name, match_by_table
from s2i.data.file_kinds import find_images
from s2i.data.manifest import ImageRecord, check_manifest, write_manifest
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.output_folder import OutputFolder
from s2i.files.paths import given_path
from s2i.progress import listed, say

FEWEST_CLASSES = 5  # of sub-folders that are taken for classes: fewer leave too little to train on or to test
# 64 px in minutes on two cores: a place to begin.
CONFIG = Path(__file__).absolute().parents[1] / "recipes" / "painted_birds" / "conf" / "default.yaml"
BATCH = 64  # the largest batch in that configuration; fewer images get smaller ones
TEST, VAL = 0.2, 0.1  # shares: of classes, and of the training classes' images


def list_images(folder: Path) -> dict[str, Path]:
    """Images in a folder and its sub-folders, by their path in it without the ending.

    Raises InputError where there are none, or two that differ in their endings alone.
    """
    images: dict[str, Path] = {}
    for path in find_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in images:
            raise InputError(f"expected one image {name}, found {images[name]} and {path}: remove one")
        images[name] = path
    return images


def name_classes(
    names: Sequence[str], table_classes: dict[str, str], kind: str = "auto"
) -> tuple[dict[str, str], str]:
    """The class of each image, and a sentence that says where classes came from.

    Args:
        names: of images, with their sub-folders.
        table_classes: classes that a table gives.
        kind: "folders", "each" (a class of its own for each image) or "auto", which chooses.

    Raises:
        InputError: classes for some images alone, or too few for a test that is unseen.
    """
    folders = table_classes or {name: name.rpartition("/")[0].partition("/")[0] for name in names}
    without = [name for name in names if not folders.get(name)]
    origin = "of the table's classes" if table_classes else "of sub-folders as classes"
    enough = len(set(folders.values())) >= FEWEST_CLASSES and not without
    if kind == "folders" and not enough:
        raise InputError(
            f"expected {FEWEST_CLASSES} classes or more and each image in one, found"
            f" {len(set(folders.values()) - {''})}, and {len(without)} images in none"
            f" ({listed(without)}): add some, or leave --classes out"
        )
    if kind != "each" and enough:
        return {name: folders[name] for name in names}, f"{len(set(folders.values()))} {origin}"
    return {name: name for name in names}, "each image is a class of its own"


def split_classes(classes: dict[str, str], seed: int, test: float, val: float) -> dict[str, str]:
    """The split of each image: whole classes for test, images of the other classes for validation.

    Where each image is a class of its own, validation has images of its own too. Raises InputError where
    a split would be empty.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(classes, key=lambda name: _chance(seed, name)):
        members[classes[name]].append(name)
    order = sorted(members, key=lambda name: _chance(seed, f"class {name}"))
    tested = max(2, round(test * len(order)))
    splits = {name: "test" for class_name in order[:tested] for name in members[class_name]}
    rest = order[tested:]
    if all(len(members[class_name]) == 1 for class_name in rest):
        spare = [members[class_name][0] for class_name in rest][: max(1, round(val * len(rest)))]
    else:  # one image of each class, at least, is trained on
        spare = [name for class_name in rest for name in members[class_name][1:]]
        wanted = max(1, round(val * sum(len(members[class_name]) for class_name in rest)))
        spare = sorted(spare, key=lambda name: _chance(seed, name))[:wanted]
    splits |= dict.fromkeys(spare, "val")
    splits |= {name: "train" for name in classes if name not in splits}
    counts = {split: list(splits.values()).count(split) for split in ("train", "val", "test")}
    if not all(counts.values()):
        raise InputError(
            f"expected images for train, val and test, found {len(classes)} of {len(order)} classes, which"
            f" give {counts}: add images"
        )
    return splits


def make_manifest(
    images: Path,
    recordings: Path,
    root: Path,
    table: Path | None = None,
    kind: str = "auto",
    seed: int = 0,
    shares: tuple[float, float] = (TEST, VAL),
    allow_missing: bool = False,
) -> list[ImageRecord]:
    """Images with their spoken captions, classes and splits; paths relative to `root`.

    Raises InputError for images without a recording, naming them, unless `allow_missing`, which leaves them
    out; for recordings of no image; and as the functions above do.
    """
    files = list_images(images)
    paths = {name: path.relative_to(images).as_posix() for name, path in files.items()}
    if table:
        matched, lost = match_by_table(table, recordings, paths), []
    else:
        matched, lost = match_by_name(recordings, paths)
    if lost:
        raise InputError(
            f"expected recordings of the images in {images}, found {len(lost)} that belong to none"
            f" ({listed(lost)}): rename or remove them, or match by --table"
        )
    silent = [name for name in files if name not in matched]
    if silent and (not allow_missing or not matched):
        raise InputError(
            f"expected a recording in {recordings} for each image, found none for {len(silent)}"
            f" ({listed(silent)}): add them, or give --allow-missing"
        )
    if silent:
        say(f"left out, for they have no recording: {listed(silent, 20)}")
    names = [name for name in files if name in matched]
    table_classes = {name: text for name in names if (text := _class_of(matched[name]))}
    classes, origin = name_classes(names, table_classes, kind)
    splits = split_classes(classes, seed, *shares)
    numbers = {class_name: number for number, class_name in enumerate(sorted(set(classes.values())))}
    say(f"{len(names)} images; {origin}; test has classes that no other split has")
    return [
        fill_captions(
            ImageRecord(
                id=name,
                image=path_under(root, files[name]),
                box=None,
                class_id=numbers[classes[name]],
                class_name=classes[name],
                split=splits[name],
                captions=(),
            ),
            matched[name],
            root,
        )
        for name in names
    ]


def commands(images: Sequence[ImageRecord], root: Path, folder: Path) -> str:
    """The commands from a checked manifest to a report, as a person can copy them."""
    settings = ["--config", str(CONFIG), f"data.root={root}", f"data.manifest={folder}/manifest.jsonl"]
    settings += [f"data.pack={folder}/pack", "gan.augment=true"]  # photographs are too few to stand still
    trained = sum(image.split == "train" for image in images)
    if trained < BATCH:
        settings += [f"matching.batch_size={trained}", f"gan.batch_size={min(32, trained)}"]
    if len({image.class_id for image in images}) == len(images):
        settings += ["matching.class_weight=0"]  # as S2IGAN has it where there are no classes
    all_of_them = '"${settings[@]}"'
    has_text = all(caption.text is not None for image in images for caption in image.captions)
    lines = [f"settings=({shlex.join(settings)})", f"python -m data_prep.pack {all_of_them}"]
    for modality in ("speech", "text") if has_text else ("speech",):
        encoder, gan = (shlex.quote(f"{folder}/{modality}-{kind}") for kind in ("encoder", "gan"))
        lines += [
            f"s2i train-encoder {all_of_them} modality={modality} run={encoder}",
            f"s2i train-gan {all_of_them} modality={modality} gan.encoder={encoder} run={gan}",
            f"s2i evaluate {gan}",
        ]
    runs = [f"{folder}/{modality}-gan" for modality in (("speech", "text") if has_text else ("speech",))]
    command = "compare" if has_text else "report"
    lines.append(shlex.join(["s2i", command, *runs, "--output", f"{folder}/report"]))
    lines.append(shlex.join(["s2i", "export", *runs, f"{folder}/model"]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the manifest, check it, print what it holds and the commands that train on it."""
    parser = Parser(description="Your own images and recordings -> a manifest.")
    parser.add_argument("--images", required=True, type=given_path, metavar="FOLDER", help="images")
    parser.add_argument(
        "--recordings", required=True, type=given_path, metavar="FOLDER", help="what is said of them"
    )
    parser.add_argument(
        "--output",
        required=True,
        type=given_path,
        metavar="DIR",
        help="new folder for manifest, pack and runs",
    )
    parser.add_argument(
        "--table", type=given_path, metavar="CSV", help="which recording belongs to which image"
    )
    parser.add_argument(
        "--classes",
        choices=("auto", "folders", "each"),
        default="auto",
        help="by sub-folder (or the table), each image its own, or what fits (default: auto)",
    )
    parser.add_argument("--test", type=_share, default=TEST, help=f"share of classes (default: {TEST})")
    parser.add_argument("--val", type=_share, default=VAL, help=f"share of other images (default: {VAL})")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--allow-missing", action="store_true", help="leave out images without a recording")
    given = parser.parse_args(arguments)
    output = OutputFolder(given.output, "data_prep.own_data")
    for folder in (given.images, given.recordings):
        if not folder.is_dir():
            raise InputError(f"expected a folder, found none at {folder}: check --images and --recordings")
        if output.path.is_relative_to(folder.resolve()):
            raise InputError(
                f"expected --output outside of {folder}, found {given.output}: name another, for the next"
                " call would take the images that trainings write there for yours"
            )
    root = Path(os.path.commonpath([given.images.absolute(), given.recordings.absolute()]))
    made = make_manifest(
        given.images.absolute(),
        given.recordings.absolute(),
        root,
        given.table,
        given.classes,
        given.seed,
        (given.test, given.val),
        given.allow_missing,
    )
    manifest = given.output / "manifest.jsonl"
    with output.replaced(last=manifest.name) as folder:
        unchecked = folder / manifest.name
        write_manifest(unchecked, made)
        problems = check_manifest(unchecked, root, listen=True)
        for problem in problems:
            say(problem.replace(str(unchecked), str(manifest)))
        if problems:
            raise InputError(
                f"expected no faults in {given.images} and {given.recordings}, found {len(problems)}:"
                " mend the files named above and run again"
            )
    print(card(count(manifest)))
    print(
        f"\nThe commands that train on it, where `s2i` is installed:\n\n{commands(made, root, given.output)}"
    )


def _class_of(recordings: Recordings) -> str | None:
    return next((recording.class_name for recording in recordings.values() if recording.class_name), None)


def _chance(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode()).digest()


def _share(word: str) -> float:
    try:
        share = float(word)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, found {word!r}")
    return share


if __name__ == "__main__":
    exit_on_input_error(main)
