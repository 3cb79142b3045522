"""The analyses of a comparison with the images that illustrate them: memorisation, diversity, word or colour
swaps and interpolation, of the speech run and of the text run alike, over the same captions and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from s2i.analysis import colour_swaps, diversity, interpolation, memorisation, word_swaps
from s2i.analysis.swaps import Swap, keeps_noise
from s2i.data.images import grid, save_png
from s2i.evaluation.feature_bank import FeatureBank
from s2i.progress import say

NEIGHBOURS, DIVERSE_CAPTIONS, SWAPS, INTERPOLATIONS = 10, 4, 6, 3  # examples that the page shows


@dataclass(frozen=True)
class SwapExample:
    """A swap's sentences and, by side, a file with the images before and after."""

    text: str
    swapped: str
    attribute: str
    files: dict[str, str]


@dataclass(frozen=True)
class InterpolationExample:
    """Images from one caption to another: the sentences and, by side, a file."""

    first: str
    last: str
    files: dict[str, str]


@dataclass
class AnalysisResults:
    """`numbers`: {analysis: {side: numbers}} and `procedures`, for results.json; for the page, files relative
    to the report."""

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    procedures: dict[str, str] = field(default_factory=dict)
    neighbours: dict[str, str] = field(default_factory=dict)  # side -> generated above nearest
    diversity: dict[str, str] = field(default_factory=dict)  # side -> a caption a row
    diversity_texts: list[str] = field(default_factory=list)  # the captions of these rows
    swaps: list[SwapExample] = field(default_factory=list)
    interpolations: list[InterpolationExample] = field(default_factory=list)


class ComparisonAnalyses:
    """The analyses of a run a side.

    Made before anything is measured: it has the images that it will need kept when they are generated.
    """

    def __init__(self, banks: dict[str, FeatureBank]) -> None:
        self.banks, self.first = banks, next(iter(banks.values()))
        captions = self.first.captions.generated
        self.neighbours = _evenly_spaced(captions, NEIGHBOURS)
        self.interpolations = interpolated_captions(self.first)
        self.swaps: Sequence[Swap] = word_swaps.find_swaps(self.first)
        # No attributes, or no classifier of them: colours are counted.
        self.of_colours = not self.swaps
        self.swaps = self.swaps or colour_swaps.find_colour_swaps(self.first)
        if not keeps_noise(self.first):
            say("swaps and interpolations are left out: each of several candidates has noise of its own")
            self.swaps = []
        self.shown_swaps = _evenly_spaced(np.arange(len(self.swaps)), SWAPS).tolist()
        for bank in banks.values():
            memorisation.request_memorisation(bank, self.neighbours)
            bank.keep(np.array([first for first, _ in self.interpolations], np.int64))
            if not self.of_colours and bank.path.config.modality == "text":  # of which they are those before
                bank.keep(np.array([self.swaps[place].caption for place in self.shown_swaps], np.int64))

    def run(self, folder: Path) -> AnalysisResults:
        """Run all that the data allow; images go into `folder`/images."""
        results = AnalysisResults()
        self._memorisation(results, folder)
        self._diversity(results, folder)
        if self.swaps:
            self._swaps(results, folder)
        self._interpolation(results, folder)
        return results

    def _memorisation(self, results: AnalysisResults, folder: Path) -> None:
        for side, bank in self.banks.items():
            measured = memorisation.measure_memorisation(bank, self.neighbours)
            if measured is None:
                return
            results.numbers.setdefault("memorisation", {})[side] = measured.numbers
            rows = [pair.generated for pair in measured.neighbours]
            rows += [pair.nearest for pair in measured.neighbours]
            results.neighbours[side] = _save(rows, len(self.neighbours), folder, f"memorisation-{side}")
        results.procedures["memorisation"] = memorisation.PROCEDURE

    def _diversity(self, results: AnalysisResults, folder: Path) -> None:
        for side, bank in self.banks.items():
            measured = diversity.measure_diversity(bank)
            results.numbers.setdefault("diversity", {})[side] = measured.numbers
            chosen = _evenly_spaced(np.array(list(measured.images)), DIVERSE_CAPTIONS).tolist()
            images = np.concatenate([measured.images[index] for index in chosen])
            columns = diversity.IMAGES_A_CAPTION
            results.diversity[side] = _save(images, columns, folder, f"diversity-{side}")
            results.diversity_texts = [_text(bank, index) for index in chosen]
        results.procedures["diversity"] = diversity.PROCEDURE

    def _swaps(self, results: AnalysisResults, folder: Path) -> None:
        files: dict[int, dict[str, str]] = {place: {} for place in self.shown_swaps}
        name, measure, procedure = (
            ("colour_swap", colour_swaps.measure_colour_swaps, colour_swaps.PROCEDURE)
            if self.of_colours
            else ("word_swap", word_swaps.measure_word_swaps, word_swaps.PROCEDURE)
        )
        for side, bank in self.banks.items():
            measured = measure(bank, self.swaps, self.shown_swaps)
            results.numbers.setdefault(name, {})[side] = measured.numbers
            for place, pair in measured.examples.items():
                files[place][side] = _save(pair, 2, folder, f"swap-{place:03d}-{side}")
        for place in self.shown_swaps:
            swap = self.swaps[place]
            results.swaps.append(SwapExample(swap.text, swap.swapped, swap.attribute, files[place]))
        results.procedures[name] = procedure

    def _interpolation(self, results: AnalysisResults, folder: Path) -> None:
        results.interpolations += write_interpolations(self.banks, self.interpolations, folder)
        if self.interpolations:
            results.procedures["interpolation"] = interpolation.PROCEDURE


def interpolated_captions(bank: FeatureBank) -> list[tuple[int, int]]:
    """The pairs of captions, indices in the pack, between which a report interpolates; none where images of
    one noise can't be had."""
    if not keeps_noise(bank):
        return []
    ends = _evenly_spaced(bank.captions.generated, 2 * INTERPOLATIONS).tolist()
    return list(zip(ends[::2], ends[1::2], strict=False))


def write_interpolations(
    banks: dict[str, FeatureBank], pairs: Sequence[tuple[int, int]], folder: Path
) -> list[InterpolationExample]:
    """Write the images from one caption to the other of each pair, by every bank, into `folder`/images."""
    examples = []
    for number, (first, last) in enumerate(pairs):
        files = {}
        for side, bank in banks.items():
            images = interpolation.generate_interpolation(bank, first, last)
            files[side] = _save(images, interpolation.STEPS, folder, f"interpolation-{number}-{side}")
        texts = (_text(next(iter(banks.values())), caption) for caption in (first, last))
        examples.append(InterpolationExample(*texts, files))
    return examples


def _evenly_spaced(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, from the first to the last."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).astype(int))]


def _text(bank: FeatureBank, caption: int) -> str:
    """What is written, else the class of the image."""
    image = bank.pack.records[bank.pack.caption_image[caption]]
    return bank.pack.caption(caption).text or f"unwritten caption of {image.class_name or image.id}"


def _save(images: Any, columns: int, folder: Path, name: str) -> str:
    path = f"images/{name}.png"
    save_png(grid(np.asarray(images), columns), folder / path)
    return path
