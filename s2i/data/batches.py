"""A batch of images with one caption each: padding, and batches for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch

from s2i.config_networks import TextEncoderConfig
from s2i.data.crops import centre_crops, read_images
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary
from s2i.errors import InputError


@dataclass(frozen=True)
class Batch:
    """B images with one caption each: mels with speech, tokens with text."""

    images: torch.Tensor | None  # (B, 3, S, S) float32 in [-1, 1]; None with cached features
    class_ids: torch.Tensor  # (B,) int64, the pack's labels 0 to K - 1
    image_ids: torch.Tensor  # (B,) int64, index in the pack
    captions: torch.Tensor  # (B,) int64, index in the pack
    same_class: torch.Tensor | None = None  # (B, 3, S, S), another image of each class, or None
    has_same_class: torch.Tensor | None = None  # (B,) bool, False where the class has one image alone
    pooled: torch.Tensor | None = None  # (B, G), cached features of one crop of each image
    regions: torch.Tensor | None = None  # (B, C, R), cached features of its regions, where they are kept
    mels: torch.Tensor | None = None  # (B, M, T) float32, 0 after a caption's end
    mel_lengths: torch.Tensor | None = None  # (B,) int64, frames
    # each caption once more, otherwise augmented or spoken by somebody else, where two are compared
    other_mels: torch.Tensor | None = None
    other_mel_lengths: torch.Tensor | None = None
    tokens: torch.Tensor | None = None  # (B, L) int64, 0 after a caption's end
    token_lengths: torch.Tensor | None = None  # (B,) int64, words

    @property
    def inputs(self) -> torch.Tensor:
        """The input of the caption encoder: mels or tokens."""
        return self.tokens if self.mels is None else self.mels

    @property
    def lengths(self) -> torch.Tensor:
        """Valid frames or words of `inputs`."""
        return self.token_lengths if self.mels is None else self.mel_lengths

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return Batch(
            **{
                name: None if value is None else value.to(device, non_blocking=True)
                for name, value in values.items()
            }
        )

    def __len__(self) -> int:
        return len(self.captions)


def evaluation_batches(
    pack: Pack,
    captions: Sequence[int],
    batch_size: int,
    modality: Literal["speech", "text"],
    vocabulary: Vocabulary | None = None,
    words: int = TextEncoderConfig.max_words,
    image_size: int | None = None,
) -> Iterator[Batch]:
    """Each of `captions` (indices in the pack) once, with its image's centre crop of `image_size` px
    (without, if None).

    Sorted by length for speed, so `Batch.captions` gives the order; the last batch may be smaller.
    Raises InputError for a caption that lacks what the modality needs.
    """
    chosen = np.asarray(captions, dtype=np.int64)
    lacking = np.setdiff1d(chosen, pack.usable(modality))
    if len(lacking):
        raise InputError(
            f"expected captions with {'audio' if modality == 'speech' else 'text'} in {pack.folder},"
            f" found {len(lacking)} without, caption {lacking[0]} the first: leave them out"
        )
    tokens: dict[int, list[int]] = {}
    if modality == "text":
        tokens = {int(index): encode_caption(pack, index, vocabulary, words) for index in chosen}
    chosen = chosen[np.argsort(caption_lengths(pack, tokens)[chosen], kind="stable")]
    for start in range(0, len(chosen), batch_size):
        indices = chosen[start : start + batch_size]
        images, cut = pack.caption_image[indices], None
        if image_size:
            cut = read_images(pack, images, centre_crops(pack, len(indices)), image_size)
        yield make_batch(pack, indices, cut, modality, tokens)


def pad_mels(mels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels (T, M) of several lengths -> (B, M, longest T) with 0 after the end, and lengths (B,)."""
    lengths = torch.tensor([len(mel) for mel in mels])
    padded = torch.zeros(len(mels), mels[0].shape[1], int(lengths.max()))
    for row, mel in enumerate(mels):
        padded[row, :, : len(mel)] = mel.T
    return padded, lengths


def pad_tokens(tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token lists of several lengths -> (B, longest L) int64 with 0 after the end, and lengths (B,)."""
    lengths = torch.tensor([len(words) for words in tokens])
    padded = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.int64)
    for row, words in enumerate(tokens):
        padded[row, : len(words)] = torch.tensor(words)
    return padded, lengths


def make_batch(
    pack: Pack,
    captions: np.ndarray,
    images: torch.Tensor | None,
    modality: str,
    tokens: dict[int, list[int]],
    same_class: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
    cached: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
    mels: Sequence[torch.Tensor] = (),
    other_mels: Sequence[torch.Tensor] = (),
) -> Batch:
    """Pad the inputs of `captions` (indices in the pack) and put them beside their images.

    `tokens`: {caption: its token ids}, of text alone; `same_class`: images and `has_same_class`; `cached`:
    pooled and region features in place of images; `mels`: in place of the pack's, augmented; `other_mels`:
    the captions once more.
    """
    image_ids = pack.caption_image[captions]
    padded_mels = mel_lengths = padded = token_lengths = None
    other: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    if modality == "speech":
        padded_mels, mel_lengths = pad_mels(mels or [pack.mel(index) for index in captions])
        other = pad_mels(other_mels) if other_mels else other
    else:
        padded, token_lengths = pad_tokens([tokens[index] for index in captions.tolist()])
    return Batch(
        images=images,
        class_ids=torch.from_numpy(pack.labels[image_ids]),
        image_ids=torch.from_numpy(image_ids),
        captions=torch.from_numpy(captions),
        same_class=same_class[0],
        has_same_class=same_class[1],
        pooled=cached[0],
        regions=cached[1],
        mels=padded_mels,
        mel_lengths=mel_lengths,
        other_mels=other[0],
        other_mel_lengths=other[1],
        tokens=padded,
        token_lengths=token_lengths,
    )


def encode_caption(pack: Pack, caption: int, vocabulary: Vocabulary | None, words: int) -> list[int]:
    """Token ids of a caption's text. Raises InputError, naming the image, where no word is known."""
    if vocabulary is None:
        raise TypeError("text needs a vocabulary")
    try:
        return vocabulary.encode(pack.caption(caption).text or "", words)
    except InputError as error:
        image = pack.records[pack.caption_image[caption]]
        raise InputError(f"a caption of image {image.id!r} in {pack.folder}: {error}") from error


def caption_lengths(pack: Pack, tokens: dict[int, list[int]]) -> np.ndarray:
    """Words of each caption where there are tokens, else frames: (captions,)."""
    if not tokens:
        return pack.mel_lengths
    lengths = np.zeros(pack.caption_count, dtype=np.int64)
    lengths[list(tokens)] = [len(words) for words in tokens.values()]
    return lengths
