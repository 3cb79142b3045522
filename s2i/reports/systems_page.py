"""The table and the page of several systems: what `s2i.reports.systems` has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from s2i.data.images import grid, resize
from s2i.evaluation.captions import sampling_note
from s2i.evaluation.generated_speech import METRIC as SPEECH_METRIC
from s2i.inference.caption_strip import LEAST_FONT, font_for, wrapped
from s2i.reports.document import Section, document, figure
from s2i.reports.sections import protocol_title
from s2i.tables import Cell, Row, filled, html, markdown, number

GAP = 2  # px between images of the grid
NAMES_WIDTH = 130  # px on their left
MARGIN = 4  # px around names
COLUMNS = {  # of the table: protocol and metric
    "attribute accuracy": ("attribute_accuracy", "attribute_accuracy"),
    "class mAP of generated images": ("class_retrieval_by_generated", "mAP"),
    "R-precision": ("r_precision", "r_precision"),
    "classifier KID": ("classifier_distances", "kid"),
    "precision": ("classifier_distances", "precision"),
    "recall": ("classifier_distances", "recall"),
    "class accuracy of generated speech": ("speech_class_accuracy", SPEECH_METRIC),
    "class accuracy of speech from speech": ("speech_class_accuracy_of_the_cycle", SPEECH_METRIC),
}


@dataclass(frozen=True)
class System:
    """One row: a run's numbers, or those of what it is compared with.

    `values`: {column: (value, interval of 95 % or none)}; `parameters`: of the networks that generate;
    `steps`, `planned_steps`, `seconds`: of the training, a first stage's included.
    """

    name: str
    values: dict[str, tuple[float, tuple[float, float] | None]]
    parameters: int = 0
    steps: int = 0
    planned_steps: int = 0
    seconds: float = 0.0
    published: str = ""
    source: str = ""


def _row(system: System) -> Row:
    row: dict[str, str | Cell] = {"system": system.name}
    for column, (_, metric) in COLUMNS.items():
        value, ends = system.values.get(column, (None, None))
        row[column] = number(value, ends, metric)
    row["parameters"] = f"{system.parameters / 1e6:.1f} M" if system.parameters else ""
    unfinished = f" of {system.planned_steps:,}" if system.steps < system.planned_steps else ""
    row["steps"] = f"{system.steps:,}{unfinished}" if system.steps else ""
    row["seconds a step"] = f"{system.seconds / system.steps:.2f}" if system.steps else ""
    row["published"] = system.published
    return row


def plain(system: System) -> dict[str, Any]:
    """The row as values for JSON."""
    return {
        "name": system.name,
        "values": {column: value for column, (value, _) in system.values.items()},
        "intervals95": {column: list(ends) for column, (_, ends) in system.values.items() if ends},
        "parameters": system.parameters,
        "steps": system.steps,
        "planned_steps": system.planned_steps,
        "seconds": system.seconds,
        "published": system.published,
        "source": system.source,
    }


def _note(results: dict[str, Any]) -> str:
    return (
        f"{results['generated_captions']:,} captions of the split {results['split']}, generated with the"
        f" noise of seed {results['seed']}.{sampling_note(results)} In brackets 95 % intervals,"
        f" {results['intervals']}. Parameters"
        " are those of the networks that generate; seconds a step those of the generator's training on"
        " this machine. Published figures are of other data, sizes and protocols."
    )


def _sources(systems: Sequence[System]) -> list[str]:
    """Of each system once, whatever its seeds."""
    first = {(system.published, system.source): system for system in reversed(systems)}
    return [
        f"{system.name}: {system.source}"
        for system in systems
        if system.source and first[system.published, system.source] is system
    ]


def _speech(recordings: dict[str, list[str]]) -> str:
    """What systems generate, to be heard: {system: files}."""
    return "".join(
        f"<p>{escape(name)}: "
        + " ".join(f'<audio controls preload="none" src="{escape(file)}"></audio>' for file in files)
        + "</p>"
        for name, files in recordings.items()
    )


def table(systems: list[System], results: dict[str, Any]) -> str:
    """The rows as Markdown, and what is said of them; `results`: as `compare_systems` writes them."""
    rows = [_row(system) for system in systems]
    sources = [f"- {source}" for source in _sources(systems)]
    lines = [*markdown(filled(rows), rows), "", _note(results)]
    return "\n".join([*lines, *(["", "Published:", *sources] if sources else [])]) + "\n"


def image_grid(strips: Sequence[np.ndarray], names: Sequence[str]) -> Image.Image:
    """Real images and each system's, a strip a row, at one size, with the row's name on its left."""
    side = max(strip.shape[1] for strip in strips)
    rows = [
        strip
        if strip.shape[1] == side
        else np.stack([np.asarray(resize(Image.fromarray(one), side)) for one in strip])
        for strip in strips
    ]
    images = grid(np.concatenate(rows), columns=len(strips[0]), gap=GAP)
    labelled = Image.new("RGB", (images.width + NAMES_WIDTH, images.height), "white")
    labelled.paste(images, (NAMES_WIDTH, 0))
    pen = ImageDraw.Draw(labelled)
    for row, name in enumerate(names):
        font = font_for(name, LEAST_FONT)
        lines = "\n".join(wrapped(name, font, NAMES_WIDTH - 2 * MARGIN))
        middle = row * (side + GAP) + side // 2
        pen.multiline_text((MARGIN, middle), lines, fill="black", font=font, anchor="lm")
    return labelled


def page(systems: list[System], results: dict[str, Any]) -> str:
    """The same as an HTML page, with the grid of images and recordings."""
    rows = [_row(system) for system in systems]
    captions = "".join(
        f"<li>{escape(text or f'unwritten caption {place}')}</li>"
        for place, text in enumerate(results["captions"], 1)
    )
    protocols = "".join(
        f"<p><b>{escape(protocol_title(name))}</b>: {escape(procedure)}</p>"
        for name, procedure in results["protocols"].items()
    )
    sources = "".join(f"<li>{escape(source)}</li>" for source in _sources(systems))
    description = f"From the top: real images, {', '.join(results['shown'])}. A column is a caption."
    results_table = html(filled(rows), rows)
    note = f'<p class="note">{escape(_note(results))}</p>'
    images = figure(description, "images.png", description) + f"<ol>{captions}</ol>"
    speech = Section("Speech from the first of the real images", "", _speech(results["speech"]), folded=False)
    published = f"<ul>{sources}</ul>" if sources else ""
    return document(
        "Systems",
        "<header><h1>Systems</h1></header>",
        [
            Section(
                "Results", "", f'<div class="scrolled" tabindex="0">{results_table}</div>{note}', folded=False
            ),
            Section("Images of the same captions", "", images, folded=False),
            *([speech] if results["speech"] else []),
            Section("Protocols", f"{len(results['protocols'])} procedures", protocols),
            Section("Published figures", "of other data, sizes and protocols", published),
        ],
    )
