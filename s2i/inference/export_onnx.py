"""The `export-onnx` command: the path from speech of a model as one ONNX file, which needs no PyTorch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import check_output_file, say_replaced
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.inference.speech_to_image import SpeechToImage
from s2i.progress import say

TOLERANCE = 1 / 255  # between the images of both: half of a step of a channel's 256, over [-1, 1]
SECONDS, IMAGES = 3.0, 2  # of the example that is traced; both are free in the file
CHECKED = ((1.7, 1), (4.1, 3))  # other seconds and numbers of images, on which the file is tried


def export_onnx(model: str | Path, output: str | Path) -> float:
    """Write one file: waveform (1, N) and noise (K, ...) to images (K, 3, S, S), with the log-mel inside.

    What a recording passes before that, resampling, level and silence, is `s2i.data.audio.load_waveform`. The
    file's metadata have the sample rate in Hz as `sample_rate`. It is run by onnxruntime before it is
    written, on noise of two other lengths.

    Returns:
        The largest difference of its images, in [-1, 1], to PyTorch's.

    Raises:
        InputError: no onnx, onnxscript or onnxruntime, a model without a path from speech, networks that
            can't be exported (an encoder with `max_pools`, whose lengths torch.export takes for constants) or
            give other images there.
    """
    output = Path(output)
    if output.suffix != ".onnx":
        raise InputError(f"expected a file that ends in .onnx, found {output}: name it so")
    check_output_file(output)
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (which torch.onnx needs, as it does onnx)
    except ImportError as error:
        raise InputError(
            f"expected onnx, onnxscript and onnxruntime, found no {error.name}: pip install -e '.[onnx]'"
        ) from error
    path = load(model, "cpu", only="speech").path("speech").hearing(normalised=False)  # as the graph does
    if path.encoder is None:
        raise InputError(f"expected a model with a speech encoder in {model}, found none: give another")
    network = SpeechToImage(path).eval().requires_grad_(False)
    content = _traced(network, path, model)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = float(np.max([_difference(session, path, *size) for size in CHECKED]))
    if not difference <= TOLERANCE:  # or no number
        raise InputError(
            f"expected the same images of {model} in ONNX, found them {difference:.3g} apart, more than"
            f" {TOLERANCE:.3g}: this model can't be exported"
        )
    say_replaced(output)
    with write_atomically(output, "wb") as stream:
        stream.write(content)
    say(f"{output}: {len(content) / 1e6:.2f} MB; its images are at most {difference:.1g} from PyTorch's")
    return difference


def _traced(network: SpeechToImage, path: GenerationPath, model: str | Path) -> bytes:
    inputs = _example(path, SECONDS, IMAGES)
    names = ["waveform", *(f"noise_{number}" for number in range(len(inputs) - 1))]
    audio = path.config.audio
    least = int(audio.sample_rate * (audio.window + path.encoder.shortest() * audio.hop))
    length, count = torch.export.Dim("samples", min=least), torch.export.Dim("images", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            program = torch.onnx.export(
                network,
                inputs,
                input_names=names,
                output_names=["images"],
                dynamic_shapes=({1: length}, tuple({0: count} for _ in names[1:]))[: len(names)],
                custom_translation_table=_translations(),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter has many, for what a network of another package does
        messages = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"expected networks that ONNX has the operations of in {model}, found: {messages[0][:160]}:"
            " this model can't be exported"
        ) from error
    program.model.metadata_props.update(
        sample_rate=str(audio.sample_rate),
        noise=json.dumps(
            {name: list(value.shape[1:]) for name, value in zip(names[1:], inputs[1:], strict=True)}
        ),
        size=str(path.config.generated_size),
    )
    return program.model_proto.SerializeToString()


def _example(path: GenerationPath, seconds: float, count: int) -> tuple[torch.Tensor, ...]:
    """Noise of so many seconds as a waveform, and that of so many images."""
    samples = int(seconds * path.config.audio.sample_rate)
    waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(samples))
    return waveform, *path.generator.sample_noise([str(number) for number in range(count)], 0)


def _difference(session: Any, path: GenerationPath, seconds: float, count: int) -> float:
    """The largest between the images of the file and those of the path itself."""
    inputs = _example(path, seconds, count)
    given = zip((node.name for node in session.get_inputs()), inputs, strict=True)
    try:
        (images,) = session.run(None, {name: value.numpy() for name, value in given})
    except Exception as error:  # onnxruntime's own, of shapes that it was not given
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(
            f"expected a file for recordings of any length, found: {reason}: this model can't be exported"
        ) from error
    encoding = path.encode_speech(list(inputs[0])).repeat(count)
    return float(np.abs(images - path.generator(encoding, *inputs[1:]).images[-1].numpy()).max())


def _translations() -> dict[Any, Any]:
    """The recurrent operators of `s2i.inference.speech_to_image` in ONNX's own."""
    from onnxscript import opset18 as op

    def translated(operator: Any, order: tuple[int, ...], **options: int) -> Any:
        def translate(inputs: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
            width = w_hh.shape[1]
            rows = [gate * width + row for gate in order for row in range(width)]

            def reordered(weights: Any) -> Any:  # torch's gates in ONNX's order, for one direction
                return op.Unsqueeze(op.Gather(weights, op.Constant(value_ints=rows)), [0])

            biases = op.Concat(reordered(b_ih), reordered(b_hh), axis=1)
            steps = op.Transpose(inputs, perm=[1, 0, 2])
            weights = (reordered(w_ih), reordered(w_hh), biases)
            states, *_ = operator(steps, *weights, hidden_size=width, **options)
            return op.Transpose(op.Squeeze(states, [1]), perm=[1, 0, 2])

        return translate

    # torch: reset, update, new of a GRU; input, forget, cell, output of an LSTM.
    return {
        # ONNX: update, reset, new; the reset gate acts on what the recurrent weights make, as in torch.
        torch.ops.s2i.gru.default: translated(op.GRU, (1, 0, 2), linear_before_reset=1),
        # ONNX: input, output, forget, cell.
        torch.ops.s2i.lstm.default: translated(op.LSTM, (0, 3, 1, 2)),
    }
