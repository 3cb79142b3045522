"""`generate` through speech: a recording generated from an image, or from the image of a sentence; and an
image generated from the speech of an image."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from s2i.data.audio import Recording
from s2i.data.images import save_png, to_uint8
from s2i.data.sound_files import wav_bytes
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file, say_replaced
from s2i.inference.generate import check_outputs
from s2i.inference.image_input import ImageInput
from s2i.inference.model import Model, load

SOUND, IMAGE = (".wav",), (".png",)


def generate_speech(
    model: str | Path,
    output: str | Path,
    image: str | Path | None = None,
    speech: Recording | None = None,
    text: str | None = None,
    seed: int = 0,
    truncation: float = 1.0,
    guidance: float = 0.0,
    device: str = "auto",
) -> Path:
    """Write `output`, whole or not at all: a .wav of what is generated from the image, or from the image that
    is generated of the sentence; a .png of what is generated from the image's speech.

    Args:
        model: an exported model's folder or a run that generates speech.
        image, speech, text: one of the three; a sentence only for a .wav.
        seed: of all noise.
        truncation: as of `PageSettings`; guidance: of a learnt prior, 0: the model's own.

    Returns:
        The file. Raises InputError for unusable input, and a model that lacks a path.
    """
    output = Path(output)
    check_outputs([output], SOUND if image is None else SOUND + IMAGE)
    check_output_file(output, [file for file in (image, speech) if isinstance(file, (str, Path))])
    if image is not None and output.suffix.lower() in SOUND and (guidance or truncation != 1):
        raise InputError(
            "expected no truncation or guidance for speech of an image, found"
            f" {truncation:g} and {guidance:g}: no image is generated, leave them out"
        )
    loaded = load(model, device)
    loaded.speech_path()
    given: ImageInput = image
    if image is None:
        path, encoding = loaded.encode(speech=speech, text=text)
        path = path.sampling(truncation, guidance)
        given = Image.fromarray(to_uint8(path.generate(encoding, [str(seed)]).images[-1][0]))
    if output.suffix.lower() in IMAGE:
        image = _image_again(loaded, given, seed, truncation, guidance)
        say_replaced(output)
        save_png(image, output)
        return output
    content = wav_bytes(*loaded.speak(given, seed))
    say_replaced(output)
    with write_atomically(output, "wb") as stream:
        stream.write(content)
    return output


def _image_again(
    model: Model, image: ImageInput, seed: int, truncation: float, guidance: float
) -> Image.Image:
    """The image of the recording that is generated from an image."""
    path, encoding = model.encode(speech=model.speak(image, seed))
    path = path.sampling(truncation, guidance)
    return Image.fromarray(to_uint8(path.generate(encoding, [str(seed)]).images[-1][0]))
