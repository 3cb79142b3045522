"""Captions with one attribute word exchanged, for any family of synthesisers to speak.

    python -m data_prep.swapped_captions --run RUN --output DATA/swapped.jsonl
    python -m data_prep.synthesize_speech --manifest DATA/swapped.jsonl --root DATA --plan voices.yaml \\
        --family piper --output DATA/piper-swapped.jsonl
    s2i robustness RUN --voices DATA/piper.jsonl DATA/piper-swapped.jsonl

They are those of the word swaps of the run's comparison: test captions that it generates, and its classifier
knows what they mention. A family speaks a swapped caption in the voice that spoke the caption.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from s2i.analysis.word_swaps import find_swaps
from s2i.data.manifest import ImageRecord, check_manifest_file, write_manifest
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.evaluation.feature_bank import FeatureBank
from s2i.files.output_folder import say_replaced
from s2i.files.paths import given_path
from s2i.inference.model import load
from s2i.progress import say


def write_swapped_captions(run: str | Path, output: str | Path) -> None:
    """Write the images of a run's word swaps, of whose captions the swapped ones have other words and no
    audio; the others are as they were.

    Raises InputError for a run that can't be evaluated, has no word to swap, or another file at `output`.
    """
    check_manifest_file(output)
    bank = FeatureBank(load(run, "cpu").path("speech"))
    swaps = {swap.caption: swap.swapped for swap in find_swaps(bank)}
    if not swaps:
        raise InputError(
            f"expected captions that mention attributes which the classifier of {run} knows, found none: only"
            " data with attributes.json have words to swap"
        )
    pack = bank.pack

    def images() -> Iterator[ImageRecord]:
        for number in sorted({int(pack.caption_image[index]) for index in swaps}):
            image, first = pack.records[number], int(pack.first_caption[number])
            captions = [
                replace(caption, text=swaps[first + place], audio=None, speaker=None, mentions=())
                if first + place in swaps
                else caption
                for place, caption in enumerate(image.captions)
            ]
            yield replace(image, captions=tuple(captions))

    say_replaced(output)
    write_manifest(output, images())
    say(f"{output}: {len(swaps)} swapped captions")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the swapped captions of a run."""
    parser = Parser(description="The captions of a run with one attribute word exchanged, as a manifest.")
    add = parser.add_argument
    add("--run", type=given_path, metavar="RUN", required=True, help="GAN run from speech")
    add("--output", type=given_path, metavar="FILE", required=True, help="manifest")
    given: argparse.Namespace = parser.parse_args(arguments)
    write_swapped_captions(given.run, given.output)


if __name__ == "__main__":
    exit_on_input_error(main)
