"""Writing a model's folder: safetensors, `config.json` and a card; no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from s2i.config import Config
from s2i.config_files import config_to_dict
from s2i.errors import InputError
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.inference.speech_path import SpeechPath
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import EFFICIENTNET_LITE0
from s2i.progress import say
from s2i.runs.pretrained_weights import comes_from_a_file
from s2i.runs.stored import (
    DOMAIN,
    FILES,
    IMAGE,
    IMAGE_NETWORK,
    IN_EIGHT_BITS,
    PRIOR,
    SOURCES,
    TRAINING_IMAGES,
    WHOLE,
    has_prior_file,
    prior_file,
)
from s2i.runs.stored_weights import pack
from s2i.settings import declared
from s2i.tables import markdown

_STORED_AS = {32: "float32", 16: "float16", 8: "8 bits (the generator's matrices and kernels), else float16"}
Paths = dict[str, GenerationPath | SpeechPath]  # by what they begin with: one of SOURCES


def write_model(
    folder: str | Path,
    paths: Paths,
    command: str,
    front_matter: Sequence[str],
    sections: Sequence[str],
    *,
    bits: int = 32,
) -> None:
    """Write paths into one model folder, whole or not at all.

    Args:
        folder: made, or replaced where it is an exported model.
        paths: by what they begin with.
        command: that made it, for the card.
        front_matter: lines for the top of the card.
        sections: lines of the card on the origin of each path.
        bits: of a stored weight, 32, 16 or 8 (`s2i.runs.stored_weights`); read back into float32.

    Raises:
        InputError: `folder` is something else, or can't be written; other bits.
    """
    if bits not in _STORED_AS:
        raise InputError(f"expected 32, 16 or 8 bits of a stored weight, found {bits}: choose one")
    folder = Path(os.path.abspath(folder))
    output = OutputFolder(folder, "s2i export or import", nothing_else=True, older=_model_files)
    try:
        with output.replaced(last="config.json") as made:
            _write_files(made, paths, folder.name, command, front_matter, sections, bits)
            load(made, "cpu")  # an unreadable model is not exported
            sizes = {file.name: file.stat().st_size / 1e6 for file in sorted(made.iterdir())}
    except OSError as error:
        raise InputError(
            f"expected to write {folder}, found: {error.strerror or error}: check path and disk"
        ) from error
    each = ", ".join(f"{name} {size:.2f}" for name, size in sizes.items())
    say(f"{folder}: {sum(sizes.values()):.2f} MB ({each})")


def _model_files(folder: Path) -> set[str]:
    """The files of a model; none for a folder whose config.json is not a model's."""
    try:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        is_model = isinstance(description["format"], int) and set(description["paths"]) <= set(SOURCES)
    except (OSError, ValueError, KeyError, TypeError):
        is_model = False
    return FILES if is_model else set()


def _write_files(
    folder: Path,
    paths: Paths,
    name: str,
    command: str,
    front_matter: Sequence[str],
    sections: Sequence[str],
    bits: int,
) -> None:
    description: dict[str, Any] = {"format": IN_EIGHT_BITS if bits == 8 else WHOLE, "paths": {}}
    images = [source for source in paths if source != IMAGE]
    generates = [f"images from {' and from '.join(images)}"] if images else []
    generates += ["speech from images"] if IMAGE in paths else []
    card = [
        *front_matter,
        "",
        f"# {name}",
        "",
        f"Generates {', and '.join(generates)}. Made by `{command}`; read by"
        f" `s2i generate --model {name}` and by `s2i.load({name!r})`.",
        "",
    ]
    rows: list[dict[str, str]] = []
    for source, path in paths.items():
        weights = _weights(path)
        config = _portable(config_to_dict(path.config))
        of_prior = {key for key in weights if has_prior_file(config) and key.startswith(PRIOR)}
        files = {f"{source}.safetensors": {k: v for k, v in weights.items() if k not in of_prior}}
        if of_prior:
            files[prior_file(source)] = {key: weights[key] for key in sorted(of_prior)}
        for file, tensors in files.items():
            (folder / file).write_bytes(save(pack(tensors, bits)))
        vocabulary = None if isinstance(path, SpeechPath) else path.vocabulary
        classes = getattr(path, "classes", None)
        description["paths"][source] = {
            "config": config,
            "vocabulary": vocabulary.to_list() if vocabulary else None,
            "step": path.step,
            **({"data": path.data} if path.data is not None else {}),
            "trained_by": path.trained_by,
            **({"classes": list(classes)} if classes is not None else {}),
        }
        others = () if source == IMAGE else ("image_encoder.", f"{DOMAIN}.", f"{TRAINING_IMAGES}.")
        to_generate = sum(value.numel() for key, value in weights.items() if not key.startswith(others))
        rows.append(
            {
                "path": source,
                "generates": _generated(path),
                "steps": str(path.step or "unknown"),
                "parameters to generate": f"{to_generate:,}",
                "file": " and ".join(f"`{file}`" for file in files),
                "MB": " and ".join(f"{(folder / file).stat().st_size / 1e6:.2f}" for file in files),
                "stored as": _STORED_AS[bits],
            }
        )
    card += markdown(tuple(rows[0]), rows)
    if bits == 8:
        card += ["", "What follows was measured before the generator was brought to 8 bits."]
    card += _write_image_network(folder, paths, bits)
    text = json.dumps(description, indent=1, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text("\n".join([*card, *sections]) + "\n", encoding="utf-8")


def _generated(path: GenerationPath | SpeechPath) -> str:
    if isinstance(path, SpeechPath):
        frames = path.config.speech_generator.frames
        return f"{frames} frames, {frames * path.config.audio.hop:.1f} s of speech"
    return f"images of {path.config.generated_size} px, {path.config.generator.stages} stages"


def _weights(path: GenerationPath | SpeechPath) -> dict[str, Tensor]:
    tensors = {name: network.state_dict() for name, network in path.networks.items()}
    if isinstance(path, GenerationPath):
        tensors |= {} if path.domain is None else {DOMAIN: path.domain.tensors()}
        tensors |= {} if path.training_images is None else {TRAINING_IMAGES: vars(path.training_images)}
    return {f"{name}.{key}": value for name, values in tensors.items() for key, value in values.items()}


def _write_image_network(folder: Path, paths: Paths, bits: int) -> list[str]:
    """Write the frozen backbone of the paths' image encoders once; returns the card's lines about it.

    Generation does not use it. Published weights are left out, as they can be had again; those of a local
    file are written.
    """
    encoders = [path.image_encoder for path in paths.values()]
    frozen = [encoder for encoder in encoders if isinstance(encoder, PretrainedImageEncoder)]
    if not frozen:
        return []
    if not all(torch.equal(each.fingerprint, frozen[0].fingerprint) for each in frozen):
        raise InputError(
            "expected paths over the same frozen image network in one model, found different weights: export"
            " them into two folders"
        )
    kind, file = frozen[0].config.kind, folder / IMAGE_NETWORK
    if not comes_from_a_file(frozen[0]):
        if kind == EFFICIENTNET_LITE0:
            return ["", f"Images are compared over {kind}, whose weights come by pip."]
        return ["", f"Images are compared over torchvision's {kind}, fetched when that is first asked for."]
    file.write_bytes(save(pack(frozen[0].backbone.network.state_dict(), bits)))
    return [
        "",
        f"`{file.name}` ({file.stat().st_size / 1e6:.2f} MB, {kind} without its classifier) is read where"
        " images are compared, by `s2i search` and `s2i generate --candidates`, alone: a model that generates"
        " each image once does without.",
    ]


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """Without the paths of the training's data and runs, which mean nothing on another machine."""
    for key in (key for key, declaration in declared(Config).items() if declaration.local):
        section, _, name = key.rpartition(".")
        (config.get(section, {}) if section else config).pop(name, None)
    return config
