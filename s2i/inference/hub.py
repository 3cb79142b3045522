"""Models of the Hugging Face Hub: `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION` in place of a folder."""

from __future__ import annotations

import re
from pathlib import Path

from s2i.errors import InputError
from s2i.runs.stored import FILES

# As a `Path`, which the command line makes of a model's name, an address has one slash where it had two.
_SCHEME = re.compile("hf:/{1,2}")
_ADDRESS = re.compile(r"(?P<model>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def model_folder(model: str | Path) -> Path:
    """The folder of a model that is given by its path or by its address on the Hub.

    What an address names is downloaded into huggingface_hub's own cache, once a revision: the files of an
    exported model and nothing else that lies beside them. Without a network, or with `HF_HUB_OFFLINE=1`, the
    cache alone is read.

    Raises:
        InputError: an address of another form, no huggingface_hub, no such model or revision, or one that is
            neither in the cache nor to be reached.
    """
    scheme = _SCHEME.match(str(model))
    if not scheme:
        return Path(model)
    address = str(model)[scheme.end() :]
    named = _ADDRESS.fullmatch(address)
    if not named:
        raise InputError(
            f"expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, found hf://{address[:80]}: name one so"
        )
    return _download(named["model"], named["revision"])


def _download(model: str, revision: str | None) -> Path:
    where = f"hf://{model}" + (f"@{revision}" if revision else "")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise InputError(
            f"expected huggingface_hub, which fetches {where}, found none: pip install -e '.[hub]'"
        ) from error
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=sorted(FILES)))
    except RevisionNotFoundError as error:
        raise InputError(
            f"expected a revision of hf://{model}, found none named {revision}: name a branch,"
            " a tag or a commit"
        ) from error
    except RepositoryNotFoundError as error:  # which a gated one is too
        raise InputError(
            f"expected a model at {where}, found none that you may read: check the name; one that is private"
            " or gated wants `hf auth login` first"
        ) from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"expected {where} in the cache of huggingface_hub or a network, found neither: connect once, or"
            " give a model's folder"
        ) from error
    except Exception as error:  # whatever else a network, a proxy or a server answers
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(f"expected to fetch {where}, found: {reason}: try again later") from error
    if not (folder / "config.json").is_file():
        raise InputError(
            f"expected a model of `s2i export` at {where}, found no config.json there: name another"
        )
    return folder
