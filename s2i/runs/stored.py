"""Reading a model's folder, exported or the run of a GAN training: configuration and weights, no networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from s2i.config import Config
from s2i.config_files import config_from_dict, config_to_dict
from s2i.errors import InputError
from s2i.files.atomic import parse_json
from s2i.files.paths import in_place_of_folder
from s2i.runs.checkpoint import LAST, read_checkpoint
from s2i.runs.fingerprints import Fingerprints
from s2i.runs.provenance import Origins
from s2i.runs.stored_weights import unpack

GENERATING = ("gan", "regression", "cross_modal")  # kinds of training whose runs generate images
FORMATS = WHOLE, IN_EIGHT_BITS = 1, 2  # of an exported model's folder; a reader of the first knows no other
MODALITIES = ("speech", "text")  # of captions, from which images are generated
IMAGE = "image"  # from which speech is generated
SOURCES = (*MODALITIES, IMAGE)  # what a path begins with
IMAGE_NETWORK = "image_network.safetensors"  # of an exported model: read only to compare images
# Names of tensors beside the networks' weights: a `Domain`'s, and `Neighbours` of candidates.
DOMAIN, TRAINING_IMAGES = "domain", "training_images"
PRIOR = "generator.prior."  # begins the names of a learnt prior's tensors, which have a file of their own


def prior_file(source: str) -> str:
    """The file of a path's learnt prior: a large part of a model, and hosts limit a file's size."""
    return f"{source}_prior.safetensors"


# What an exported model's folder may hold.
FILES = {
    *("config.json", "README.md", IMAGE_NETWORK),
    *(f"{source}.safetensors" for source in SOURCES),
    *(prior_file(source) for source in MODALITIES),
}
# Of a path, as an exported model names them.
NETWORKS = ("caption_encoder", "image_encoder", "generator", "speech_generator")


@dataclass(frozen=True)
class StoredPath:
    """The configuration and weights of one path."""

    origin: Path
    source: str  # one of SOURCES
    config: Config
    vocabulary: list[str] | None
    step: int
    weights: dict[str, dict[str, Tensor]]  # by the names of NETWORKS, and the two above
    data: Fingerprints | None = None  # of the packs that it was trained on; None: unknown
    trained_by: Origins = field(default_factory=dict)  # networks that had a part in its training
    classes: tuple[str, ...] | None = None  # that it has seen in training; None: it doesn't say


def read_model(folder: Path, only: str = "") -> list[StoredPath]:
    """The paths of a model, one a source. Raises InputError as `s2i.inference.model.load` does.

    `only`: of an exported model that has this source, no other is read.
    """
    if (folder / "config.json").is_file():
        return _read_exported(folder, only)
    if (folder / "checkpoints" / LAST).is_file():
        return _read_run(folder)
    problem = f"neither config.json nor checkpoints/{LAST}" if folder.is_dir() else in_place_of_folder(folder)
    raise InputError(
        f"expected a model in {folder}, found {problem}:"
        " give the folder of an exported model, or of the run of s2i train-gan"
    )


def _read_exported(folder: Path, only: str) -> list[StoredPath]:
    origin = folder / "config.json"
    try:
        description = parse_json(origin.read_bytes())
    except (OSError, ValueError) as error:
        raise cut_short(origin, "JSON", error) from error
    version = description.get("format") if isinstance(description, dict) else None
    if version not in FORMATS:
        raise InputError(
            f"expected a model of format 1 or 2 in {origin}, found {version!r}:"
            " export it with this version of s2i"
        )
    entries = description.get("paths")
    if not isinstance(entries, dict) or not entries or not set(entries) <= set(SOURCES):
        raise InputError(
            f"expected paths from speech, text or images in {origin}, found none: export the model again"
        )
    paths = []
    for source, entry in {only: entries[only]}.items() if only in entries else entries.items():
        if not isinstance(entry, dict):
            raise InputError(f"expected an object for {source} in {origin}, found {entry!r}: export it again")
        weights: dict[str, dict[str, Tensor]] = {name: {} for name in NETWORKS}
        tensors = _read_weights(folder / f"{source}.safetensors", version)
        if has_prior_file(entry.get("config")):
            tensors |= _read_weights(folder / prior_file(source), version)
        for key, value in tensors.items():
            network, _, name = key.partition(".")
            weights.setdefault(network, {})[name] = value
        stored = _stored(origin, source, entry, weights)
        if source not in (stored.config.modality, IMAGE):
            raise InputError(
                f"expected a configuration for {source} in {origin}, found one for"
                f" {stored.config.modality}: export the model again"
            )
        paths.append(stored)
    return paths


def has_prior_file(config: Any) -> bool:
    """Whether a path of this configuration has a learnt prior, whose tensors have a file of their own; those
    of another package's generator stand with its other weights."""
    generator = config.get("generator") if isinstance(config, dict) else None
    return isinstance(generator, dict) and generator.get("prior") == "flow"


def _read_weights(path: Path, version: int) -> dict[str, Tensor]:
    try:
        return unpack(load_file(path)) if version == IN_EIGHT_BITS else load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise cut_short(path, "weights", error) from error


def _read_run(folder: Path) -> list[StoredPath]:
    path = folder / "checkpoints" / LAST
    saved = read_checkpoint(path)
    kind = saved.get("kind")
    if kind not in GENERATING:
        raise InputError(
            f"expected the checkpoint of a GAN run in {path}, found kind {kind!r}: check --model"
        )
    nets = saved["nets"]
    if kind == "cross_modal":
        return _read_cross_modal(saved, path)
    paths = []
    for config, prefix in zip(_configs(saved, path), ("", "other_"), strict=False):
        encoders = {name: nets.get(prefix + name, {}) for name in ("caption_encoder", "image_encoder")}
        encoders["caption_encoder"] = nets.get(
            f"{prefix}caption_encoder_ema", encoders["caption_encoder"]
        )  # where it was trained with the generator
        entry = {**saved, "config": config_to_dict(config)}
        entry["vocabulary"] = saved["vocabulary"] if config.modality == "text" else None
        paths.append(_stored(path, config.modality, entry, {**encoders, "generator": nets["ema"]}))
    return paths


def _read_cross_modal(saved: dict[str, Any], path: Path) -> list[StoredPath]:
    """The path from images and, where the run generates images too, that from speech. The image encoder reads
    images for speech: no caption was matched with what it makes of them."""
    averaged = {name: saved["nets"].get(f"{name}_ema", {}) for name in NETWORKS}
    from_image = {name: averaged[name] for name in ("image_encoder", "speech_generator")}
    from_speech = {"caption_encoder": averaged["caption_encoder"], "generator": averaged["generator"]}
    weights = {IMAGE: from_image, **({"speech": from_speech} if averaged["generator"] else {})}
    return [
        _stored(path, source, saved, {**dict.fromkeys(NETWORKS, {}), **networks})
        for source, networks in weights.items()
    ]


def _configs(saved: dict[str, Any], path: Path) -> list[Config]:
    """The run's configuration for each modality that its generator was trained on."""
    if not isinstance(saved.get("config"), dict):
        raise InputError(f"expected a configuration in {path}, found none: it is cut short, train again")
    return config_from_dict(saved["config"], str(path)).of_each_modality()


def _stored(
    origin: Path, source: str, entry: dict[str, Any], weights: dict[str, dict[str, Tensor]]
) -> StoredPath:
    config, words, step = entry.get("config"), entry.get("vocabulary"), entry.get("step")
    if not isinstance(config, dict) or not isinstance(step, int):
        raise InputError(
            f"expected a configuration and a step in {origin}, found none: it is cut short, export it again"
        )
    config = config_from_dict(config, str(origin))
    if config.modality == "text" and not words and weights["caption_encoder"]:
        raise InputError(
            f"expected a vocabulary for text in {origin}, found none: it is cut short, export it again"
        )
    data, trained_by = entry.get("data"), entry.get("trained_by", {})
    if data is not None and not _is_of_words(data):
        raise InputError(
            f"expected fingerprints {{split: digits}} as data in {origin}, found {data!r}: export it again"
        )
    if not _is_of_words(trained_by):
        raise InputError(
            f"expected fingerprints {{digits: network}} as trained_by in {origin}, found {trained_by!r}:"
            " export it again"
        )
    classes = entry.get("classes")
    if classes is not None and not (
        isinstance(classes, list) and all(isinstance(each, str) for each in classes)
    ):
        raise InputError(f"expected names as classes in {origin}, found {classes!r}: export it again")
    classes = None if classes is None else tuple(classes)
    return StoredPath(origin, source, config, words, step, weights, data, trained_by, classes)


def _is_of_words(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for word in value.values())


def cut_short(path: Path, expected: str, error: Exception) -> InputError:
    """The error for an unreadable file of a model; the reader's message is shortened."""
    reason = " ".join(str(error).split())
    if len(reason) > 160:
        reason = f"{reason[:160]}..."
    return InputError(
        f"expected {expected} in {path}, found: {reason}:"
        " the model is cut short or changed, copy or export it again"
    )
