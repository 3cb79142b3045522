"""The page of a comparison: HTML from its numbers, images and logs; style and script are inside it.

Functions that return strings instead of templates: most of the page is tables and figures built from data,
each a few lines of HTML, and a missing value is an error of Python's here, not an empty place on the page. Of
the 864 lines that make the pages of s2i 74 hold a tag; a template would take the place of those alone.
Measured: jinja2 makes a table of 60 rows in 1.0 ms after 52 ms to import and compile, `tables.html` in .2 ms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from s2i.evaluation.score import Score
from s2i.reports import analysis_sections
from s2i.reports.charts import Curve, bar_chart, line_chart
from s2i.reports.comparison_analyses import AnalysisResults
from s2i.reports.gallery import GalleryImages, GalleryItem
from s2i.reports.sections import difference_name
from s2i.reports.style import STYLE
from s2i.runs.run import Run
from s2i.tables import Cell, Heading, Row, html, metric_label, number

MODALITIES = ("speech", "text")
Points = list[tuple[float, float]]
Scores = dict[str, dict[str, list[Score]]]  # modality -> protocol -> scores
STEPS = {"speech": "segment", "text": "word"}
COLUMNS = ("", *MODALITIES, "difference", "real", "chance", "n")  # of the table of results
SCRIPT = """
document.addEventListener("play", event => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
"""


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    results: dict[str, Any]
    scores: Scores
    gallery: list[GalleryItem]
    every: int  # the gallery holds every so-many-th generated caption
    analyses: AnalysisResults
    runs: dict[str, dict[str, Run]]  # modality -> "generator", "encoder" -> run, where its log is at hand


def page(report: Report) -> str:
    """A whole HTML document; `audio/` and `images/` lie beside it."""
    results, analyses = report.results, report.analyses
    sections = [
        _header(report),
        "<h2>Results</h2>",
        _table(report),
        *_section("Attribute accuracy by attribute", _attribute_bars(report)),
        *_section("Seed variance", analysis_sections.seed_variance(results)),
        *_section("Results by class", analysis_sections.per_class(results)),
        *_section("Generated images", _gallery(report)),
        *_section("Word swaps", analysis_sections.word_swaps(results, analyses)),
        *_section("Interpolation between captions", analysis_sections.interpolation(results, analyses)),
        *_section("Robustness", analysis_sections.robustness(results)),
        *_section("Cascade: speech recognition, then text", analysis_sections.cascade(results)),
        *_section("Diversity", analysis_sections.diversity(results, analyses)),
        *_section("Memorisation", analysis_sections.memorisation(results, analyses)),
        *_section("Training curves", _curves(report)),
        *_section("Set-up", _facts(results)),
    ]
    return document("Images from speech and from text", sections)


def document(title: str, sections: list[str]) -> str:
    """Sections of HTML as a whole document, with style and script inside."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n{chr(10).join(sections)}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def summary(results: dict[str, Any]) -> str:
    """The comparison in one sentence, from results.json's content."""
    generated, difference = results["generation"], results["difference"]
    metric = "attribute_accuracy"
    if metric not in generated.get("speech", {}):
        generated, metric = results["retrieval"], "recall@1"
    values = {
        of: generated[of][metric] for of in (*MODALITIES, "real", "chance") if metric in generated.get(of, {})
    }
    name = f"{metric_label(metric)} of {_MEASURED[metric]}"
    sentence = f"{name}: {_percent(values['speech'])} from speech, {_percent(values['text'])} from text"
    if metric in difference:
        of_metric = difference[metric]
        low, high = (f"{100 * end:+.1f}" for end in of_metric["interval95"])
        sentence += f" ({100 * of_metric['speech_minus_text']:+.1f} points, 95% interval {low} to {high})"
    others = [f"{name}: {_percent(values[of])}" for of, name in _OTHERS.items() if of in values]
    return f"{sentence}; {', '.join(others)}."


_MEASURED = {"attribute_accuracy": "generated images", "recall@1": "retrieval by caption"}
_OTHERS = {"real": "real images", "chance": "chance"}


def _header(report: Report) -> str:
    data = report.results["data"]
    counts = (
        f"{data['captions']:,} captions of {data['images']:,} images of {data['classes']:,} classes of"
        f" the {data['split']} split; {data['generated_captions']:,} captions generated, each from speech and"
        f" from text with the same noise (seed {data['seed']})."
    )
    counts += "".join(
        f" {count:,} captions {why} are read in part by the text run."
        for why, count in data["read_in_part"].items()
    )
    return (
        f"<header><h1>Images from speech and from text</h1>"
        f'<p class="verdict">{escape(summary(report.results))}</p>'
        f'<p class="soft">{escape(counts)}</p></header>'
    )


def _section(title: str, content: str) -> list[str]:
    return [f"<h2>{escape(title)}</h2>", content] if content else []


def _table(report: Report) -> str:
    """The main numbers, then, folded away, the parts: by speaker and by attribute."""
    whole: list[Row | Heading] = []
    parts: list[Row | Heading] = []
    for protocol, text in report.results["protocols"].items():
        if protocol not in report.scores["speech"]:  # of an analysis
            continue
        by_name: dict[str, dict[str, Score]] = {}
        for modality in MODALITIES:
            for score in report.scores[modality][protocol]:
                column = modality if score.of == "run" else score.of
                by_name.setdefault(score.metric, {}).setdefault(column, score)
        main = {name for name in by_name if "/" not in name and not protocol.endswith("_speakers")}
        for rows, chosen in ((whole, main), (parts, by_name.keys() - main)):
            if chosen:
                rows.append(_heading(protocol, text, report.results.get("extractors", {}).get(protocol, {})))
                rows += [_row(report, protocol, name, by_name[name]) for name in by_name if name in chosen]
    note = (
        '<p class="note">In brackets: 95% intervals, t over classes. Difference:'
        " speech minus text, over the same captions. Each heading opens to the procedure.</p>"
    )
    if not parts:
        return html(COLUMNS, whole) + note
    folded = f"<details><summary>By speaker and by attribute</summary>{html(COLUMNS, parts)}</details>"
    return html(COLUMNS, whole) + note + folded


def _heading(protocol: str, text: str, extractor: dict[str, str]) -> Heading:
    facts = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in extractor.items())
    return Heading(protocol.replace("_", " "), (text, facts))


def _row(report: Report, protocol: str, metric: str, scores: dict[str, Score]) -> Row:
    values = {
        column: number(score.value, score.interval95, metric)
        for column, score in scores.items()
        if column in COLUMNS
    }
    if "majority" in scores:
        majority = f"majority {number(scores['majority'].value, metric=metric)}"
        values["chance"] = Cell(str(values.get("chance", "")), (majority,))
    if difference := _difference_of(report, protocol, metric):
        values["difference"] = number(
            difference["speech_minus_text"], difference["interval95"], metric, signed=True
        )
    any_score = scores.get("speech") or next(iter(scores.values()))
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in any_score.counts.items())
    name = Cell(metric_label(metric), (any_score.note,))
    return {**values, "": name, "n": Cell(remarks=(counts,))}


def _difference_of(report: Report, protocol: str, metric: str) -> dict[str, Any] | None:
    if protocol.endswith("_speakers"):
        return None
    retrieved = report.results["retrieval"].get("speech", {})
    return report.results["difference"].get(difference_name(protocol, metric, retrieved))


def _attribute_bars(report: Report) -> str:
    rows: dict[str, dict[str, float]] = {}
    for modality in MODALITIES:
        for score in report.scores[modality]["attribute_accuracy"]:
            _, _, name = score.metric.partition("/")
            style = modality if score.of == "run" else score.of
            if name and name in _attributes(report) and style in (*MODALITIES, "real", "chance"):
                rows.setdefault(name, {}).setdefault(style, score.value)
    order = (*MODALITIES, "real", "chance")
    bars = [
        (name, {style: values[style] for style in order if style in values}) for name, values in rows.items()
    ]
    half = -(-len(bars) // 2)
    title = "Attribute accuracy"
    charts = [bar_chart(title, part) for part in (bars[:half], bars[half:])]
    return f'<div class="charts">{"".join(charts)}</div>' if bars else ""


def _attributes(report: Report) -> set[str]:
    """All attributes of the table, without groups such as all colours."""
    scores = report.scores["speech"]["attribute_accuracy"]
    return {score.metric.partition("/")[2] for score in scores} - {"", "colours"}


def _gallery(report: Report) -> str:
    if not report.gallery:
        return ""
    nth = "all of them" if report.every == 1 else f"one in every {report.every}, from the first on"
    total = report.results["data"]["generated_captions"]
    rule = (
        f"{len(report.gallery)} of the {total:,} generated captions: {nth}, in the order of the data, good"
        " and bad alike. Audio: the speech encoder's input. Chips: the mentioned attributes, as the"
        " classifier predicts them."
    )
    cards = "\n".join(_card(number, item) for number, item in enumerate(report.gallery, 1))
    return f'<p class="soft">{escape(rule)}</p><div class="cards">{cards}</div>'


def _card(number: int, item: GalleryItem) -> str:
    text = item.caption.text or ""
    voice = f"spoken by {item.caption.speaker}" if item.caption.speaker else ""
    if item.unseen_speaker:
        voice += ", unseen in training"
    facts = " · ".join(part for part in (item.class_name, voice) if part)
    images = [(f"from {modality}", item.generated[modality].stages[-1]) for modality in MODALITIES]
    images.append(("real", item.real))
    row = "".join(figure(f"{name}: {text}", source, name) for name, source in images)
    chips = "".join(chip_list(modality, item.generated[modality]) for modality in MODALITIES)
    stages = "".join(
        f'<p class="soft">from {modality}</p><div class="stages">'
        + "".join(
            figure(f"stage {stage} from {modality}: {text}", source, f"stage {stage}")
            for stage, source in enumerate(item.generated[modality].stages)
        )
        + "</div>"
        for modality in MODALITIES
    )
    attention = "".join(attention_tiles(modality, item.generated[modality]) for modality in MODALITIES)
    attention = (
        attention and f"<details><summary>Attention of each segment and word</summary>{attention}</details>"
    )
    return (
        f'<article class="card" id="caption-{number}"><h3>{number}. {escape(text) or "(unwritten)"}</h3>'
        f'<p class="note">{escape(facts)}</p>'
        f'<audio controls preload="none" src="{item.audio}" aria-label="caption {number}, spoken"></audio>'
        f'<div class="three">{row}</div>{chips}'
        f"<details><summary>Every stage</summary>{stages}</details>{attention}</article>"
    )


def figure(description: str, source: str, name: str) -> str:
    """An image with its name under it."""
    return (
        f'<figure><img loading="lazy" src="{source}" alt="{escape(description)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
    )


def chip_list(modality: str, generated: GalleryImages) -> str:
    """The classifier's predictions of the mentioned attributes; "" without a classifier."""
    if not generated.predictions:
        return ""
    chips = []
    for each in generated.predictions:
        style, mark = ("right", "✓") if each.is_right else ("wrong", f"✗ {each.predicted}")
        chips.append(f'<li class="{style}">{escape(f"{each.attribute}: {each.mentioned} {mark}")}</li>')
    return f'<ul class="chips"><li class="soft">{modality}</li>{"".join(chips)}</ul>'


def attention_tiles(modality: str, generated: GalleryImages) -> str:
    """The attention of each segment or word; "" without attention."""
    if not generated.attention:
        return ""
    count, tiles = len(generated.labels), []
    for place, label in enumerate(generated.labels):
        along = 100 * place / max(1, count - 1)
        described = escape(f"attention of {label}, from {modality}")
        tiles.append(
            f'<figure><div class="tile" role="img" aria-label="{described}" style="background:'
            f"url('{generated.attention}') {along:.3f}% 0 / {100 * count}% 100%\"></div>"
            f"<figcaption>{escape(label)}</figcaption></figure>"
        )
    title = f"from {modality}, {STEPS[modality]} by {STEPS[modality]}"
    return f'<p class="soft">{title}</p><div class="tiles">{"".join(tiles)}</div>'


def _curves(report: Report) -> str:
    def chart(title: str, kind: str, *lines: tuple[str, bool, Callable[..., Points]]) -> str:
        curves = [
            Curve(f"{modality}: {name}", modality, dashed, points(report.runs[modality][kind]))
            for modality in MODALITIES
            if kind in report.runs[modality]
            for name, dashed, points in lines
        ]
        return line_chart(title, curves)

    charts = [
        chart(
            "Encoders: retrieval on validation captions",
            "encoder",
            ("mAP", False, partial(_measured, metric="mAP")),
            ("recall@1", True, partial(_measured, metric="recall@1")),
        ),
        chart("Encoders: loss", "encoder", ("all", False, partial(_logged, pattern="loss/all"))),
    ]
    sizes = {
        int(matched[1])
        for runs in report.runs.values()
        for line in (runs["generator"].read_log() if "generator" in runs else [])
        for key in line
        if (matched := re.match(r"[dg]_(\d+)\w*/", key))
    }
    for size in sorted(sizes):
        charts.append(
            chart(
                f"{size} px: sum of the adversarial terms",
                "generator",
                ("discriminator", False, partial(_logged, pattern=rf"d_{size}(_\w+)?/(?!penalty)")),
                ("generator", True, partial(_logged, pattern=rf"g_{size}(_\w+)?/")),
            )
        )
    shown = "".join(charts)
    return f'<div class="charts">{shown}</div>' if shown else ""


def _measured(run: Run, metric: str) -> Points:
    return [
        (line["step"], line["value"])
        for line in run.read_metrics()
        if line.get("metric") == metric and line.get("split") == "val" and "step" in line
    ]


def _logged(run: Run, pattern: str) -> Points:
    """The sum, step by step, of what is logged under names that begin as `pattern`."""
    points = []
    for line in run.read_log():
        terms = [value for name, value in line.items() if re.match(pattern, name) and value is not None]
        if terms:
            points.append((line["step"], sum(terms)))
    return points


def _facts(results: dict[str, Any]) -> str:
    data = results["data"]
    runs = [f"{modality}: {run['name']}, {run['step']:,} steps" for modality, run in data["runs"].items()]
    lines = [*runs, f"images of {data['generated_size']} px", f"test data: {data['fingerprint'][:12]}"]
    lines += [data["note"]] if "note" in data else []
    lines.append(
        f"classifier: {data['classifier']}"
        if data["classifier"]
        else "no classifier: no classifier-based metric"
    )
    differing = data["settings_that_differ"]
    lines += [f"not shared: {key}: {one} (speech), {other} (text)" for key, (one, other) in differing.items()]
    if not differing:
        lines.append("generator, discriminators, training and seeds: the same settings for both")
    lines += [f"recipe stage {stage}: {seconds:,.0f} s" for stage, seconds in results["seconds"].items()]
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
