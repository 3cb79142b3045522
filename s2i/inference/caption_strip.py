"""A caption under an image, for people: what was said, and by what it was generated."""

from __future__ import annotations

import warnings
from contextlib import suppress

from PIL import Image, ImageDraw, ImageFont

from s2i.errors import InputWarning

LEAST_WIDTH = 192  # px, at which a line holds a few words
LEAST_FONT = 12  # px
PARTS = 26  # of the width, of which a letter is one high
# Where a caption has letters that Pillow's own font lacks, which has ASCII's: the first of these with all.
SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arialuni.ttf", "Arial.ttf")
NO_LETTER = "\uffff"  # which a font shows as all that it lacks


def captioned(image: Image.Image, sentence: str, about: str) -> Image.Image:
    """The image on white, under it the sentence, wrapped, and a smaller line in grey.

    An InputWarning names letters that no font at hand has.
    """
    width = max(image.width, LEAST_WIDTH)
    size = max(LEAST_FONT, width // PARTS)
    large, small = font_for(sentence, size), font_for(about, max(LEAST_FONT - 2, size * 3 // 4))
    lines = [(line, large, "black") for line in wrapped(sentence, large, width - size)]
    lines += [(line, small, "#5b6470") for line in wrapped(about, small, width - size)]
    heights = [round(font.size * 1.3) for _, font, _ in lines]
    page = Image.new("RGB", (width, image.height + sum(heights) + size), "white")
    page.paste(image, ((width - image.width) // 2, 0))
    pen, top = ImageDraw.Draw(page), image.height + size // 2
    for (line, font, colour), height in zip(lines, heights, strict=True):
        pen.text((width // 2, top + height // 2), line, fill=colour, font=font, anchor="mm")
        top += height
    return page


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of whole words, each at most `width` px; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font with all letters of a text; else Pillow's, and an InputWarning."""
    default = ImageFont.load_default(size)
    missing = lacking(default, text)
    for name in SYSTEM_FONTS if missing else ():
        with suppress(OSError):  # there is none of that name
            font = ImageFont.truetype(name, size)
            if not lacking(font, text):
                return font
    if missing:
        named = " ".join(missing[:10])
        warnings.warn(
            f"no font here has {named} of the caption: boxes stand for them", InputWarning, stacklevel=4
        )
    return default


def lacking(font: ImageFont.FreeTypeFont, text: str) -> list[str]:
    """The letters of a text that a font shows as a box."""
    box = bytes(font.getmask(NO_LETTER))
    return [letter for letter in dict.fromkeys(text) if bytes(font.getmask(letter)) == box]
