"""Augmentation of recordings while they are read: other mouths, rates, rooms, noises and microphones.

It works on log-mels before they are normalised, and on mel powers in place of waveforms, which would have to
be packed and transformed anew. Whatever is random is a function of (seed, epoch, caption).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from s2i.config_data import AudioConfig, AugmentConfig, AugmentPart, NoisePart
from s2i.data.audio import normalise
from s2i.data.augment import frequency
from s2i.data.augment.masks import MASKS, mask_bands
from s2i.data.augment.rooms import decay_seconds, reverberate, stretch_of, white_noise
from s2i.data.augment.timing import Timing, stretch, with_silence
from s2i.data.mel_spectrum import mel_edges
from s2i.data.silence import FRAME, QUIET, SHORT, spoken_frames

NOISE_RANGE = 40.0  # dB from the loudest noise to the faintest
BABBLERS = 3  # other captions, equally loud, that make babble
SLOPES = (-9.0, 3.0)  # dB an octave: noise from browner than brown to bluish
NOISE_RESPONSE = 4.0  # dB: standard deviation of a noise's smooth curve over its slope
LEAST_REVERBERATION = 0.1  # s
DIRECT = (-3.0, 12.0)  # dB: direct sound over a room's tail
BAND_EDGES = ((50.0, 400.0), (3000.0, 9000.0))  # Hz: lowest and highest edge of each side of a band


class SpeechAugmentation:
    """The parts that a configuration switches on, in the order in which they happen to a sound: mouth and
    rate, pauses, room, noise, microphone, level. Then silence is cut as it is from a recording, and the whole
    is normalised and masked."""

    def __init__(self, config: AugmentConfig, audio: AudioConfig, least_frames: int = 1) -> None:
        """`least_frames`: no utterance becomes shorter than so many, or than it was."""
        self.config, self.audio, self.least_frames = config, audio, least_frames
        edges = mel_edges(audio.sample_rate, audio.mel_bins)
        self.centres, self.highest = edges[1:-1], audio.sample_rate / 2
        self.loudness = ((edges[2:] - edges[:-2]) / 2).astype(np.float32)  # filters have equal area
        self.curves = frequency.smooth_curves(audio.mel_bins)

    def sample_timing(self, random: np.random.Generator, count: int) -> Timing:
        """How long each of `count` utterances is to take."""
        config, frames = self.config, 1 / self.audio.hop
        rate = (1 + config.rate.strength) ** _amounts(random, count, config.rate.probability, -1)
        silence = _amounts(random, count, config.silence.probability) * config.silence.strength
        share = random.random(count)
        pause = _amounts(random, count, config.pause.probability) * config.pause.strength
        before, after, pause = (
            np.rint(seconds * frames).astype(np.int64)
            for seconds in (silence * share, silence * (1 - share), pause)
        )
        return Timing(rate, before, after, pause)

    def __call__(
        self,
        log_mel: np.ndarray,
        timing: Timing,
        random: np.random.Generator,
        other: Callable[[np.random.Generator], np.ndarray],
    ) -> Tensor:
        """What the speech encoder reads of one utterance.

        Args:
            log_mel: (T, M) float32, not normalised.
            timing: of this utterance.
            random: all further choices.
            other: the log-mel of another utterance, sampled by the given generator, for babble.

        Returns:
            (T', M) float32, normalised if the audio settings say so.
        """
        config, floor = self.config, np.float32(self.audio.log_floor)
        if _happens(random, config.vocal_tract):
            factor = (1 + config.vocal_tract.strength) ** random.uniform(-1, 1)
            log_mel = log_mel @ frequency.vocal_tract_warp(factor, self.centres, self.highest)
        frames = max(round(len(log_mel) / timing.rate), min(self.least_frames, len(log_mel)))
        power = (np.exp(stretch(log_mel, frames)) - floor).clip(min=0)
        speech = self._power(power)
        power = self._in_room(power, timing, random)
        noise = self._noise(len(power), speech, random, other)
        if noise is not None:
            power = power + noise
        response = self._response(random)
        if response is not None:
            power = power * response
            noise = None if noise is None else noise * response
        if not timing.before + timing.after:
            power = self._without_silence(power, noise, min(self.least_frames, frames))
        augmented = torch.from_numpy(np.log(power + floor))
        if self.audio.cmvn:
            augmented = normalise(augmented)
        for axis, part in enumerate((config.time_masks, config.frequency_masks)):
            if _happens(random, part):
                unit = self.audio.hop if axis == 0 else 1
                widths = [round(random.uniform(0, part.strength) / unit) for _ in range(MASKS)]
                mask_bands(augmented, widths, list(random.random(MASKS)), axis)
        return augmented

    def _in_room(self, power: np.ndarray, timing: Timing, random: np.random.Generator) -> np.ndarray:
        """Mel power with its silences, and in a room."""
        room, in_room = self.config.room, _happens(random, self.config.room)
        seconds = random.uniform(LEAST_REVERBERATION, max(room.strength, LEAST_REVERBERATION))
        if in_room or timing.before + timing.after + timing.pause:
            tail = round(seconds / self.audio.hop) if in_room else 0
            power = with_silence(power, power @ self.loudness, timing, random.random(), tail)
        if in_room:
            direct = 10 ** (random.uniform(*DIRECT) / 10)
            power = reverberate(power, decay_seconds(seconds, self.centres), direct, self.audio.hop)
        return power

    def _noise(
        self,
        frames: int,
        speech: float,
        random: np.random.Generator,
        other: Callable[[np.random.Generator], np.ndarray],
    ) -> np.ndarray | None:
        """Mel power of noise and babble beside speech of this power: (frames, M); None for neither."""
        total = None
        for part, sample in ((self.config.noise, self._coloured), (self.config.babble, self._babble)):
            if _happens(random, part):
                ratio = part.least_ratio + random.uniform(0, NOISE_RANGE)
                sound = sample(frames, random, other)
                sound = sound * np.float32(speech * 10 ** (-ratio / 10) / self._power(sound))
                total = sound if total is None else total + sound
        return total

    def _coloured(self, frames: int, random: np.random.Generator, _: object) -> np.ndarray:
        white = white_noise(self.audio)
        curve = frequency.colour(random.uniform(*SLOPES), self.centres)
        curve = curve * frequency.smooth_response(NOISE_RESPONSE, random, self.curves)
        return stretch_of(white, int(random.integers(len(white))), frames) * curve

    def _babble(
        self,
        frames: int,
        random: np.random.Generator,
        other: Callable[[np.random.Generator], np.ndarray],
    ) -> np.ndarray:
        total = np.zeros((frames, len(self.loudness)), np.float32)
        for _ in range(BABBLERS):
            voice = np.exp(other(random))
            total += stretch_of(voice / self._power(voice), int(random.integers(len(voice))), frames)
        return total

    def _response(self, random: np.random.Generator) -> np.ndarray | None:
        """Of the microphone and what follows it, factors of power: (M,); None for none."""
        config, response = self.config, None
        for part in (config.microphone, config.band, config.gain):
            if not _happens(random, part):
                continue
            if part is config.microphone:
                curve = frequency.smooth_response(part.strength, random, self.curves)
            elif part is config.band:
                low, high = (np.exp(random.uniform(*np.log(edges))) for edges in BAND_EDGES)
                curve = frequency.band(low, high, part.strength, self.centres)
            else:
                curve = np.float32(10 ** (random.uniform(-part.strength, part.strength) / 10))
            response = curve if response is None else response * curve
        return response

    def _without_silence(self, power: np.ndarray, noise: np.ndarray | None, least: int) -> np.ndarray:
        """Mel power without what is cut from a recording before and after speech, if `least` frames remain.

        The first half second of the noise stands for the background that a recording begins with.
        """
        if len(power) <= SHORT:
            return power
        background = 0.0 if noise is None else (noise[: round(QUIET / FRAME)] @ self.loudness).max()
        heard = power[spoken_frames(power @ self.loudness, float(background)) or slice(None)]
        return heard if len(heard) >= least else power

    def _power(self, power: np.ndarray) -> float:
        """Mean power of the waveform that has this mel power (T, M)."""
        return max(float((power @ self.loudness).mean()), 1e-30)


def _happens(random: np.random.Generator, part: AugmentPart | NoisePart) -> bool:
    """Whether a part is applied; it takes a number from the generator in any case."""
    return random.random() < part.probability


def _amounts(random: np.random.Generator, count: int, probability: float, least: float = 0.0) -> np.ndarray:
    """Uniform between `least` and 1 with this probability, else 0: (count,)."""
    happens = random.random(count) < probability
    return random.uniform(least, 1, count) * happens
