"""The generator and discriminators of a published system's checkout, timed beside ours on the same shapes.

Nothing of theirs is kept here: their folder is put on Python's path, and what is called of it is
`G_NET`, `D_NET64`, `D_NET128` and `D_NET256` of the file that has them, with its own settings `cfg`, of which
the published numbers are set. AttnGAN's discriminators read the sentence, S2IGAN's the condition.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from s2i.config_files import load_config
from s2i.errors import InputError
from s2i.models.build import build_discriminators, build_generator
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.inference_form import for_inference
from tests.benchmarks.suite.timing import OURS, Row, bytes_of, counted
from tests.benchmarks.suite.training_rows import RECIPES

THEIRS = "checkout"
_GENERATOR = re.compile(r"^class G_NET\b", re.MULTILINE)
# Keys of their settings: the published numbers for CUB.
ATTNGAN = {"GAN.GF_DIM": 32, "GAN.DF_DIM": 64, "GAN.Z_DIM": 100, "GAN.CONDITION_DIM": 100, "GAN.R_NUM": 2}
ATTNGAN |= {"TEXT.EMBEDDING_DIM": 256}
S2IGAN = {"GAN.GF_DIM": 64, "GAN.DF_DIM": 64, "GAN.Z_DIM": 100, "GAN.EMBEDDING_DIM": 128, "GAN.R_NUM": 2}
S2IGAN |= {"TEXT.DIMENSION": 1024, "SPEECH.DIMENSION": 1024, "GAN.B_CONDITION": True}
COMMON = {"CUDA": False, "TREE.BRANCH_NUM": 3, "TREE.BASE_SIZE": 64}
WORDS = 12


def rows(checkout: Path, quick: bool) -> Iterator[Row]:
    """Raises InputError where the folder has no such modules."""
    module = find_module(checkout)
    attends = hasattr(module, "NEXT_STAGE_G") and "att" in _source(module).lower()
    system = "attngan" if attends else "s2igan"
    _set(getattr(module, "cfg", None), COMMON | (ATTNGAN if attends else S2IGAN))
    config = load_config(RECIPES / "cub" / "conf" / f"{system}.yaml")
    torch.manual_seed(0)
    ours, theirs = build_generator(config).eval(), module.G_NET().eval()
    for count in (1,) if quick else (1, 8):
        encoding = _captions(config.embedding_dim, count)
        noise = ours.sample_noise([str(number) for number in range(count)], 0)
        given = [noise[0], encoding.sentence, *([encoding.sequence, ~encoding.mask] if attends else [])]
        quicker = for_inference(ours)
        forms = {
            OURS: partial(_images, quicker, encoding, *noise),
            THEIRS: partial(_their_images, theirs, given),
        }
        name = f"{system}: {count} image{'s' * (count > 1)} of {ours.sizes[-1]} px"
        moved = bytes_of(quicker, forms[OURS]())
        yield Row(
            "generation",
            name,
            "paper",
            "fp32",
            forms,
            counted(partial(_images, ours, encoding, *noise)),
            moved,
        )
    yield from _discriminators(module, config, system, images=2 if quick else 8)


def find_module(checkout: Path) -> ModuleType:
    """The module that defines G_NET, imported with its folder and the one above on the path."""
    paths = [
        path
        for path in sorted(checkout.rglob("*.py"))
        if _GENERATOR.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    if not paths:
        raise InputError(
            f"expected a checkout of AttnGAN or S2IGAN in {checkout}, found no Python file with a class"
            " G_NET: check --against"
        )
    path = paths[0]
    sys.path[:0] = [str(path.parent), str(path.parent.parent)]
    specification = importlib.util.spec_from_file_location(f"against_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever code of another time makes of today's Python
        raise InputError(
            f"expected {path} to be imported, found {type(error).__name__}: {error}: mend the checkout"
        ) from error
    finally:
        del sys.path[:2]
    return module


def _discriminators(module: ModuleType, config: Any, system: str, images: int) -> Iterator[Row]:
    discriminators = build_discriminators(config)
    by_mu = config.discriminator.condition_on == "mu"
    width = config.generator.condition_dim if by_mu else config.embedding_dim
    condition = torch.randn(images, width)
    for discriminator, size in zip(discriminators, (64, 128, 256), strict=True):
        theirs = getattr(module, f"D_NET{size}", None)
        if theirs is None:
            continue
        looked_at = 2 * torch.rand(images, 3, size, size) - 1
        forms = {
            OURS: partial(_our_logits, discriminator, looked_at, condition),
            THEIRS: partial(_their_logits, theirs(), looked_at, condition),
        }
        name = f"{system}: discriminator of {size} px, forward and backward of {images} images"
        yield Row("GAN", name, "paper", "fp32", forms, counted(forms[OURS]), 3 * bytes_of(discriminator))


def _captions(width: int, count: int) -> CaptionEncoding:
    mask = torch.ones(count, WORDS, dtype=torch.bool)
    return CaptionEncoding(torch.randn(count, width), torch.randn(count, width, WORDS), mask)


@torch.no_grad()
def _images(generator: nn.Module, encoding: CaptionEncoding, *noise: Tensor) -> Tensor:
    return generator(encoding, *noise).images[-1]


@torch.no_grad()
def _their_images(generator: nn.Module, given: list[Tensor]) -> Tensor:
    return generator(*given)[0][-1]


def _our_logits(network: nn.Module, images: Tensor, condition: Tensor) -> None:
    features = network(images)
    logits = network.conditional_logits(features, condition) + network.unconditional_logits(features)
    logits.sum().backward()
    network.zero_grad(set_to_none=True)


def _their_logits(network: nn.Module, images: Tensor, condition: Tensor) -> None:
    if hasattr(network, "COND_DNET"):  # AttnGAN's: features, then two heads
        features = network(images)
        logits = [network.COND_DNET(features, condition), network.UNCOND_DNET(features)]
    else:
        logits = network(images, condition)[:2]
    sum(each.sum() for each in logits).backward()
    network.zero_grad(set_to_none=True)


def _set(settings: Any, values: dict[str, Any]) -> None:
    """Set those of the dotted keys that their settings have."""
    for key, value in values.items():
        *sections, name = key.split(".")
        section = settings
        for attribute in sections:
            section = getattr(section, attribute, None)
        if hasattr(section, name):
            setattr(section, name, value)


def _source(module: ModuleType) -> str:
    return Path(module.__file__).read_text(encoding="utf-8", errors="replace")
