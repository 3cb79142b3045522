"""`generate` on many sentences: recordings of a folder or manifest, or a file of sentences."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from s2i.data.file_kinds import find_recordings
from s2i.data.images import png_bytes
from s2i.data.manifest import iterate_manifest
from s2i.errors import InputError
from s2i.files.atomic import parse_json, read_lines, sha256_of
from s2i.files.output_folder import OutputFolder
from s2i.inference.generate import check_attention
from s2i.inference.image_facts import image_facts, text_chunks
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.inference.sentence_page import PageSettings, sentence_pages
from s2i.progress import progress, say

SETTINGS = "settings.json"  # in the output: the settings of its images,
GENERATED = "sentences.jsonl"  # and the digests of their sentences: {"name", "of"} a line


@dataclass(frozen=True)
class Sentence:
    """One input. `name`: of its image, without a suffix; `where`: the origin of a text, for messages."""

    name: str
    speech: Path | None = None
    text: str | None = None
    where: str = ""

    def digest(self) -> str:
        """SHA-256 of the recording or the text; "" for an unreadable file."""
        if self.speech is None:
            return hashlib.sha256(self.text.encode()).hexdigest()
        try:
            return sha256_of(self.speech)
        except OSError:
            return ""


def generate_many(
    model: str | Path,
    source: str | Path,
    output: str | Path,
    count: int = 1,
    seed: int = 0,
    truncation: float = 1.0,
    stages: bool = False,
    attention: str | Path | None = None,
    root: str | Path | None = None,
    scale: int = 1,
    caption: bool = False,
    device: str = "auto",
) -> Iterator[Path]:
    """Generate every sentence of a source into a folder, a PNG each, with the bytes that `generate` writes.

    Images that are there are kept, so a killed call continues; that of a sentence that has changed is
    generated again. An unusable recording is named on stderr and the others are generated. An InputWarning
    names each sentence with ignored words, and its line.

    Args:
        source: a folder of recordings and its subfolders; a manifest (.jsonl), for its recordings, or for its
            texts if the model or the manifest has no speech; or a file with a sentence a line.
        output: folder of the images, named as the recordings, by the manifest's id and number of the
            caption, or by the line: new, empty, or of an earlier call.
        attention: such a folder for attention maps.
        root: that a manifest's paths start from; by default its own folder.
        count, seed, truncation, stages, scale, caption: as `generate`.

    Yields:
        Each image's file as soon as it is written.

    Raises:
        InputError: nothing to generate, a folder that holds anything else, images in it that were
            generated with other settings, or, at the end, sentences that could not be used.
    """
    if attention is not None and os.path.realpath(attention) == os.path.realpath(output):
        raise InputError(
            f"expected two folders for --output and --attention, found {output} twice: name another"
        )
    source, folders = Path(source), [OutputFolder(output, "s2i generate")]
    folders += [OutputFolder(attention, "s2i generate --attention")] if attention is not None else []
    loaded, named = load(model, device), Path(model).absolute().name
    sentences = _read(source, Path(root) if root is not None else source.parent, set(loaded.paths))
    path = replace(loaded.path("text" if sentences[0].speech is None else "speech"), truncation=truncation)
    check_attention(path, attention is not None)
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(folder.held())
        settings = PageSettings(count, seed, truncation, stages, scale, caption)
        _check_settings(folders[0], path, settings.chosen())
        seeds, generated = range(seed, seed + count), _read_generated(folders[0].path / GENERATED)
        unusable: list[str] = []
        for sentence in progress(sentences, len(sentences), "sentences generated"):
            name, digest = f"{sentence.name}.png", sentence.digest()
            if generated.get(sentence.name) != digest or not all(
                (folder.path / name).is_file() for folder in folders
            ):
                try:
                    _, encoding = loaded.encode(
                        speech=sentence.speech, text=sentence.text, where=sentence.where
                    )
                except InputError as error:
                    say(f"left out: {sentence.where and f'{sentence.where}: '}{error}")
                    unusable.append(sentence.name)
                    continue
                said = (sentence.text, sentence.speech)
                pages = sentence_pages(path, encoding, *said, settings, seeds, named, attention is not None)
                about = text_chunks(image_facts(path, named, *said, **settings.chosen()))
                for page, folder in zip(pages, folders, strict=True):
                    folder.write(name, png_bytes(page, about))
                folders[0].append(GENERATED, {"name": sentence.name, "of": digest})
            yield Path(output) / name
    if unusable:
        raise InputError(
            f"expected {len(sentences)} usable sentences in {source}, found {len(unusable)} that can't be"
            f" used, named above, the first is {unusable[0]}: mend or remove them; all others are generated"
        )


def _read(source: Path, root: Path, modalities: set[str]) -> list[Sentence]:
    if source.is_dir():
        files = find_recordings(source)
        sentences = [Sentence(file.relative_to(source).with_suffix("").as_posix(), file) for file in files]
        expected = "recordings"
    elif source.suffix == ".jsonl":
        sentences = _read_manifest(source, root, modalities)
        expected = f"captions with {' or '.join(sorted(modalities))}"
    else:
        sentences = _read_lines(source)
        expected = "a sentence a line"
    if not sentences:
        raise InputError(f"expected {expected} in {source}, found none: give another source")
    names: dict[str, Sentence] = {}
    for sentence in sentences:
        other = names.setdefault(sentence.name, sentence)
        if other is not sentence:
            raise InputError(
                f"expected one image for each sentence of {source}, found two named {sentence.name}.png:"
                " rename one of the recordings or ids"
            )
    return sentences


def _read_manifest(source: Path, root: Path, modalities: set[str]) -> list[Sentence]:
    """Recordings if the model encodes speech and the manifest has any, else texts."""
    spoken, written = [], []
    for image in iterate_manifest(source):
        for number, caption in enumerate(image.captions):
            name = _file_name(f"{image.id}-{number}")
            if caption.audio is not None:
                spoken.append(Sentence(name, speech=root / caption.audio))
            if caption.text is not None:
                where = f"{source.name}, caption {number} of {image.id}"
                written.append(Sentence(name, text=caption.text, where=where))
    if "speech" in modalities and spoken:
        return spoken
    return written if "text" in modalities else []


def _file_name(key: str) -> str:
    """A caption's key as a file's name without suffix. One of over 200 bytes (of 255) is cut and made
    unique by a digest."""
    name = re.sub(r"[^\w.-]+", "_", key)
    if len(name.encode()) <= 200:
        return name
    return f"{name.encode()[:180].decode(errors='ignore')}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _read_lines(source: Path) -> list[Sentence]:
    lines = read_lines(source)
    width = len(str(len(lines)))
    return [
        Sentence(f"{number:0{width}d}", text=line, where=f"{source.name}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _read_generated(file: Path) -> dict[str, str]:
    """{name: digest} of the sentences generated so far; a last line that was cut short is ignored."""
    generated = {}
    for line in file.read_bytes().split(b"\n") if file.is_file() else ():
        try:
            entry = parse_json(line)
            generated[entry["name"]] = entry["of"]
        except (ValueError, KeyError, TypeError):
            continue
    return generated


def _check_settings(output: OutputFolder, path: GenerationPath, settings: dict[str, Any]) -> None:
    """Write the settings of a folder's images. Raises InputError for images with other settings."""
    settings = settings | {
        "encoder": path.fingerprint("encoder"),
        "generator": path.fingerprint("generator"),
    }
    if (output.path / SETTINGS).is_file():
        try:
            known = parse_json((output.path / SETTINGS).read_bytes())
        except (OSError, ValueError):
            known = None
        if known != settings:
            known = known if isinstance(known, dict) else {}
            differing = [key for key in {**settings, **known} if known.get(key) != settings.get(key)]
            raise InputError(
                f"expected the settings that the images in {output.path} were generated with, found another"
                f" {' and '.join(differing)}: name another --output, or delete that folder"
            )
        return
    output.write(SETTINGS, json.dumps(settings, indent=1))
