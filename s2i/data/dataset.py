"""Batches from a pack: which images, which captions, in which order, with which crops.

Everything random is a function of (seed, epoch): an epoch's plan is generated at once for all images, from
generators of its own, so batches depend neither on the number of loader processes nor on the global random
state, and a training that continues at step n sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from s2i.config import TextEncoderConfig
from s2i.data.images import to_tensor
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.progress import say

if TYPE_CHECKING:  # which reads crops as they are read here
    from s2i.data.feature_cache import FeatureCache

BATCHES_A_CHUNK = 20  # batches whose captions are sorted by length together


@dataclass(frozen=True)
class Batch:
    """B images with one caption each: mels with speech, tokens with text."""

    images: torch.Tensor | None  # (B, 3, S, S) float32 in [-1, 1]; None where views stand for them
    class_ids: torch.Tensor  # (B,) int64, the pack's labels 0 to K - 1
    image_ids: torch.Tensor  # (B,) int64, index in the pack
    captions: torch.Tensor  # (B,) int64, index in the pack
    same_class: torch.Tensor | None = None  # (B, 3, S, S), another image of each class, if asked for
    has_same_class: torch.Tensor | None = (
        None  # (B,) bool, whether it is another: alone in its class, it isn't
    )
    pooled: torch.Tensor | None = None  # (B, G), a view of each image: what a frozen network sees in it
    regions: torch.Tensor | None = None  # (B, C, R), the view's map of regions, where it is kept
    mels: torch.Tensor | None = None  # (B, M, T) float32, 0 after a caption's end
    mel_lengths: torch.Tensor | None = None  # (B,) int64, frames
    tokens: torch.Tensor | None = None  # (B, L) int64, 0 after a caption's end
    token_lengths: torch.Tensor | None = None  # (B,) int64, words

    @property
    def inputs(self) -> torch.Tensor:
        """What the caption encoder reads: mels or tokens."""
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


@dataclass(frozen=True)
class EpochPlan:
    """What an epoch generates for each image of the pack; every array is (images,)."""

    captions: np.ndarray  # caption index in the pack; meaningless where the image has no usable caption
    crops: np.ndarray  # (images, 3): top, left, flipped
    same_class: np.ndarray  # index of another image of the class (the same one where it has no other)
    same_class_crops: np.ndarray  # (images, 3)
    cached_crops: np.ndarray  # in [0, 1): which of its views an image gets


class CaptionedImages(Dataset):
    """Images with one caption each, for training.

    An item's key is (epoch, images): the batch of these images, as the epoch's plan has them. Which
    caption, crop, flip and second image an image gets is a function of (seed, epoch, image), whatever
    batch it is in. Images without a caption that the modality can use are not in `candidates`.
    """

    def __init__(
        self,
        pack: Pack,
        seed: int,
        image_size: int,
        modality: Literal["speech", "text"],
        vocabulary: Vocabulary | None = None,
        words: int = TextEncoderConfig.words,
        same_class: bool = False,
        augment: bool = True,
        cached_crops: FeatureCache | None = None,
    ) -> None:
        """`image_size`: px of the images, the pack's or fewer; `words`: longest caption, the rest is cut;
        `same_class`: give another image of each class too; `augment`: random crop and flip, else the
        centre; `views`: give one of each image's views in place of the image.

        Raises InputError for images smaller than `image_size` or no usable caption.
        """
        if image_size > pack.image_size:
            raise InputError(
                f"expected images of {image_size} px or more in {pack.folder}, found {pack.image_size}:"
                " run data_prep/pack.py with this configuration"
            )
        self.pack, self.seed, self.image_size, self.modality = pack, seed, image_size, modality
        self.has_same_class, self.augment, self.cached_crops = same_class, augment, cached_crops
        self._usable = pack.usable(modality)
        # Usable captions of image p: _usable[_first[p]] to _usable[_first[p + 1] - 1].
        self._first = np.searchsorted(self._usable, pack.first_caption)
        self.candidates = np.flatnonzero(np.diff(self._first))
        self._tokens: dict[int, list[int]] = {}
        if modality == "text":
            wordless = sum(1 for _ in pack.texts()) - len(self._usable)
            if wordless:
                say(f"{pack.folder}: {wordless} written captions without a word are left out")
            encoded = (_encode(pack, index, vocabulary, words) for index in self._usable)
            self._tokens = dict(zip(self._usable.tolist(), encoded, strict=True))
            for why, count in vocabulary.count_unread(pack.texts(), words).items():
                say(f"{pack.folder}: {count} captions {why} are read in part")
        self._lengths = _caption_lengths(pack, self._tokens)
        self._by_class = np.argsort(pack.labels, kind="stable")
        self._class_sizes = np.bincount(pack.labels)
        self._latest: tuple[int, EpochPlan] | None = None

    def plan(self, epoch: int) -> EpochPlan:
        """What epoch `epoch` generates. A function of (seed, epoch)."""
        if self._latest is None or self._latest[0] != epoch:
            self._latest = epoch, self._generate(epoch)
        return self._latest[1]

    def lengths(self, epoch: int) -> np.ndarray:
        """Frames or words of the caption that each of `candidates` has in an epoch."""
        return self._lengths[self.plan(epoch).captions[self.candidates]]

    def __getitem__(self, key: tuple[int, np.ndarray]) -> Batch:
        epoch, images = key
        plan = self.plan(epoch)
        same_class = None, None
        if self.has_same_class:
            others = plan.same_class[images]
            same_class = (
                self._crop(others, plan.same_class_crops[images]),
                torch.from_numpy(others != images),
            )
        captions, generated, view = plan.captions[images], None, (None, None)
        if self.cached_crops is None:
            generated = self._crop(images, plan.crops[images])
        else:
            view = self.cached_crops.read(
                images, (plan.cached_crops[images] * self.cached_crops.count).astype(np.int64)
            )
        return _make_batch(self.pack, captions, generated, self.modality, self._tokens, same_class, view)

    def _crop(self, images: np.ndarray, crops: np.ndarray) -> torch.Tensor:
        return read_images(self.pack, images, crops, self.image_size)

    def _generate(self, epoch: int) -> EpochPlan:
        random = np.random.default_rng((self.seed, epoch, 0))
        total = len(self.pack.records)
        choice = self._first[:-1] + (random.random(total) * np.diff(self._first)).astype(np.int64)
        captions = self._usable[np.minimum(choice, len(self._usable) - 1)]
        crops, same_class_crops = self._generate_crops(random, total), self._generate_crops(random, total)
        # Uniform over the class's other images, together in _by_class: skip from the own place on.
        sizes = self._class_sizes[self.pack.labels]
        starts = (np.cumsum(self._class_sizes) - self._class_sizes)[self.pack.labels]
        own = np.empty(total, dtype=np.int64)
        own[self._by_class] = np.arange(total)
        skip = 1 + (random.random(total) * (sizes - 1)).astype(np.int64)
        same_class = self._by_class[starts + (own - starts + skip) % sizes]
        return EpochPlan(captions, crops, same_class, same_class_crops, random.random(total))

    def _generate_crops(self, random: np.random.Generator, total: int) -> np.ndarray:
        if not self.augment:
            return centre_crops(self.pack, total)
        return random_crops(self.pack, random, total)


class BucketSampler(Sampler):
    """The order of training: an endless iterator over keys of CaptionedImages, from an optimiser step on.

    An epoch is a permutation of the candidates by (seed, epoch). Its last images, fewer than a batch, are
    dropped, so every process has equally many batches; they differ from epoch to epoch. Every 20 batches
    are sorted by caption length, cut into batches and these shuffled, so a batch holds captions of about
    one length. With `world` processes a step takes batch_size * world images, dealt in turn: the same
    ones that one process would take with a batch that large.
    """

    def __init__(
        self,
        dataset: CaptionedImages,
        batch_size: int,
        seed: int,
        step: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`batch_size`: of each process; `step`: the first one. Raises InputError for fewer images than a
        batch."""
        self.dataset, self.seed, self.step, self.rank, self.world = dataset, seed, step, rank, world
        self.whole = batch_size * world
        self.batches_an_epoch = len(dataset.candidates) // self.whole
        if self.batches_an_epoch == 0:
            raise InputError(
                f"expected at least a batch of {self.whole} captioned images in {dataset.pack.folder},"
                f" found {len(dataset.candidates)}: lower batch_size or add data"
            )

    def epoch_batches(self, epoch: int) -> np.ndarray:
        """Images of an epoch's batches, all processes together: (batches, batch_size * world)."""
        random = np.random.default_rng((self.seed, epoch, 1))
        kept = self.batches_an_epoch * self.whole
        order = random.permutation(len(self.dataset.candidates))[:kept]
        lengths = self.dataset.lengths(epoch)[order]
        # Sorted by chunk first, then by length; a stable sort keeps the permutation among equals.
        chunks = np.arange(kept) // (BATCHES_A_CHUNK * self.whole)
        batches = self.dataset.candidates[order[np.lexsort((lengths, chunks))]].reshape(-1, self.whole)
        return batches[random.permutation(len(batches))]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        first_epoch, first_batch = divmod(self.step, self.batches_an_epoch)
        for epoch in count(first_epoch):
            batches = self.epoch_batches(epoch)
            for batch in batches[first_batch:]:
                yield epoch, batch[self.rank :: self.world]
            first_batch = 0


def endless_batches(
    dataset: CaptionedImages,
    batch_size: int,
    seed: int,
    step: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Training batches from optimiser step `step` on, for ever; the same whatever the number of `workers`."""
    loader = DataLoader(
        dataset,
        sampler=BucketSampler(dataset, batch_size, seed, step, rank, world),
        batch_size=None,  # a key is a whole batch already
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),  # else each start would move the global random state
    )
    return iter(loader)


def evaluation_batches(
    pack: Pack,
    captions: Sequence[int],
    batch_size: int,
    modality: Literal["speech", "text"],
    vocabulary: Vocabulary | None = None,
    words: int = TextEncoderConfig.words,
    image_size: int | None = None,
) -> Iterator[Batch]:
    """Each of `captions` (indices in the pack) once, with its image's centre crop of `image_size` px
    (without, if None).

    Sorted by length for speed, so `Batch.captions` tells which is which; the last batch may be smaller.
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
        tokens = {int(index): _encode(pack, index, vocabulary, words) for index in chosen}
    chosen = chosen[np.argsort(_caption_lengths(pack, tokens)[chosen], kind="stable")]
    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        images, cut = pack.caption_image[part], None
        if image_size:
            cut = read_images(pack, images, centre_crops(pack, len(part)), image_size)
        yield _make_batch(pack, part, cut, modality, tokens)


def image_batches(pack: Pack, image_size: int, batch_size: int = 256) -> Iterator[torch.Tensor]:
    """Every image of a pack in order, its centre crop: (up to batch_size, 3, S, S) in [-1, 1]."""
    crops = centre_crops(pack, len(pack.records))
    for start in range(0, len(pack.records), batch_size):
        part = np.arange(start, min(start + batch_size, len(pack.records)))
        yield read_images(pack, part, crops[part], image_size)


def read_images(pack: Pack, images: np.ndarray, crops: np.ndarray, image_size: int) -> torch.Tensor:
    """Crops of a pack's images, at `image_size` px: (B, 3, S, S) in [-1, 1].

    Args:
        images: (B,) indices in the pack.
        crops: (B, 3) of top, left (px of the stored image) and flipped (0 or 1); each is as large as the
            pack's images are without their margin, and resized where `image_size` is another.
    """
    cut = torch.from_numpy(cut_images(pack.images, images, crops, pack.image_size))
    if image_size != pack.image_size:  # antialiased bicubic, as PIL's that made the pack
        cut = F.interpolate(
            cut.movedim(-1, -3), (image_size, image_size), mode="bicubic", antialias=True
        ).movedim(-3, -1)
    return to_tensor(cut)


def cut_images(images: np.ndarray, chosen: np.ndarray, crops: np.ndarray, size: int) -> np.ndarray:
    """Crops of some images: uint8 (B, size, size, 3). `crops`: (B, 3) of top, left (px) and flipped (0 or
    1)."""
    cut = np.empty((len(chosen), size, size, 3), dtype=np.uint8)
    for row, (image, (top, left, flipped)) in enumerate(zip(chosen, crops, strict=True)):
        crop = images[image, top : top + size, left : left + size]
        cut[row] = crop[:, ::-1] if flipped else crop
    return cut


def random_crops(pack: Pack, random: np.random.Generator, count: int) -> np.ndarray:
    """Anywhere in the margin, every second one flipped: (count, 3) of top, left, flipped."""
    room = pack.side - pack.image_size + 1
    return np.column_stack([random.integers(room, size=(count, 2)), random.integers(2, size=count)])


def centre_crops(pack: Pack, count: int) -> np.ndarray:
    """The middle of each image: (count, 3) of top, left, flipped."""
    start = (pack.side - pack.image_size) // 2
    return np.tile(np.array([start, start, 0], dtype=np.int64), (count, 1))


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


def _make_batch(
    pack: Pack,
    captions: np.ndarray,
    images: torch.Tensor | None,
    modality: str,
    tokens: dict[int, list[int]],
    same_class: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
    view: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
) -> Batch:
    image_ids = pack.caption_image[captions]
    mels = mel_lengths = padded = token_lengths = None
    if modality == "speech":
        mels, mel_lengths = pad_mels([pack.mel(index) for index in captions])
    else:
        padded, token_lengths = pad_tokens([tokens[index] for index in captions.tolist()])
    return Batch(
        images=images,
        class_ids=torch.from_numpy(pack.labels[image_ids]),
        image_ids=torch.from_numpy(image_ids),
        captions=torch.from_numpy(captions),
        same_class=same_class[0],
        has_same_class=same_class[1],
        pooled=view[0],
        regions=view[1],
        mels=mels,
        mel_lengths=mel_lengths,
        tokens=padded,
        token_lengths=token_lengths,
    )


def _encode(pack: Pack, caption: int, vocabulary: Vocabulary | None, words: int) -> list[int]:
    if vocabulary is None:
        raise TypeError("text needs a vocabulary")
    try:
        return vocabulary.encode(pack.caption(caption).text or "", words)
    except InputError as error:
        image = pack.records[pack.caption_image[caption]]
        raise InputError(f"a caption of image {image.id!r} in {pack.folder}: {error}") from error


def _caption_lengths(pack: Pack, tokens: dict[int, list[int]]) -> np.ndarray:
    """Words of each caption where there are tokens, else frames: (captions,)."""
    if not tokens:
        return pack.mel_lengths
    lengths = np.zeros(pack.caption_count, dtype=np.int64)
    lengths[list(tokens)] = [len(words) for words in tokens.values()]
    return lengths
