"""Conditions that captions are spoken in: what is done to a recording, or who speaks the caption instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.analysis.swaps import Swap
from s2i.data.audio import load_waveform
from s2i.data.manifest import Caption, read_manifest
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.trained_captions import trained_captions

Transform = Callable[[Tensor, int], Tensor]  # a caption's recording (N,) and its index in the pack -> (M,)
TELEPHONE = (300.0, 3400.0)  # Hz: the band of a telephone (ITU-T G.712)
SMALL_MICROPHONE = (800.0, 6000.0)  # Hz: of a cheap one that has neither bass nor treble


@dataclass(frozen=True)
class Condition:
    """What is done to captions; `reference` names the condition that it is compared with, `captions` those
    (indices in the pack) that it is for: without, all; `swapped`: recordings of captions after a word
    swap."""

    group: str
    name: str
    transform: Transform
    reference: str = "clean"
    captions: frozenset[int] | None = None
    replaces: bool = False  # the caption's recording is not read
    swapped: Mapping[int, Path] = field(default_factory=dict)


def add_noise(waveform: Tensor, noise: Tensor, ratio: float, start: int) -> Tensor:
    """Noise from its sample `start` on, around and around, `ratio` dB under the speech's mean power."""
    stretch = noise[(start + torch.arange(len(waveform))) % len(noise)]
    power, noise_power = waveform.square().mean(), stretch.square().mean().clamp(min=1e-12)
    return waveform + stretch * (power / noise_power / 10 ** (ratio / 10)).sqrt()


def add_room(waveform: Tensor, response: Tensor) -> Tensor:
    """The recording in a room, at its former power and as long, from the response's loudest sample on."""
    from torchaudio.functional import fftconvolve

    start = int(response.abs().argmax())
    wet = fftconvolve(waveform, response)[start : start + len(waveform)]
    return wet * (waveform.square().mean() / wet.square().mean().clamp(min=1e-12)).sqrt()


def in_band(waveform: Tensor, rate: int, band: tuple[float, float]) -> Tensor:
    """The recording (N,) without what lies outside of a band of frequencies in Hz."""
    spectrum = torch.fft.rfft(waveform)
    frequencies = torch.fft.rfftfreq(len(waveform), 1 / rate)
    inside = (frequencies >= band[0]) & (frequencies <= band[1])
    return torch.fft.irfft(spectrum * inside, len(waveform))


def add_silence(waveform: Tensor, rate: int, seconds: float, decibels: float, seed: int) -> Tensor:
    """The recording (N,) between so much silence, which has the noise of a microphone: so many dB under the
    level of the speech."""
    padded = torch.nn.functional.pad(waveform, (round(seconds * rate),) * 2)
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(len(padded), dtype=np.float32))
    return padded + noise * waveform.square().mean().sqrt() * 10 ** (decibels / 20)


def recorded(bank: FeatureBank, manifest: Path, root: Path) -> Condition:
    """The captions that somebody has spoken, out of a manifest."""
    spoken = _captions_of(bank, manifest)
    files = {
        index: root / caption.audio
        for index, caption in spoken.items()
        if caption.audio != bank.pack.caption(index).audio
    }
    if not files:
        raise _nothing_spoken(bank, manifest)
    return _read("recorded", "recorded", files, bank)


def spoken_by_families(
    bank: FeatureBank, manifests: Sequence[Path], root: Path, swaps: Sequence[Swap] = ()
) -> list[Condition]:
    """A condition for each synthesiser family that speaks captions of the split in one of the manifests.

    It is named after the family and says whether training has heard it. The first manifest that has a
    caption of a family gives it, and, as its words tell, a caption after one of the `swaps`.

    Raises InputError for a manifest without any, and for other words than those of a caption.
    """
    heard, after = trained_families(bank), {swap.caption: swap.swapped for swap in swaps}
    files: dict[str, dict[int, Path]] = {}
    swapped: dict[str, dict[int, Path]] = {}
    for manifest in manifests:
        spoken = _captions_of(bank, manifest)
        if not spoken:
            raise _nothing_spoken(bank, manifest)
        for index, caption in spoken.items():
            original = bank.pack.caption(index)
            if (caption.audio, caption.speaker) == (original.audio, original.speaker):
                continue  # the data's own, beside a swapped one
            words = (caption.text or original.text or "").lower()
            if words not in ((original.text or "").lower(), after.get(index)):
                raise InputError(
                    f"expected the words of the data, {(original.text or '')[:60]!r}, found {words[:60]!r} in"
                    f" {manifest}: have the same manifest spoken, or the swapped captions of the same run"
                )
            by_family = swapped if words == after.get(index) else files
            by_family.setdefault(family_of(caption.speaker), {}).setdefault(index, root / caption.audio)
    return [
        replace(
            _read("family", f"{family} ({'seen' if family in heard else 'unseen'})", files[family], bank),
            swapped=swapped.get(family, {}),
        )
        for family in sorted(files, key=lambda family: (family not in heard, family))
    ]


def family_of(speaker: str | None) -> str:
    """The synthesiser family of a speaker such as `flite/slt`; `unknown` where none is named."""
    family, slash, _ = (speaker or "").partition("/")
    return family if slash else "unknown"


def trained_families(bank: FeatureBank) -> set[str]:
    """The families that speak the train split of the bank's data; none where it is not packed."""
    return {family_of(caption.speaker) for caption in trained_captions(bank.path.config) or ()}


def _captions_of(bank: FeatureBank, manifest: Path) -> dict[int, Caption]:
    """{caption in the pack: what a manifest has in its place} of the generated captions that are spoken."""
    pack, by_index = bank.pack, {}
    spoken = {image.id: image.captions for image in read_manifest(manifest)}
    for index in bank.captions.generated.tolist():
        image = int(pack.caption_image[index])
        number = index - int(pack.first_caption[image])
        captions = spoken.get(pack.records[image].id, ())
        if number < len(captions) and captions[number].audio is not None:
            by_index[index] = captions[number]
    return by_index


def _nothing_spoken(bank: FeatureBank, manifest: Path) -> InputError:
    return InputError(
        f"expected recordings of captions generated from {bank.settings.split}, found none in"
        f" {manifest}: give a manifest with the ids and captions of the data"
    )


def _read(group: str, name: str, files: dict[int, Path], bank: FeatureBank) -> Condition:
    audio = bank.path.config.audio
    return Condition(
        group,
        name,
        lambda _, index: load_waveform(files[index], audio),
        captions=frozenset(files),
        replaces=True,
    )
