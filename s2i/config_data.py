"""Choices of the data: where images and captions come from, and what is read of recordings.

Part of `s2i.config`, whose rules hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass

from s2i.settings import MISSING, section, setting


@dataclass(frozen=True)
class AugmentPart:
    """One way in which recordings are altered in training."""

    probability: float = setting(0.0, at_least=0, at_most=1)  # of each recording, each time; 0: off
    strength: float = setting(0.0, at_least=0, at_most=100)  # the most that is done; the unit is the part's


@dataclass(frozen=True)
class NoisePart:
    """Noise of one kind in recordings in training."""

    probability: float = setting(0.0, at_least=0, at_most=1)  # of each recording, each time; 0: off
    # of speech over the loudest noise; the faintest is 40 dB below
    least_ratio: float = setting(5.0, at_least=-40, at_most=100, unit="dB")


def _part(strength: float) -> AugmentPart:
    return section(lambda: AugmentPart(strength=strength))


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of recordings, from a log-mel (s2i/data/augment): for the training of a speech encoder by
    train-encoder or train-regression, and of a generator with gan.augment_recordings."""

    vocal_tract: AugmentPart = _part(0.2)  # .2: formants between 1 / 1.2 and 1.2 times as high
    rate: AugmentPart = _part(0.5)  # .5: between 1 / 1.5 and 1.5 times as fast
    silence: AugmentPart = _part(2.0)  # s, before and after together, which the cutting of silence has missed
    pause: AugmentPart = _part(0.5)  # s, within
    room: AugmentPart = _part(0.8)  # s of reverberation, down by 60 dB
    noise: NoisePart = section(NoisePart)  # coloured, steady
    babble: NoisePart = section(NoisePart)  # other captions
    microphone: AugmentPart = _part(5.0)  # dB: standard deviation of its response, a smooth curve
    band: AugmentPart = _part(
        36.0
    )  # dB an octave: fall beyond the edges of a telephone's or microphone's band
    gain: AugmentPart = _part(20.0)  # dB up or down: what the log floor hides
    time_masks: AugmentPart = _part(0.2)  # s, the longest of two (SpecAugment)
    frequency_masks: AugmentPart = _part(6.0)  # bins, the widest of two (SpecAugment)


@dataclass(frozen=True)
class DataConfig:
    """Where images and captions come from."""

    root: str = setting(MISSING, local="path")  # folder that relative paths in the manifest start from
    manifest: str = setting(MISSING, local="path")  # JSON Lines, one image a line
    # folder that `data_prep/pack.py` writes, one sub-folder a split
    pack: str = setting(MISSING, local="path")
    # of images in the pack, before the margin; 0: as large as the largest generated
    packed_size: int = setting(0, at_least=0, at_most=8192, unit="px")
    # images are stored this much larger than generated, for random crops (AttnGAN)
    margin: float = setting(76 / 64, at_least=1, at_most=4)
    # side of the square crop over the longer side of the box (half side .75: S2IGAN)
    box_scale: float = setting(1.5, above=0, at_most=16)
    augment: AugmentConfig = section(AugmentConfig, read_by=("encoder", "gan", "regression"))  # of recordings
    # what images and captions are of, in a few words, for people: "small birds, by ..."
    subject: str = setting("", changeable=True)
    # loader processes; 0 reads in the training process
    workers: int = setting(0, at_least=0, at_most=1024, changeable=True)


@dataclass(frozen=True)
class AudioConfig:
    """What a speech encoder reads of a recording: by default a log-mel (S2IGAN's constants)."""

    # or "waveform", the samples themselves (Wav2Pix); or a frozen network: of torchaudio.pipelines
    # (HUBERT_BASE, WAVLM_BASE, ...) or another by module:Class (s2i/README.md)
    front_end: str = "log_mel"
    layer: int = setting(0, at_least=0)  # of a network: transformer layer that is read, from 1; 0: the last
    weights: str = setting("", local="path")  # of a network: file; empty: downloaded by torchaudio, once
    sha256: str = ""  # of these weights, or its first digits; empty: not checked
    # any other rate is resampled; of a network, the next four are its own, whatever is given
    sample_rate: int = setting(22050, at_least=1000, at_most=384_000, unit="Hz")
    mel_bins: int = setting(40, at_least=1, at_most=4096)  # numbers a frame
    window: float = setting(0.025, above=0, at_most=10, unit="s")  # also the FFT length: 551 samples
    hop: float = setting(0.010, above=0, at_most=10, unit="s")  # from one frame to the next
    log_floor: float = setting(1e-6, above=0, at_most=1)  # added before the logarithm
    cmvn: bool = True  # mean and variance of each mel bin over the utterance (CMVN)
    max_seconds: float = setting(60.0, above=0, at_most=86_400, unit="s")  # a longer recording is refused
    # of the silence before and after what is said; `max_seconds` keeps all. Utterances are normalised as
    # wholes, so more of it would change every frame. Built-in voices leave so much
    kept_silence: float = setting(0.01, at_least=0, at_most=86_400, unit="s")
