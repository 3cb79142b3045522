"""Word swaps in the voices of other synthesisers than the one that `s2i compare` has speak them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2i.analysis.conditions import Condition
from s2i.analysis.swaps import Encode, Swap
from s2i.analysis.word_swaps import measure_encoded_swaps
from s2i.config_data import AudioConfig
from s2i.data.audio import load_waveform
from s2i.evaluation.feature_bank import FeatureBank
from s2i.models.caption_encoding import CaptionEncoding


def measure_family_swaps(
    bank: FeatureBank,
    condition: Condition,
    swaps: Sequence[Swap],
    audio: AudioConfig,
    encode: Callable[[list[Tensor]], CaptionEncoding],
) -> dict[str, Any]:
    """The numbers of those swaps of which a family has spoken both captions; {} of none.

    Args:
        bank: generates and scores: of the speech run, or of the text run of a cascade.
        audio: of the recordings that `encode` takes, (N,) each.
    """

    def spoken(read: Callable[[int], Tensor]) -> Encode:
        return lambda _, captions: encode([read(index) for index in captions])

    said = [
        swap
        for swap in swaps
        if swap.caption in condition.swapped
        and (condition.captions is None or swap.caption in condition.captions)
    ]
    if not said:
        return {}
    before = spoken(lambda index: condition.transform(torch.zeros(0), index))
    after = spoken(lambda index: load_waveform(condition.swapped[index], audio))
    return measure_encoded_swaps(bank, said, before, after)
