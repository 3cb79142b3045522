"""The cascade: a recogniser writes down what was spoken, and the text path draws it.

The recogniser is one of torchaudio's Wav2Vec2 pipelines, its weights by torchaudio's own download or a local
file. What the captions' own text draws is the bound that a recogniser without errors would reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s2i.bundles import find_bundle, load_network
from s2i.config import AudioConfig
from s2i.data.audio import load_waveform
from s2i.data.images import to_tensor, to_uint8
from s2i.errors import InputError
from s2i.evaluation import retrieval
from s2i.evaluation.protocols import answers, judged_attributes
from s2i.evaluation.statistics import paired_difference, weighted_mean
from s2i.evaluation.subject import Subject, caption_key
from s2i.progress import progress

BUNDLE = "WAV2VEC2_ASR_BASE_960H"  # trained on LibriSpeech: read English
DOWNLOAD = "download"  # in place of a file
BATCH = 32
BLANK, SPACE = "-", "|"  # of the pipelines' labels; a CTC label of its own and the end of a word

PROCEDURE = (
    "The recordings of the drawn captions are written down by a recogniser of torchaudio (the likeliest label"
    " a frame, repetitions joined, no language model), and the text run draws what it wrote, from the"
    " caption's noise. A sentence without a word that the text run knows is drawn as its vocabulary's first"
    " word, and counted as unread. speech: the speech run; text: the text run with the captions' own text,"
    " which is what a recogniser without errors would reach. word_error_rate: edits over words, all captions"
    " together. recall@1: a real picture of the caption's class is the first of all pictures of the split, by"
    " the run's own matching model. Differences: cascade minus the other, caption by caption. Intervals:"
    " bootstrap over classes."
)


@dataclass(frozen=True)
class Recogniser:
    """An acoustic model and what its outputs spell. `network`: (1, N) at `rate` Hz -> (1, T, labels)."""

    network: nn.Module
    labels: Sequence[str]
    rate: int

    @torch.inference_mode()
    def write(self, waveform: Tensor) -> str:
        """What is said in a recording (N,) at `rate`: words in lower case, "" for none."""
        logits, _ = self.network(waveform.unsqueeze(0))
        return spell(logits[0].argmax(1).tolist(), self.labels)


def load_recogniser(weights: str | Path, bundle: str = BUNDLE) -> Recogniser:
    """A recogniser of `torchaudio.pipelines`.

    Args:
        weights: the file that torchaudio downloads, or "download". InputError as `load_network`.
    """
    from torchaudio.pipelines import Wav2Vec2ASRBundle

    found = find_bundle(bundle, Wav2Vec2ASRBundle, "a recogniser of torchaudio")
    file = "" if str(weights) == DOWNLOAD else weights
    network = load_network(found.get_model, f"the recogniser {bundle}", file)
    return Recogniser(network.requires_grad_(False), found.get_labels(), int(found.sample_rate))


def spell(labels: Sequence[int], names: Sequence[str]) -> str:
    """Labels a frame -> words: repetitions joined, then blanks left out (CTC, Graves et al. 2006)."""
    kept = [label for place, label in enumerate(labels) if place == 0 or label != labels[place - 1]]
    text = "".join(names[label] for label in kept if names[label] != BLANK)
    return " ".join(text.replace(SPACE, " ").lower().split())


def word_edits(said: Sequence[str], written: Sequence[str]) -> int:
    """Least number of words put in, left out or changed (Levenshtein)."""
    row = list(range(len(written) + 1))
    for place, word in enumerate(said, 1):
        before, row = row, [place]
        for column, other in enumerate(written, 1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (word != other)))
    return row[-1]


def measure_cascade(speech: Subject, text: Subject, recogniser: Recogniser) -> dict[str, Any]:
    """Numbers of the cascade beside those of speech and of the captions' own text, for results.json."""
    captions, path = speech.drawn_captions, text.path
    said = [speech.pack.caption(int(index)).text or "" for index in captions]
    written = _write(speech, captions, recogniser)
    readable = [_readable(path.vocabulary, sentence) for sentence in written]
    substitute = next(iter(_known_words(path.vocabulary)))
    sentences = [sentence if known else substitute for sentence, known in zip(written, readable, strict=True)]
    hits = {
        "speech": _hits(speech, captions, None),
        "cascade": _hits(text, captions, sentences),
        "text": _hits(text, captions, None),
    }
    clusters, mentions = speech.labels(captions), hits["text"].get("mentions")
    metrics: dict[str, Any] = {}
    for metric in ("recall@1", "attribute_accuracy"):
        if metric not in hits["cascade"]:
            continue
        weights = mentions if metric == "attribute_accuracy" else None
        columns = {}
        for name, found in hits.items():
            mean = weighted_mean(found[metric], clusters, weights)
            columns[name] = {"value": mean.value, "interval95": list(mean.interval95 or ())}
            if name != "cascade":
                change = paired_difference(hits["cascade"][metric], found[metric], clusters, weights)
                columns[name]["cascade_minus"] = {
                    "value": change.value,
                    "interval95": list(change.interval95 or ()),
                }
        metrics[metric] = columns
    pairs = [(_words(one), other.split()) for one, other in zip(said, written, strict=True)]
    errors = sum(word_edits(*pair) for pair in pairs)
    return {
        "metrics": metrics,
        "word_error_rate": errors / max(1, sum(len(one) for one, _ in pairs)),
        "counts": {"captions": len(captions), "unread": readable.count(False)},
        "examples": [{"said": said[n], "written": written[n]} for n in range(min(6, len(said)))],
    }


def _write(subject: Subject, captions: np.ndarray, recogniser: Recogniser) -> list[str]:
    config = subject.path.config
    audio, root = AudioConfig(sample_rate=recogniser.rate), Path(config.data.root)
    return [
        recogniser.write(load_waveform(root / str(subject.pack.caption(int(index)).audio), audio))
        for index in progress(captions, len(captions), "recognising captions")
    ]


def _hits(subject: Subject, captions: np.ndarray, sentences: list[str] | None) -> dict[str, np.ndarray]:
    """One value a caption, from its own form or from `sentences` in place of it."""
    names = judged_attributes(subject)
    vectors = torch.empty(len(captions), subject.path.config.embedding)
    said = np.zeros((len(captions), len(names)), dtype=np.int64)
    if sentences is None:
        batches = subject.batches(captions, "beside the cascade")
        parts = ((places, subject.path.encode(batch)) for batch, places in batches)
    else:
        starts = range(0, len(captions), BATCH)
        parts = (
            (
                np.arange(start, min(start + BATCH, len(captions))),
                subject.path.encode_text(sentences[start : start + BATCH]),
            )
            for start in progress(starts, len(starts), "cascade: drawing")
        )
    for places, encoding in parts:
        vectors[places] = encoding.sentence.float().cpu()
        if names:
            keys = [caption_key(subject.pack, int(captions[place])) for place in places]
            drawn = to_uint8(subject.path.draw(encoding, keys, subject.evaluation.seed).pictures[-1])
            opinion = subject.judge.look([to_tensor(torch.from_numpy(drawn))])
            said[places] = np.stack([opinion.answers(name) for name in names], 1)
    asked, shelved = (torch.from_numpy(own) for own in (subject.labels(captions), subject.pack.labels))
    first = retrieval.retrieve_by_class(vectors, subject.gallery, asked, shelved)["recall@1"]
    found = {"recall@1": first.numpy()}
    if names:
        right, told = answers(subject, captions, names)
        if told.any():
            found["mentions"] = told.sum(1)
            found["attribute_accuracy"] = ((said == right) & told).sum(1) / found["mentions"].clip(min=1)
    return found


def _known_words(vocabulary: Any) -> list[str]:
    return [word for word in vocabulary.to_list() if not word.startswith("<")]


def _words(sentence: str) -> list[str]:
    """A sentence's words as the recogniser would write them: letters and apostrophes."""
    kept = "".join(letter if letter.isalnum() or letter == "'" else " " for letter in sentence.lower())
    return kept.split()


def _readable(vocabulary: Any, sentence: str) -> bool:
    try:
        vocabulary.encode(sentence, len(sentence) + 1)
    except InputError:
        return False
    return True
