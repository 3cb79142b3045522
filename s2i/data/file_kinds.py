"""Which files are recordings, and which are images: one list of endings each, and one walk, for all commands.

A file that is named is opened by its content, whatever its ending.
"""

from __future__ import annotations

from pathlib import Path

from s2i.data.sound_containers import ENDINGS, can_decode
from s2i.errors import InputError
from s2i.files.walk import walk

RECORDINGS = (".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus")
RECORDINGS += (".snd", ".sph", ".w64", ".wav")
IMAGES = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

# Files of sound or images that can't be read, or by PyAV alone (`sound_containers`). A walk finds them
# nevertheless, so that whoever reads what it found refuses them by name: a folder of a phone's recordings is
# not empty.
FOREIGN_RECORDINGS = (".3gp", ".aac", ".amr", ".ape", ".m4a", ".mka", ".mp4", ".pcm", ".raw", ".webm")
FOREIGN_RECORDINGS += (".wma", ".wv")
FOREIGN_IMAGES = (".heic", ".heif", ".jxl")


def foreign(ending: str) -> str:
    """Why a recording or an image with this ending can't be read, and what to do; "" for any other ending."""
    ending = ending.lower()
    if ending in (".pcm", ".raw"):
        return f"{ending}, which doesn't tell its rate and its channels: save it as WAV"
    if ending in FOREIGN_RECORDINGS:
        advice = ", or pip install av" if ending in ENDINGS and not can_decode() else ""
        convert = f"convert it to FLAC or WAV (ffmpeg -i FILE FILE.flac){advice}"
        return f"{ending}, which can't be decoded here: {convert}"
    if ending in FOREIGN_IMAGES:
        return f"{ending}, which can't be decoded here: convert it to JPEG or PNG"
    return ""


def find_recordings(folder: str | Path) -> list[Path]:
    """Recordings in a folder and below it (`walk`), those that can't be decoded among them.

    Raises InputError where there are none.
    """
    return _find(folder, "recordings", RECORDINGS, FOREIGN_RECORDINGS)


def find_images(folder: str | Path) -> list[Path]:
    """Images in a folder and below it (`walk`), those that can't be decoded among them.

    Raises InputError where there are none.
    """
    return _find(folder, "images", IMAGES, FOREIGN_IMAGES)


def _find(folder: str | Path, kind: str, endings: tuple[str, ...], others: tuple[str, ...]) -> list[Path]:
    files = walk(folder, endings + others) if Path(folder).is_dir() else []
    if not files:
        raise InputError(
            f"expected {kind} in {folder}, found none in {Path(folder).name or folder} or below it"
            f" ({', '.join(endings)}): give another folder"
        )
    return files
