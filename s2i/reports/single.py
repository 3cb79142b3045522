"""The report of one run: its numbers with their protocols, and images beside what was said. `s2i report`.

For speech alone, or text alone; `compare` sets two runs side by side. Folders and page as there.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from s2i.analysis import interpolation
from s2i.errors import InputError
from s2i.evaluation.captions import sampling_note
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import measure, record
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.metrics.statistics import FORM
from s2i.reports.analysis_sections import interpolation as interpolation_section
from s2i.reports.caption_cards import every_caption, leading_captions
from s2i.reports.compare import write_report
from s2i.reports.comparison_analyses import (
    InterpolationExample,
    interpolated_captions,
    write_interpolations,
)
from s2i.reports.document import Section, document
from s2i.reports.gallery import GalleryItem, request_gallery, write_gallery
from s2i.reports.main_results import Scores, headline, main_results, main_table, summary
from s2i.reports.page import kind, notices, page_header
from s2i.reports.rows import Record, counted, leading, rows, value
from s2i.reports.sections import protocol_title
from s2i.runs.checkpoint import random_state_kept
from s2i.tables import Cell, Heading, Row, html, metric_label

COLUMNS = {"value": "run", "real": "real", "chance": "chance"}  # of the table, and what their records are of


def report(run: str | Path, output: str | Path) -> None:
    """Measure a run and write `index.html` and `results.json` into `output`; an earlier report is replaced.

    Raises InputError for a folder that holds anything else, for what is no run of a GAN training, and as
    `FeatureBank` and the protocols do.
    """
    run, folder = Path(run), OutputFolder(output, "s2i report")
    paths = load(run).image_paths()
    with random_state_kept():
        banks = {modality: FeatureBank(path) for modality, path in paths.items()}
        request_gallery(banks)
        first = next(iter(banks.values()))
        interpolated = interpolated_captions(first)
        for bank in banks.values():
            bank.keep(np.array([caption for caption, _ in interpolated], np.int64))
        scores = {modality: measure(bank, list(PROTOCOLS)) for modality, bank in banks.items()}
        records = [
            record(bank, name, score)
            for modality, bank in banks.items()
            for name, measured in scores[modality].items()
            for score in measured
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
                write_report(made, results, _page(results, scores, gallery, every, strips))
        except OSError as error:
            raise InputError(
                f"expected to write {output}, found: {error.strerror}: check path and disk"
            ) from error


def _data(run: Path, bank: FeatureBank) -> dict[str, Any]:
    return {"run": run.absolute().name, "step": bank.path.step, **bank.facts()}


def _page(
    results: dict[str, Any],
    scores: Scores,
    gallery: list[GalleryItem],
    every: int,
    strips: list[InterpolationExample],
) -> str:
    data, main = results["data"], main_results(scores)
    counts = (
        f"{data['captions']:,} captions of {data['images']:,} images of {data['classes']:,} classes of"
        f" the {data['split']} split; {data['generated_captions']:,} captions generated with the noise of"
        f" seed {data['seed']}, {data['generated_size']} px, after {data['step']:,} steps."
    )
    counts += sampling_note(data)
    counts += f" Data {data['fingerprint'][:12]}{': ' + data['note'] if 'note' in data else ''}."
    counts += "".join(f" Left out: {count:,} {why}." for why, count in data["left_out"].items())
    counts += "".join(f" Read in part: {count:,} {why}." for why, count in data["read_in_part"].items())
    header = page_header(
        kind(dict.fromkeys(scores, data["run"]), data),
        headline(main, results),
        summary(main),
        notices([data["step"]], data["classes"], data.get("note", "")),
    )
    records, protocols = results["records"], results["protocols"]
    sections = [
        leading_captions(gallery, data),
        Section("Results", counts, main_table(main, results), folded=False),
        Section("All results", "with intervals and procedures", _table(records, protocols)),
        every_caption(gallery, every, data),
        interpolation_section(results, strips),
    ]
    return document(data["run"], header, sections)


def _table(records: list[Record], protocols: dict[str, str]) -> str:
    """A row a metric: the run's own value with its interval, what it is compared with, and counts."""
    lines: list[Row | Heading] = []
    for protocol, group in groupby(rows(records), lambda row: leading(row)["protocol"]):
        details = (protocols[protocol], f"s2i evaluate --protocol {protocol}")
        lines.append(Heading(protocol_title(protocol), details))
        for row in group:
            record = leading(row)
            measured = {name: value(row.get(of)) for name, of in COLUMNS.items()}
            facts = {"": metric_label(record["metric"]), "from": record["modality"]}
            lines.append({**facts, **measured, "n": Cell(remarks=(counted(record),))})
    table = html(["", "from", *COLUMNS, "n"], lines)
    return f'{table}<p class="note">In brackets: 95% intervals, {FORM}.</p>'
