"""What made an image, in the PNG itself: sentence, seeds, model and version, so that a file that has lost its
folder still tells.

Chunks of text in the PNG, as every viewer that shows such shows them:

    Description   the sentence, or the recording's name
    Software      s2i and its version
    s2i           all of it, a JSON object: what `s2i about FILE` prints
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from s2i.data.audio import Recording
from s2i.data.images import open_image
from s2i.errors import InputError
from s2i.files.atomic import sha256_of
from s2i.inference.path import GenerationPath
from s2i.version import VERSION

ALL = "s2i"  # the chunk that has everything
Facts = dict[str, Any]


def image_facts(
    path: GenerationPath,
    model: str | Path,
    text: str | None,
    speech: Recording | None,
    until: Recording | None = None,
    **settings: Any,
) -> Facts:
    """What made the images of a sentence; plain values.

    Args:
        path: that generated.
        model: its folder, of which the name is kept: where it lies says nothing on another machine.
        text: the sentence, or
        speech: the recording, of which the path, as `_portable` keeps it, and the SHA-256 of its bytes are
            kept where it is a file.
        until: of an interpolation, the recording at its end, likewise.
        settings: of the call: seed, count, stages, ...; those that are off are left out.
    """
    facts: Facts = {"modality": path.config.modality}
    if text is not None:
        facts["sentence"] = text
    for name, recording in (("recording", speech), ("until", until)):
        if isinstance(recording, str | Path):
            facts |= {name: _portable(recording), f"{name}_sha256": sha256_of(recording)}
    if speech is not None and path.normalise_voices:
        facts["voice"] = "normalised"
    facts |= {"model": _name(model), "step": path.step}
    made_by = {network: path.fingerprint(network) for network in ("encoder", "generator")}
    made_by |= path.chooser if path.candidates > 1 else {}
    facts |= {name: digits[:16] for name, digits in made_by.items()}
    facts |= {name: value for name, value in settings.items() if value is not None and value is not False}
    return facts | {"version": VERSION}


def _portable(path: str | Path) -> str:
    """A path as it was given, from the folder in which the command runs; of one that is absolute or leads out
    of that folder the name alone, for an image may be shown to others."""
    given = Path(os.path.normpath(path))
    return _name(path) if given.is_absolute() or ".." in given.parts else _as_text(given.as_posix())


def _name(path: str | Path) -> str:
    return _as_text(Path(path).absolute().name)


def _as_text(path: str) -> str:
    """Letters for bytes that are none of UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def text_chunks(facts: Facts) -> dict[str, str]:
    """The PNG's chunks of text: {keyword: text}."""
    return {
        "Description": facts.get("sentence") or Path(facts.get("recording", "a recording")).name,
        "Software": f"s2i {facts['version']}",
        ALL: json.dumps(facts, ensure_ascii=False),
    }


def read_image_facts(file: str | Path) -> Facts:
    """What made a PNG of `s2i generate`. Raises InputError for an image that doesn't tell."""
    with open_image(file) as image:
        image.load()  # chunks may stand behind the pixels
        text = image.info.get(ALL)
    try:
        facts = json.loads(text)
        facts["version"], facts["modality"]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"expected an image of s2i generate, which tells what made it, found none of that in {file}: "
            "give the file as it was written"
        ) from error
    return facts


def command_of(facts: Facts, beside: str | Path = ".") -> str:
    """The `s2i generate` that makes such an image again in this folder.

    The model is looked for here and in `checkpoints`, a recording here and in the folder `beside`, such as
    the image's own, by its path and by its name; what is not there is called as it is in the image.
    """
    words = ["s2i", "generate", "--model", _existing(facts["model"], ".", "checkpoints")]
    if "sentence" in facts:
        words += ["--text", facts["sentence"]]
    else:
        spoken = [facts.get("recording", "RECORDING.wav"), *filter(None, [facts.get("until")])]
        words += ["--interpolate" if "until" in facts else "--speech"]
        words += [_existing(path, ".", beside) for path in spoken]
    for name in (
        "frames",
        "count",
        "seed",
        "truncation",
        "guidance",
        "candidates",
        "bf16",
        "scale",
        "caption",
        "stages",
    ):
        value = facts.get(name)
        if value is not None:
            words += [f"--{name}"] if value is True else [f"--{name}", f"{value}"]
    return shlex.join([*words, "--output", "again.png"])


def _existing(path: str, *folders: str | Path) -> str:
    """The first that exists: the path in one of the folders, or the bare name."""
    tried = [Path(folder) / each for each in (path, Path(path).name) for folder in folders]
    return next((str(there) for there in tried if there.exists()), path)
