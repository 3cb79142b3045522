"""A speech encoder as one half of an autoencoder (Chen et al. 2017, S2I-A): its other half and its loss."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from s2i.config import Config
from s2i.data.batches import evaluation_batches
from s2i.data.pack import Pack
from s2i.models.build import build_speech_generator
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from s2i.models.interfaces import CaptionEncoder, SpeechGenerator

DEVIATIONS = 4.0  # what is normalised (CMVN) is decoded within so many
LOUDEST = 8.0  # nats, of log-mels that are not: the power of a full-scale tone stays below


def build_decoder(config: Config, embedding_dim: int) -> SpeechGenerator:
    """A generator of speech that decodes a sentence embedding into what the encoder reads, normalised or not
    as `audio.cmvn` says; it takes no noise."""
    decoder = build_speech_generator(config, embedding_dim)
    normalised = config.audio.cmvn
    least = -DEVIATIONS if normalised else log(config.audio.log_floor)
    decoder.scale.set_range(least, DEVIATIONS if normalised else LOUDEST)
    return decoder


def autoencoding_loss(
    decoder: SpeechGenerator, encoding: CaptionEncoding, mels: Tensor, lengths: Tensor
) -> Tensor:
    """Mean absolute difference of recordings and what is decoded from their sentences, in a scale of [-1, 1];
    over the frames that a recording has, as far as the decoder's reach.

    Args:
        mels: (B, M, T), what the encoder read; lengths: (B,) valid frames.
    """
    return _errors(decoder, encoding, mels, lengths).mean()


@torch.no_grad()
def autoencoding_errors(
    encoder: CaptionEncoder, decoder: SpeechGenerator, pack: Pack, config: Config
) -> dict[str, Tensor]:
    """The loss of every recording of a pack, as "autoencoding_error": (N,)."""
    device = next(encoder.parameters()).device
    usable = pack.usable("speech")
    usable = usable[pack.mel_lengths[usable] >= encoder.shortest()]
    errors = []
    for batch in evaluation_batches(pack, usable, config.matching.batch_size, "speech"):
        batch = batch.to(device)
        encoding = encoder(batch.mels, batch.mel_lengths)
        errors.append(_errors(decoder, encoding, batch.mels, batch.mel_lengths).cpu())
    return {"autoencoding_error": torch.cat(errors)}


def _errors(decoder: SpeechGenerator, encoding: CaptionEncoding, mels: Tensor, lengths: Tensor) -> Tensor:
    """Of each recording: (B,)."""
    noise = [torch.zeros_like(each).to(mels) for each in decoder.sample_noise([""] * len(mels), 0)]
    decoded = decoder.scale.to_unit(decoder(encoding, *noise))
    frames = min(decoder.frames, mels.shape[2])
    wanted = decoder.scale.to_unit(mels[..., :frames].float())
    mask = length_mask(lengths, frames).unsqueeze(1)  # padding is not decoded
    differences = (decoded[..., :frames] - wanted).abs() * mask
    return differences.sum((1, 2)) / (mask.sum((1, 2)) * mels.shape[1])  # |decoder(f(s)) - s|
