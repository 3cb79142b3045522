"""Captions on a page: six at once; and all, a card each, with stages, attention and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from s2i.reports.document import Section, figure
from s2i.reports.gallery import GalleryImages, GalleryItem

AT_ONCE = 6
STEPS = {"speech": "segment", "text": "word"}


def leading_captions(items: Sequence[GalleryItem], data: dict[str, Any]) -> Section:
    """Six captions, a column each: audio, the image of each modality, the real one. Not folded."""
    chosen = leading_places(len(items))
    columns = "".join(_column(place + 1, items[place]) for place in chosen)
    rows = 3 + len(items[0].generated) if items else 0
    rule = (
        f"{len(chosen)} of {data['generated_captions']:,} generated captions, evenly spaced in the order of"
        " the data: none was selected."
    )
    content = columns and f'<div class="columns" style="--rows:{rows}">{columns}</div>'
    return Section("Captions", rule, content, folded=False)


def leading_places(count: int) -> list[int]:
    """At most `AT_ONCE` places of `count`, evenly spaced from the first on."""
    step = max(1, count // AT_ONCE)
    return list(range(0, count, step))[:AT_ONCE]


def every_caption(items: Sequence[GalleryItem], every: int, data: dict[str, Any]) -> Section:
    """All captions of the gallery, a card each."""
    nth = "all of them" if every == 1 else f"one in every {every}, from the first on"
    rule = (
        f"{len(items)} of the {data['generated_captions']:,} generated captions: {nth}, in the order of the"
        " data, good and bad alike. Audio: the speech encoder's input."
    )
    if any(image.predictions for item in items for image in item.generated.values()):
        rule += " Chips: the mentioned attributes, as the classifier predicts them."
    cards = "\n".join(_card(number, item) for number, item in enumerate(items, 1))
    content = f'<p class="soft">{escape(rule)}</p><div class="cards">{cards}</div>' if items else ""
    finding = f"{len(items)} captions with every stage and attention map"
    return Section("All captions", finding, content)


def title(item: GalleryItem) -> str:
    """The caption's text; of an unwritten one what it is a caption of."""
    return item.caption.text or f"Unwritten caption of {_class(item)}"


def _class(item: GalleryItem) -> str:
    return item.class_name.replace("_", " ")


def _voice(item: GalleryItem) -> str:
    voice = f"spoken by {item.caption.speaker}" if item.caption.speaker else ""
    return f"{voice}, unseen in training" if item.unseen_speaker else voice


def _audio(number: int, item: GalleryItem) -> str:
    if not item.audio:
        return ""
    return f'<audio controls preload="none" src="{item.audio}" aria-label="caption {number}, spoken"></audio>'


def _images(item: GalleryItem) -> str:
    """The last stage of each modality and the real image."""
    images = [(f"from {modality}", generated.stages[-1]) for modality, generated in item.generated.items()]
    images.append(("real", item.real))
    return "".join(figure(f"{name}: {title(item)}", source, name) for name, source in images)


def _column(number: int, item: GalleryItem) -> str:
    audio = _audio(number, item) or "<span></span>"  # it keeps its row
    heading = f'<h3 title="{escape(_voice(item))}">{escape(title(item))}</h3>'
    return f'<div class="column">{heading}{audio}{_images(item)}</div>'


def _card(number: int, item: GalleryItem) -> str:
    facts = " · ".join(fact for fact in (_class(item), _voice(item)) if fact)
    chips = "".join(_chips(modality, image) for modality, image in item.generated.items())
    stages = "".join(_stages(item, modality) for modality in item.generated)
    attention = "".join(_attention(modality, image) for modality, image in item.generated.items())
    if attention:
        attention = f"<details><summary>Attention of each segment and word</summary>{attention}</details>"
    return (
        f'<article class="card" id="caption-{number}"><h3>{number}. {escape(title(item))}</h3>'
        f'<p class="note">{escape(facts)}</p>{_audio(number, item)}'
        f'<div class="three">{_images(item)}</div>{chips}'
        f"<details><summary>Every stage</summary>{stages}</details>{attention}</article>"
    )


def _stages(item: GalleryItem, modality: str) -> str:
    images = "".join(
        figure(f"stage {stage} from {modality}: {title(item)}", source, f"stage {stage}")
        for stage, source in enumerate(item.generated[modality].stages)
    )
    return f'<p class="soft">from {modality}</p><div class="stages">{images}</div>'


def _chips(modality: str, generated: GalleryImages) -> str:
    """The classifier's predictions of the mentioned attributes; "" without a classifier."""
    if not generated.predictions:
        return ""
    chips = []
    for each in generated.predictions:
        style, mark = ("right", "✓") if each.is_right else ("wrong", f"✗ {each.predicted}")
        label = f"{each.attribute.replace('_', ' ')}: {each.mentioned} {mark}"
        chips.append(f'<li class="{style}">{escape(label)}</li>')
    return f'<ul class="chips"><li class="soft">{modality}</li>{"".join(chips)}</ul>'


def _attention(modality: str, generated: GalleryImages) -> str:
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
    name = f"from {modality}, {STEPS[modality]} by {STEPS[modality]}"
    return f'<p class="soft">{name}</p><div class="tiles">{"".join(tiles)}</div>'
