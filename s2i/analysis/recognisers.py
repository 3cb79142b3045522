"""Speech recognisers for the cascade: pocketsphinx, faster-whisper, or torchaudio's Wav2Vec2 pipelines.

None is downloaded unless it is asked for by "download".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from s2i.errors import InputError
from s2i.evaluation.extractors import weights_identity
from s2i.files.torchaudio_weights import find_bundle, load_network

BUNDLE = "WAV2VEC2_ASR_BASE_960H"  # trained on LibriSpeech: read English
DOWNLOAD = "download"  # in place of a file
SPHINX = "pocketsphinx"  # likewise
SPHINX_OF_CAPTIONS = "pocketsphinx-captions"  # likewise, with a language model of the training's captions
WHISPER_FILE = "model.bin"  # that a folder of faster-whisper holds
BLANK, SPACE = "-", "|"  # of the pipelines' labels; a CTC label of its own and the end of a word


class Recogniser(Protocol):
    """What the cascade needs of a recogniser."""

    name: str  # beside its numbers
    rate: int  # Hz

    def transcribe(self, waveform: Tensor) -> str:
        """The words of a recording (N,) at `rate`, in lower case; "" for none."""


@dataclass(frozen=True)
class CtcRecogniser:
    """An acoustic model and what its outputs spell. `network`: (1, N) at `rate` Hz -> (1, T, labels)."""

    network: nn.Module
    labels: Sequence[str]
    rate: int
    name: str = ""  # of the pipeline, with a short hash of its weights

    @torch.inference_mode()
    def transcribe(self, waveform: Tensor) -> str:
        """The likeliest label a frame, spelt."""
        logits, _ = self.network(waveform.unsqueeze(0))
        return spell(logits[0].argmax(1).tolist(), self.labels)


@dataclass(frozen=True)
class SphinxRecogniser:
    """pocketsphinx with the acoustic model of American English that its wheel has, and the language model
    that is there too, or one of captions."""

    decoder: Any
    name: str
    rate: int = 16000

    def transcribe(self, waveform: Tensor) -> str:
        """The best hypothesis of its two passes."""
        samples = (waveform.clamp(-1, 1) * 32767).short().numpy()
        self.decoder.start_utt()
        self.decoder.process_raw(samples.tobytes(), full_utt=True)
        self.decoder.end_utt()
        best = self.decoder.hyp()
        return as_words(best.hypstr if best else "")


@dataclass(frozen=True)
class WhisperRecogniser:
    """A Whisper model in CTranslate2's form, with a beam of five."""

    model: Any
    name: str
    rate: int = 16000

    def transcribe(self, waveform: Tensor) -> str:
        """All segments together, in English."""
        segments, _ = self.model.transcribe(waveform.numpy().astype(np.float32), language="en", beam_size=5)
        return as_words(" ".join(segment.text for segment in segments))


def load_recogniser(
    given: str | Path, captions: Callable[[], Iterable[str]] = tuple, bundle: str = BUNDLE
) -> Recogniser:
    """A recogniser by what stands for it.

    Args:
        given: "pocketsphinx"; "pocketsphinx-captions"; a folder that holds faster-whisper's `model.bin`; the
            file that torchaudio downloads for `bundle`; or "download", for torchaudio to fetch that.
        captions: makes the sentences of the language model of "pocketsphinx-captions".

    Raises:
        InputError: a package that isn't installed, captions without words that pocketsphinx can pronounce, a
            folder that faster-whisper can't read, or as `load_network`.
    """
    if str(given) in (SPHINX, SPHINX_OF_CAPTIONS):
        return _load_sphinx(captions() if str(given) == SPHINX_OF_CAPTIONS else None)
    if Path(given).is_dir():
        return _load_whisper(Path(given))
    from torchaudio.pipelines import Wav2Vec2ASRBundle

    pipeline = find_bundle(bundle, Wav2Vec2ASRBundle, "a recogniser of torchaudio")
    file = "" if str(given) == DOWNLOAD else given
    network = load_network(pipeline.get_model, f"the recogniser {bundle}", file)
    name = f"{bundle} {weights_identity(network)}"
    return CtcRecogniser(
        network.requires_grad_(False), pipeline.get_labels(), int(pipeline.sample_rate), name
    )


def _load_sphinx(captions: Iterable[str] | None = None) -> SphinxRecogniser:
    try:
        from pocketsphinx import Decoder
        from pocketsphinx.lm import ArpaBoLM
    except ImportError as error:
        raise InputError(
            "expected pocketsphinx for --recogniser pocketsphinx, found none: pip install -e '.[asr]'"
        ) from error
    settings: dict[str, Any] = {"samprate": SphinxRecogniser.rate, "loglevel": "FATAL"}
    decoder = Decoder(**settings)
    name = f"{SPHINX} {version(SPHINX)} en-us"
    if captions is None:
        return SphinxRecogniser(decoder, name)
    sentences = sorted({as_words(caption) for caption in captions})
    read = [words for words in sentences if words and all(map(decoder.lookup_word, words.split()))]
    if not read:
        raise InputError(
            "expected training captions of words in pocketsphinx's dictionary, found none in"
            f" {len(sentences)} captions: give --recogniser {SPHINX}, or another"
        )
    model = ArpaBoLM(text="\n".join(read), add_start=True)  # trigrams with back-off, by the package itself
    model.compute()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "captions.lm"
        with file.open("w", encoding="utf-8") as stream:
            model.write(stream)
        decoder = Decoder(**settings, lm=str(file))
    return SphinxRecogniser(decoder, f"{name}, trigrams of {len(read)} captions")


def _load_whisper(folder: Path) -> WhisperRecogniser:
    if not (folder / WHISPER_FILE).is_file():
        raise InputError(
            f"expected a model of faster-whisper as --recogniser, found no {WHISPER_FILE} in {folder}: give"
            " the folder of a converted Whisper model"
        )
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise InputError(
            f"expected faster-whisper for --recogniser {folder}, found none: pip install faster-whisper"
        ) from error
    try:
        model = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"expected a model of faster-whisper in {folder}, found: {reason}: convert or copy it again"
        ) from error
    return WhisperRecogniser(model, f"faster-whisper {version('faster-whisper')} {folder.name}")


def spell(labels: Sequence[int], names: Sequence[str]) -> str:
    """Labels a frame -> words: repetitions joined, then blanks left out (CTC, Graves et al. 2006)."""
    kept = [label for place, label in enumerate(labels) if place == 0 or label != labels[place - 1]]
    text = "".join(names[label] for label in kept if names[label] != BLANK)
    return as_words(text.replace(SPACE, " "))


def as_words(text: str) -> str:
    """Lower case, without signs: letters, digits and apostrophes, one space between words."""
    kept = "".join(letter if letter.isalnum() or letter == "'" else " " for letter in text.lower())
    return " ".join(kept.split())
