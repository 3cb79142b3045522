"""An index of images and recordings, opened for searching. `s2i.search.build` makes one.

    <index>/
      index.json             its sources, sizes and the fingerprints of its model; written last
      images.jsonl           an image a line: id, path, class and caption where the manifest has them
      recordings.jsonl       a recording a line, where the manifest has some
      <gallery>.offsets.npy  int64 (N + 1): line i is bytes offsets[i] to offsets[i + 1]
      <space>-<gallery>/     vectors in the space of the model's speech or text path, see `s2i.search.nearest`

Nothing is read as a whole, so opening an index of any size takes milliseconds. Paths start from the images'
root, which is kept relative to the index, so that both can be moved together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2i.errors import InputError
from s2i.files.atomic import parse_json
from s2i.files.paths import in_place_of_folder
from s2i.search.embedder import EmbeddingPath
from s2i.search.nearest import VectorTable

FORMAT = 1  # of the folder
GALLERIES = ("images", "recordings")
NETWORKS = {"images": "image_encoder", "recordings": "encoder"}  # of a path, that embeds them


def voices_of(path: EmbeddingPath) -> str:
    """How a path reads recordings, in a word."""
    return "normalised" if path.normalise_voices else "as heard"


@dataclass(frozen=True)
class Hit:
    """One result of a search: an image, or a recording with the image that it describes."""

    id: str
    image: Path
    score: float  # cosine, -1 to 1
    class_name: str | None = None
    caption: str | None = None  # an image's first written caption, or the recording's own
    recording: Path | None = None


class Index:
    """What `s2i index` writes. `sizes`: {gallery: how many}; `spaces`: of its vectors, "speech", "text"."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder = folder
        self.root = Path(os.path.normpath(folder / description["root"]))
        self.sizes: dict[str, int] = description["sizes"]
        self._fingerprints: dict[str, str] = description["fingerprints"]
        self._voices: str = description.get("voices", "as heard")  # before voices were normalised, none said
        self._tables = {name: VectorTable(folder / name) for name in self._fingerprints}
        self._offsets = {
            gallery: np.load(folder / f"{gallery}.offsets.npy", mmap_mode="r")
            for gallery in GALLERIES
            if self.sizes.get(gallery)
        }
        for gallery, offsets in self._offsets.items():
            lines = folder / f"{gallery}.jsonl"
            if lines.stat().st_size != offsets[-1]:
                raise ValueError(f"{lines.name} of {lines.stat().st_size} bytes in place of {offsets[-1]}")
        self.spaces = sorted({name.partition("-")[0] for name in self._tables})

    @classmethod
    def open(cls, folder: str | Path) -> Index:
        """Open an index. Raises InputError where there is none, or one that is cut short."""
        folder = Path(folder)
        path = folder / "index.json"
        if not path.is_file():
            problem = "no index.json" if folder.is_dir() else in_place_of_folder(folder)
            raise InputError(
                f"expected an index in {folder}, found {problem}: make one with s2i index --output {folder}"
            )
        try:
            description = parse_json(path.read_bytes())
            if description["format"] != FORMAT:
                raise ValueError(f"format {description['format']}")
            return cls(folder, description)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = " ".join(str(error).split())
            raise InputError(
                f"expected an index of format {FORMAT} in {folder}, found {problem}: run s2i index again"
            ) from error

    def check(self, path: EmbeddingPath, gallery: str = "images") -> None:
        """Raise InputError for another model than made the index, or for a gallery that it lacks."""
        space = path.config.modality
        if gallery not in GALLERIES or not self.sizes.get(gallery):
            raise InputError(
                f"expected {gallery} in the index {self.folder}, found {' and '.join(self.sizes)} alone:"
                " index a manifest that has them"
            )
        name = f"{space}-{gallery}"
        if name not in self._tables:
            raise InputError(
                f"expected {gallery} in the embedding space of {space} in the index {self.folder}, found only"
                f" {' and '.join(self.spaces)}: run s2i index again, with a model that has both"
            )
        if path.fingerprint(NETWORKS[gallery]) != self._fingerprints[name]:
            raise InputError(
                f"expected the model that the index {self.folder} was made with, found another:"
                " run s2i index with this one"
            )
        if gallery == "recordings" and self._voices != voices_of(path):
            raise InputError(
                f"expected recordings whose voices are {voices_of(path)} in the index {self.folder}, found"
                f" them {self._voices}: run s2i index again"
            )

    def nearest(
        self, vector: np.ndarray, top: int = 10, space: str = "speech", gallery: str = "images"
    ) -> list[Hit]:
        """The nearest neighbours of a vector by cosine, best first.

        Args:
            vector: (D,) of length 1, in the space of the model's path from "speech" or "text".
            top: how many; fewer where the index has fewer.
            gallery: "images" or "recordings".
        """
        rows, cosines = self._tables[f"{space}-{gallery}"].nearest(vector, top)
        return [self._hit(gallery, int(row), float(score)) for row, score in zip(rows, cosines, strict=True)]

    def _hit(self, gallery: str, row: int, score: float) -> Hit:
        first, last = (int(offset) for offset in self._offsets[gallery][row : row + 2])
        with (self.folder / f"{gallery}.jsonl").open("rb") as stream:
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
                f"expected line {row + 1} of {gallery}.jsonl in {self.folder} as s2i index wrote it, found"
                f" {line[:40]!r}: run s2i index again"
            ) from error
