"""Every choice of a run: typed, with defaults, units and sources.

Defaults are neutral: a regulariser, a term of one paper's or a departure is off, what is summed anyway has
weight 1, an optimiser is Adam as its own paper proposes it. What a published system chose stands in that
system's own preset, sizes included, so that no preset inherits one paper's choice from another's
(tests/recipes/test_presets.py holds presets against the papers). `s2i.config_data` and `s2i.config_networks`
have the sections of data and of networks; here are those of trainings, and the whole. `s2i.config_files`
reads and writes configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from s2i.config_data import AudioConfig, DataConfig
from s2i.config_networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    ImageEncoderConfig,
    SpeechEncoderConfig,
    SpeechGeneratorConfig,
    TextEncoderConfig,
)
from s2i.settings import MISSING, section, setting

HEARING = ("encoder", "gan", "regression", "cross_modal", "speech_classifier")  # trainings that read speech


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over a training, as a factor of the optimiser's `lr`."""

    # constant; linear: falls to zero from `start` on; step: falls by `factor` every `every` steps
    kind: Literal["constant", "linear", "step"] = "constant"
    start: float = setting(0.6, at_least=0, at_most=1)  # linear: falls to zero from this part of the steps on
    every: int = setting(1000, at_least=1, unit="steps")  # step: steps between two falls
    factor: float = setting(0.1, at_least=0, at_most=1)  # step: each fall
    min_factor: float = setting(0.0, at_least=0, at_most=1)  # never below this factor
    warmup: int = setting(0, at_least=0, unit="steps")  # steps of linear rise


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, by default as Kingma and Ba propose it."""

    lr: float = setting(1e-3, at_least=0)  # learning rate
    betas: tuple[float, float] = setting((0.9, 0.999), at_least=0, below=1)  # decay of the two averages
    weight_decay: float = setting(0.0, at_least=0)  # added to the gradient, times the weights
    clip: float = setting(0.0, at_least=0)  # largest gradient norm; 0 is off
    schedule: ScheduleConfig = section(ScheduleConfig)


def _adversary() -> OptimiserConfig:
    """Adam for a generator and its discriminators: DCGAN's, and since then nearly everyone's."""
    return OptimiserConfig(lr=2e-4, betas=(0.5, 0.999))


@dataclass(frozen=True)
class MatchingConfig:
    """Training of a caption encoder against images."""

    steps: int = setting(10_000, at_least=1)  # of the whole training
    batch_size: int = setting(64, at_least=2)  # captions, each with its image
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
    # of the speech encoder's part in a classifier's failure to tell who speaks, by the sentence's encoding
    # (Ganin et al.: up to 1)
    speaker_adversarial_weight: float = setting(0.0, at_least=0)
    # of a recording that is decoded from its sentence embedding, as speech_generator has it (Chen et al.,
    # S2I-A); above 0 a decoder learns too
    autoencoding_weight: float = setting(0.0, at_least=0)
    added_loss: str = ""  # module:function of another package: a further term, see s2i/README.md
    added_weight: float = setting(1.0, at_least=0)  # of that term
    # the image encoder stays as the run start_from has it: captions are heard further in the same space
    hold_images: bool = False
    # decay a step of the averaged caption encoder, which is validated and kept; 0: there is none
    ema: float = setting(0.0, at_least=0, below=1)
    # images compared with each other in the region loss; 0: the whole batch
    region_group: int = setting(0, at_least=0)
    # steps; the best by validation mAP is kept, or, where captions are autoencoded alone, by its error
    validate_every: int = setting(500, at_least=1, unit="steps")

    @property
    def autoencodes_alone(self) -> bool:
        """Whether recordings are autoencoded, and no term compares captions with images or with a class."""
        weights = (self.batch_weight, self.class_weight, self.joint_weight, self.distance_weight)
        others = (*weights, self.distillation_weight, self.region_weight, self.added_loss)
        return self.autoencoding_weight > 0 and not any(others)


@dataclass(frozen=True)
class DiscriminatorTerms:
    """Weights of a discriminator's terms; c: with its condition, u: alone."""

    real_c: float = setting(1.0, at_least=0)  # a real image with its own caption
    # a real image (StackGAN-v2 and S2IGAN: 2), since the wrong pairs' images, which are real, count once more
    real_u: float = setting(1.0, at_least=0)
    wrong_c: float = setting(1.0, at_least=0)  # a real image with a caption of another class
    fake_c: float = setting(1.0, at_least=0)  # a generated image with its caption
    fake_u: float = setting(1.0, at_least=0)  # a generated image


@dataclass(frozen=True)
class GanConfig:
    """Training of a generator on the encodings of a trained caption encoder."""

    # run of `s2i train-encoder`, or exported model; may be left out where nothing that was matched is read
    encoder: str = setting(MISSING, local="run")
    # one of the other modality: one generator learns from both, batches in turn
    other_encoder: str = setting("", local="run")
    # run of `s2i train-gan`, whose generator is the frozen first stage of this one's (StackGAN)
    first_stage: str = setting("", local="run")
    # another run of `s2i train-encoder`, which looks at generated images in its place: a cheaper one
    matching_model: str = setting("", local="run")
    encoder_start: Literal["matched", "random"] = "matched"  # random: as if it had never been matched
    # of the caption encoder, which then learns with the generator; 0: frozen
    encoder_lr: float = setting(0.0, at_least=0)
    steps: int = setting(100_000, at_least=1)  # of the whole training
    batch_size: int = setting(32, at_least=2)  # captions, each with its image
    augment: bool = True  # real images are cropped and flipped at random; else the centre, as it is
    # recordings are altered by data.augment, as they are while the speech encoder trains
    augment_recordings: bool = False
    # a batch; each further one generates the batch's captions from new noise
    generator_steps: int = setting(1, at_least=1)
    # part of the steps from which each later stage trains; empty: all from 0
    grow: tuple[float, ...] = setting((), at_least=0, at_most=1)
    generator: OptimiserConfig = section(_adversary)
    discriminator: OptimiserConfig = section(_adversary)
    relation: OptimiserConfig = section(_adversary)
    prior: OptimiserConfig = section(OptimiserConfig)  # of a generator's prior, where it learns one
    loss: Literal["bce", "hinge", "least_squares"] = "bce"  # adversarial, of both sides
    terms: DiscriminatorTerms = section(DiscriminatorTerms)
    conditional_weight: float = setting(1.0, at_least=0)  # of the generator's adversarial terms
    unconditional_weight: float = setting(1.0, at_least=0)  # likewise
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
    # of kind pixels: a nat of that noise's divergence from a normal one
    posterior_weight: float = setting(0.2, at_least=0)
    # what infers that noise: a small network on pixels, or one on features of the frozen network
    posterior: Literal["pixels", "features"] = "pixels"
    # of kind features: its deviation; that of its mean over a batch is 1
    posterior_spread: float = setting(0.3, above=0, at_most=1)
    # of kind pixels: what it sees of an image's colours: one random mixture of them, grey, or all
    posterior_sees: Literal["mixture", "grey", "colours"] = "mixture"
    # px at which the frozen network of features sees images; 0: as large as the largest generated
    feature_input_size: int = setting(0, at_least=0, at_most=8192, unit="px")
    # gradient of the adversarial terms at an image over that of reconstruction (VQGAN); 0: not set by it
    adversarial_ratio: float = setting(0.0, at_least=0)
    # the adversarial terms: off before this part of the steps, then rising over so long a part of them
    adversarial_start: float = setting(0.0, at_least=0, below=1)
    adversarial_ramp: float = setting(0.0, at_least=0, at_most=1)  # the part over which they rise
    # before this part of the steps the weights of the generator, and of its prior, stay as they began
    # (start_from): a posterior and discriminators that start anew learn first
    generator_start: float = setting(0.0, at_least=0, below=1)
    # latents of a learnt prior are sampled as in generation (generator.guidance, generator.truncation), so
    # that the adversary sees what is generated; else as those of real images are distributed
    guided: bool = False
    # on discriminators' gradients: of real images (R1), of real images with their captions (DF-GAN)
    penalty: Literal["none", "r1", "matching_aware"] = "none"
    penalty_weight: float = setting(0.5, at_least=0)  # of that penalty, were it taken at every step
    penalty_every: int = setting(8, at_least=1, unit="steps")  # steps from one to the next
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
    batch_size: int = setting(32, at_least=2)  # captions, each with its image
    augment: bool = True  # images are cropped and flipped at random
    decoder_steps: int = setting(10_000, at_least=1)  # of the decoder, which comes first
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
class CrossModalConfig:
    """Training of generators of speech and of images from each other, against a discriminator of pairs."""

    # speech: from images, alone (Chen et al.); both: speech and images, each from either (CMCGAN)
    generates: Literal["speech", "both"] = "both"
    steps: int = setting(100_000, at_least=1)  # of the whole training
    batch_size: int = setting(32, at_least=2)  # captions, each with its image
    augment: bool = True  # images are cropped and flipped at random
    generator: OptimiserConfig = section(_adversary)  # of encoders and generators
    discriminator: OptimiserConfig = section(_adversary)
    loss: Literal["bce", "hinge", "least_squares"] = "bce"  # adversarial, of both sides
    # of the mismatched pairs' part of the discriminator's loss; generated pairs have the rest (GAN-CLS's w)
    wrong_share: float = setting(0.5, at_least=0, at_most=1)
    # mean absolute difference of what has gone through the other modality from what it was; of kind both
    cycle_weight: float = setting(0.0, at_least=0)
    ema: float = setting(0.999, at_least=0, below=1)  # decay a step of the averaged networks
    # steps between grids of fixed images and captions
    sample_every: int = setting(1000, at_least=0, unit="steps")


@dataclass(frozen=True)
class ClassifierConfig:
    """A network that only scores. It reads attributes where the data has them, else classes."""

    # what it is trained on; where there are birds to spare, not a generator's images
    pack: str = setting(MISSING, local="path")
    channels: tuple[int, ...] = setting((32, 64, 128, 256), at_least=1)  # of its convolutions, a halving each
    feature_dim: int = setting(256, at_least=1)  # numbers an image, which FID and KID are also taken in
    steps: int = setting(1500, at_least=1)  # of the whole training
    batch_size: int = setting(64, at_least=2)  # images
    lr: float = setting(2e-3, at_least=0)  # the highest of one cycle


@dataclass(frozen=True)
class SpeechClassifierConfig:
    """A network that only scores generated speech: a speech encoder that names the class of a recording."""

    split: Literal["val", "test"] = "test"  # whose classes it knows, by every second image of each
    steps: int = setting(3000, at_least=1)  # of the whole training
    batch_size: int = setting(64, at_least=2)  # recordings
    optimiser: OptimiserConfig = section(OptimiserConfig)


@dataclass(frozen=True)
class LogConfig:
    """How often a training speaks and saves."""

    every: int = setting(50, at_least=1, unit="steps")  # steps between two lines of log.jsonl
    checkpoint_every: int = setting(500, at_least=0, unit="steps")  # steps between two saves; 0: at the end
    keep: int = setting(0, at_least=0)  # older checkpoints kept beside last.pt
    tensorboard: bool = False  # the log also goes into event files for TensorBoard, in the run's folder
    wandb: str = ""  # project of Weights & Biases that the log also goes to; empty: none


@dataclass(frozen=True)
class EvaluationConfig:
    """What `evaluate` and `compare` draw."""

    split: Literal["val", "test"] = "test"  # that is measured
    captions: int = setting(1, at_least=1, at_most=10)  # generated captions an image, 1 to 10
    batch_size: int = setting(64, at_least=1)  # captions, or images, at once
    classifier: str = setting(
        "", local="run"
    )  # run folder of the classifier; empty: no classifier-based metric
    # run folder of the speech classifier; empty: generated speech is not scored
    speech_classifier: str = setting("", local="run")
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
    # factor of that noise, times the model's own (generator.truncation): below 1 images are more usual, and
    # more alike (BigGAN's is a limit instead)
    truncation: float = setting(1.0, at_least=0, at_most=4)
    # of a generator's learnt prior, towards the caption; 0: its own (generator.guidance)
    guidance: float = setting(0.0, at_least=0, at_most=4)
    # images of each caption, of which the one that the path's image encoder finds best is kept
    candidates: int = setting(1, at_least=1, at_most=1024)
    # px to which generated and real images are reduced before networks that measure look at them (the model's
    # own encoders see their own size), so that models of several sizes compare; 0: as they are generated
    image_size: int = setting(0, at_least=0)
    # voices are normalised, as `s2i generate` does: of exported models, which know whom they were trained on
    normalise_voices: bool = False


@dataclass(frozen=True)
class Config:
    """A whole run."""

    run: str = setting(MISSING, local="path", changeable=True)  # the run's folder
    # what a caption is given as
    modality: Literal["speech", "text"] = setting("speech", read_by=("encoder", "gan", "regression"))
    # run of the same training, or exported model, from whose networks this one starts (fine-tuning); its data
    # may be other
    start_from: str = setting("", local="run", read_by=("encoder", "gan"))
    seed: int = setting(0, at_least=0, at_most=2**32 - 1)  # of weights, order of data, augmentation and noise
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changeable=True)  # auto: cuda where there is one
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where it works and is faster, else fp32
    # of image networks: the same mathematics; auto: the one in which a trial of them is faster, and of
    # train-cross-modal channels last
    memory_format: Literal["auto", "channels_last", "channels_first"] = setting(
        "auto", changeable=True, read_by=("gan", "regression", "cross_modal")
    )
    # of the device, for a training step: whoever sets it has `micro_batch` chosen, once, when the run begins
    memory: Literal["unlimited", "8gb", "16gb", "24gb", "80gb"] = setting(
        "unlimited", read_by=("encoder", "gan")
    )
    # images, at most, that a network is given at once, and computes again in the backward pass; 0: the whole
    # batch, which none computes again. Batch norms see so many together
    micro_batch: int = setting(0, at_least=0, read_by=("encoder", "gan"))
    # CPU threads; 0: OMP_NUM_THREADS, else half of the cores, since trainings come in pairs
    threads: int = setting(0, at_least=0, at_most=1024, changeable=True)
    # print the share of each part of a few steps, and write a trace into the run's folder
    profile: bool = setting(False, changeable=True)
    data: DataConfig = section(DataConfig)
    audio: AudioConfig = section(AudioConfig, read_by=HEARING)
    speech_encoder: SpeechEncoderConfig = section(SpeechEncoderConfig, read_by=HEARING)
    text_encoder: TextEncoderConfig = section(TextEncoderConfig, read_by=("encoder", "gan", "regression"))
    image_encoder: ImageEncoderConfig = section(
        ImageEncoderConfig, read_by=("encoder", "gan", "regression", "cross_modal")
    )
    matching: MatchingConfig = section(MatchingConfig, read_by=("encoder", "gan"))
    generator: GeneratorConfig = section(GeneratorConfig, read_by=("gan", "regression", "cross_modal"))
    speech_generator: SpeechGeneratorConfig = section(
        SpeechGeneratorConfig, read_by=("encoder", "cross_modal")
    )
    discriminator: DiscriminatorConfig = section(DiscriminatorConfig, read_by=("gan", "cross_modal"))
    gan: GanConfig = section(GanConfig, read_by=("gan",))
    regression: RegressionConfig = section(RegressionConfig, read_by=("regression",))
    cross_modal: CrossModalConfig = section(CrossModalConfig, read_by=("cross_modal",))
    classifier: ClassifierConfig = section(ClassifierConfig, read_by=("classifier",))
    speech_classifier: SpeechClassifierConfig = section(
        SpeechClassifierConfig, read_by=("speech_classifier",)
    )
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
