"""From a recording to the speech encoder's input: waveform, log-mel, normalisation. One path for all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.clipping import MOST, clipped_share
from s2i.data.mel_spectrum import mel_spectrum
from s2i.data.resampling import resample
from s2i.data.silence import spoken_part
from s2i.data.sound_files import check_rate, read_recording
from s2i.errors import InputError
from s2i.progress import say

# A file, or samples with their rate in Hz: (N,) or (N, channels), of floats in [-1, 1] or of whole numbers.
Recording = str | Path | tuple[np.ndarray, int]

SILENCE = 1e-3  # a waveform that nowhere leaves its mean by this much (-60 dB) says nothing
# A smaller offset, as synthesisers leave, stays: a sentence with it has a cosine of .9999 to that without.
LEAST_OFFSET = 1e-3
# A log-mel has a floor, so volume is heard: at -60 dB a sentence has a cosine of .64 to .92 to that at
# -20 dB. What is said at less than this is made as loud; the synthesisers speak at -25.8 dB or more.
LEAST_LEVEL = 10 ** (-26 / 20)  # root mean square over what is said
LEAST_DEVIATION = 1e-3  # a bin that varies less over an utterance carries rounding errors, no speech
_LOSSY = {".aac", ".m4a", ".mp3", ".oga", ".ogg", ".opus"}


class Digest(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes) -> None:
        """Go on with these bytes."""


@dataclass(frozen=True)
class Heard:
    """A recording as a model hears it.

    Attributes:
        waveform: (N,) float32 at the model's rate, one channel, without an offset, loud enough.
        start, stop: the first sample and the one after the last of what is said, with the silence kept
            around it.
        clipped: share of the recording's samples that lie in peaks cut off flat.
        rate: Hz.
    """

    waveform: Tensor
    start: int
    stop: int
    clipped: float
    rate: int

    @property
    def spoken(self) -> Tensor:
        """(N',): what is said."""
        return self.waveform[self.start : self.stop]

    @property
    def seconds_before(self) -> float:
        """Seconds of the recording before what is said."""
        return self.start / self.rate

    def notes(self) -> list[str]:
        """What is wrong with the recording, in words."""
        if self.clipped < MOST:
            return []
        return [
            f"it was too loud for its microphone ({100 * self.clipped:.1f} % of the samples are cut off):"
            " record it from further away, or at a lower level"
        ]


def load_waveform(recording: Recording, config: AudioConfig, digest: Digest | None = None) -> Tensor:
    """What is said in a recording: `hear` without the silence around it, but for `config.kept_silence`."""
    return hear(recording, config, digest).spoken


def hear(recording: Recording, config: AudioConfig, digest: Digest | None = None) -> Heard:
    """A recording of any rate, channel count and volume as one channel at `config.sample_rate`, without an
    offset, and where in it somebody speaks.

    Args:
        digest: updated with the bytes of the file before they are decoded.

    Raises:
        InputError: as `read_recording`, and for samples that are not finite, silence, or less than a window.
    """
    if isinstance(recording, tuple):
        samples, rate = _as_floats(*recording)
        where = "the recording"
        if len(samples) > config.max_seconds * rate:
            raise InputError(
                f"expected at most {config.max_seconds:g} s of speech,"
                f" found {len(samples) / rate:.0f} s: cut it"
            )
    else:
        where = str(recording)
        samples, rate = read_recording(recording, config.max_seconds)
        if digest is not None:
            _tell(digest, Path(recording), samples, rate)
    seconds = len(samples) / rate
    if seconds < config.window:
        raise InputError(
            f"expected at least one window of speech ({config.window:g} s), found {seconds:.3f} s in {where}:"
            " record or make it again"
        )
    if not np.isfinite(samples).all():
        raise InputError(
            f"expected finite samples, found NaN or infinity in {where}: record or make it again"
        )
    # Before the rate changes: what a filter makes of an offset's two ends is no speech.
    recorded = torch.from_numpy(samples)
    waveform = _without_offset(_as_one_channel(recorded, where))
    _refuse_silence(waveform, where)
    waveform = resample(waveform, rate, config.sample_rate)
    _refuse_silence(waveform, where)  # what was above the new rate's reach is gone
    start, stop = spoken_part(waveform, config.sample_rate, config.kept_silence)
    waveform = _loud_enough(waveform, start, stop)
    return Heard(waveform, start, stop, clipped_share(recorded), config.sample_rate)


def _as_one_channel(samples: Tensor, where: str) -> Tensor:
    """The mean of the channels, or the loudest where they cancel each other out: (N, channels) -> (N,)."""
    mean = samples.mean(dim=1)
    if samples.shape[1] == 1:
        return mean
    powers = samples.var(dim=0, correction=0)
    # Channels that have nothing to do with each other leave a part of 1 / channels of their mean power.
    if mean.var(correction=0) >= powers.mean() / (2 * samples.shape[1]):
        return mean
    loudest = int(powers.argmax())
    if powers[loudest].sqrt() >= SILENCE:
        say(f"s2i: note: the channels of {where} cancel each other out: channel {loudest + 1} is heard alone")
    return samples[:, loudest]


def _without_offset(waveform: Tensor) -> Tensor:
    offset = waveform.mean()
    return waveform - offset if offset.abs() > LEAST_OFFSET else waveform


def _refuse_silence(waveform: Tensor, where: str) -> None:
    if (waveform - waveform.mean()).abs().max() < SILENCE:
        raise InputError(f"expected speech, found silence in {where}: record or make it again")


def _loud_enough(waveform: Tensor, start: int, stop: int) -> Tensor:
    level = waveform[start:stop].square().mean().sqrt()
    # A recording that was made as loud is left as it is when it is read again.
    return waveform * (LEAST_LEVEL / level) if level < 0.999 * LEAST_LEVEL else waveform


def _tell(digest: Digest, path: Path, samples: np.ndarray, rate: int) -> None:
    """What a sound file holds: its samples where its format keeps them bit for bit, so that the same sound is
    the same as WAV and as FLAC, whoever encoded it; else its bytes, which no two decoders read alike."""
    if path.suffix.lower() in _LOSSY:
        digest.update(path.read_bytes())
    else:
        digest.update(f"{rate} {samples.shape}".encode())
        digest.update(np.ascontiguousarray(samples))


def _as_floats(samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """Samples of any type as float32 (N, channels) in [-1, 1], and their rate."""
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf" or not rate > 0:
        raise InputError(
            "expected samples (N,) or (N, channels) and their rate in Hz, found"
            f" {samples.dtype} {samples.shape} at {rate!r}: give them as soundfile.read does"
        )
    if samples.dtype.kind == "f":
        scaled = samples.astype(np.float32)
    else:
        span = np.iinfo(samples.dtype)
        middle = 0 if samples.dtype.kind == "i" else span.max // 2 + 1
        scaled = ((samples.astype(np.float64) - middle) / (span.max - middle + 1)).astype(np.float32)
    check_rate(int(rate), "the recording")
    return scaled.reshape(len(samples), 1 if samples.ndim == 1 else samples.shape[1]), int(rate)


def features(waveform: Tensor, config: AudioConfig) -> Tensor:
    """What a speech encoder reads: (N,) or (B, N) -> (T, M) or (B, T, M); normalised if the config says so.

    Raises InputError as `log_mel`, or as the pretrained network of `config.front_end` does.
    """
    unnormalised = unnormalised_features(waveform, config)
    return normalise(unnormalised) if config.cmvn else unnormalised


def unnormalised_features(waveform: Tensor, config: AudioConfig) -> Tensor:
    """The same before it is normalised."""
    if config.front_end == "waveform":
        return waveform.to("cpu", torch.float32).unsqueeze(-1)
    if config.front_end == "log_mel":
        return log_mel(waveform, config)
    from s2i.data.front_end import extract  # here: log-mels start without torchaudio

    rows = [extract(row, config) for row in waveform.reshape(-1, waveform.shape[-1])]
    return torch.stack(rows).view(*waveform.shape[:-1], *rows[0].shape)


def log_mel(waveform: Tensor, config: AudioConfig) -> Tensor:
    """Natural logarithm of the mel power spectrum: (N,) or (B, N) -> float32 (T, M) or (B, T, M).

    T is 1 + N // hop for an even window, 1 + (N - 1) // hop for an odd one. As librosa's `melspectrogram`
    (0.10 and later: frames centred, zeros around, periodic Hann window, power 2, Slaney's mel filters), then
    ln(x + floor). Raises InputError for less than a window of samples.
    """
    window, hop = samples_in(config.window, config), samples_in(config.hop, config)
    if waveform.shape[-1] < window:
        raise InputError(
            f"expected at least one window of speech ({window} samples), found {waveform.shape[-1]}:"
            " record or make it again"
        )
    spectrum = mel_spectrum(config.sample_rate, window, config.mel_bins)
    return torch.add(spectrum(waveform.to("cpu", torch.float32), hop), config.log_floor).log_()


def normalise(mel: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of each bin over the utterance (CMVN): (..., T, M) -> the same."""
    mean, deviation = mean_and_deviation(mel)
    return (mel - mean) / deviation


def mean_and_deviation(mel: Tensor) -> tuple[Tensor, Tensor]:
    """Of each bin over the utterance, (..., T, M) -> (..., 1, M) each; no deviation below LEAST_DEVIATION."""
    mean = mel.mean(dim=-2, keepdim=True)
    deviation = (mel - mean).square().mean(dim=-2, keepdim=True).sqrt()
    return mean, deviation.clamp(min=LEAST_DEVIATION)


def samples_in(seconds: float, config: AudioConfig) -> int:
    """Whole samples in a time; a tiny part more keeps 160 from becoming 159 by rounding."""
    return int(config.sample_rate * seconds + 1e-6)
