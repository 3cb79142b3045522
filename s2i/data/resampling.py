"""One channel from one sample rate to another, in memory that doesn't depend on the two rates."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_KERNEL = 1_000_000  # numbers, 4 MB: 768 kHz to 22,050 Hz takes 815,000, 22,051 Hz takes 487 million
_ZEROS = 6  # of the sinc on either side, and
_ROLLOFF = 0.99  # its cut-off over the lower Nyquist frequency: torchaudio's defaults
_NEAR = 4  # a rate so many times the wanted one is first divided by a whole number
_BLOCK = 1_000_000  # numbers of the filter that are worked out together


def resample(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """float32 (N,) at `rate` Hz -> float32 (ceil(N * wanted / rate),) at `wanted` Hz.

    A sinc under a Hann window, as torchaudio has it. Its filter is worked out once for each of the
    wanted / gcd places that an output can have between two inputs, which pays for usual rates; where the
    rates have no large common divisor, it is worked out here for each output anew.
    """
    if rate == wanted:
        return waveform
    divisor, width = gcd(rate, wanted), _width(rate, wanted)
    length = -(-len(waveform) * wanted // rate)
    if wanted // divisor * (2 * width + rate // divisor) <= LARGEST_KERNEL:
        # To whole seconds: a convolution is prepared anew for each length, which takes longer than itself.
        whole = F.pad(waveform, (0, -len(waveform) % rate))
        return _filter(rate, wanted)(whole)[:length]
    if (factor := rate // (_NEAR * wanted)) > 1:
        waveform, wanted = _filter(factor, 1)(waveform), factor * wanted
    return _resample_anew(waveform, rate, wanted, length)


@lru_cache(maxsize=8)
def _filter(rate: int, wanted: int) -> nn.Module:
    """torchaudio's, kept between calls: of a short recording it takes a quarter of the time."""
    from torchaudio.transforms import Resample  # here: what needs no resampling starts faster

    return Resample(rate, wanted, dtype=torch.float32)


def _width(rate: int, wanted: int) -> int:
    """How many inputs on either side of its place an output hears."""
    return ceil(_ZEROS * rate / (min(rate, wanted) * _ROLLOFF))


def _resample_anew(waveform: Tensor, rate: int, wanted: int, length: int) -> Tensor:
    """The first `length` outputs, one after every rate / wanted inputs."""
    width = _width(rate, wanted)
    padded = F.pad(waveform, (width, width + 1))
    neighbours = torch.arange(2 * width + 1)  # counted from the first input that an output hears
    cut_off = min(rate, wanted) * _ROLLOFF / rate  # over the input's Nyquist frequency
    block = max(1, _BLOCK // len(neighbours))
    outputs = []
    for start in range(0, length, block):
        # Whole numbers until the last: a minute has more places than a float32 can tell apart.
        places = torch.arange(start, min(start + block, length)) * rate
        first, between = places // wanted, (places % wanted).double() / wanted
        time = ((neighbours - width) - between[:, None]).mul(cut_off).clamp(-_ZEROS, _ZEROS).float()
        taps = torch.sinc(time) * torch.cos(time * (torch.pi / 2 / _ZEROS)).square() * cut_off
        outputs.append((padded[first[:, None] + neighbours] * taps).sum(dim=1))
    return torch.cat(outputs)
