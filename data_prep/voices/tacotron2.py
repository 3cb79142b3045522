"""The voice of Tacotron2 (Shen et al., 2018) trained on LJ Speech, from torchaudio's pipelines.

S2IGAN's captions were spoken by this network and this speaker. Weights come by torchaudio's own download, or
from files of the same. WaveRNN and Tacotron2's dropout draw at random, here from seeds that are functions of
the texts. Clips are made in blocks of about one length; a block is a function of what the manifest asks for,
not of what is missing, so a killed run ends in the same clips (same machine, device and block size).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torchaudio

from data_prep.utterances import Utterance
from data_prep.voices.family import Family, Setting, Sound, Voices, english_voices
from s2i.errors import InputError
from s2i.files.torchaudio_weights import find_bundle, load_network

USUAL = "TACOTRON2_WAVERNN_CHAR_LJSPEECH"
RATE = 160  # words a minute, about what LJ Speech's reader speaks; only lengths are checked by it
FEWEST_FRAMES = 8  # 93 ms; shorter than any word, and than Griffin-Lim's window and its padding
LONGEST = 2000 * 256 / 22050  # s: the decoder ends after 2,000 frames
TRIES = 4  # of a clip whose length can't be right: the network sometimes babbles or never stops


class Tacotron2Family(Family):
    """Voices are pipelines; `weights` and `block` are of all of them, so there is one at a time."""

    name = "tacotron2"
    usual_voice = USUAL
    # Fixed: the network takes neither. They are in clips' names since before there were other families.
    settings = {
        "rate": Setting(RATE, (RATE, RATE), (RATE, RATE), whole=True),
        "pitch": Setting(50, (50, 50), (50, 50), whole=True),
    }
    is_seeded_by_block = True
    in_own_processes = False  # a GPU, or all cores, for one network
    tries = TRIES
    longest = LONGEST

    def __init__(self, weights: Sequence[str] = (), block: int = 16) -> None:
        if block < 1:
            raise InputError(f"expected --block of 1 or more, found {block}: change it")
        self.block = block
        self._weights = weights
        self._voices: dict[str, Tacotron2Voice] = {}

    def missing(self, voices: Sequence[str]) -> None:
        return None  # torchaudio comes with s2i

    def choose_voices(
        self, languages: Sequence[str], voices: Sequence[str] | None, test_voices: Sequence[str] | None
    ) -> tuple[Voices, Voices]:
        voices = (USUAL,) if voices is None and test_voices is None else voices or ()
        for pipeline in (*voices, *(test_voices or ())):
            self._voices[pipeline] = Tacotron2Voice(pipeline, self._weights)
        return english_voices(languages, voices, test_voices or ())

    def version(self, voice: str) -> str:
        return self._voices[voice].version

    def words_a_minute(self, utterance: Utterance) -> float:
        return RATE

    def block_order(self, utterance: Utterance) -> tuple:
        return (utterance.voice, len(utterance.text))

    def utter(self, utterances: Sequence[Utterance], attempt: int = 0) -> list[Sound]:
        sounds: list[Sound] = []
        for name, group in groupby(utterances, lambda utterance: utterance.voice):
            voice = self._voices[name]
            waveforms = voice.speak([utterance.text for utterance in group], attempt)
            sounds += [(waveform, voice.sample_rate) for waveform in waveforms]
        return sounds


class Tacotron2Voice:
    """Text to spectrogram to waveform by one of torchaudio's pipelines; English alone.

    `sample_rate`: Hz; `version`: part of its clips' names.
    """

    def __init__(self, pipeline: str, weights: Sequence[str] = ()) -> None:
        """`pipeline`: such as TACOTRON2_WAVERNN_CHAR_LJSPEECH; `weights`: files of Tacotron2 and, where the
        pipeline has one, WaveRNN; empty: downloaded."""
        self.pipeline = pipeline
        self._bundle = find_bundle(
            pipeline,
            torchaudio.pipelines.Tacotron2TTSBundle,
            "flite, festival, piper, espeak-ng, recordings, s2igan or Tacotron2",
        )
        self._is_wavernn = "WAVERNN" in pipeline
        if weights and len(weights) != 1 + self._is_wavernn:
            raise InputError(
                f"expected {1 + self._is_wavernn} files of weights for {pipeline}, found {len(weights)}:"
                " give --weights TACOTRON2 [WAVERNN]"
            )
        self._files = dict(zip(("tacotron2", "vocoder"), weights, strict=False))
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def version(self) -> str:
        """The pipeline, and of local weights what they are."""
        try:
            digests = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in self._files.values()]
        except OSError as error:
            raise InputError(
                f"expected weights at {error.filename}, found: {error.strerror}: change --weights"
            ) from error
        return " ".join([self.pipeline, *digests])

    def speak(self, texts: Sequence[str], attempt: int = 0) -> list[np.ndarray]:
        """Speak sentences together: a waveform, float32 (N,) in [-1, 1], of each; empty where a text has
        nothing to pronounce. A function of the texts and of `attempt`."""
        seed = hashlib.blake2b(repr((*texts, attempt)).encode(), digest_size=7)
        devices = [self._device] if self._device == "cuda" else []
        with torch.random.fork_rng(devices), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of sentences that did not stop: their length tells
            torch.manual_seed(int.from_bytes(seed.digest(), "big"))
            tokens, lengths = self._processor(list(texts))
            order = lengths.argsort(descending=True, stable=True).tolist()  # as Tacotron2 demands
            spoken = [place for place in order if lengths[place]]
            waveforms = [np.zeros(0, np.float32) for _ in texts]
            if spoken:
                tokens = tokens[spoken].to(self._device, torch.int64)  # float where one text has no letter
                mels, frames, _ = self._tacotron2.infer(tokens, lengths[spoken].to(self._device))
                for place, waveform in zip(spoken, self._vocode(mels, frames), strict=True):
                    waveforms[place] = waveform.clamp(-1, 1).cpu().numpy()
        return waveforms

    @property
    def sample_rate(self) -> int:
        return self._vocoder.sample_rate

    def _vocode(self, mels: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
        """(B, mels, T) and lengths (B,) -> a waveform of each."""
        if self._is_wavernn:
            waveforms, lengths = self._vocoder(mels, frames)
            return [waveform[:length] for waveform, length in zip(waveforms, lengths.tolist(), strict=True)]
        # Griffin-Lim keeps no lengths: padding would be heard, and would change the phases beside it.
        rows = zip(mels, frames.tolist(), strict=True)
        return [
            self._vocoder(mel[None, :, :length])[0][0] if length >= FEWEST_FRAMES else mel.new_zeros(0)
            for mel, length in rows
        ]

    @cached_property
    def _processor(self):
        try:
            with torch.random.fork_rng([]):
                return self._bundle.get_text_processor()
        except RuntimeError as error:  # DeepPhonemizer is not there
            raise InputError(
                f"expected the package deep-phonemizer for {self.pipeline}, found: {error}: pip install"
                " deep-phonemizer, or choose a pipeline of characters (CHAR)"
            ) from error
        except OSError as error:
            raise InputError(
                f"expected to download the phonemizer of {self.pipeline}, found: {error}: choose a pipeline"
                " of characters (CHAR)"
            ) from error

    @cached_property
    def _tacotron2(self) -> torch.nn.Module:
        file = self._files.get("tacotron2", "")
        return load_network(self._bundle.get_tacotron2, f"Tacotron2 in {self.pipeline}", file).to(
            self._device
        )

    @cached_property
    def _vocoder(self) -> torch.nn.Module:
        file = self._files.get("vocoder", "")
        return load_network(self._bundle.get_vocoder, f"the vocoder of {self.pipeline}", file).to(
            self._device
        )
