"""Plain forms of what the package computes: loops over items, one call a library, as papers have it.

Benchmarks time them beside the package's own forms; a test holds the package to each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import librosa
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2i.freed_memory import MMAP_MAX, TRIM_THRESHOLD, set_malloc
from s2i.losses import match_both_ways
from s2i.models.blocks import SegmentAttention

MMAP_THRESHOLD = -3  # mallopt's parameter: bytes of a block that the system is asked for by itself


def give_freed_memory_back() -> None:
    """glibc's own way with freed memory, as it is in a process that has freed large blocks: from 32 MB on
    they are asked for one by one, and above 64 MB the end of the heap is given back."""
    set_malloc({MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26})


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """The published front end's call of librosa: (N,) at 22,050 Hz -> (T, 40)."""
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=22050, n_fft=551, hop_length=220, win_length=551, n_mels=40
    )
    return np.log(mel + 1e-6).T


def resample(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """librosa's call, a filter of the same kind with a steeper edge: (N,) -> (ceil(N * wanted / rate),)."""
    return librosa.resample(waveform, orig_sr=rate, target_sr=wanted)


def region_loss(
    regions: Tensor, sequence: Tensor, mask: Tensor, class_ids: Tensor, gammas: tuple[float, float, float]
) -> Tensor:
    """The region-word loss, caption by caption, with the context vectors made (AttnGAN, eq. 7-12): (B, D, R),
    (B, D, T), (B, T) -> both directions together."""
    columns = []
    for caption, valid in zip(sequence, mask, strict=True):
        words = caption[:, valid]  # (D, T)
        products = torch.einsum("dt,bdr->btr", words, regions)  # eq. 7
        attention = (gammas[0] * products.softmax(1)).softmax(2)  # eq. 8, 9
        contexts = torch.einsum("btr,bdr->btd", attention, regions)
        cosines = F.cosine_similarity(contexts, words.t()[None], dim=2)
        columns.append((gammas[1] * cosines).exp().sum(1).log())  # eq. 10, not divided by gamma2
    return sum(match_both_ways(gammas[2] * torch.stack(columns, 1), class_ids))  # eq. 11, 12


def load_batch(
    images: Sequence[Path], recordings: Sequence[Path], size: int, stored: int
) -> tuple[Tensor, Tensor]:
    """Images decoded, resized to `stored` px and cut to `size`, and log-mels, normalised and padded, item by
    item: (B, 3, S, S) in [-1, 1] and (B, 40, T)."""
    pixels, mels = [], []
    for image, recording in zip(images, recordings, strict=True):
        with Image.open(image) as opened:
            resized = opened.convert("RGB").resize((stored, stored), Image.BICUBIC)
        pixels.append(np.asarray(resized)[:size, :size].astype(np.float32).transpose(2, 0, 1) / 127.5 - 1)
        waveform, _ = soundfile.read(recording, dtype="float32")
        mel = log_mel(waveform)
        mels.append((mel - mel.mean(0)) / mel.std(0).clip(1e-3))
    longest = max(map(len, mels))
    padded = [np.pad(mel, ((0, longest - len(mel)), (0, 0))).T for mel in mels]
    return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(padded))


def image_features(network: torch.nn.Module, stored: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """What a frozen network sees of the centres, of `size` px, of images (B, S, S, 3) uint8: pooled vectors
    (B, G) and regions (B, C, R)."""
    edge = (stored.shape[1] - size) // 2
    centres = stored[:, edge : edge + size, edge : edge + size]
    with torch.no_grad():
        pooled, regions = network(
            torch.from_numpy(centres.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1)
        )
    return pooled, regions.flatten(2)


def nearest(vectors: np.ndarray, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of unit vectors by comparing all: their indices and cosines, best first."""
    cosines = vectors @ query
    order = np.argsort(-cosines)[:count]
    return order, cosines[order]


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (x.y / F + 1)^3, over all pairs."""
    width = first.shape[1]

    def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (one @ other.T / width + 1) ** 3

    def within(features: np.ndarray) -> float:
        values = kernel(features, features)
        return (values.sum() - np.trace(values)) / (len(features) * (len(features) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def attend(
    attention: SegmentAttention, hidden: Tensor, sequence: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """`SegmentAttention.forward` as its equations have it, laid out as torch likes it."""
    keys = attention.project(sequence)
    scores = torch.einsum("bchw,bct->bthw", hidden, keys).float()
    shares = scores.masked_fill(~mask[..., None, None], float("-inf")).softmax(1)
    return torch.einsum("bthw,bct->bchw", shares.to(keys.dtype), keys), shares


def convolve_tiled(hidden: Tensor, condition: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`s2i.models.tiled_convolution.convolve_tiled`, with the condition tiled."""
    tiled = condition.to(hidden.dtype)[..., None, None].expand(-1, -1, *hidden.shape[2:])
    return F.conv2d(torch.cat((hidden, tiled), 1), weight, bias, padding=1)


def modulate(hidden: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """`s2i.models.blocks.modulate` over channels."""
    return torch.addcmul(hidden + shift[..., None, None], hidden, scale[..., None, None])


@contextmanager
def layers() -> Iterator[None]:
    """Every convolution is `F.conv2d`, of doubled and tiled maps too; gates, modulation and attention are
    torch's own operations, and gradients lie as these make them."""
    models = "s2i.models"
    blocks, tiled = f"{models}.blocks", "convolve_tiled"
    with ExitStack() as stack:
        for name, value in (
            (f"{models}.deep_convolution.convolve", F.conv2d),
            (f"{models}.doubled_convolution.LEAST_PLACES", float("inf")),
            (f"{models}.discriminator.{tiled}", convolve_tiled),
            (f"{models}.generator.{tiled}", convolve_tiled),
            (f"{models}.stackgan.{tiled}", convolve_tiled),
            (f"{models}.gradient_layout.with_aligned_gradient", lambda hidden: hidden),
            (f"{blocks}.modulate", modulate),
            (f"{blocks}.gated_linear_unit", partial(F.glu, dim=1)),
            (f"{blocks}.with_aligned_gradient", lambda hidden: hidden),
            (f"{blocks}.SegmentAttention.forward", attend),
        ):
            stack.enter_context(patch(name, value))
        yield


def captions_one_by_one(encoder: torch.nn.Module, inputs: Tensor, lengths: Tensor) -> Tensor:
    """The sentences (B, D) of captions, each encoded alone, by torch's recurrent layers."""
    with torchs_recurrence():
        sentences = [
            encoder(inputs[row : row + 1, :, : int(length)], lengths[row : row + 1]).sentence
            for row, length in enumerate(lengths)
        ]
    return torch.cat(sentences)


def torchs_recurrence() -> AbstractContextManager:
    """Each direction of a GRU is a layer of torch's."""
    return patch("s2i.models.recurrent.is_faster", lambda layer, inputs: False)
