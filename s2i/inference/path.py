"""From captions of one modality to images: the encoders and the generator of a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from s2i.config import Config
from s2i.data.audio import features
from s2i.data.batches import Batch, pad_mels, pad_tokens
from s2i.data.text import Vocabulary
from s2i.devices import has_instructions
from s2i.errors import InputError, InputWarning
from s2i.inference.candidates import best_of, candidate_keys, rule_of, suitability
from s2i.inference.image_input import frame_image
from s2i.inference.voice_normalisation import can_normalise, encode_normalised
from s2i.metrics.domain import Domain
from s2i.metrics.neighbours import Neighbours
from s2i.models.bfloat16_form import Bfloat16Form
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.inference_form import for_inference
from s2i.models.interfaces import CaptionEncoder, Generator
from s2i.runs.fingerprints import Fingerprints
from s2i.runs.provenance import Origins, origins_of_image_encoder, origins_of_network
from s2i.runs.weight_fingerprint import weight_fingerprint

LARGE = 128  # px; a smaller image takes milliseconds
# Of each generator that is loaded, in the forms that its paths have asked for.
_FORMS: WeakKeyDictionary[Generator, dict[tuple[float, bool, bool], Generator]] = WeakKeyDictionary()


@dataclass(frozen=True, repr=False)
class GenerationPath:
    """Images from captions of one modality. The networks are frozen, in float32 and in eval mode."""

    config: Config
    vocabulary: Vocabulary | None  # None for speech
    step: int  # optimiser steps of the generator's training; 0: unknown, as of published weights
    device: torch.device
    encoder: CaptionEncoder | None  # None: a published generator that came without one
    image_encoder: ImageEncoder | PretrainedImageEncoder | None  # None: imported without one
    generator: Generator
    data: Fingerprints | None = None  # of the packs that it was trained on; None: unknown
    trained_by: Origins = field(default_factory=dict)  # networks that had a part in its training, as recorded
    classes: tuple[str, ...] | None = None  # seen in training; None: unknown
    folder: Path | None = None  # of the run or the exported model; None: never read from one
    domain: Domain | None = None  # of the training recordings' embeddings; None: unknown
    training_images: Neighbours | None = None  # by pretrained features; None: unknown, or no such encoder
    truncation: float = 1.0  # of the noise, times the model's own; below 1 images are more usual, more alike
    guidance: float = 0.0  # of the generator's prior, towards the caption; 0: the model's own
    candidates: int = 1  # images of a caption, of which the best is kept
    bf16: bool = False  # the generator computes in bfloat16
    normalise_voices: bool = False  # recordings are read by `encode_normalised`; needs a domain

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Those that there are, by the names of an exported model."""
        named = {
            "caption_encoder": self.encoder,
            "image_encoder": self.image_encoder,
            "generator": self.generator,
        }
        return {name: network for name, network in named.items() if network is not None}

    @property
    def generating(self) -> list[nn.Module]:
        """The networks without which nothing is generated."""
        return [network for network in (self.encoder, self.generator) if network is not None]

    def __repr__(self) -> str:
        config, networks = self.config, [net for net in (self.encoder, self.generator) if net is not None]
        parameters = sum(value.numel() for net in networks for value in net.parameters())
        return (
            f"from {config.modality}: images of {config.generated_size} px in {config.generator.stages}"
            f" stages, embeddings of {self.embedding_dim:,} numbers, {parameters / 1e6:.1f} million"
            f" parameters, {f'{self.step:,} steps' if self.step else 'of unknown training'}"
        )

    @property
    def embedding_dim(self) -> int:
        """Numbers in a caption's embedding (D)."""
        return self.config.embedding_dim if self.encoder is None else self.encoder.embedding_dim

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
        return self._encode_log_mels(*pad_mels(mels))

    def _encode_log_mels(self, log_mels: Tensor, lengths: Tensor) -> CaptionEncoding:
        log_mels, lengths = log_mels.to(self.device), lengths.to(self.device)
        if not self.normalise_voices:
            return self.encoder(log_mels, lengths)
        return encode_normalised(self.encoder, self.domain, self.config.audio, log_mels, lengths)

    def doubt_of(self, waveform: Tensor) -> str:
        """`doubt` of a recording (N,) at `config.audio.sample_rate`, as it is heard."""
        if self.domain is None:
            return ""
        return self.doubt(self.hearing(normalised=False).encode_speech([waveform]))

    def doubt(self, encoding: CaptionEncoding) -> str:
        """In words, that a recording is unlike those that the model was trained on; "" where it is not, or
        where the model doesn't know.

        Args:
            encoding: of one recording as it is heard: voices were not normalised for the domain either.
        """
        if self.domain is None or not self.domain.is_outside(encoding.sentence)[0]:
            return ""
        return (
            "it is unlike the recordings that the model was trained on (farther from them than 99 in 100 of"
            " their own kind): its image may have nothing to do with what is said"
        )

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> CaptionEncoding:
        """Encode sentences. Raises InputError for one that is empty or has no known word."""
        self._expect("text")
        words = self.config.text_encoder.max_words
        padded, lengths = pad_tokens([self.vocabulary.encode(text, words) for text in texts])
        return self.encoder(padded.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def encode(self, batch: Batch) -> CaptionEncoding:
        """Encode the captions of a batch from a pack."""
        self._expect(self.config.modality)
        if self.config.modality == "speech":
            return self._encode_log_mels(batch.inputs, batch.lengths)
        return self.encoder(batch.inputs.to(self.device), batch.lengths.to(self.device))

    def hearing(self, normalised: bool) -> GenerationPath:
        """This path from speech with voices normalised, or as they are. InputError where it can't."""
        if normalised and (self.domain is None or not can_normalise(self.config.audio)):
            raise InputError(
                "expected an exported model from log-mels, which knows the recordings of its training, to"
                f" normalise voices, found {self.folder}: export the run, or leave normalise_voices out"
            )
        return replace(self, normalise_voices=normalised)

    def sampling(self, truncation: float, guidance: float) -> GenerationPath:
        """This path with another truncation and, but for 0, another guidance.

        Raises InputError for guidance of a generator whose noise is not guided, and for a truncation other
        than 1 of one whose noise can't be truncated.
        """
        if (truncation, guidance) == (self.truncation, self.guidance):
            return self
        source = f" in {self.folder}" if self.folder else ""
        if truncation != 1 and not getattr(self.generator, "can_be_truncated", True):
            raise InputError(
                f"expected a generator whose noise can be truncated for a truncation of {truncation:g}, found"
                f" {type(self.generator).__name__}{source}: leave truncation out"
            )
        if guidance and getattr(self.generator, "prior", None) is None:
            raise InputError(
                f"expected a generator with a learnt prior for a guidance of {guidance:g}, found"
                f" none{source}: leave guidance out"
            )
        return replace(self, truncation=truncation, guidance=guidance)

    def computing_in(self, bf16: bool) -> GenerationPath:
        """This path with a generator that computes in bfloat16, or in float32. An InputWarning says where
        the device only emulates bfloat16, which takes many times as long."""
        if bf16 == self.bf16:
            return self
        if bf16 and not has_instructions(self.device):
            warnings.warn(
                "this device has no instructions for bf16 and emulates it: float32 is faster",
                InputWarning,
                stacklevel=2,
            )
        return replace(self, bf16=bf16)

    def choosing_among(self, candidates: int) -> GenerationPath:
        """This path with the best of so many images of a caption in place of each that it generates.

        Raises InputError for more than one of a generator without noise, or of a model that can't compare
        images with captions: without an image encoder, with one that was never matched with the caption
        encoder, or whose pretrained network can't be had.
        """
        if candidates == self.candidates:
            return self
        if candidates < 1:
            raise InputError(f"expected candidates of 1 or more, found {candidates}")
        if candidates > 1:
            self._check_candidates()
        return replace(self, candidates=candidates)

    @torch.no_grad()
    def generate(
        self,
        encoding: CaptionEncoding,
        keys: Sequence[str],
        seed: int = 0,
        latent_keys: Sequence[str] | None = None,
    ) -> GeneratorOutput:
        """Generate each of B captions once; of several `candidates`, keep the best.

        Args:
            encoding: of B captions.
            keys: B names; an image's noise is a function of (seed, its key), see `Generator.sample_noise`.
            latent_keys: as it takes them.
        """

        def generate(candidate: int) -> GeneratorOutput:
            latent = None if latent_keys is None else candidate_keys(latent_keys, candidate)
            noise = self.sample_noise(candidate_keys(keys, candidate), seed, latent)
            return self._quick_generator(encoding, *noise)

        if self.candidates == 1:
            return generate(0)
        sentence, images = F.normalize(encoding.sentence.float(), dim=1), self._image_encoder()
        score = suitability(images, sentence, self.training_images)
        return best_of(self.candidates, generate, lambda generated: score(generated.to(self.device)))

    @property
    def _quick_generator(self) -> Generator:
        """The generator, in a form that takes half of the time where images take long; made once for all
        paths of this generator."""
        wanted = (self.guidance, self.bf16, max(self.generator.sizes) >= LARGE)
        if not any(wanted):
            return self.generator
        forms = _FORMS.setdefault(self.generator, {})
        if wanted not in forms:
            forms[wanted] = _form_of(self.generator, *wanted)
        return forms[wanted]

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> list[Tensor]:
        """The generator's noise (see `Generator.sample_noise`) times `truncation`, on the device."""
        noise = self.generator.sample_noise(keys, seed, latent_keys)
        return [self.truncation * values.to(self.device) for values in noise]

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Embed images beside this path's captions: (B, 3, H, W) in [-1, 1] -> (B, D) of length 1.

        Raises InputError for a model without an image encoder.
        """
        return F.normalize(self._image_encoder()(images.to(self.device))[0].float(), dim=1)

    def frame_image(
        self, image: Image.Image, box: tuple[float, float, float, float] | None = None
    ) -> np.ndarray:
        """Crop and resize a photograph as those that the image encoder was trained on: uint8 (S, S, 3)."""
        return frame_image(image, self.config, box)

    def fingerprint(self, network: str) -> str:
        """SHA-256, in hexadecimal digits, of the weights of "encoder", "image_encoder" or "generator".

        Of their float16, so that a run and what is exported from it are the same, but for a generator in 8
        bits.
        """
        if network == "encoder":
            self._expect(self.config.modality)
        chosen = self._image_encoder() if network == "image_encoder" else getattr(self, network)
        return weight_fingerprint(chosen, half=True)

    @property
    def chooser(self) -> dict[str, str]:
        """Fingerprints of what chooses among candidates."""
        known = {} if self.training_images is None else {"training_images": rule_of(self.training_images)}
        return {"image_encoder": self.fingerprint("image_encoder")} | known

    def all_trained_by(self) -> Origins:
        """What had a part in the generator's training: as recorded, and the path's own encoders."""
        return {
            **origins_of_network(self.encoder, "the model's caption encoder"),
            **origins_of_image_encoder(self.image_encoder, "the model"),
            **self.trained_by,
        }

    def _check_candidates(self) -> None:
        missing = ""
        if self.image_encoder is None or self.encoder is None:
            missing = "a model with encoders of captions and images"
        elif self.config.gan.encoder_start == "random" or self.config.matching.autoencodes_alone:
            missing = "encoders of captions and images that were matched"
        elif not self.generator.sample_noise(["0"], 0):
            missing = "a generator with noise"
        if missing:
            where = f" in {self.folder}" if self.folder else ""
            raise InputError(f"expected {missing} for candidates, found none{where}: leave candidates out")
        if isinstance(self.image_encoder, PretrainedImageEncoder):
            _ = self.image_encoder.backbone  # fetched, or refused, before anything is generated

    def _image_encoder(self) -> ImageEncoder | PretrainedImageEncoder:
        if self.image_encoder is None:
            raise InputError(
                "expected a model with an image encoder, found one without: it can"
                " generate images but not embed them; train one with s2i train-encoder and s2i train-gan"
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


def _form_of(generator: Generator, guidance: float, bf16: bool, large: bool) -> Generator:
    form = generator.guided(guidance) if guidance else generator
    form = for_inference(form) if large else form
    return Bfloat16Form(form) if bf16 else form
