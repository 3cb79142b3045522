"""An answer as self-contained HTML: images, stages, and players whose behaviour is in `page.js`."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from math import ceil

import numpy as np
from PIL import Image

from s2i.app.again import RECORDING
from s2i.app.archive import image_name, png
from s2i.app.studio import Answer, GeneratedImage, ModalityAnswer
from s2i.app.timeline import Timeline
from s2i.data.images import grid

UNFAMILIAR = (
    "an unfamiliar recording: its voice or what it says is unlike those that the model was trained on, so"
    " these images may have nothing to do with it"
)
ATTENTION_COLUMNS = 12  # of a sheet of attention maps
LEAST_CUT = 0.02  # s that are worth a shade


def render(answer: Answer, again: Sequence[str] = (), query: str = "") -> str:
    """The whole answer, images first; the visitor's words are escaped.

    Args:
        again: commands that give the images again; query: of a link to this answer, "" where there is none.
    """
    players = []
    for side in answer.modalities:
        if side.modality == "speech":
            players.append(_speech_player(side, answer.timeline))
        else:
            players.append(_text_player(side))
    cards = [_card(answer.modalities, index) for index in range(len(answer.request.seeds))]
    wide = " s2i-both" if len(answer.modalities) > 1 else ""
    notes = "".join(map(_notes, answer.modalities))
    return (
        f'<s2i-answer class="s2i-answer{wide}" data-query="{escape(query)}">{notes}'
        f'<div class="s2i-cards">{"".join(cards)}</div>{_again(again, query)}{"".join(players)}'
        f"{_neighbours(answer.modalities)}</s2i-answer>"
    )


def _again(commands: Sequence[str], query: str) -> str:
    if not commands:
        return ""
    link = '<button type="button" class="s2i-copy-link">Copy a link to this</button>' if query else ""
    about = "In the repository's root"
    if any(f"--speech={RECORDING}" in command for command in commands):
        about += ", with the saved images and settings unpacked there"
    lines = escape("\n".join(commands))
    return (
        f'<div class="s2i-again">{link}<details><summary>Commands that generate these images</summary>'
        f"<p>{about}:</p><pre>{lines}</pre></details></div>"
    )


def failure(sentence: str) -> str:
    """An error, as a sentence on the page."""
    return f'<p class="s2i-failure" role="alert">{escape(sentence)}</p>'


def _card(sides: list[ModalityAnswer], index: int) -> str:
    seed = sides[0].generated_images[index].seed
    figures = "".join(_figure(side, side.generated_images[index], index == 0) for side in sides)
    chosen = " s2i-chosen" if index == 0 else ""
    return (
        f'<section class="s2i-card{chosen}" data-seed="{seed}"><h3>Seed {seed}</h3>'
        f'<div class="s2i-pair">{figures}</div></section>'
    )


def _figure(side: ModalityAnswer, generated: GeneratedImage, chosen: bool) -> str:
    *earlier, last = generated.stages
    name = f"from {side.modality}, seed {generated.seed}"
    image = f'<img src="{_uri(png(last))}" alt="Generated {name}">'
    maps = _uri(_sheet(generated.attention), "jpeg") if generated.attention else ""
    if maps or len(side.generated_images) > 1:
        image = (
            f'<button type="button" class="s2i-pick" data-side="{side.modality}" data-seed="{generated.seed}"'
            f' data-attention="{maps}" aria-pressed="{str(chosen).lower()}"'
            f' title="Show this seed large, with its attention maps">{image}</button>'
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
                side,
                index,
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
        "</section>"
    )


def _cut(timeline: Timeline) -> str:
    """Shades over what was cut before and after what is said."""
    silences = [(0.0, timeline.start), (timeline.stop, timeline.seconds)]
    return "".join(
        f'<i class="s2i-cut" title="Not heard: silence" style="left:{_share(start, timeline)};'
        f'width:{_share(stop - start, timeline)}"></i>'
        for start, stop in silences
        if stop - start >= LEAST_CUT
    )


def _notes(side: ModalityAnswer) -> str:
    """What is wrong with the recording, or was not read of the text, a sentence each."""
    notes = [*([UNFAMILIAR] if side.is_unfamiliar else []), *side.notes]
    sentences = [f"{note[:1].upper()}{note[1:]}.".replace("..", ".") for note in notes]
    if side.unknown:
        sentences.append(f"Not in the model's vocabulary: {', '.join(side.unknown)}.")
    if side.unread:
        sentences.append(f"Beyond the longest sentence, so ignored: {' '.join(side.unread)}.")
    return "".join(
        f'<p class="s2i-note s2i-doubt" role="status">{escape(note, quote=False)}</p>' for note in sentences
    )


def _text_player(side: ModalityAnswer) -> str:
    if side.generated_images[0].attention:
        words = [
            _tile(side, index, words=escape(segment.label)) for index, segment in enumerate(side.segments)
        ]
    else:
        words = [f'<span class="s2i-word">{escape(segment.label)}</span>' for segment in side.segments]
    return (
        f'<section class="s2i-player s2i-text" data-side="text"{_attention_style(side)}><h3>Text</h3>'
        '<div class="s2i-timeline"><div class="s2i-words" role="group" aria-label="Attention of each word">'
        f"{''.join(words)}</div>{_attention(side)}</div></section>"
    )


def _tile(side: ModalityAnswer, index: int, style: str = "", words: str = "") -> str:
    """A button for one segment or word, with its position on the sheet of attention maps; the strongest of
    the first seed is the chosen one."""
    segment, count = side.segments[index], len(side.segments)
    rows = ceil(count / ATTENTION_COLUMNS)
    columns = min(count, ATTENTION_COLUMNS)
    across = 100 * (index % ATTENTION_COLUMNS) / max(1, columns - 1)
    down = 100 * (index // ATTENTION_COLUMNS) / max(1, rows - 1)
    thumb = f'<i style="background-position:{across:.3f}% {down:.3f}%"></i>'
    chosen = index == side.generated_images[0].strongest
    return (
        f'<button type="button" class="s2i-tile" style="{style}" data-start="{segment.start:.4f}"'
        f' data-end="{segment.end:.4f}" tabindex="{0 if chosen else -1}" aria-pressed="{str(chosen).lower()}"'
        f' aria-label="{escape(segment.label)}">{thumb}{words}</button>'
    )


def _attention(side: ModalityAnswer) -> str:
    if not side.generated_images[0].attention:
        return ""
    label = escape(side.segments[side.generated_images[0].strongest].label)
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
