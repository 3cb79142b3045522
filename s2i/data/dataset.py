"""Training examples from a pack: the caption, crop and second image of each image in each epoch.

Everything random is a function of (seed, epoch): an epoch's plan is sampled at once for all images, from
generators of its own, so batches depend neither on the number of loader processes nor on the global random
state, and a training that continues at step n sees what it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from s2i.config_networks import TextEncoderConfig
from s2i.data.augment.augmentation import SpeechAugmentation
from s2i.data.augment.timing import Timing
from s2i.data.batches import Batch, caption_lengths, encode_caption, make_batch
from s2i.data.crops import centre_crops, random_crops, read_images
from s2i.data.feature_cache import FeatureCache
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.progress import say


@dataclass(frozen=True)
class EpochPlan:
    """The random choices of an epoch for each image of the pack; every array is (images,)."""

    captions: np.ndarray  # caption index in the pack; meaningless where the image has no usable caption
    crops: np.ndarray  # (images, 3): top, left, flipped
    same_class: np.ndarray  # index of another image of the class (the same one where it has no other)
    same_class_crops: np.ndarray  # (images, 3)
    cached_crops: np.ndarray  # in [0, 1): which of its cached crops an image gets


class CaptionedImages(Dataset):
    """Images with one caption each, for training.

    An item's key is (epoch, images): the batch of these images, as the epoch's plan has them. The
    caption, crop, flip and second image of an image are a function of (seed, epoch, image), whatever
    batch it is in. `candidates`: the images with a caption that the modality can use.
    """

    def __init__(
        self,
        pack: Pack,
        seed: int,
        image_size: int,
        modality: Literal["speech", "text"],
        vocabulary: Vocabulary | None = None,
        words: int = TextEncoderConfig.max_words,
        same_class: bool = False,
        augment: bool = True,
        feature_cache: FeatureCache | None = None,
        augmentation: SpeechAugmentation | None = None,
        twice: bool = False,
        normalised: bool = True,
    ) -> None:
        """`image_size`: px of the images, the pack's or fewer; `words`: longest caption, the rest is cut;
        `same_class`: give another image of each class too; `augment`: random crop and flip, else the
        centre; `feature_cache`: give the cached features of one crop of each image in place of the image;
        `augmentation`: of recordings; `twice`: give each spoken caption a second time, in another recording
        of the same words if the image has one, and otherwise augmented; `normalised`: false gives
        recordings as they were before they were normalised (CMVN), and not augmented.

        Raises InputError for images smaller than `image_size` or no usable caption.
        """
        if image_size > pack.packed_size:
            raise InputError(
                f"expected images of {image_size} px or more in {pack.folder}, found {pack.packed_size}:"
                " run data_prep/pack.py with this configuration"
            )
        self.pack, self.seed, self.image_size, self.modality = pack, seed, image_size, modality
        self.has_same_class, self.augment, self.feature_cache = same_class, augment, feature_cache
        self.augmentation = augmentation if modality == "speech" else None
        self.twice = twice and modality == "speech"
        self.normalised = normalised
        self._usable = pack.usable(modality)
        # Usable captions of image p: _usable[_first[p]] to _usable[_first[p + 1] - 1].
        self._first = np.searchsorted(self._usable, pack.first_caption)
        self.candidates = np.flatnonzero(np.diff(self._first))
        self._tokens: dict[int, list[int]] = {}
        if modality == "text":
            wordless = sum(1 for _ in pack.texts()) - len(self._usable)
            if wordless:
                say(f"{pack.folder}: {wordless} written captions without a word are left out")
            encoded = (encode_caption(pack, index, vocabulary, words) for index in self._usable)
            self._tokens = dict(zip(self._usable.tolist(), encoded, strict=True))
            for reason, count in vocabulary.count_unread(pack.texts(), words).items():
                say(f"{pack.folder}: {count} captions {reason} are read in part")
        self._lengths = caption_lengths(pack, self._tokens)
        self._by_class = np.argsort(pack.labels, kind="stable")
        self._class_sizes = np.bincount(pack.labels)
        self._latest: tuple[int, EpochPlan] | None = None
        self._latest_timings: tuple[int, list[Timing]] | None = None

    def plan(self, epoch: int) -> EpochPlan:
        """The random choices of epoch `epoch`. A function of (seed, epoch)."""
        if self._latest is None or self._latest[0] != epoch:
            self._latest = epoch, self._sample_plan(epoch)
        return self._latest[1]

    def timings(self, epoch: int) -> list[Timing]:
        """How long the recording of each image of the pack takes, augmented, and then how long the second
        one. A function of (seed, epoch)."""
        if self._latest_timings is None or self._latest_timings[0] != epoch:
            total = len(self.pack.records)
            randoms = (np.random.default_rng((self.seed, epoch, 2 + turn)) for turn in range(1 + self.twice))
            timings = [self.augmentation.sample_timing(random, total) for random in randoms]
            self._latest_timings = epoch, timings
        return self._latest_timings[1]

    def lengths(self, epoch: int) -> np.ndarray:
        """Frames or words of the caption that each of `candidates` has in an epoch: with augmentation, before
        silence is cut and without a room's tail."""
        lengths = self._lengths[self.plan(epoch).captions]
        if self.augmentation is not None:
            lengths = self.timings(epoch)[0].lengths(lengths)
        return lengths[self.candidates]

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
        captions, real_images, cached = plan.captions[images], None, (None, None)
        if self.feature_cache is None:
            real_images = self._crop(images, plan.crops[images])
        else:
            crops = (plan.cached_crops[images] * self.feature_cache.crops).astype(np.int64)
            cached = self.feature_cache.read(images, crops)
        return make_batch(
            self.pack,
            captions,
            real_images,
            self.modality,
            self._tokens,
            same_class,
            cached,
            self._recordings(epoch, images, captions, 0) if self._reads_recordings else (),
            self._recordings(epoch, images, self._others(captions, epoch), 1) if self.twice else (),
        )

    def _recordings(
        self, epoch: int, images: np.ndarray, captions: np.ndarray, turn: int
    ) -> list[torch.Tensor]:
        """Features (T, M) of each caption, augmented if anything is; `turn` 1: for the second time."""
        if not self.normalised:
            return [torch.from_numpy(self.pack.unnormalised(index)) for index in captions]
        if self.augmentation is None:
            return [self.pack.mel(index) for index in captions]
        timing = self.timings(epoch)[turn]
        return [
            self.augmentation(
                self.pack.unnormalised(caption),
                timing.of(image),
                np.random.default_rng((self.seed, epoch, 2 + turn, caption)),
                self._any_recording,
            )
            for image, caption in zip(images.tolist(), captions.tolist(), strict=True)
        ]

    @property
    def _reads_recordings(self) -> bool:
        """Whether recordings are other than the pack has them."""
        return self.modality == "speech" and (self.augmentation is not None or not self.normalised)

    def _any_recording(self, random: np.random.Generator) -> np.ndarray:
        return self.pack.unnormalised(self._usable[random.integers(len(self._usable))])

    def _others(self, captions: np.ndarray, epoch: int) -> np.ndarray:
        """Another recording of each caption's words, sampled by (seed, epoch, caption); the same where there
        is none."""
        chosen = captions.copy()
        for row, caption in enumerate(captions.tolist()):
            recordings = self._same_words.get(caption)
            if recordings is not None:
                random = np.random.default_rng((self.seed, epoch, 4, caption))
                chosen[row] = recordings[random.integers(len(recordings))]
        return chosen

    @cached_property
    def _same_words(self) -> dict[int, np.ndarray]:
        """{caption: the other recordings of its image with the same text}, where there are any."""
        others: dict[int, np.ndarray] = {}
        for image in self.candidates:
            captions = self._usable[self._first[image] : self._first[image + 1]]
            texts = [self.pack.caption(index).text for index in captions]
            for place, text in enumerate(texts):
                same = [other == text and text is not None for other in texts]
                same[place] = False
                if any(same):
                    others[int(captions[place])] = captions[same]
        return others

    def _crop(self, images: np.ndarray, crops: np.ndarray) -> torch.Tensor:
        return read_images(self.pack, images, crops, self.image_size)

    def _sample_plan(self, epoch: int) -> EpochPlan:
        random = np.random.default_rng((self.seed, epoch, 0))
        total = len(self.pack.records)
        choice = self._first[:-1] + (random.random(total) * np.diff(self._first)).astype(np.int64)
        captions = self._usable[np.minimum(choice, len(self._usable) - 1)]
        crops, same_class_crops = self._sample_crops(random, total), self._sample_crops(random, total)
        # Uniform over the class's other images, which lie together in _by_class: skip from the own place on.
        sizes = self._class_sizes[self.pack.labels]
        starts = (np.cumsum(self._class_sizes) - self._class_sizes)[self.pack.labels]
        position = np.empty(total, dtype=np.int64)
        position[self._by_class] = np.arange(total)
        skip = 1 + (random.random(total) * (sizes - 1)).astype(np.int64)
        same_class = self._by_class[starts + (position - starts + skip) % sizes]
        return EpochPlan(captions, crops, same_class, same_class_crops, random.random(total))

    def _sample_crops(self, random: np.random.Generator, total: int) -> np.ndarray:
        if not self.augment:
            return centre_crops(self.pack, total)
        return random_crops(self.pack, random, total)
