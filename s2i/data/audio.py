"""From a recording to the speech encoder's input: waveform, log-mel, normalisation. One path for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from s2i.config import AudioConfig
from s2i.data.mel_spectrum import mel_spectrum
from s2i.data.silence import spoken_part, without_silence
from s2i.errors import InputError

# A file, or samples with their rate in Hz: (N,) or (N, channels), of floats in [-1, 1] or of whole numbers.
Recording = str | Path | tuple[np.ndarray, int]

SILENCE = 1e-3  # a waveform that nowhere leaves its mean by this much (-60 dB) says nothing
LEAST_DEVIATION = 1e-3  # a bin that varies less over an utterance carries rounding errors, no speech


def check_recording(path: str | Path, longest: float = AudioConfig.longest) -> None:
    """Refuse, from its header alone, a file that is missing, empty, no recording or too long (in seconds).

    Raises InputError with the file's name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a recording, found no file at {path}: check the path or make the speech")
    if path.stat().st_size == 0:
        raise InputError(f"expected a recording, found an empty file at {path}: record or make it again")
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"expected a recording (WAV, FLAC, OGG or MP3), found something else in {path}: convert it"
        ) from error
    seconds = header.frames / header.samplerate
    if seconds > longest:
        raise InputError(f"expected at most {longest:g} s of speech, found {seconds:.0f} s in {path}: cut it")


def load_waveform(recording: Recording, config: AudioConfig) -> Tensor:
    """A recording of any rate and channel count as one channel at `config.sample_rate`, without the silence
    around what is said but for `config.kept_silence`.

    Returns:
        float32 (N,) in [-1, 1].

    Raises:
        InputError: as `check_recording`, and for samples that are not finite, silence, or less than a window.
    """
    if isinstance(recording, tuple):
        samples, rate = _as_floats(*recording)
        where = "the recording"
        if len(samples) > config.longest * rate:
            raise InputError(
                f"expected at most {config.longest:g} s of speech, found {len(samples) / rate:.0f} s: cut it"
            )
    else:
        where = str(recording)
        check_recording(recording, config.longest)
        try:
            samples, rate = soundfile.read(recording, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(f"expected a recording, found a broken one in {where}: make it again") from error
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
    waveform = torch.from_numpy(samples).mean(dim=1)
    if rate != config.sample_rate:
        from torchaudio.functional import resample  # here: what needs no resampling starts faster

        waveform = resample(waveform, rate, config.sample_rate)
    if (waveform - waveform.mean()).abs().max() < SILENCE:
        raise InputError(f"expected speech, found silence in {where}: record or make it again")
    return without_silence(waveform, config.sample_rate, config.kept_silence)


def seconds_before(recording: Recording, config: AudioConfig) -> float:
    """How many seconds of a recording lie before what `load_waveform` gives of it; raises as that does."""
    whole = load_waveform(recording, replace(config, kept_silence=config.longest))
    return spoken_part(whole, config.sample_rate, config.kept_silence)[0] / config.sample_rate


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
    return scaled.reshape(len(samples), 1 if samples.ndim == 1 else samples.shape[1]), int(rate)


def features(waveform: Tensor, config: AudioConfig) -> Tensor:
    """What a speech encoder reads: (N,) or (B, N) -> (T, M) or (B, T, M); normalised if the config says so.

    Raises InputError as `log_mel`, or as the pretrained network of `config.front_end` does.
    """
    if config.front_end == "log_mel":
        found = log_mel(waveform, config)
    else:
        from s2i.data.front_end import extract  # here: log-mels start without torchaudio

        rows = [extract(row, config) for row in waveform.reshape(-1, waveform.shape[-1])]
        found = torch.stack(rows).view(*waveform.shape[:-1], *rows[0].shape)
    return normalise(found) if config.normalise else found


def log_mel(waveform: Tensor, config: AudioConfig) -> Tensor:
    """Natural logarithm of the mel power spectrum: (N,) or (B, N) -> float32 (T, M) or (B, T, M).

    T is 1 + N // hop for an even window, 1 + (N - 1) // hop for an odd one. As librosa's `melspectrogram`
    (0.10 and later: frames centred, zeros around, periodic Hann window, power 2, Slaney's mel filters), then
    ln(x + floor). Raises InputError for less than a window of samples.
    """
    window, hop = _samples(config, config.window), _samples(config, config.hop)
    if waveform.shape[-1] < window:
        raise InputError(
            f"expected at least one window of speech ({window} samples), found {waveform.shape[-1]}:"
            " record or make it again"
        )
    spectrum = mel_spectrum(config.sample_rate, window, config.mels)
    waveform = waveform.to("cpu", torch.float32)
    silence = waveform.new_zeros(*waveform.shape[:-1], window // 2)
    padded = torch.cat([silence, waveform, silence], dim=-1)  # half the time of torch's pad
    return spectrum(padded.unfold(-1, window, hop)).add_(config.floor).log_()


def normalise(mel: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of each bin over the utterance (CMVN): (..., T, M) -> the same."""
    centred = mel - mel.mean(dim=-2, keepdim=True)
    return centred / centred.square().mean(dim=-2, keepdim=True).sqrt().clamp(min=LEAST_DEVIATION)


def _samples(config: AudioConfig, seconds: float) -> int:
    """Whole samples in a time; a tiny part more keeps 160 from becoming 159 by rounding."""
    return int(config.sample_rate * seconds + 1e-6)
