"""Systems side by side: runs of several generators on the same captions, in one table and one page.

    table.md       a row a system: what was measured, with intervals, its size and speed, published figures
    index.html     the table, and images of the same captions by every system
    images.png     these images: a caption a column, the real images in the first row
    results.json   the same numbers, with the protocols that made them
    measured/      what was measured of each run, so that it is done once

Runs may read different packs (one of log-mels, one of waveforms), as long as these hold the same images and
captions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from s2i.config_files import load_config
from s2i.data.crops import centre_crops, read_images
from s2i.data.images import grid, png_bytes, resize, to_uint8
from s2i.errors import InputError
from s2i.evaluation.captions import caption_key
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.metric_networks import CLASSIFIER, R_PRECISION_ENCODER
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.score import Score
from s2i.files.atomic import read_json
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.metrics.statistics import FORM
from s2i.progress import say
from s2i.reports.document import Section, document, figure, with_sizes
from s2i.reports.measured import measured_once
from s2i.reports.sections import protocol_title
from s2i.runs.checkpoint import random_state_kept
from s2i.runs.run import Run
from s2i.tables import Cell, Row, filled, html, markdown, number

COLUMNS = {  # of the table: protocol and metric
    "attribute accuracy": ("attribute_accuracy", "attribute_accuracy"),
    "class mAP of generated images": ("class_retrieval_by_generated", "mAP"),
    "R-precision": ("r_precision", "r_precision"),
    "classifier KID": ("classifier_distances", "kid"),
    "precision": ("classifier_distances", "precision"),
    "recall": ("classifier_distances", "recall"),
}
REFERENCES = {"real": "real images", "chance": "chance"}  # `of` of a score: the name of its row
SHOWN = 10  # captions in the grid


@dataclass(frozen=True)
class System:
    """One row: a run's numbers, or those of what it is compared with.

    `values`: {column: (value, interval of 95 % or none)}; `parameters`: of the networks that generate;
    `steps`, `seconds`: of the training, a first stage's included.
    """

    name: str
    values: dict[str, tuple[float, tuple[float, float] | None]]
    parameters: int = 0
    steps: int = 0
    seconds: float = 0.0
    published: str = ""
    source: str = ""


def compare_systems(
    runs: Sequence[str | Path], output: str | Path, published: str | Path | None = None
) -> Path:
    """Measure `runs` and write the table, the page and the grid; returns table.md.

    Args:
        runs: of generators, of one data set and one modality each; the settings of evaluation are those of
            the first, but for the R-precision encoder, which is each run's own: it has to read its pack.
        output: folder; what an earlier call measured of an unchanged run is used again.
        published: JSON {part of a run's name: {"name", "figures", "source"}}: what a system is called, and
            what its authors found.

    Raises:
        InputError: no run, two of one name, a folder that holds anything else, other captions than the first
            run's, or what `load`, `FeatureBank` and the protocols refuse.
    """
    folders, written = [Path(run) for run in runs], OutputFolder(output, "s2i systems")
    names = [folder.absolute().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(f"expected runs of different names, found {', '.join(names)}: leave one out")
    known = _read_published(published)
    systems: list[System] = []
    references: dict[str, System] = {}
    strips: list[np.ndarray] = []
    first: FeatureBank | None = None
    shown = np.array([], dtype=np.int64)
    with random_state_kept(), written.held():
        for name, folder in zip(names, folders, strict=True):
            path, *others = load(folder).paths.values()
            if others:
                raise InputError(f"expected a run of one modality, found two in {folder}: leave it out")
            settings = load_config(folders[0] / "config.yaml").evaluation
            own = path.config.evaluation.r_precision_encoder
            bank = FeatureBank(path, replace(settings, r_precision_encoder=own))
            if first is None:
                first, shown = bank, _spread(bank.captions.generated)
                strips.append(_real_images(bank, shown))
            elif _captions(bank) != _captions(first):
                raise InputError(
                    f"expected the captions of {folders[0]}, found others in {bank.pack.folder} ({folder}):"
                    " compare runs of one data set"
                )
            bank.keep(shown)
            measured = _measured(bank, folder, written, f"measured/{name}.json")
            systems.append(_system(name, folder, path, measured["run"], known))
            for of, label in REFERENCES.items():
                values = _values(measured[of])
                references.setdefault(of, System(label, {})).values.update(
                    {column: value for column, value in values.items() if column not in references[of].values}
                )
            outputs = bank.outputs(shown)
            strips.append(np.stack([to_uint8(outputs[index].images[-1]) for index in shown.tolist()]))
            values = (f"{column} {value:.3f}" for column, (value, _) in systems[-1].values.items())
            say(f"{systems[-1].name}: {', '.join(values)}")
        rows = [*systems, *references.values()]
        results = {
            "split": first.settings.split,
            "generated_captions": len(first.captions.generated),
            "seed": first.settings.seed,
            "protocols": {name: PROTOCOLS[name].procedure for name, _ in COLUMNS.values()},
            "intervals": FORM,
            "captions": [first.pack.caption(index).text for index in shown.tolist()],
            "systems": [_plain(system) for system in rows],
        }
        written.write("results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        written.write("images.png", png_bytes(_grid(strips)))
        written.write("index.html", with_sizes(_page(rows, results), written.path))
        return written.write("table.md", _table(rows, results))


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


def _measured(bank: FeatureBank, run: Path, written: OutputFolder, kept: str) -> dict[str, Any]:
    """{"run", "real", "chance": {column: [value, interval]}}."""

    def summarise(scores: dict[str, list[Score]]) -> dict[str, Any]:
        values: dict[str, Any] = {"run": {}, "real": {}, "chance": {}}
        for column, (protocol, metric) in COLUMNS.items():
            for score in scores[protocol]:
                if score.metric == metric and score.of in values:
                    values[score.of][column] = [score.value, score.interval95 and list(score.interval95)]
        return values

    protocols = list(dict.fromkeys(protocol for protocol, _ in COLUMNS.values()))
    networks = CLASSIFIER, R_PRECISION_ENCODER
    return measured_once(bank, run, written, kept, protocols, networks, summarise)


def _values(measured: dict[str, list[Any]]) -> dict[str, tuple[float, tuple[float, float] | None]]:
    return {column: (value, tuple(ends) if ends else None) for column, (value, ends) in measured.items()}


def _system(
    name: str, folder: Path, path: GenerationPath, measured: dict[str, Any], known: dict[str, dict[str, str]]
) -> System:
    words = name.split("-")
    key = next((key for key in known if key in words), "")
    entry = known.get(key, {"name": name, "figures": "", "source": ""})
    seed = f", seed {path.config.seed}" if path.config.seed else ""
    steps, seconds = _training(folder, path)
    networks = [network for network in (path.encoder, path.generator) if network is not None]
    parameters = sum(weight.numel() for network in networks for weight in network.parameters())
    label = entry["name"] + seed
    return System(label, _values(measured), parameters, steps, seconds, entry["figures"], entry["source"])


def _training(folder: Path, path: GenerationPath) -> tuple[int, float]:
    """Steps and seconds of a run, and of its first stage's."""
    log = Run(folder).read_log()
    steps, seconds = path.step, log[-1]["seconds"] if log else 0.0
    stage = path.config.gan.first_stage
    if stage and (Path(stage) / "log.jsonl").is_file():
        log = Run(Path(stage)).read_log()
        steps, seconds = steps + log[-1]["step"], seconds + log[-1]["seconds"]
    return steps, seconds


def _row(system: System) -> Row:
    row: dict[str, str | Cell] = {"system": system.name}
    for column, (_, metric) in COLUMNS.items():
        value, ends = system.values.get(column, (None, None))
        row[column] = number(value, ends, metric)
    row["parameters"] = f"{system.parameters / 1e6:.1f} M" if system.parameters else ""
    row["steps"] = f"{system.steps:,}" if system.steps else ""
    row["seconds a step"] = f"{system.seconds / system.steps:.2f}" if system.steps else ""
    row["published"] = system.published
    return row


def _plain(system: System) -> dict[str, Any]:
    return {
        "name": system.name,
        "values": {column: value for column, (value, _) in system.values.items()},
        "intervals95": {column: list(ends) for column, (_, ends) in system.values.items() if ends},
        "parameters": system.parameters,
        "steps": system.steps,
        "seconds": system.seconds,
        "published": system.published,
        "source": system.source,
    }


def _note(results: dict[str, Any]) -> str:
    return (
        f"{results['generated_captions']:,} captions of the split {results['split']}, generated with the"
        f" noise of seed {results['seed']}. In brackets 95 % intervals, {results['intervals']}. Parameters"
        " are those of caption encoder and generator; seconds a step those of the generator's training on"
        " this machine. Published figures are of other data, sizes and protocols."
    )


def _sources(systems: Sequence[System]) -> list[str]:
    return [f"{system.name}: {system.source}" for system in systems if system.source]


def _table(systems: list[System], results: dict[str, Any]) -> str:
    rows = [_row(system) for system in systems]
    sources = [f"- {source}" for source in _sources(systems)]
    lines = [*markdown(filled(rows), rows), "", _note(results)]
    return "\n".join([*lines, *(["", "Published:", *sources] if sources else [])]) + "\n"


def _grid(strips: list[np.ndarray]) -> Image.Image:
    """Real images and each system's, a strip a row, at one size."""
    side = max(strip.shape[1] for strip in strips)
    rows = [
        strip
        if strip.shape[1] == side
        else np.stack([np.asarray(resize(Image.fromarray(one), side)) for one in strip])
        for strip in strips
    ]
    return grid(np.concatenate(rows), columns=len(strips[0]))


def _page(systems: list[System], results: dict[str, Any]) -> str:
    rows = [_row(system) for system in systems]
    names = [system.name for system in systems if system.steps]
    captions = "".join(
        f"<li>{escape(text or f'unwritten caption {place}')}</li>"
        for place, text in enumerate(results["captions"], 1)
    )
    protocols = "".join(
        f"<p><b>{escape(protocol_title(name))}</b>: {escape(procedure)}</p>"
        for name, procedure in results["protocols"].items()
    )
    sources = "".join(f"<li>{escape(source)}</li>" for source in _sources(systems))
    description = f"From the top: real images, {', '.join(names)}. A column is a caption."
    note = f'<p class="note">{escape(_note(results))}</p>'
    images = figure(description, "images.png", description) + f"<ol>{captions}</ol>"
    published = f"<ul>{sources}</ul>" if sources else ""
    return document(
        "Systems",
        "<header><h1>Systems</h1></header>",
        [
            Section("Results", "", html(filled(rows), rows) + note, folded=False),
            Section("Images of the same captions", "", images, folded=False),
            Section("Protocols", f"{len(results['protocols'])} procedures", protocols),
            Section("Published figures", "of other data, sizes and protocols", published),
        ],
    )
