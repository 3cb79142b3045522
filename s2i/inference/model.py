"""A trained model, ready to generate: what a script, the app, `generate` and the measuring share."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2i.config import Config
from s2i.data.audio import Recording, features, load_waveform
from s2i.data.batches import Batch, pad_mels, pad_tokens
from s2i.data.image_values import to_rgb
from s2i.data.images import frame, load_image, resize, to_tensor, to_uint8
from s2i.data.text import Vocabulary
from s2i.errors import InputError, InputWarning
from s2i.inference.stored import IMAGE_NETWORK, StoredPath, cut_short, read_model
from s2i.models.build import CaptionEncoder, build_caption_encoder, build_image_encoder
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput, StackedGenerator
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.noise import caption_noise
from s2i.runs.checkpoint import LAST
from s2i.runs.fingerprints import Fingerprints
from s2i.runs.pretrained_weights import connect

if TYPE_CHECKING:
    from s2i.search.index import Hit, Index


@dataclass(frozen=True)
class GenerationPath:
    """From one kind of caption to images. The networks are frozen, in float32 and in eval mode."""

    config: Config
    vocabulary: Vocabulary | None  # of text alone
    step: int  # optimiser steps that the generator was trained for; 0: published weights, unknown
    device: torch.device
    encoder: CaptionEncoder | None  # None: a published generator alone, that generates from embeddings
    image_encoder: ImageEncoder | PretrainedImageEncoder | None  # None: imported without one
    generator: StackedGenerator
    data: Fingerprints | None = None  # of the packs that it was trained on; None: unknown
    folder: Path | None = None  # of the run or the exported model; None: never read from one

    @torch.no_grad()
    def encode_speech(self, waveforms: Sequence[Tensor]) -> CaptionEncoding:
        """Encode recordings, each (N,) at `config.audio.sample_rate`.

        Raises InputError for one that is too short for a single step of the encoder.
        """
        self._expect("speech")
        audio = self.config.audio
        mels = [features(waveform, audio) for waveform in waveforms]
        shortest = self.encoder.shortest()
        for waveform, mel in zip(waveforms, mels, strict=True):
            if len(mel) < shortest:
                raise InputError(
                    f"expected speech of more than {(shortest - 1) * audio.hop:.2f} s,"
                    f" found {len(waveform) / audio.sample_rate:.2f} s: record a whole sentence"
                )
        padded, lengths = pad_mels(mels)
        return self.encoder(padded.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> CaptionEncoding:
        """Encode sentences. Raises InputError for one that is empty or has no known word."""
        self._expect("text")
        words = self.config.text_encoder.words
        padded, lengths = pad_tokens([self.vocabulary.encode(text, words) for text in texts])
        return self.encoder(padded.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def encode(self, batch: Batch) -> CaptionEncoding:
        """Encode the captions of a batch from a pack."""
        self._expect(self.config.modality)
        return self.encoder(batch.inputs.to(self.device), batch.lengths.to(self.device))

    @torch.no_grad()
    def generate(self, encoding: CaptionEncoding, keys: Sequence[str], seed: int = 0) -> GeneratorOutput:
        """Generate each of B captions once.

        Args:
            encoding: of B captions.
            keys: B names; an image's noise is a function of (seed, its key), see `caption_noise`.
        """
        widths = (self.config.generator.noise, self.config.generator.condition)
        noise, condition_noise = (part.to(self.device) for part in caption_noise(keys, seed, widths))
        return self.generator(encoding, noise, condition_noise)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """What this path's captions are matched with: (B, 3, H, W) in [-1, 1] -> (B, D) of length 1.

        Raises InputError for a model without an image encoder.
        """
        return F.normalize(self._image_encoder()(images.to(self.device))[0].float(), dim=1)

    def frame_image(
        self, image: Image.Image, box: tuple[float, float, float, float] | None = None
    ) -> np.ndarray:
        """A photograph as the image encoder has seen those of its training: uint8 (S, S, 3)."""
        data = self.config.data
        return np.asarray(frame(image, box, data.box_scale, data.margin, self.config.packed_size))

    def fingerprint(self, network: str) -> str:
        """SHA-256, in hexadecimal digits, of the weights of "encoder", "image_encoder" or "generator".

        Of their float16, so that a run and what is exported from it, in full or half size, are the same.
        """
        found = hashlib.sha256()
        if network == "encoder":
            self._expect(self.config.modality)
        part = self._image_encoder() if network == "image_encoder" else getattr(self, network)
        for name, value in part.state_dict().items():
            value = value.cpu().to(torch.float16) if value.is_floating_point() else value.cpu()
            found.update(name.encode())
            found.update(value.numpy().tobytes())
        return found.hexdigest()

    def _image_encoder(self) -> ImageEncoder | PretrainedImageEncoder:
        if self.image_encoder is None:
            raise InputError(
                "expected a model that knows images, found one without an image encoder:"
                " it can generate but not compare; train one with s2i train-encoder and s2i train-gan"
            )
        return self.image_encoder

    def _expect(self, modality: str) -> None:
        if self.config.modality != modality:
            raise TypeError(f"expected a path from {modality}, found one from {self.config.modality}")
        if self.encoder is None:
            raise InputError(
                f"expected a model that encodes {modality}, found a generator alone:"
                " import it again with the encoder that it was trained on"
            )


@dataclass(frozen=True)
class Model:
    """What `load` returns: a path from speech, a path from text, or both."""

    origin: Path
    paths: dict[str, GenerationPath]  # by modality

    def path(self, modality: str) -> GenerationPath:
        """The path from "speech" or "text". Raises InputError where the model lacks it."""
        if modality not in self.paths:
            raise InputError(
                f"expected a model with a path from {modality} in {self.origin}, found only"
                f" {' and '.join(self.paths)}: give {' or '.join(self.paths)}, or another --model"
            )
        return self.paths[modality]

    def encode(
        self, *, speech: Recording | None = None, text: str | None = None, where: str = ""
    ) -> tuple[GenerationPath, CaptionEncoding]:
        """A sentence, spoken or written, as the path that reads it encodes it. Of written words that the path
        passes over, unknown ones and those beyond its longest sentence, an InputWarning tells.

        Args:
            speech: a recording: its file, or samples with their rate in Hz, as `soundfile.read` gives them.
            text: a sentence; one of the two.
            where: what the warning names it by, beside its first words.

        Raises:
            InputError: both or none are given, the model lacks the path, or the sentence can't be used.
        """
        if (speech is None) == (text is None):
            raise InputError("expected either speech or text, found both or none: give one of the two")
        if speech is None:
            path = self.path("text")
            encoding = path.encode_text([text])
            unread = str(path.vocabulary.unread(text, path.config.text_encoder.words))
            if unread:
                named = f"{where}: {text[:60]!r}" if where else repr(text[:60])
                warnings.warn(f"{named} is read in part: {unread}", InputWarning, stacklevel=2)
            return path, encoding
        path = self.path("speech")
        waveform = load_waveform(speech, path.config.audio)
        try:
            return path, path.encode_speech([waveform])
        except InputError as error:
            raise InputError(
                f"{speech}: {error}" if isinstance(speech, str | Path) else str(error)
            ) from error

    def generate(
        self, *, speech: Recording | None = None, text: str | None = None, seed: int = 0, count: int = 1
    ) -> list[Image.Image]:
        """Generate `count` images of a sentence, with the seeds `seed` to `seed + count - 1`.

        Each is generated alone, so a seed's image has the same bytes however many are generated beside it.
        Takes and raises what `encode` does.
        """
        path, encoding = self.encode(speech=speech, text=text)
        outputs = (path.generate(encoding, [str(seed + i)]) for i in range(count))
        return [Image.fromarray(to_uint8(output.images[-1][0])) for output in outputs]

    def embed(
        self,
        *,
        speech: Recording | None = None,
        text: str | None = None,
        image: str | Path | Image.Image | None = None,
        space: str | None = None,
    ) -> np.ndarray:
        """A sentence or an image as a vector of length 1: float32 (D,).

        Speech and text each have a space of their own, where their captions lie beside images: vectors are
        compared with those of the same space.

        Args:
            speech, text: as `encode`.
            image: a photograph's file, framed as training frames it, or an image that is framed already
                (what `draw` returns); one of the three.
            space: of an image: "speech" or "text", by default the first that the model has.
        """
        if (speech is not None) + (text is not None) + (image is not None) != 1:
            raise InputError("expected one of speech, text and image, found none or several: give one")
        if image is None:
            _, encoding = self.encode(speech=speech, text=text)
            return F.normalize(encoding.sentence, dim=1)[0].cpu().numpy()
        path = self.path(space or next(iter(self.paths)))
        if isinstance(image, Image.Image):
            pixels = np.asarray(resize(to_rgb(image), path.config.packed_size))
        else:
            pixels = path.frame_image(load_image(image))
        return path.encode_images(to_tensor(torch.from_numpy(pixels.copy())[None]))[0].cpu().numpy()

    def search(
        self,
        index: Index | str | Path,
        *,
        speech: Recording | None = None,
        text: str | None = None,
        image: str | Path | Image.Image | None = None,
        top: int = 10,
        among: str = "images",
    ) -> list[Hit]:
        """What an index holds nearest to a sentence or an image, best first.

        Args:
            index: what `s2i index` made with this model: its folder, or opened.
            speech, text, image: as `embed`.
            top: how many.
            among: "images" or "recordings".

        Raises:
            InputError: as `embed`, and for an index that another model made or that holds none of these.
        """
        from s2i.search.index import Index  # here: generation needs none of it

        if not isinstance(index, Index):
            index = Index.open(index)
        space = "text" if text is not None else "speech"
        if image is not None and among == "images" and "speech" not in self.paths:
            space = "text"
        index.check(self.path(space), among)
        vector = self.embed(speech=speech, text=text, image=image, space=space)
        return index.nearest(vector, top, space, among)


def load(model: str | Path, device: str = "auto") -> Model:
    """Open an exported model's folder or the run folder of a GAN training; generation uses the averaged
    weights.

    Args:
        model: the folder.
        device: "cpu", "cuda", or "auto": cuda where there is one.

    Raises:
        InputError: the folder is missing, cut short, or holds something else.
    """
    folder = Path(model)
    stored = read_model(folder)
    chosen = _choose_device(device)
    return Model(folder, {path.config.modality: _assemble(path, chosen) for path in stored})


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a CUDA device for device cuda, found none: use cpu or auto")
    return torch.device(device)


def _assemble(parts: StoredPath, device: torch.device) -> GenerationPath:
    config = parts.config
    vocabulary = Vocabulary.from_list(parts.vocabulary) if parts.vocabulary else None
    try:
        with torch.random.fork_rng(devices=[]):  # the weights made here are random, and replaced below
            networks = {
                "caption_encoder": build_caption_encoder(config, len(vocabulary) if vocabulary else 0),
                "image_encoder": build_image_encoder(config),
                # Not build_generator: orthogonal weights take long.
                "generator": StackedGenerator(config.generator, config.embedding),
            }
        # What a published model came without.
        networks = {name: network for name, network in networks.items() if parts.weights[name]}
        for name, network in networks.items():
            network.load_state_dict(parts.weights[name])  # float16 becomes float32
            network.requires_grad_(False).eval().to(device)
        if "image_encoder" in networks:
            connect(networks["image_encoder"], config.image_encoder, parts.origin.parent / IMAGE_NETWORK)
    except (RuntimeError, ValueError, IndexError) as error:
        raise cut_short(parts.origin, "weights that fit the configuration", error) from error
    return GenerationPath(
        config=config,
        vocabulary=vocabulary,
        step=parts.step,
        device=device,
        encoder=networks.get("caption_encoder"),
        image_encoder=networks.get("image_encoder"),
        generator=networks["generator"],
        data=parts.data,
        folder=parts.origin.parent.parent if parts.origin.name == LAST else parts.origin.parent,
    )
