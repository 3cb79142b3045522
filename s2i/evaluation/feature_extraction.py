"""One pass over captions or images for every extractor that needs them, into features on disk.

Images are generated once, however many extractors read them; what an earlier call or a killed one left is not
generated again. Several processes may share the generation: an image depends on nothing but its caption and
the seed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.config import MISSING, EvaluationConfig
from s2i.config_data import DataConfig
from s2i.config_files import config_to_dict
from s2i.data.crops import centre_crops, read_images
from s2i.data.images import to_tensor, to_uint8
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.captions import GENERATED, S2IGAN, CaptionSet
from s2i.evaluation.extractors import FEATURES, Extractor, image_encoder_identity, weights_identity
from s2i.evaluation.feature_store import FeatureStore
from s2i.evaluation.generation import GeneratedCaption, generate_captions
from s2i.evaluation.metric_networks import ENCODERS, MetricNetworks
from s2i.inference.candidates import rule_of
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.processes import in_processes
from s2i.progress import progress, say

VERSION = 2  # of how images are generated and features extracted: features of another one don't fit
IMAGES_A_BATCH = 256  # real ones
Features = dict[str, np.ndarray]  # {output: (rows, width) float32}
GeneratedCaptions = dict[int, GeneratedCaption]  # by index in the pack


def generated_features(
    captions: CaptionSet, networks: MetricNetworks, names: Sequence[str], selection: str, kept: np.ndarray
) -> tuple[dict[str, Features], GeneratedCaptions]:
    """Features by extractor, row by row as `captions.select(selection)`; generated where none are on disk.

    Args:
        names: of the extractors.
        kept: captions, indices in the pack, whose whole output is returned too where this call generates it.
    """
    stores = _stores_of_generated(captions, networks, names, selection)
    missing, total = _missing(stores), len(captions.select(selection))
    outputs: GeneratedCaptions = {}
    if 0 < len(missing) < total:
        say(f"{total - len(missing)} of {total} images were generated before")
    processes = min(captions.settings.processes, -(-len(missing) // captions.settings.batch_size))
    if processes > 1:
        path, settings = captions.path, replace(captions.settings, processes=1)
        job = (_folder(captions), path.config.data, path.config.modality, settings)
        job += (captions.readable, list(names), selection, kept)
        jobs = ((_device(path.device, rank), *job, missing[rank::processes]) for rank in range(processes))
        for generated in in_processes(_generate_share, jobs, processes):
            outputs |= generated
    elif len(missing):
        outputs = _generate_rows(captions, networks, names, stores, selection, missing, kept)
    return {name: store.read() for name, store in zip(names, stores, strict=True)}, outputs


def real_features(
    captions: CaptionSet, extractor: Extractor, pack: Pack, images: np.ndarray | None = None
) -> Features:
    """Features of every image of a pack, in order, or of some: indices (N,)."""
    chosen = np.arange(len(pack.records)) if images is None else images
    suffix = "" if images is None else f"-{_hash(','.join(map(str, images.tolist())))[:8]}"
    total = len(chosen)
    # The own encoders read what they were trained on, which may be larger than what is generated.
    size = pack.packed_size if extractor.name == ENCODERS else captions.image_size
    made_from = {**_made_from(captions, extractor, pack), "generated_size": size}
    name = f"real-{pack.folder.name}{suffix}-{_file_name(extractor)}"
    store = FeatureStore(_shared_folder(captions), name, made_from, total, extractor.outputs)
    missing = store.missing
    if len(missing):
        starts = range(int(missing[0]), total, IMAGES_A_BATCH)
        for start in progress(starts, len(starts), f"{extractor.name}: features of real images"):
            rows = np.arange(start, min(start + IMAGES_A_BATCH, total))
            batch = read_images(pack, chosen[rows], centre_crops(pack, len(rows)), size)
            _extract([(extractor, store)], batch, rows)
        store.flush()
    return store.read()


def caption_features(captions: CaptionSet) -> Features:
    """The path's own embedding of each of `captions.readable`."""
    path, indices = captions.path, captions.readable
    made_from = {
        **_read_by(captions, indices),
        "version": VERSION,
        "pack": captions.pack.fingerprint,
        "device": path.device.type,
        "weights": weights_identity(path.encoder),
    }
    name = f"captions-{captions.settings.split}-{path.config.modality}"
    outputs = {FEATURES: path.embedding_dim}
    store = FeatureStore(_folder_of_generated(captions), name, made_from, len(indices), outputs, True)
    missing = store.missing
    if len(missing):
        for batch, places in captions.batches(indices[missing], "encoding captions"):
            store.write(missing[places], {FEATURES: path.encode(batch).sentence.float().cpu().numpy()})
        store.flush()
    return store.read()


def _generate_rows(
    captions: CaptionSet,
    networks: MetricNetworks,
    names: Sequence[str],
    stores: Sequence[FeatureStore],
    selection: str,
    rows: np.ndarray,
    kept: np.ndarray,
) -> GeneratedCaptions:
    """Generate some rows of the stores, rising, and extract the features that each store lacks of them."""
    extractors, outputs = [networks.require(name) for name in names], {}
    indices = captions.select(selection)[rows]
    for batch in generate_captions(captions, indices, share_noise=selection == S2IGAN):
        # As a file would hold them.
        measured = captions.as_measured(to_uint8(batch.output.images[-1]))
        images = to_tensor(torch.from_numpy(measured))
        _extract(zip(extractors, stores, strict=True), images, rows[batch.places])
        if selection == GENERATED:
            for row, index in enumerate(indices[batch.places].tolist()):
                if index in kept:
                    outputs[index] = GeneratedCaption.of(batch, row)
    for store in stores:
        store.flush()
    return outputs


def _device(device: torch.device, rank: int) -> str:
    """Of one of several processes: the GPUs in turn."""
    return f"cuda:{rank % torch.cuda.device_count()}" if device.type == "cuda" else device.type


def _generate_share(
    device: str,
    model: Path,
    data: DataConfig,
    modality: str,
    settings: EvaluationConfig,
    readable: np.ndarray,
    names: list[str],
    selection: str,
    kept: np.ndarray,
    rows: np.ndarray,
) -> GeneratedCaptions:
    """One process's share of the rows to generate."""
    path = load(model, device).path(modality)
    captions = CaptionSet(replace(path, config=replace(path.config, data=data)), settings)
    captions.restrict(readable)
    networks = MetricNetworks(captions.path, settings, captions.pack)
    stores = _stores_of_generated(captions, networks, names, selection)
    return _generate_rows(captions, networks, names, stores, selection, rows, kept)


def _stores_of_generated(
    captions: CaptionSet, networks: MetricNetworks, names: Iterable[str], selection: str
) -> list[FeatureStore]:
    path, indices = captions.path, captions.select(selection)
    config = path.config
    generated_from = {
        **_read_by(captions, indices),
        "generated_size": config.generated_size,
        "weights": weights_identity(path.encoder, path.generator),
        **({"chosen_by": _chooser(path)} if path.candidates > 1 else {}),
        "generator": config_to_dict(config.generator),
        "seed": captions.settings.seed,
        **captions.sampling_facts(),
        "noise": "of the image" if selection == S2IGAN else "of the caption",
    }
    folder, stores = _folder_of_generated(captions), []
    for extractor in map(networks.require, names):
        made_from = {**_made_from(captions, extractor, captions.pack), **generated_from}
        name = f"{selection}-{captions.settings.split}-{config.modality}-{_file_name(extractor)}"
        stores.append(FeatureStore(folder, name, made_from, len(indices), extractor.outputs, True))
    return stores


def _read_by(captions: CaptionSet, indices: np.ndarray) -> dict[str, Any]:
    """Which captions are read, and by what."""
    config, vocabulary = captions.path.config, captions.path.vocabulary
    settings = config.speech_encoder if config.modality == "speech" else config.text_encoder
    return {
        "modality": config.modality,
        "encoder": config_to_dict(settings),
        "vocabulary": _hash(" ".join(vocabulary.to_list()) if vocabulary else ""),
        "captions": _hash(",".join(map(str, indices.tolist()))),
        **({"voices": "normalised"} if captions.path.normalise_voices else {}),
    }


def _chooser(path: GenerationPath) -> list[str]:
    """What chooses among candidates."""
    known = path.training_images
    return [image_encoder_identity(path.image_encoder), *([] if known is None else [rule_of(known)])]


def _made_from(captions: CaptionSet, extractor: Extractor, pack: Pack) -> dict[str, Any]:
    return {
        "version": VERSION,
        "extractor": [extractor.name, extractor.identity, extractor.resize],
        "pack": pack.fingerprint,
        "device": captions.path.device.type,
    }


def _file_name(extractor: Extractor) -> str:
    """Its name as part of a folder's; one of another package has a colon in it."""
    return extractor.name.replace(":", ".")


def _folder(captions: CaptionSet) -> Path:
    return captions.path.folder or Path(captions.path.config.run)


def _folder_of_generated(captions: CaptionSet) -> Path:
    """With the run; of an exported model, which stays as it is, beside the pack."""
    if captions.settings.cache:
        return Path(captions.settings.cache) / _folder(captions).absolute().name
    if captions.path.config.run == MISSING:
        return _shared_folder(captions) / _folder(captions).absolute().name
    return _folder(captions) / "features"


def _shared_folder(captions: CaptionSet) -> Path:
    """Beside the pack, where it may be written: runs share it."""
    if captions.settings.cache:
        return Path(captions.settings.cache) / "real"
    beside = Path(captions.path.config.data.pack)
    if os.access(beside, os.W_OK):
        return beside / "features"
    if captions.path.config.run == MISSING:
        raise InputError(
            f"expected to write features into {beside}, found it protected: set evaluation.cache=FOLDER"
        )
    return _folder(captions) / "features"


def _extract(extractors: Iterable[tuple[Extractor, FeatureStore]], images: Tensor, rows: np.ndarray) -> None:
    for extractor, store in extractors:
        if np.isin(rows, store.missing).any():
            store.write(rows, {name: value.numpy() for name, value in extractor.extract(images).items()})


def _missing(stores: Sequence[FeatureStore]) -> np.ndarray:
    """Rows that some store lacks, rising."""
    return np.unique(np.concatenate([store.missing for store in stores]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
