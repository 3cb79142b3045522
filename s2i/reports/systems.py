"""Systems side by side: runs of several generators on the same captions, in one table and one page.

    table.md       a row a system: what was measured, with intervals, its size and speed, published figures
    index.html     the table, and images of the same captions by every system
    images.png     these images: a caption a column, a system a row, the real images in the first
    speech/        recordings that systems generate from the first of these real images
    results.json   the same numbers, with the protocols that made them
    measured/      what was measured of each run, so that it is done once

Runs may read different packs (one of log-mels, one of waveforms), as long as these hold the same images and
captions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from s2i.config import Config
from s2i.config_files import config_to_dict, load_run_config
from s2i.data.crops import centre_crops, read_images
from s2i.data.griffin_lim import to_waveform
from s2i.data.images import png_bytes, to_uint8
from s2i.data.sound_files import wav_bytes
from s2i.errors import InputError
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.feature_extraction import VERSION
from s2i.evaluation.generated_speech import GeneratedSpeech
from s2i.evaluation.metric_networks import CLASSIFIER, R_PRECISION_ENCODER
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.protocols.speech import SPEECH_PROTOCOLS
from s2i.evaluation.score import Score
from s2i.files.atomic import read_json
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import Model, load
from s2i.metrics.statistics import FORM
from s2i.models.feature_decoder import FeatureDecoder
from s2i.progress import say
from s2i.reports import systems_page
from s2i.reports.document import with_sizes
from s2i.reports.measured import LEFT_OUT, checkpoint_of, kept_or_made, measured_once
from s2i.reports.systems_page import COLUMNS, System
from s2i.runs.checkpoint import random_state_kept
from s2i.runs.run import Run, check_run

REFERENCES = {"real": "real images", "chance": "chance"}  # `of` of a score: the name of its row
SHOWN = 10  # captions in the grid
HEARD = 3  # of their images, from which speech is generated
SEED = re.compile(r"-seed-\d+$")  # at the end of a run's name


def compare_systems(
    runs: Sequence[str | Path], output: str | Path, published: str | Path | None = None
) -> Path:
    """Measure `runs` and write the table, the page and the grid; returns table.md.

    Args:
        runs: of generators, of one data set and one modality each; the settings of evaluation are those of
            the first, but for the R-precision encoder and the speech classifier, which are each run's own:
            they have to read its pack.
        output: folder; what an earlier call measured of an unchanged run is used again.
        published: JSON {part of a run's name: {"name", "figures", "source"}}: what a system is called, and
            what its authors found. The last such part of a name counts, before any -seed-N.

    Raises:
        InputError: no run, two of one name, a folder that holds anything else, other captions than the first
            run's, or what `load`, `FeatureBank` and the protocols refuse.
    """
    folders, written = [Path(run) for run in runs], OutputFolder(output, "s2i systems")
    names = [folder.absolute().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(f"expected runs of different names, found {', '.join(names)}: leave one out")
    for folder in folders:
        check_run(folder)
    known = _read_published(published)
    settings = load_run_config(folders[0]).evaluation if folders else None
    systems: list[System] = []
    references: dict[str, System] = {}
    strips: list[np.ndarray] = []
    first: FeatureBank | None = None
    shown = np.array([], dtype=np.int64)
    shows: list[str] = []
    speaking: dict[str, tuple[str, GeneratedSpeech]] = {}
    with random_state_kept(), written.held():
        for name, folder in zip(names, folders, strict=True):
            model, measured = load(folder), []
            if len(model.paths) > 1:
                raise InputError(f"expected a run of one modality, found two in {folder}: leave it out")
            for path in model.paths.values():
                encoder = path.config.evaluation.r_precision_encoder
                bank = FeatureBank(path, replace(settings, r_precision_encoder=encoder))
                if first is None:
                    first, shown = bank, _spread(bank.captions.generated)
                    strips.append(_real_images(bank, shown))
                elif _captions(bank) != _captions(first):
                    raise InputError(
                        f"expected the captions of {folders[0]}, found others in {bank.pack.folder}"
                        f" ({folder}): compare runs of one data set"
                    )
                bank.keep(shown)
                measured.append(_measured(bank, folder, written, f"measured/{name}.json"))
                outputs = bank.outputs(shown)
                strips.append(np.stack([to_uint8(outputs[index].images[-1]) for index in shown.tolist()]))
            if model.from_image is not None:
                classifier = model.from_image.config.evaluation.speech_classifier
                speech = GeneratedSpeech(model, replace(settings, speech_classifier=classifier))
                measured.append(_measured_speech(speech, folder, written, f"measured/{name}-speech.json"))
            systems.append(_system(name, folder, model, _joined(measured, "run"), known))
            shows += [systems[-1].name] if model.paths else []
            if model.from_image is not None:
                speaking[name] = systems[-1].name, speech
            for of, label in REFERENCES.items():
                values = _joined(measured, of) | references.get(of, System(label, {})).values
                references[of] = System(label, values)
            scores = (f"{column} {value:.3f}" for column, (value, _) in systems[-1].values.items())
            say(f"{systems[-1].name}: {', '.join(scores)}")
        if first is None:
            raise InputError(
                f"expected a run that generates images, found none of {', '.join(names)}: add one"
            )
        spoken = {
            label: _heard(speech, first, shown[:HEARD], written, f"speech/{name}")
            for name, (label, speech) in speaking.items()
        }
        if spoken:
            references["real"] = replace(references["real"], name="real images and recordings")
        rows = [*systems, *references.values()]
        protocols = {name for name, _ in COLUMNS.values()}
        results = {
            "split": first.settings.split,
            "generated_captions": len(first.captions.generated),
            "seed": first.settings.seed,
            **first.captions.sampling_facts(),
            "protocols": {
                name: known_protocol.procedure
                for name, known_protocol in {**PROTOCOLS, **SPEECH_PROTOCOLS}.items()
                if name in protocols
            },
            "intervals": FORM,
            "captions": [first.pack.caption(index).text for index in shown.tolist()],
            "shown": shows,
            "speech": spoken,
            "systems": [systems_page.plain(system) for system in rows],
        }
        written.write("results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        written.write("images.png", png_bytes(systems_page.image_grid(strips, ["real images", *shows])))
        written.write("index.html", with_sizes(systems_page.page(rows, results), written.path))
        return written.write("table.md", systems_page.table(rows, results))


def _read_published(path: str | Path | None) -> dict[str, dict[str, str]]:
    if path is None:
        return {}
    known = read_json(path, "published figures", "mend --published")
    try:
        return {
            key: {name: entry[name] for name in ("name", "figures", "source")} for key, entry in known.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "expected JSON {run: {name, figures, source}} as --published, found"
            f" {type(error).__name__} {error} in {path}: mend it"
        ) from error


def _captions(bank: FeatureBank) -> list[tuple[str, int]]:
    """The generated captions, by their images' ids and their places there, and their classes."""
    captions = bank.captions.generated
    labels = bank.captions.labels(captions).tolist()
    return [
        (caption_key(bank.pack, index), label) for index, label in zip(captions.tolist(), labels, strict=True)
    ]


def _spread(captions: np.ndarray) -> np.ndarray:
    return captions[np.unique(np.linspace(0, len(captions) - 1, min(SHOWN, len(captions))).astype(int))]


def _real_images(bank: FeatureBank, captions: np.ndarray) -> np.ndarray:
    images = bank.pack.caption_image[captions]
    crops = centre_crops(bank.pack, len(images))
    return to_uint8(read_images(bank.pack, images, crops, bank.path.config.generated_size))


def _heard(
    speech: GeneratedSpeech, bank: FeatureBank, captions: np.ndarray, written: OutputFolder, name: str
) -> list[str]:
    """Write a recording, through Griffin-Lim, of the image of each of some captions; returns their files."""
    path, files = speech.path, []
    images = bank.pack.caption_image[captions]
    pixels = read_images(bank.pack, images, centre_crops(bank.pack, len(images)), path.config.packed_size)
    keys = [bank.pack.records[image].id for image in images.tolist()]
    for number, log_mel in enumerate(path.generate(pixels, keys, speech.settings.seed), 1):
        samples = to_waveform(log_mel, path.config.audio, speech.settings.seed).numpy()
        files.append(f"{name}-{number}.wav")
        written.write(files[-1], wav_bytes(samples, path.config.audio.sample_rate))
    return files


def _measured(bank: FeatureBank, run: Path, written: OutputFolder, kept: str) -> dict[str, Any]:
    """{"run", "real", "chance": {column: [value, interval]}}."""
    protocols = [name for name in dict.fromkeys(name for name, _ in COLUMNS.values()) if name in PROTOCOLS]
    networks = CLASSIFIER, R_PRECISION_ENCODER
    return measured_once(bank, run, written, kept, protocols, networks, _summarised)


def _measured_speech(speech: GeneratedSpeech, run: Path, written: OutputFolder, kept: str) -> dict[str, Any]:
    """The same of the speech that a run generates."""
    made_from = {
        "version": VERSION,
        "checkpoint": checkpoint_of(run),
        "evaluation": config_to_dict(speech.settings) | dict.fromkeys(LEFT_OUT),
        "pack": speech.pack.fingerprint,
        "classifier": speech.classifier and speech.classifier.identity,
        "intervals": FORM,
        "protocols": list(SPEECH_PROTOCOLS),
    }

    def measure() -> dict[str, Any]:
        return _summarised({name: protocol(speech) for name, protocol in SPEECH_PROTOCOLS.items()})

    return kept_or_made(written, kept, made_from, measure)


def _summarised(scores: dict[str, list[Score]]) -> dict[str, Any]:
    values: dict[str, Any] = {"run": {}, "real": {}, "chance": {}}
    for column, (protocol, metric) in COLUMNS.items():
        for score in scores.get(protocol, []):
            if score.metric == metric and score.of in values:
                values[score.of][column] = [score.value, score.interval95 and list(score.interval95)]
    return values


def _joined(
    measured: list[dict[str, dict[str, list[Any]]]], of: str
) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """{column: (value, interval)} of all that was measured of a run."""
    joined = {column: score for each in measured for column, score in each[of].items()}
    return {column: (value, tuple(ends) if ends else None) for column, (value, ends) in joined.items()}


def _system(
    name: str,
    folder: Path,
    model: Model,
    values: dict[str, tuple[float, tuple[float, float] | None]],
    known: dict[str, dict[str, str]],
) -> System:
    entry = known.get(last_known(name, known), {"name": name, "figures": "", "source": ""})
    paths = [*model.paths.values(), *([model.from_image] if model.from_image else [])]
    config = paths[0].config
    seed = f", seed {config.seed}" if config.seed else ""
    steps, planned, seconds = _training(folder, paths[0].step, _planned_steps(model, config), config)
    networks = [network for path in paths for network in path.generating]
    parameters = sum(weight.numel() for network in networks for weight in network.parameters())
    label = entry["name"] + seed
    return System(label, values, parameters, steps, planned, seconds, entry["figures"], entry["source"])


def last_known(name: str, known: Iterable[str]) -> str:
    """The key that is the last part of a run's name between dashes, as recipes name their runs
    (EXP-PRESET[-seed-N]); the longest of those that end there. "" where none is a part."""
    bare = f"-{SEED.sub('', name)}-"
    ends = {key: bare.rfind(f"-{key}-") + len(key) for key in known if f"-{key}-" in bare}
    return max(ends, key=lambda key: (ends[key], len(key)), default="")


def _planned_steps(model: Model, config: Config) -> int:
    if model.from_image is not None:
        return config.cross_modal.steps
    if any(isinstance(path.generator, FeatureDecoder) for path in model.paths.values()):
        return config.regression.decoder_steps + config.regression.steps
    return config.gan.steps


def _training(folder: Path, steps: int, planned: int, config: Config) -> tuple[int, int, float]:
    """Steps, planned steps and seconds of a run, and of its first stage's."""
    log = Run(folder).read_log()
    seconds = log[-1]["seconds"] if log else 0.0
    stage = config.gan.first_stage
    if stage and (Path(stage) / "log.jsonl").is_file():
        log = Run(Path(stage)).read_log()
        steps, seconds = steps + log[-1]["step"], seconds + log[-1]["seconds"]
        planned += load_run_config(stage).gan.steps
    return steps, planned, seconds
