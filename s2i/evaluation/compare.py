"""Speech against text: one generator design, the same captions, the same noise; `results.json` and a page.

index.html     for people; needs nothing but the two folders beside it
results.json   the numbers, with the protocols that made them
audio/         what the page plays; pictures/: what it shows
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from s2i.config import Config
from s2i.errors import InputError
from s2i.evaluation.gallery import write_gallery
from s2i.evaluation.judges import fingerprint
from s2i.evaluation.protocols import PROTOCOLS, Score, measure, procedure
from s2i.evaluation.report import MODALITIES, Report, Scores, page
from s2i.evaluation.statistics import bootstrap_interval, paired_difference
from s2i.evaluation.subject import Subject
from s2i.files import write_atomically
from s2i.pipeline import DrawingPath, load
from s2i.training.checkpoint import random_state_kept
from s2i.training.runlog import CHANGEABLE, Run, config_changes

SECTIONS = {  # of results.json: the protocols whose values they hold, and those for chosen voices alone
    "retrieval": {
        "retrieval_by_caption": "",
        "retrieval_by_caption_seen_voices": "seen_voices",
        "retrieval_by_caption_unseen_voices": "unseen_voices",
    },
    "generation": {
        "attribute_accuracy": "",
        "attribute_accuracy_unseen_voices": "unseen_voices",
        "class_retrieval_by_drawing": "",
        "judge_distances": "",
    },
}
MUST_AGREE = ("noise", "condition")  # numbers of noise: of other widths it would be other noise
MAY_DIFFER = ("modality", "gan.encoder", "gan.other_encoder", "speech_encoder.", "text_encoder.", *CHANGEABLE)
WRITTEN = ("pictures", "audio", "results.json", "index.html")

RESAMPLES_OF_STATISTIC = 500  # each is a whole distance


def compare(speech_run: str | Path, text_run: str | Path, output: str | Path) -> None:
    """Measure both runs on the same captions and noise, and write the report into `output`.

    Both are measured by the evaluation settings of the speech run. What an earlier call wrote is replaced at
    the end; other files in `output`, such as seconds.json, stay.

    Raises:
        InputError: a run of the other modality, runs over different test data or with noise of different
            widths, or what `load`, `Subject` and the protocols refuse.
    """
    folders, output = dict(zip(MODALITIES, map(Path, (speech_run, text_run)), strict=True)), Path(output)
    if output.exists() and not output.is_dir():
        raise InputError(f"expected a folder as --output, found a file at {output}: name another")
    paths = {modality: _path(folder, modality) for modality, folder in folders.items()}
    with random_state_kept():
        subjects = _subjects(paths)
        scores = {name: measure(subject, list(PROTOCOLS)) for name, subject in subjects.items()}
        temporary = output.absolute().with_name(f".{output.absolute().name}.{os.getpid()}")
        try:
            shown, every = write_gallery(subjects, temporary)
            seconds = _seconds(output / "seconds.json")
            found = results(scores, _data(subjects, folders), seconds)
            report = Report(found, scores, shown, every, _runs(paths, folders))
            with write_atomically(temporary / "results.json") as stream:
                stream.write(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            with write_atomically(temporary / "index.html") as stream:
                stream.write(page(report))
            _move(temporary, output)
        except OSError as error:
            raise InputError(f"expected to write {output}, found: {error.strerror}: mend it") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def results(scores: Scores, data: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """The content of results.json. `real` and `chance` are the speech run's: retrieval's chance and all of
    generation's are the same for both, as captions, pictures and judge are."""
    measured = [name for name in PROTOCOLS if any(scores[modality][name] for modality in MODALITIES)]
    found: dict[str, Any] = {
        "protocols": {name: procedure(name) for name in measured},
        "data": data,
        "seconds": seconds,
    }
    for section, protocols in SECTIONS.items():
        columns: dict[str, Any] = {column: {} for column in (*MODALITIES, "real", "chance")}
        for protocol, part in protocols.items():
            for column, values in columns.items():
                of = "run" if column in MODALITIES else column
                source = scores[column if column in MODALITIES else "speech"][protocol]
                given = {score.metric: score.value for score in source if score.of == of}
                if part and given and column != "text":  # text has no voice
                    values[part] = given
                elif not part:
                    values |= given
        found[section] = {name: values for name, values in columns.items() if values}
    found["difference"] = differences(scores, data["classes"])
    return found


def differences(scores: Scores, classes: int) -> dict[str, dict[str, Any]]:
    """Speech minus text, caption by caption on all voices, bootstrap over classes.

    A metric of two sections is drawn pictures' under "generation/<metric>". FID has none: it has no interval,
    KID stands for it.
    """
    found: dict[str, dict[str, Any]] = {}
    for section, protocols in SECTIONS.items():
        for protocol in (name for name, part in protocols.items() if not part):
            of_text = {score.metric: score for score in scores["text"][protocol] if score.of == "run"}
            for score in scores["speech"][protocol]:
                if score.of != "run" or score.metric not in of_text:
                    continue
                difference = _difference(score, of_text[score.metric], classes)
                if difference:
                    name = score.metric if score.metric not in found else f"{section}/{score.metric}"
                    found[name] = difference
    return found


def _difference(speech: Score, text: Score, classes: int) -> dict[str, Any] | None:
    if speech.values is not None and text.values is not None:
        estimate = paired_difference(speech.values, text.values, speech.clusters, speech.weights)
        value, interval, n = estimate.value, estimate.interval95, estimate.n
    elif speech.statistic and text.statistic:
        both = _minus(speech.statistic, text.statistic)
        value, n = speech.value - text.value, max(speech.counts.values())
        interval = bootstrap_interval(both, classes, RESAMPLES_OF_STATISTIC)
    else:
        return None
    if interval is None:
        return None
    return {"speech_minus_text": value, "interval95": list(interval), "n": n}


def _minus(
    first: Callable[[np.ndarray], np.ndarray], second: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda multiplicities: first(multiplicities) - second(multiplicities)


def _path(folder: Path, modality: str) -> DrawingPath:
    paths = load(folder).paths
    if modality not in paths:
        place = "first" if modality == "speech" else "second"
        raise InputError(
            f"expected a run from {modality} {place}, found one from {' and '.join(paths)} in {folder}:"
            " give s2i compare SPEECH_RUN TEXT_RUN in this order"
        )
    return paths[modality]


def _subjects(paths: dict[str, DrawingPath]) -> dict[str, Subject]:
    """Both paths over the same captions."""
    settings = {modality: path.config.generator for modality, path in paths.items()}
    for name in MUST_AGREE:
        speech, text = (getattr(settings[modality], name) for modality in MODALITIES)
        if speech != text:
            raise InputError(
                f"expected runs that share their noise, found generator.{name} {speech} from speech and"
                f" {text} from text: train them with one configuration"
            )
    evaluation = paths["speech"].config.evaluation
    subjects = {modality: Subject(path, evaluation) for modality, path in paths.items()}
    packs = [subjects[modality].pack for modality in MODALITIES]
    if fingerprint(packs[0]) != fingerprint(packs[1]):
        raise InputError(
            f"expected runs over the same data, found different ones in {packs[0].folder} (speech) and"
            f" {packs[1].folder} (text): compare runs of one pack"
        )
    captions = np.intersect1d(*(subjects[modality].captions for modality in MODALITIES))
    for subject in subjects.values():
        subject.keep(captions)
    return subjects


def _data(subjects: dict[str, Subject], folders: dict[str, Path]) -> dict[str, Any]:
    speech = subjects["speech"]
    return {
        "split": speech.evaluation.split,
        "pictures": len(speech.pack.pictures),
        "captions": len(speech.captions),
        "drawn_captions": len(speech.drawn_captions),
        "classes": len(np.unique(speech.pack.labels)),
        "image_size": speech.path.config.image_size,
        "fingerprint": fingerprint(speech.pack),
        "seed": speech.evaluation.seed,
        "judge": speech.judge.identity if speech.judge else None,
        "runs": {
            modality: {"name": folder.absolute().name, "step": subjects[modality].path.step}
            for modality, folder in folders.items()
        },
        "settings_that_differ": _differing(*(subjects[modality].path.config for modality in MODALITIES)),
    }


def _differing(speech: Config, text: Config) -> dict[str, tuple[Any, Any]]:
    """Settings, beyond the encoders', that the runs don't share: {key: (of speech, of text)}."""
    differing = config_changes(speech, text)
    return {key: change for key, change in differing.items() if not key.startswith(MAY_DIFFER)}


def _runs(paths: dict[str, DrawingPath], folders: dict[str, Path]) -> dict[str, dict[str, Run]]:
    found: dict[str, dict[str, Run]] = {}
    for modality, folder in folders.items():
        encoder = Path(paths[modality].config.gan.encoder)
        runs = {"generator": Run(folder), "encoder": Run(encoder)}
        found[modality] = {kind: run for kind, run in runs.items() if run.folder.is_dir()}
    return found


def _seconds(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"expected JSON in {path}, found {error}: delete it") from error


def _move(temporary: Path, output: Path) -> None:
    """The new files in place of the old ones; index.html last."""
    output.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN:
        if (output / name).is_dir():
            shutil.rmtree(output / name)
        os.replace(temporary / name, output / name)
