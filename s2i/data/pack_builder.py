"""Building packs: images and recordings of a manifest -> the arrays that `s2i.data.pack` reads.

A pack whose sources have not changed is left as it is: the split's lines, size and time of every source file,
the audio settings, the front end's weights and the file of its class, side and crop are compared. Any change
to the manifest makes all its packs stale, so all are built again, which takes seconds for the splits whose
own lines have not changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2i.config import Config
from s2i.config_files import require
from s2i.data.audio import load_waveform, mean_and_deviation, unnormalised_features
from s2i.data.images import load_image, resize, square_crop
from s2i.data.manifest import ImageRecord, format_line, iterate_manifest, read_attributes, write_manifest
from s2i.data.pack import Pack, front_end_source, is_of_other_source, pack_settings, read_pack_facts
from s2i.data.shards import WHOLE, Shard
from s2i.errors import InputError
from s2i.files.atomic import sha256_of, write_atomically
from s2i.files.locks import only_process
from s2i.files.output_folder import refuse_foreign
from s2i.files.unfinished import PART, discard, lasting_part, lasting_part_folder, sweep
from s2i.processes import in_processes
from s2i.progress import progress, say

_FILES = re.compile(  # in a pack's folder
    r"(images|mels|cmvn|offsets)\.npy|index\.jsonl|(attributes|pack)\.json|feature-cache-[0-9a-f]{16}/(pooled\.npy|regions\.npy|rows\.txt)"
)
_CHUNK, _SHARD = re.compile(r"[0-9]{6}\.npz"), re.compile(r".+-[0-9a-f]{16}-shard-[0-9]+-of-[0-9]+")
FINGERPRINT_VERSION = 2  # of how sources are read
# A fingerprint identifies data, whatever its settings are called: it is taken under the names that it was
# first taken under, since exported models carry it.
_FINGERPRINT_NAMES = {
    "packed_size": "image_size",
    "mel_bins": "mels",
    "log_floor": "floor",
    "cmvn": "normalise",
    "max_seconds": "longest",
}
CHUNK = 32  # images that one process packs before it writes; a killed build loses at most this a process


def build_pack(config: Config, splits: Iterable[str], processes: int = 1, shard: Shard = WHOLE) -> None:
    """Pack each of `splits` into its folder under `data.pack`; a pack of the same sources is left as it is.

    Finished chunks are kept beside the pack until it is complete, so a killed build continues. The pack
    appears by one rename. Memory use does not grow with the data set; the disk holds the pack twice until
    the end. Raises InputError for bad sources, naming the file, and where another process packs the split.

    `shard`: pack this part of each split's chunks alone and keep them beside the pack, on a file system that
    all machines share; the call without one packs what is missing and joins them all, to the same bytes.
    """
    require(config, "data.root", "data.manifest", "data.pack")
    for split in splits:
        name = split if shard.is_whole else f"{split}-shard-{shard}"
        with only_process(config.data.pack, f".{name}.lock"):
            _build_split(config, split, processes, shard)


def _build_split(config: Config, split: str, processes: int, shard: Shard) -> None:
    folder = Path(config.data.pack) / split
    facts = _describe_sources(config, split)
    counts = f"{facts['images']} images and {facts['captions']} captions"
    made_from = facts["sources"]
    if facts["front_end_source"]:
        made_from = hashlib.sha256(f"{made_from} {facts['front_end_source']}".encode()).hexdigest()
    unfinished = folder.with_name(f"{split}-{made_from[:16]}")
    is_current = _is_current(folder, facts, config.audio.front_end)
    for leftover in folder.parent.glob(f".{split}-{'[0-9a-f]' * 16}{PART}"):
        if is_current or leftover != lasting_part(unfinished):
            discard(leftover)  # of a build that ended, or of sources that have changed since
    if is_current:
        say(f"{folder}: {counts}, packed before")
        return
    _refuse_other_folder(folder)
    if not shard.is_whole:
        _pack_shard(config, split, facts["images"], Path(f"{unfinished}-shard-{shard}"), processes, shard)
        return
    with lasting_part_folder(unfinished) as building:
        sweep(building)
        if not (building / "whole" / "pack.json").exists():
            _take_shards(folder.parent, split, unfinished.name, building)
            _pack_chunks(config, split, facts["images"], building, processes)
            _join_chunks(config, split, facts, building)
        if folder.exists():
            _refuse_other_folder(folder)  # again: something may have come meanwhile
            shutil.rmtree(building / "replaced", ignore_errors=True)
            os.replace(folder, building / "replaced")
        os.replace(building / "whole", folder)
    say(f"{folder}: {counts} packed")


def _pack_shard(config: Config, split: str, total: int, folder: Path, processes: int, shard: Shard) -> None:
    """Pack a shard's chunks into a folder of their own, which has its name when it is complete."""
    if not folder.is_dir():
        with lasting_part_folder(folder) as building:
            sweep(building)
            _pack_chunks(config, split, total, building, processes, shard)
            os.replace(building, folder)
    say(f"{folder}: {len(list(folder.iterdir()))} chunks; without --shard they become a pack")


def _take_shards(parent: Path, split: str, name: str, building: Path) -> None:
    """Move the chunks of complete shards of these sources into `building`; those of others are removed."""
    for leftover in parent.glob(f".{split}-*-shard-*-of-*{PART}"):
        discard(leftover)
    for shard in parent.glob(f"{split}-*-shard-*-of-*"):
        if not (_SHARD.fullmatch(shard.name) and shard.is_dir()):
            continue
        chunks = list(shard.iterdir())
        if not all(_CHUNK.fullmatch(chunk.name) for chunk in chunks):
            continue  # not a packer's
        if shard.name.startswith(f"{name}-shard-"):
            for chunk in chunks:
                os.replace(chunk, building / chunk.name)
        shutil.rmtree(shard)


def _refuse_other_folder(folder: Path) -> None:
    """Only a pack is replaced: CUB's published tree has folders of the same names."""
    is_pack_file = (lambda name: _FILES.fullmatch(name) is not None) if _is_pack(folder) else None
    refuse_foreign(folder, "a pack", is_pack_file, "choose another data.pack")


def _is_pack(folder: Path) -> bool:
    """Whether a folder holds a pack, whole or cut short."""
    try:
        return "fingerprint" in read_pack_facts(folder)
    except InputError:
        return all((folder / name).is_file() for name in ("images.npy", "mels.npy", "index.jsonl"))


def _describe_sources(config: Config, split: str) -> dict[str, Any]:
    """The facts about a pack of `split` that are known before it is built: settings, hash of the manifest,
    counts, and `sources`, a hash that changes with any source, the times of its files included."""
    root, manifest = Path(config.data.root), Path(config.data.manifest)
    settings = pack_settings(config)
    sources = hashlib.sha256(json.dumps([split, settings]).encode())
    images = captions = 0
    classes: set[str] = set()
    for image in _images_of(manifest, split):
        images += 1
        captions += len(image.captions)
        classes.add(image.class_name)
        sources.update(repr(image).encode())
        for name in (image.image, *(caption.audio for caption in image.captions if caption.audio)):
            try:
                status = os.stat(root / name)
            except OSError as error:
                raise InputError(
                    f"expected the files of image {image.id!r} of {manifest}, found no {root / name}:"
                    " check data.root or make the data first"
                ) from error
            sources.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
    if images == 0:
        raise InputError(f"expected images of split {split!r} in {manifest}, found none: check --splits")
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
        "front_end_source": front_end_source(config.audio),
        "images": images,
        "captions": captions,
        "classes": sorted(classes),
    }


def _is_current(folder: Path, facts: dict[str, Any], front_end: str) -> bool:
    """Whether `folder` is a complete pack of these sources; updates its manifest's hash where only other
    splits have changed."""
    try:
        stored = read_pack_facts(folder)
        if stored["sources"] != facts["sources"]:
            return False
        if is_of_other_source(folder, stored, facts["front_end_source"], front_end):
            return False
        Pack(folder)
    except InputError:
        return False
    if stored["manifest"] != facts["manifest"]:
        _write_facts(folder, {**stored, "manifest": facts["manifest"]})
    return True


def _pack_chunks(
    config: Config, split: str, total: int, building: Path, processes: int, shard: Shard = WHOLE
) -> None:
    """Write the chunks of a shard that are not there yet."""
    chunks = [path for number, path in enumerate(_chunk_files(building, total)) if shard.has(number)]
    images = sum(_chunk_length(path, total) for path in chunks)
    done = sum(_chunk_length(path, total) for path in chunks if path.exists())
    finished = in_processes(_pack_chunk, _chunk_jobs(config, split, building, shard), processes)
    each_image = (None for length in finished for _ in range(length))
    for _ in progress(each_image, images, f"packing {split}", start=done):
        pass


def _chunk_jobs(
    config: Config, split: str, building: Path, shard: Shard
) -> Iterator[tuple[Config, list[ImageRecord], Path]]:
    images = _images_of(Path(config.data.manifest), split)
    number = 0
    while chunk := list(islice(images, CHUNK)):
        path = _chunk_file(building, number)
        if shard.has(number) and not path.exists():
            yield config, chunk, path
        number += 1


def _pack_chunk(config: Config, records: list[ImageRecord], path: Path) -> int:
    """Read the sources of some images and write them as one chunk; returns how many images."""
    root, side = Path(config.data.root), pack_settings(config)["side"]
    images = np.empty((len(records), side, side, 3), dtype=np.uint8)
    mels: list[np.ndarray] = [np.empty((0, config.audio.mel_bins), dtype=np.float16)]
    cmvn = np.zeros((sum(len(image.captions) for image in records), 2, config.audio.mel_bins), np.float32)
    cmvn[:, 1] = 1
    lengths: list[int] = []
    digests = np.empty((len(records), 32), dtype=np.uint8)
    for row, image in enumerate(records):
        crop = square_crop(load_image(root / image.image), image.box, config.data.box_scale)
        images[row] = np.asarray(resize(crop, side))
        digest = hashlib.sha256(images[row])
        for caption in image.captions:
            if caption.audio is None:
                lengths.append(0)
                continue
            waveform = load_waveform(root / caption.audio, config.audio, digest)
            mel = unnormalised_features(waveform, config.audio)
            if config.audio.cmvn:
                mean, deviation = mean_and_deviation(mel)
                mel = (mel - mean) / deviation
                cmvn[len(lengths)] = torch.cat([mean, deviation]).numpy()
            mels.append(mel.numpy().astype(np.float16))
            lengths.append(len(mel))
        digests[row] = np.frombuffer(digest.digest(), dtype=np.uint8)
    arrays = {"mels": np.concatenate(mels), "cmvn": cmvn, "lengths": np.array(lengths, dtype=np.int64)}
    with write_atomically(path, "wb") as stream:
        np.savez(stream, images=images, digests=digests, **arrays)
    return len(records)


def _join_chunks(config: Config, split: str, facts: dict[str, Any], building: Path) -> None:
    """Write the complete pack from its chunks, each read once an array, so that memory use stays flat."""
    whole, manifest = building / "whole", Path(config.data.manifest)
    chunks = _chunk_files(building, facts["images"])
    lengths = np.concatenate([_from_chunk(path, "lengths") for path in chunks])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count, side, frames = facts["images"], facts["side"], int(offsets[-1])
    images = (_from_chunk(path, "images") for path in chunks)
    mels = (_from_chunk(path, "mels") for path in chunks)
    _write_array(whole / "images.npy", np.uint8, (count, side, side, 3), images)
    _write_array(whole / "mels.npy", np.float16, (frames, config.audio.mel_bins), mels)
    cmvn = (_from_chunk(path, "cmvn") for path in chunks)
    _write_array(whole / "cmvn.npy", np.float32, (facts["captions"], 2, config.audio.mel_bins), cmvn)
    _write_array(whole / "offsets.npy", np.int64, offsets.shape, [offsets])
    write_manifest(whole / "index.jsonl", _images_of(manifest, split))
    attributes = read_attributes(manifest)
    if attributes:
        with write_atomically(whole / "attributes.json") as stream:
            json.dump(attributes, stream, ensure_ascii=False)
    digests = np.concatenate([_from_chunk(path, "digests") for path in chunks])
    fingerprint = _fingerprint(facts, attributes, _images_of(manifest, split), digests)
    _write_facts(whole, {**facts, "frames": frames, "fingerprint": fingerprint})


def _fingerprint(
    facts: dict[str, Any],
    attributes: dict[str, list[str]],
    images: Iterable[ImageRecord],
    digests: np.ndarray,
) -> str:
    """Of a pack's content; `digests`: (images, 32), of each image's pixels and recordings."""
    sizes = _fingerprint_names({name: facts[name] for name in ("packed_size", "side", "box_scale")})
    audio = _fingerprint_names(facts["audio"])
    settings = {"version": FINGERPRINT_VERSION, **sizes, "audio": audio}
    digest = hashlib.sha256(json.dumps([settings, facts["weights"], attributes]).encode())
    for image, content in zip(images, digests, strict=True):
        captions = tuple(replace(caption, audio=caption.audio and "") for caption in image.captions)
        digest.update(format_line(replace(image, image="", captions=captions)).encode())
        digest.update(content.tobytes())
    return digest.hexdigest()


def _fingerprint_names(settings: dict[str, Any]) -> dict[str, Any]:
    return {_FINGERPRINT_NAMES.get(name, name): value for name, value in settings.items()}


def _images_of(manifest: Path, split: str) -> Iterator[ImageRecord]:
    return (image for image in iterate_manifest(manifest) if image.split == split)


def _chunk_file(building: Path, number: int) -> Path:
    return building / f"{number:06d}.npz"


def _chunk_files(building: Path, total: int) -> list[Path]:
    return [_chunk_file(building, number) for number in range(math.ceil(total / CHUNK))]


def _chunk_length(path: Path, total: int) -> int:
    return min(CHUNK, total - int(path.stem) * CHUNK)


def _from_chunk(path: Path, name: str) -> np.ndarray:
    with np.load(path) as chunk:
        return chunk[name]


def _write_array(path: Path, kind: type, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write an .npy file block by block; a memmap would count every page written as memory used."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with write_atomically(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(block.tobytes())


def _write_facts(folder: Path, facts: dict[str, Any]) -> None:
    with write_atomically(folder / "pack.json") as stream:
        json.dump(facts, stream, indent=1)
