"""Choices of the networks: encoders of captions and images, generators, discriminators.

Part of `s2i.config`, whose rules hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from s2i.settings import Training, section, setting


@dataclass(frozen=True)
class SpeechEncoderConfig:
    """CNN + BiGRU + attention pooling (S2IGAN's SEN). The embedding has 2 * hidden_dim numbers."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    channels: tuple[int, ...] = setting((64, 128), at_least=1)  # one convolution each
    kernel: int = setting(6, at_least=1, unit="frames")  # width of each convolution
    stride: int = setting(2, at_least=1)  # of each convolution
    kernels: tuple[int, ...] = setting((), at_least=1)  # of each convolution; empty: `kernel` in all
    strides: tuple[int, ...] = setting((), at_least=1)  # likewise
    padded: bool = False  # zeros around each convolution's input, half a kernel: for long kernels
    # numbers of convolutions, from 1, with a maximum over 3 steps of 2 behind
    max_pools: tuple[int, ...] = setting((), at_least=1)
    activation: Literal["none", "relu"] = "none"  # the published network has none
    pool: int = setting(1, at_least=1)  # convolution steps averaged before the GRU
    cell: Literal["gru", "lstm"] = "gru"  # of the recurrent layers, which read both ways
    hidden_dim: int = setting(512, at_least=1)  # of each direction
    layers: int = setting(2, at_least=1, at_most=64)  # recurrent ones
    dropout: float = setting(0.0, at_least=0, below=1)  # between recurrent layers
    pooling: Literal["attention", "mean"] = "attention"  # of the recurrent steps, into the sentence vector
    attention_dim: int = setting(128, at_least=1)  # width of the attention's hidden layer
    segment: int = setting(8, at_least=1)  # GRU steps averaged into one segment of the sequence
    # of the sentence vector to length 1, or to the square root of its dimension
    normalize: Literal["none", "l2", "l2_sqrt_dim"] = "none"


@dataclass(frozen=True)
class TextEncoderConfig:
    """BiLSTM (AttnGAN's). The embedding has 2 * hidden_dim numbers."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    units: Literal["words", "characters"] = "words"  # what a caption is read in (Reed et al.: characters)
    # longest caption in such units, the rest is cut; of CUB's one in a thousand is longer than 45 words
    max_words: int = setting(50, at_least=1, at_most=10_000)
    embedding_dim: int = setting(300, at_least=1)  # numbers a word, before the recurrent layers
    dropout: float = setting(0.0, at_least=0, below=1)  # of the words, and between recurrent layers
    hidden_dim: int = setting(128, at_least=1)  # of each direction
    layers: int = setting(1, at_least=1, at_most=64)  # recurrent ones
    # of the recurrent steps, into the sentence vector; last: the last state of each direction (AttnGAN)
    pooling: Literal["last", "attention", "mean"] = "last"
    attention_dim: int = setting(128, at_least=1)  # width of the attention's hidden layer
    # of the sentence vector to length 1, or to the square root of its dimension
    normalize: Literal["none", "l2", "l2_sqrt_dim"] = "none"


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Image -> global vector and region vectors."""

    # small: trained from scratch with the caption encoder; the others are frozen: efficientnet_lite0, whose
    # weights come by pip, and torchvision's networks
    kind: Literal["small", "efficientnet_lite0", "inception_v3", "resnet50", "googlenet", "mobilenet_v2"] = (
        "small"
    )
    # at its input (published: 299 for inception_v3, 224 for the other frozen ones)
    input_size: int = setting(64, at_least=1, at_most=8192, unit="px")
    normalize: Literal["none", "l2"] = "none"  # of the global vector (S2IGAN: l2)
    # Of kind small:
    # one halving each; regions come from the last but one
    channels: tuple[int, ...] = setting((32, 64, 128, 256), at_least=1)
    # Of the frozen networks:
    # file, .pth or .safetensors; empty: the published ImageNet weights, torchvision's downloaded once
    weights: str = setting("", local="path", changeable=True)
    sha256: str = ""  # of that file, or its first 8 digits or more; empty: not checked
    # of pixels: as the published weights want them; mean and deviation of ImageNet; [-1, 1]
    input_normalization: Literal["published", "imagenet", "symmetric"] = "published"
    # regions are averaged to so many rows and columns; 0: as they come (17 or 14)
    region_side: int = setting(0, at_least=0, at_most=1024)
    project: bool = True  # false: the pooled vector itself is the global vector (Li et al.)
    # crops of each image whose features are worked out once and kept; 0: each step's own
    cached_crops: int = setting(0, at_least=0, at_most=10_000)


@dataclass(frozen=True)
class GeneratorConfig:
    """Stacked stages; stage 0 generates `base_size` px, each further stage twice the one before."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    # each of twice the size of the one before
    stages: int = setting(3, at_least=1, at_most=8, read_by=get_args(Training))
    # px of stage 0
    base_size: int = setting(64, at_least=4, at_most=1024, unit="px", read_by=get_args(Training))
    noise_dim: int = setting(100, at_least=1)  # numbers of noise an image
    condition_dim: int = setting(128, at_least=1)  # numbers after conditioning augmentation
    # standard deviation of conditioning augmentation before training
    init_std: float = setting(1.0, above=0)
    # at the end of stage 0; each later stage has half, down to `min_channels`
    channels: int = setting(64, at_least=1)
    min_channels: int = setting(16, at_least=1)  # the least that a later stage has
    keep_channels: bool = False  # AttnGAN: every stage as wide as the first
    residual_blocks: int = setting(2, at_least=0, at_most=64)  # of each later stage
    attention: bool = False  # later stages look at segments or words (AttnGAN)
    tile: bool = True  # later stages see the condition at each place (StackGAN-v2, S2IGAN)
    dense: bool = False  # the incoming map joins again before each upsampling (S2IGAN)
    add_context: bool = False  # attention's context is added to the map, not set beside it: half the width
    activation: Literal["glu", "relu"] = "glu"  # non-linearity; relu halves the convolutions before it
    conditional_batch_norm: bool = False  # batch norms take scale and shift from condition and noise
    upsample: Literal["nearest", "bilinear"] = "nearest"  # how maps are enlarged
    image_skips: bool = False  # a stage's image adds to the one before, enlarged (StyleGAN2's skips)
    # of what is decoded: the noise itself, or a flow learnt from what a posterior infers of real images
    prior: Literal["normal", "flow"] = setting("normal", read_by=("gan",))
    prior_dim: int = setting(512, at_least=1, read_by=("gan",))  # width of the flow's layers
    prior_layers: int = setting(4, at_least=1, read_by=("gan",))  # of the flow
    prior_steps: int = setting(12, at_least=1, read_by=("gan",))  # in which generation integrates the flow
    # of the flow, towards the caption (classifier-free guidance); 1 is none
    guidance: float = setting(1.0, at_least=0, read_by=("gan",))
    # factor of the noise that generation gives to the flow: below 1 images are more usual, and more alike
    truncation: float = setting(1.0, at_least=0, at_most=4, read_by=("gan",))


@dataclass(frozen=True)
class SpeechGeneratorConfig:
    """A generator of speech, as log-mels of one length."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    # of each log-mel: after a shorter recording comes silence, a longer one is cut
    frames: int = setting(384, at_least=1, at_most=100_000)
    code_dim: int = setting(128, at_least=1)  # numbers that the image encoder makes of an image
    noise_dim: int = setting(100, at_least=0)  # numbers of noise a recording
    # of the last map but one; each map before it has twice as many, up to eight times
    channels: int = setting(64, at_least=1)


@dataclass(frozen=True)
class DiffAugmentConfig:
    """What discriminators see of images, real and generated: differentiable augmentation (DiffAugment)."""

    colour: bool = False  # saturation times 0 to 2, contrast times .5 to 1.5
    # added, up to so much either way: then no discriminator sees how bright images are (DiffAugment: .5)
    brightness: float = setting(0.0, at_least=0, at_most=2)
    translation: float = setting(0.0, at_least=0, at_most=1)  # shift, up to this part of the side (1/8)
    cutout: float = setting(0.0, at_least=0, at_most=1)  # square of grey, part of the side (DiffAugment: .5)

    @property
    def is_on(self) -> bool:
        """Whether it changes anything."""
        return self != DiffAugmentConfig()


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Networks with conditional and unconditional heads."""

    # plain: one a stage, on its images; projected: on a frozen network's features of the largest images
    kind: Literal["plain", "projected"] = "plain"
    # Of kind projected:
    # of the frozen mixing, at strides 4, 8, 16, 32 (Projected GAN: 64, 128, 256, 512)
    mixed_channels: tuple[int, ...] = setting((32, 48, 64, 96), at_least=1)
    head_channels: int = setting(64, at_least=1)  # of the head on each of these maps
    joint: bool = False  # conditional logits are the sum of both heads'
    every_stage: bool = False  # one for each stage, not for the largest images alone
    plain_stages: int = setting(0, at_least=0, at_most=8)  # so many of the first also have a plain one
    # Of any:
    augmentation: DiffAugmentConfig = section(DiffAugmentConfig)
    # Of the plain ones:

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    channels: int = setting(64, at_least=1)  # of the first convolution; each further one has twice as many
    max_channels: int = setting(2048, at_least=1)  # the most that a convolution has
    match_widths: bool = False  # a smaller image's network starts as wide as a larger one's is at that size
    # what the conditional head sees: S2IGAN mu, AttnGAN sentence
    condition_on: Literal["mu", "sentence"] = "mu"
    norm: Literal["batch", "spectral", "none"] = "batch"  # batch or spectral normalisation
