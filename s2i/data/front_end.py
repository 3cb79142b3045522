"""A frozen network in place of the log-mel: HuBERT, WavLM or Wav2Vec 2.0 of torchaudio, or a `module:Class`.

What it gives, of torchaudio's networks one transformer layer, is what the pack keeps and the speech encoder
reads. The network runs once a recording, so training is as cheap as from log-mels of that width, and once
more for each recording that is generated from.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor, nn

from s2i.config_data import AudioConfig
from s2i.errors import InputError
from s2i.files.atomic import sha256_of
from s2i.files.torchaudio_weights import find_bundle, load_network
from s2i.plugins import find_outside
from s2i.progress import say

_LOCK = Lock()  # the app generates in threads: one of them loads


class FrontEnd(Protocol):
    """What the class of another front end, `audio.front_end=module:Class`, has to offer.

    Its constructor is called with the audio settings, once a process. It finds and checks its weights, and
    raises ValueError for settings that it does not take (of `layer`, `weights`, `sha256`). The facts below
    are the class's own, since a configuration is read without weights; they become the settings of these
    names.

    Attributes:
        sample_rate: Hz, of the recordings that it is given.
        mel_bins: M, numbers a frame.
        window: s, the least that it takes.
        hop: s, from one frame to the next.
    """

    sample_rate: int
    mel_bins: int
    window: float
    hop: float

    def __call__(self, waveform: Tensor) -> Tensor:
        """Features (T, M), the first at the beginning, of one recording (N,) in [-1, 1], without gradient."""


def extract(waveform: Tensor, config: AudioConfig) -> Tensor:
    """Features of one recording at the front end's rate: (N,) -> float32 (T, M) on the CPU.

    Alone, never in a batch: a recording must not depend on its neighbours' length. Raises InputError as
    `load_network`, for weights of another hash, for less than a window of samples, and for a class that takes
    other settings or gives other features than it says.
    """
    least = round(config.window * config.sample_rate)
    if len(waveform) < least:
        raise InputError(
            f"expected at least one window of speech ({least} samples), found {len(waveform)}:"
            " record or make it again"
        )
    if ":" in config.front_end:
        return _extract_outside(waveform, config)
    with _LOCK:
        network = _load(config.front_end, config.weights, config.sha256)
    device = next(network.parameters()).device
    with torch.no_grad():
        layers, _ = network.extract_features(waveform.to(device)[None], num_layers=config.layer or None)
    return layers[-1][0].float().cpu()


def _extract_outside(waveform: Tensor, config: AudioConfig) -> Tensor:
    with _LOCK:
        front_end = _construct(config)
    with torch.no_grad():
        features = front_end(waveform).float().cpu()
    if features.ndim != 2 or not len(features) or features.shape[1] != config.mel_bins:
        raise InputError(
            f"expected features (T, {config.mel_bins}) of {config.front_end}, found {tuple(features.shape)}:"
            " correct its mel_bins or what it returns"
        )
    return features


@lru_cache(maxsize=1)
def _construct(config: AudioConfig) -> FrontEnd:
    kind = find_outside(config.front_end, "audio.front_end")
    try:
        return kind(config)
    except ValueError as error:
        raise InputError(f"expected settings that {config.front_end} takes, found: {error}") from error


@lru_cache(maxsize=1)
def _load(name: str, weights: str, sha256: str) -> nn.Module:
    from torchaudio.pipelines import Wav2Vec2Bundle

    bundle = find_bundle(name, Wav2Vec2Bundle, "log_mel or a network of torchaudio as audio.front_end")
    with torch.random.fork_rng([]):  # the weights made first are random, and replaced
        network = load_network(bundle.get_model, f"audio.front_end {name}", weights)
    # The name under which torch.hub keeps what it downloads; torchaudio has no public one for it.
    file = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / Path(bundle._path).name
    digest = sha256_of(file) if sha256 else ""
    if not digest.startswith(sha256):
        raise InputError(
            f"expected weights of {name} with SHA-256 {sha256} (audio.sha256), found {digest} in {file}:"
            " get those that the model was trained with"
        )
    say(f"audio.front_end {name}: weights of {file}")
    return network.requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")
