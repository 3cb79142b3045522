"""`generate --interpolate`: the images on the way from one recording to another, as a strip or a GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2i.data.audio import Recording
from s2i.data.images import grid, save_png, to_uint8
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file
from s2i.inference.generate import check_outputs
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
    device: str = "auto",
) -> Path:
    """Generate `frames` images between two recordings, both ends among them, all from one noise.

    Args:
        output: .png for a strip, .gif for a moving image that goes there and back.

    Returns:
        the file; whole or absent. Raises InputError as `generate` does.
    """
    if frames < 2:
        raise InputError(f"expected 2 frames or more, found {frames}: check --frames")
    output = Path(output)
    check_outputs([output], (".png", ".gif"))
    check_output_file(output, [given for given in (first, last) if isinstance(given, (str, Path))])
    loaded = load(model, device)
    path, start = loaded.encode(speech=first)
    _, end = loaded.encode(speech=last)
    images = []
    for number in progress(range(frames), frames, "images generated"):
        frame = path.generate(between(start, end, number / (frames - 1)), [str(seed)])
        images.append(to_uint8(frame.images[-1][0]))
    if output.suffix.lower() == ".png":
        save_png(grid(np.stack(images), frames), output)
        return output
    shown = [Image.fromarray(image) for image in images + images[-2:0:-1]]
    with write_atomically(output, "wb") as stream:
        shown[0].save(stream, "GIF", save_all=True, append_images=shown[1:], duration=MILLISECONDS, loop=0)
    return output


def between(first: CaptionEncoding, last: CaptionEncoding, part: float) -> CaptionEncoding:
    """A caption on the straight way from one to another; exactly these at 0 and 1.

    The sentence's length is kept on the way too: half of the way between two unit vectors is a unit vector.
    Sequences are brought to the number of steps that lies between theirs, then mixed step by step.

    Args:
        first, last: of one caption each.
        part: 0 to 1.
    """
    sentence = torch.lerp(first.sentence, last.sentence, part)
    length = torch.lerp(first.sentence.norm(dim=1), last.sentence.norm(dim=1), part)
    if 0 < part < 1:
        sentence = F.normalize(sentence, dim=1) * length[:, None]
    ends = [encoding.sequence[:, :, : int(encoding.mask.sum())] for encoding in (first, last)]
    steps = round((1 - part) * ends[0].shape[2] + part * ends[1].shape[2])
    sequence = torch.lerp(_stretch(ends[0], steps), _stretch(ends[1], steps), part)
    return CaptionEncoding(sentence, sequence, torch.ones_like(sequence[:, 0], dtype=torch.bool))


def _stretch(sequence: Tensor, steps: int) -> Tensor:
    if sequence.shape[2] == steps:
        return sequence
    return F.interpolate(sequence, steps, mode="linear", align_corners=True)
