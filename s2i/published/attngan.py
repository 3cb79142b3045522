"""AttnGAN (Xu et al., CVPR 2018): text encoder, generator and captions.pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2i.config import Config, TextEncoderConfig
from s2i.errors import InputError
from s2i.models.text_encoder import TextEncoder
from s2i.pipeline import DrawingPath
from s2i.published.paths import make_path
from s2i.published.recurrent import move_recurrent
from s2i.published.stacked import read_generator
from s2i.published.vocabulary import read_vocabulary
from s2i.published.weights import Weights, read_parts

TEXT_ENCODER = "AttnGAN's text encoder"
VOCABULARIES = (".pickle", ".pkl", ".txt")
WORDS = 25  # of a caption in the published evaluation; training reads 18


def read_text_encoder(weights: Weights) -> TextEncoder:
    """RNN_ENCODER, with every size taken off its weights: words, embedding, units, layers."""
    words, embedding = weights.shape("encoder.weight", 2)
    weights.move("encoder", "embedding")
    hidden, layers = move_recurrent(weights, "rnn", "recurrent", gates=4)
    config = TextEncoderConfig(words=WORDS, embedding=embedding, hidden=hidden, layers=layers)
    return weights.build(lambda: TextEncoder(config, words))


def read_attngan(files: Sequence[Path]) -> DrawingPath:
    """The path from text: generator and text encoder (.pth), vocabulary (captions.pickle, or words in .txt).

    Raises InputError where one of the three is missing, twice there, or of another system.
    """
    lists = [path for path in files if path.suffix.lower() in VOCABULARIES]
    parts = read_parts("attngan", [path for path in files if path not in lists], [TEXT_ENCODER])
    if TEXT_ENCODER not in parts or len(lists) != 1:
        found = "no text encoder" if TEXT_ENCODER not in parts else f"{len(lists)} vocabularies"
        raise InputError(
            f"expected AttnGAN's generator, text encoder and one vocabulary, found {found} beside"
            f" {parts['generator'].origin}: give the .pth files of both, and captions.pickle or a .txt file"
        )
    encoder = read_text_encoder(parts[TEXT_ENCODER])
    return make_path(
        Config(modality="text", text_encoder=encoder.config),
        read_generator(parts["generator"]),
        encoder,
        {"generator": parts["generator"].origin, "encoder": parts[TEXT_ENCODER].origin},
        read_vocabulary(lists[0], encoder.embedding.num_embeddings),
    )
