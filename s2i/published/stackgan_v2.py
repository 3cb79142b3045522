"""StackGAN-v2 (Zhang et al., TPAMI 2018): a generator, whose captions somebody else encodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2i.config import Config
from s2i.config_networks import TextEncoderConfig
from s2i.inference.path import GenerationPath
from s2i.published.files import read_networks
from s2i.published.paths import make_path
from s2i.published.s2igan import SPEECH_ENCODER, speech_path
from s2i.published.stacked import read_generator


def read_stackgan_v2(files: Sequence[Path]) -> GenerationPath:
    """The path from speech, of a generator trained on S2IGAN's embeddings and its speech encoder (.pth each).

    The authors' own generators generate from char-CNN-RNN embeddings of text, whose encoder was never a
    PyTorch
    file: a generator alone makes a path without an encoder, which generates from embeddings that are at hand.
    Raises InputError for weights of another system.
    """
    networks = read_networks("stackgan-v2", files, [SPEECH_ENCODER])
    if SPEECH_ENCODER in networks:
        return speech_path(networks)
    generator = read_generator(networks["generator"])
    # No encoder: of its configuration the width of an embedding alone is read.
    width = TextEncoderConfig(hidden_dim=generator.augmentation.linear.in_features // 2)
    origins = {"generator": networks["generator"].origin}
    return make_path(Config(modality="text", text_encoder=width), generator, None, origins)
