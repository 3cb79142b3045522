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
from s2i.data.dataset import picture_batches
from s2i.data.images import save_png, to_tensor, to_uint8
from s2i.data.manifest import Caption
from s2i.data.pack import Pack
from s2i.evaluation.records import answers, judged_attributes
from s2i.evaluation.subject import Subject
from s2i.files.atomic import write_atomically
from s2i.inference.attention_maps import enlarge, heat, heat_over, segment_labels

SHOWN = 24  # captions
TILE = 64  # px, at least, of a picture under heat


@dataclass(frozen=True)
class Seen:
    """What the judge answers for one mentioned attribute."""

    attribute: str
    told: str
    answer: str

    @property
    def right(self) -> bool:
        return self.told == self.answer


@dataclass
class Drawn:
    """A caption's pictures from one path; files relative to the report."""

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
    unseen_voice: bool
    drawn: dict[str, Drawn]  # by modality


def choose(captions: np.ndarray) -> tuple[np.ndarray, int]:
    """Every k-th caption from the first on, k the least that gives SHOWN at most; and k."""
    every = max(1, -(-len(captions) // SHOWN))
    return captions[::every], every


def write_gallery(subjects: dict[str, Subject], folder: Path) -> tuple[list[Shown], int]:
    """Write `audio/` and `pictures/` into `folder`; what they show, and k of "every k-th caption".

    Raises InputError for a recording that is gone or broken.
    """
    first = next(iter(subjects.values()))  # speech, where there is speech
    chosen, every = choose(first.drawn_captions)
    pack, config = first.pack, first.path.config
    pictures = pack.caption_picture[chosen]
    reals = _reals(pack, config.image_size, pictures)
    unseen = first.unseen_voices
    shown = []
    for number, (index, picture) in enumerate(zip(chosen, pictures, strict=True)):
        caption = pack.caption(int(index))
        audio, real = f"audio/{number:02d}.wav" if caption.audio else "", f"pictures/{number:02d}-real.png"
        if audio:
            heard = load_waveform(Path(config.data.root) / caption.audio, config.audio)  # as the encoder
            encoded = BytesIO()  # libsndfile prints a traceback where a stream refuses
            soundfile.write(encoded, heard.numpy(), config.audio.sample_rate, "PCM_16", format="WAV")
            with write_atomically(folder / audio, "wb") as stream:
                stream.write(encoded.getbuffer())
        save_png(Image.fromarray(reals[number]), folder / real)
        voice = unseen is not None and bool(unseen[index])
        shown.append(Shown(caption, pack.pictures[picture].class_name, audio, real, voice, {}))
    for modality, subject in subjects.items():
        _draw(subject, modality, chosen, shown, folder)
    return shown, every


def _reals(pack: Pack, size: int, pictures: np.ndarray) -> list[np.ndarray]:
    """Centre crops of some pictures: uint8 (S, S, 3) each. Batch by batch, so that memory stays flat."""
    wanted, found, start = set(pictures.tolist()), {}, 0
    for batch in picture_batches(pack, size):
        found |= {p: to_uint8(batch[p - start]) for p in range(start, start + len(batch)) if p in wanted}
        start += len(batch)
    return [found[picture] for picture in pictures.tolist()]


def _draw(subject: Subject, modality: str, chosen: np.ndarray, shown: list[Shown], folder: Path) -> None:
    names = judged_attributes(subject)
    for places, batch, drawing in subject.draw(chosen):
        last = torch.from_numpy(to_uint8(drawing.pictures[-1]))
        said = {}
        if names:
            right, told = answers(subject, chosen[places], names)
            opinion = subject.judge.look([to_tensor(last)])
            said = {name: opinion.answers(name) for name in names}
        steps = subject.path.encode(batch).mask.sum(1).tolist()
        for row, place in enumerate(places.tolist()):
            stem, drawn = f"pictures/{place:02d}-{modality}", Drawn()
            for stage, pictures in enumerate(drawing.pictures):
                drawn.stages.append(f"{stem}-{stage}.png")
                save_png(Image.fromarray(to_uint8(pictures[row])), folder / drawn.stages[-1])
            if drawing.attention:
                text = shown[place].caption.text
                drawn.labels = segment_labels(subject.path.config, int(steps[row]), text)
                drawn.strip = f"{stem}-attention.png"
                strip = _strip(drawing.pictures[-1][row], drawing.attention[-1][row], len(drawn.labels))
                save_png(strip, folder / drawn.strip)
            for column, name in enumerate(names):
                if told[row, column]:
                    values = subject.pack.attributes[name]
                    answer = values[said[name][row]]
                    drawn.seen.append(Seen(name, values[right[row, column]], answer))
            shown[place].drawn[modality] = drawn


def _strip(picture: Tensor, attention: Tensor, steps: int) -> Image.Image:
    """Tiles of one picture side by side, each under the heat of one step; the scale is common to all."""
    larger = enlarge(picture.cpu(), TILE)
    tiles = [heat_over(larger, strength) for strength in heat(attention.cpu()[:steps])]
    return Image.fromarray(np.concatenate(tiles, axis=1))
