"""An answer as HTML: images, stages, players that `page.js` brings to life. All that it shows is in it."""

from __future__ import annotations

import base64
import io
from html import escape
from math import ceil

import numpy as np
from PIL import Image

from s2i.app.archive import image_name, png
from s2i.app.studio import Answer, GeneratedImage, Side
from s2i.app.timeline import Segment, Timeline
from s2i.data.images import grid

LOOK_COLUMNS = 12  # of a sheet of images under heat


def render(answer: Answer) -> str:
    """The whole answer; every word of the visitor's own is escaped."""
    players = []
    for side in answer.sides:
        if side.modality == "speech":
            players.append(_speech_player(side, answer.timeline))
        else:
            players.append(_text_player(side))
    cards = [_card(answer.sides, place) for place in range(len(answer.request.seeds))]
    wide = " s2i-both" if len(answer.sides) > 1 else ""
    return (
        f'<s2i-answer class="s2i-answer{wide}">{"".join(players)}'
        f'<div class="s2i-cards">{"".join(cards)}</div>{_neighbours(answer.sides)}</s2i-answer>'
    )


def failure(sentence: str) -> str:
    """What went wrong, as a sentence on the page."""
    return f'<p class="s2i-failure" role="alert">{escape(sentence)}</p>'


def _card(sides: list[Side], place: int) -> str:
    seed = sides[0].generated_images[place].seed
    figures = "".join(_figure(side, side.generated_images[place], place == 0) for side in sides)
    return f'<section class="s2i-card"><h3>Seed {seed}</h3><div class="s2i-pair">{figures}</div></section>'


def _figure(side: Side, generated: GeneratedImage, chosen: bool) -> str:
    *earlier, last = generated.stages
    name = f"from {side.modality}, seed {generated.seed}"
    image = f'<img src="{_uri(png(last))}" alt="Generated {name}">'
    if generated.looks:
        image = (
            f'<button type="button" class="s2i-pick" data-side="{side.modality}" data-seed="{generated.seed}"'
            f' data-looks="{_uri(_sheet(generated.looks), "jpeg")}" aria-pressed="{str(chosen).lower()}"'
            f' title="Show where this image looked">{image}</button>'
        )
    stages = "".join(
        f'<li><img src="{_uri(png(stage))}" alt="{len(stage)} px stage, {name}">{len(stage)} px</li>'
        for stage in earlier
    )
    save = (
        f'<a href="{_uri(png(last))}" download="{image_name(side.modality, generated.seed, len(last))}"'
        f' aria-label="Save the image generated {name}">save</a>'
    )
    return (
        f'<figure class="s2i-{side.modality}">{image}<figcaption><b>{side.modality}</b>'
        f" <span>{len(last)} px</span> {save}</figcaption>"
        f'<ol class="s2i-stages" aria-label="Earlier stages">{stages}</ol></figure>'
    )


def _neighbours(sides: list[Side]) -> str:
    """The nearest real images of each side, a row each."""
    rows = []
    for side in sides:
        tiles = "".join(
            f'<li><img src="{_uri(_jpeg(near.image), "jpeg")}" alt="{escape(near.caption or near.name)}"'
            f' title="{escape(near.caption)}">{escape(near.name.replace("_", " "))}'
            f" <small>{near.cosine:.2f}</small></li>"
            for near in side.neighbours
        )
        if tiles:
            rows.append(f'<div class="s2i-{side.modality}"><b>{side.modality}</b><ol>{tiles}</ol></div>')
    if not rows:
        return ""
    return (
        '<section class="s2i-near"><h3>Nearest real images <small>by cosine to the sentence</small></h3>'
        f"{''.join(rows)}</section>"
    )


def _speech_player(side: Side, timeline: Timeline) -> str:
    looks = side.generated_images[0].looks
    tiles = ""
    if looks:
        buttons = "".join(
            _tile(
                segment,
                place,
                len(looks),
                f"left:{_share(segment.start, timeline)};"
                f"width:{_share(segment.end - segment.start, timeline)}",
            )
            for place, segment in enumerate(side.segments)
        )
        tiles = f'<div class="s2i-tiles" role="group" aria-label="Where each segment looked">{buttons}</div>'
    mel = _uri(png(timeline.mel))
    return (
        f'<section class="s2i-player s2i-speech" data-side="speech" data-seconds="{timeline.seconds:.4f}"'
        f"{_look_style(side)}><h3>What was heard <small>{timeline.seconds:.1f} s</small></h3>"
        f'<audio controls src="{_uri(timeline.wav(), "wav", "audio")}"></audio>'
        '<div class="s2i-heard"><div class="s2i-line">'
        f'{_waveform(timeline)}<img class="s2i-mel" src="{mel}" alt="Log-mel spectrogram">{tiles}'
        f'<div class="s2i-cursor"></div></div>{_look(side)}</div></section>'
    )


def _text_player(side: Side) -> str:
    if side.generated_images[0].looks:
        shown = [
            _tile(segment, place, len(side.segments), words=escape(segment.label))
            for place, segment in enumerate(side.segments)
        ]
    else:
        shown = [f'<span class="s2i-word">{escape(segment.label)}</span>' for segment in side.segments]
    return (
        f'<section class="s2i-player s2i-text" data-side="text"{_look_style(side)}><h3>What was read</h3>'
        '<div class="s2i-heard"><div class="s2i-words" role="group" aria-label="Where each word looked">'
        f"{''.join(shown)}{_unread(side)}</div>{_look(side)}</div></section>"
    )


def _unread(side: Side) -> str:
    told = []
    if side.unknown:
        told.append(f"The model never learnt: {escape(', '.join(side.unknown))}.")
    if side.unread:
        told.append(f"Too long, so not read: {escape(' '.join(side.unread))}.")
    return f'<p class="s2i-note">{" ".join(told)}</p>' if told else ""


def _tile(segment: Segment, place: int, count: int, style: str = "", words: str = "") -> str:
    """A button for one segment or word, with its place on the sheet of looks."""
    rows = ceil(count / LOOK_COLUMNS)
    columns = min(count, LOOK_COLUMNS)
    across = 100 * (place % LOOK_COLUMNS) / max(1, columns - 1)
    down = 100 * (place // LOOK_COLUMNS) / max(1, rows - 1)
    thumb = f'<i style="background-position:{across:.3f}% {down:.3f}%"></i>'
    first = place == 0
    return (
        f'<button type="button" class="s2i-tile" style="{style}" data-start="{segment.start:.4f}"'
        f' data-end="{segment.end:.4f}" tabindex="{0 if first else -1}" aria-pressed="{str(first).lower()}"'
        f' aria-label="{escape(segment.label)}">{thumb}{words}</button>'
    )


def _look(side: Side) -> str:
    if not side.generated_images[0].looks:
        return ""
    label = escape(side.segments[0].label)
    return (
        f'<figure class="s2i-look"><i role="img" aria-label="Where the image looked"></i><figcaption>'
        f'<output>{label}</output><span class="s2i-seed">seed {side.generated_images[0].seed}</span>'
        "</figcaption></figure>"
    )


def _look_style(side: Side) -> str:
    """The sheet of the first seed's looks and its layout, for `.s2i-look` and the tiles."""
    looks = side.generated_images[0].looks
    if not looks:
        return ""
    columns, rows = min(len(looks), LOOK_COLUMNS), ceil(len(looks) / LOOK_COLUMNS)
    sheet = _uri(_sheet(looks), "jpeg")
    return f" style=\"--looks:url('{sheet}');--look-size:{100 * columns}% {100 * rows}%\""


def _waveform(timeline: Timeline) -> str:
    """The outline of each column's range; the loudest fills the height."""
    extremes = timeline.extremes / max(float(np.abs(timeline.extremes).max()), 1e-6)
    above = [f"{place},{50 - 48 * high:.1f}" for place, (_, high) in enumerate(extremes)]
    below = [f"{place},{50.6 - 48 * low:.1f}" for place, (low, _) in enumerate(extremes)]
    return (
        f'<svg class="s2i-wave" viewBox="0 0 {len(extremes) - 1} 100" preserveAspectRatio="none" role="img"'
        f' aria-label="Waveform"><polygon points="{" ".join(above + below[::-1])}"/></svg>'
    )


def _share(seconds: float, timeline: Timeline) -> str:
    return f"{100 * seconds / timeline.seconds:.3f}%"


def _sheet(looks: list[np.ndarray]) -> bytes:
    """All looks as one JPEG, `LOOK_COLUMNS` a row."""
    return _jpeg(np.asarray(grid(looks, min(len(looks), LOOK_COLUMNS), gap=0)))


def _jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _uri(content: bytes, kind: str = "png", family: str = "image") -> str:
    return f"data:{family}/{kind};base64,{base64.b64encode(content).decode()}"
