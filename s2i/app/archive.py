"""An answer as one ZIP: images, the recording, and the settings that generate them again."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
from PIL import Image

from s2i.app.again import RECORDING, commands
from s2i.app.studio import Answer
from s2i.data.images import png_bytes
from s2i.inference.model import Model

_DATE = (1980, 1, 1, 0, 0, 0)  # ZIP's earliest: the same answer has the same bytes


def pack_answer(answer: Answer, model: Model) -> bytes:
    """A ZIP of every stage's image (PNG), the recording (WAV) and `settings.json`."""
    files: dict[str, bytes] = {}
    images = []
    for each in answer.modalities:
        for generated in each.generated_images:
            for stage in generated.stages:
                name = image_name(each.modality, generated.seed, len(stage))
                files[name] = png(stage)
                settings = {"modality": each.modality, "seed": generated.seed, "pixels": len(stage)}
                images.append({"file": name, **settings})
    if answer.timeline is not None:
        files[RECORDING] = answer.timeline.wav(exact=True)
    files["settings.json"] = json.dumps(
        {
            "model": model.origin.name,
            "steps": {each.modality: model.paths[each.modality].step for each in answer.modalities},
            "recording": RECORDING if answer.timeline is not None else None,
            "text": answer.request.text.strip() or None,
            "seeds": list(answer.request.seeds),
            "candidates": answer.request.candidates,
            "images": images,
            "commands": commands(answer.request, [each.modality for each in answer.modalities], model.origin),
        },
        ensure_ascii=False,
        indent=1,
    ).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return stream.getvalue()


def image_name(modality: str, seed: int, side: int) -> str:
    """The file of one stage's image: `speech-seed-3-64px.png`."""
    return f"{modality}-seed-{seed}-{side}px.png"


def png(image: np.ndarray) -> bytes:
    """uint8 (H, W, 3) -> PNG."""
    return png_bytes(Image.fromarray(image))
