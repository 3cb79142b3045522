"""Rates of recordings: torchaudio's numbers for usual ones, its filter in little memory for all others."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import torch
from torchaudio.functional import resample as published

from s2i.data import resampling
from s2i.data.resampling import resample

USUAL = [8000, 11025, 16000, 24000, 32000, 44100, 48000, 96000, 192_000, 768_000]


@pytest.mark.parametrize("rate", USUAL)
def test_usual_rates_have_torchaudios_numbers(rate):
    waveform = torch.randn(rate, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resample(waveform, rate, 22050), published(waveform, rate, 22050))


@pytest.mark.parametrize("rate", USUAL)
def test_parts_of_seconds_have_them_but_for_rounding(rate):
    for count in (1, rate // 20 - 1, rate // 4, rate + 1):
        waveform = torch.randn(count, generator=torch.Generator().manual_seed(0))
        # Of another length oneDNN may add up in another order.
        resampled, expected = resample(waveform, rate, 22050), published(waveform, rate, 22050)
        assert resampled.shape == expected.shape
        torch.testing.assert_close(resampled, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rate", "wanted"), [(16000, 22050), (48000, 22050), (44100, 16000), (8000, 22050)])
def test_the_filter_worked_out_anew_is_torchaudios(monkeypatch, rate, wanted):
    monkeypatch.setattr(resampling, "LARGEST_KERNEL", 0)
    waveform = torch.rand(12345, generator=torch.Generator().manual_seed(0)) - 0.5
    expected = published(waveform, rate, wanted)
    resampled = resample(waveform, rate, wanted)
    assert resampled.shape == expected.shape and (resampled - expected).abs().max() < 2e-5


@pytest.mark.parametrize("rate", [7919, 16001, 22049, 22051, 44101, 88201, 176_401, 767_999, 1_000_003])
def test_a_tone_keeps_its_pitch_and_its_place_at_any_rate(rate):
    seconds = 3
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(seconds * rate, dtype=torch.float64) / rate)
    resampled = resample(tone.float(), rate, 22050)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(seconds * 22050, dtype=torch.float64) / 22050)
    assert len(resampled) == seconds * 22050
    assert (resampled - expected)[100:-100].abs().max() < 2e-3


@pytest.mark.parametrize("rate", [29_989, 96_001, 999_983])
def test_what_the_new_rate_cannot_hold_is_gone(rate):
    high = torch.sin(2 * torch.pi * 14_500 * torch.arange(rate, dtype=torch.float64) / rate)
    assert resample(high.float(), rate, 22050)[500:-500].abs().max() < 0.02


def test_memory_does_not_grow_with_the_rates():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for rate in (22051, 999_983):
        resample(torch.from_numpy(np.random.default_rng(0).normal(size=rate).astype(np.float32)), rate, 22050)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB; it was 8.6 GB
