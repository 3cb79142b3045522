"""The Inception networks that published figures are made with: three files, three ways to resize.

"inception": torch-fidelity's port of the 2015 graph, which follows TensorFlow's numbers. "clean": the same
graph as TorchScript with clean-fid's antialiased resize. "imagenet": torchvision's network, on whose features
S2IGAN's mAP is computed. Each comes from its own download, into torch's cache where the libraries themselves
look for it, or from `--inception-weights PATH`: a file, or a folder of them under their own names.
"""

from __future__ import annotations

import importlib
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from s2i.config import ImageEncoderConfig
from s2i.data.images import to_uint8
from s2i.errors import InputError
from s2i.evaluation.extractors import FEATURES, Extractor
from s2i.files.atomic import sha256_of
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.progress import say
from s2i.runs.pretrained_weights import connect, require_backbone

LOGITS = "logits"
DOWNLOAD = "download"  # as evaluation.inception_weights
_SIDE = 299  # px
_PATIENCE = 20.0  # s without an answer of the other side


@dataclass(frozen=True)
class Published:
    """A file of weights. `digest`: the first digits of its sha256."""

    file: str
    url: str
    digest: str
    classes: int  # rows of its last layer; 0: TorchScript, which is not looked into
    package: str  # the library that it goes with, and that of `pip install`
    distribution: str


PUBLISHED = {
    "inception": Published(
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        "6726825d",
        1008,
        "torch_fidelity",
        "torch-fidelity",
    ),
    "clean": Published(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        0,
        "cleanfid",
        "clean-fid",
    ),
    "imagenet": Published(
        "inception_v3_google-0cc3c7bd.pth",
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
        1000,
        "torchvision",
        "torchvision",
    ),
}


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
    path = _download(published) if weights == DOWNLOAD else _find(name, Path(weights))
    try:
        made = _MAKERS[name](path, torch.device(device))
    except (RuntimeError, KeyError, AttributeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(
            f"expected weights for {name} as in {published.file}, found others in {path}"
            f" ({' '.join(str(error).split())[:120]}): fetch {published.url}"
        ) from error
    network, resize, outputs, look = made
    digest = sha256_of(path)
    if not digest.startswith(published.digest):
        network += f", weights of {path.name} instead of the published ones"
    return Extractor(name, network, digest[:12], resize, outputs, look)


def library(name: str) -> ModuleType:
    """The library that one of the networks goes with. Raises InputError where it is not installed."""
    published = PUBLISHED[name]
    try:
        return importlib.import_module(published.package)
    except ImportError as error:
        raise InputError(
            f"expected {published.distribution} for the {name} network, found it not installed:"
            " pip install -e '.[eval]', or leave its protocols out"
        ) from error


_Made = tuple[str, str, dict[str, int], Callable[[Tensor], dict[str, Tensor]]]


def _make_inception(path: Path, device: torch.device) -> _Made:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The library reads the file with a loader that would run code; a file that passes this one has none.
    torch.load(path, map_location="cpu", weights_only=True)
    outputs = {FEATURES: 2048, LOGITS: 1008}
    layers = ["2048", "logits_unbiased"]
    with torch.random.fork_rng(devices=[]):
        network = FeatureExtractorInceptionV3("inception-v3-compat", layers, str(path)).to(device)

    def look(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            found = network(_bytes(images).to(device))
        return {name: values.float().cpu() for name, values in zip(outputs, found, strict=True)}

    return "torch-fidelity's inception-v3-compat", "TensorFlow 1's bilinear to 299 px", outputs, look


def _make_clean(path: Path, device: torch.device) -> _Made:
    from cleanfid.resize import build_resizer

    network = torch.jit.load(path, map_location=device).eval()
    layers = network.layers  # without the resize that is inside
    resize = build_resizer("clean")

    def look(images: Tensor) -> dict[str, Tensor]:
        larger = [torch.from_numpy(resize(image.permute(1, 2, 0).numpy())) for image in _bytes(images).cpu()]
        batch = torch.stack(larger).permute(0, 3, 1, 2).to(device)
        with torch.no_grad():
            return {FEATURES: layers((batch - 128) / 128).flatten(1).float().cpu()}

    return (
        "clean-fid's inception_v3",
        "PIL's antialiased bicubic to 299 px, not rounded",
        {FEATURES: 2048},
        look,
    )


def _make_imagenet(path: Path, device: torch.device) -> _Made:
    config = ImageEncoderConfig(kind="inception_v3", input_size=_SIDE, weights=str(path))
    with torch.random.fork_rng(devices=[]):
        network = connect(PretrainedImageEncoder(config, embedding=1), config).to(device)
    require_backbone(network)

    def look(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {FEATURES: network.look(images.to(device))[0].float().cpu()}

    return "torchvision's inception_v3", "antialiased bilinear to 299 px", {FEATURES: 2048}, look


_MAKERS = {"inception": _make_inception, "clean": _make_clean, "imagenet": _make_imagenet}


def _bytes(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> uint8 of the same layout."""
    return torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2).contiguous()


def _download(published: Published) -> Path:
    """The published file in torch's cache; fetched and checked where it isn't there yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching {published.url}")
        with _patience(_PATIENCE):
            torch.hub.download_url_to_file(published.url, str(path), published.digest, progress=False)
    except (OSError, RuntimeError, ValueError) as error:  # no way there, another hash, no answer
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise InputError(
            f"expected to fetch {published.url}, found: {reason}: fetch it elsewhere and give"
            f" --inception-weights PATH (sha256 {published.digest[:8]}...); classifier-based protocols"
            f" need none"
        ) from error
    return path


def _find(name: str, given: Path) -> Path:
    """The file for a network out of what `--inception-weights` names."""
    published = PUBLISHED[name]
    if given.is_dir():
        path = given / published.file
        if not path.is_file():
            raise InputError(
                f"expected {published.file} for {name} in {given}, found none: fetch {published.url}"
            )
        return path
    if not given.is_file():
        raise InputError(f"expected Inception weights, found no file at {given}: fetch {published.url}")
    if _kind(given) != name:
        raise InputError(
            f"expected weights for {name} as in {published.file}, found another network's in {given}:"
            " give a folder that holds each file under its own name"
        )
    return given


def _kind(path: Path) -> str:
    """Whose weights a file holds, by the size of its last layer; TorchScript is clean-fid's."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        classes = len(state["fc.weight"])
    except (RuntimeError, KeyError, TypeError, IndexError, pickle.UnpicklingError, EOFError):
        classes = 0
    return next((name for name, published in PUBLISHED.items() if published.classes == classes), "")


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
