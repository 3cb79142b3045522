"""A trained model, ready to draw: what a script, the app, `generate` and the measuring share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from s2i.config import Config, config_from_dict, config_to_dict
from s2i.data.audio import features
from s2i.data.dataset import Batch, pad_mels, pad_tokens
from s2i.data.noise import caption_noise
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.models.build import CaptionEncoder, build_caption_encoder, build_image_encoder
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import Drawing, StackedGenerator
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.published.image_networks import connect
from s2i.training.checkpoint import LAST, read_checkpoint

FORMAT = 1  # of an exported model's folder
MODALITIES = ("speech", "text")
IMAGE_NETWORK = "image_network.safetensors"  # of an exported model: read where pictures are compared, alone
NETWORKS = ("caption_encoder", "image_encoder", "generator")  # of a path, as an exported model names them


@dataclass(frozen=True)
class DrawingPath:
    """From one kind of caption to pictures. The networks are frozen, in float32 and in eval mode."""

    config: Config
    vocabulary: Vocabulary | None  # of text alone
    step: int  # optimiser steps that the generator was trained for; 0: published weights, unknown
    device: torch.device
    encoder: CaptionEncoder | None  # None: a published generator alone, that draws from embeddings
    image_encoder: ImageEncoder | PretrainedImageEncoder | None  # None: imported without one
    generator: StackedGenerator
    folder: Path | None = None  # of the run; None: an exported model

    @torch.no_grad()
    def encode_speech(self, waveforms: Sequence[Tensor]) -> CaptionEncoding:
        """Encode recordings, each (N,) at `config.audio.sample_rate`.

        Raises InputError for one that is too short for a single step of the encoder.
        """
        self._expect("speech")
        audio = self.config.audio
        mels = [features(waveform, audio) for waveform in waveforms]
        shortest = self.encoder.shortest()
        for waveform, mel in zip(waveforms, mels, strict=True):
            if len(mel) < shortest:
                raise InputError(
                    f"expected speech of more than {(shortest - 1) * audio.hop:.2f} s,"
                    f" found {len(waveform) / audio.sample_rate:.2f} s: record a whole sentence"
                )
        padded, lengths = pad_mels(mels)
        return self.encoder(padded.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> CaptionEncoding:
        """Encode sentences. Raises InputError for one that is empty or has no known word."""
        self._expect("text")
        words = self.config.text_encoder.words
        padded, lengths = pad_tokens([self.vocabulary.encode(text, words) for text in texts])
        return self.encoder(padded.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def encode(self, batch: Batch) -> CaptionEncoding:
        """Encode the captions of a batch from a pack."""
        self._expect(self.config.modality)
        return self.encoder(batch.inputs.to(self.device), batch.lengths.to(self.device))

    @torch.no_grad()
    def draw(self, encoding: CaptionEncoding, keys: Sequence[str], seed: int = 0) -> Drawing:
        """Draw each of B captions once.

        Args:
            encoding: of B captions.
            keys: B names; a picture's noise is a function of (seed, its key), see `caption_noise`.
        """
        widths = (self.config.generator.noise, self.config.generator.condition)
        noise, condition_noise = (part.to(self.device) for part in caption_noise(keys, seed, widths))
        return self.generator(encoding, noise, condition_noise)

    def _expect(self, modality: str) -> None:
        if self.config.modality != modality:
            raise TypeError(f"expected a path from {modality}, found one from {self.config.modality}")
        if self.encoder is None:
            raise InputError(
                f"expected a model that encodes {modality}, found a generator alone:"
                " import it again with the encoder that it was trained on"
            )


@dataclass(frozen=True)
class Model:
    """What `load` returns: a path from speech, a path from text, or both."""

    origin: Path
    paths: dict[str, DrawingPath]  # by modality

    def path(self, modality: str) -> DrawingPath:
        """The path from "speech" or "text". Raises InputError where the model lacks it."""
        if modality not in self.paths:
            raise InputError(
                f"expected a model with a path from {modality} in {self.origin}, found only"
                f" {' and '.join(self.paths)}: give {' or '.join(self.paths)}, or another --model"
            )
        return self.paths[modality]


def load(model: str | Path, device: str = "auto") -> Model:
    """Open an exported model's folder or the run folder of a GAN training; drawing uses the averaged weights.

    Args:
        model: the folder.
        device: "cpu", "cuda", or "auto": cuda where there is one.

    Raises:
        InputError: the folder is missing, cut short, or holds something else.
    """
    folder = Path(model)
    if (folder / "config.json").is_file():
        paths = _load_exported(folder)
    elif (folder / "checkpoints" / LAST).is_file():
        paths = _load_run(folder)
    else:
        found = f"neither config.json nor checkpoints/{LAST}" if folder.is_dir() else "no such folder"
        raise InputError(
            f"expected a model in {folder}, found {found}:"
            " give an exported model or the run of s2i train-gan as --model"
        )
    chosen = _choose_device(device)
    return Model(folder, {parts.config.modality: _assemble(parts, chosen) for parts in paths})


@dataclass(frozen=True)
class _Parts:
    """What a file holds of a path."""

    origin: Path
    config: Config
    vocabulary: list[str] | None
    step: int
    weights: dict[str, dict[str, Tensor]]  # by the names of NETWORKS


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a CUDA device for device cuda, found none: use cpu or auto")
    return torch.device(device)


def _load_exported(folder: Path) -> list[_Parts]:
    origin = folder / "config.json"
    try:
        described = json.loads(origin.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _cut_short(origin, "JSON", error) from error
    found = described.get("format") if isinstance(described, dict) else None
    if found != FORMAT:
        raise InputError(
            f"expected a model of format {FORMAT} in {origin}, found {found!r}:"
            " export it with this version of s2i"
        )
    entries = described.get("paths")
    if not isinstance(entries, dict) or not entries or not set(entries) <= set(MODALITIES):
        raise InputError(
            f"expected paths from speech or text in {origin}, found none: export the model again"
        )
    paths = []
    for modality, entry in entries.items():
        if not isinstance(entry, dict):
            raise InputError(
                f"expected an object for {modality} in {origin}, found {entry!r}: export it again"
            )
        weights: dict[str, dict[str, Tensor]] = {name: {} for name in NETWORKS}
        for key, value in _read_weights(folder / f"{modality}.safetensors").items():
            network, _, name = key.partition(".")
            weights.setdefault(network, {})[name] = value
        parts = _make_parts(origin, entry, weights)
        if parts.config.modality != modality:
            raise InputError(
                f"expected a configuration for {modality} in {origin}, found one for {parts.config.modality}:"
                " export the model again"
            )
        paths.append(parts)
    return paths


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _cut_short(path, "weights", error) from error


def _load_run(folder: Path) -> list[_Parts]:
    path = folder / "checkpoints" / LAST
    saved = read_checkpoint(path)
    kind = saved.get("kind")
    if kind != "gan":
        raise InputError(
            f"expected the checkpoint of a GAN run in {path}, found kind {kind!r}: check --model"
        )
    nets = saved["nets"]
    paths = []
    for config, prefix in zip(_configs(saved, path), ("", "other_"), strict=False):
        encoders = {name: nets[prefix + name] for name in ("caption_encoder", "image_encoder")}
        encoders["caption_encoder"] = nets.get(
            f"{prefix}caption_encoder_ema", encoders["caption_encoder"]
        )  # where it learnt with the generator
        entry = {**saved, "config": config_to_dict(config)}
        entry["vocabulary"] = saved["vocabulary"] if config.modality == "text" else None
        paths.append(_make_parts(path, entry, {**encoders, "generator": nets["ema"]}))
    return paths


def _configs(saved: dict[str, Any], path: Path) -> list[Config]:
    """The run as each modality that its generator learnt from sees it."""
    if not isinstance(saved.get("config"), dict):
        raise InputError(f"expected a configuration in {path}, found none: it is cut short, train again")
    return config_from_dict(saved["config"], str(path)).of_each_modality()


def _make_parts(origin: Path, entry: dict[str, Any], weights: dict[str, dict[str, Tensor]]) -> _Parts:
    config, words, step = entry.get("config"), entry.get("vocabulary"), entry.get("step")
    if not isinstance(config, dict) or not isinstance(step, int):
        raise InputError(
            f"expected a configuration and a step in {origin}, found none: it is cut short, export it again"
        )
    config = config_from_dict(config, str(origin))
    if config.modality == "text" and not words and weights["caption_encoder"]:
        raise InputError(
            f"expected a vocabulary for text in {origin}, found none: it is cut short, export it again"
        )
    return _Parts(origin, config, words, step, weights)


def _assemble(parts: _Parts, device: torch.device) -> DrawingPath:
    config = parts.config
    vocabulary = Vocabulary.from_list(parts.vocabulary) if parts.vocabulary else None
    try:
        with torch.random.fork_rng(devices=[]):  # the weights made here are random, and replaced below
            networks = {
                "caption_encoder": build_caption_encoder(config, len(vocabulary) if vocabulary else 0),
                "image_encoder": build_image_encoder(config),
                # Not build_generator: orthogonal weights take long.
                "generator": StackedGenerator(config.generator, config.embedding),
            }
        # What a published model came without.
        networks = {name: network for name, network in networks.items() if parts.weights[name]}
        for name, network in networks.items():
            network.load_state_dict(parts.weights[name])  # float16 becomes float32
            network.requires_grad_(False).eval().to(device)
        if "image_encoder" in networks:
            connect(networks["image_encoder"], config.image_encoder, parts.origin.parent / IMAGE_NETWORK)
    except (RuntimeError, ValueError, IndexError) as error:
        raise _cut_short(parts.origin, "weights that fit the configuration", error) from error
    return DrawingPath(
        config=config,
        vocabulary=vocabulary,
        step=parts.step,
        device=device,
        encoder=networks.get("caption_encoder"),
        image_encoder=networks.get("image_encoder"),
        generator=networks["generator"],
        folder=parts.origin.parent.parent if parts.origin.name == LAST else None,
    )


def _cut_short(path: Path, expected: str, error: Exception) -> InputError:
    found = " ".join(str(error).split())
    if len(found) > 160:
        found = f"{found[:160]}..."
    return InputError(
        f"expected {expected} in {path}, found: {found}:"
        " the model is cut short or changed, copy or export it again"
    )
