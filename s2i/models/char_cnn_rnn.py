"""Char-CNN-RNN (Reed et al., CVPR 2016): characters through convolutions and a GRU, the text of GAN-INT-CLS.

Kernels, widths and the GRU of 18 steps are recalled from the name and the settings of the published weights
(`hybrid_gru18`, 512 channels, mean over the steps).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_networks import TextEncoderConfig
from s2i.models.caption_encoding import CaptionEncoding, length_mask, masked_mean
from s2i.models.widths import check_widths

CHARACTERS_PER_STEP = 9  # two poolings by 3


class CharCnnRnn(nn.Module):
    """Characters (B, T), 0 = padding -> CaptionEncoding with D = `width`.

    Every caption is laid out on `text_encoder.max_words` characters (201), so it depends on no other one. The
    mean goes over the steps that begin inside the caption; theirs over all, blank ones too.

    Args:
        channels: of the three convolutions, each of 4 characters or steps.
        hidden: of the GRU, in one direction.
        width: of the embedding: that of the image features it is trained on.
    """

    def __init__(
        self,
        config: TextEncoderConfig,
        vocabulary: int,
        channels: tuple[int, int, int] = (384, 512, 512),
        hidden: int = 512,
        width: int = 1024,
    ) -> None:
        super().__init__()
        if config.units != "characters":
            raise ValueError("text_encoder.units=characters")
        self.embedding_dim, self.longest, self.characters = width, config.max_words, vocabulary - 1
        self.steps = ((self.longest - 3) // 3 - 3) // 3 - 3
        if self.steps < 1:
            raise ValueError("text_encoder.max_words of 66 characters or more")
        if len(channels) != 3:
            raise ValueError(f"channels of three convolutions, not {list(channels)}")
        check_widths(channels=channels, hidden=hidden, width=width)
        widths = (self.characters, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, 4) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.recurrent = nn.GRU(channels[-1], hidden, batch_first=True)
        self.project = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, lengths: Tensor) -> CaptionEncoding:
        """Encode padded characters: (B, T) int64, (B,) int64 with each at least 1."""
        laid_out = F.pad(tokens, (0, self.longest - tokens.shape[1]))
        hidden = F.one_hot(laid_out, self.characters + 1)[..., 1:].transpose(1, 2)
        hidden = hidden.to(self.project.weight.dtype)
        for number, convolution in enumerate(self.convolutions):
            hidden = convolution(hidden).relu()
            if number < 2:
                hidden = F.max_pool1d(hidden, 3)
        states, _ = self.recurrent(hidden.transpose(1, 2))
        valid = (lengths + CHARACTERS_PER_STEP - 1) // CHARACTERS_PER_STEP
        mask = length_mask(valid.clamp(1, self.steps), self.steps)
        sentence = self.project(masked_mean(states, mask))  # phi(t)
        sequence = self.project(states) * mask.unsqueeze(2)
        return CaptionEncoding(sentence, sequence.transpose(1, 2), mask)
