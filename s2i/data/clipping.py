"""Recordings that were too loud for their microphone: peaks that are cut off flat."""

from __future__ import annotations

import torch
from torch import Tensor

FLAT = 3  # neighbouring samples at the greatest value, at least: a rounded peak has fewer
TOLERANCE = 1e-4  # of the greatest value: what a change of format leaves of a flat peak
MOST = 0.002  # of the samples; below it nothing is heard of it


def clipped_share(samples: Tensor) -> float:
    """Which share of samples (N,) or (N, channels), as they were recorded, lies in peaks that are cut off.

    Clipped is a run of at least `FLAT` samples at a channel's greatest or at its least value, wherever that
    lies: a recording may have been made quieter since.
    """
    columns = samples if samples.ndim == 2 else samples.unsqueeze(1)
    if len(columns) < FLAT:
        return 0.0
    span = columns.max(dim=0).values - columns.min(dim=0).values
    tolerance = TOLERANCE * span / 2
    count = 0
    for extreme in (
        columns >= columns.max(dim=0).values - tolerance,
        columns <= columns.min(dim=0).values + tolerance,
    ):
        whole = extreme.T.unfold(1, FLAT, 1).all(dim=2)  # windows that are flat, by their first sample
        flat = torch.zeros_like(extreme.T)
        for place in range(FLAT):
            flat[:, place : place + whole.shape[1]] |= whole
        count += int(flat[span > 0].sum())
    return count / columns.numel()
