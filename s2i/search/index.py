"""An index of images and recordings, opened for searching. `s2i.search.build` makes one.

    <index>/
      index.json             what it was made of, and how many of each there are; written last
      images.jsonl         an image a line: id, path, class and caption where the manifest has them
      recordings.jsonl       a recording a line, where the manifest has some
      <kind>.offsets.npy     int64 (N + 1): line i is bytes offsets[i] to offsets[i + 1]
      <space>-<kind>/        vectors in the space of the model's speech or text path, see `s2i.search.nearest`

Nothing is read as a whole, so opening an index of any size takes milliseconds. Paths start from the images'
root, which is kept relative to the index, so that both can be moved together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s2i.errors import InputError
from s2i.files.atomic import parse_json
from s2i.search.nearest import VectorTable

if TYPE_CHECKING:
    from s2i.inference.model import GenerationPath

FORMAT = 1  # of the folder
KINDS = ("images", "recordings")
NETWORKS = {"images": "image_encoder", "recordings": "encoder"}  # which of a path's made the vectors


@dataclass(frozen=True)
class Hit:
    """Something found: an image, or a recording with the image that it describes."""

    id: str
    image: Path
    score: float  # cosine, -1 to 1
    class_name: str | None = None
    caption: str | None = None  # an image's first written caption, or the recording's own
    recording: Path | None = None


class Index:
    """What `s2i index` wrote. `sizes`: {kind: how many}; `spaces`: of "speech" and "text", those it has."""

    def __init__(self, folder: Path, described: dict[str, Any]) -> None:
        self.folder = folder
        self.root = Path(os.path.normpath(folder / described["root"]))
        self.sizes: dict[str, int] = described["sizes"]
        self._fingerprints: dict[str, str] = described["fingerprints"]
        self._tables = {name: VectorTable(folder / name) for name in self._fingerprints}
        self._offsets = {
            kind: np.load(folder / f"{kind}.offsets.npy", mmap_mode="r")
            for kind in KINDS
            if self.sizes.get(kind)
        }
        for kind, offsets in self._offsets.items():
            lines = folder / f"{kind}.jsonl"
            if lines.stat().st_size != offsets[-1]:
                raise ValueError(f"{lines.name} of {lines.stat().st_size} bytes in place of {offsets[-1]}")
        self.spaces = sorted({name.partition("-")[0] for name in self._tables})

    @classmethod
    def open(cls, folder: str | Path) -> Index:
        """Open an index. Raises InputError where there is none, or one that is cut short."""
        folder = Path(folder)
        path = folder / "index.json"
        if not path.is_file():
            raise InputError(
                f"expected an index in {folder}, found no index.json:"
                f" make one with s2i index --output {folder}"
            )
        try:
            described = parse_json(path.read_bytes())
            if described["format"] != FORMAT:
                raise ValueError(f"format {described['format']}")
            return cls(folder, described)
        except (OSError, ValueError, KeyError, TypeError) as error:
            found = " ".join(str(error).split())
            raise InputError(
                f"expected an index of format {FORMAT} in {folder}, found {found}: run s2i index again"
            ) from error

    def check(self, path: GenerationPath, among: str = "images") -> None:
        """Refuse a model other than the one that the index was made with, or what the index doesn't hold."""
        space = path.config.modality
        if among not in KINDS or not self.sizes.get(among):
            raise InputError(
                f"expected {among} in the index {self.folder}, found {' and '.join(self.sizes)} alone:"
                " index a manifest that has them"
            )
        name = f"{space}-{among}"
        if name not in self._tables:
            raise InputError(
                f"expected {among} beside {space} in the index {self.folder}, found those beside"
                f" {' and '.join(self.spaces)} alone: run s2i index again, with a model that has both"
            )
        if path.fingerprint(NETWORKS[among]) != self._fingerprints[name]:
            raise InputError(
                f"expected the model that the index {self.folder} was made with, found another:"
                " run s2i index with this one"
            )

    def nearest(
        self, vector: np.ndarray, top: int = 10, space: str = "speech", among: str = "images"
    ) -> list[Hit]:
        """What lies nearest to a vector by cosine, best first.

        Args:
            vector: (D,) of length 1, in the space of the model's path from "speech" or "text".
            top: how many; fewer where the index has fewer.
            among: "images" or "recordings".
        """
        places, cosines = self._tables[f"{space}-{among}"].nearest(vector, top)
        return [
            self._hit(among, int(place), float(score)) for place, score in zip(places, cosines, strict=True)
        ]

    def _hit(self, kind: str, place: int, score: float) -> Hit:
        first, last = (int(offset) for offset in self._offsets[kind][place : place + 2])
        with (self.folder / f"{kind}.jsonl").open("rb") as stream:
            stream.seek(first)
            line = stream.read(last - first)
        try:
            item = parse_json(line)
            recording = item.get("recording")
            return Hit(
                id=item["id"],
                image=self.root / item["image"],
                score=score,
                class_name=item["class_name"],
                caption=item["caption"],
                recording=self.root / recording if recording else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"expected line {place + 1} of {kind}.jsonl in {self.folder} as s2i index wrote it, found"
                f" {line[:40]!r}: run s2i index again"
            ) from error
