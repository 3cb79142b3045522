"""Colour swaps: the word of a colour is exchanged; the image should lose the old colour and gain the new one.

For data whose images have no attributes, so that there is no classifier of them: colours are counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from s2i.analysis.swaps import (
    MOST_SWAPS,
    Encode,
    MeasuredSwaps,
    Swap,
    encoder_of,
    evenly_chosen,
    generate_sentences,
    number_of,
    unknown_words,
)
from s2i.evaluation.feature_bank import FeatureBank
from s2i.metrics.colours import COLOURS, colour_shares
from s2i.metrics.statistics import weighted_mean

NAMES = tuple(COLOURS)
SPELLINGS = {"gray": "grey"}
PROCEDURE = (
    f"Generated captions, {MOST_SWAPS} at most, in which a colour ({', '.join(NAMES)}) is written once: the"
    " word gets another colour in its place, which the caption doesn't name (a function of the caption). The"
    " images of both sentences are generated from the caption's noise; from speech both are spoken by"
    " espeak-ng with the caption's voice. The pixels of an image are counted by the nearest of the nine"
    " colours in CIE L*a*b* (s2i/metrics/colours.py). new_colour_gains: share of swaps after which the image"
    " has more of the new colour; old_colour_loses: less of the old one; other_colours_gain: share of the"
    " colours that neither sentence names of which the image has more. No change counts half, so that all"
    " three are 1/2 where the word is not heard. unknown_words: swaps to a word that the text run never"
    " learnt. Intervals: t over classes."
)


def find_colour_swaps(bank: FeatureBank) -> list[Swap]:
    """One swap a generated caption, where it names a colour once: the same for every path over the same
    captions."""
    swaps = []
    for index in bank.captions.generated.tolist():
        text = (bank.pack.caption(index).text or "").lower()
        words = colours_of(text)
        once = [name for name in NAMES if words.count(name) == 1]
        others = [name for name in NAMES if name not in words]
        if not once or not others:
            continue
        key = number_of(bank, index)
        old, new = once[key % len(once)], others[key // 1009 % len(others)]
        spellings = "|".join([old, *(other for other, name in SPELLINGS.items() if name == old)])
        swapped = re.sub(rf"(?<![a-z])({spellings})(?![a-z])", new, text, count=1)
        swaps.append(Swap(index, "colour", old, new, text, swapped))
    return evenly_chosen(swaps)


def measure_colour_swaps(bank: FeatureBank, swaps: Sequence[Swap], examples: Sequence[int]) -> MeasuredSwaps:
    """Generate images of each swap's sentences and count their colours.

    Args:
        examples: places in `swaps` whose images are wanted.
    """
    if not swaps:
        return MeasuredSwaps()
    encode = encoder_of(bank)
    before, images_before = _generate(bank, swaps, [swap.text for swap in swaps], encode, examples)
    after, images_after = _generate(bank, swaps, [swap.swapped for swap in swaps], encode, examples)
    gains = np.sign(after - before) / 2 + 0.5  # 1: more of it, 0: less, 1/2: as much
    rows = np.arange(len(swaps))
    new, old = ([NAMES.index(getattr(swap, side)) for swap in swaps] for side in ("new", "old"))
    unnamed = np.array(
        [[name not in (*colours_of(swap.text), swap.new) for name in NAMES] for swap in swaps], np.float64
    )
    clusters = bank.captions.labels(np.array([swap.caption for swap in swaps]))
    numbers = {"counts": {"swaps": len(swaps)} | unknown_words(bank, swaps)}
    for metric, values, weights in (
        ("new_colour_gains", gains[rows, new], None),
        ("old_colour_loses", 1 - gains[rows, old], None),
        ("other_colours_gain", (gains * unnamed).sum(1) / unnamed.sum(1).clip(1), unnamed.sum(1)),
    ):
        if weights is None or weights.any():
            mean = weighted_mean(values, clusters, weights)
            numbers[metric] = {"value": mean.value, "interval95": list(mean.interval95 or ())}
    numbers["by_colour"] = {
        name: {"new_colour_gains": float(gains[chosen, column].mean()), "swaps": int(chosen.sum())}
        for column, name in enumerate(NAMES)
        if (chosen := np.array(new) == column).any()
    }
    images = {place: (images_before[place], images_after[place]) for place in examples}
    return MeasuredSwaps(numbers, images)


def colours_of(text: str) -> list[str]:
    """The colours that a sentence names, in order, as often as it does."""
    words = re.findall(r"[a-z]+", text.lower())
    return [word for word in (SPELLINGS.get(word, word) for word in words) if word in COLOURS]


def _generate(
    bank: FeatureBank, swaps: Sequence[Swap], texts: list[str], encode: Encode, examples: Sequence[int]
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Shares of the colours (N, C) in the images of a sentence a swap, and the images of the examples."""
    shares, images = np.empty((len(swaps), len(NAMES))), {}
    for places, generated in generate_sentences(bank, swaps, texts, encode, "colour swaps"):
        shares[places.start : places.stop] = colour_shares(bank.captions.as_measured(generated))
        images |= {place: generated[row] for row, place in enumerate(places) if place in examples}
    return shares, images
