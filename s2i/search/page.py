"""The results of a search as one self-contained page of thumbnails."""

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
from s2i.files.output_folder import say_replaced
from s2i.search.index import Hit

SIDE = 192  # px of a thumbnail's longer side

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
html {{ scrollbar-gutter: stable; }}
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


def write_page(path: str | Path, query: str, hits: Sequence[Hit], query_file: Path | None = None) -> None:
    """Write results as one HTML file with thumbnails and recordings inside, completely or not at all.

    Args:
        query: the title's words.
        query_file: the image or recording that was the query, if any.

    Raises InputError for an image that is no longer where it was indexed.
    """
    items = "\n".join(_item(rank, hit) for rank, hit in enumerate(hits, 1))
    page = PAGE.format(title=escape(f"Nearest to {query}"), query=_query(query_file), items=items)
    say_replaced(path)
    with write_atomically(path) as stream:
        stream.write(page)


def _item(rank: int, hit: Hit) -> str:
    caption = f"<p>{escape(hit.caption)}</p>" if hit.caption else ""
    name = f"{escape(hit.class_name)}, " if hit.class_name else ""
    sound = _audio(hit.recording) if hit.recording else ""
    thumbnail = _thumbnail(hit.image, f"{rank}: {hit.caption or hit.class_name or hit.id}")
    label = f"{rank}. {name}{escape(hit.id)}, {hit.score:.3f}"
    return f"<li>{thumbnail}{sound}{caption}<p><small>{label}</small></p></li>"


def _query(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        check_recording(file, longest=inf)
    except InputError:
        return f'<p style="max-width: 12rem">{_thumbnail(file, "the query")}</p>'
    return f"<p>{_audio(file)}</p>"


def _thumbnail(path: Path, words: str) -> str:
    image = load_image(path)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{_encoded(png_bytes(image))}">'


def _audio(path: Path) -> str:
    kind = mimetypes.guess_type(path)[0] or "audio/wav"
    return f'<audio controls src="data:{kind};base64,{_encoded(path.read_bytes())}"></audio>'


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
