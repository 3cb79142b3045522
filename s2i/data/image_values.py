"""Images of any mode as 8-bit RGB: transparency, greys of more than 8 bits, floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

_OVERSHOOT = 0.1  # of floats in [0, 1] by a sharp filter
_BITS, _FORMAT, _PHOTOMETRIC, _LEAST, _MOST = 258, 339, 262, 340, 341  # tags of a TIFF
_UNSIGNED, _WHITE_IS_ZERO = 1, 0


def to_rgb(image: Image.Image, kind: str | None = None, tags: Mapping[int, Any] | None = None) -> Image.Image:
    """An image of any mode as RGB of the same size.

    What is transparent lies on white, as viewers show it: its hidden colours are nobody's, and photographs
    such as CUB's have none. Greys of more bits lose their lower ones; where a file has more bits than its
    values use (8 or 16 bits kept as 32), the least of 8, 16 and 32 bits that hold them count. Floats are in
    [0, 1], or whole numbers of 8 or 16 bits, or have the range that a TIFF tells. Colour profiles are passed
    over, as the published code does.

    Args:
        kind: of the file ("TIFF", "PNG", ...).
        tags: of a TIFF, by number.

    Raises:
        ValueError: nothing but transparency, values whose black and white can't be known, or a mode that PIL
            can't convert.
    """
    tags = tags or {}
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if image.mode == "F":
            grey = _grey_of_floats(values, tags)
        else:
            grey = _grey_of_whole_numbers(values, image.mode, kind, tags)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which PIL sees to for 8 bits alone
            grey = 255 - grey
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey = np.where(values == clear, np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    opacity = seen.getchannel("A")
    if opacity.getextrema()[1] == 0:
        raise ValueError("nothing but transparency")
    page = Image.new("RGB", image.size, "white")
    page.paste(seen, mask=opacity)
    return page


def _grey_of_whole_numbers(
    values: np.ndarray, mode: str, kind: str | None, tags: Mapping[int, Any]
) -> np.ndarray:
    depth = tags.get(_BITS, (16 if mode != "I" or kind in ("PNG", "PPM") else 32,))[0]
    is_signed = mode == "I" and tags.get(_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED
    if mode == "I" and depth == 32 and not is_signed and kind == "TIFF":
        values = values.view(np.uint32)  # PIL has no mode for it
    if values.size and values.min() < 0:
        raise _unknown_range(values)
    bits = depth - is_signed
    if mode == "I" and kind not in ("PNG", "PPM"):
        bits = min(bits, next(most for most in (8, 16, 32) if int(values.max()) < 1 << most))
    return (values >> (bits - 8)).astype(np.uint8)


def _grey_of_floats(values: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("values that are no numbers")
    least, most = float(values.min()), float(values.max())
    limits = [tags.get(tag) for tag in (_LEAST, _MOST)]
    black, white = (float(np.ravel(value)[0]) if value is not None else np.nan for value in limits)
    if -_OVERSHOOT <= least and most <= 1 + _OVERSHOOT:
        black, white = 0.0, 1.0
    elif least >= 0 and most < 1 << 16 and (values == np.floor(values)).all():
        return (values.astype(np.int64) >> (8 if most > 255 else 0)).astype(np.uint8)
    elif not black < white:
        raise _unknown_range(values)
    return np.rint((values - black) / (white - black) * 255).clip(0, 255).astype(np.uint8)


def _unknown_range(values: np.ndarray) -> ValueError:
    return ValueError(
        f"values from {values.min():g} to {values.max():g}, of which it doesn't tell which is black and which"
        " is white (save it with 8 bits a channel),"
    )
