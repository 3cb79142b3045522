"""Every choice of a run: typed, with defaults, units and sources.

Defaults are the published S2IGAN / AttnGAN values where there is one. `s2i.config_files` reads and writes
configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from omegaconf import MISSING


@dataclass(frozen=True)
class DataConfig:
    """Where pictures and captions come from."""

    root: str = MISSING  # folder that relative paths in the manifest start from
    manifest: str = MISSING  # JSON Lines, one picture a line
    pack: str = MISSING  # folder that `data_prep/pack.py` writes, one sub-folder a split
    picture_size: int = 0  # px of pictures in the pack, before the margin; 0: as large as the largest drawn
    margin: float = 76 / 64  # pictures are stored this much larger than drawn, for random crops (AttnGAN)
    box_scale: float = 1.5  # side of the square crop over the longer side of the box (half side .75: S2IGAN)
    workers: int = 0  # loader processes; 0 reads in the training process


@dataclass(frozen=True)
class AudioConfig:
    """What a speech encoder reads of a recording: by default a log-mel (S2IGAN's constants)."""

    front_end: str = "log_mel"  # or a network of torchaudio.pipelines, frozen: HUBERT_BASE, WAVLM_BASE, ...
    # Of such a network, whose own the next four then are, whatever is given:
    layer: int = 0  # transformer layer whose output is read, from 1; 0: the last
    weights: str = ""  # file; empty: downloaded by torchaudio, once
    sha256: str = ""  # of the weights, or its first digits; empty: not checked
    sample_rate: int = 22050  # Hz; any other rate is resampled
    mels: int = 40  # numbers a frame
    window: float = 0.025  # s; also the FFT length: 551 samples
    hop: float = 0.010  # s
    floor: float = 1e-6  # added before the logarithm
    normalise: bool = True  # mean and variance of each mel bin over the utterance (CMVN)
    longest: float = 60.0  # s; a longer recording is refused


@dataclass(frozen=True)
class SpeechEncoderConfig:
    """CNN + BiGRU + attention pooling (S2IGAN's SEN). The embedding has 2 * hidden numbers."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    channels: tuple[int, ...] = (64, 128)  # one convolution each
    kernel: int = 6  # frames
    stride: int = 2
    kernels: tuple[int, ...] = ()  # of each convolution; empty: `kernel` in all
    strides: tuple[int, ...] = ()  # likewise
    padded: bool = False  # zeros around each convolution's input, half a kernel: for long kernels
    max_pools: tuple[
        int, ...
    ] = ()  # numbers of convolutions, from 1, with a maximum over 3 steps of 2 behind
    activation: Literal["none", "relu"] = "none"  # the published network has none
    pool: int = 1  # convolution steps averaged before the GRU
    cell: Literal["gru", "lstm"] = "gru"
    hidden: int = 512  # of each direction
    layers: int = 2
    dropout: float = 0.0  # between recurrent layers
    pooling: Literal["attention", "mean"] = "attention"
    attention: int = 128  # width of the attention's hidden layer
    segment: int = 8  # GRU steps averaged into one segment of the sequence
    length: Literal["free", "unit", "root"] = "unit"  # of the sentence vector: as pooled, 1, sqrt(2 hidden)


@dataclass(frozen=True)
class TextEncoderConfig:
    """BiLSTM (AttnGAN's). The embedding has 2 * hidden numbers."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    words: int = 18  # longest caption in words; the rest is cut
    embedding: int = 300
    dropout: float = 0.5
    hidden: int = 128  # of each direction
    layers: int = 1
    pooling: Literal["last", "attention", "mean"] = "last"
    attention: int = 128  # width of the attention's hidden layer
    length: Literal["free", "unit", "root"] = "free"  # of the sentence vector: as pooled, 1, sqrt(2 hidden)


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Picture -> global vector and region vectors."""

    # small: trained from scratch with the caption encoder; the others: torchvision's networks, frozen
    kind: Literal["small", "inception_v3", "resnet50", "googlenet", "mobilenet_v2"] = "small"
    image_size: int = 64  # px at its input (published: 299 for inception_v3, 224 for the other frozen ones)
    unit: bool = True  # L2-normalise the global vector
    # Of kind small:
    channels: tuple[int, ...] = (32, 64, 128, 256)  # one halving each; regions come from the last but one
    # Of the frozen networks:
    weights: str = (
        ""  # file, .pth or .safetensors; empty: torchvision's own ImageNet weights, downloaded once
    )
    sha256: str = ""  # of that file, or its first 8 digits or more; empty: not checked
    pictures: Literal["published", "imagenet", "symmetric"] = "published"  # mean and deviation, or [-1, 1]
    region_side: int = 0  # regions are averaged to so many rows and columns; 0: as they come (17 or 14)
    project: bool = True  # false: the pooled vector itself is the global vector (Li et al.)
    views: int = 0  # crops of each picture whose features are worked out once and kept; 0: each step's own


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over a training, as a factor of the optimiser's `lr`."""

    kind: Literal["constant", "linear", "step"] = "constant"
    start: float = 0.6  # linear: falls to zero from this part of the steps on
    every: int = 1000  # step: steps between two falls
    factor: float = 0.1  # step: each fall
    least: float = 0.0  # never below this factor
    warmup: int = 0  # steps of linear rise


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam."""

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    clip: float = 0.0  # largest gradient norm; 0 is off
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


@dataclass(frozen=True)
class MatchingConfig:
    """Training of a caption encoder against pictures."""

    steps: int = 10400  # S2IGAN: 150 epochs of 8,855 pictures in batches of 128
    batch_size: int = 128
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(lr=1e-3, betas=(0.95, 0.999), weight_decay=1e-3)
    )
    batch_weight: float = 1.0  # masked batch matching
    scale: float = 10.0  # gamma of batch matching
    class_weight: float = 1.0  # distinctive loss
    joint_weight: float = 0.0  # structured joint embedding (Li et al.: 1)
    distance_weight: float = 0.0  # distance of unit vectors from the picture's (Li et al.: 5)
    distillation_weight: float = 0.0  # the picture as teacher (Li et al.: 1000)
    region_weight: float = 0.0  # region-segment loss (DAMSM); 0 is off
    gamma1: float = 4.0  # DAMSM: sharpness of a segment's attention to regions
    gamma2: float = 5.0  # DAMSM: sharpness of the pooling over segments
    gamma3: float = 10.0  # DAMSM: sharpness of the choice within the batch
    added_loss: str = ""  # module:function of another package: a further term, see s2i/README.md
    added_weight: float = 1.0  # of that term
    region_group: int = 0  # pictures compared with each other in the region loss; 0: the whole batch
    validate_every: int = 350  # steps; the best by validation mAP is kept


@dataclass(frozen=True)
class GeneratorConfig:
    """Stacked stages; stage 0 draws `base_size` px, each further stage twice the one before."""

    stages: int = 3
    base_size: int = 64  # px of stage 0
    noise: int = 100
    condition: int = 128  # numbers after conditioning augmentation
    spread: float = 1.0  # standard deviation of conditioning augmentation before training
    channels: int = 64  # at the end of stage 0; each later stage has half, down to `least_channels`
    least_channels: int = 16
    keep_channels: bool = False  # AttnGAN: every stage as wide as the first
    residual_blocks: int = 2
    attention: bool = False  # later stages look at segments or words (AttnGAN)
    tile: bool = True  # later stages see the condition at each place (StackGAN-v2, S2IGAN)
    dense: bool = True  # the incoming map joins again before each upsampling (S2IGAN)
    add_context: bool = False  # attention's context is added to the map, not set beside it: half the width
    gate: Literal["glu", "relu"] = "glu"  # non-linearity; relu halves the convolutions before it
    modulate: bool = False  # batch norms take scale and shift from condition and noise
    upsample: Literal["nearest", "bilinear"] = "nearest"
    accumulate: bool = False  # a stage's picture adds to the one before, enlarged (StyleGAN2's skips)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """One network a stage, each with a conditional and an unconditional head."""

    channels: int = 64
    most_channels: int = 2048
    matched: bool = False  # a smaller picture's network starts as wide as a larger one's is at that size
    condition: Literal["mu", "sentence"] = "mu"  # what the conditional head sees: S2IGAN mu, AttnGAN sentence
    norm: Literal["batch", "spectral", "none"] = "batch"
    contrast: bool = False  # a head that finds each picture's caption in the batch (XMC-GAN)
    classify: bool = False  # a head that names each picture's class (AC-GAN)


@dataclass(frozen=True)
class DiscriminatorTerms:
    """Weights of a discriminator's terms; c: with its condition, u: alone. Defaults: S2IGAN's plain sum."""

    real_c: float = 1.0
    real_u: float = 2.0  # S2IGAN counts the wrong pairs' pictures, which are real, once more
    wrong_c: float = 1.0
    fake_c: float = 1.0
    fake_u: float = 1.0


@dataclass(frozen=True)
class GanConfig:
    """Training of a generator on the encodings of a trained caption encoder."""

    encoder: str = MISSING  # run folder of `s2i train-encoder`
    other_encoder: str = ""  # one of the other modality: one generator learns from both, batches in turn
    matching_model: str = ""  # another such run, which looks at drawn pictures in its place: a cheaper one
    encoder_start: Literal["matched", "random"] = "matched"  # random: as if it had never been matched
    encoder_lr: float = 0.0  # of the caption encoder, which then learns with the generator; 0: frozen
    steps: int = 221_000  # S2IGAN: 600 epochs of 8,855 pictures in batches of 24
    batch_size: int = 24
    augment: bool = True  # real pictures are cropped and flipped at random; else the centre, as it is
    generator_steps: int = 1  # a batch; each further one draws the batch's captions from new noise
    grow: tuple[float, ...] = ()  # part of the steps from which each later stage trains; empty: all from 0
    generator: OptimiserConfig = field(default_factory=OptimiserConfig)
    discriminator: OptimiserConfig = field(default_factory=OptimiserConfig)
    relation: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: Literal["bce", "hinge", "least_squares"] = "bce"
    terms: DiscriminatorTerms = field(default_factory=DiscriminatorTerms)
    conditional_weight: float = 1.0  # of the generator's adversarial terms
    unconditional_weight: float = 1.0
    contrast_weight: float = 0.0  # of the discriminators' contrastive terms, for both sides (XMC-GAN)
    class_weight: float = 0.0  # of the discriminators' class terms, for both sides (AC-GAN)
    kl_weight: float = 2.0  # conditioning augmentation
    matching_weight: float = 0.0  # of the largest drawn picture against its caption (AttnGAN: 5)
    added_loss: str = ""  # module:function of another package: a further term, see s2i/README.md
    added_weight: float = 1.0  # of that term
    relation_weight: float = 0.0  # of the relation supervisor, on the largest picture (S2IGAN: 1); 0 is off
    reconstruction_weight: float = 0.0  # of real pictures drawn again from found noise (CVAE-GAN); 0 is off
    posterior_weight: float = 0.2  # a nat of that noise's divergence from the prior
    penalty: Literal["none", "r1", "matching_aware"] = "none"
    penalty_weight: float = 0.5
    penalty_every: int = 8  # steps
    ema: float = 0.999  # decay a step of the averaged generator
    sample_every: int = 1000  # steps between grids of fixed noise and captions


@dataclass(frozen=True)
class JudgeConfig:
    """A network that only scores. It reads attributes where the data has them, else classes."""

    pack: str = MISSING  # what it is trained on; where there are birds to spare, not a generator's pictures
    channels: tuple[int, ...] = (32, 64, 128, 256)
    features: int = 256
    steps: int = 1500
    batch_size: int = 64
    lr: float = 2e-3


@dataclass(frozen=True)
class LogConfig:
    """How often a training speaks and saves."""

    every: int = 50  # steps between two lines of log.jsonl
    checkpoint_every: int = 500  # steps
    keep: int = 0  # older checkpoints kept beside last.pt


@dataclass(frozen=True)
class EvaluationConfig:
    """What `evaluate` and `compare` draw."""

    split: Literal["val", "test"] = "test"
    captions: int = 1  # drawn captions a picture, 1 to 10
    batch_size: int = 64
    judge: str = ""  # run folder of the judge; empty: no judge-based metric
    scorer: str = ""  # run folder of encoders that no generator was trained with; empty: no R-precision
    inception_weights: str = ""  # file or folder; "download": from their publishers; empty: only when asked
    processes: int = 1  # that draw and look at once, one thread each; a GPU wants one
    cache: str = ""  # folder of features; empty: beside the run, and of real pictures beside the pack
    seed: int = 0  # of the noise


@dataclass(frozen=True)
class Config:
    """A whole run."""

    run: str = MISSING  # the run's folder
    modality: Literal["speech", "text"] = "speech"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0  # CPU threads; 0: as many as cores
    data: DataConfig = field(default_factory=DataConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    speech_encoder: SpeechEncoderConfig = field(default_factory=SpeechEncoderConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    image_encoder: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def image_size(self) -> int:
        """Side, in px, of the largest picture that the generator draws."""
        return self.generator.base_size * 2 ** (self.generator.stages - 1)

    @property
    def picture_size(self) -> int:
        """Side, in px, of the pictures in the pack without their margin: what an image encoder looks at."""
        return self.data.picture_size or self.image_size

    @property
    def embedding(self) -> int:
        """Numbers in a caption's embedding (D)."""
        encoder = self.speech_encoder if self.modality == "speech" else self.text_encoder
        return 2 * encoder.hidden

    def of_each_modality(self) -> list[Config]:
        """This run as each modality that its generator learns from sees it; its own first."""
        if not self.gan.other_encoder:
            return [self]
        gan = replace(self.gan, encoder=self.gan.other_encoder, other_encoder=self.gan.encoder)
        return [self, replace(self, modality="text" if self.modality == "speech" else "speech", gan=gan)]
