"""The captions that a report shows: the same ones and the same noise for both paths, good and bad alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from s2i.data.audio import load_waveform
from s2i.data.crops import image_batches
from s2i.data.images import save_png, to_tensor, to_uint8
from s2i.data.manifest import Caption
from s2i.data.pack import Pack
from s2i.evaluation.records import answers, known_attributes
from s2i.evaluation.subject import Subject
from s2i.files.atomic import write_atomically
from s2i.inference.attention_maps import enlarge, heat, heat_over, segment_labels

SHOWN = 24  # captions
TILE = 64  # px, at least, of an image under heat


@dataclass(frozen=True)
class Seen:
    """What the classifier answers for one mentioned attribute."""

    attribute: str
    told: str
    answer: str

    @property
    def right(self) -> bool:
        return self.told == self.answer


@dataclass
class Generated:
    """A caption's images from one path; files relative to the report."""

    stages: list[str] = field(default_factory=list)  # smallest first
    strip: str = ""  # one tile a label, side by side: where it looked; "" without attention
    labels: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


@dataclass
class Shown:
    """One caption of the gallery."""

    caption: Caption
    class_name: str
    audio: str  # "" of a caption without audio
    real: str
    unseen_speaker: bool
    generated: dict[str, Generated]  # by modality


def choose(captions: np.ndarray) -> tuple[np.ndarray, int]:
    """Every k-th caption from the first on, k the least that gives SHOWN at most; and k."""
    every = max(1, -(-len(captions) // SHOWN))
    return captions[::every], every


def write_gallery(subjects: dict[str, Subject], folder: Path) -> tuple[list[Shown], int]:
    """Write `audio/` and `images/` into `folder`; what they show, and k of "every k-th caption".

    Raises InputError for a recording that is gone or broken.
    """
    first = next(iter(subjects.values()))  # speech, where there is speech
    chosen, every = choose(first.generated_captions)
    pack, config = first.pack, first.path.config
    images = pack.caption_image[chosen]
    reals = _reals(pack, config.generated_size, images)
    unseen = first.unseen_speakers
    shown = []
    for number, (index, image) in enumerate(zip(chosen, images, strict=True)):
        caption = pack.caption(int(index))
        audio, real = f"audio/{number:02d}.wav" if caption.audio else "", f"images/{number:02d}-real.png"
        if audio:
            heard = load_waveform(Path(config.data.root) / caption.audio, config.audio)  # as the encoder
            encoded = BytesIO()  # libsndfile prints a traceback where a stream refuses
            soundfile.write(encoded, heard.numpy(), config.audio.sample_rate, "PCM_16", format="WAV")
            with write_atomically(folder / audio, "wb") as stream:
                stream.write(encoded.getbuffer())
        save_png(Image.fromarray(reals[number]), folder / real)
        voice = unseen is not None and bool(unseen[index])
        shown.append(Shown(caption, pack.records[image].class_name, audio, real, voice, {}))
    for modality, subject in subjects.items():
        _generate(subject, modality, chosen, shown, folder)
    return shown, every


def _reals(pack: Pack, size: int, images: np.ndarray) -> list[np.ndarray]:
    """Centre crops of some images: uint8 (S, S, 3) each. Batch by batch, so that memory stays flat."""
    wanted, found, start = set(images.tolist()), {}, 0
    for batch in image_batches(pack, size):
        found |= {p: to_uint8(batch[p - start]) for p in range(start, start + len(batch)) if p in wanted}
        start += len(batch)
    return [found[image] for image in images.tolist()]


def _generate(subject: Subject, modality: str, chosen: np.ndarray, shown: list[Shown], folder: Path) -> None:
    names = known_attributes(subject)
    for places, batch, output in subject.generate(chosen):
        last = torch.from_numpy(to_uint8(output.images[-1]))
        said = {}
        if names:
            right, told = answers(subject, chosen[places], names)
            predictions = subject.classifier.look([to_tensor(last)])
            said = {name: predictions.answers(name) for name in names}
        steps = subject.path.encode(batch).mask.sum(1).tolist()
        for row, place in enumerate(places.tolist()):
            stem, generated = f"images/{place:02d}-{modality}", Generated()
            for stage, images in enumerate(output.images):
                generated.stages.append(f"{stem}-{stage}.png")
                save_png(Image.fromarray(to_uint8(images[row])), folder / generated.stages[-1])
            if output.attention:
                text = shown[place].caption.text
                generated.labels = segment_labels(subject.path, int(steps[row]), text)
                generated.strip = f"{stem}-attention.png"
                strip = _strip(output.images[-1][row], output.attention[-1][row], len(generated.labels))
                save_png(strip, folder / generated.strip)
            for column, name in enumerate(names):
                if told[row, column]:
                    values = subject.pack.attributes[name]
                    answer = values[said[name][row]]
                    generated.seen.append(Seen(name, values[right[row, column]], answer))
            shown[place].generated[modality] = generated


def _strip(image: Tensor, attention: Tensor, steps: int) -> Image.Image:
    """Tiles of one image side by side, each under the heat of one step; the scale is common to all."""
    larger = enlarge(image.cpu(), TILE)
    tiles = [heat_over(larger, strength) for strength in heat(attention.cpu()[:steps])]
    return Image.fromarray(np.concatenate(tiles, axis=1))
