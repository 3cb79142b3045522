"""The sections of a comparison's page about its analyses; HTML from numbers and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from s2i.reports.charts import bar_chart, class_chart
from s2i.reports.comparison_analyses import AnalysisResults, InterpolationExample, SwapExample
from s2i.reports.document import Section, figure
from s2i.reports.robustness import condition_rows
from s2i.tables import Cell, Row, filled, html, metric_label, number, prose

SIDES = ("speech", "text")
ROBUSTNESS_CHART = "images/robustness.svg"
FAMILY_CHART = "images/families.svg"
EVERY_RUN = {  # key of results.json's difference -> its name in the table of every run's values
    "attribute_accuracy": "Attribute accuracy",
    "generation/mAP": "mAP of generated images",
    "kid": "KID, classifier's features",
    "recall@1": "Recall@1 of retrieval",
    "mAP": "mAP of retrieval",
    "median_rank": "Median rank of retrieval",
}


def seed_variance(results: dict[str, Any]) -> Section:
    """Every run's value, and permutation tests of the differences."""
    runs, rows = results["runs"], []
    for metric, name in EVERY_RUN.items():
        if metric not in results["difference"]:
            continue
        difference = results["difference"][metric]
        values = {side: [_value_of(run, metric) for run in runs[side]] for side in SIDES}
        if None in [*values["speech"], *values["text"]]:
            continue
        rows.append(
            {
                "": name,
                **{
                    side: ", ".join(str(number(value, metric=_name(metric))) for value in values[side])
                    for side in SIDES
                },
                "difference": number(
                    difference["speech_minus_text"], difference["interval95"], _name(metric), signed=True
                ),
                "p, classes": _probability(difference.get("permutation_p")),
                "p, runs": _probability(difference.get("permutation_p_runs")),
            }
        )
    counts = {side: len(runs[side]) for side in SIDES}
    note = (
        "One training a side: the interval and p hold the variance of classes, not that of seeds."
        " `s2i compare` takes further seeds with --also-speech and --also-text."
        if counts == {"speech": 1, "text": 1}
        else f"{counts['speech']} trainings from speech, {counts['text']} from text; intervals hold the"
        " variance of classes and of seeds. p, runs: permutation test over all assignments of the runs to the"
        " sides; few runs can't give a small one."
    )
    note += " p, classes: permutation test that exchanges speech and text class by class."
    finding = f"trainings: {counts['speech']} from speech, {counts['text']} from text"
    content = _table(rows) + f'<p class="note">{prose(note)}</p>' if rows else ""
    return Section("Seeds", finding, content)


def per_class(results: dict[str, Any]) -> Section:
    """Speech and text of each class, and the list folded away."""
    title, numbers = "Classes", results.get("per_class") or {}
    if not numbers.get("rows"):
        return Section(title, "", "")
    metric, classes = numbers["metric"], numbers["rows"]
    rows = [
        {
            "": row["class"].replace("_", " "),
            **{side: number(row[side], metric=metric) for side in SIDES},
            "difference": number(row["speech"] - row["text"], metric=metric, signed=True),
            "captions": str(row["captions"]),
        }
        for row in classes
    ]
    chart = class_chart(
        f"{metric_label(metric)} of each class",
        [(row["class"].replace("_", " "), row["text"], row["speech"]) for row in classes],
    )
    ahead = sum(row["speech"] > row["text"] for row in classes)
    finding = f"speech is ahead of text in {ahead} of {len(classes)} classes"
    return Section(title, finding, f"{chart}<details><summary>Every class</summary>{_table(rows)}</details>")


@dataclass(frozen=True)
class SwapKind:
    """How the swaps of one analysis are shown: names of its metrics, and what its chart and headline say."""

    analysis: str
    title: str
    finding: str
    metrics: dict[str, str]  # {name: label}; the first is charted, group by group
    groups: str
    chart: str


SWAP_KINDS = (
    SwapKind(
        "word_swap",
        "Word swaps",
        "share of images that follow one exchanged word",
        {
            "swap_accuracy": "new value generated after the swap",
            "swap_accuracy_before": "new value generated before the swap",
            "consistency": "other attributes unchanged",
        },
        "by_attribute",
        "Swaps after which the new value is generated",
    ),
    SwapKind(
        "colour_swap",
        "Colour swaps",
        "share of images with more of a colour that replaces another in the caption",
        {
            "new_colour_gains": "more of the new colour (1/2: not heard)",
            "old_colour_loses": "less of the old colour",
            "other_colours_gain": "more of a colour of neither sentence",
        },
        "by_colour",
        "Swaps after which there is more of the new colour",
    ),
)


def swaps(results: dict[str, Any], analyses: AnalysisResults, kind: SwapKind) -> Section:
    """One word exchanged: whether the image changes in what it says, and in that alone."""
    numbers = results["analyses"].get(kind.analysis)
    if not numbers:
        return Section(kind.title, "", "")
    rows = [
        {"": label, **{side: _measured(numbers[side].get(name)) for side in SIDES}}
        for name, label in kind.metrics.items()
    ]
    first = next(iter(kind.metrics))
    bars = [
        (name.replace("_", " "), {side: numbers[side][kind.groups][name][first] for side in SIDES})
        for name in numbers["speech"][kind.groups]
    ]
    counts = f"{numbers['speech']['counts']['swaps']} swaps"
    unknown = numbers["text"]["counts"].get("unknown_words")  # absent: it reads characters
    counts += f", {unknown} of them to a word that the text run never learnt" if unknown else ""
    cards = "".join(
        f'<div class="card"><p class="note">{escape(example.text)}<br>→ {_marked(example)}</p>'
        '<div class="two">'
        + "".join(figure(f"{side}: before and after the swap", example.files[side], side) for side in SIDES)
        + "</div></div>"
        for example in analyses.swaps
    )
    content = (
        f"{_table(rows)}{_procedure(results, kind.analysis, counts)}"
        f'<div class="charts">{bar_chart(kind.chart, bars)}</div><div class="cards">{cards}</div>'
    )
    changed = _both({side: numbers[side][first]["value"] for side in SIDES})
    return Section(kind.title, f"{kind.finding}: {changed}", content)


def interpolation(results: dict[str, Any], examples: Sequence[InterpolationExample]) -> Section:
    """Images from one caption to another on one noise: a strip a side for each pair of captions."""
    strips = "".join(
        f'<p class="note">{escape(example.first)} → {escape(example.last)}</p>'
        + "".join(
            figure(f"from {side}: {example.first} to {example.last}", file, side, "wide")
            for side, file in example.files.items()
        )
        for example in examples
    )
    content = _procedure(results, "interpolation") + strips if examples else ""
    return Section("Interpolation", f"images between the captions of {len(examples)} pairs", content)


def cascade(results: dict[str, Any]) -> Section:
    """Speech recognition and then the text run, beside speech and the captions' own text."""
    title, numbers = "Cascade: speech recognition, then text", results.get("cascade")
    if not numbers:
        return Section(title, "", "")
    rows = []
    for metric, columns in numbers["metrics"].items():
        cells = {name: _measured(columns[name], metric) for name in ("speech", "cascade", "text")}
        cells |= {
            f"cascade minus {side}": _measured(columns[side]["cascade_minus"], metric, signed=True)
            for side in SIDES
        }
        rows.append({"": metric_label(metric), **cells})
    examples = "".join(
        f"<li>{escape(each['reference'])} → {escape(each['transcription'] or '(nothing)')}</li>"
        for each in numbers["examples"]
    )
    counts = numbers["counts"]
    text = f"{counts['captions']:,} captions, {counts['unread']} unread"
    text += f", {counts['read_in_part']} read in part"
    rate = f"Word error rate {number(numbers['word_error_rate'])}"
    content = f'{_table(rows)}{_procedure(results, "cascade", text)}<ul class="note">{examples}</ul>'
    return Section(title, rate, content)


def robustness(results: dict[str, Any]) -> Section:
    """What noise, rooms, speed and other voices do to the run from speech."""
    title, numbers = "Robustness", results["analyses"].get("robustness")
    if not numbers:
        return Section(title, "", "")
    procedure = f'<p class="note">{prose(numbers["procedure"])}</p>'
    description = "differences from the clean recordings, condition by condition"
    chart = figure(description, ROBUSTNESS_CHART, "", "wide")
    if any(row["group"] == "family" for row in numbers["rows"]):
        chart = figure("scores by family of synthesisers", FAMILY_CHART, "", "wide") + chart
    folded = f'<details class="how"><summary>Procedure</summary>{procedure}</details>'
    rows = condition_rows(numbers)
    finding = f"{len(rows)} conditions of noise, rooms, speed and voices"
    return Section(title, finding, f"{chart}{_table(rows)}{folded}")


def diversity(results: dict[str, Any], analyses: AnalysisResults) -> Section:
    """Images of one caption from several noises."""
    numbers = results["analyses"]["diversity"]
    rows = [
        {"": label, **{side: number(numbers[side].get(name)) for side in SIDES}}
        for name, label in (
            ("within", "distance of two images of one caption"),
            ("between", "distance of images of different captions"),
            ("ratio", "ratio of the two"),
            ("real", "distance of two real images of one class"),
        )
    ]
    texts = "; ".join(analyses.diversity_texts)
    images = "".join(
        figure(f"from {side}, a caption a row: {texts}", analyses.diversity[side], side, "wide")
        for side in SIDES
    )
    counts = numbers["speech"]["counts"]
    text = f"{counts['captions']} captions, {counts['images_per_caption']} generated images each"
    note = f'<p class="note">Rows: {escape(texts)}</p>'
    content = f'{_table(rows)}{_procedure(results, "diversity", text)}{note}<div class="two">{images}</div>'
    ratio = _both({side: numbers[side]["ratio"] for side in SIDES})
    finding = f"distance within a caption over that between captions: {ratio}"
    return Section("Diversity", finding, content)


def memorisation(results: dict[str, Any], analyses: AnalysisResults) -> Section:
    """Generated images above the training images nearest to them."""
    title, numbers = "Memorisation", results["analyses"].get("memorisation")
    if not numbers:
        return Section(title, "", "")
    real = numbers["speech"]["real"]
    rows = [
        {
            "": "duplicates of training images",
            **{side: number(numbers[side]["duplicate_rate"], numbers[side]["interval95"]) for side in SIDES},
            "real": number(real["duplicate_rate"]),
        },
        {
            "": "distance to the nearest",
            **{side: number(numbers[side]["nearest_distance"]) for side in SIDES},
            "real": number(real["nearest_distance"]),
        },
    ]
    counts = numbers["speech"]["counts"]
    images = "".join(
        figure(
            f"from {side}: generated images above, the nearest training images below",
            analyses.neighbours[side],
            f"from {side}: generated, and below each its nearest training image",
            "wide",
        )
        for side in SIDES
    )
    text = f"{counts['generated']:,} generated, {counts['training']:,} training images"
    copies = _both({side: numbers[side]["duplicate_rate"] for side in SIDES})
    content = f"{_table(rows)}{_procedure(results, 'memorisation', text)}{images}"
    return Section(title, f"share of images that duplicate a training image: {copies}", content)


def _both(values: dict[str, float | None]) -> str:
    return ", ".join(f"{number(value)} from {side}" for side, value in values.items() if value is not None)


def _name(metric: str) -> str:
    """A metric's name, of its key in results.json's difference."""
    return metric.removeprefix("generation/")


def _value_of(run: dict[str, Any], metric: str) -> float | None:
    generated, name = run["values"]["generation"].get(_name(metric)), _name(metric)
    return generated if name != metric else run["values"]["retrieval"].get(name, generated)


def _table(rows: Sequence[Row]) -> str:
    return html(filled(rows), rows, "compact")


def _procedure(results: dict[str, Any], name: str, counts: str = "") -> str:
    suffix = f" ({escape(counts)})" if counts else ""
    return (
        f'<details class="how"><summary>Procedure{suffix}</summary>'
        f'<p class="note">{prose(results["protocols"][name])}</p></details>'
    )


def _measured(score: dict[str, Any] | None, metric: str = "", signed: bool = False) -> Cell:
    return number(score["value"], score["interval95"], metric, signed) if score else Cell()


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _marked(example: SwapExample) -> str:
    """The swapped sentence with what differs from the first one set bold."""
    words, before = example.swapped.split(), example.text.split()
    return " ".join(
        f"<b>{escape(word)}</b>" if place >= len(before) or word != before[place] else escape(word)
        for place, word in enumerate(words)
    )
