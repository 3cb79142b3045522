"""The page of a comparison: the headline, six captions, five numbers; all else folded below, complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from s2i.evaluation.captions import sampling_note
from s2i.reports import analysis_sections
from s2i.reports.caption_cards import every_caption, leading_captions
from s2i.reports.charts import bar_chart
from s2i.reports.comparison_analyses import AnalysisResults
from s2i.reports.document import Section, document
from s2i.reports.gallery import GalleryItem
from s2i.reports.main_results import Scores, headline, main_results, main_table, summary
from s2i.reports.results_table import every_result
from s2i.reports.training_curves import Runs, training_charts
from s2i.tables import number

MODALITIES = ("speech", "text")
SMOKE_STEPS = 500  # a generator that was trained for fewer shows nothing yet
FEW_CLASSES = 20  # whose intervals over classes are rough


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    results: dict[str, Any]
    scores: Scores
    gallery: list[GalleryItem]
    every: int  # the gallery holds every so-many-th generated caption
    analyses: AnalysisResults
    runs: Runs


def page(report: Report) -> str:
    """A whole HTML document; `audio/` and `images/` lie beside it."""
    results, data, analyses = report.results, report.results["data"], report.analyses
    main = main_results(report.scores)
    header = page_header(
        kind({side: _names(runs) for side, runs in results["runs"].items()}, data),
        headline(main, results),
        summary(main),
        notices([run["step"] for run in data["runs"].values()], data["classes"], data.get("note", "")),
    )
    sections = [
        leading_captions(report.gallery, data),
        Section("Results", _counts(data), main_table(main, results), folded=False),
        every_result(results, report.scores),
        _attributes(report.scores),
        analysis_sections.per_class(results),
        analysis_sections.seed_variance(results),
        every_caption(report.gallery, report.every, data),
        *(analysis_sections.swaps(results, analyses, kind) for kind in analysis_sections.SWAP_KINDS),
        analysis_sections.interpolation(results, analyses.interpolations),
        analysis_sections.robustness(results),
        analysis_sections.cascade(results),
        analysis_sections.diversity(results, analyses),
        analysis_sections.memorisation(results, analyses),
        Section("Training", _steps(data), training_charts(report.runs)),
        Section("Set-up", f"data {data['fingerprint'][:12]}, seed {data['seed']}", _facts(results)),
    ]
    return document(f"{headline(main, results)} - s2i", header, sections)


def kind(names: dict[str, str], data: dict[str, Any]) -> str:
    """What a report is of: images of which size, of which runs, of which data.

    Args:
        names: {modality: the run's name}.
        data: as `FeatureBank.facts` has it.
    """
    runs = " and ".join(f"{modality} ({name})" for modality, name in names.items())
    subject = data["subject"] or f"data of {data['folder']}"
    return f"Images of {data['generated_size']} px from {runs}: {subject}"


def _names(runs: list[dict[str, Any]]) -> str:
    """The first of a side's runs, and of how many the numbers are means."""
    more = f", mean of {len(runs)} runs" if len(runs) > 1 else ""
    return f"{runs[0]['name']}{more}"


def page_header(about: str, title: str, verdict: str, warnings: list[str]) -> str:
    """What the page is about, its headline, what to beware of, and the headline's values."""
    warned = "".join(f'<p class="notice" role="note">{escape(warning)}</p>' for warning in warnings)
    return (
        f'<header><p class="kind">{escape(about)}</p><h1>{escape(title)}</h1>{warned}'
        f'<p class="verdict">{escape(verdict)}</p></header>'
    )


def notices(steps: list[int], classes: int, note: str = "") -> list[str]:
    """Of a training that was too short, of data that may not be unseen, and of classes that are too few for
    their intervals.

    Args:
        steps: of each generator's training.
        note: on the data, as `check_measured_data` gives it.
    """
    warnings = []
    if min(steps) < SMOKE_STEPS:
        warnings.append(
            f"Smoke run: {min(steps):,} steps of training show that everything works. Its images and its"
            " numbers mean nothing."
        )
    if note:
        warnings.append(f"{note[:1].upper()}{note[1:]}.")
    if classes < FEW_CLASSES:
        warnings.append(_of_few_classes(classes))
    return warnings


def _of_few_classes(classes: int) -> str:
    """How far intervals hold: the coverages that `weighted_mean` was measured to have."""
    if classes == 1:
        return "1 class: its values have no intervals, which are over classes."
    measured, held = ("2 to 4", "66% to 100%") if classes < 5 else ("5 to 12", "87% to 99%")
    return (
        f"{classes} classes: too few for exact intervals. Measured with {measured} classes, intervals of 95%"
        f" held the true value {held} of the time."
    )


def _counts(data: dict[str, Any]) -> str:
    counts = (
        f"{data['captions']:,} captions of {data['images']:,} images of {data['classes']:,} classes of"
        f" the {data['split']} split; {data['generated_captions']:,} captions generated, each from speech and"
        f" from text with the same noise (seed {data['seed']})."
    )
    counts += sampling_note(data)
    return counts + "".join(
        f" {count:,} captions {why} are read in part by the text run."
        for why, count in data["read_in_part"].items()
    )


def _attributes(scores: Scores) -> Section:
    """Bars of each attribute's accuracy, without groups such as all colours."""
    rows: dict[str, dict[str, float]] = {}
    for modality in MODALITIES:
        for score in scores[modality]["attribute_accuracy"]:
            name, style = score.metric.partition("/")[2], modality if score.of == "run" else score.of
            if name not in ("", "colours") and style in (*MODALITIES, "real", "chance"):
                rows.setdefault(name, {}).setdefault(style, score.value)
    if not rows:
        return Section("Attributes", "", "")
    order = (*MODALITIES, "real", "chance")
    bars = [
        (name.replace("_", " "), {style: values[style] for style in order if style in values})
        for name, values in rows.items()
    ]
    half = -(-len(bars) // 2)
    charts = "".join(bar_chart("Attribute accuracy", column) for column in (bars[:half], bars[half:]))
    spoken = sorted((values["speech"], name) for name, (_, values) in zip(rows, bars, strict=True))
    finding = " to ".join(
        f"{name.replace('_', ' ')} {number(value)}" for value, name in (spoken[0], spoken[-1])
    )
    return Section(
        "Attributes",
        f"accuracy of images from speech, attribute by attribute: {finding}",
        f'<div class="charts pairs">{charts}</div>',
    )


def _steps(data: dict[str, Any]) -> str:
    return ", ".join(f"{run['step']:,} steps from {modality}" for modality, run in data["runs"].items())


def _facts(results: dict[str, Any]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in _fact_lines(results))}</ul>"


def _fact_lines(results: dict[str, Any]) -> Iterator[str]:
    data = results["data"]
    for modality, run in data["runs"].items():
        yield f"{modality}: {run['name']}, {run['step']:,} steps"
    yield f"images of {data['generated_size']} px"
    yield f"test data: {data['fingerprint'][:12]}"
    if "note" in data:
        yield data["note"]
    has_classifier = data["classifier"]
    yield (
        f"classifier: {data['classifier']}" if has_classifier else "no classifier: no classifier-based metric"
    )
    for key, (one, other) in data["settings_that_differ"].items():
        yield f"not shared: {key}: {one} (speech), {other} (text)"
    if not data["settings_that_differ"]:
        yield "generator, discriminators, training and seeds: the same settings for both"
    for stage, seconds in results["seconds"].items():
        yield f"recipe stage {stage}: {seconds:,.0f} s"
