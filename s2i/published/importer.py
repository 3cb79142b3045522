"""The `import` command: published weights -> a model folder, as `export` writes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from s2i.errors import InputError
from s2i.inference.front_matter import front_matter
from s2i.inference.path import GenerationPath
from s2i.inference.save import write_model
from s2i.published.attngan import read_attngan
from s2i.published.s2igan import read_s2igan
from s2i.published.stackgan_v2 import read_stackgan_v2
from s2i.tables import markdown

READERS: dict[str, Callable[[Sequence[Path]], GenerationPath]] = {
    "attngan": read_attngan,
    "s2igan": read_s2igan,
    "stackgan-v2": read_stackgan_v2,
}
NOTES = {
    "attngan": "Words that the vocabulary lacks are left out of a caption, as in the published code.",
    "s2igan": "Not in the weights, and taken from the published code: a stride of 2, and log-mels normalised"
    " over the utterance, as its data script does and its data loader, by default, does not"
    " (`audio.cmvn`).",
    "stackgan-v2": "",
}


def import_model(system: str, files: Sequence[str | Path], folder: str | Path) -> None:
    """Write a model folder of a published system's files, whole or not at all.

    Args:
        system: a key of `READERS`.
        files: state dicts in any order, and for AttnGAN its vocabulary.
        folder: made, or replaced where it is an exported model.

    Raises:
        InputError: a file is missing, of another system, or more than weights.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise InputError(f"expected a file of {system}, found none at {path}: check the path")
    generation_path = READERS[system](paths)
    write_model(
        folder,
        {generation_path.config.modality: generation_path},
        f"s2i import {system}",
        front_matter([generation_path.config.modality]),
        _describe(system, paths, generation_path),
    )


def _describe(system: str, files: Sequence[Path], path: GenerationPath) -> list[str]:
    lines = ["", f"## From {path.config.modality}", ""]
    lines.append("Published weights, under the licence of their authors; every size is theirs. Made of")
    hashes = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    rows = [{"file": f"`{name}`", "SHA-256": f"`{digest}`"} for name, digest in hashes]
    lines += ["", *markdown(("file", "SHA-256"), rows)]
    lines += ["", "Every setting is in `config.json`. How long they were trained is not in the weights."]
    lines += [NOTES[system]] if NOTES[system] else []
    if path.encoder is None:
        lines += [
            "",
            f"There is no encoder in this folder: it generates from embeddings of {path.config.embedding_dim}"
            f" numbers"
            f' (`s2i.load(...).path("{path.config.modality}").generate`), and `s2i generate` refuses it.',
        ]
    return lines
