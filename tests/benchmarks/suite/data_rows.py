"""From recordings and photographs to batches: front end, resampling, packing, loading, feature cache."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image

from s2i.config import Config
from s2i.config_data import AudioConfig, DataConfig
from s2i.data.audio import log_mel
from s2i.data.dataset import CaptionedImages
from s2i.data.feature_cache import FeatureCache, write_feature_cache
from s2i.data.manifest import Caption, ImageRecord, write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.resampling import resample
from s2i.models.pretrained import PretrainedNetwork
from tests.benchmarks.suite import plain
from tests.benchmarks.suite.timing import OURS, PLAIN, Choice, Row, bytes_of

PHOTOGRAPH = (500, 375)  # px, as CUB's
BATCH = 32
# px of packs; of the paper's: what is generated, and what Inception sees.
SIDES = {"painted birds": (64,), "paper": (256, 299)}
# By the side of a pack: the network whose features are cached.
NETWORKS = {64: "efficientnet_lite0", 299: "inception_v3"}
PARTS = ("loading", "packing", "feature cache")  # of a pack
# Of a frame's 551 = 19 * 29 samples: 19 real transforms of 29 to 15 results, 15 complex ones of 19 to 10,
# each by its even and its odd half. torch's counter doesn't see what LLVM has compiled.
FRAME_OPERATIONS = 2 * (19 * 15 * (15 + 14) + 15 * 2 * 10 * (10 + 9))


def falling_noise(seconds: float, rate: int = 22050) -> torch.Tensor:
    """Noise whose spectrum falls as speech's does: (N,) in [-.5, .5]."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(int(seconds * rate), generator=generator)
    spectrum = torch.fft.rfft(noise)
    spectrum /= 1 + torch.arange(len(spectrum)) / (200 * seconds)
    waveform = torch.fft.irfft(spectrum, n=len(noise))
    return 0.5 * waveform / waveform.abs().max()


def rows(choice: Choice) -> Iterator[Row]:
    """A few at a time: what a row needs is made when it comes, and goes with it."""
    config = AudioConfig()
    lengths = (4,) if choice.quick else (2, 4, 10)
    for seconds in lengths if choice.has("front end") else ():
        waveform = falling_noise(seconds)
        ours = partial(log_mel, waveform, config)
        forms = {OURS: ours, PLAIN: partial(plain.log_mel, waveform.numpy())}
        mel = ours()
        work = len(mel) * FRAME_OPERATIONS
        yield Row("front end", f"log-mel of {seconds} s", "", "fp32", forms, work, bytes_of(waveform, mel))
    for rate in (48000, 16000) if choice.has("resampling") else ():
        recorded, wanted = falling_noise(4, rate), config.sample_rate
        forms = {
            OURS: partial(resample_shorter, resample, recorded, count(), rate, wanted),
            PLAIN: partial(resample_shorter, plain.resample, recorded.numpy(), count(), rate, wanted),
        }
        moved = bytes_of(recorded) * (1 + wanted / rate)
        yield Row("resampling", f"4 s from {rate} Hz", "", "fp32", forms, bytes=moved)
    for size, sides in SIDES.items():
        for side in sides:
            able = PARTS if side in NETWORKS else tuple(part for part in PARTS if part != "feature cache")
            components = [part for part in able if choice.has(part, size)]
            with tempfile.TemporaryDirectory() as folder:
                yield from _of_pack(size, World.write(Path(folder), side), components) if components else ()


def resample_shorter(
    resampling: Callable, waveform: torch.Tensor | np.ndarray, by: Iterator[int], rate: int, wanted: int
) -> None:
    """Resample a recording that is a sample shorter each time: of a data set hardly two have one length, and
    what a library prepares for a length is then of no use to the next."""
    resampling(waveform[: len(waveform) - next(by)], rate, wanted)


@dataclass(frozen=True)
class World:
    """A data set of noise: photographs (JPEG), a recording (WAV) each, and its configuration."""

    folder: Path
    config: Config
    images: list[Path]
    recordings: list[Path]

    @classmethod
    def write(cls, folder: Path, side: int) -> World:
        random, records, images, recordings = np.random.default_rng(0), [], [], []
        for number in range(BATCH):
            image, recording = folder / f"{number}.jpg", folder / f"{number}.wav"
            coarse = random.integers(256, size=(24, 32, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize(PHOTOGRAPH, Image.BICUBIC).save(image, quality=92)
            soundfile.write(recording, falling_noise(random.uniform(2, 4)).numpy(), 22050)
            caption = Caption("a small bird with red wings", recording.name, "voice", "en")
            facts = (str(number), image.name, None, number % 8, f"class {number % 8}", "train")
            records.append(ImageRecord(*facts, (caption,)))
            images.append(image)
            recordings.append(recording)
        write_manifest(folder / "manifest.jsonl", records)
        data = DataConfig(
            root=str(folder), manifest=str(folder / "manifest.jsonl"), pack=str(folder / "pack")
        )
        generator = replace(Config().generator, base_size=side, stages=1)
        return cls(folder, replace(Config(), data=data, generator=generator), images, recordings)

    def pack(self, name: str) -> Pack:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        config = replace(self.config, data=replace(self.config.data, pack=str(self.folder / name)))
        with contextlib.redirect_stderr(io.StringIO()):
            build_pack(config, ("train",))
        return Pack(self.folder / name / "train")


def _of_pack(size: str, world: World, components: list[str]) -> Iterator[Row]:
    pack = world.pack("pack")
    if "loading" in components:
        yield _loading(size, world, pack)
    if "packing" in components:
        yield _packing(size, world, pack)
    if "feature cache" in components:
        yield _feature_cache(size, pack)


def _loading(size: str, world: World, pack: Pack) -> Row:
    side = pack.packed_size
    dataset = CaptionedImages(pack, 0, side, "speech")
    key = (0, np.arange(BATCH))
    batch = dataset[key]
    forms = {
        OURS: partial(dataset.__getitem__, key),
        PLAIN: partial(plain.load_batch, world.images, world.recordings, side, pack.side),
    }
    moved = BATCH * 3 * side**2 + 1.5 * bytes_of(batch.mels) + bytes_of(batch.images)  # mels lie in float16
    name = f"a batch of {BATCH} images of {side} px and recordings"
    return Row("loading", name, size, "fp32", forms, bytes=moved)


def _packing(size: str, world: World, pack: Pack) -> Row:
    forms = {
        OURS: partial(world.pack, "again"),
        PLAIN: partial(plain.load_batch, world.images, world.recordings, pack.side, pack.side),
    }
    name = f"{BATCH} images of {pack.packed_size} px and recordings, checked and written"
    return Row("packing", name, size, "fp32", forms)


def _feature_cache(size: str, pack: Pack) -> Row:
    side, rows = pack.packed_size, np.arange(BATCH)
    network = _of_any_weights(NETWORKS[side], side)
    folder = pack.folder / "feature-cache-0000000000000000"
    with contextlib.redirect_stderr(io.StringIO()):
        write_feature_cache(folder, pack, 1, partial(_look, network), regions=True)
    ours = partial(FeatureCache(folder).read, rows, np.zeros_like(rows))
    forms = {OURS: ours, PLAIN: partial(plain.image_features, network, np.asarray(pack.images), side)}
    moved = 1.5 * bytes_of(ours())  # they lie in float16
    name = f"features of {BATCH} images of {side} px by {NETWORKS[side]}, regions too"
    return Row("feature cache", name, size, "fp32", forms, bytes=moved)


def _look(network: PretrainedNetwork, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pooled, regions = network(images)
    return pooled, regions.flatten(2)


def _of_any_weights(kind: str, side: int) -> PretrainedNetwork:
    """A network of random weights, so that nothing is downloaded, at which activations neither vanish nor
    overflow (He et al. 2015); laid out as the published ones are."""
    torch.manual_seed(0)
    network = PretrainedNetwork(kind, side)
    for weight in network.parameters():
        if weight.ndim == 4:
            torch.nn.init.kaiming_normal_(weight)
    return network.to(memory_format=torch.channels_last)
