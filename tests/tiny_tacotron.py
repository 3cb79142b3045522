"""A Tacotron2 with WaveRNN or Griffin-Lim as torchaudio's pipelines have them, but of a few units."""

from __future__ import annotations

from pathlib import Path

import torch
from torchaudio.models import Tacotron2, WaveRNN
from torchaudio.pipelines._tts import impl

TACOTRON2 = {
    "mask_padding": False, "n_mels": 80, "n_symbol": 38, "n_frames_per_step": 1, "symbol_embedding_dim": 8,
    "encoder_embedding_dim": 8, "encoder_n_convolution": 1, "encoder_kernel_size": 5, "decoder_rnn_dim": 8,
    "decoder_max_step": 24, "decoder_dropout": 0.1, "decoder_early_stopping": True, "attention_rnn_dim": 8,
    "attention_hidden_dim": 8, "attention_location_n_filter": 2, "attention_location_kernel_size": 3,
    "attention_dropout": 0.1, "prenet_dim": 8, "postnet_n_convolution": 1, "postnet_kernel_size": 5,
    "postnet_embedding_dim": 8, "gate_threshold": 0.5,
}  # fmt: skip
WAVERNN = {
    "upsample_scales": [2, 3], "n_classes": 256, "hop_length": 6, "n_res_block": 1, "n_rnn": 8, "n_fc": 8,
    "kernel_size": 5, "n_freq": 80, "n_hidden": 8, "n_output": 8,
}  # fmt: skip


def tiny_pipeline(vocoder: str = "griffinlim"):
    """A bundle of torchaudio's own class over a tiny network."""
    arguments = {"_tacotron2_path": "tiny-tacotron2.pth", "_tacotron2_params": TACOTRON2}
    if vocoder == "griffinlim":
        return impl._Tacotron2GriffinLimCharBundle(**arguments)
    wavernn = {"_wavernn_path": "tiny-wavernn.pth", "_wavernn_params": WAVERNN}
    return impl._Tacotron2WaveRNNCharBundle(**arguments, **wavernn)


def write_tiny_weights(folder: Path) -> list[str]:
    """Files of random weights: Tacotron2's, whose sentences all take 24 frames, and WaveRNN's."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        tacotron2, wavernn = Tacotron2(**TACOTRON2), WaveRNN(**WAVERNN)
        with torch.no_grad():  # the gate never opens: each sentence takes all frames
            tacotron2.decoder.gate_layer.bias.fill_(-20)
    torch.save(tacotron2.state_dict(), folder / "my-tacotron2.pth")
    torch.save(wavernn.state_dict(), folder / "my-wavernn.pth")
    return [str(folder / "my-tacotron2.pth"), str(folder / "my-wavernn.pth")]
