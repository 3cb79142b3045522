"""Is it the voice: the same captions in noise, in rooms, faster, slower, and spoken by others.

results.json   every condition's numbers, with the procedure
table.md       the same for people
chart.svg      attribute accuracy (or mAP, or recall@1), minus that of the clean recordings
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.analysis.per_caption import METRICS, TOLD, Hits, measure_hits
from s2i.analysis.word_swaps import PITCH, RATE, voice_of
from s2i.config import AudioConfig
from s2i.data.audio import load_waveform
from s2i.data.file_kinds import find_recordings
from s2i.data.manifest import iterate_manifest, read_manifest
from s2i.data.tts_espeak import Espeak, arranged_voices
from s2i.errors import InputError
from s2i.evaluation.subject import Subject, caption_key
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.metrics.statistics import paired_difference, weighted_mean
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress, say
from s2i.reports.charts import Spread, spread_chart
from s2i.runs.checkpoint import random_state_kept

RATIOS = (20, 15, 10, 5, 0)  # dB of speech over noise
SPEEDS = (0.7, 0.85, 1.2, 1.5)  # of the recording, at its pitch
RATES = (110, 260)  # words a minute, spoken anew
ACCENTS = ("en-029", "de", "fr-fr", "es", "cmn")  # voices; the last four are of other languages
BATCH = 32

PROCEDURE = (
    "The first `evaluation.captions` captions of each image are heard in each condition and generated"
    " from the"
    f" caption's noise. {TOLD}. noise: a stretch of one of the given recordings, at the given ratio of the"
    " mean powers, both a function of the caption; room: convolved with one of the given impulse responses,"
    " at its former power; speed: the recording's own time stretched at its pitch (phase vocoder); words a"
    " minute, voice: the caption's text spoken anew by espeak-ng, held against `spoken anew`. Other"
    " differences are caption by caption from the clean recordings, over the same captions. recorded: by"
    " people, where they were. Intervals: t over classes."
)
Hear = Callable[[Tensor, int], Tensor]  # a caption's recording and its index in the pack -> what is heard


@dataclass(frozen=True)
class Condition:
    """What is done to captions; `reference` names the condition that it is held against, `captions` those
    (indices in the pack) that it is for: without, all."""

    group: str
    name: str
    hear: Hear
    reference: str = "clean"
    captions: frozenset[int] | None = None
    anew: bool = False  # not made from the caption's recording


@dataclass(frozen=True)
class Heard:
    """A condition's hits, over all generated captions: 0 for one that is not in `chosen` (N,)."""

    chosen: np.ndarray
    hits: Hits


def measure_robustness(
    run: str | Path,
    output: str | Path | None = None,
    noise: str | Path | None = None,
    rooms: str | Path | None = None,
    recordings: str | Path | None = None,
) -> Path:
    """Measure a run from speech in every condition; returns the table, in `output` (RUN/robustness).

    Args:
        noise, rooms: folders of recordings and of impulse responses; without one its conditions are left
            out.
        recordings: a manifest of the split's images, by id, whose captions, in the same order, have
            people's recordings as their audio where somebody spoke them; `data_prep.synthesize_speech
            --voice recordings --allow-missing` makes one.

    Raises:
        InputError: a run without speech, an output folder that holds anything else, an empty folder, a broken
            or missing recording, no recorded caption.
    """
    written = OutputFolder(output or Path(run) / "robustness", "s2i robustness")
    with random_state_kept():
        subject = Subject(load(run).path("speech"))
        audio = subject.path.config.audio
        root = Path(subject.path.config.data.root)
        with arranged_voices() as voices:
            conditions = _conditions(subject, Espeak(voices), _sounds(noise, audio), _sounds(rooms, audio))
            if recordings:
                conditions.append(_recorded(subject, Path(recordings), root))
            heard = {each.name: _listen(subject, each) for each in conditions}
        given = {"noise": noise, "rooms": rooms, "recordings": recordings}
        results = _results(subject, conditions, heard) | {
            "measured": subject.identity(),
            "sources": {name: Path(path).name for name, path in given.items() if path},
        }
    metric = measured_metrics(results)[-1]
    files = {
        "results.json": json.dumps(results, indent=2, ensure_ascii=False) + "\n",
        "chart.svg": _chart(results, metric),
        "table.md": _table(results),
    }
    with written.held():
        for name, text in files.items():
            table = written.write(name, text)
    return table


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
    subject: Subject, espeak: Espeak, noises: list[Tensor], rooms: list[Tensor]
) -> list[Condition]:
    from librosa.effects import time_stretch

    audio, pack = subject.path.config.audio, subject.pack

    def pick(index: int, count: int, turn: int) -> int:
        name = caption_key(pack, index).encode()
        return int(np.random.default_rng([*name, turn]).integers(count))

    def speak(index: int, voice: str, rate: int) -> Tensor:
        return load_waveform(espeak.speak(pack.caption(index).text, voice, rate, PITCH), audio)

    made = [Condition("", "clean", lambda wave, _: wave)]
    for ratio in RATIOS if noises else ():
        made.append(
            Condition(
                "noise",
                f"noise at {ratio} dB",
                lambda wave, index, ratio=ratio: add_noise(
                    wave, noises[pick(index, len(noises), 0)], ratio, pick(index, 10**9, 1)
                ),
            )
        )
    if rooms:
        made.append(
            Condition("room", "room", lambda wave, index: add_room(wave, rooms[pick(index, len(rooms), 2)]))
        )
    for speed in SPEEDS:
        made.append(
            Condition(
                "speed",
                f"speed {speed:g}",
                lambda wave, _, speed=speed: torch.from_numpy(time_stretch(wave.numpy(), rate=speed)),
            )
        )
    if all((pack.caption(int(index)).text or "").strip() for index in subject.generated_captions):

        def usual(index: int) -> str:
            return voice_of(espeak, pack.caption(index).speaker)

        made.append(Condition("spoken", "spoken anew", lambda _, i: speak(i, usual(i), RATE), anew=True))
        for rate in RATES:
            hear = lambda _, i, rate=rate: speak(i, usual(i), rate)  # noqa: E731
            made.append(Condition("spoken", f"{rate} words a minute", hear, "spoken anew", anew=True))
        for voice in ACCENTS:
            hear = lambda _, i, voice=voice: speak(i, voice, RATE)  # noqa: E731
            made.append(Condition("voice", f"voice {voice}", hear, "spoken anew", anew=True))
    return made


def _recorded(subject: Subject, manifest: Path, root: Path) -> Condition:
    """The captions that somebody has spoken, out of a manifest."""
    pack, found = subject.pack, {}
    spoken = {image.id: image.captions for image in read_manifest(manifest)}
    for index in subject.generated_captions.tolist():
        image = int(pack.caption_image[index])
        number = index - int(pack.first_caption[image])
        captions = spoken.get(pack.records[image].id, ())
        if number < len(captions) and captions[number].audio not in (None, pack.caption(index).audio):
            found[index] = root / captions[number].audio
    if not found:
        raise InputError(
            f"expected recordings of captions generated from {subject.evaluation.split}, found none in"
            f" {manifest}: give a manifest with the ids and captions of the data"
        )
    audio = subject.path.config.audio
    return Condition(
        "recorded",
        "recorded",
        lambda _, index: load_waveform(found[index], audio),
        captions=frozenset(found),
        anew=True,
    )


def _listen(subject: Subject, condition: Condition) -> Heard:
    everything, path = subject.generated_captions, subject.path
    root, nothing = Path(path.config.data.root), torch.zeros(0)

    def hear(index: int) -> Tensor:  # a batch's recordings in memory, never all
        own = subject.pack.caption(index).audio
        wave = nothing if condition.anew else load_waveform(root / str(own), path.config.audio)
        return condition.hear(wave, index).float()

    chosen = np.array([condition.captions is None or index in condition.captions for index in everything])
    captions = everything[chosen]

    def encoded() -> Iterator[tuple[np.ndarray, CaptionEncoding]]:
        starts = range(0, len(captions), BATCH)
        for start in progress(starts, len(starts), condition.name):
            places = np.arange(start, min(start + BATCH, len(captions)))
            yield places, path.encode_speech([hear(int(captions[place])) for place in places])

    found = measure_hits(subject, captions, encoded())
    mentions = None if found.mentions is None else _spread_over(chosen, found.mentions)
    values = {metric: _spread_over(chosen, each) for metric, each in found.values.items()}
    return Heard(chosen, Hits(values, mentions))


def _spread_over(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of the chosen captions at their places among all; 0 elsewhere."""
    spread = np.zeros(len(chosen), values.dtype)
    spread[chosen] = values
    return spread


def _results(subject: Subject, conditions: Sequence[Condition], heard: dict[str, Heard]) -> dict[str, Any]:
    clusters, rows = subject.labels(subject.generated_captions), []
    for condition in conditions:
        rows.append(
            _row(
                condition.group,
                condition.name,
                heard[condition.name],
                heard[condition.reference],
                clusters,
                heard[condition.name].chosen,
            )
            | {"reference": condition.reference}
        )
    for group, name, chosen in _parts(subject):
        rows.append(_row(group, name, heard["clean"], heard["clean"], clusters, chosen) | {"reference": ""})
    return {
        "procedure": PROCEDURE,
        "split": subject.evaluation.split,
        "captions": len(clusters),
        "rows": rows,
    }


def _row(
    group: str, name: str, own: Heard, reference: Heard, clusters: np.ndarray, chosen: np.ndarray
) -> dict[str, Any]:
    row: dict[str, Any] = {"group": group, "name": name, "captions": int(chosen.sum())}
    for metric, values in own.hits.values.items():
        weights = own.hits.weights(metric)
        weights = None if weights is None else weights[chosen]
        if weights is not None and not weights.any():
            continue
        found = weighted_mean(values[chosen], clusters[chosen], weights)
        row[metric] = {"value": found.value, "interval95": list(found.interval95 or ())}
        if own is not reference:
            before = reference.hits.values[metric][chosen]
            change = paired_difference(values[chosen], before, clusters[chosen], weights)
            row[metric]["difference"] = {"value": change.value, "interval95": list(change.interval95 or ())}
    return row


def _parts(subject: Subject) -> Iterator[tuple[str, str, np.ndarray]]:
    """Captions, as they are, by whether training has heard their speaker, and their language."""
    index = Path(subject.path.config.data.pack) / "train" / "index.jsonl"
    if not index.is_file():
        return
    trained = [caption for image in iterate_manifest(index) for caption in image.captions]
    asked = [subject.pack.caption(int(number)) for number in subject.generated_captions]
    for kind in ("speaker", "language"):
        known = {getattr(caption, kind) for caption in trained}
        seen = np.array([getattr(caption, kind) in known for caption in asked])
        if seen.any() and not seen.all():
            yield kind, f"{kind} of training", seen
            yield kind, f"{kind} that training lacks", ~seen


def _sounds(folder: str | Path | None, audio: AudioConfig) -> list[Tensor]:
    if folder is None:
        return []
    files = find_recordings(folder)
    say(f"{folder}: {len(files)} recordings")
    whole = replace(audio, kept_silence=audio.max_seconds)  # a room's echo dies away below any speech
    return [load_waveform(path, whole) for path in files]


def _chart(results: dict[str, Any], metric: str) -> str:
    rows = [
        Spread(row["name"], found["value"], tuple(found["interval95"]) or None)
        for row in results["rows"]
        if (found := row.get(metric, {}).get("difference"))
    ]
    return spread_chart(f"{metric.replace('_', ' ')}: difference from the clean recordings", rows)


def _table(results: dict[str, Any]) -> str:
    metrics = measured_metrics(results)
    heads = [cell for metric in metrics for cell in (metric.replace("_", " "), "change")]
    lines = ["| condition | captions | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(heads)]
    for row in results["rows"]:
        cells = [row["name"], f"{row['captions']:,}"]
        for metric in metrics:
            found = row.get(metric)
            cells.append(shown(found) if found else "")
            cells.append(shown(found["difference"], "+") if found and "difference" in found else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", results["procedure"]]) + "\n"


def measured_metrics(results: dict[str, Any]) -> list[str]:
    """Those of METRICS that some row has."""
    return [metric for metric in METRICS if any(metric in row for row in results["rows"])]


def shown(found: dict[str, Any], sign: str = "") -> str:
    """A value with its interval."""
    ends = ", ".join(f"{end:{sign}.3f}" for end in found["interval95"])
    return f"{found['value']:{sign}.3f}" + (f" [{ends}]" if ends else "")
