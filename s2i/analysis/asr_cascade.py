"""The cascade: a recogniser transcribes the spoken captions, and the text path generates the transcriptions.

What the captions' own text generates is the bound that a recogniser without errors would reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2i.analysis import caption_scores
from s2i.analysis.caption_scores import CaptionScores, score_encodings, score_generated
from s2i.analysis.recognisers import Recogniser, as_words
from s2i.config_data import AudioConfig
from s2i.data.audio import load_waveform
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.metrics.statistics import paired_difference, weighted_mean
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress

BATCH = 32

PROCEDURE = (
    "The recordings of the generated captions are transcribed by the named recogniser (torchaudio's: the"
    " likeliest label a frame, repetitions joined, no language model; pocketsphinx's: its own language model"
    " of English, or trigrams of the training's written captions), and the text run generates the"
    " transcription, from the caption's noise. A transcription without a word that the text run knows is"
    " generated as its vocabulary's first word, and counted as unread; one with words that it never learnt,"
    " or longer than it reads, is counted as read in part. speech: the speech run; text: the text run with"
    " the captions' own text, which is what a recogniser without errors would reach. word_error_rate: edits"
    f" over words, all captions together. {caption_scores.PROCEDURE}. Differences: cascade minus the other,"
    " caption by caption. Intervals: t over classes."
)


def word_error_rate(references: Sequence[Sequence[str]], transcriptions: Sequence[Sequence[str]]) -> float:
    """Edits (words inserted, left out or exchanged: Levenshtein) over words of the references."""
    from torchaudio.functional import edit_distance

    edits = sum(map(edit_distance, references, transcriptions))
    return edits / max(1, sum(map(len, references)))


def measure_cascade(speech: FeatureBank, text: FeatureBank, recogniser: Recogniser) -> dict[str, Any]:
    """Numbers of the cascade beside those of speech and of the captions' own text, for results.json."""
    captions, path = speech.captions.generated, text.path
    references = [speech.pack.caption(int(index)).text or "" for index in captions]
    transcriptions = _transcribe(speech, captions, recogniser)
    readable = [_readable(path.vocabulary, sentence) for sentence in transcriptions]
    scores = {
        "speech": score_generated(speech),
        "cascade": score_transcriptions(text, captions, transcriptions),
        "text": score_generated(text),
    }
    words = path.config.text_encoder.max_words
    return {
        "recogniser": recogniser.name,
        "metrics": _compare_scores(scores, speech.captions.labels(captions)),
        "word_error_rate": word_error_rate(
            [as_words(sentence).split() for sentence in references],
            [sentence.split() for sentence in transcriptions],
        ),
        "counts": {
            "captions": len(captions),
            "unread": readable.count(False),
            "read_in_part": sum(
                bool(str(path.vocabulary.unread(sentence, words)))
                for sentence, known in zip(transcriptions, readable, strict=True)
                if known
            ),
        },
        "examples": [
            {"reference": references[n], "transcription": transcriptions[n]}
            for n in range(min(6, len(references)))
        ],
    }


def training_captions(bank: FeatureBank) -> list[str]:
    """The written captions of the train split beside the measured one. Raises InputError as `Pack` does."""
    return list(Pack(bank.pack.folder.with_name("train")).texts())


def score_transcriptions(
    text: FeatureBank, captions: np.ndarray, transcriptions: Sequence[str]
) -> CaptionScores:
    """Scores of what a text run generates from transcriptions of captions (N,), one each; one without a known
    word is generated as the vocabulary's first word."""
    return score_encodings(text, captions, _encode(text, readable_sentences(text, transcriptions)))


def readable_sentences(text: FeatureBank, transcriptions: Sequence[str]) -> list[str]:
    """The transcriptions; the vocabulary's first word in place of one without a word that the text run
    knows."""
    vocabulary = text.path.vocabulary
    substitute = next(word for word in vocabulary.to_list() if not word.startswith("<"))
    return [words if _readable(vocabulary, words) else substitute for words in transcriptions]


def _compare_scores(scores: dict[str, CaptionScores], clusters: np.ndarray) -> dict[str, Any]:
    """{metric: {system: its mean and, for the others, the cascade's difference from it}}."""
    cascade, metrics = scores["cascade"], {}
    for metric in cascade.values:
        weights, columns = cascade.weights(metric), {}
        for name, each in scores.items():
            mean = weighted_mean(each.values[metric], clusters, weights)
            columns[name] = {"value": mean.value, "interval95": list(mean.interval95 or ())}
            if name != "cascade":
                change = paired_difference(cascade.values[metric], each.values[metric], clusters, weights)
                columns[name]["cascade_minus"] = {
                    "value": change.value,
                    "interval95": list(change.interval95 or ()),
                }
        metrics[metric] = columns
    return metrics


def _transcribe(bank: FeatureBank, captions: np.ndarray, recogniser: Recogniser) -> list[str]:
    config = bank.path.config
    audio, root = AudioConfig(sample_rate=recogniser.rate), Path(config.data.root)
    return [
        recogniser.transcribe(load_waveform(root / str(bank.pack.caption(int(index)).audio), audio))
        for index in progress(captions, len(captions), "recognising captions")
    ]


def _encode(bank: FeatureBank, sentences: list[str]) -> Iterator[tuple[np.ndarray, CaptionEncoding]]:
    """Sentences batch by batch: their places and encodings."""
    starts = range(0, len(sentences), BATCH)
    for start in progress(starts, len(starts), "cascade: generation"):
        batch = sentences[start : start + BATCH]
        yield np.arange(start, start + len(batch)), bank.path.encode_text(batch)


def _readable(vocabulary: Any, sentence: str) -> bool:
    try:
        vocabulary.encode(sentence, len(sentence) + 1)
    except InputError:
        return False
    return True
