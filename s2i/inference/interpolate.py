"""`generate --interpolate`: images interpolated between two recordings, as a strip or a GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2i.data.audio import Recording
from s2i.data.images import grid, resize, save_png, to_uint8
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file, say_replaced
from s2i.inference.generate import check_outputs
from s2i.inference.image_facts import image_facts, text_chunks
from s2i.inference.model import load
from s2i.models.caption_encoding import CaptionEncoding
from s2i.progress import progress

MILLISECONDS = 120  # that a GIF shows each image


def interpolate(
    model: str | Path,
    first: Recording,
    last: Recording,
    output: str | Path,
    frames: int = 9,
    seed: int = 0,
    truncation: float = 1.0,
    guidance: float = 0.0,
    scale: int = 1,
    device: str = "auto",
) -> Path:
    """Generate `frames` images from one recording to another, both included, all from one noise.

    Args:
        truncation: as of `PageSettings`; guidance: of a learnt prior, 0: the model's own.
        scale: each image is so many times as large, smoothed (bicubic).
        output: .png for a strip, which tells what made it (`image_facts`), .gif for an animation there and
            back.

    Returns:
        The file, written completely or not at all. Raises InputError as `generate` does.
    """
    if frames < 2:
        raise InputError(f"expected 2 frames or more, found {frames}: check --frames")
    output = Path(output)
    check_outputs([output], (".png", ".gif"))
    check_output_file(output, [file for file in (first, last) if isinstance(file, (str, Path))])
    loaded = load(model, device)
    path, start = loaded.encode(speech=first)
    path = path.sampling(truncation, guidance)
    _, end = loaded.encode(speech=last)
    images = []
    for number in progress(range(frames), frames, "images generated"):
        frame = path.generate(between(start, end, number / (frames - 1)), [str(seed)])
        pixels = to_uint8(frame.images[-1][0])
        images.append(np.asarray(resize(Image.fromarray(pixels), scale * len(pixels))))
    say_replaced(output)
    if output.suffix.lower() == ".png":
        chosen = {"frames": frames, "seed": seed}
        chosen |= {
            name: value for name, value in (("truncation", truncation), ("scale", scale)) if value != 1
        }
        chosen |= {"guidance": guidance} if guidance else {}
        name = Path(model).absolute().name
        about = text_chunks(image_facts(path, name, None, first, until=last, **chosen))
        save_png(grid(np.stack(images), frames), output, about)
        return output
    animation = [Image.fromarray(image) for image in images + images[-2:0:-1]]
    with write_atomically(output, "wb") as stream:
        animation[0].save(
            stream, "GIF", save_all=True, append_images=animation[1:], duration=MILLISECONDS, loop=0
        )
    return output


def between(first: CaptionEncoding, last: CaptionEncoding, weight: float) -> CaptionEncoding:
    """Linear interpolation between two captions' encodings; exactly these at 0 and 1.

    The sentence embedding's length is interpolated too: between two unit vectors is a unit vector. Sequences
    are resampled to an interpolated number of steps, then interpolated step by step.

    Args:
        first, last: of one caption each.
        weight: of `last`, 0 to 1.
    """
    sentence = torch.lerp(first.sentence, last.sentence, weight)
    length = torch.lerp(first.sentence.norm(dim=1), last.sentence.norm(dim=1), weight)
    if 0 < weight < 1:
        sentence = F.normalize(sentence, dim=1) * length[:, None]
    ends = [encoding.sequence[:, :, : int(encoding.mask.sum())] for encoding in (first, last)]
    steps = round((1 - weight) * ends[0].shape[2] + weight * ends[1].shape[2])
    sequence = torch.lerp(_resample(ends[0], steps), _resample(ends[1], steps), weight)
    return CaptionEncoding(sentence, sequence, torch.ones_like(sequence[:, 0], dtype=torch.bool))


def _resample(sequence: Tensor, steps: int) -> Tensor:
    if sequence.shape[2] == steps:
        return sequence
    return F.interpolate(sequence, steps, mode="linear", align_corners=True)
