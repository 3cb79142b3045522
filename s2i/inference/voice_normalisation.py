"""Reading a recording as if its speaker's vocal tract had another length, where the model knows that better.

Vocal tract length normalisation (Lee and Rose, 1996): a warp of the frequency axis for each utterance, the
one of greatest likelihood. Recognisers ask their acoustic model; here the likelihood is that of the sentence
embedding under the Gaussian of the training's (`s2i.metrics.domain`), so nothing is trained for it.
Departures: normalised log-mels are warped, whose bins are interpolated, in place of spectra, and normalised
again; and the encodings under all warps are averaged, each as likely as it is, since a choice between two
that are about as likely would turn with a little noise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.data.audio import LEAST_DEVIATION
from s2i.data.augment.frequency import vocal_tract_warp
from s2i.data.mel_spectrum import mel_edges
from s2i.metrics.domain import Domain
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from s2i.models.interfaces import CaptionEncoder

FACTORS = (0.76, 0.82, 0.88, 0.94, 1.06, 1.12, 1.18, 1.24)  # of the vocal tract's length, besides 1
# A warp's weight falls by e for so much more squared distance from training's recordings, in units of the
# domain's threshold. The recording as it is counts as so much nearer, for most voices need no warp.
TEMPERATURE = 0.1
FAVOUR = 0.9


def can_normalise(audio: AudioConfig) -> bool:
    """Whether a front end gives what can be warped: log-mels, normalised over the utterance."""
    return audio.front_end == "log_mel" and audio.cmvn


def encode_normalised(
    encoder: CaptionEncoder, domain: Domain, audio: AudioConfig, log_mels: Tensor, lengths: Tensor
) -> CaptionEncoding:
    """Encode each recording under the warps that bring it near to those of training, averaged.

    Each row is a function of its own recording alone.

    Args:
        encoder: in evaluation mode.
        domain: of its embeddings of the training's recordings.
        audio: settings of the log-mels, for which `can_normalise` holds.
        log_mels: (B, M, T) normalised, 0 after a recording's end; lengths: (B,) frames.
    """
    warped = _normalised(_warps(audio).to(log_mels)[:, None] @ log_mels, lengths)  # (factors, B, M, T)
    views = torch.cat([log_mels[None], warped])
    encodings = encoder(views.flatten(0, 1), lengths.repeat(len(views)))
    distance = domain.distance(encodings.sentence).view(len(views), -1)
    distance[0] *= FAVOUR
    weights = (-distance.square() / TEMPERATURE).softmax(0).to(log_mels)  # (1 + factors, B)
    sentences, sequences = (
        each.unflatten(0, (len(views), -1)) for each in (encodings.sentence, encodings.sequence)
    )
    mean = torch.einsum("vb,vbd->bd", weights, sentences)
    length = torch.einsum("vb,vb->b", weights, sentences.norm(dim=2))  # of a mean of vectors: less
    sequence = torch.einsum("vb,vbdt->bdt", weights, sequences)
    mask = encodings.mask[: len(lengths)]
    return CaptionEncoding(F.normalize(mean, dim=1) * length[:, None], sequence, mask)


@lru_cache(maxsize=4)
def _warps(audio: AudioConfig) -> Tensor:
    """(factors, M, M), which bins are multiplied with from the left."""
    edges = mel_edges(audio.sample_rate, audio.mel_bins)
    matrices = [vocal_tract_warp(factor, edges[1:-1], audio.sample_rate / 2).T for factor in FACTORS]
    return torch.from_numpy(np.stack(matrices))


def _normalised(log_mels: Tensor, lengths: Tensor) -> Tensor:
    """CMVN over the valid frames, 0 after them: (..., B, M, T) -> the same."""
    valid = length_mask(lengths, log_mels.shape[-1]).unsqueeze(1)
    count = lengths[:, None, None]
    centred = (log_mels - log_mels.mul(valid).sum(-1, keepdim=True) / count) * valid
    deviation = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp(min=LEAST_DEVIATION)
