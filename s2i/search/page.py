"""What a search found as a page of thumbnails that needs nothing beside it."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from html import escape
from math import inf
from pathlib import Path

from PIL import Image

from s2i.data.images import load_image, png_bytes
from s2i.data.sound_files import check_recording
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.search.index import Hit

SIDE = 192  # px of a thumbnail's longer side

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff; }}
h1 {{ font-size: 1.2rem; font-weight: 600; }}
ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: 1rem; padding: 0;
      list-style: none; }}
li {{ border: 1px solid #ddd; border-radius: 6px; padding: .6rem; overflow-wrap: anywhere; }}
img {{ width: 100%; height: 11rem; object-fit: contain; background: #f4f4f4; }}
audio {{ width: 100%; }}
p {{ margin: .3rem 0 0; font-size: .9rem; }}
small {{ color: #555; }}
</style>
<h1>{title}</h1>
{query}
<ol>
{items}
</ol>
</html>
"""


def write_page(path: str | Path, query: str, hits: Sequence[Hit], given: Path | None = None) -> None:
    """Write what was found as one HTML file, thumbnails and recordings inside: whole, or not at all.

    Args:
        query: what was looked for, in words.
        given: the image or recording that was looked for.

    Raises InputError for an image that is no longer where it was indexed.
    """
    items = "\n".join(_item(place, hit) for place, hit in enumerate(hits, 1))
    page = PAGE.format(title=escape(f"Nearest to {query}"), query=_show(given), items=items)
    with write_atomically(path) as stream:
        stream.write(page)


def _item(place: int, hit: Hit) -> str:
    told = f"<p>{escape(hit.caption)}</p>" if hit.caption else ""
    name = f"{escape(hit.class_name)}, " if hit.class_name else ""
    sound = _audio(hit.recording) if hit.recording else ""
    shown = _thumbnail(hit.image, f"{place}: {hit.caption or hit.class_name or hit.id}")
    return (
        f"<li>{shown}{sound}{told}<p><small>{place}. {name}{escape(hit.id)}, {hit.score:.3f}</small></p></li>"
    )


def _show(given: Path | None) -> str:
    if given is None:
        return ""
    try:
        check_recording(given, longest=inf)
    except InputError:
        return f'<p style="max-width: 12rem">{_thumbnail(given, "what was looked for")}</p>'
    return f"<p>{_audio(given)}</p>"


def _thumbnail(path: Path, words: str) -> str:
    image = load_image(path)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{_encoded(png_bytes(image))}">'


def _audio(path: Path) -> str:
    kind = mimetypes.guess_type(path)[0] or "audio/wav"
    return f'<audio controls src="data:{kind};base64,{_encoded(path.read_bytes())}"></audio>'


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
