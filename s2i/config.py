"""Every choice of a run: typed, with defaults, units and sources.

Defaults are neutral: a regulariser, a term of one paper's or a departure is off, what is summed anyway has
weight 1, an optimiser is Adam as its own paper proposes it. What a published system chose stands in that
system's own preset, sizes included, so that no preset inherits one paper's choice from another's
(tests/recipes/test_presets.py holds presets against the papers). `s2i.config_files` reads and writes
configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from omegaconf import MISSING

from s2i.settings import section, setting


@dataclass(frozen=True)
class AugmentPart:
    """One way in which recordings are altered in training."""

    probability: float = setting(0.0, at_least=0, at_most=1)  # of each recording, each time; 0: off
    strength: float = setting(0.0, at_least=0, at_most=100)  # the most that is done; the unit is the part's


@dataclass(frozen=True)
class NoisePart:
    """Noise of one kind in recordings in training."""

    probability: float = setting(0.0, at_least=0, at_most=1)  # of each recording, each time; 0: off
    # of speech over the loudest noise; the faintest is 40 dB below
    least_ratio: float = setting(5.0, at_least=-40, at_most=100, unit="dB")


def _part(strength: float) -> AugmentPart:
    return section(lambda: AugmentPart(strength=strength))


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of recordings for the training of a speech encoder, from a log-mel (s2i/data/augment)."""

    vocal_tract: AugmentPart = _part(0.2)  # .2: formants between 1 / 1.2 and 1.2 times as high
    rate: AugmentPart = _part(0.5)  # .5: between 1 / 1.5 and 1.5 times as fast
    silence: AugmentPart = _part(2.0)  # s, before and after together, which the cutting of silence has missed
    pause: AugmentPart = _part(0.5)  # s, within
    room: AugmentPart = _part(0.8)  # s of reverberation, down by 60 dB
    noise: NoisePart = section(NoisePart)  # coloured, steady
    babble: NoisePart = section(NoisePart)  # other captions
    microphone: AugmentPart = _part(5.0)  # dB: standard deviation of its response, a smooth curve
    band: AugmentPart = _part(
        36.0
    )  # dB an octave: fall beyond the edges of a telephone's or microphone's band
    gain: AugmentPart = _part(20.0)  # dB up or down: what the log floor hides
    time_masks: AugmentPart = _part(0.2)  # s, the longest of two (SpecAugment)
    frequency_masks: AugmentPart = _part(6.0)  # bins, the widest of two (SpecAugment)


@dataclass(frozen=True)
class DataConfig:
    """Where images and captions come from."""

    root: str = setting(MISSING, local="path")  # folder that relative paths in the manifest start from
    manifest: str = setting(MISSING, local="path")  # JSON Lines, one image a line
    # folder that `data_prep/pack.py` writes, one sub-folder a split
    pack: str = setting(MISSING, local="path")
    # of images in the pack, before the margin; 0: as large as the largest generated
    packed_size: int = setting(0, at_least=0, at_most=8192, unit="px")
    # images are stored this much larger than generated, for random crops (AttnGAN)
    margin: float = setting(76 / 64, at_least=1, at_most=4)
    # side of the square crop over the longer side of the box (half side .75: S2IGAN)
    box_scale: float = setting(1.5, above=0, at_most=16)
    augment: AugmentConfig = section(AugmentConfig, read_by=("encoder",))  # of recordings
    # loader processes; 0 reads in the training process
    workers: int = setting(0, at_least=0, at_most=1024, changeable=True)


@dataclass(frozen=True)
class AudioConfig:
    """What a speech encoder reads of a recording: by default a log-mel (S2IGAN's constants)."""

    # or "waveform", the samples themselves (Wav2Pix); or a network of torchaudio.pipelines, frozen:
    # HUBERT_BASE, WAVLM_BASE, ...
    front_end: str = "log_mel"
    # Of such a network, whose own the next four then are, whatever is given:
    layer: int = setting(0, at_least=0)  # transformer layer whose output is read, from 1; 0: the last
    weights: str = setting("", local="path")  # file; empty: downloaded by torchaudio, once
    sha256: str = ""  # of the weights, or its first digits; empty: not checked
    # any other rate is resampled
    sample_rate: int = setting(22050, at_least=1000, at_most=384_000, unit="Hz")
    mel_bins: int = setting(40, at_least=1, at_most=4096)  # numbers a frame
    window: float = setting(0.025, above=0, at_most=10, unit="s")  # also the FFT length: 551 samples
    hop: float = setting(0.010, above=0, at_most=10, unit="s")
    log_floor: float = setting(1e-6, above=0, at_most=1)  # added before the logarithm
    cmvn: bool = True  # mean and variance of each mel bin over the utterance (CMVN)
    max_seconds: float = setting(60.0, above=0, at_most=86_400, unit="s")  # a longer recording is refused
    # of the silence before and after what is said; `max_seconds` keeps all. Utterances are normalised as
    # wholes, so more of it would change every frame. Built-in voices leave so much
    kept_silence: float = setting(0.01, at_least=0, at_most=86_400, unit="s")


@dataclass(frozen=True)
class SpeechEncoderConfig:
    """CNN + BiGRU + attention pooling (S2IGAN's SEN). The embedding has 2 * hidden_dim numbers."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    channels: tuple[int, ...] = setting((64, 128), at_least=1)  # one convolution each
    kernel: int = setting(6, at_least=1, unit="frames")
    stride: int = setting(2, at_least=1)
    kernels: tuple[int, ...] = setting((), at_least=1)  # of each convolution; empty: `kernel` in all
    strides: tuple[int, ...] = setting((), at_least=1)  # likewise
    padded: bool = False  # zeros around each convolution's input, half a kernel: for long kernels
    # numbers of convolutions, from 1, with a maximum over 3 steps of 2 behind
    max_pools: tuple[int, ...] = setting((), at_least=1)
    activation: Literal["none", "relu"] = "none"  # the published network has none
    pool: int = setting(1, at_least=1)  # convolution steps averaged before the GRU
    cell: Literal["gru", "lstm"] = "gru"
    hidden_dim: int = setting(512, at_least=1)  # of each direction
    layers: int = setting(2, at_least=1, at_most=64)
    dropout: float = setting(0.0, at_least=0, below=1)  # between recurrent layers
    pooling: Literal["attention", "mean"] = "attention"
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
    embedding_dim: int = setting(300, at_least=1)
    dropout: float = setting(0.0, at_least=0, below=1)  # of the words, and between recurrent layers
    hidden_dim: int = setting(128, at_least=1)  # of each direction
    layers: int = setting(1, at_least=1, at_most=64)
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
class ScheduleConfig:
    """Learning rate over a training, as a factor of the optimiser's `lr`."""

    kind: Literal["constant", "linear", "step"] = "constant"
    start: float = setting(0.6, at_least=0, at_most=1)  # linear: falls to zero from this part of the steps on
    every: int = setting(1000, at_least=1, unit="steps")  # step: steps between two falls
    factor: float = setting(0.1, at_least=0, at_most=1)  # step: each fall
    min_factor: float = setting(0.0, at_least=0, at_most=1)  # never below this factor
    warmup: int = setting(0, at_least=0, unit="steps")  # steps of linear rise


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, by default as Kingma and Ba propose it."""

    lr: float = setting(1e-3, at_least=0)
    betas: tuple[float, float] = setting((0.9, 0.999), at_least=0, below=1)
    weight_decay: float = setting(0.0, at_least=0)
    clip: float = setting(0.0, at_least=0)  # largest gradient norm; 0 is off
    schedule: ScheduleConfig = section(ScheduleConfig)


def _adversary() -> OptimiserConfig:
    """Adam for a generator and its discriminators: DCGAN's, and since then nearly everyone's."""
    return OptimiserConfig(lr=2e-4, betas=(0.5, 0.999))


@dataclass(frozen=True)
class MatchingConfig:
    """Training of a caption encoder against images."""

    steps: int = setting(10_000, at_least=1)
    batch_size: int = setting(64, at_least=2)
    optimiser: OptimiserConfig = section(OptimiserConfig)
    batch_weight: float = setting(1.0, at_least=0)  # masked batch matching
    scale: float = setting(10.0, above=0)  # gamma of batch matching (S2IGAN), gamma3 of sentences (AttnGAN)
    class_weight: float = setting(0.0, at_least=0)  # distinctive loss (S2IGAN: 1)
    joint_weight: float = setting(0.0, at_least=0)  # structured joint embedding (Li et al.: 1)
    # distance from the image's vectors (Li et al.: 5)
    distance_weight: float = setting(0.0, at_least=0)
    distillation_weight: float = setting(0.0, at_least=0)  # the image as teacher (Li et al.: 1000)
    region_weight: float = setting(0.0, at_least=0)  # region-segment loss (DAMSM); 0 is off
    gamma1: float = setting(4.0, above=0)  # DAMSM: sharpness of a segment's attention to regions
    gamma2: float = setting(5.0, above=0)  # DAMSM: sharpness of the pooling over segments
    gamma3: float = setting(10.0, above=0)  # DAMSM: sharpness of the choice within the batch
    # of the distance between two recordings of a caption, other voices or otherwise augmented; above 0 each
    # step encodes two
    invariance_weight: float = setting(0.0, at_least=0)
    added_loss: str = ""  # module:function of another package: a further term, see s2i/README.md
    added_weight: float = setting(1.0, at_least=0)  # of that term
    # images compared with each other in the region loss; 0: the whole batch
    region_group: int = setting(0, at_least=0)
    validate_every: int = setting(500, at_least=1, unit="steps")  # steps; the best by validation mAP is kept


@dataclass(frozen=True)
class GeneratorConfig:
    """Stacked stages; stage 0 generates `base_size` px, each further stage twice the one before."""

    network: str = ""  # module:Class of another package in place of this network, see s2i/README.md
    options: dict[str, Any] = section(dict)  # of that network, which checks them
    stages: int = setting(3, at_least=1, at_most=8, read_by=("encoder", "gan", "classifier", "regression"))
    # px of stage 0
    base_size: int = setting(
        64, at_least=4, at_most=1024, unit="px", read_by=("encoder", "gan", "classifier", "regression")
    )
    noise_dim: int = setting(100, at_least=1)
    condition_dim: int = setting(128, at_least=1)  # numbers after conditioning augmentation
    # standard deviation of conditioning augmentation before training
    init_std: float = setting(1.0, above=0)
    # at the end of stage 0; each later stage has half, down to `min_channels`
    channels: int = setting(64, at_least=1)
    min_channels: int = setting(16, at_least=1)
    keep_channels: bool = False  # AttnGAN: every stage as wide as the first
    residual_blocks: int = setting(2, at_least=0, at_most=64)
    attention: bool = False  # later stages look at segments or words (AttnGAN)
    tile: bool = True  # later stages see the condition at each place (StackGAN-v2, S2IGAN)
    dense: bool = False  # the incoming map joins again before each upsampling (S2IGAN)
    add_context: bool = False  # attention's context is added to the map, not set beside it: half the width
    activation: Literal["glu", "relu"] = "glu"  # non-linearity; relu halves the convolutions before it
    conditional_batch_norm: bool = False  # batch norms take scale and shift from condition and noise
    upsample: Literal["nearest", "bilinear"] = "nearest"
    image_skips: bool = False  # a stage's image adds to the one before, enlarged (StyleGAN2's skips)


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
    channels: int = setting(64, at_least=1)
    max_channels: int = setting(2048, at_least=1)
    match_widths: bool = False  # a smaller image's network starts as wide as a larger one's is at that size
    # what the conditional head sees: S2IGAN mu, AttnGAN sentence
    condition_on: Literal["mu", "sentence"] = "mu"
    norm: Literal["batch", "spectral", "none"] = "batch"


@dataclass(frozen=True)
class DiscriminatorTerms:
    """Weights of a discriminator's terms; c: with its condition, u: alone."""

    real_c: float = setting(1.0, at_least=0)
    # StackGAN-v2 and S2IGAN: 2, since the wrong pairs' images, which are real, count once more
    real_u: float = setting(1.0, at_least=0)
    wrong_c: float = setting(1.0, at_least=0)
    fake_c: float = setting(1.0, at_least=0)
    fake_u: float = setting(1.0, at_least=0)


@dataclass(frozen=True)
class GanConfig:
    """Training of a generator on the encodings of a trained caption encoder."""

    # run folder of `s2i train-encoder`; may be left out where nothing that was matched is read
    encoder: str = setting(MISSING, local="run")
    # one of the other modality: one generator learns from both, batches in turn
    other_encoder: str = setting("", local="run")
    # run of `s2i train-gan`, whose generator is the frozen first stage of this one's (StackGAN)
    first_stage: str = setting("", local="run")
    # another such run as `encoder`, which looks at generated images in its place: a cheaper one
    matching_model: str = setting("", local="run")
    encoder_start: Literal["matched", "random"] = "matched"  # random: as if it had never been matched
    # of the caption encoder, which then learns with the generator; 0: frozen
    encoder_lr: float = setting(0.0, at_least=0)
    steps: int = setting(100_000, at_least=1)
    batch_size: int = setting(32, at_least=2)
    augment: bool = True  # real images are cropped and flipped at random; else the centre, as it is
    # a batch; each further one generates the batch's captions from new noise
    generator_steps: int = setting(1, at_least=1)
    # part of the steps from which each later stage trains; empty: all from 0
    grow: tuple[float, ...] = setting((), at_least=0, at_most=1)
    generator: OptimiserConfig = section(_adversary)
    discriminator: OptimiserConfig = section(_adversary)
    relation: OptimiserConfig = section(_adversary)
    loss: Literal["bce", "hinge", "least_squares"] = "bce"
    terms: DiscriminatorTerms = section(DiscriminatorTerms)
    conditional_weight: float = setting(1.0, at_least=0)  # of the generator's adversarial terms
    unconditional_weight: float = setting(1.0, at_least=0)
    # of the discriminators' contrastive terms, for both sides (XMC-GAN); above 0 they have a head for it
    contrast_weight: float = setting(0.0, at_least=0)
    # of the discriminators' class terms, for both sides (AC-GAN); above 0 they have a head for it
    class_weight: float = setting(0.0, at_least=0)
    kl_weight: float = setting(1.0, at_least=0)  # conditioning augmentation (StackGAN-v2, S2IGAN: 2)
    # of the largest generated image against its caption (AttnGAN: 5)
    matching_weight: float = setting(0.0, at_least=0)
    added_loss: str = ""  # module:function of another package: a further term, see s2i/README.md
    added_weight: float = setting(1.0, at_least=0)  # of that term
    # of images of captions interpolated within the batch (GAN-INT); 0 is off
    interpolation_weight: float = setting(0.0, at_least=0)
    # mean absolute difference of the largest generated image from the caption's real one (Wav2Pix: 50)
    pixel_weight: float = setting(0.0, at_least=0)
    # squared difference of the discriminators' mean features of generated and real images (Wav2Pix: 100)
    feature_matching_weight: float = setting(0.0, at_least=0)
    # of a classifier of captions that learns with a tuned encoder (Wav2Pix: 20)
    caption_class_weight: float = setting(0.0, at_least=0)
    # what least squares want of a real image, of discriminators alone (Wav2Pix: .9)
    real_target: float = setting(1.0, above=0, at_most=1)
    # of the relation supervisor, on the largest image (S2IGAN: 1); 0 is off
    relation_weight: float = setting(0.0, at_least=0)
    # of real images resampled from found noise (CVAE-GAN), their pixels; 0 is off
    reconstruction_weight: float = setting(0.0, at_least=0)
    # the same of their features in a frozen network (as LPIPS, without its weights); 0 is off
    perceptual_weight: float = setting(0.0, at_least=0)
    posterior_weight: float = setting(0.2, at_least=0)  # a nat of that noise's divergence from the prior
    # what infers that noise: a small network on pixels, or one on features of the frozen network
    posterior: Literal["pixels", "features"] = "pixels"
    # of kind features: deviation of the inferred mean over a batch (BN-VAE); 1 is the prior's
    posterior_deviation: float = setting(0.75, above=0, at_most=1)
    posterior_surroundings: bool = False  # of kind features: it also sees the colours around the middle
    # what it sees of an image's colours: one random mixture of them, grey, or all
    posterior_sees: Literal["mixture", "grey", "colours"] = "mixture"
    # px at which the frozen network of features sees images; 0: as large as the largest generated
    feature_input_size: int = setting(0, at_least=0, at_most=8192, unit="px")
    # gradient of the adversarial terms at an image over that of reconstruction (VQGAN); 0: not set by it
    adversarial_ratio: float = setting(0.0, at_least=0)
    # the adversarial terms: off before this part of the steps, then rising over so long a part of them
    adversarial_start: float = setting(0.0, at_least=0, below=1)
    adversarial_ramp: float = setting(0.0, at_least=0, at_most=1)
    penalty: Literal["none", "r1", "matching_aware"] = "none"
    penalty_weight: float = setting(0.5, at_least=0)
    penalty_every: int = setting(8, at_least=1, unit="steps")
    ema: float = setting(0.999, at_least=0, below=1)  # decay a step of the averaged generator
    # steps between grids of fixed noise and captions
    sample_every: int = setting(1000, at_least=0, unit="steps")

    @property
    def has_unconditional_terms(self) -> bool:
        """Whether discriminators are asked about images alone."""
        return max(self.terms.real_u, self.terms.fake_u, self.unconditional_weight) > 0


@dataclass(frozen=True)
class RegressionConfig:
    """Training of a decoder of a frozen image network's features, then of a caption encoder that regresses
    these features (Speech2Face)."""

    # run folder of `s2i train-encoder`, whose image encoder is the frozen network; empty: the pretrained one
    # that `image_encoder` names
    image_network: str = setting("", local="run")
    batch_size: int = setting(32, at_least=2)
    augment: bool = True  # images are cropped and flipped at random
    decoder_steps: int = setting(10_000, at_least=1)
    decoder: OptimiserConfig = section(OptimiserConfig)
    pixel_weight: float = setting(1.0, at_least=0)  # decoder: mean absolute difference of pixels
    # decoder: of the frozen network's features of the decoded image, each over its length
    feature_weight: float = setting(0.0, at_least=0)
    ema: float = setting(0.999, at_least=0, below=1)  # decay a step of the averaged decoder
    steps: int = setting(10_000, at_least=1)  # of the caption encoder, after those of the decoder
    encoder: OptimiserConfig = section(OptimiserConfig)
    # through the decoder's first layer, mean absolute difference
    decoder_weight: float = setting(1.0, at_least=0)
    # squared distance of the features, each over its length (Speech2Face: .025)
    distance_weight: float = setting(1.0, at_least=0)
    # of what the features say of the class (Speech2Face: 200)
    distillation_weight: float = setting(1.0, at_least=0)
    temperature: float = setting(2.0, above=0)  # of that distillation
    # steps between grids of fixed captions
    sample_every: int = setting(1000, at_least=0, unit="steps")


@dataclass(frozen=True)
class ClassifierConfig:
    """A network that only scores. It reads attributes where the data has them, else classes."""

    # what it is trained on; where there are birds to spare, not a generator's images
    pack: str = setting(MISSING, local="path")
    channels: tuple[int, ...] = setting((32, 64, 128, 256), at_least=1)
    feature_dim: int = setting(256, at_least=1)
    steps: int = setting(1500, at_least=1)
    batch_size: int = setting(64, at_least=2)
    lr: float = setting(2e-3, at_least=0)


@dataclass(frozen=True)
class LogConfig:
    """How often a training speaks and saves."""

    every: int = setting(50, at_least=1, unit="steps")  # steps between two lines of log.jsonl
    checkpoint_every: int = setting(500, at_least=0, unit="steps")
    keep: int = setting(0, at_least=0)  # older checkpoints kept beside last.pt


@dataclass(frozen=True)
class EvaluationConfig:
    """What `evaluate` and `compare` draw."""

    split: Literal["val", "test"] = "test"
    captions: int = setting(1, at_least=1, at_most=10)  # generated captions an image, 1 to 10
    batch_size: int = setting(64, at_least=1)
    classifier: str = setting(
        "", local="run"
    )  # run folder of the classifier; empty: no classifier-based metric
    # run folder of encoders that no generator was trained with; empty: no R-precision
    r_precision_encoder: str = setting("", local="run")
    # file or folder; "download": from their publishers; empty: only when asked
    inception_weights: str = setting("", local="path")
    # measure through EfficientNet-lite0 too, which needs no file; false: only when asked
    efficientnet_lite0: bool = False
    # through MobileNet-v2: file with its classifier; "download": torchvision's; empty: only when asked
    mobilenet_weights: str = setting("", local="path")
    # of pixels: as torchvision's weights want them; mean and deviation of ImageNet; [-1, 1]
    mobilenet_normalization: Literal["published", "imagenet", "symmetric"] = "published"
    # that generate and look at once, one thread each; a GPU wants one
    processes: int = setting(1, at_least=1, at_most=1024)
    other_data: bool = False  # an exported model is measured on other data than it was trained on, on purpose
    # folder of features; empty: beside the run, and of real images beside the pack
    cache: str = setting("", local="path")
    seed: int = setting(0, at_least=0, at_most=2**32 - 1)  # of the noise
    # factor of that noise: below 1 images are more usual, and more alike (BigGAN's is a limit instead)
    truncation: float = setting(1.0, at_least=0, at_most=4)


@dataclass(frozen=True)
class Config:
    """A whole run."""

    run: str = setting(MISSING, local="path", changeable=True)  # the run's folder
    modality: Literal["speech", "text"] = setting("speech", read_by=("encoder", "gan", "regression"))
    seed: int = setting(0, at_least=0, at_most=2**32 - 1)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changeable=True)
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where it works and is faster, else fp32
    # CPU threads; 0: OMP_NUM_THREADS, else half of the cores, since trainings come in pairs
    threads: int = setting(0, at_least=0, at_most=1024, changeable=True)
    data: DataConfig = section(DataConfig)
    audio: AudioConfig = section(AudioConfig, read_by=("encoder", "gan", "regression"))
    speech_encoder: SpeechEncoderConfig = section(
        SpeechEncoderConfig, read_by=("encoder", "gan", "regression")
    )
    text_encoder: TextEncoderConfig = section(TextEncoderConfig, read_by=("encoder", "gan", "regression"))
    image_encoder: ImageEncoderConfig = section(ImageEncoderConfig, read_by=("encoder", "gan", "regression"))
    matching: MatchingConfig = section(MatchingConfig, read_by=("encoder", "gan"))
    generator: GeneratorConfig = section(GeneratorConfig, read_by=("gan", "regression"))
    discriminator: DiscriminatorConfig = section(DiscriminatorConfig, read_by=("gan",))
    gan: GanConfig = section(GanConfig, read_by=("gan",))
    regression: RegressionConfig = section(RegressionConfig, read_by=("regression",))
    classifier: ClassifierConfig = section(ClassifierConfig, read_by=("classifier",))
    evaluation: EvaluationConfig = section(EvaluationConfig, changeable=True)
    log: LogConfig = section(LogConfig, changeable=True)

    @property
    def generated_size(self) -> int:
        """Side, in px, of the largest image that the generator generates."""
        return self.generator.base_size * 2 ** (self.generator.stages - 1)

    @property
    def feature_input_size(self) -> int:
        """Side, in px, at which the frozen network of features sees images."""
        return self.gan.feature_input_size or self.generated_size

    @property
    def needs_features(self) -> bool:
        """Whether a generator's training needs the frozen network of features."""
        gan = self.gan
        looks = self.discriminator.kind == "projected" or gan.posterior == "features"
        return looks or gan.perceptual_weight > 0

    @property
    def packed_size(self) -> int:
        """Side, in px, of the images in the pack without their margin: what an image encoder looks at."""
        return self.data.packed_size or self.generated_size

    @property
    def embedding_dim(self) -> int:
        """Numbers in a caption's embedding (D)."""
        encoder = self.speech_encoder if self.modality == "speech" else self.text_encoder
        return 2 * encoder.hidden_dim

    def of_each_modality(self) -> list[Config]:
        """This run as each modality that its generator learns from sees it; its own first."""
        if not self.gan.other_encoder:
            return [self]
        gan = replace(self.gan, encoder=self.gan.other_encoder, other_encoder=self.gan.encoder)
        return [self, replace(self, modality="text" if self.modality == "speech" else "speech", gan=gan)]
