"""An answer as self-contained HTML: images, stages, and players whose behaviour is in `page.js`."""

from __future__ import annotations

import base64
import io
from html import escape
from math import ceil

import numpy as np
from PIL import Image

from s2i.app.archive import image_name, png
from s2i.app.studio import Answer, GeneratedImage, ModalityAnswer
from s2i.app.timeline import Segment, Timeline
from s2i.data.images import grid

ATTENTION_COLUMNS = 12  # of a sheet of attention maps
LEAST_CUT = 0.02  # s that are worth a shade


def render(answer: Answer) -> str:
    """The whole answer; the visitor's words are escaped."""
    players = []
    for side in answer.modalities:
        if side.modality == "speech":
            players.append(_speech_player(side, answer.timeline))
        else:
            players.append(_text_player(side))
    cards = [_card(answer.modalities, index) for index in range(len(answer.request.seeds))]
    wide = " s2i-both" if len(answer.modalities) > 1 else ""
    return (
        f'<s2i-answer class="s2i-answer{wide}">{"".join(players)}'
        f'<div class="s2i-cards">{"".join(cards)}</div>{_neighbours(answer.modalities)}</s2i-answer>'
    )


def failure(sentence: str) -> str:
    """An error, as a sentence on the page."""
    return f'<p class="s2i-failure" role="alert">{escape(sentence)}</p>'


def _card(sides: list[ModalityAnswer], index: int) -> str:
    seed = sides[0].generated_images[index].seed
    figures = "".join(_figure(side, side.generated_images[index], index == 0) for side in sides)
    return f'<section class="s2i-card"><h3>Seed {seed}</h3><div class="s2i-pair">{figures}</div></section>'


def _figure(side: ModalityAnswer, generated: GeneratedImage, chosen: bool) -> str:
    *earlier, last = generated.stages
    name = f"from {side.modality}, seed {generated.seed}"
    image = f'<img src="{_uri(png(last))}" alt="Generated {name}">'
    if generated.attention:
        sheet = _uri(_sheet(generated.attention), "jpeg")
        image = (
            f'<button type="button" class="s2i-pick" data-side="{side.modality}" data-seed="{generated.seed}"'
            f' data-attention="{sheet}" aria-pressed="{str(chosen).lower()}"'
            f' title="Show the attention maps of this image">{image}</button>'
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


def _neighbours(sides: list[ModalityAnswer]) -> str:
    """The nearest real images of each modality, a row each."""
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
        '<section class="s2i-neighbours"><h3>Nearest real images <small>by cosine similarity</small></h3>'
        f"{''.join(rows)}</section>"
    )


def _speech_player(side: ModalityAnswer, timeline: Timeline) -> str:
    maps = side.generated_images[0].attention
    tiles = ""
    if maps:
        buttons = "".join(
            _tile(
                segment,
                index,
                len(maps),
                f"left:{_share(segment.start, timeline)};"
                f"width:{_share(segment.end - segment.start, timeline)}",
            )
            for index, segment in enumerate(side.segments)
        )
        tiles = f'<div class="s2i-tiles" role="group" aria-label="Attention of each segment">{buttons}</div>'
    mel = _uri(png(timeline.mel))
    return (
        f'<section class="s2i-player s2i-speech" data-side="speech" data-seconds="{timeline.seconds:.4f}"'
        f"{_attention_style(side)}><h3>Recording <small>{timeline.stop - timeline.start:.1f} s"
        f" of {timeline.seconds:.1f} s heard</small></h3>"
        f'<audio controls src="{_uri(timeline.wav(), "wav", "audio")}"></audio>'
        '<div class="s2i-timeline"><div class="s2i-line">'
        f'{_waveform(timeline)}<img class="s2i-mel" src="{mel}" alt="Log-mel spectrogram">{tiles}'
        f'{_cut(timeline)}<div class="s2i-cursor"></div></div>{_attention(side)}</div>'
        f"{_notes(side)}</section>"
    )


def _cut(timeline: Timeline) -> str:
    """Shades over what was cut before and after what is said."""
    parts = [(0.0, timeline.start), (timeline.stop, timeline.seconds)]
    return "".join(
        f'<i class="s2i-cut" title="Not heard: silence" style="left:{_share(start, timeline)};'
        f'width:{_share(stop - start, timeline)}"></i>'
        for start, stop in parts
        if stop - start >= LEAST_CUT
    )


def _notes(side: ModalityAnswer) -> str:
    """What is wrong with the recording, a sentence each."""
    return "".join(
        f'<p class="s2i-note s2i-doubt" role="status">{escape(note[:1].upper() + note[1:])}.</p>'
        for note in side.notes
    )


def _text_player(side: ModalityAnswer) -> str:
    if side.generated_images[0].attention:
        words = [
            _tile(segment, index, len(side.segments), words=escape(segment.label))
            for index, segment in enumerate(side.segments)
        ]
    else:
        words = [f'<span class="s2i-word">{escape(segment.label)}</span>' for segment in side.segments]
    return (
        f'<section class="s2i-player s2i-text" data-side="text"{_attention_style(side)}><h3>Text</h3>'
        '<div class="s2i-timeline"><div class="s2i-words" role="group" aria-label="Attention of each word">'
        f"{''.join(words)}{_unread(side)}</div>{_attention(side)}</div></section>"
    )


def _unread(side: ModalityAnswer) -> str:
    notes = []
    if side.unknown:
        notes.append(f"Not in the model's vocabulary: {escape(', '.join(side.unknown))}.")
    if side.unread:
        notes.append(f"Beyond the longest sentence, so ignored: {escape(' '.join(side.unread))}.")
    return f'<p class="s2i-note">{" ".join(notes)}</p>' if notes else ""


def _tile(segment: Segment, index: int, count: int, style: str = "", words: str = "") -> str:
    """A button for one segment or word, with its position on the sheet of attention maps."""
    rows = ceil(count / ATTENTION_COLUMNS)
    columns = min(count, ATTENTION_COLUMNS)
    across = 100 * (index % ATTENTION_COLUMNS) / max(1, columns - 1)
    down = 100 * (index // ATTENTION_COLUMNS) / max(1, rows - 1)
    thumb = f'<i style="background-position:{across:.3f}% {down:.3f}%"></i>'
    first = index == 0
    return (
        f'<button type="button" class="s2i-tile" style="{style}" data-start="{segment.start:.4f}"'
        f' data-end="{segment.end:.4f}" tabindex="{0 if first else -1}" aria-pressed="{str(first).lower()}"'
        f' aria-label="{escape(segment.label)}">{thumb}{words}</button>'
    )


def _attention(side: ModalityAnswer) -> str:
    if not side.generated_images[0].attention:
        return ""
    label = escape(side.segments[0].label)
    return (
        f'<figure class="s2i-attention"><i role="img" aria-label="Attention map"></i><figcaption>'
        f'<output>{label}</output><span class="s2i-seed">seed {side.generated_images[0].seed}</span>'
        "</figcaption></figure>"
    )


def _attention_style(side: ModalityAnswer) -> str:
    """The sheet of the first seed's attention maps and its layout, for `.s2i-attention` and the tiles."""
    maps = side.generated_images[0].attention
    if not maps:
        return ""
    columns, rows = min(len(maps), ATTENTION_COLUMNS), ceil(len(maps) / ATTENTION_COLUMNS)
    sheet = _uri(_sheet(maps), "jpeg")
    return f" style=\"--attention:url('{sheet}');--attention-size:{100 * columns}% {100 * rows}%\""


def _waveform(timeline: Timeline) -> str:
    """The outline of each column's range; the loudest fills the height."""
    extremes = timeline.extremes / max(float(np.abs(timeline.extremes).max()), 1e-6)
    above = [f"{column},{50 - 48 * high:.1f}" for column, (_, high) in enumerate(extremes)]
    below = [f"{column},{50.6 - 48 * low:.1f}" for column, (low, _) in enumerate(extremes)]
    return (
        f'<svg class="s2i-wave" viewBox="0 0 {len(extremes) - 1} 100" preserveAspectRatio="none" role="img"'
        f' aria-label="Waveform"><polygon points="{" ".join(above + below[::-1])}"/></svg>'
    )


def _share(seconds: float, timeline: Timeline) -> str:
    return f"{100 * seconds / timeline.seconds:.3f}%"


def _sheet(maps: list[np.ndarray]) -> bytes:
    """All attention maps as one JPEG, `ATTENTION_COLUMNS` a row."""
    return _jpeg(np.asarray(grid(maps, min(len(maps), ATTENTION_COLUMNS), gap=0)))


def _jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _uri(content: bytes, kind: str = "png", family: str = "image") -> str:
    return f"data:{family}/{kind};base64,{base64.b64encode(content).decode()}"
