"""The captions that a report shows: the same ones and the same noise for both paths, good and bad alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from s2i.data.audio import hear
from s2i.data.crops import centre_crops, read_images
from s2i.data.images import save_png, to_uint8
from s2i.data.manifest import Caption
from s2i.data.pack import Pack
from s2i.data.sound_files import wav_bytes
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.mentions import known_attributes, mentioned_values
from s2i.files.atomic import write_atomically
from s2i.inference.attention_maps import enlarge, heat, heat_over, segment_labels
from s2i.inference.word_segments import Interval, attention_during, time_labels, word_segments

ITEMS = 24  # captions
TILE = 64  # px, at least, of an image under an attention map


@dataclass(frozen=True)
class AttributePrediction:
    """What the classifier predicts for one mentioned attribute."""

    attribute: str
    mentioned: str
    predicted: str

    @property
    def is_right(self) -> bool:
        return self.mentioned == self.predicted


@dataclass
class GalleryImages:
    """A caption's images from one path; files relative to the report."""

    stages: list[str] = field(default_factory=list)  # smallest first
    attention: str = ""  # one map a label, side by side; "" without attention
    labels: list[str] = field(default_factory=list)
    predictions: list[AttributePrediction] = field(default_factory=list)


@dataclass
class GalleryItem:
    """One caption of the gallery."""

    caption: Caption
    class_name: str
    audio: str  # "" of a caption without audio
    real: str
    unseen_speaker: bool
    generated: dict[str, GalleryImages]  # by modality


def choose(captions: np.ndarray) -> tuple[np.ndarray, int]:
    """Every k-th caption from the first on, k the least that gives ITEMS at most; and k."""
    every = max(1, -(-len(captions) // ITEMS))
    return captions[::every], every


def request_gallery(banks: dict[str, FeatureBank]) -> None:
    """Have the gallery's images kept when they are generated: before anything is measured."""
    chosen, _ = choose(next(iter(banks.values())).captions.generated)
    for bank in banks.values():
        bank.keep(chosen)


def write_gallery(banks: dict[str, FeatureBank], folder: Path) -> tuple[list[GalleryItem], int]:
    """Write `audio/` and `images/` into `folder`; what they show, and k of "every k-th caption".

    Raises InputError for a recording that is gone or broken.
    """
    first = next(iter(banks.values()))  # speech, where there is speech
    chosen, every = choose(first.captions.generated)
    pack, config = first.pack, first.path.config
    images = pack.caption_image[chosen]
    reals = _reals(pack, config.generated_size, images)
    unseen = first.captions.unseen_speakers
    items, words = [], []
    for number, (index, image) in enumerate(zip(chosen, images, strict=True)):
        caption = pack.caption(int(index))
        audio, real = f"audio/{number:02d}.wav" if caption.audio else "", f"images/{number:02d}-real.png"
        if audio:
            heard = hear(Path(config.data.root) / caption.audio, config.audio)  # as the encoder
            with write_atomically(folder / audio, "wb") as stream:
                stream.write(wav_bytes(heard.spoken.numpy(), heard.rate))
        words.append(word_segments(heard) if audio and "speech" in banks else [])
        save_png(Image.fromarray(reals[number]), folder / real)
        is_unseen = unseen is not None and bool(unseen[index])
        items.append(GalleryItem(caption, pack.records[image].class_name, audio, real, is_unseen, {}))
    for modality, bank in banks.items():
        _add_generated(bank, modality, chosen, items, words, folder)
    return items, every


def _reals(pack: Pack, size: int, images: np.ndarray) -> list[np.ndarray]:
    """Centre crops of some images: uint8 (S, S, 3) each."""
    crops = centre_crops(pack, 1)
    return [to_uint8(read_images(pack, np.array([image]), crops, size))[0] for image in images.tolist()]


def _add_generated(
    bank: FeatureBank,
    modality: str,
    chosen: np.ndarray,
    items: list[GalleryItem],
    words: list[list[Interval]],
    folder: Path,
) -> None:
    """`words`: where words seem to lie in each caption's recording."""
    predictions = _predictions(bank, chosen)
    outputs = bank.outputs(chosen)
    for place, index in enumerate(chosen.tolist()):
        output, item = outputs[index], items[place]
        stem, generated = f"images/{place:02d}-{modality}", GalleryImages(predictions=predictions[place])
        for stage, image in enumerate(output.images):
            generated.stages.append(f"{stem}-{stage}.png")
            save_png(Image.fromarray(to_uint8(image)), folder / generated.stages[-1])
        if output.attention is not None:
            attention = output.attention.cpu()[: output.segments]
            if modality == "speech":
                attention = attention_during(attention, bank.path.encoder.seconds_per_step, words[place])
                generated.labels = time_labels(words[place])
            else:
                generated.labels = segment_labels(bank.path, output.segments, item.caption.text)
            generated.attention = f"{stem}-attention.png"
            save_png(_attention_maps(output.images[-1], attention), folder / generated.attention)
        item.generated[modality] = generated


def _predictions(bank: FeatureBank, chosen: np.ndarray) -> list[list[AttributePrediction]]:
    """The classifier's predictions of the attributes that each caption mentions."""
    names = known_attributes(bank)
    if not names:
        return [[] for _ in chosen]
    true, mentioned = mentioned_values(bank, chosen, names)
    rows = np.searchsorted(bank.captions.generated, chosen)
    predicted = np.stack([bank.predictions_of_generated.answers(name)[rows] for name in names], 1)
    values = [bank.pack.attributes[name] for name in names]
    return [
        [
            AttributePrediction(
                name, values[column][true[row, column]], values[column][predicted[row, column]]
            )
            for column, name in enumerate(names)
            if mentioned[row, column]
        ]
        for row in range(len(chosen))
    ]


def _attention_maps(image: Tensor, attention: Tensor) -> Image.Image:
    """Tiles of one image, each under the attention of one segment or word, side by side on one scale."""
    larger = enlarge(image.cpu(), TILE)
    tiles = [heat_over(larger, strength) for strength in heat(attention)]
    return Image.fromarray(np.concatenate(tiles, axis=1))
