"""Check a manifest: every bad line by name, then a card of what the data set holds.

python data_prep/check.py MANIFEST [--root FOLDER]

Exit status 2 when anything is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from s2i.data.manifest import SPLITS, ImageRecord, check_manifest, iterate_manifest
from s2i.data.text import has_word, tokenise
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.paths import given_path
from s2i.progress import say


@dataclass
class Counts:
    """What one split holds; a set where each thing counts once."""

    images: int = 0
    classes: set[int] = field(default_factory=set)
    captions: int = 0
    written: int = 0
    wordless: int = 0  # written, but without a word
    spoken: int = 0
    words: set[str] = field(default_factory=set)
    speakers: set[str] = field(default_factory=set)
    languages: set[str] = field(default_factory=set)

    def add(self, image: ImageRecord) -> None:
        """Count an image and its captions."""
        self.images += 1
        self.classes.add(image.class_id)
        for caption in image.captions:
            self.captions += 1
            self.written += caption.text is not None
            self.wordless += caption.text is not None and not has_word(caption.text)
            self.spoken += caption.audio is not None
            self.words.update(tokenise(caption.text or ""))
            self.speakers.update({caption.speaker} - {None})
            self.languages.update({caption.language} - {None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each problem on stderr, or the card on stdout where there is none."""
    parser = Parser(description="Check a manifest, and count what it holds.")
    parser.add_argument("manifest", type=given_path, metavar="MANIFEST", help="JSON Lines, one image a line")
    parser.add_argument(
        "--root", type=given_path, help="where its paths start (default: the manifest's folder)"
    )
    parser.add_argument(
        "--listen", action="store_true", help="decode recordings too, not their headers alone (2 ms each)"
    )
    given = parser.parse_args(arguments)
    problems = check_manifest(given.manifest, given.root or given.manifest.parent, given.listen)
    for problem in problems:
        say(problem)
    if problems:
        raise InputError(
            f"expected no faults in {given.manifest}, found {len(problems)}:"
            " mend or remove the lines named above"
        )
    print(card(count(given.manifest)))


def count(manifest: Path) -> dict[str, Counts]:
    """What each split of a sound manifest holds."""
    splits = {split: Counts() for split in SPLITS}
    for image in iterate_manifest(manifest):
        splits[image.split].add(image)
    return splits


def card(splits: dict[str, Counts]) -> str:
    """Counts of each split as a table, and what of test training has not seen."""
    names = [item.name for item in fields(Counts) if item.name != "wordless"]
    lines = [f"{'':6}" + "".join(f"{name:>10}" for name in names)]
    for split, counts in splits.items():
        values = (getattr(counts, name) for name in names)
        lines.append(f"{split:6}" + "".join(f"{_size(value):10,}" for value in values))
    seen = splits["train"], splits["val"]
    for name in ("classes", "speakers", "words"):
        unseen = getattr(splits["test"], name).difference(*(getattr(counts, name) for counts in seen))
        lines.append(f"{name} of test outside train and val: {len(unseen):,}")
    languages = set().union(*(counts.languages for counts in splits.values()))
    lines.append(f"languages: {', '.join(sorted(languages)) or 'not given'}")
    wordless = sum(counts.wordless for counts in splits.values())
    if wordless:
        lines.append(f"written captions without a word, which training from text leaves out: {wordless:,}")
    return "\n".join(lines)


def _size(value: int | set) -> int:
    return len(value) if isinstance(value, set) else value


if __name__ == "__main__":
    exit_on_input_error(main)
