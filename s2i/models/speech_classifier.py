"""A network that names the class of a recording, and only scores."""

from __future__ import annotations

from torch import Tensor, nn

from s2i.models.interfaces import CaptionEncoder


class SpeechClassifier(nn.Module):
    """A speech encoder of any kind, and a linear layer over its sentence."""

    def __init__(self, encoder: CaptionEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.embedding_dim, classes)

    def forward(self, mels: Tensor, lengths: Tensor) -> Tensor:
        """What the encoder reads, (B, M, T) and (B,) valid frames -> logits (B, classes)."""
        return self.head(self.encoder(mels, lengths).sentence).float()
