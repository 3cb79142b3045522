"""Scoring generated speech with a classifier that was trained apart, on recordings.

No training loss of a generator ever sees it. `s2i.training.speech_classifier` trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.config import Config
from s2i.config_data import AudioConfig
from s2i.config_files import config_from_dict
from s2i.data.audio import normalise
from s2i.data.batches import pad_mels
from s2i.data.silence import SHORT, spoken_frames
from s2i.errors import InputError
from s2i.evaluation.extractors import weights_identity
from s2i.models.build import build_caption_encoder
from s2i.models.speech_classifier import SpeechClassifier
from s2i.runs.checkpoint import LAST, read_checkpoint
from s2i.runs.fingerprints import refuse_other_data
from s2i.runs.provenance import Origins, origins_of_network

BATCH = 64
FRONT_END = ("front_end", "sample_rate", "mel_bins", "window", "hop", "log_floor")  # settings of a log-mel


@dataclass(frozen=True)
class TrainedSpeechClassifier:
    """A trained classifier of speech.

    Attributes:
        classes: ids, in the order of its logits.
        known: ids of the classes of `split` that it learnt, among which it answers.
        held_out: ids of the split's images whose recordings it never heard.
    """

    config: Config
    network: SpeechClassifier
    classes: list[int]
    known: list[int]
    split: str
    held_out: frozenset[str]
    device: torch.device

    @property
    def identity(self) -> str:
        """A short hash of its weights, for records."""
        return weights_identity(self.network)

    @property
    def origins(self) -> Origins:
        """Of its weights, and of its encoder's alone."""
        whole = origins_of_network(self.network, "the speech classifier")
        return whole | origins_of_network(self.network.encoder, "the speech classifier's encoder")

    def require_front_end(self, audio: AudioConfig) -> None:
        """Raises InputError for log-mels of other settings than those that it was trained on."""
        for name in FRONT_END:
            ours, theirs = getattr(self.config.audio, name), getattr(audio, name)
            if ours != theirs:
                raise InputError(
                    f"expected a speech classifier of audio.{name}={theirs}, found one of {ours}: train one"
                    " on a pack with the same log-mels (s2i train-speech-classifier)"
                )

    @torch.inference_mode()
    def answers(self, log_mels: Sequence[Tensor]) -> np.ndarray:
        """The most likely known class's id of each log-mel (T, M), not normalised: (N,). Silence before and
        after what is said is cut, as it is of recordings."""
        places = np.searchsorted(self.classes, self.known)
        spoken = [self._as_read(mel) for mel in log_mels]
        choices = []
        for start in range(0, len(spoken), BATCH):
            mels, lengths = pad_mels(spoken[start : start + BATCH])
            logits = self.network(mels.to(self.device), lengths.to(self.device))
            choices.append(logits[:, places].argmax(1).cpu().numpy())
        return np.array(self.known)[np.concatenate(choices)]

    def _as_read(self, log_mel: Tensor) -> Tensor:
        heard = without_silence(log_mel)
        missing = self.network.encoder.shortest() - len(heard)
        heard = heard if missing <= 0 else log_mel[: self.network.encoder.shortest()]
        return normalise(heard) if self.config.audio.cmvn else heard


def without_silence(log_mel: Tensor) -> Tensor:
    """What is said in a log-mel (T, M), not normalised: the frames from the first to the last that is heard;
    all of them where none is, or there are too few to tell."""
    power = log_mel.double().exp().sum(1).numpy()
    if len(power) <= SHORT:
        return log_mel
    heard = spoken_frames(power, 0.0)
    return log_mel if heard is None else log_mel[heard]


def load_speech_classifier(folder: str | Path, device: torch.device | str = "cpu") -> TrainedSpeechClassifier:
    """The classifier of a finished run of `s2i train-speech-classifier`.

    Raises InputError where there is none, and where its pack has become another since, so that nobody knows
    which of the recordings it has heard.
    """
    origin = Path(folder) / "checkpoints" / LAST
    saved = read_checkpoint(origin)
    if saved.get("kind") != "speech_classifier":
        raise InputError(
            f"expected a speech classifier in {folder}, found another kind of run: set"
            " evaluation.speech_classifier to a run of s2i train-speech-classifier"
        )
    config = config_from_dict(saved["config"], str(origin))
    if saved["step"] < config.speech_classifier.steps:
        raise InputError(
            f"expected a finished speech classifier in {folder}, found one after step {saved['step']} of"
            f" {config.speech_classifier.steps}: run s2i train-speech-classifier again"
        )
    refuse_other_data(
        saved.get("data"),
        config.data.pack,
        f"the speech classifier {folder}",
        "train one anew, into another folder",
    )
    with torch.random.fork_rng(devices=[]):
        network = SpeechClassifier(build_caption_encoder(config, 0), len(saved["classes"]))
    network.load_state_dict(saved["nets"]["classifier"])
    return TrainedSpeechClassifier(
        config,
        network.to(device).eval().requires_grad_(False),
        saved["classes"],
        saved["known"],
        saved["split"],
        frozenset(saved["held_out"]),
        torch.device(device),
    )
