"""Everything that the page drew as one ZIP: pictures, the recording, and the settings to draw them again."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from s2i.app.studio import Answer
from s2i.data.images import png_bytes
from s2i.inference.model import Model

RECORDING = "recording.wav"
_DATE = (1980, 1, 1, 0, 0, 0)  # ZIP's earliest: the same answer has the same bytes


def pack_answer(answer: Answer, model: Model) -> bytes:
    """A ZIP of every stage's picture (PNG), what was heard (WAV) and `settings.json`."""
    files: dict[str, bytes] = {}
    pictures = []
    for side in answer.sides:
        for sketch in side.sketches:
            for stage in sketch.stages:
                name = picture_name(side.modality, sketch.seed, len(stage))
                files[name] = png(stage)
                told = {"modality": side.modality, "seed": sketch.seed, "pixels": len(stage)}
                pictures.append({"file": name, **told})
    if answer.timeline is not None:
        files[RECORDING] = answer.timeline.wav(exact=True)
    files["settings.json"] = json.dumps(
        {
            "model": model.origin.name,
            "steps": {side.modality: model.paths[side.modality].step for side in answer.sides},
            "recording": RECORDING if answer.timeline is not None else None,
            "text": answer.request.text.strip() or None,
            "seeds": list(answer.request.seeds),
            "pictures": pictures,
            "again": _commands(answer, model.origin),
        },
        ensure_ascii=False,
        indent=1,
    ).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return stream.getvalue()


def picture_name(modality: str, seed: int, side: int) -> str:
    """The file of one stage's picture: `speech-seed-3-64px.png`."""
    return f"{modality}-seed-{seed}-{side}px.png"


def png(picture: np.ndarray) -> bytes:
    """uint8 (H, W, 3) -> PNG."""
    return png_bytes(Image.fromarray(picture))


def _commands(answer: Answer, origin: Path) -> list[str]:
    given = {"speech": f"--speech={RECORDING}", "text": f"--text={answer.request.text.strip()}"}
    return [
        shlex.join(
            ["s2i", "generate", "--model", origin.name, given[side.modality]]
            + ["--seed", str(seed), "--stages", "--output", f"{side.modality}-seed-{seed}.png"]
        )
        for side in answer.sides
        for seed in answer.request.seeds
    ]
