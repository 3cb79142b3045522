"""The `index` command: embeddings of the images and recordings of a folder or manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2i.data.audio import load_waveform
from s2i.data.file_kinds import find_images
from s2i.data.images import load_image, to_tensor
from s2i.data.manifest import ImageRecord, iterate_manifest
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import OutputFolder
from s2i.processes import cores
from s2i.progress import progress, say
from s2i.search.embedder import EmbeddingModel, EmbeddingPath
from s2i.search.index import FORMAT, NETWORKS, Index, voices_of
from s2i.search.nearest import write_table

IMAGES = 64  # in a batch
RECORDINGS = 16  # in a batch; neighbours in a manifest are of much the same length

Item = dict[str, Any]


def build_index(
    model: EmbeddingModel,
    source: str | Path,
    output: str | Path,
    root: str | Path | None = None,
    split: str = "",
) -> Index:
    """Index every image of a folder, or the images and recordings of a manifest.

    Args:
        model: images are embedded by each of its paths with an image encoder, recordings by its path from
            speech.
        source: a folder, searched to its depths, or a manifest (.jsonl).
        output: folder to write; an index there is replaced when the new one is whole.
        root: that a manifest's paths start from; by default its own folder.
        split: of a manifest, "train", "val" or "test" alone; "": all.

    Raises:
        InputError: nothing to index, a bad manifest, or a model without an image encoder. Unreadable images
            of a folder are named on stderr and left out; those of a manifest are an error.
    """
    source, output = Path(source), Path(os.path.abspath(output))
    if not source.exists():
        raise InputError(
            f"expected a folder of images, or a manifest (.jsonl), at {source}, found neither file nor"
            " folder: check the path"
        )
    folder = OutputFolder(output, "s2i index", nothing_else=True)
    paths = [path for path in model.image_paths().values() if path.image_encoder is not None]
    if not paths:
        next(iter(model.paths.values())).fingerprint("image_encoder")  # raises the InputError
    if source.is_dir():
        root, items, recordings = source, _items_of_folder(source), []
    else:
        root = Path(root) if root is not None else source.parent
        chosen = [image for image in iterate_manifest(source) if split in ("", image.split)]
        items = [_item_of_image(image) for image in chosen]
        recordings = [item for image in chosen for item in _items_of_recordings(image)]
    if not items:
        expected = f"images of {split}" if split else "images"
        raise InputError(f"expected {expected} in {source}, found none: check --split")
    speech_paths = [path for path in paths if path.config.modality == "speech" and path.encoder is not None]
    try:
        with folder.replaced(last="index.json") as made:
            writer = _Writer(made, "images", paths)
            _write_images(writer, paths, root, items, source.is_dir())
            if not writer.count:
                raise InputError(
                    f"expected images that can be read in {source}, found none: give another folder"
                )
            description = {
                "format": FORMAT,
                "root": os.path.relpath(root, output),
                "sizes": {"images": writer.count},
                "fingerprints": writer.finish(),
            }
            if recordings and speech_paths:
                writer = _Writer(made, "recordings", speech_paths)
                _write_recordings(writer, speech_paths[0], root, recordings)
                description["sizes"]["recordings"] = writer.count
                description["fingerprints"] |= writer.finish()
                description["voices"] = voices_of(speech_paths[0])
            with write_atomically(made / "index.json") as stream:
                json.dump(description, stream, indent=1)
    except OSError as error:
        raise InputError(
            f"expected to write {output}, found: {error.strerror or error}: check path and disk"
        ) from error
    return Index.open(output)


def _items_of_folder(folder: Path) -> list[Item]:
    names = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    return [{"id": name, "image": name, "box": None, "class_name": None, "caption": None} for name in names]


def _item_of_image(image: ImageRecord) -> Item:
    return {
        "id": image.id,
        "image": image.image,
        "box": image.box,
        "class_name": image.class_name,
        "caption": next((caption.text for caption in image.captions if caption.text), None),
    }


def _items_of_recordings(image: ImageRecord) -> Iterator[Item]:
    for number, caption in enumerate(image.captions):
        if caption.audio is not None:
            item = _item_of_image(image) | {"caption": caption.text, "recording": caption.audio}
            yield item | {"id": f"{image.id}-{number}"}


class _Writer:
    """Writes the lines and vectors of one gallery as they come; memory use doesn't grow with them."""

    def __init__(self, folder: Path, gallery: str, paths: Sequence[EmbeddingPath]) -> None:
        self._folder, self._gallery, self._paths = folder, gallery, paths
        self._ends = [0]
        self._lines = (folder / f"{gallery}.jsonl").open("wb")
        for path in paths:
            self._table(path).mkdir()
        self._vectors = [(self._table(path) / "raw").open("wb") for path in paths]

    def _table(self, path: EmbeddingPath) -> Path:
        return self._folder / f"{path.config.modality}-{self._gallery}"

    def add(self, items: Sequence[Item], vectors: Sequence[Tensor]) -> None:
        """Add N items and their unit vectors (N, D) of each path."""
        for item in items:
            line = {key: value for key, value in item.items() if key != "box"}
            self._ends.append(self._ends[-1] + self._lines.write(json.dumps(line).encode() + b"\n"))
        for stream, values in zip(self._vectors, vectors, strict=True):
            stream.write(values.cpu().numpy().astype(np.float32).tobytes())

    def finish(self) -> dict[str, str]:
        """Close the files and make the tables; fingerprints of the networks, by the name of their table."""
        for stream in (self._lines, *self._vectors):
            stream.close()
        np.save(self._folder / f"{self._gallery}.offsets.npy", np.array(self._ends, np.int64))
        fingerprints = {}
        for path in self._paths:
            table = self._table(path)
            raw = np.memmap(table / "raw", np.float32, "r").reshape(len(self._ends) - 1, -1)
            np.save(table / "vectors.npy", raw)
            del raw
            (table / "raw").unlink()
            write_table(table)
            fingerprints[table.name] = path.fingerprint(NETWORKS[self._gallery])
        return fingerprints

    @property
    def count(self) -> int:
        return len(self._ends) - 1


def _write_images(
    writer: _Writer, paths: Sequence[EmbeddingPath], root: Path, items: list[Item], skip: bool
) -> None:
    def decode(item: Item) -> Image.Image | None:
        try:
            return load_image(root / item["image"])
        except InputError as error:
            if not skip:
                raise
            say(f"left out: {error}")
            return None

    with ThreadPoolExecutor(min(8, cores())) as pool:  # PIL lets other threads run meanwhile
        for batch in _batches(progress(items, len(items), "images indexed"), IMAGES):
            images = list(pool.map(decode, batch))
            readable = [(item, image) for item, image in zip(batch, images, strict=True) if image is not None]
            if readable:
                vectors = [_embed_images(path, readable) for path in paths]
                writer.add([item for item, _ in readable], vectors)


def _embed_images(path: EmbeddingPath, images: list[tuple[Item, Image.Image]]) -> Tensor:
    framed = np.stack([path.frame_image(image, item["box"]) for item, image in images])
    return path.encode_images(to_tensor(torch.from_numpy(framed)))


def _write_recordings(writer: _Writer, path: EmbeddingPath, root: Path, items: list[Item]) -> None:
    for batch in _batches(progress(items, len(items), "recordings indexed"), RECORDINGS):
        waveforms = [load_waveform(root / item["recording"], path.config.audio) for item in batch]
        writer.add(batch, [F.normalize(path.encode_speech(waveforms).sentence, dim=1)])


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
