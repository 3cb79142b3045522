"""CUB-200-2011 -> a manifest.

    python -m data_prep.cub --root DIR --output DIR/manifest.jsonl
    python -m data_prep.cub --root DIR --output DIR/people.jsonl --captions reed --test-classes 1

DIR holds the official folder `CUB_200_2011`, and beside it, where you have them, parts of the tree that
StackGAN, AttnGAN and S2IGAN share: `text/<class>/<name>.txt` (Reed et al.'s captions) and
`{train,test}/filenames.pickle` (the published split). Where `CUB_200_2011` is absent it comes from DIR's
`CUB_200_2011.tgz`, or from the network. A part of the data set will do: tables are joined by id.

The splits hold whole classes: test the published 50, validation a tenth of the others, sampled with the seed.
Every photograph is decoded once and gets its box, which packing turns into the published crop (1.5 times the
longer side). Each has ten captions, of the first source in --captions that has any for it: `reed`, or
`attributes`, sentences worded from the percentages of annotators who saw each attribute in the class. A
photograph for which no source has any is left out. The card on stdout tells how much came from where.

Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset (CNS-TR-2011-001). The
photographs are for research and may not be passed on.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.check import Counts, card
from data_prep.cub_archive import CUB, obtain
from data_prep.cub_captions import Writer, open_sources
from data_prep.cub_split import Division, divide, read_published_lists
from data_prep.cub_tables import FOLDER, Photograph, check_photograph, read_photographs
from s2i.data.manifest import SPLITS, Caption, ImageRecord, check_manifest_file, write_manifest
from s2i.data.text import tokenise
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.output_folder import say_replaced
from s2i.files.paths import given_path
from s2i.progress import progress, say

SOURCES = ("reed", "attributes")


@dataclass
class Tally:
    """What the card tells, counted while the manifest is written."""

    splits: dict[str, Counts] = field(default_factory=lambda: {split: Counts() for split in SPLITS})
    sources: Counter[str] = field(default_factory=Counter)  # photographs by the source of their captions
    lengths: Counter[int] = field(default_factory=Counter)  # captions by their number of words
    left_out: Counter[str] = field(default_factory=Counter)  # photographs by the reason

    def add(self, image: ImageRecord, source: str) -> None:
        """Count an image."""
        self.splits[image.split].add(image)
        self.sources[source] += 1
        self.lengths.update(len(tokenise(caption.text or "")) for caption in image.captions)


def make_manifest(
    root: str | Path,
    output: str | Path,
    sources: Sequence[str] = SOURCES,
    seed: int = 0,
    val_classes: int | None = None,
    test_classes: int | None = None,
    photographs_a_class: int | None = None,
) -> str:
    """Write the manifest of the data set in `root`: whole, or not at all. Returns the card.

    `photographs_a_class`: no more than so many of each class, the first by id, for a trial.

    Raises InputError, naming the file, for anything broken.
    """
    tally = Tally()
    photographs, without_row = read_photographs(root)
    tally.left_out.update({f"no row in {table}": count for table, count in without_row.items()})
    if photographs_a_class is not None:
        chosen = list(_first_of_each_class(photographs, photographs_a_class))
        tally.left_out["beyond --photographs"] = len(photographs) - len(chosen)
        photographs = chosen
    writers = open_sources(sources, root, seed)
    if "attributes" not in writers:
        captioned = [photograph for photograph in photographs if _captions(photograph, writers)]
        tally.left_out["no captions"] = len(photographs) - len(captioned)
        photographs = captioned
    if not photographs:
        raise InputError(
            f"expected photographs with captions by {','.join(sources)} in {root}, found none: check --root"
            " and --captions"
        )
    division = divide(photographs, read_published_lists(root), seed, val_classes, test_classes)
    tally.left_out["not in the list of its split"] = division.unlisted
    say_replaced(output)
    write_manifest(output, _images(Path(root), division, writers, tally))
    return f"{output}: CUB-200-2011 in {root}\n{_card(tally, division)}"


def _first_of_each_class(photographs: Sequence[Photograph], most: int) -> Iterator[Photograph]:
    seen: Counter[int] = Counter()
    for photograph in photographs:
        seen[photograph.class_id] += 1
        if seen[photograph.class_id] <= most:
            yield photograph


def _images(
    root: Path, division: Division, writers: dict[str, Writer], tally: Tally
) -> Iterator[ImageRecord]:
    photographs = division.photographs
    for photograph in progress(photographs, len(photographs), "photographs read"):
        box, notes = check_photograph(root, photograph)
        for note in notes:
            say(f"s2i: note: {note}")
        source, texts = _captions(photograph, writers)
        image = ImageRecord(
            id=photograph.id,
            image=photograph.image,
            box=box,
            class_id=photograph.class_id,
            class_name=photograph.class_name,
            split=division.splits[photograph.class_id],
            captions=tuple(Caption(text, None, None, "en") for text in texts),
        )
        tally.add(image, source)
        yield image


def _captions(photograph: Photograph, writers: dict[str, Writer]) -> tuple[str, list[str]] | None:
    """The first source that has captions for a photograph, and they."""
    for source, write in writers.items():
        if texts := write(photograph):
            return source, texts
    return None


def _card(tally: Tally, division: Division) -> str:
    splits, lengths = tally.splits, tally.lengths
    lines = [card(splits)]
    words = sorted(lengths.elements())
    middle = statistics.median_low(words)
    lines.append(f"vocabulary of the training captions: {len(splits['train'].words):,} words")
    lines.append(f"words a caption: {words[0]} to {words[-1]}, median {middle}")
    lines.append(f"captions from: {_listed(tally.sources)}")
    lines.append(f"test classes: {division.origin}")
    lines.append(f"validation classes: {', '.join(map(str, sorted(splits['val'].classes))) or 'none'}")
    lines.append(f"photographs left out: {_listed(+tally.left_out)}")
    missing = [split for split, counts in splits.items() if not counts.images]
    if missing:
        lines.append(f"no photographs in {' or '.join(missing)}: --test-classes, --val-classes hold some out")
    seen = Counter(class_id for counts in splits.values() for class_id in counts.classes)
    leaks = sorted(class_id for class_id, times in seen.items() if times > 1)
    lines.append(f"leaks (classes in two splits): {', '.join(map(str, leaks)) or 'none'}")
    return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = Parser(description="Make a manifest of CUB-200-2011, or of a part of it.")
    parser.add_argument(
        "--root", type=given_path, required=True, help=f"folder that holds, or will hold, {FOLDER}"
    )
    parser.add_argument("--output", type=given_path, required=True, help="the manifest: JSON Lines")
    parser.add_argument(
        "--captions",
        default=",".join(SOURCES),
        help="sources of captions, the first that has any for a photograph: reed, attributes [%(default)s]",
    )
    parser.add_argument("--seed", type=int, default=0, help="of held-out classes and sentences [%(default)s]")
    parser.add_argument("--val-classes", type=int, help="to validate on [a tenth of those outside test]")
    parser.add_argument(
        "--test-classes", type=int, help="sampled by seed, for a part without published ones [published]"
    )
    parser.add_argument("--photographs", type=int, help="of each class, the first by id, for a trial [all]")
    given = parser.parse_args(arguments)
    sources = given.captions.split(",")
    if set(sources) - set(SOURCES) or len(set(sources)) < len(sources):
        raise InputError(f"expected --captions of {' and '.join(SOURCES)}, found {given.captions!r}")
    for name, count in (("--val-classes", given.val_classes), ("--test-classes", given.test_classes)):
        if count is not None and count < 0:
            raise InputError(f"expected {name} of 0 or more, found {count}")
    if given.photographs is not None and given.photographs < 1:
        raise InputError(f"expected --photographs of 1 or more, found {given.photographs}")
    if not (given.root / FOLDER).exists() and (given.root / CUB.proof).is_file():
        raise InputError(
            f"expected --root to be the folder around {FOLDER}, found that folder itself:"
            f" give {given.root.resolve().parent}, and call the folder {FOLDER}"
        )
    check_manifest_file(given.output)
    obtain(given.root, CUB)
    held_out = given.val_classes, given.test_classes
    print(make_manifest(given.root, given.output, sources, given.seed, *held_out, given.photographs))


if __name__ == "__main__":
    exit_on_input_error(main)
