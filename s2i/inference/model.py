"""A trained model, loaded for generation, embedding and search."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from s2i.data.audio import Recording, hear
from s2i.data.griffin_lim import to_waveform
from s2i.data.images import to_uint8
from s2i.data.text import Vocabulary
from s2i.devices import resolve_device
from s2i.errors import InputError, InputWarning
from s2i.inference.hub import model_folder
from s2i.inference.image_input import ImageInput, read_image
from s2i.inference.path import GenerationPath
from s2i.inference.speech_path import SpeechPath
from s2i.inference.voice_normalisation import can_normalise
from s2i.metrics.domain import Domain
from s2i.metrics.neighbours import Neighbours
from s2i.models.build import (
    build_caption_encoder,
    build_image_encoder,
    make_generator,
    make_speech_generator,
)
from s2i.models.caption_encoding import CaptionEncoding
from s2i.runs.checkpoint import LAST
from s2i.runs.pretrained_weights import connect
from s2i.runs.stored import (
    DOMAIN,
    IMAGE,
    IMAGE_NETWORK,
    TRAINING_IMAGES,
    StoredPath,
    cut_short,
    read_model,
)
from s2i.search.index import Hit, Index


@dataclass(frozen=True, repr=False)
class Model:
    """What `load` returns: a path from speech, a path from text, or both."""

    origin: Path  # the folder, or an address as a path makes it (hf:/OWNER/NAME), which `load` takes again
    paths: dict[str, GenerationPath]  # images, by modality
    from_image: SpeechPath | None = None  # speech; None: the model generates none

    def __repr__(self) -> str:
        """The model, each of its paths, and what can be done with it."""
        paths = [*self.paths.values(), *([self.from_image] if self.from_image else [])]
        calls = ["generate(speech=... or text=...)", "embed(...)", "search(INDEX, ...)"] if self.paths else []
        calls += ["speak(image=...)"] if self.from_image else []
        return "\n".join(
            [
                f"Model {self.origin}, on {paths[0].device}",
                *(f"  {path}" for path in paths),
                f"  {', '.join(calls)}",
            ]
        )

    def path(self, modality: str) -> GenerationPath:
        """The path from "speech" or "text". Raises InputError where the model lacks it."""
        if modality not in self.paths:
            known = [*self.paths, *(["an image"] if self.from_image else [])]
            raise InputError(
                f"expected a model with a path from {modality} in {self.origin}, found only"
                f" {' and '.join(known)}: give {' or '.join(known)}, or another --model"
            )
        return self.paths[modality]

    def hearing(self, normalised: bool) -> Model:
        """This model with the voices that it hears normalised, or as they are: then it generates what the run
        that it was exported from does. InputError where it can't."""
        heard = self.path("speech").hearing(normalised)
        return replace(self, paths={**self.paths, "speech": heard})

    def image_paths(self) -> dict[str, GenerationPath]:
        """The paths to images, one or two. Raises InputError for a model that generates speech alone."""
        if not self.paths:
            self.path("speech")
        return self.paths

    def speech_path(self) -> SpeechPath:
        """The path from images to speech. Raises InputError where the model lacks it."""
        if self.from_image is None:
            raise InputError(
                f"expected a model that generates speech in {self.origin}, found one that generates images"
                f" from {' and '.join(self.paths)}: give a run of s2i train-cross-modal as --model"
            )
        return self.from_image

    def encode(
        self, *, speech: Recording | None = None, text: str | None = None, where: str = ""
    ) -> tuple[GenerationPath, CaptionEncoding]:
        """Encode a sentence, spoken or written. An InputWarning names the written words that are ignored,
        unknown ones and those beyond the longest sentence, and says of a recording that it is overdriven or
        unlike what the model was trained on.

        Args:
            speech: a recording: its file, or samples with their rate in Hz, as `soundfile.read` gives them.
            text: a sentence; one of the two.
            where: the sentence's origin, for the warning.

        Raises:
            InputError: both or none are given, the model lacks the path, or the sentence can't be used.
        """
        if (speech is None) == (text is None):
            raise InputError("expected either speech or text, found both or none: give one of the two")
        if speech is None:
            path = self.path("text")
            encoding = path.encode_text([text])
            unread = str(path.vocabulary.unread(text, path.config.text_encoder.max_words))
            if unread:
                named = f"{where}: {text[:60]!r}" if where else repr(text[:60])
                warnings.warn(f"{named} is read in part: {unread}", InputWarning, stacklevel=2)
            return path, encoding
        path = self.path("speech")
        heard = hear(speech, path.config.audio)
        named = str(speech) if isinstance(speech, str | Path) else ""
        try:
            encoding = path.encode_speech([heard.spoken])
        except InputError as error:
            raise InputError(f"{named}: {error}" if named else str(error)) from error
        for note in filter(None, [*heard.notes(), path.doubt_of(heard.spoken)]):
            warnings.warn(f"{named or 'the recording'}: {note}", InputWarning, stacklevel=2)
        return path, encoding

    def generate(
        self,
        *,
        speech: Recording | None = None,
        text: str | None = None,
        seed: int = 0,
        count: int = 1,
        candidates: int = 1,
        bf16: bool = False,
    ) -> list[Image.Image]:
        """Generate `count` images of a sentence, with the seeds `seed` to `seed + count - 1`.

        Each is generated alone, so a seed's image has the same bytes however many are generated beside it; of
        several `candidates` a seed, the best. With `bf16` the generator computes in bfloat16. Takes and
        raises what `encode` does, and InputError for several candidates of a model without an image encoder.
        """
        path, encoding = self.encode(speech=speech, text=text)
        path = path.choosing_among(candidates).computing_in(bf16)
        outputs = (path.generate(encoding, [str(seed + i)]) for i in range(count))
        return [Image.fromarray(to_uint8(output.images[-1][0])) for output in outputs]

    def speak(self, image: ImageInput, seed: int = 0) -> tuple[np.ndarray, int]:
        """Speech generated from an image, heard through Griffin-Lim: float32 (N,) in [-1, 1], and its rate in
        Hz. `image`: as `embed` takes it. Raises InputError for a model that generates none."""
        path = self.speech_path()
        [log_mel] = path.generate(read_image(image, path.config), [str(seed)])
        return to_waveform(log_mel, path.config.audio, seed).numpy(), path.config.audio.sample_rate

    def embed(
        self,
        *,
        speech: Recording | None = None,
        text: str | None = None,
        image: ImageInput | None = None,
        space: str | None = None,
    ) -> np.ndarray:
        """A sentence or an image as a vector of length 1: float32 (D,).

        Speech and text have an embedding space each, shared with images: compare vectors of one space only.
        They are trained apart, so the same sentence, spoken and written, is no nearer across the two than any
        other (s2i/README.md has the measurement).

        Args:
            speech, text: as `encode`.
            image: a photograph's file, cropped as in training, or a square image, such as `generate`
                returns; one of the three.
            space: of an image: "speech" or "text", by default the first that the model has.
        """
        if (speech is not None) + (text is not None) + (image is not None) != 1:
            raise InputError("expected one of speech, text and image, found none or several: give one")
        if image is None:
            _, encoding = self.encode(speech=speech, text=text)
            return F.normalize(encoding.sentence, dim=1)[0].cpu().numpy()
        path = self.path(space or next(iter(self.paths), "speech"))
        return path.encode_images(read_image(image, path.config))[0].cpu().numpy()

    def search(
        self,
        index: Index | str | Path,
        *,
        speech: Recording | None = None,
        text: str | None = None,
        image: ImageInput | None = None,
        top: int = 10,
        gallery: str = "images",
    ) -> list[Hit]:
        """The nearest images or recordings of an index to a sentence or an image, best first.

        Args:
            index: made by `s2i index` with this model: its folder, or opened.
            speech, text, image: as `embed`.
            top: how many.
            gallery: "images" or "recordings".

        Raises:
            InputError: as `embed`, and for an index of another model or without such a gallery.
        """
        if not isinstance(index, Index):
            index = Index.open(index)
        space = "text" if text is not None else "speech"
        if image is not None and gallery == "images" and "speech" not in self.paths:
            space = "text"
        index.check(self.path(space), gallery)
        vector = self.embed(speech=speech, text=text, image=image, space=space)
        return index.nearest(vector, top, space, gallery)


def load(model: str | Path, device: str = "auto", only: str = "") -> Model:
    """Open an exported model's folder or the run folder of a GAN training; generation uses the averaged
    weights.

    Args:
        model: the folder, or the address of an exported model on the Hugging Face Hub, "hf://OWNER/NAME" or
            "hf://OWNER/NAME@REVISION", which is downloaded once (`s2i.inference.hub`).
        device: "cpu", "cuda", or "auto": cuda where there is one.
        only: "speech" or "text": the one path that is needed, which is then loaded alone, in half the time.

    Raises:
        InputError: the folder is missing, cut short, or holds something else; or as `model_folder`.
    """
    stored = read_model(model_folder(model), only)
    chosen = resolve_device(device)
    paths = {path.source: path for path in stored}
    from_image = paths.pop(IMAGE, None)
    return Model(
        Path(model),
        {source: _assemble(path, chosen) for source, path in paths.items()},
        None if from_image is None else _assemble_speech_path(from_image, chosen),
    )


def _assemble_speech_path(stored: StoredPath, device: torch.device) -> SpeechPath:
    config, weights = stored.config, stored.weights
    try:
        with torch.random.fork_rng(devices=[]):  # the weights made here are random, and replaced below
            networks = {
                "image_encoder": build_image_encoder(config, config.speech_generator.code_dim),
                "speech_generator": make_speech_generator(config),
            }
        for name, network in networks.items():
            network.load_state_dict(weights[name])
            network.requires_grad_(False).eval().to(device)
        connect(networks["image_encoder"], config.image_encoder, stored.origin.parent / IMAGE_NETWORK)
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
        raise cut_short(stored.origin, "weights that fit the configuration", error) from error
    return SpeechPath(
        config=config,
        step=stored.step,
        device=device,
        image_encoder=networks["image_encoder"],
        generator=networks["speech_generator"],
        data=stored.data,
        trained_by=stored.trained_by,
        folder=_folder_of(stored),
    )


def _folder_of(stored: StoredPath) -> Path:
    return stored.origin.parent.parent if stored.origin.name == LAST else stored.origin.parent


def _assemble(stored: StoredPath, device: torch.device) -> GenerationPath:
    config = stored.config
    vocabulary = Vocabulary.from_list(stored.vocabulary) if stored.vocabulary else None
    try:
        with torch.random.fork_rng(devices=[]):  # the weights made here are random, and replaced below
            encoder = build_caption_encoder(config, len(vocabulary) if vocabulary else 0)
            networks = {
                "caption_encoder": encoder,
                "image_encoder": build_image_encoder(config, encoder.embedding_dim),
                "generator": make_generator(config, encoder.embedding_dim),
            }
        # A published model may lack some.
        networks = {name: network for name, network in networks.items() if stored.weights[name]}
        for name, network in networks.items():
            network.load_state_dict(stored.weights[name])  # float16 becomes float32
            network.requires_grad_(False).eval().to(device)
        if "image_encoder" in networks:
            connect(networks["image_encoder"], config.image_encoder, stored.origin.parent / IMAGE_NETWORK)
        domain, images = (
            {name: value.float() for name, value in stored.weights.get(kept, {}).items()}
            for kept in (DOMAIN, TRAINING_IMAGES)
        )
        domain = Domain.from_tensors(domain) if domain else None
        images = Neighbours(**images) if images else None
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise cut_short(stored.origin, "weights that fit the configuration", error) from error
    return GenerationPath(
        config=config,
        vocabulary=vocabulary,
        step=stored.step,
        device=device,
        encoder=networks.get("caption_encoder"),
        image_encoder=networks.get("image_encoder"),
        generator=networks["generator"],
        data=stored.data,
        trained_by=stored.trained_by,
        classes=stored.classes,
        folder=_folder_of(stored),
        domain=domain,
        training_images=images,
        normalise_voices=domain is not None and can_normalise(config.audio),
    )
