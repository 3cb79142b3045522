"""Robustness: the same spoken captions in noise, in rooms, faster, slower, and by other voices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.analysis import caption_scores
from s2i.analysis.caption_scores import CaptionScores, score_encodings
from s2i.analysis.word_swaps import PITCH, RATE, voice_of
from s2i.config import AudioConfig
from s2i.data.audio import load_waveform
from s2i.data.file_kinds import find_recordings
from s2i.data.manifest import iterate_manifest, read_manifest
from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.errors import InputError
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.inference.model import load
from s2i.metrics.statistics import paired_difference, weighted_mean
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress, say
from s2i.runs.checkpoint import random_state_kept

RATIOS = (20, 15, 10, 5, 0)  # dB of speech over noise
SPEEDS = (0.7, 0.85, 1.2, 1.5)  # of the recording, at its pitch
RATES = (110, 260)  # words a minute, resynthesised
ACCENTS = ("en-029", "de", "fr-fr", "es", "cmn")  # voices; the last four are of other languages
BATCH = 32

PROCEDURE = (
    "The first `evaluation.captions` captions of each image are spoken in each condition, and generated from"
    f" the caption's noise. {caption_scores.PROCEDURE}. noise: a stretch of one of the given recordings, at"
    " the given ratio of the mean powers, both a function of the caption; room: convolved with one of the"
    " given impulse responses, at its former power; speed: the recording's own time stretched at its pitch"
    " (phase vocoder); words a minute, voice: the caption's text resynthesised by espeak-ng, compared with"
    " `resynthesised`. Other differences are caption by caption from the clean recordings, over the same"
    " captions. recorded: by people, where they were. Intervals: t over classes."
)
Transform = Callable[[Tensor, int], Tensor]  # a caption's recording (N,) and its index in the pack -> (M,)


@dataclass(frozen=True)
class Condition:
    """What is done to captions; `reference` names the condition that it is compared with, `captions` those
    (indices in the pack) that it is for: without, all."""

    group: str
    name: str
    transform: Transform
    reference: str = "clean"
    captions: frozenset[int] | None = None
    replaces: bool = False  # the caption's recording is not read


@dataclass(frozen=True)
class ConditionScores:
    """A condition's scores, over all generated captions: 0 for one that is not in `chosen` (N,)."""

    chosen: np.ndarray
    scores: CaptionScores


def measure_robustness(
    run: str | Path,
    noise: str | Path | None = None,
    rooms: str | Path | None = None,
    recordings: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a run from speech in every condition.

    Args:
        noise, rooms: folders of recordings and of impulse responses; without one its conditions are left
            out.
        recordings: a manifest of the split's images, by id, whose captions, in the same order, have
            people's recordings as their audio where somebody spoke them; `data_prep.synthesize_speech
            --voice recordings --allow-missing` makes one.

    Returns:
        The content of results.json: {"procedure", "split", "captions", "rows", "identity", "sources"}.

    Raises:
        InputError: a run without speech, an empty folder, a broken or missing recording, no recorded caption.
    """
    with random_state_kept():
        bank = FeatureBank(load(run).path("speech"))
        audio = bank.path.config.audio
        root = Path(bank.path.config.data.root)
        with arranged_voices() as voices:
            conditions = _conditions(bank, Espeak(voices), _sounds(noise, audio), _sounds(rooms, audio))
            if recordings:
                conditions.append(_recorded(bank, Path(recordings), root))
            scores = {condition.name: _measure(bank, condition) for condition in conditions}
        sources = {"noise": noise, "rooms": rooms, "recordings": recordings}
        return _results(bank, conditions, scores) | {
            "identity": bank.identity(),
            "sources": {name: Path(path).name for name, path in sources.items() if path},
        }


def add_noise(waveform: Tensor, noise: Tensor, ratio: float, start: int) -> Tensor:
    """Noise from its sample `start` on, around and around, `ratio` dB under the speech's mean power."""
    stretch = noise[(start + torch.arange(len(waveform))) % len(noise)]
    power, own = waveform.square().mean(), stretch.square().mean().clamp(min=1e-12)
    return waveform + stretch * (power / own / 10 ** (ratio / 10)).sqrt()


def add_room(waveform: Tensor, response: Tensor) -> Tensor:
    """The recording in a room, at its former power and as long, from the response's loudest sample on."""
    from torchaudio.functional import fftconvolve

    start = int(response.abs().argmax())
    wet = fftconvolve(waveform, response)[start : start + len(waveform)]
    return wet * (waveform.square().mean() / wet.square().mean().clamp(min=1e-12)).sqrt()


def _conditions(
    bank: FeatureBank, espeak: Espeak, noises: list[Tensor], rooms: list[Tensor]
) -> list[Condition]:
    from librosa.effects import time_stretch

    audio, pack = bank.path.config.audio, bank.pack

    def pick(index: int, count: int, turn: int) -> int:
        name = caption_key(pack, index).encode()
        return int(np.random.default_rng([*name, turn]).integers(count))

    def speak(index: int, voice: str, rate: int) -> Tensor:
        return load_waveform(espeak.speak(pack.caption(index).text, voice, rate, PITCH), audio)

    conditions = [Condition("", "clean", lambda wave, _: wave)]
    for ratio in RATIOS if noises else ():
        conditions.append(
            Condition(
                "noise",
                f"noise at {ratio} dB",
                lambda wave, index, ratio=ratio: add_noise(
                    wave, noises[pick(index, len(noises), 0)], ratio, pick(index, 10**9, 1)
                ),
            )
        )
    if rooms:
        conditions.append(
            Condition("room", "room", lambda wave, index: add_room(wave, rooms[pick(index, len(rooms), 2)]))
        )
    for speed in SPEEDS:
        conditions.append(
            Condition(
                "speed",
                f"speed {speed:g}",
                lambda wave, _, speed=speed: torch.from_numpy(time_stretch(wave.numpy(), rate=speed)),
            )
        )
    if all((pack.caption(int(index)).text or "").strip() for index in bank.captions.generated):

        def usual(index: int) -> str:
            return voice_of(espeak, pack.caption(index).speaker)

        conditions.append(
            Condition("spoken", "resynthesised", lambda _, i: speak(i, usual(i), RATE), replaces=True)
        )
        for rate in RATES:
            spoken = lambda _, i, rate=rate: speak(i, usual(i), rate)  # noqa: E731
            conditions.append(
                Condition("spoken", f"{rate} words a minute", spoken, "resynthesised", replaces=True)
            )
        for voice in ACCENTS:
            spoken = lambda _, i, voice=voice: speak(i, voice, RATE)  # noqa: E731
            conditions.append(Condition("voice", f"voice {voice}", spoken, "resynthesised", replaces=True))
    return conditions


def _recorded(bank: FeatureBank, manifest: Path, root: Path) -> Condition:
    """The captions that somebody has spoken, out of a manifest."""
    pack, files = bank.pack, {}
    spoken = {image.id: image.captions for image in read_manifest(manifest)}
    for index in bank.captions.generated.tolist():
        image = int(pack.caption_image[index])
        number = index - int(pack.first_caption[image])
        captions = spoken.get(pack.records[image].id, ())
        if number < len(captions) and captions[number].audio not in (None, pack.caption(index).audio):
            files[index] = root / captions[number].audio
    if not files:
        raise InputError(
            f"expected recordings of captions generated from {bank.settings.split}, found none in"
            f" {manifest}: give a manifest with the ids and captions of the data"
        )
    audio = bank.path.config.audio
    return Condition(
        "recorded",
        "recorded",
        lambda _, index: load_waveform(files[index], audio),
        captions=frozenset(files),
        replaces=True,
    )


def _measure(bank: FeatureBank, condition: Condition) -> ConditionScores:
    everything, path = bank.captions.generated, bank.path
    root, nothing = Path(path.config.data.root), torch.zeros(0)

    def waveform(index: int) -> Tensor:  # a batch's recordings in memory, never all
        file = root / str(bank.pack.caption(index).audio)
        recording = nothing if condition.replaces else load_waveform(file, path.config.audio)
        return condition.transform(recording, index).float()

    chosen = np.array([condition.captions is None or index in condition.captions for index in everything])
    captions = everything[chosen]

    def encodings() -> Iterator[tuple[np.ndarray, CaptionEncoding]]:
        starts = range(0, len(captions), BATCH)
        for start in progress(starts, len(starts), condition.name):
            places = np.arange(start, min(start + BATCH, len(captions)))
            yield places, path.encode_speech([waveform(int(captions[place])) for place in places])

    scores = score_encodings(bank, captions, encodings())
    mentions = None if scores.mentions is None else _among_all(chosen, scores.mentions)
    values = {metric: _among_all(chosen, each) for metric, each in scores.values.items()}
    return ConditionScores(chosen, CaptionScores(values, mentions))


def _among_all(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of the chosen captions at their places among all; 0 elsewhere."""
    everywhere = np.zeros(len(chosen), values.dtype)
    everywhere[chosen] = values
    return everywhere


def _results(
    bank: FeatureBank, conditions: Sequence[Condition], scores: dict[str, ConditionScores]
) -> dict[str, Any]:
    clusters, rows = bank.captions.labels(bank.captions.generated), []
    for condition in conditions:
        own, reference = scores[condition.name], scores[condition.reference]
        row = _row(condition.group, condition.name, own, reference, clusters, own.chosen)
        rows.append(row | {"reference": condition.reference})
    clean = scores["clean"]
    for group, name, chosen in _subsets(bank):
        rows.append(_row(group, name, clean, clean, clusters, chosen) | {"reference": ""})
    return {
        "procedure": PROCEDURE,
        "split": bank.settings.split,
        "captions": len(clusters),
        "rows": rows,
    }


def _row(
    group: str,
    name: str,
    own: ConditionScores,
    reference: ConditionScores,
    clusters: np.ndarray,
    chosen: np.ndarray,
) -> dict[str, Any]:
    row: dict[str, Any] = {"group": group, "name": name, "captions": int(chosen.sum())}
    for metric, values in own.scores.values.items():
        weights = own.scores.weights(metric)
        weights = None if weights is None else weights[chosen]
        if weights is not None and not weights.any():
            continue
        mean = weighted_mean(values[chosen], clusters[chosen], weights)
        row[metric] = {"value": mean.value, "interval95": list(mean.interval95 or ())}
        if own is not reference:
            before = reference.scores.values[metric][chosen]
            change = paired_difference(values[chosen], before, clusters[chosen], weights)
            row[metric]["difference"] = {"value": change.value, "interval95": list(change.interval95 or ())}
    return row


def _subsets(bank: FeatureBank) -> Iterator[tuple[str, str, np.ndarray]]:
    """Captions, as they are, by whether their speaker, and their language, is in the training split."""
    index = Path(bank.path.config.data.pack) / "train" / "index.jsonl"
    if not index.is_file():
        return
    trained = [caption for image in iterate_manifest(index) for caption in image.captions]
    captions = [bank.pack.caption(int(number)) for number in bank.captions.generated]
    for kind in ("speaker", "language"):
        known = {getattr(caption, kind) for caption in trained}
        seen = np.array([getattr(caption, kind) in known for caption in captions])
        if seen.any() and not seen.all():
            yield kind, f"seen {kind}s", seen
            yield kind, f"unseen {kind}s", ~seen


def _sounds(folder: str | Path | None, audio: AudioConfig) -> list[Tensor]:
    if folder is None:
        return []
    files = find_recordings(folder)
    say(f"{folder}: {len(files)} recordings")
    whole = replace(audio, kept_silence=audio.max_seconds)  # a room's echo dies away below any speech
    return [load_waveform(path, whole) for path in files]
