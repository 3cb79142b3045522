"""The pack: one split of a data set as memory-mapped arrays, so that training decodes no JPEG, reads no WAV.

    <data.pack>/<split>/
      images.npy       uint8 (pictures, side, side, 3): square crops, larger than drawn by the margin
      mels.npy         float16 (frames, mels): the final features of every caption, one after the other
      offsets.npy      int64 (captions + 1): caption i is frames offsets[i] to offsets[i + 1]
      index.jsonl      the split's manifest lines, in the order of images and, inside a line, of captions
      attributes.json  the attribute schema, where the manifest has one
      pack.json        counts, classes, what the pack was made from, and its fingerprint; written last

A caption without audio has zero frames. What a modality can use are the captions that have what it needs,
audio or a written word; the others keep their place and are never drawn (`Pack.usable`).

The fingerprint is a hash of what the pack holds: every line of its index but for where files lay, the pixels
as packed, the samples of the recordings, the settings. It is worked out while packing. Neither the folder nor
the number of processes is in it, nor what differs between machines: the bytes that an encoder of files makes
of pixels and samples, the last bits of a Fourier transform. What was trained or measured on a pack keeps it
(`s2i.runs.fingerprints`).

Stale packs. `build_pack` looks at everything: the split's lines, size and time of every source file, the
audio settings, side and crop. Opening a pack for a run must not ask after 100,000 files, so it compares the
settings and the hash of the manifest, where that still lies there; a recording changed under the same name
is noticed by `build_pack` alone. A change to any line of the manifest therefore asks for `build_pack`,
which takes seconds for the splits that did not change.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2i.config import MISSING, Config
from s2i.config_files import require
from s2i.data.audio import features, load_waveform
from s2i.data.images import load_image, resize, square_crop, with_margin
from s2i.data.manifest import (
    Caption,
    Picture,
    format_line,
    iterate_manifest,
    read_attributes,
    read_manifest,
    write_manifest,
)
from s2i.data.text import has_word
from s2i.errors import InputError
from s2i.files.atomic import parse_json, sha256_of, write_atomically
from s2i.files.locks import only_process
from s2i.files.output_folder import refuse_foreign
from s2i.files.unfinished import PART, discard, lasting_part, lasting_part_folder, sweep
from s2i.processes import in_processes
from s2i.progress import progress, say

VERSION = 2  # of the layout and of how sources are read; a pack of another version is stale
OWN = re.compile(  # what a pack's folder holds
    r"(images|mels|offsets)\.npy|index\.jsonl|(attributes|pack)\.json|views-[0-9a-f]{16}/(pooled\.npy|regions\.npy|rows\.txt)"
)
_TOLD = {
    "fingerprint",
    "manifest",
    "pictures",
    "captions",
    "frames",
    "image_size",
    "side",
    "audio",
}  # at least
CHUNK = 32  # pictures that one process packs before it writes; a killed build loses at most this a process


class Pack:
    """One split, opened for reading.

    `pictures`: list of Picture; `images`: uint8 memmap (pictures, side, side, 3); `caption_count`;
    `caption_picture`: int64 (captions,), each caption's picture; `first_caption`: int64 (pictures + 1,), so
    the captions of picture p are first_caption[p] to first_caption[p + 1]; `mel_lengths`: int64 (captions,)
    in frames, 0 without audio; `has_speech`: some caption has audio; `class_ids`: int64 (pictures,) as in
    the manifest; `class_labels`: {class id: label}, labels 0 to K - 1 in order of the ids; `labels`: int64
    (pictures,); `attributes`: {name: its values in order}; `image_size`: px of a picture without its margin;
    `side`: px as stored; `split`; `fingerprint`: of what it holds, SHA-256 in hexadecimal digits.
    """

    def __init__(self, folder: str | Path, expected: Config | None = None) -> None:
        """Open the pack in `folder`; `expected`: the settings that it must have been made with.

        Raises InputError for a pack that is missing, cut short or stale.
        """
        self.folder = Path(folder)
        made_from = read_pack_facts(self.folder)
        if expected is not None:
            _refuse_stale(self.folder, made_from, expected)
        self.fingerprint: str = made_from["fingerprint"]
        self.split: str = made_from["split"]
        self.image_size: int = made_from["image_size"]
        self.side: int = made_from["side"]
        self.pictures: list[Picture] = read_manifest(self.folder / "index.jsonl")
        counts = np.array([len(picture.captions) for picture in self.pictures], dtype=np.int64)
        self.first_caption = np.concatenate([[0], np.cumsum(counts)])
        self.caption_picture = np.repeat(np.arange(len(counts)), counts)
        self.caption_count = int(self.first_caption[-1])

        self.images = self._open("images.npy", (made_from["pictures"], self.side, self.side, 3))
        self._mels = self._open("mels.npy", (made_from["frames"], made_from["audio"]["mels"]))
        self._offsets = np.array(self._open("offsets.npy", (made_from["captions"] + 1,)))
        found = (len(self.pictures), self.caption_count, int(self._offsets[-1]))
        counted = (made_from["pictures"], made_from["captions"], made_from["frames"])
        if found != counted:
            raise _cut_short(self.folder, f"{counted} pictures, captions, frames", f"{found}")
        self.mel_lengths = np.diff(self._offsets)
        self.has_speech = bool(self.mel_lengths.any())

        self.class_ids = np.array([picture.class_id for picture in self.pictures], dtype=np.int64)
        known, self.labels = np.unique(self.class_ids, return_inverse=True)
        self.class_labels = {int(class_id): label for label, class_id in enumerate(known)}
        self.attributes = read_attributes(self.folder / "index.jsonl")

    def __reduce__(self) -> tuple:
        # A loader process opens the files again; pickling a memmap would send all of it.
        return _open_again, (self.folder, self.fingerprint)

    def caption(self, index: int) -> Caption:
        """Caption `index`, counted through the whole split."""
        picture = int(self.caption_picture[index])
        return self.pictures[picture].captions[index - int(self.first_caption[picture])]

    def mel(self, index: int) -> torch.Tensor:
        """Features of caption `index`: (T, M) float32; T is 0 without audio."""
        frames = self._mels[self._offsets[index] : self._offsets[index + 1]]
        return torch.from_numpy(np.asarray(frames, dtype=np.float32))

    def texts(self) -> Iterator[str]:
        """Every written caption, in order."""
        for picture in self.pictures:
            yield from (caption.text for caption in picture.captions if caption.text is not None)

    def usable(self, modality: str) -> np.ndarray:
        """Indices, rising, of the captions that have what "speech" or "text" needs, audio or a word: int64.

        Raises InputError where there is none.
        """
        usable = np.flatnonzero(self.mel_lengths) if modality == "speech" else self._worded
        if len(usable) == 0:
            what = "audio" if modality == "speech" else "text"
            raise InputError(
                f"expected captions with {what} in {self.folder}, found none: add it and pack again"
            )
        return usable

    @cached_property
    def _worded(self) -> np.ndarray:
        captions = (caption for picture in self.pictures for caption in picture.captions)
        found = (caption.text is not None and has_word(caption.text) for caption in captions)
        return np.flatnonzero(np.fromiter(found, dtype=bool, count=self.caption_count))

    def _open(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / name
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:  # absent; shorter than its header says; no header
            raise _cut_short(self.folder, f"a whole {name}", " ".join(str(error).split())) from error
        if array.shape != shape:
            raise _cut_short(self.folder, f"{name} of shape {shape}", f"{array.shape}")
        return array


def _open_again(folder: Path, fingerprint: str) -> Pack:
    """For another process; refused where the pack was replaced since."""
    pack = Pack(folder)
    if pack.fingerprint != fingerprint:
        raise InputError(
            f"expected the data of {fingerprint[:12]} in {folder}, found others, packed there since"
            f" ({pack.fingerprint[:12]}): call the command again"
        )
    return pack


def build_pack(config: Config, splits: Iterable[str], processes: int = 1) -> None:
    """Pack each of `splits` into its folder under `data.pack`; a pack of the same sources is left as it is.

    Finished chunks are kept beside the pack until it is complete, so a killed build continues. The pack
    appears by one rename. Memory use does not grow with the data set; the disk holds the pack twice until
    the end. Raises InputError for bad sources, naming the file, and where another process packs the split.
    """
    require(config, "data.root", "data.manifest", "data.pack")
    for split in splits:
        with only_process(config.data.pack, f".{split}.lock"):
            _build_split(config, split, processes)


def _build_split(config: Config, split: str, processes: int) -> None:
    folder = Path(config.data.pack) / split
    made_from = _look_at_sources(config, split)
    counted = f"{made_from['pictures']} pictures and {made_from['captions']} captions"
    place = folder.with_name(f"{split}-{made_from['sources'][:16]}")
    is_current = _is_current(folder, made_from)
    for left in folder.parent.glob(f".{split}-{'[0-9a-f]' * 16}{PART}"):
        if is_current or left != lasting_part(place):
            discard(left)  # of a build that ended, or of sources that have changed since
    if is_current:
        say(f"{folder}: {counted}, packed before")
        return
    _refuse_other_folder(folder)
    with lasting_part_folder(place) as building:
        sweep(building)
        if not (building / "whole" / "pack.json").exists():
            _pack_chunks(config, split, made_from["pictures"], building, processes)
            _join_chunks(config, split, made_from, building)
        if folder.exists():
            _refuse_other_folder(folder)  # again: something may have come meanwhile
            shutil.rmtree(building / "replaced", ignore_errors=True)
            os.replace(folder, building / "replaced")
        os.replace(building / "whole", folder)
    say(f"{folder}: {counted} packed")


def _refuse_other_folder(folder: Path) -> None:
    """What is no pack is not replaced: CUB's published tree has folders of the same names."""
    is_own = (lambda name: OWN.fullmatch(name) is not None) if _is_pack(folder) else None
    refuse_foreign(folder, "a pack", is_own, "choose another data.pack")


def _is_pack(folder: Path) -> bool:
    """Whether a folder holds a pack, whole or cut short."""
    try:
        return "fingerprint" in read_pack_facts(folder)
    except InputError:
        return all((folder / name).is_file() for name in ("images.npy", "mels.npy", "index.jsonl"))


def _settings(config: Config) -> dict[str, Any]:
    """The part of a configuration that a pack's content depends on."""
    size = config.picture_size
    if size < config.image_size:
        raise InputError(
            f"expected data.picture_size of the largest drawn picture's {config.image_size} px or more,"
            f" found {size}: raise it, or leave it out"
        )
    return {
        "version": VERSION,
        "image_size": size,
        "side": with_margin(size, config.data.margin),
        "box_scale": config.data.box_scale,
        "audio": _audio_settings(config),
    }


def _audio_settings(config: Config) -> dict[str, Any]:
    """Without where weights lie, and without what a log-mel has no use for."""
    audio = asdict(config.audio)
    of_networks = ("front_end", "layer", "weights", "sha256")
    unused = of_networks if config.audio.front_end == "log_mel" else ("weights",)
    return {name: value for name, value in audio.items() if name not in unused}


def _look_at_sources(config: Config, split: str) -> dict[str, Any]:
    """What a pack of `split` is made from: settings, hash of the manifest, counts, and `sources`, a hash of
    all that tells whether a source has changed, times among it."""
    root, manifest = Path(config.data.root), Path(config.data.manifest)
    settings = _settings(config)
    sources = hashlib.sha256(json.dumps([split, settings]).encode())
    pictures = captions = 0
    classes: set[str] = set()
    for picture in _pictures_of(manifest, split):
        pictures += 1
        captions += len(picture.captions)
        classes.add(picture.class_name)
        sources.update(repr(picture).encode())
        for name in (picture.image, *(caption.audio for caption in picture.captions if caption.audio)):
            try:
                found = os.stat(root / name)
            except OSError as error:
                raise InputError(
                    f"expected the files of picture {picture.id!r} of {manifest}, found no {root / name}:"
                    " check data.root or make the data first"
                ) from error
            sources.update(f"{name} {found.st_size} {found.st_mtime_ns}".encode())
    if pictures == 0:
        raise InputError(f"expected pictures of split {split!r} in {manifest}, found none: check --splits")
    sources.update(json.dumps(read_attributes(manifest)).encode())
    weights = ""
    if config.audio.weights:
        try:
            weights = sha256_of(config.audio.weights)
        except OSError as error:
            raise InputError(
                f"expected weights of {config.audio.front_end} in {config.audio.weights}, found:"
                f" {error.strerror}: change audio.weights"
            ) from error
        sources.update(weights.encode())
    return {
        **settings,
        "split": split,
        "sources": sources.hexdigest(),
        "manifest": sha256_of(manifest),
        "weights": weights,
        "pictures": pictures,
        "captions": captions,
        "classes": sorted(classes),
    }


def _is_current(folder: Path, made_from: dict[str, Any]) -> bool:
    """Whether `folder` is a whole pack of these very sources; notes it where only other splits changed."""
    try:
        found = read_pack_facts(folder)
        if found["sources"] != made_from["sources"]:
            return False
        Pack(folder)
    except InputError:
        return False
    if found["manifest"] != made_from["manifest"]:
        _write_made_from(folder, {**found, "manifest": made_from["manifest"]})
    return True


def _pack_chunks(config: Config, split: str, total: int, building: Path, processes: int) -> None:
    """Write the chunks that are not there yet."""
    missing = [path for path in _chunk_files(building, total) if not path.exists()]
    done = total - sum(_chunk_length(path, total) for path in missing)
    finished = in_processes(_pack_chunk, _chunk_jobs(config, split, building), processes)
    each_picture = (None for length in finished for _ in range(length))
    for _ in progress(each_picture, total, f"packing {split}", start=done):
        pass


def _chunk_jobs(config: Config, split: str, building: Path) -> Iterator[tuple[Config, list[Picture], Path]]:
    pictures = _pictures_of(Path(config.data.manifest), split)
    number = 0
    while chunk := list(islice(pictures, CHUNK)):
        path = _chunk_file(building, number)
        if not path.exists():
            yield config, chunk, path
        number += 1


def _pack_chunk(config: Config, pictures: list[Picture], path: Path) -> int:
    """Read the sources of some pictures and write them as one chunk; returns how many pictures."""
    root, side = Path(config.data.root), _settings(config)["side"]
    images = np.empty((len(pictures), side, side, 3), dtype=np.uint8)
    mels: list[np.ndarray] = [np.empty((0, config.audio.mels), dtype=np.float16)]
    lengths: list[int] = []
    digests = np.empty((len(pictures), 32), dtype=np.uint8)
    for row, picture in enumerate(pictures):
        crop = square_crop(load_image(root / picture.image), picture.box, config.data.box_scale)
        images[row] = np.asarray(resize(crop, side))
        digest = hashlib.sha256(images[row])
        for caption in picture.captions:
            if caption.audio is None:
                lengths.append(0)
                continue
            mel = features(load_waveform(root / caption.audio, config.audio, digest), config.audio)
            mels.append(mel.numpy().astype(np.float16))
            lengths.append(len(mel))
        digests[row] = np.frombuffer(digest.digest(), dtype=np.uint8)
    arrays = {"mels": np.concatenate(mels), "lengths": np.array(lengths, dtype=np.int64)}
    with write_atomically(path, "wb") as stream:
        np.savez(stream, images=images, digests=digests, **arrays)
    return len(pictures)


def _join_chunks(config: Config, split: str, made_from: dict[str, Any], building: Path) -> None:
    """The whole pack from its chunks, each read once an array, so that memory stays flat."""
    whole, manifest = building / "whole", Path(config.data.manifest)
    chunks = _chunk_files(building, made_from["pictures"])
    lengths = np.concatenate([_from_chunk(path, "lengths") for path in chunks])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pictures, side, frames = made_from["pictures"], made_from["side"], int(offsets[-1])
    images = (_from_chunk(path, "images") for path in chunks)
    mels = (_from_chunk(path, "mels") for path in chunks)
    _write_array(whole / "images.npy", np.uint8, (pictures, side, side, 3), images)
    _write_array(whole / "mels.npy", np.float16, (frames, config.audio.mels), mels)
    _write_array(whole / "offsets.npy", np.int64, offsets.shape, [offsets])
    write_manifest(whole / "index.jsonl", _pictures_of(manifest, split))
    attributes = read_attributes(manifest)
    if attributes:
        with write_atomically(whole / "attributes.json") as stream:
            json.dump(attributes, stream, ensure_ascii=False)
    digests = np.concatenate([_from_chunk(path, "digests") for path in chunks])
    fingerprint = _fingerprint(made_from, attributes, _pictures_of(manifest, split), digests)
    _write_made_from(whole, {**made_from, "frames": frames, "fingerprint": fingerprint})


def _fingerprint(
    made_from: dict[str, Any],
    attributes: dict[str, list[str]],
    pictures: Iterable[Picture],
    digests: np.ndarray,
) -> str:
    """Of a pack's content; `digests`: (pictures, 32), of each picture's pixels and recordings."""
    settings = {name: made_from[name] for name in ("version", "image_size", "side", "box_scale", "audio")}
    found = hashlib.sha256(json.dumps([settings, made_from["weights"], attributes]).encode())
    for picture, digest in zip(pictures, digests, strict=True):
        captions = tuple(replace(caption, audio=caption.audio and "") for caption in picture.captions)
        found.update(format_line(replace(picture, image="", captions=captions)).encode())
        found.update(digest.tobytes())
    return found.hexdigest()


def _pictures_of(manifest: Path, split: str) -> Iterator[Picture]:
    return (picture for picture in iterate_manifest(manifest) if picture.split == split)


def _chunk_file(building: Path, number: int) -> Path:
    return building / f"{number:06d}.npz"


def _chunk_files(building: Path, total: int) -> list[Path]:
    return [_chunk_file(building, number) for number in range(math.ceil(total / CHUNK))]


def _chunk_length(path: Path, total: int) -> int:
    return min(CHUNK, total - int(path.stem) * CHUNK)


def _from_chunk(path: Path, name: str) -> np.ndarray:
    with np.load(path) as chunk:
        return chunk[name]


def _write_array(path: Path, kind: type, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """An .npy file written part by part; a memmap would count every page written as memory used."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with write_atomically(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(part.tobytes())


def read_pack_facts(folder: Path) -> dict[str, Any]:
    """The pack.json of a pack, which takes no longer to read than that. Raises InputError as `Pack` does."""
    path = folder / "pack.json"
    try:
        made_from = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a pack in {folder}, found no whole pack.json: run data_prep/pack.py"
        ) from error
    if not isinstance(made_from, dict) or made_from.get("version") != VERSION:
        raise InputError(
            f"expected a pack of version {VERSION} in {folder}, found another: run data_prep/pack.py"
        )
    lacking = _TOLD - made_from.keys()
    if lacking:
        raise _cut_short(folder, f"{', '.join(sorted(lacking))} in pack.json", "none")
    return made_from


def _write_made_from(folder: Path, made_from: dict[str, Any]) -> None:
    with write_atomically(folder / "pack.json") as stream:
        json.dump(made_from, stream, indent=1)


def _refuse_stale(folder: Path, made_from: dict[str, Any], expected: Config) -> None:
    for name, value in _settings(expected).items():
        if made_from[name] != value:
            raise InputError(
                f"expected a pack made with {name} {value}, found {made_from[name]} in {folder}:"
                " it is stale, run data_prep/pack.py with this configuration"
            )
    manifest = expected.data.manifest
    if (
        manifest != MISSING
        and Path(manifest).is_file()
        and sha256_of(Path(manifest)) != made_from["manifest"]
    ):
        raise InputError(
            f"expected a pack of {manifest} as it is now, found one of another state in {folder}:"
            " it is stale, run data_prep/pack.py with this configuration"
        )


def _cut_short(folder: Path, expected: str, found: str) -> InputError:
    return InputError(
        f"expected {expected} in {folder}, found {found}: the pack is cut short, run data_prep/pack.py"
    )
