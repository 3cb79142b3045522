"""A manifest's captions from recordings that exist: one's own, or those that S2IGAN's authors released."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from data_prep.clips import clip_exists, clip_folder, write_clip
from data_prep.recordings import Recordings, match_by_name, match_by_table
from data_prep.waveform_arrays import SAMPLE_RATE, read_waveforms
from s2i.config_data import AudioConfig
from s2i.data.manifest import (
    Caption,
    ImageRecord,
    check_manifest_file,
    iterate_manifest,
    read_manifest,
    write_manifest,
)
from s2i.data.sound_files import check_recording
from s2i.errors import InputError
from s2i.files.output_folder import say_replaced
from s2i.progress import listed, progress, say

S2IGAN_SPEAKER = "LJ Speech (S2IGAN)"


def take_recordings(
    manifest: str | Path,
    root: str | Path,
    output: str | Path,
    source: str | Path,
    table: str | Path | None = None,
    allow_missing: bool = False,
) -> None:
    """Give each caption without audio its recording out of the folder `source`; see `data_prep.recordings`.

    An image without captions gets one for each of its recordings. Recordings stay where they are, which
    must be under `root`. Raises InputError for captions without a recording, naming them, unless
    `allow_missing`; for recordings without a caption; for those that by their headers are none; and as
    `match_by_name` and `match_by_table` do.
    """
    check_manifest_file(output, [manifest, *filter(None, [table])])
    root, source = Path(root), Path(source)
    images = read_manifest(manifest)
    files = {image.id: image.image for image in images}
    if table:
        matched, lost = match_by_table(Path(table), source, files), []
    else:
        counts = {image.id: len(image.captions) for image in images}
        matched, lost = match_by_name(source, files, counts)
    for image in images:
        beyond = [number for number in matched.get(image.id, ()) if number >= len(image.captions)]
        if image.captions:
            lost += [matched[image.id][number].path for number in beyond]
    if lost:
        raise InputError(
            f"expected recordings of captions in {manifest}, which count from 0 on, found {len(lost)} that"
            f" belong to none ({listed(lost)}): rename or remove them, or match by --table"
        )
    for recording in (recording for each in matched.values() for recording in each.values()):
        check_recording(recording.path, AudioConfig().max_seconds)
    filled = [fill_captions(image, matched.get(image.id, {}), root) for image in images]
    _say_missing(filled, manifest, source, allow_missing)
    say_replaced(output)
    write_manifest(output, filled)


def fill_captions(image: ImageRecord, recordings: Recordings, root: Path) -> ImageRecord:
    """The image with its recordings as audio; captions that have audio keep it."""
    captions = list(image.captions)
    if not captions:
        recordings = dict(enumerate(recordings[number] for number in sorted(recordings)))
        captions = [Caption(None, None, None, None)] * len(recordings)
    for number, recording in recordings.items():
        caption = captions[number]
        if caption.audio is None:
            captions[number] = replace(
                caption,
                text=caption.text or recording.text,
                audio=path_under(root, recording.path),
                speaker=recording.speaker or caption.speaker,
                language=recording.language or caption.language,
            )
    return replace(image, captions=tuple(captions))


def path_under(root: Path, path: Path) -> str:
    """A path as a manifest has it: relative to `root`. Raises InputError for one elsewhere."""
    relative = Path(os.path.relpath(path, root))
    if relative.parts[0] == "..":
        raise InputError(
            f"expected files under --root {root}, found {path}: move or link them there, or choose a --root"
            " above both"
        )
    return relative.as_posix()


def take_released(
    manifest: str | Path,
    root: str | Path,
    output: str | Path,
    source: str | Path,
    audio: str = "audio",
    allow_missing: bool = False,
) -> None:
    """Give each caption without audio what S2IGAN's authors had spoken for it.

    Args:
        source: folder of `<class>/<image>.npy` (or .pickle): the waveforms of an image's captions in the
            order of its lines in `text/<class>/<image>.txt`.
        audio: folder under `root` for the clips; those that exist are not made again.

    Raises:
        InputError: captions without waveforms, naming them, unless `allow_missing`; files with another number
            of waveforms than the image has captions, whose order could not be trusted; broken files.
    """
    check_manifest_file(output, [manifest])
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"expected a folder of waveforms, found none at {source}: change --source")
    total = sum(1 for _ in iterate_manifest(manifest))
    folder = clip_folder(root, audio)
    images = progress(iterate_manifest(manifest), total, "unpacking captions")
    filled = [_unpack(image, source, folder, audio) for image in images]
    _say_missing(filled, manifest, source, allow_missing)
    say_replaced(output)
    write_manifest(output, filled)


def _unpack(image: ImageRecord, source: Path, folder: Path, audio: str) -> ImageRecord:
    name = Path(*Path(image.image).with_suffix("").parts[-2:])
    files = [source / f"{stem}{ending}" for stem in (name, name.name) for ending in (".npy", ".pickle")]
    file = next((file for file in files if file.is_file()), None)
    missing = [number for number, caption in enumerate(image.captions) if caption.audio is None]
    if file is None or not missing:
        return image
    # Of how many is part of the name: a clip of another number of captions is of another caption.
    count = len(image.captions)
    clips = {number: f"s2igan/{name.as_posix()}-{number}-of-{count}.flac" for number in missing}
    if not all(clip_exists(folder / clip) for clip in clips.values()):
        waveforms = read_waveforms(file)
        if len(waveforms) != count:
            raise InputError(
                f"expected {count} spoken captions in {file}, as image {image.id} has,"
                f" found {len(waveforms)}: make the manifest with the captions that were spoken"
                " (--captions reed)"
            )
        for number, clip in clips.items():
            if not clip_exists(folder / clip):
                write_clip(folder / clip, waveforms[number], SAMPLE_RATE)
    captions = list(image.captions)
    for number, clip in clips.items():
        captions[number] = replace(
            captions[number], audio=(Path(audio) / clip).as_posix(), speaker=S2IGAN_SPEAKER, language="en"
        )
    return replace(image, captions=tuple(captions))


def _say_missing(images: list[ImageRecord], manifest: str | Path, source: Path, allow_missing: bool) -> None:
    missing = list(_without_audio(images))
    captions = sum(len(image.captions) for image in images)
    say(f"{manifest}: {captions - len(missing)} captions have audio, {len(missing)} have none")
    if missing and not allow_missing:
        raise InputError(
            f"expected a recording in {source} for each caption, found none for {listed(missing)}:"
            " add them, or give --allow-missing"
        )
    if missing:
        say(f"without audio: {listed(missing, 20)}")


def _without_audio(images: list[ImageRecord]) -> Iterator[str]:
    for image in images:
        for number, caption in enumerate(image.captions):
            if caption.audio is None:
                yield f"caption {number} of image {image.id}"
        if not image.captions:
            yield f"image {image.id}"
