"""Images between files and tensors; the one crop and the one resize that real images ever get."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from s2i.data.file_kinds import foreign
from s2i.data.image_values import to_rgb
from s2i.errors import InputError
from s2i.files.atomic import write_atomically


def load_image(path: str | Path) -> Image.Image:
    """An image of any format and mode as RGB (`to_rgb`), upright as viewers show it (EXIF), as boxes are
    meant; of several in one file (GIF, TIFF) the first.

    Raises InputError for a missing or broken file, one that is nothing but transparent, and one whose values
    have no known range.
    """
    with open_image(path) as image:
        tags = getattr(image, "tag_v2", None)
        return to_rgb(ImageOps.exif_transpose(image), image.format, tags)


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """An image of which the header alone is read; what is done with it reads on.

    Raises InputError, naming the file, for a missing or broken one, at once or when it is read on.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise InputError(f"expected an image, found {kind} at {path}: check the path, or fetch it again")
    if path.stat().st_size == 0:
        raise InputError(f"expected an image, found an empty file at {path}: fetch or make it again")
    try:
        # By a stream: a greyscale TIFF that is to be turned, PIL garbles where it may map the file itself.
        with path.open("rb") as stream, Image.open(stream) as image:
            yield image
    except Exception as error:  # each of PIL's decoders has a family of its own
        problem, advice = " ".join(str(error).split()), "fetch or make it again"
        if isinstance(error, UnidentifiedImageError):
            problem, _, advice = (foreign(path.suffix) or f"something else: {advice}").partition(": ")
        raise InputError(f"expected an image, found {problem} in {path}: {advice}") from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in px of an image that was just opened, as `load_image` will give it."""
    width, height = image.size
    if tags := getattr(image, "tag_v2", None):  # a TIFF's size is its upright one already, in PIL of late
        width, height = tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]
    is_sideways = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (height, width) if is_sideways else (width, height)


def square_crop(
    image: Image.Image, box: tuple[float, float, float, float] | None, scale: float
) -> Image.Image:
    """The square around a box, as StackGAN, AttnGAN and S2IGAN cut it; `resize` finishes the work.

    The side is `scale` times the box's longer side (published: half a side is int(.75 * longer), scale 1.5).
    What lies outside the image is cut off, so that near a border the crop is not square, as in the
    published code. Without a box: the largest square in the middle of the image.

    Args:
        box: x, y, width, height in px.

    Raises:
        InputError: the box lies outside the image.
    """
    width, height = image.size
    if box is None:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return image.crop((left, top, left + side, top + side))
    x, y, box_width, box_height = box
    half = max(1, int(max(box_width, box_height) * scale / 2))
    middle_x, middle_y = int(x + box_width / 2), int(y + box_height / 2)
    left, top = max(0, middle_x - half), max(0, middle_y - half)
    right, bottom = min(width, middle_x + half), min(height, middle_y + half)
    if left >= right or top >= bottom:
        raise InputError(
            f"expected a box inside the image of {width} x {height} px, found {list(box)}: mend the manifest"
        )
    return image.crop((left, top, right, bottom))


def resize(image: Image.Image, side: int) -> Image.Image:
    """The image at `side` x `side` px: the shorter side resized, the middle of the longer one kept.

    PIL's antialiased bicubic filter, for data, classifiers and metrics alike.
    """
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    middle = (left, top, left + short, top + short)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=middle)


def with_margin(size: int, margin: float) -> int:
    """Side in px of an image of `size` px with room for random crops: 304, not 305, for 256 * 76 / 64."""
    return math.ceil(size * margin - 1e-9)


def frame(
    image: Image.Image,
    box: tuple[float, float, float, float] | None,
    scale: float,
    margin: float,
    size: int,
) -> Image.Image:
    """A photograph as evaluation sees it: the middle `size` x `size` px of its crop with the margin.

    Args:
        box, scale: as `square_crop`.
        margin: of the pack over `size`.
    """
    side = with_margin(size, margin)
    start = (side - size) // 2
    return resize(square_crop(image, box, scale), side).crop((start, start, start + size, start + size))


def to_tensor(images: Tensor) -> Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [-1, 1]."""
    return images.movedim(-1, -3).to(torch.float32).div(127.5).sub(1).contiguous()


def to_uint8(images: Tensor) -> np.ndarray:
    """Float (..., 3, H, W) in [-1, 1], of any device -> uint8 (..., H, W, 3): rounded, not cut off."""
    scaled = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).movedim(-3, -1).contiguous().cpu().numpy()


def grid(images: np.ndarray, columns: int, gap: int = 2) -> Image.Image:
    """Images row by row on white.

    Args:
        images: uint8 (N, H, W, 3), or a list of (H, W, 3) of one size.
        gap: px between neighbours.
    """
    images = np.asarray(images)
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        page[top : top + height, left : left + width] = image
    return Image.fromarray(page)


def save_png(image: Image.Image, path: str | Path, text: Mapping[str, str] | None = None) -> None:
    """Write a PNG: whole, or not at all. `text`: as of `png_bytes`."""
    with write_atomically(path, "wb") as stream:
        stream.write(png_bytes(image, text))


def png_bytes(image: Image.Image, text: Mapping[str, str] | None = None) -> bytes:
    """A PNG's content, with chunks of text {keyword: text}."""
    stream, chunks = io.BytesIO(), PngInfo()
    for keyword, words in (text or {}).items():
        chunks.add_text(keyword, words)  # Latin-1 as tEXt, else UTF-8 as iTXt
    image.save(stream, "PNG", pnginfo=chunks)
    return stream.getvalue()
