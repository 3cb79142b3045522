"""The weights of the Inception networks: their files, where they are fetched and how they are found.

Each comes from its own download, into torch's cache where the libraries themselves look for it, or from
`--inception-weights PATH`: a file, or a folder of them under their own names.
"""

from __future__ import annotations

import importlib
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from s2i.errors import InputError
from s2i.progress import say

DOWNLOAD = "download"  # as evaluation.inception_weights
_TIMEOUT = 20.0  # s without an answer of the other side


@dataclass(frozen=True)
class Published:
    """A file of weights. `digest`: the first digits of its sha256."""

    file: str
    url: str
    digest: str
    classes: int  # rows of its last layer; 0: TorchScript, whose layers are not counted
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


def weights_file(name: str, weights: str) -> Path:
    """The file of one network.

    Args:
        name: out of PUBLISHED.
        weights: "download", or a file or folder.

    Raises InputError where it can't be had.
    """
    return fetch(PUBLISHED[name]) if weights == DOWNLOAD else _find(name, Path(weights))


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


def fetch(published: Published) -> Path:
    """The published file in torch's cache; fetched and checked where it isn't there yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching {published.url}")
        with _timeout(_TIMEOUT):
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
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
