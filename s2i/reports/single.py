"""The report of one run: its numbers with their protocols, and images beside what was said. `s2i report`.

For who has speech alone, or text alone; `compare` sets two runs side by side. Folders and page as there.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from s2i.errors import InputError
from s2i.evaluation.records import PROTOCOLS, measure, procedure, record
from s2i.evaluation.subject import Subject
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.metrics.statistics import FORM
from s2i.reports.compare import write_report
from s2i.reports.gallery import Generated, Shown, write_gallery
from s2i.reports.page import attention_tiles, chip_list, document, figure
from s2i.reports.rows import Record, counted, leading, rows
from s2i.runs.checkpoint import random_state_kept


def report(run: str | Path, output: str | Path) -> None:
    """Measure a run and write `index.html` and `results.json` into `output`; an earlier report is replaced.

    Raises InputError for a folder that holds anything else, for what is no run of a GAN training, and as
    `Subject` and the protocols do.
    """
    run, folder = Path(run), OutputFolder(output, "s2i report")
    paths = load(run).paths
    with random_state_kept():
        subjects = {modality: Subject(path) for modality, path in paths.items()}
        records = [
            record(subject, name, score)
            for subject in subjects.values()
            for name, scores in measure(subject, list(PROTOCOLS)).items()
            for score in scores
        ]
        try:
            with folder.replaced(last="index.html") as made:
                shown, every = write_gallery(subjects, made)
                found = {
                    "protocols": {line["protocol"]: procedure(line["protocol"]) for line in records},
                    "data": _data(run, next(iter(subjects.values()))),
                    "measured": records,
                }
                write_report(made, found, _page(found, shown, every))
        except OSError as error:
            raise InputError(f"expected to write {output}, found: {error.strerror}: mend it") from error


def _data(run: Path, subject: Subject) -> dict[str, Any]:
    return {"run": run.absolute().name, "step": subject.path.step, **subject.facts()}


def _page(found: dict[str, Any], shown: list[Shown], every: int) -> str:
    data = found["data"]
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
    cards = "\n".join(_card(number, one) for number, one in enumerate(shown, 1))
    sections = [
        f'<header><h1>{escape(data["run"])}</h1><p class="soft">{escape(counts)}</p></header>',
        "<h2>The numbers</h2>",
        _table(found["measured"], found["protocols"]),
        "<h2>The images</h2>",
        f'<p class="soft">{len(shown)} generated captions: {nth}, in the order of the data, good and bad'
        " alike.</p>",
        f'<div class="cards">{cards}</div>',
    ]
    return document(data["run"], sections)


def _table(records: list[Record], protocols: dict[str, str]) -> str:
    """A row a metric: the run's own value with its interval, what it is held against, and counts."""
    lines, latest = [], ""
    for row in rows(records):
        record = leading(row)
        if record["protocol"] != latest:
            latest = record["protocol"]
            lines.append(
                f'<tr class="protocol"><th colspan="6"><details><summary>{latest.replace("_", " ")}</summary>'
                f"<p>{escape(protocols[latest])}</p></details></th></tr>"
            )
        columns = [
            ("", escape(record["metric"].replace("_", " "))),
            ("from", record["modality"]),
            ("value", _value(row.get("run"))),
            ("real", _value(row.get("real"))),
            ("chance", _value(row.get("chance"))),
            ("n", f"<small>{escape(counted(record))}</small>"),
        ]
        cells = "".join(f'<td data-column="{name}">{shown}</td>' for name, shown in columns)
        lines.append(f"<tr>{cells}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", "from", "value", "real", "chance", "n"))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        f'<p class="note">In brackets: 95% intervals, {FORM}.</p>'
    )


def _value(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    interval = ""
    if line["interval95"]:
        low, high = (f"{end:.3f}" for end in line["interval95"])
        interval = f"<small>[{low}, {high}]</small>"
    return f"<span>{line['value']:.3f}{interval}</span>"


def _card(number: int, shown: Shown) -> str:
    text = shown.caption.text or ""
    facts = [shown.class_name, f"spoken by {shown.caption.speaker}" if shown.caption.speaker else ""]
    images = [(f"from {modality}", generated.stages[-1]) for modality, generated in shown.generated.items()]
    row = "".join(figure(f"{name}: {text}", source, name) for name, source in [*images, ("real", shown.real)])
    heard = ""
    if shown.audio:
        heard = f'<audio controls preload="none" src="{shown.audio}" aria-label="caption {number}"></audio>'
    more = "".join(_details(modality, generated) for modality, generated in shown.generated.items())
    return (
        f'<article class="card" id="caption-{number}"><h3>{number}. {escape(text) or "(unwritten)"}</h3>'
        f'<p class="note">{escape(" · ".join(filter(None, facts)))}</p>{heard}'
        f'<div class="three">{row}</div>{more}</article>'
    )


def _details(modality: str, generated: Generated) -> str:
    stages = "".join(
        figure(f"stage {stage} from {modality}", source, f"stage {stage}")
        for stage, source in enumerate(generated.stages)
    )
    folded = f'<details><summary>Every stage</summary><div class="stages">{stages}</div></details>'
    looked = attention_tiles(modality, generated)
    if looked:
        folded += f"<details><summary>Where each part looked</summary>{looked}</details>"
    return chip_list(modality, generated) + folded
