"""Google's speech embedding as front end, `audio.front_end=s2i.data.speech_embedding:SpeechEmbedding`.

The network under openWakeWord's detectors, trained to tell spoken keywords from each other (Lin et al. 2020,
"Training keyword spotters with limited and synthesized speech data"). It and the mel spectrum that it reads
are two ONNX files of the package `openwakeword`, of which nothing else is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.config_data import AudioConfig
from s2i.errors import InputError
from s2i.files.packaged_file import PackagedFile

_FOLDER = "openwakeword/resources/models"
_PACKAGE = ("openwakeword", "--no-deps openwakeword==0.4.0")  # later ones have another file, or none
MEL_SPECTRUM = PackagedFile(
    "openWakeWord's mel spectrum",
    *_PACKAGE,
    f"{_FOLDER}/melspectrogram.onnx",
    "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
)
EMBEDDING = PackagedFile(
    "Google's speech embedding",
    *_PACKAGE,
    f"{_FOLDER}/embedding_model.onnx",
    "ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51",
)
FRAME, FRAME_HOP = 512, 160  # samples of one mel frame, and from one to the next
FRAMES, FRAMES_HOP = 76, 8  # mel frames of one embedding, and from one to the next
SAMPLES = FRAME + (FRAMES - 1) * FRAME_HOP  # .782 s
FULL_SCALE = 32767  # it was trained on samples of 16 bits


class SpeechEmbedding:
    """96 numbers each 80 ms, of the .782 s around each: a front end as `s2i.data.front_end.FrontEnd` says.

    Published code gives no embedding for the first and last .39 s; here silence is put around the recording,
    so that its steps are those of a log-mel of this hop and a short word has some too.

    Raises InputError without onnx and onnxruntime, or without the package's files.
    """

    sample_rate = 16000
    mel_bins = 96
    window = FRAME / 16000
    hop = FRAME_HOP * FRAMES_HOP / 16000

    def __init__(self, config: AudioConfig) -> None:
        if config.layer or config.weights or config.sha256:
            raise ValueError("no audio.layer, audio.weights or audio.sha256: its files are known by hash")
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"expected onnx and onnxruntime for the speech embedding, found no {error.name}:"
                " pip install -e '.[onnx]'"
            ) from error
        self.mel_spectrum = _session(MEL_SPECTRUM.find().read_bytes())
        self.embedding = _session(_of_any_length(EMBEDDING.find()))

    def __call__(self, waveform: Tensor) -> Tensor:
        """(N,) in [-1, 1] -> float32 (1 + N // 1280, 96), step t around sample 1280 t."""
        padded = F.pad(waveform.to("cpu", torch.float32), (SAMPLES // 2, SAMPLES // 2)) * FULL_SCALE
        (decibels,) = self.mel_spectrum.run(None, {"input": padded[None].numpy()})  # (1, 1, frames, 32)
        # To the range of Google's own spectrum, as openWakeWord does.
        mel = (decibels / 10 + 2).transpose(0, 2, 3, 1)
        (embeddings,) = self.embedding.run(None, {"input_1": mel})  # (1, 96, T, 1)
        return torch.from_numpy(np.ascontiguousarray(embeddings[0, :, :, 0].T))


def _of_any_length(path: Path) -> bytes:
    """The network with its shape freed: 76 frames to one embedding -> all frames to all embeddings.

    No convolution pads time and the pools divide by 8 together, so each embedding stays what it was, bit for
    bit, in an eighth of the time that overlapping windows take.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    to_channels_first, to_one_vector = [node for node in graph.node if node.op_type == "Reshape"]
    shape = np.array([0, 1, -1, 34], np.int64)  # batch as it is, channel, frames, bins with a zero each side
    target = next(each for each in graph.initializer if each.name == to_channels_first.input[1])
    target.CopyFrom(onnx.numpy_helper.from_array(shape, target.name))
    graph.input[0].type.tensor_type.shape.dim[1].dim_param = "frames"
    unused = next(each for each in graph.initializer if each.name == to_one_vector.input[1])
    maps = onnx.helper.make_tensor_value_info(to_one_vector.input[0], onnx.TensorProto.FLOAT, None)
    graph.node.remove(to_one_vector)
    graph.initializer.remove(unused)
    graph.output[0].CopyFrom(maps)
    return model.SerializeToString()


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # packing has processes
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
