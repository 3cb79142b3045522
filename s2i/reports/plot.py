"""Curves and grids of runs, while they train or afterwards, as one page without other files: `s2i plot`."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file, say_replaced
from s2i.progress import duration, listed
from s2i.reports.charts import Curve, line_chart
from s2i.reports.document import Section, document
from s2i.reports.page import page_header
from s2i.reports.training_curves import GOOD
from s2i.runs.run import Run, check_run
from s2i.tables import metric_label

PAGE = "plot.html"  # in the first run's folder, by default
STYLES = ("speech", "text", "real", "chance")  # the style sheet's colours, a run each
POINTS = 300  # of a curve, at most
EARLIER = 6  # grids shown beside the latest
SECTIONS = {  # title -> names of terms; the first that fits
    "Losses": r".*/all$|loss/",
    "Terms of the generator": r"g/",
    "Adversarial terms, size by size": r"[dg]_\d+",
    "Learning rates and gradients": r"(lr|grad_norm|weights)/",
    "Other terms": "",
}
Points = list[tuple[float, float]]


def plot(runs: Sequence[str | Path], output: str | Path | None = None, follow: int = 0) -> Path:
    """Write the page of one to four runs, in one chart each term.

    Args:
        runs: folders of any training.
        output: the page; by default `plot.html` in the first run's folder.
        follow: write it again every so many seconds, until it is interrupted; the open page loads itself.

    Raises:
        InputError: a folder that is missing or no run, too many runs, or an output that can't be written.
    """
    if len(runs) > len(STYLES):
        raise InputError(f"expected at most {len(STYLES)} runs, found {len(runs)}: leave some out")
    opened_runs = [_opened(Path(run)) for run in runs]
    page = opened_runs[0].folder / PAGE if output is None else Path(output)
    if output is not None:
        check_output_file(page)
        say_replaced(page)
    while True:
        with write_atomically(page) as stream:
            stream.write(_page(opened_runs, follow))
        if not follow:
            return page
        time.sleep(follow)


def _opened(folder: Path) -> Run:
    check_run(folder)
    return Run(folder)


def _page(runs: list[Run], refresh: int) -> str:
    logs = {run.label: run.read_log() for run in runs}
    names = list(dict.fromkeys(name for lines in logs.values() for line in lines for name in line))
    names = [name for name in names if "/" in name]  # of terms; the clock has none in its names
    sections = [_grids(runs)]
    shown: set[str] = set()
    for number, (title, pattern) in enumerate(SECTIONS.items()):
        chosen = [name for name in names if name not in shown and re.match(pattern, name)]
        shown |= set(chosen)
        charts = "".join(_chart(name, logs) for name in chosen)
        sections.append(Section(title, listed(chosen), _framed(charts), folded=number > 0))
        if number == 0:
            sections.append(_measured(runs))
    title = " and ".join(run.label for run in runs)
    about = "; ".join(_reached(run, logs[run.label]) for run in runs)
    header = page_header("Training", title, about, [])
    page = document(f"{title} - s2i", header, sections)
    return (
        page.replace("<head>", f'<head>\n<meta http-equiv="refresh" content="{refresh}">', 1)
        if refresh
        else page
    )


def _reached(run: Run, lines: list[dict[str, float]]) -> str:
    """How far a run is, and the time that is left at its mean pace."""
    if not lines:
        return f"{run.label}: no line of its log yet, the first comes after log.every steps"
    step, seconds, last = lines[-1]["step"], lines[-1]["seconds"], run.last_step()
    of, left = (f" of {last:,}", f", {duration(seconds * (last - step) / step)} left") if last else ("", "")
    return f"{run.label}: step {step:,}{of} after {duration(seconds)}{left if step < last else ''}"


def _chart(name: str, logs: dict[str, list[dict[str, float]]]) -> str:
    curves = [
        Curve(label, style, False, thinned([(line["step"], line[name]) for line in lines if name in line]))
        for (label, lines), style in zip(logs.items(), STYLES, strict=False)
    ]
    player = {"d/all": "discriminator", "g/all": "generator", "loss/all": "encoder"}.get(name, "")
    return line_chart(name, curves, note=GOOD.get(player, ""))


def _measured(runs: list[Run]) -> Section:
    """What trainings measure on the way, on the validation split."""
    by_metric: dict[str, dict[str, Points]] = {}
    for run in runs:
        for line in run.read_metrics():
            if line.get("split") == "val":
                points = by_metric.setdefault(line["metric"], {}).setdefault(run.label, [])
                points.append((line["step"], line["value"]))
    charts = "".join(
        line_chart(
            metric_label(metric),
            [
                Curve(run.label, style, False, of_run.get(run.label, []))
                for run, style in zip(runs, STYLES, strict=False)
            ],
        )
        for metric, of_run in by_metric.items()
    )
    return Section("Validation", "", _framed(charts), folded=False)


def _grids(runs: list[Run]) -> Section:
    """The latest grid of each kind of samples, and some earlier ones."""
    shown = ""
    for run in runs:
        folders = sorted({file.parent for file in run.samples.rglob("step-*.png")})
        for folder in folders:
            files = sorted(folder.glob("step-*.png"))
            spread = np.unique(np.linspace(0, len(files) - 1, min(EARLIER + 1, len(files))).astype(int))
            *earlier, latest = [files[place] for place in spread]
            kind = folder.relative_to(run.folder).as_posix()
            shown += f"<h3>{escape(run.label)}, {escape(kind)}</h3>{_embedded(latest)}"
            if earlier:
                more = "".join(map(_embedded, reversed(earlier)))
                shown += f"<details><summary>Earlier</summary>{more}</details>"
    return Section(
        "Samples",
        "Of fixed training captions: what is real first, then what is generated",
        shown,
        folded=False,
    )


def _embedded(file: Path) -> str:
    step = int(file.stem.removeprefix("step-"))
    content = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<figure><img alt="samples of step {step}" src="data:image/png;base64,{content}">'
        f"<figcaption>step {step:,}</figcaption></figure>"
    )


def _framed(charts: str) -> str:
    return f'<div class="charts">{charts}</div>' if charts else ""


def thinned(points: Points, most: int = POINTS) -> Points:
    """At most so many points, each the mean of neighbours; the last step stays the last."""
    if len(points) <= most:
        return points
    groups = np.array_split(np.asarray(points, float), most)
    return [(float(group[-1, 0]), float(group[:, 1].mean())) for group in groups]
