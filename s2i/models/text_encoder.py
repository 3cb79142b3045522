"""Text encoder: tokens -> BiLSTM (AttnGAN's)."""

from __future__ import annotations

from torch import Tensor, nn

from s2i.config_networks import TextEncoderConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.recurrent import Bidirectional, Pooling


class TextEncoder(nn.Module):
    """Tokens (B, T), 0 = padding -> CaptionEncoding with D = 2 * hidden."""

    def __init__(self, config: TextEncoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding_dim = 2 * config.hidden_dim
        self.embedding = nn.Embedding(vocabulary, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = Bidirectional(
            nn.LSTM, config.embedding_dim, config.hidden_dim, config.layers, config.dropout
        )
        self.pooling = Pooling(config.pooling, 2 * config.hidden_dim, config.attention_dim, config.normalize)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)  # AttnGAN

    def forward(self, tokens: Tensor, lengths: Tensor) -> CaptionEncoding:
        """Encode padded tokens: (B, T) int64, (B,) int64 with each at least 1."""
        embedded = self.dropout(self.embedding(tokens))
        states, final, mask = self.recurrent(embedded, lengths)
        sentence = self.pooling(states, final, mask)
        return CaptionEncoding(sentence, states.transpose(1, 2), mask)
