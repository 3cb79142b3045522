"""What lies before and after a sentence is cut, and no part of the sentence is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import s2i
from s2i.config_data import AudioConfig
from s2i.data.audio import LEAST_LEVEL, hear, load_waveform
from s2i.data.silence import spoken_part
from s2i.data.tts_espeak import speak

RATE = 22050
KEPT = AudioConfig.kept_silence
MODEL = Path(__file__).parents[2] / "checkpoints" / "painted_birds"
SENTENCES = {
    "en-us": "a small red bird with a short blue beak",
    "en-gb+f2": "this bird has a long tail and green wings",
    "en-us+m5": "the bird is brown with a grey throat",
}


def noise(seconds: float, decibels: float, seed: int = 0) -> np.ndarray:
    """White noise of so many dB of full scale."""
    return np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 10 ** (decibels / 20)


def syllables(seconds: float = 1.2) -> np.ndarray:
    """Something that is loud at once, falls silent for .2 s in its middle, and stops at once."""
    time = np.arange(round(seconds * RATE)) / RATE
    voice = 0.1 * sum(np.sin(2 * np.pi * 140 * harmonic * time) / harmonic for harmonic in range(1, 20))
    voice[np.abs(time - seconds / 2) < 0.1] = 0
    return voice


def around(speech: np.ndarray, before: float = 2.0, after: float = 2.0) -> np.ndarray:
    return np.concatenate([np.zeros(round(before * RATE)), speech, np.zeros(round(after * RATE))])


def part(samples: np.ndarray, kept: float = 0.0) -> tuple[float, float]:
    """`spoken_part` in seconds."""
    start, stop = spoken_part(torch.from_numpy(samples), RATE, kept)
    return start / RATE, stop / RATE


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("volume", [1.0, 0.01])
@pytest.mark.parametrize("offset", [0.0, -0.2])
def test_digital_silence_is_cut_to_the_sample(kept, volume, offset):
    speech = volume * syllables()
    start, stop = spoken_part(torch.from_numpy(around(speech) + offset), RATE, kept)
    margin = round(kept * RATE)
    assert abs(start - (2 * RATE - margin)) <= 2 and abs(stop - (2 * RATE + len(speech) + margin)) <= 2


@pytest.mark.parametrize("decibels", [-60, -50, -40])
@pytest.mark.parametrize("hum", [0.0, 0.002])
def test_steady_noise_is_silence_too(decibels, hum):
    padded = around(syllables(), 2, 1)
    times = np.arange(len(padded)) / RATE
    padded += noise(len(padded) / RATE, decibels) + hum * np.sin(2 * np.pi * 50 * times)
    assert part(padded) == pytest.approx((2, 3.2), abs=0.015)


def test_a_soft_beginning_and_a_soft_end_are_kept():
    speech = syllables(1.6)
    soft = round(0.3 * RATE)
    speech[:soft] *= 0.01  # 40 dB
    speech[-soft:] *= 0.01
    assert part(around(speech)) == pytest.approx((2, 3.6), abs=0.001)
    rising = syllables(1.6)
    rising[:soft] *= np.linspace(0, 1, soft) ** 2
    heard = around(rising) + noise(5.6, -50)
    assert 2 <= part(heard)[0] < 2.15  # .15 s after its beginning it is still under the noise


def test_a_click_before_speech_is_cut_and_a_pause_within_is_kept():
    speech = np.concatenate([syllables(0.8), np.zeros(RATE), syllables(0.8)])
    padded = around(speech)
    padded[RATE // 2 : RATE // 2 + 400] = 0.5
    padded[-RATE // 2 : -RATE // 2 + 400] = -0.5
    assert part(padded) == pytest.approx((2, 4.6), abs=0.001)


@pytest.mark.parametrize(
    "samples",
    [
        syllables(),
        syllables() + noise(1.2, -40),
        noise(3, -20),
        np.zeros(3 * RATE),
        np.full(3 * RATE, 0.3),
        0.2 * np.sin(2 * np.pi * 300 * np.arange(3 * RATE) / RATE),
        around(syllables(0.2), 0.2, 0.2),  # shorter than any background
    ],
    ids=["tight", "tight and noisy", "noise", "zeros", "offset", "tone", "short"],
)
def test_where_nothing_surely_is_silence_nothing_is_cut(samples):
    start, stop = spoken_part(torch.from_numpy(samples), RATE, 0.0)
    assert start <= 1 and stop >= len(samples) - 1  # a sine's first sample is 0


def test_half_a_second_of_speech_among_a_minute_of_silence_is_found():
    assert part(around(syllables(0.5), 50, 9)) == pytest.approx((50, 50.5), abs=0.001)
    assert part(around(syllables(0.5), 50, 9) + noise(59.5, -45)) == pytest.approx((50, 50.5), abs=0.015)


@pytest.mark.parametrize("voice", SENTENCES)
def test_built_in_voices_lose_hardly_more_than_a_tail(voice):
    waveform, rate = speak(SENTENCES[voice], voice)
    start, stop = spoken_part(torch.from_numpy(waveform), rate, KEPT)
    assert start < 0.012 * rate and stop > len(waveform) - 0.06 * rate


def test_every_recording_is_read_so_and_the_whole_one_can_be_had():
    samples = around(syllables()).astype(np.float32)
    heard = hear((samples, RATE), AudioConfig())
    assert len(heard.spoken) / RATE == pytest.approx(1.2 + 2 * KEPT, abs=0.001)
    assert (heard.start, heard.stop) == spoken_part(torch.from_numpy(samples), RATE, KEPT)
    assert torch.equal(load_waveform((samples, RATE), AudioConfig()), heard.spoken)
    assert heard.seconds_before == pytest.approx(2 - KEPT, abs=0.001)
    assert len(heard.waveform) == len(samples) and heard.notes() == []
    whole = hear((samples, RATE), AudioConfig(kept_silence=60))
    assert len(whole.spoken) == len(samples) and whole.seconds_before == 0


def test_what_is_said_too_softly_is_made_as_loud_as_the_least_level_and_then_left_alone():
    loud = syllables().astype(np.float32)
    config = AudioConfig()
    assert torch.equal(hear((loud, RATE), config).waveform, torch.from_numpy(loud))
    soft = 0.02 * around(loud).astype(np.float32)
    heard = hear((soft, RATE), config)
    assert heard.spoken.square().mean().sqrt() == pytest.approx(LEAST_LEVEL, rel=1e-3)
    again = hear((heard.waveform.numpy(), RATE), config)
    assert torch.equal(again.waveform, heard.waveform) and torch.equal(again.spoken, heard.spoken)


@pytest.mark.parametrize("kind", ["digital", "noise around", "noise", "offset", "soft"])
def test_silence_around_a_sentence_does_not_change_the_embedding_of_a_shipped_model(kind):
    model = s2i.load(MODEL)
    for voice, sentence in SENTENCES.items():
        waveform, rate = speak(sentence, voice)
        plain, padded = waveform, around(waveform)
        if kind == "noise around":
            padded = padded + noise(len(padded) / RATE, -50)
            padded[2 * rate : 2 * rate + len(waveform)] = waveform
        elif kind == "noise":
            plain, padded = (each + noise(len(each) / RATE, -50, 1) for each in (plain, padded))
        elif kind == "offset":
            padded = padded + 0.1
        elif kind == "soft":
            padded = 0.003 * waveform
        alone, silent = (model.embed(speech=(each.astype(np.float32), rate)) for each in (plain, padded))
        assert alone @ silent > 0.95
