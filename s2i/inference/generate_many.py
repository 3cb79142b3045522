"""`generate` on many sentences: recordings of a folder or manifest, or a file of sentences."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
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
from s2i.inference.model import Model, load
from s2i.inference.path import GenerationPath
from s2i.inference.sentence_page import PageSettings, sentence_pages
from s2i.processes import in_order
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

    @property
    def file_name(self) -> str:
        """Of its image and of its attention maps, in their folders."""
        return f"{self.name}.png"

    def digest(self) -> str:
        """SHA-256 of the recording or the text; "" for an unreadable file."""
        if self.speech is None:
            return hashlib.sha256(self.text.encode()).hexdigest()
        try:
            return sha256_of(self.speech)
        except OSError:
            return ""


@dataclass(frozen=True)
class Task:
    """What is to be made of every sentence.

    Attributes:
        model: loaded here and set, or as another process loads and sets it.
        modality: of the sentences.
        name: of the model.
        attention: whether there are attention maps.
    """

    model: Model | str | Path
    modality: str
    name: str
    device: str
    settings: PageSettings
    attention: bool


@dataclass(frozen=True)
class Outcome:
    """Of a sentence: its digest and its PNGs, images and, where asked for, attention maps; None where those
    that are there are of this digest, or where it can't be used, for the reason `refusal`.

    Attributes:
        warned: the warnings that it gave.
    """

    digest: str
    pages: tuple[bytes, ...] | None = None
    refusal: str = ""
    warned: tuple[tuple[str, type[Warning]], ...] = ()


def generate_many(
    model: str | Path,
    source: str | Path,
    output: str | Path,
    count: int = 1,
    seed: int = 0,
    truncation: float = 1.0,
    guidance: float = 0.0,
    candidates: int = 1,
    bf16: bool = False,
    stages: bool = False,
    attention: str | Path | None = None,
    root: str | Path | None = None,
    scale: int = 1,
    caption: bool = False,
    processes: int = 1,
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
        count, seed, truncation, guidance, candidates, bf16, stages, scale, caption: as `generate`.
        processes: that share the sentences; of several each has one thread and a copy of the model.

    Yields:
        Each image's file, in the order of the sentences, as soon as it and those before are written.

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
    loaded = load(model, device)
    sentences = _read(source, Path(root) if root is not None else source.parent, set(loaded.paths))
    modality = "text" if sentences[0].speech is None else "speech"
    settings = PageSettings(count, seed, truncation, guidance, candidates, bf16, stages, scale, caption)
    loaded = _with_settings(loaded, modality, settings)
    path = loaded.path(modality)
    check_attention(path, attention is not None)
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(folder.held())
        _check_settings(folders[0], path, settings.chosen())
        generated = _read_generated(folders[0].path / GENERATED)
        processes = min(processes, len(sentences))
        task = Task(
            loaded if processes == 1 else model,
            modality,
            Path(model).absolute().name,
            device,
            settings,
            attention is not None,
        )
        jobs = (
            (task, sentence, generated.get(sentence.name) if _is_there(sentence, folders) else None)
            for sentence in sentences
        )
        outcomes = in_order(_generate, jobs, processes)
        unusable: list[str] = []
        for sentence, outcome in zip(
            progress(sentences, len(sentences), "sentences generated"), outcomes, strict=True
        ):
            for message, category in outcome.warned:
                warnings.warn(message, category, stacklevel=2)
            if outcome.refusal:
                say(f"left out: {sentence.where and f'{sentence.where}: '}{outcome.refusal}")
                unusable.append(sentence.name)
                continue
            if outcome.pages is not None:
                for page, folder in zip(outcome.pages, folders, strict=True):
                    folder.write(sentence.file_name, page)
                folders[0].append(GENERATED, {"name": sentence.name, "of": outcome.digest})
            yield Path(output) / sentence.file_name
    if unusable:
        raise InputError(
            f"expected {len(sentences)} usable sentences in {source}, found {len(unusable)} that can't be"
            f" used, named above, the first is {unusable[0]}: mend or remove them; all others are generated"
        )


def _is_there(sentence: Sentence, folders: list[OutputFolder]) -> bool:
    return all((folder.path / sentence.file_name).is_file() for folder in folders)


@lru_cache(maxsize=1)
def _load(task: Task) -> Model:
    """Once in each process of several; the first process has given the warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _with_settings(load(task.model, task.device), task.modality, task.settings)


def _with_settings(model: Model, modality: str, settings: PageSettings) -> Model:
    """With a path from this modality that generates as the settings say. Raises InputError where it can't."""
    return replace(model, paths={**model.paths, modality: settings.applied_to(model.path(modality))})


def _generate(task: Task, sentence: Sentence, known: str | None) -> Outcome:
    """A sentence's outcome; `known`: the digest of which its files are."""
    digest = sentence.digest()
    if digest == known:
        return Outcome(digest)
    settings = task.settings
    loaded = task.model if isinstance(task.model, Model) else _load(task)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            path, encoding = loaded.encode(speech=sentence.speech, text=sentence.text, where=sentence.where)
        except InputError as error:
            return Outcome(digest, refusal=str(error))
        said = (sentence.text, sentence.speech)
        seeds = range(settings.seed, settings.seed + settings.count)
        pages = sentence_pages(path, encoding, *said, settings, seeds, task.name, task.attention)
        about = text_chunks(image_facts(path, task.name, *said, **settings.chosen()))
        written = tuple(png_bytes(page, about) for page in pages)
    return Outcome(digest, written, warned=tuple((str(each.message), each.category) for each in caught))


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
        **({"voices": "normalised"} if path.config.modality == "speech" and path.normalise_voices else {}),
        **(path.chooser if path.candidates > 1 else {}),
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
