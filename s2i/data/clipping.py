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
    channels = (samples.T if samples.ndim == 2 else samples.unsqueeze(0)).contiguous()
    if channels.shape[1] < FLAT:
        return 0.0
    # A twentieth of the time of `aminmax`.
    lowest, highest = channels.amin(dim=1, keepdim=True), channels.amax(dim=1, keepdim=True)
    tolerance = TOLERANCE * (highest - lowest) / 2
    count = 0
    for extreme in (channels >= highest - tolerance, channels <= lowest + tolerance):
        if extreme.sum() < FLAT:  # as of nearly every recording, of which there are many to pack
            continue
        whole = extreme.unfold(1, FLAT, 1).all(dim=2)  # windows that are flat, by their first sample
        flat = torch.zeros_like(extreme)
        for place in range(FLAT):
            flat[:, place : place + whole.shape[1]] |= whole
        count += int(flat[(highest > lowest).squeeze(1)].sum())
    return count / channels.numel()
