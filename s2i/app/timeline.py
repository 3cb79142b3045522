"""A recording for the player: its waveform, its log-mel and the seconds of each segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.audio import log_mel
from s2i.data.sound_files import wav_bytes

COLUMNS = 300  # of the waveform: one a few pixels, on a phone and on a desktop
# RGB of the log-mel from quiet to loud: dark blue, violet, orange, pale yellow.
SHADES = np.array([[14, 16, 40], [96, 40, 120], [232, 110, 60], [255, 244, 190]], np.float32)
RANGE = 9.0  # natural logarithms (39 dB) below the loudest bin; quieter bins have the first shade


@dataclass(frozen=True)
class Segment:
    """A word of a sentence: as it is written, which has no time, or seconds of speech that seem to be one."""

    label: str
    start: float = 0.0  # s
    end: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """A recording at the model's sample rate, and the part of it that the encoder hears."""

    samples: np.ndarray  # float32 (N,) in [-1, 1]
    rate: int  # Hz: the model's
    extremes: np.ndarray  # float32 (C, 2) in [-1, 1]: least and largest sample of each column, C <= COLUMNS
    mel: np.ndarray  # uint8 (M, T, 3): high bins on top
    start: float  # s; before it, and from `stop` on, there is silence that is cut
    stop: float

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def wav(self, exact: bool = False) -> bytes:
        """A WAV file of 16 bits, or, twice as large, of the model's float32 samples."""
        return wav_bytes(self.samples, self.rate, exact)


def trace(waveform: Tensor, config: AudioConfig, start: int = 0, stop: int | None = None) -> Timeline:
    """The timeline of a recording, (N,) at `config.sample_rate`, of which the samples from `start` to `stop`
    (its end) are what is said."""
    samples = waveform.numpy()
    columns = np.array_split(samples, min(COLUMNS, len(samples)))
    extremes = np.array([(column.min(), column.max()) for column in columns], np.float32).clip(-1, 1)
    # The features of a pretrained front end are no spectrogram: show the default log-mel instead.
    spectrogram = config if config.front_end == "log_mel" else AudioConfig(sample_rate=config.sample_rate)
    mel = shade(log_mel(waveform, spectrogram))
    seconds = [(len(samples) if place is None else place) / config.sample_rate for place in (start, stop)]
    return Timeline(samples, config.sample_rate, extremes, mel, *seconds)


def shade(mel: Tensor) -> np.ndarray:
    """Log-mel (T, M) -> uint8 (M, T, 3), `RANGE` below the loudest to the loudest, high bins on top."""
    level = ((mel - mel.max()) / RANGE + 1).clamp(0, 1) * (len(SHADES) - 1)
    lower = level.floor().clamp(max=len(SHADES) - 2)
    weight = (level - lower).unsqueeze(-1)
    shades, index = torch.from_numpy(SHADES), lower.long()
    colours = shades[index] * (1 - weight) + shades[index + 1] * weight
    return colours.round().to(torch.uint8).transpose(0, 1).flip(0).contiguous().numpy()


def spoken(start: float, end: float) -> Segment:
    """What is said from one second of a recording to another."""
    return Segment(f"{start:.2f} to {end:.2f} s", start, end)
