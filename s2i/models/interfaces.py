"""What a network of another kind has to offer to take the place of one of this package.

Each is a `torch.nn.Module`. A configuration names its class as `module:Class` (`speech_encoder.network`,
`text_encoder.network`, `generator.network`, `speech_generator.network`, `discriminator.network`) and gives it
the `options` of the same section as keyword arguments, which its constructor checks. s2i/README.md shows one
of each that trainings of images have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from s2i.models.log_mel_generator import LogMelScale


class CaptionEncoder(Protocol):
    """A caption to its encoding.

    The constructor of one of speech is called with its section of the configuration and the audio settings,
    of one of text with its section and the size of the vocabulary; each with its options behind.

    A caption's encoding must not depend on its batch: whatever mixes steps is masked. An encoder of speech
    also has `shortest() -> int`, the frames that one step needs, and `seconds_per_step`, how long a step of
    `sequence` lasts, by which attention maps are labelled.

    Attributes:
        embedding_dim: D, numbers in a sentence and in a step of the sequence.
    """

    embedding_dim: int

    def __call__(self, inputs: Tensor, lengths: Tensor) -> CaptionEncoding:
        """Encode padded log-mels (B, M, T) or tokens (B, T), of which `lengths` (B,) steps are valid."""


class Generator(Protocol):
    """A caption's encoding and noise to images.

    The constructor is called with the section `generator` of the configuration, the encoder's
    `embedding_dim`, and the options. One that is no stack of stages has one size, `generator.base_size`, with
    `generator.stages=1`.

    One may learn the distribution of the latents that it decodes, as
    `s2i.models.generator.StackedGenerator` does: it then has a `prior`, as
    `s2i.models.flow_prior.FlowPrior` is one, a method `decode` that takes latents where `forward` takes
    noise, and `guided(guidance)`, itself with another guidance. Training calls the prior with a third
    argument, in how many steps, and with `guided`.

    Images from noise times a factor below 1 are more usual (truncation). Where that isn't so, the class says
    `can_be_truncated = False`, and such a factor is refused.

    Attributes:
        sizes: side in px of its images, smallest first.
    """

    sizes: Sequence[int]

    def initialise(self) -> None:
        """Set the weights that a training begins with, where the constructor's are not those."""

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, ...]:
        """The noise of B captions, on the CPU: a function of the seed and of each caption's key alone
        (`s2i.models.noise.caption_noise`). As many tensors (B, ...) as `forward` takes.

        Args:
            latent_keys: of the noise that does not belong to the condition; None: `keys`.
        """

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The noise of a training step, from torch's global random state."""

    def __call__(
        self, encoding: CaptionEncoding, *noise: Tensor, stages: int | None = None
    ) -> GeneratorOutput:
        """Generate images of B captions from noise as sampled above; of the first `stages` sizes alone."""


class SpeechGenerator(Protocol):
    """A code, of an image say, and noise to speech, as a log-mel of one length.

    The constructor is called with the section `speech_generator` of the configuration, the code's
    `embedding_dim`, `audio.mel_bins`, and the options.

    Attributes:
        frames: T, of each log-mel.
        scale: log-mels to [-1, 1] and back; a training sets its range.
    """

    frames: int
    scale: LogMelScale

    def initialise(self) -> None:
        """Set the weights that a training begins with, where the constructor's are not those."""

    def sample_noise(self, keys: Sequence[str], seed: int) -> tuple[Tensor, ...]:
        """The noise of B codes, on the CPU, as of `Generator`."""

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The noise of a training step, from torch's global random state."""

    def __call__(self, encoding: CaptionEncoding, *noise: Tensor) -> Tensor:
        """Log-mels (B, M, T) of B codes, which are an encoding's sentences: ln(power + `audio.log_floor`),
        not normalised."""


class Discriminator(Protocol):
    """Images of one size to features, and features to logits.

    The constructor is called with the section `discriminator` of the configuration, the images' side in px,
    the width C of the condition, the number of classes of the training split (0 without `gan.class_weight`),
    whether there is a contrastive term (`gan.contrast_weight`), and the options. With the one it also has
    `classify(features) -> (B, classes)`, with the other `embed(features, condition) -> (images, captions)`,
    (B, C) each. One that looks through pretrained networks names them as `pretrained`, {name: module}: they
    are recorded, so that none of them scores what it trained.

    Logits are (B,), or (B, H) of one with several heads. One that looks through a frozen network may do so
    in a method `look(images) -> maps`, called once a step, whose maps it is then given in place of images,
    and has its name in the log as `log_name`: `s2i.models.projected_discriminator` is one.
    """

    def initialise(self) -> None:
        """Set the weights that a training begins with, but not those of a pretrained backbone."""

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The weights that the optimiser updates: those of a frozen backbone are not among them."""

    def __call__(self, images: Tensor) -> Tensor:
        """Features of images (B, 3, S, S) in [-1, 1]."""

    def conditional_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) of "real, and of this caption"; condition: (B, C)."""

    def unconditional_logits(self, features: Tensor) -> Tensor:
        """Logits (B,) of "real". One without this method is conditional alone: its unconditional terms
        must have no weight."""
