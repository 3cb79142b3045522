"""Networks of torchaudio's pipelines: weights by its own download, or from a local file of the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from torch import nn

from s2i.errors import InputError


def load_network(get: Callable[..., nn.Module], what: str, file: str | Path = "") -> nn.Module:
    """What `get(dl_kwargs=...)`, a method of a torchaudio bundle, returns: on the CPU, in evaluation mode.

    Args:
        get: fetches a state dict by `torch.hub.load_state_dict_from_url`, which keeps what it downloaded.
        what: names the network in errors.
        file: the state dict to read instead.

    Raises:
        InputError: no such file, no way to download, or weights of another network.
    """
    options: dict[str, Any] = {"weights_only": True, "map_location": "cpu"}
    if file:
        path = Path(file).absolute()
        if not path.is_file():
            raise InputError(f"expected the weights of {what}, found no file at {path}: check the path")
        options |= {"model_dir": str(path.parent), "file_name": path.name}
    try:
        with redirect_stdout(sys.stderr):  # torch.hub prints what it downloads
            return get(dl_kwargs=options).eval()
    except OSError as error:  # URLError is one
        raise InputError(
            f"expected to download the weights of {what}, found: {error}: download them where there is a"
            " network and give the file"
        ) from error
    except Exception as error:  # whatever a wrong or torn file makes of torch.load and load_state_dict
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"expected the weights of {what} in {file or 'the file that torch.hub keeps'}, found: {reason}:"
            " get them again"
        ) from error


def find_bundle(name: str, kind: type, what: str) -> Any:
    """The bundle of `torchaudio.pipelines` with this name. Raises InputError for another name."""
    from torchaudio import pipelines

    bundle = getattr(pipelines, name, None)
    if not isinstance(bundle, kind):
        known = [known for known in pipelines.__all__ if isinstance(getattr(pipelines, known), kind)]
        raise InputError(f"expected {what}, found {name!r}: choose one of {', '.join(known)}")
    return bundle
