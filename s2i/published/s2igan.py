"""S2IGAN (Wang et al., Interspeech 2020): speech encoder, densely stacked generator, relation supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from s2i.config import Config
from s2i.config_data import AudioConfig
from s2i.config_networks import ImageEncoderConfig, SpeechEncoderConfig
from s2i.errors import InputError
from s2i.inference.path import GenerationPath
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import KINDS
from s2i.models.relation import RelationSupervisor
from s2i.models.speech_encoder import SpeechEncoder
from s2i.published.files import read_networks
from s2i.published.paths import make_path, origins_of
from s2i.published.recurrent import move_recurrent
from s2i.published.stacked import read_generator
from s2i.published.weights import Weights

SPEECH_ENCODER, IMAGE_ENCODER = "S2IGAN's speech encoder", "S2IGAN's image encoder"
# Not in the weights: what the published data script makes of a recording.
AUDIO = AudioConfig(sample_rate=22050, window=0.025, hop=0.010, log_floor=1e-6, cmvn=True)


def read_speech_encoder(weights: Weights) -> SpeechEncoder:
    """CNN_RNN_ENCODER, with every size taken off its weights; strides are the published 2."""
    convolutions = weights.count("Conv{}.weight", 1)
    shapes = [weights.shape(f"Conv{i + 1}.weight", 3) for i in range(convolutions)]
    if len({shape[2] for shape in shapes}) != 1:
        raise InputError(
            f"expected convolutions of one kernel in {weights.origin},"
            f" found {[shape[2] for shape in shapes]}: another version of S2IGAN's speech encoder"
        )
    for i in range(convolutions):
        weights.move(f"Conv{i + 1}", f"convolutions.{i}")
        weights.move(f"bnorm{i + 1}", f"norms.{i}")
    hidden, layers = move_recurrent(weights, "rnn", "recurrent", gates=3)
    attention = weights.shape("att.att_heads.0.hidden.weight", 2)[0]
    weights.move("att.att_heads.0", "pooling.attention")
    config = SpeechEncoderConfig(
        channels=tuple(shape[0] for shape in shapes),
        kernel=shapes[0][2],
        stride=2,
        activation="none",
        cell="gru",
        hidden_dim=hidden,
        layers=layers,
        pooling="attention",
        attention_dim=attention,
        normalize="l2",
    )
    return weights.build(lambda: SpeechEncoder(config, replace(AUDIO, mel_bins=shapes[0][1])))


def read_relation(weights: Weights) -> RelationSupervisor:
    """RS, with every size taken off its weights."""
    hidden, inputs = weights.shape("L1.weight", 2)
    outputs = weights.shape("L2.weight", 2)[0]
    for published, ours in (("L1", 0), ("b1", 1), ("L2", 3)):
        weights.move(published, f"layers.{ours}")
    return weights.build(lambda: RelationSupervisor(inputs // 2, hidden, outputs))


def read_image_encoder(weights: Weights) -> PretrainedImageEncoder:
    """LINEAR_ENCODER: a layer over Inception-v3, which torchvision has; it knows no regions."""
    embedding, pooled = weights.shape("L1.weight", 2)
    config = ImageEncoderConfig(
        kind="inception_v3", input_size=299, normalize="l2", input_normalization="symmetric"
    )
    kind = KINDS[config.kind]
    if pooled != kind.channels:
        raise InputError(
            f"expected a layer over the {kind.channels} numbers of Inception-v3 in {weights.origin}, found"
            f" one over {pooled}: it is of another network"
        )
    weights.move("L1", "globe")
    weights.add({"region.weight": torch.zeros(embedding, kind.region_channels, 1, 1)})
    weights.add({"fingerprint": torch.zeros(32, dtype=torch.uint8)})  # of nothing: any weights will do
    return weights.build(lambda: PretrainedImageEncoder(config, embedding))


def speech_path(networks: dict[str, Weights]) -> GenerationPath:
    """A path from speech: a generator that generates from the embeddings of S2IGAN's speech encoder."""
    encoder = read_speech_encoder(networks[SPEECH_ENCODER])
    mels = encoder.convolutions[0].in_channels
    config, image_encoder = Config(audio=replace(AUDIO, mel_bins=mels), speech_encoder=encoder.config), None
    if IMAGE_ENCODER in networks:
        image_encoder = read_image_encoder(networks[IMAGE_ENCODER])
        config = replace(config, image_encoder=image_encoder.config)
    generator, names = (
        read_generator(networks["generator"]),
        {"encoder": SPEECH_ENCODER, "image": IMAGE_ENCODER},
    )
    return make_path(config, generator, encoder, origins_of(networks, names), image_encoder=image_encoder)


def read_s2igan(files: Sequence[Path]) -> GenerationPath:
    """The path from speech: generator and speech encoder (.pth); with the image encoder (.pth) too, images
    can be searched.

    Raises InputError where one of the two is missing, twice there, or of another system.
    """
    networks = read_networks("s2igan", files, [SPEECH_ENCODER, IMAGE_ENCODER])
    if SPEECH_ENCODER not in networks:
        raise InputError(
            f"expected S2IGAN's generator and speech encoder, found no speech encoder beside"
            f" {networks['generator'].origin}: add the .pth file of its audio model"
        )
    return speech_path(networks)
