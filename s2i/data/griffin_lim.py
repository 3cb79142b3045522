"""From a log-mel back to sound: the spectrum that fits the mel bins best, phases by Griffin and Lim."""

from __future__ import annotations

import torch
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.audio import samples_in

ITERATIONS = 32


def to_waveform(log_mel: Tensor, config: AudioConfig, seed: int = 0) -> Tensor:
    """A waveform whose log-mel is near the given one: (T, M), not normalised -> (N,) float32 in [-1, 1], at
    `config.sample_rate`.

    Args:
        log_mel: as `s2i.data.audio.log_mel` makes it.
        seed: of the phases that it begins with.
    """
    from torchaudio.functional import griffinlim, melscale_fbanks  # here: recordings are read without them

    window, hop = samples_in(config.window, config), samples_in(config.hop, config)
    power = (log_mel.float().cpu().exp() - config.log_floor).clamp(min=0)
    filters = melscale_fbanks(
        window // 2 + 1,
        0.0,
        config.sample_rate / 2,
        config.mel_bins,
        config.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    spectrum = torch.linalg.lstsq(filters.T, power.T, driver="gelsd").solution.clamp(min=0)
    sizes = {"n_fft": window, "win_length": window, "hop_length": hop, "window": torch.hann_window(window)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        samples = griffinlim(
            spectrum, power=2.0, n_iter=ITERATIONS, momentum=0.99, length=None, rand_init=True, **sizes
        )
    return samples / samples.abs().max().clamp(min=1)
