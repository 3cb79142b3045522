"""The report of one run: its numbers with their protocols, and images beside what was said. `s2i report`.

For speech alone, or text alone; `compare` sets two runs side by side. Folders and page as there.
"""

from __future__ import annotations

from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from s2i.analysis import interpolation
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import measure, record
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.metrics.statistics import FORM
from s2i.reports.analysis_sections import interpolation_strips
from s2i.reports.compare import write_report
from s2i.reports.comparison_analyses import (
    InterpolationExample,
    interpolated_captions,
    write_interpolations,
)
from s2i.reports.gallery import GalleryImages, GalleryItem, request_gallery, write_gallery
from s2i.reports.page import attention_tiles, chip_list, document, figure
from s2i.reports.rows import Record, counted, leading, rows, value
from s2i.runs.checkpoint import random_state_kept
from s2i.tables import Cell, Heading, Row, html, metric_label

COLUMNS = {"value": "run", "real": "real", "chance": "chance"}  # of the table, and what their records are of


def report(run: str | Path, output: str | Path) -> None:
    """Measure a run and write `index.html` and `results.json` into `output`; an earlier report is replaced.

    Raises InputError for a folder that holds anything else, for what is no run of a GAN training, and as
    `FeatureBank` and the protocols do.
    """
    run, folder = Path(run), OutputFolder(output, "s2i report")
    paths = load(run).paths
    with random_state_kept():
        banks = {modality: FeatureBank(path) for modality, path in paths.items()}
        request_gallery(banks)
        first = next(iter(banks.values()))
        interpolated = interpolated_captions(first)
        for bank in banks.values():
            bank.keep(np.array([caption for caption, _ in interpolated], np.int64))
        records = [
            record(bank, name, score)
            for bank in banks.values()
            for name, scores in measure(bank, list(PROTOCOLS)).items()
            for score in scores
        ]
        try:
            with folder.replaced(last="index.html") as made:
                gallery, every = write_gallery(banks, made)
                strips = write_interpolations(banks, interpolated, made)
                results = {
                    "protocols": {line["protocol"]: PROTOCOLS[line["protocol"]].procedure for line in records}
                    | {"interpolation": interpolation.PROCEDURE},
                    "data": _data(run, first),
                    "records": records,
                }
                write_report(made, results, _page(results, gallery, every, strips))
        except OSError as error:
            raise InputError(f"expected to write {output}, found: {error.strerror}: mend it") from error


def _data(run: Path, bank: FeatureBank) -> dict[str, Any]:
    return {"run": run.absolute().name, "step": bank.path.step, **bank.facts()}


def _page(
    results: dict[str, Any], gallery: list[GalleryItem], every: int, strips: list[InterpolationExample]
) -> str:
    data = results["data"]
    counts = (
        f"{data['captions']:,} captions of {data['images']:,} images of {data['classes']:,} classes of"
        f" the {data['split']} split; {data['generated_captions']:,} captions generated with the noise of"
        f" seed"
        f" {data['seed']}, {data['generated_size']} px, after {data['step']:,} steps."
    )
    counts += f" Data {data['fingerprint'][:12]}{': ' + data['note'] if 'note' in data else ''}."
    counts += "".join(f" Left out: {count:,} {why}." for why, count in data["left_out"].items())
    counts += "".join(f" Read in part: {count:,} {why}." for why, count in data["read_in_part"].items())
    nth = "all" if every == 1 else f"one in every {every}"
    cards = "\n".join(_card(number, one) for number, one in enumerate(gallery, 1))
    sections = [
        f'<header><h1>{escape(data["run"])}</h1><p class="soft">{escape(counts)}</p></header>',
        "<h2>Results</h2>",
        _table(results["records"], results["protocols"]),
        "<h2>Generated images</h2>",
        f'<p class="soft">{len(gallery)} generated captions: {nth}, in the order of the data, good and bad'
        " alike.</p>",
        f'<div class="cards">{cards}</div>',
        "<h2>Interpolation between captions</h2>" if strips else "",
        f'<p class="note">{escape(results["protocols"]["interpolation"])}</p>' if strips else "",
        interpolation_strips(strips),
    ]
    return document(data["run"], sections)


def _table(records: list[Record], protocols: dict[str, str]) -> str:
    """A row a metric: the run's own value with its interval, what it is compared with, and counts."""
    lines: list[Row | Heading] = []
    for protocol, group in groupby(rows(records), lambda row: leading(row)["protocol"]):
        lines.append(Heading(protocol.replace("_", " "), (protocols[protocol],)))
        for row in group:
            record = leading(row)
            measured = {name: value(row.get(of)) for name, of in COLUMNS.items()}
            facts = {"": metric_label(record["metric"]), "from": record["modality"]}
            lines.append({**facts, **measured, "n": Cell(remarks=(counted(record),))})
    table = html(["", "from", *COLUMNS, "n"], lines)
    return f'{table}<p class="note">In brackets: 95% intervals, {FORM}.</p>'


def _card(number: int, item: GalleryItem) -> str:
    text = item.caption.text or ""
    facts = [item.class_name, f"spoken by {item.caption.speaker}" if item.caption.speaker else ""]
    images = [(f"from {modality}", generated.stages[-1]) for modality, generated in item.generated.items()]
    row = "".join(figure(f"{name}: {text}", source, name) for name, source in [*images, ("real", item.real)])
    audio = ""
    if item.audio:
        audio = f'<audio controls preload="none" src="{item.audio}" aria-label="caption {number}"></audio>'
    more = "".join(_details(modality, generated) for modality, generated in item.generated.items())
    return (
        f'<article class="card" id="caption-{number}"><h3>{number}. {escape(text) or "(unwritten)"}</h3>'
        f'<p class="note">{escape(" · ".join(filter(None, facts)))}</p>{audio}'
        f'<div class="three">{row}</div>{more}</article>'
    )


def _details(modality: str, generated: GalleryImages) -> str:
    stages = "".join(
        figure(f"stage {stage} from {modality}", source, f"stage {stage}")
        for stage, source in enumerate(generated.stages)
    )
    folded = f'<details><summary>Every stage</summary><div class="stages">{stages}</div></details>'
    attention = attention_tiles(modality, generated)
    if attention:
        folded += f"<details><summary>Attention</summary>{attention}</details>"
    return chip_list(modality, generated) + folded
