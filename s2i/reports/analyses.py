"""The part of a comparison's page that answers a reader's questions; HTML from numbers and files."""

from __future__ import annotations

from html import escape
from typing import Any

from s2i.analysis.analyses import Questions
from s2i.analysis.per_caption import METRICS
from s2i.analysis.robustness import shown
from s2i.reports.charts import bar_chart, scatter_chart

SIDES = ("speech", "text")
ROBUSTNESS_CHART = "images/robustness.svg"
TOLD = {  # of every run: metric of results.json's difference -> its name in the table
    "attribute_accuracy": "attribute accuracy",
    "generation/mAP": "class mAP of generated images",
    "kid": "classifier KID",
    "recall@1": "recall@1 of retrieval",
    "mAP": "mAP of retrieval",
    "median_rank": "median rank of retrieval",
}


def luck(results: dict[str, Any]) -> str:
    """Every run's value, and what chance would make of the differences."""
    runs, rows = results["runs"], []
    for metric, name in TOLD.items():
        if metric not in results["difference"]:
            continue
        found = results["difference"][metric]
        values = {side: [_of(run, metric) for run in runs[side]] for side in SIDES}
        if None in [*values["speech"], *values["text"]]:
            continue
        cells = [
            ("", escape(name)),
            *((side, ", ".join(f"{value:.3f}" for value in values[side])) for side in SIDES),
            ("difference", _with_interval(found["speech_minus_text"], found["interval95"])),
            ("p, classes", _probability(found.get("permutation_p"))),
            ("p, runs", _probability(found.get("permutation_p_runs"))),
        ]
        rows.append(cells)
    if not rows:
        return ""
    counts = {side: len(runs[side]) for side in SIDES}
    note = (
        "One training a side: the interval and p hold the luck of captions, not that of a training."
        " `s2i compare` takes further seeds with --also-speech and --also-text."
        if counts == {"speech": 1, "text": 1}
        else f"{counts['speech']} trainings from speech, {counts['text']} from text; intervals hold the luck"
        " of classes and of trainings. p, runs: the runs dealt to the sides in every way; few runs can't give"
        " a small one."
    )
    note += (
        " p, classes: speech and text exchanged class by class; the share of exchanges that differ as much."
    )
    return _table(rows) + f'<p class="note">{escape(note)}</p>'


def classes(results: dict[str, Any]) -> str:
    """Speech against text, a dot a class, and the list folded away."""
    found = results.get("classes") or {}
    if not found.get("rows"):
        return ""
    title = f"{found['metric'].replace('_', ' ')}, a dot a class"
    dots = [(row["text"], row["speech"], row["class"]) for row in found["rows"]]
    rows = [
        [
            ("", escape(row["class"].replace("_", " "))),
            ("speech", f"{row['speech']:.3f}"),
            ("text", f"{row['text']:.3f}"),
            ("difference", f"{row['speech'] - row['text']:+.3f}"),
            ("captions", str(row["captions"])),
        ]
        for row in found["rows"]
    ]
    folded = f"<details><summary>Every class</summary>{_table(rows)}</details>"
    chart = scatter_chart(title, dots, "from text", "from speech")
    return f'<div class="charts">{chart}</div>{folded}'


def follows(results: dict[str, Any], asked: Questions) -> str:
    """One word changed: does the image change with it, and in nothing else?"""
    numbers = results["questions"].get("following")
    if not numbers:
        return ""
    told = {
        "followed": "the new value is generated",
        "before": "the same before the swap",
        "stayed": "other attributes stay as they were",
    }
    rows = [
        [("", escape(what))]
        + [
            (side, _with_interval(found["value"], found["interval95"], signed=False))
            for side in SIDES
            if (found := numbers[side].get(name))
        ]
        for name, what in told.items()
    ]
    bars = [
        (name, {side: numbers[side]["by_attribute"][name]["followed"] for side in SIDES})
        for name in numbers["speech"]["by_attribute"]
    ]
    count = f"{numbers['speech']['counts']['swaps']} swaps"
    unknown = numbers["text"]["counts"]["unknown"]
    count += f", {unknown} of them to a word that the text run never learnt" if unknown else ""
    cards = "".join(
        f'<div class="card"><p class="note">{escape(example.text)}<br>→ {_marked(example)}</p>'
        '<div class="two">'
        + "".join(_image(example.files[side], f"{side}: before and after the swap", side) for side in SIDES)
        + "</div></div>"
        for example in asked.examples
    )
    return (
        f"{_table(rows)}{_procedure(results, 'following', count)}"
        f'<div class="charts">{bar_chart("share of swaps in which the new value is generated", bars)}</div>'
        f'<div class="cards">{cards}</div>'
    )


def strips(results: dict[str, Any], asked: Questions) -> str:
    """From one caption to another on one noise."""
    if not asked.strips:
        return ""
    shown = "".join(
        f'<p class="note">{escape(strip.first)} → {escape(strip.second)}</p>'
        + "".join(
            _image(strip.files[side], f"from {side}: {strip.first} to {strip.second}", side, "wide")
            for side in SIDES
        )
        for strip in asked.strips
    )
    return _procedure(results, "interpolation") + shown


def through_words(results: dict[str, Any]) -> str:
    """Speech, recognition and then text, and the captions' own text."""
    found = results.get("cascade")
    if not found:
        return ""
    rows = []
    for metric, columns in found["metrics"].items():
        cells = [("", escape(metric.replace("_", " ")))]
        cells += [(name, shown(columns[name])) for name in ("speech", "cascade", "text")]
        cells += [
            (f"cascade minus {name}", shown(columns[name]["cascade_minus"], "+"))
            for name in ("speech", "text")
        ]
        rows.append(cells)
    examples = "".join(
        f"<li>{escape(each['said'])} → {escape(each['written'] or '(nothing)')}</li>"
        for each in found["examples"]
    )
    counts = found["counts"]
    told = f"{counts['captions']:,} captions, {counts['unread']} unread"
    told += f", {counts['read_in_part']} read in part"
    rate = f'<p class="note">Word error rate {100 * found["word_error_rate"]:.1f}%</p>'
    return f'{_table(rows)}{rate}{_procedure(results, "cascade", told)}<ul class="note">{examples}</ul>'


def voices(results: dict[str, Any]) -> str:
    """What noise, rooms, speed and other voices do to the run from speech."""
    found = results["questions"].get("robustness")
    if not found:
        return ""
    rows = []
    for row in found["rows"]:
        cells = [("", escape(row["name"]))]
        for metric in METRICS:
            if metric in row:
                cells.append((metric.replace("_", " "), shown(row[metric])))
                change = row[metric].get("difference")
                cells.append(
                    (f"change of {metric.split('_')[0].lower()}", shown(change, "+") if change else "")
                )
        rows.append([*cells, ("captions", f"{row['captions']:,}")])
    how = f'<p class="note">{escape(found["procedure"])}</p>'
    chart = _image(
        ROBUSTNESS_CHART, "differences from the clean recordings, condition by condition", "", "wide"
    )
    return f'{_table(rows)}{chart}<details class="how"><summary>How this is measured</summary>{how}</details>'


def one_image(results: dict[str, Any], asked: Questions) -> str:
    """Captions resampled and again."""
    numbers = results["questions"]["diversity"]
    rows = [
        [("", what)] + [(side, f"{numbers[side][name]:.3f}") for side in SIDES if name in numbers[side]]
        for name, what in (
            ("within", "two images of one caption differ by"),
            ("between", "of different captions"),
            ("ratio", "within over between"),
            ("real", "two real images of one class differ by"),
        )
    ]
    texts = "; ".join(asked.spread_texts)
    shown = "".join(
        _image(asked.diversity[side], f"from {side}, a caption a row: {texts}", side, "wide")
        for side in SIDES
    )
    counts = numbers["speech"]["counts"]
    told = f"{counts['captions']} captions, {counts['generated images']} generated images each"
    note = f'<p class="note">Rows: {escape(texts)}</p>'
    return f'{_table(rows)}{_procedure(results, "diversity", told)}{note}<div class="two">{shown}</div>'


def remembered(results: dict[str, Any], asked: Questions) -> str:
    """Generated images above the training images nearest to them."""
    numbers = results["questions"].get("duplicates")
    if not numbers:
        return ""
    real = numbers["speech"]["real"]
    rows = [
        [("", "duplicates of training images")]
        + [
            (side, _with_interval(numbers[side]["duplicate_rate"], numbers[side]["interval95"], signed=False))
            for side in SIDES
        ]
        + [("real", f"{real['duplicate_rate']:.3f}")],
        [("", "distance to the nearest")]
        + [(side, f"{numbers[side]['nearest']:.3f}") for side in SIDES]
        + [("real", f"{real['nearest']:.3f}")],
    ]
    counts = numbers["speech"]["counts"]
    shown = "".join(
        _image(
            asked.memory[side],
            f"from {side}: generated images above, the nearest training images below",
            f"from {side}: generated, and below each its nearest training image",
            "wide",
        )
        for side in SIDES
    )
    told = f"{counts['generated']:,} generated, {counts['training']:,} training images"
    return f"{_table(rows)}{_procedure(results, 'duplicates', told)}{shown}"


def _of(run: dict[str, Any], metric: str) -> float | None:
    section, _, name = metric.rpartition("generation/")
    if section or metric != name:
        return run["values"]["generation"].get(name)
    return run["values"]["retrieval"].get(name, run["values"]["generation"].get(name))


def _table(rows: list[list[tuple[str, str]]]) -> str:
    widest = max(rows, key=len)
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in widest)
    body = "".join(
        "<tr>" + "".join(f'<td data-column="{escape(name)}">{text}</td>' for name, text in row) + "</tr>"
        for row in rows
    )
    return f'<table class="compact"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _procedure(results: dict[str, Any], name: str, counts: str = "") -> str:
    told = f" ({escape(counts)})" if counts else ""
    return (
        f'<details class="how"><summary>How this is measured{told}</summary>'
        f'<p class="note">{escape(results["protocols"][name])}</p></details>'
    )


def _with_interval(value: float, interval: list[float], signed: bool = True) -> str:
    form = "{:+.3f}" if signed else "{:.3f}"
    ends = f"<small>[{', '.join(form.format(end) for end in interval)}]</small>" if interval else ""
    return f"<span>{form.format(value)}{ends}</span>"


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return "&lt; .001" if value < 0.001 else f"{value:.3f}"


def _marked(example: Any) -> str:
    """The swapped sentence with what differs from the first one set bold."""
    words, before = example.swapped.split(), example.text.split()
    return " ".join(
        f"<b>{escape(word)}</b>" if place >= len(before) or word != before[place] else escape(word)
        for place, word in enumerate(words)
    )


def _image(source: str, description: str, name: str, style: str = "") -> str:
    return (
        f'<figure class="{style}"><img loading="lazy" src="{source}" alt="{escape(description)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
    )
