"""AttnGAN (Xu et al., CVPR 2018): text encoder, generator, captions.pickle, and image encoder for search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from s2i.config import Config
from s2i.config_networks import ImageEncoderConfig, TextEncoderConfig
from s2i.errors import InputError
from s2i.inference.path import GenerationPath
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import PretrainedNetwork
from s2i.models.text_encoder import TextEncoder
from s2i.published.files import read_networks
from s2i.published.paths import make_path, origins_of
from s2i.published.recurrent import move_recurrent
from s2i.published.stacked import read_generator
from s2i.published.vocabulary import read_vocabulary
from s2i.published.weights import Weights
from s2i.runs.pretrained_weights import fingerprint

TEXT_ENCODER, IMAGE_ENCODER = "AttnGAN's text encoder", "AttnGAN's image encoder"
VOCABULARIES = (".pickle", ".pkl", ".txt")
WORDS = 25  # of a caption in the published evaluation; training reads 18


def read_text_encoder(weights: Weights) -> TextEncoder:
    """RNN_ENCODER, with every size taken off its weights: words, embedding, units, layers."""
    words, embedding = weights.shape("encoder.weight", 2)
    weights.move("encoder", "embedding")
    hidden, layers = move_recurrent(weights, "rnn", "recurrent", gates=4)
    config = TextEncoderConfig(
        max_words=WORDS,
        embedding_dim=embedding,
        dropout=0.5,
        hidden_dim=hidden,
        layers=layers,
        pooling="last",
        normalize="none",
    )
    return weights.build(lambda: TextEncoder(config, words))


def read_image_encoder(weights: Weights) -> PretrainedImageEncoder:
    """CNN_ENCODER: two layers over Inception-v3, whose statistics drifted in training and are its own."""
    embedding = weights.shape("emb_features.weight", 4)[0]
    config = ImageEncoderConfig(
        kind="inception_v3",
        input_size=299,
        normalize="none",
        input_normalization="symmetric",
        weights=weights.origin,
    )
    weights.move("emb_features", "encoder.region")
    weights.move("emb_cnn_code", "encoder.globe")
    weights.add({"encoder.fingerprint": torch.zeros(32, dtype=torch.uint8)})
    for layer in dict.fromkeys(key.partition(".")[0] for key in weights):
        weights.move(layer, f"backbone.network.{layer}")

    def make() -> nn.ModuleDict:
        backbone = PretrainedNetwork(config.kind, config.input_size, config.input_normalization)
        return nn.ModuleDict({"encoder": PretrainedImageEncoder(config, embedding), "backbone": backbone})

    encoder, backbone = weights.build(make).values()
    encoder.use_backbone(backbone)
    encoder.fingerprint.copy_(fingerprint(backbone))
    return encoder


def read_attngan(files: Sequence[Path]) -> GenerationPath:
    """The path from text: generator and text encoder (.pth), vocabulary (captions.pickle, or words in .txt);
    with the image encoder (.pth) too, images can be searched.

    Raises InputError where one of the first three is missing, or one twice there or of another system.
    """
    lists = [path for path in files if path.suffix.lower() in VOCABULARIES]
    networks = read_networks(
        "attngan", [path for path in files if path not in lists], [TEXT_ENCODER, IMAGE_ENCODER]
    )
    if TEXT_ENCODER not in networks or len(lists) != 1:
        problem = "no text encoder" if TEXT_ENCODER not in networks else f"{len(lists)} vocabularies"
        raise InputError(
            f"expected AttnGAN's generator, text encoder and one vocabulary, found {problem}"
            f" beside {networks['generator'].origin}: give .pth files and captions.pickle or a .txt file"
        )
    encoder = read_text_encoder(networks[TEXT_ENCODER])
    config, image_encoder = Config(modality="text", text_encoder=encoder.config), None
    if IMAGE_ENCODER in networks:
        image_encoder = read_image_encoder(networks[IMAGE_ENCODER])
        config = replace(config, image_encoder=image_encoder.config)
    vocabulary = read_vocabulary(lists[0], encoder.embedding.num_embeddings)
    generator, names = (
        read_generator(networks["generator"]),
        {"encoder": TEXT_ENCODER, "image": IMAGE_ENCODER},
    )
    return make_path(config, generator, encoder, origins_of(networks, names), vocabulary, image_encoder)
