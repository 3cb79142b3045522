"""One pass over generated or real images, or captions, for all who want to look at them, into features on
disk.

Images are generated once, however many extractors look; what an earlier call or a killed one left is not
generated
again. Several processes may share the generation: an image depends on nothing but its caption and the seed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from s2i.config import MISSING, DataConfig, EvaluationConfig
from s2i.config_files import config_to_dict
from s2i.data.crops import centre_crops, read_images
from s2i.data.images import to_tensor, to_uint8
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.extractors import FEATURES, Extractor, weights_identity
from s2i.evaluation.feature_store import FeatureStore
from s2i.evaluation.score import S2IGAN
from s2i.inference.model import load
from s2i.processes import in_processes
from s2i.progress import progress, say

if TYPE_CHECKING:
    from s2i.evaluation.subject import Subject

VERSION = 1  # of how images are generated and looked at: another one's features fit no more
IMAGES_A_BATCH = 256  # real ones
Features = dict[str, np.ndarray]  # {output: (rows, width) float32}


def look_at_generated(subject: Subject, names: Sequence[str], which: str) -> dict[str, Features]:
    """Features by extractor, row by row as `subject.captions_of(which)`; generated where they are not on
    disk."""
    stores = _stores_of_generated(subject, names, which)
    missing, total = _missing(stores), len(subject.captions_of(which))
    if 0 < len(missing) < total:
        say(f"{total - len(missing)} of {total} images were generated and looked at before")
    processes = min(subject.evaluation.processes, -(-len(missing) // subject.evaluation.batch_size))
    if processes > 1:
        job = (_folder(subject), subject.path.config.data, subject.path.config.modality)
        job += (subject.path.device.type,)
        job += (replace(subject.evaluation, processes=1), subject.captions, list(names), which)
        jobs = ((*job, missing[part::processes]) for part in range(processes))
        for _ in in_processes(_generate_part, jobs, processes):
            pass
    elif len(missing):
        _generate_rows(subject, names, stores, which, missing)
    return {name: store.read() for name, store in zip(names, stores, strict=True)}


def look_at_real(
    subject: Subject, extractor: Extractor, pack: Pack, images: np.ndarray | None = None
) -> Features:
    """Features of every image of a pack, in order, or of some: indices (N,)."""
    chosen = np.arange(len(pack.records)) if images is None else images
    part = "" if images is None else f"-{_hash(','.join(map(str, images.tolist())))[:8]}"
    total = len(chosen)
    # The own encoders see what they were trained on, which may be larger than what is generated.
    size = pack.packed_size if extractor.name == "encoders" else subject.path.config.generated_size
    made_from = {**_made_from(subject, extractor, pack), "image_size": size}
    name = f"real-{pack.folder.name}{part}-{extractor.name}"
    store = FeatureStore(_shared_folder(subject), name, made_from, total, extractor.outputs)
    missing = store.missing
    if len(missing):
        starts = range(int(missing[0]), total, IMAGES_A_BATCH)
        for start in progress(starts, len(starts), f"{extractor.name}: looking at real images"):
            rows = np.arange(start, min(start + IMAGES_A_BATCH, total))
            looked_at = read_images(pack, chosen[rows], centre_crops(pack, len(rows)), size)
            _look([(extractor, store)], looked_at, rows)
        store.flush()
    return store.read()


def look_at_captions(subject: Subject) -> Features:
    """The path's own vector of each of `subject.captions`."""
    path, captions = subject.path, subject.captions
    made_from = {
        **_read_by(subject, captions),
        "version": VERSION,
        "pack": subject.pack.fingerprint,
        "device": path.device.type,
        "weights": weights_identity(path.encoder),
    }
    name = f"captions-{subject.evaluation.split}-{path.config.modality}"
    outputs = {FEATURES: path.config.embedding_dim}
    store = FeatureStore(_folder_of_generated(subject), name, made_from, len(captions), outputs, True)
    missing = store.missing
    if len(missing):
        for batch, places in subject.batches(captions[missing], "encoding captions"):
            store.write(missing[places], {FEATURES: path.encode(batch).sentence.float().cpu().numpy()})
        store.flush()
    return store.read()


def _generate_rows(
    subject: Subject, names: Sequence[str], stores: Sequence[FeatureStore], which: str, rows: np.ndarray
) -> None:
    """Generate some rows of the stores, rising, and let each extractor look at what it lacks of them."""
    extractors = [subject.must(name) for name in names]
    for places, _, output in subject.generate(subject.captions_of(which)[rows], which == S2IGAN):
        # As a file would hold them.
        images = to_tensor(torch.from_numpy(to_uint8(output.images[-1])))
        _look(zip(extractors, stores, strict=True), images, rows[places])
    for store in stores:
        store.flush()


def _generate_part(
    model: Path,
    data: DataConfig,
    modality: str,
    device: str,
    evaluation: EvaluationConfig,
    captions: np.ndarray,
    names: list[str],
    which: str,
    rows: np.ndarray,
) -> int:
    """One process's share of the rows to generate; returns how many."""
    from s2i.evaluation.subject import Subject  # which imports this module

    path = load(model, device).path(modality)
    subject = Subject(replace(path, config=replace(path.config, data=data)), evaluation)
    subject.keep(captions)
    _generate_rows(subject, names, _stores_of_generated(subject, names, which), which, rows)
    return len(rows)


def _stores_of_generated(subject: Subject, names: Iterable[str], which: str) -> list[FeatureStore]:
    config, captions = subject.path.config, subject.captions_of(which)
    generated_from = {
        **_read_by(subject, captions),
        "generated_size": config.generated_size,
        "weights": weights_identity(subject.path.encoder, subject.path.generator),
        "generator": config_to_dict(config.generator),
        "seed": subject.evaluation.seed,
        "noise": "of the image" if which == S2IGAN else "of the caption",
    }
    stores = []
    for extractor in map(subject.must, names):
        made_from = {**_made_from(subject, extractor, subject.pack), **generated_from}
        name = f"{which}-{subject.evaluation.split}-{config.modality}-{extractor.name}"
        stores.append(
            FeatureStore(
                _folder_of_generated(subject), name, made_from, len(captions), extractor.outputs, True
            )
        )
    return stores


def _read_by(subject: Subject, captions: np.ndarray) -> dict[str, Any]:
    """What captions are read, and how."""
    config, vocabulary = subject.path.config, subject.path.vocabulary
    settings = config.speech_encoder if config.modality == "speech" else config.text_encoder
    return {
        "modality": config.modality,
        "encoder": config_to_dict(settings),
        "vocabulary": _hash(" ".join(vocabulary.to_list()) if vocabulary else ""),
        "captions": _hash(",".join(map(str, captions.tolist()))),
    }


def _made_from(subject: Subject, extractor: Extractor, pack: Pack) -> dict[str, Any]:
    return {
        "version": VERSION,
        "extractor": [extractor.name, extractor.identity, extractor.resize],
        "pack": pack.fingerprint,
        "device": subject.path.device.type,
    }


def _folder(subject: Subject) -> Path:
    return subject.path.folder or Path(subject.path.config.run)


def _folder_of_generated(subject: Subject) -> Path:
    """With the run; of an exported model, which stays as it is, beside the pack."""
    if subject.evaluation.cache:
        return Path(subject.evaluation.cache) / _folder(subject).absolute().name
    if subject.path.config.run == MISSING:
        return _shared_folder(subject) / _folder(subject).absolute().name
    return _folder(subject) / "features"


def _shared_folder(subject: Subject) -> Path:
    """Beside the pack, where it may be written: runs share it."""
    if subject.evaluation.cache:
        return Path(subject.evaluation.cache) / "real"
    beside = Path(subject.path.config.data.pack)
    if os.access(beside, os.W_OK):
        return beside / "features"
    if subject.path.config.run == MISSING:
        raise InputError(
            f"expected to write features into {beside}, found it protected: set evaluation.cache=FOLDER"
        )
    return _folder(subject) / "features"


def _look(who: Iterable[tuple[Extractor, FeatureStore]], images: Tensor, rows: np.ndarray) -> None:
    for extractor, store in who:
        if np.isin(rows, store.missing).any():
            store.write(rows, {name: value.numpy() for name, value in extractor.look(images).items()})


def _missing(stores: Sequence[FeatureStore]) -> np.ndarray:
    """Rows that some store lacks, rising."""
    return np.unique(np.concatenate([store.missing for store in stores]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
