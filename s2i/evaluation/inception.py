"""The Inception networks that published figures are made with: three networks, three ways to resize.

"inception": torch-fidelity's port of the 2015 graph, which follows TensorFlow's numbers. "clean": the same
graph as TorchScript with clean-fid's antialiased resize. "imagenet": torchvision's network, on whose features
S2IGAN's mAP is computed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from s2i.config_networks import ImageEncoderConfig
from s2i.data.images import to_uint8
from s2i.errors import InputError
from s2i.evaluation.extractors import FEATURES, LOGITS, Extractor
from s2i.evaluation.inception_weights import PUBLISHED, library, weights_file
from s2i.files.atomic import sha256_of
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.runs.provenance import backbone_fingerprint

_SIDE = 299  # px


def inception_extractor(name: str, weights: str, device: torch.device | str = "cpu") -> Extractor:
    """One of the three networks.

    Args:
        name: "inception", "clean" or "imagenet".
        weights: "download", or a file or folder.

    Raises:
        InputError: the library is not installed, or the weights can't be had or are others.
    """
    published = PUBLISHED[name]
    library(name)
    path = weights_file(name, weights)
    try:
        network, described, resize, outputs, extract = _MAKERS[name](path, torch.device(device))
    except (RuntimeError, KeyError, AttributeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(
            f"expected weights for {name} as in {published.file}, found others in {path}"
            f" ({' '.join(str(error).split())[:120]}): fetch {published.url}"
        ) from error
    digest = sha256_of(path)
    if not digest.startswith(published.digest):
        described += f", weights of {path.name} instead of the published ones"
    weights = {backbone_fingerprint(network): described}
    return Extractor(name, described, digest[:12], resize, outputs, extract, weights)


_Made = tuple[nn.Module, str, str, dict[str, int], Callable[[Tensor], dict[str, Tensor]]]


def _make_inception(path: Path, device: torch.device) -> _Made:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The library reads the file with a loader that would run code; a file that passes this one has none.
    torch.load(path, map_location="cpu", weights_only=True)
    outputs = {FEATURES: 2048, LOGITS: 1008}
    layers = ["2048", "logits_unbiased"]
    with torch.random.fork_rng(devices=[]):
        network = FeatureExtractorInceptionV3("inception-v3-compat", layers, str(path)).to(device)

    def extract(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            features, logits = network(_bytes(images).to(device))
        return {FEATURES: features.float().cpu(), LOGITS: logits.float().cpu()}

    described, resize = "torch-fidelity's inception-v3-compat", "TensorFlow 1's bilinear to 299 px"
    return network, described, resize, outputs, extract


def _make_clean(path: Path, device: torch.device) -> _Made:
    from cleanfid.resize import build_resizer

    network = torch.jit.load(path, map_location=device).eval()
    layers = network.layers  # without the resize that is inside
    resize = build_resizer("clean")

    def extract(images: Tensor) -> dict[str, Tensor]:
        larger = [torch.from_numpy(resize(image.permute(1, 2, 0).numpy())) for image in _bytes(images).cpu()]
        batch = torch.stack(larger).permute(0, 3, 1, 2).to(device)
        with torch.no_grad():
            return {FEATURES: layers((batch - 128) / 128).flatten(1).float().cpu()}

    return (
        network,
        "clean-fid's inception_v3",
        "PIL's antialiased bicubic to 299 px, not rounded",
        {FEATURES: 2048},
        extract,
    )


def _make_imagenet(path: Path, device: torch.device) -> _Made:
    config = ImageEncoderConfig(kind="inception_v3", input_size=_SIDE, weights=str(path))
    with torch.random.fork_rng(devices=[]):
        network = connect(PretrainedImageEncoder(config, embedding=1), config).to(device)
    require_backbone(network)

    def extract(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {FEATURES: network.look(images.to(device))[0].float().cpu()}

    described, resize = "torchvision's inception_v3", "antialiased bilinear to 299 px"
    return network.backbone.network, described, resize, {FEATURES: 2048}, extract


_MAKERS = {"inception": _make_inception, "clean": _make_clean, "imagenet": _make_imagenet}


def _bytes(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> uint8 of the same layout."""
    return torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2).contiguous()
