"""Pretrained image networks: cut at the right layers, frozen, their files checked, their features cached."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from s2i.config import Config
from s2i.config_networks import ImageEncoderConfig
from s2i.data.crops import centre_crops, read_images
from s2i.data.images import resize, to_uint8
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.evaluation.r_precision_encoder import load_r_precision_encoder
from s2i.inference.model import load
from s2i.models.build import build_image_encoder
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.pretrained import KINDS, PretrainedNetwork
from s2i.reports.export import export
from s2i.runs import pretrained_weights
from s2i.runs.checkpoint import BEST, read_checkpoint
from s2i.runs.pretrained_weights import connect, efficientnet_lite0, fingerprint, require_backbone
from s2i.runs.provenance import backbone_fingerprint
from s2i.runs.stored import IMAGE_NETWORK
from s2i.training import cached_features
from s2i.training.cached_features import gallery_vectors, open_feature_cache
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import tiny_training_config
from tests.fixtures.networks import make_network

REGIONS = {
    "inception_v3": "Mixed_6e",
    "googlenet": "inception4e",
    "resnet50": "layer3",
    "mobilenet_v2": "features.14.conv.0",
    "efficientnet_lite0": "blocks.11.expand",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """MobileNet-v2 of random weights, in a file."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(make_network("mobilenet_v2").state_dict(), folder / "mobilenet.safetensors")
    return folder / "mobilenet.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory, weights) -> Path:
    """Packed images of 32 px for generated images of 16, and an encoder of each modality over
    MobileNet-v2."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").mkdir()
    write_telling_data(folder / "data")
    for modality in ("speech", "text"):
        config = make_config(folder, folder / f"{modality}-encoder", weights, modality)
        build_pack(config, ["train", "val"])
        train_encoder(config)
    return folder


def make_config(world: Path, run: Path, weights: Path, modality: str = "speech") -> Config:
    config = tiny_training_config(world / "data", run, modality)
    encoder = ImageEncoderConfig(
        kind="mobilenet_v2", input_size=32, weights=str(weights), region_side=1, cached_crops=2
    )
    return replace(config, image_encoder=encoder, data=replace(config.data, packed_size=32))


def make_encoder(settings: ImageEncoderConfig) -> PretrainedImageEncoder:
    encoder = build_image_encoder(Config(image_encoder=settings))
    return connect(encoder, settings)


def refused(settings: ImageEncoderConfig, *words: str) -> None:
    pretrained_weights._read_backbone.cache_clear()
    with pytest.raises(InputError) as caught:
        require_backbone(make_encoder(settings))
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


# The networks


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_is_the_whole_network_up_to_its_classifier(kind):
    whole = make_network(kind)
    with torch.device("meta"):
        backbone = PretrainedNetwork(kind, KINDS[kind].least, "symmetric")
    kept = {key: value for key, value in whole.state_dict().items() if key in backbone.network.state_dict()}
    backbone.network.load_state_dict(kept, assign=True)
    random = torch.Generator().manual_seed(1)
    images = 2 * torch.rand(2, 3, KINDS[kind].least, KINDS[kind].least, generator=random) - 1
    regions = []
    whole.get_submodule(REGIONS[kind]).register_forward_hook(lambda *given: regions.append(given[-1]))
    last = "classifier" if hasattr(whole, "classifier") else "fc"
    setattr(whole, last, torch.nn.Identity())
    with torch.no_grad():
        for features, expected in zip(backbone(images), (whole(images), *regions), strict=True):
            assert expected.std() > 1e-6
            torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


@pytest.mark.parametrize(("kind", "size", "places"), [("inception_v3", 299, 289), ("resnet50", 224, 196)])
def test_regions_and_vectors_are_as_wide_and_as_many_as_published(kind, size, places):
    settings = ImageEncoderConfig(kind=kind, input_size=size)
    with torch.device("meta"):
        encoder = build_image_encoder(Config(image_encoder=settings))
        encoder.use_backbone(PretrainedNetwork(kind, size))
        vectors, regions = encoder(torch.empty(2, 3, 64, 64))
    assert vectors.shape == (2, 1024) and regions.shape == (2, 1024, places)


def test_images_come_in_the_range_that_the_weights_were_trained_on():
    """In [-1, 1]: black is ImageNet's (0 - mean) / deviation, and stays -1 for Google's weights."""
    seen = {}
    for images in ("published", "symmetric"):
        backbone = PretrainedNetwork("mobilenet_v2", 32, images)
        first = backbone.network.get_submodule("features.0")
        first.register_forward_pre_hook(lambda _, given, key=images: seen.update({key: given[0]}))
        backbone(torch.full((1, 3, 100, 100), -1.0))
    black = seen["published"][0, :, 0, 0]
    assert torch.allclose(black, -torch.tensor([0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225]))
    assert seen["symmetric"].shape == (1, 3, 32, 32) and torch.allclose(seen["symmetric"], -torch.ones(()))
    assert {kind: known.normalization for kind, known in KINDS.items()} == {  # torchvision's transform_input
        "inception_v3": "symmetric",
        "googlenet": "symmetric",
        "resnet50": "imagenet",
        "mobilenet_v2": "imagenet",
        "efficientnet_lite0": "symmetric",
    }


def test_a_frozen_network_is_in_no_checkpoint_stays_as_it_is_and_passes_gradients_on(weights):
    encoder = make_encoder(ImageEncoderConfig(kind="mobilenet_v2", input_size=32, weights=str(weights)))
    require_backbone(encoder)
    before = {key: value.clone() for key, value in encoder.backbone.network.state_dict().items()}
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    encoder.train()
    encoder.backbone.train()
    vectors, regions = encoder(images)
    (vectors.sum() + regions.sum()).backward()
    assert set(encoder.state_dict()) == {"fingerprint", "region.weight", "globe.weight", "globe.bias"}
    assert len(list(encoder.parameters())) == 3 and images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in encoder.backbone.parameters())
    for key, value in encoder.backbone.network.state_dict().items():
        assert torch.equal(value, before[key]), key
    alone = encoder(images[:1])[0]
    torch.testing.assert_close(alone, vectors[:1], rtol=1e-4, atol=1e-5)  # no statistics of the batch


# Files of weights


def test_weights_come_from_safetensors_or_from_a_state_dict_named_by_its_hash(weights, tmp_path):
    values = load_file(weights)
    path = tmp_path / "mobilenet.pth"
    torch.save(values, path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()
    named = path.rename(tmp_path / f"mobilenet_v2-{digits[:8]}.pth")
    fingerprints = []
    for file, sha256 in ((weights, ""), (named, digits), (named, digits[:10].upper())):
        encoder = make_encoder(
            ImageEncoderConfig(kind="mobilenet_v2", input_size=32, weights=str(file), sha256=sha256)
        )
        require_backbone(encoder)
        fingerprints.append(encoder.fingerprint)
    assert (
        torch.equal(fingerprints[0], fingerprints[1])
        and torch.equal(fingerprints[0], fingerprints[2])
        and fingerprints[0].any()
    )


def test_without_a_file_torchvision_downloads_and_checks_the_hash(weights, monkeypatch):
    calls = []

    def fetch(url: str, **options):
        calls.append((url, options))
        return load_file(weights)

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    pretrained_weights._read_backbone.cache_clear()
    require_backbone(make_encoder(ImageEncoderConfig(kind="mobilenet_v2", input_size=32)))
    ((url, options),) = calls
    assert url.startswith("https://download.pytorch.org/models/mobilenet_v2-") and options["check_hash"]

    def offline(url: str, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    settings = ImageEncoderConfig(kind="mobilenet_v2", input_size=32)
    refused(settings, "mobilenet_v2-", "no route to host", "image_encoder.weights")
    pretrained_weights._read_backbone.cache_clear()


def test_efficientnet_lite0_needs_no_file_and_takes_the_published_one(tmp_path):
    """Once by pip, once from a copy, once as a model keeps it beside itself: the same weights."""
    settings = ImageEncoderConfig(kind="efficientnet_lite0", input_size=64)
    encoder = make_encoder(settings)
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    pooled, regions = encoder.look(images)
    network = efficientnet_lite0()
    larger = torch.nn.functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(pooled, network.head(network.features(larger)[-1]).mean((2, 3)))
    assert regions.shape == (2, 672, 16)
    copy = shutil.copy(pretrained_weights.EFFICIENTNET_LITE0_FILE.find(), tmp_path / "copy.pth")
    kept = {name: value.contiguous() for name, value in encoder.backbone.network.state_dict().items()}
    save_file(kept, tmp_path / "kept.safetensors")
    for file in (copy, tmp_path / "kept.safetensors"):
        other = make_encoder(replace(settings, weights=str(file)))
        require_backbone(other)
        assert torch.equal(fingerprint(encoder.backbone), other.fingerprint)
    values = torch.load(copy, weights_only=True)
    torch.save({name: value for name, value in values.items() if "_bn1" not in name}, tmp_path / "cut.pth")
    refused(replace(settings, weights=str(tmp_path / "cut.pth")), "efficientnet_lite0", "another network")
    refused(replace(settings, input_size=16), "32 px or more", "efficientnet_lite0")


class Calls:
    def __reduce__(self):
        return print, ("called",)


def test_bad_files_of_weights_are_refused_in_one_line(weights, tmp_path, capsys):
    settings = ImageEncoderConfig(kind="mobilenet_v2", input_size=32, weights=str(weights))
    refused(replace(settings, sha256="0" * 64), str(weights), "SHA-256", "image_encoder.sha256")
    refused(replace(settings, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()[:4]), "8 digits")
    refused(replace(settings, weights=str(tmp_path / "none.pth")), "no file", "none.pth")
    refused(replace(settings, kind="resnet50"), str(weights), "resnet50", "another network")
    refused(replace(settings, kind="inception_v3"), "75 px")
    torch.save({"x": Calls()}, tmp_path / "calls.pth")
    refused(replace(settings, weights=str(tmp_path / "calls.pth")), "calls.pth", "weights alone")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(replace(settings, weights=str(tmp_path / "list.pth")), "list.pth", "state dict")
    torch.save(load_file(weights), tmp_path / "mobilenet-01234567.pth")
    refused(replace(settings, weights=str(tmp_path / "mobilenet-01234567.pth")), "SHA-256 01234567")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    refused(replace(settings, weights=str(tmp_path / "cut.safetensors")), "cut.safetensors")
    assert "called" not in capsys.readouterr().out


# Larger images for the image encoder than are generated


def test_a_pack_of_larger_images_gives_them_at_the_generated_size_too(world, weights):
    pack = Pack(world / "data" / "pack" / "train", make_config(world, world / "x", weights))
    assert (pack.packed_size, pack.side) == (32, 40)
    crops = centre_crops(pack, 1)
    large = to_uint8(read_images(pack, np.array([3]), crops, 32))[0]
    small = to_uint8(read_images(pack, np.array([3]), crops, 16))[0]
    assert np.array_equal(large, pack.images[3, 4:36, 4:36])
    expected = np.asarray(resize(Image.fromarray(large), 16)).astype(int)
    assert np.abs(small - expected).max() <= 1


def test_images_smaller_than_the_generated_ones_are_refused(world, weights, tmp_path):
    config = make_config(world, tmp_path, weights)
    config = replace(config, data=replace(config.data, packed_size=8))
    with pytest.raises(InputError, match="data.packed_size of the largest generated image's 16 px or more"):
        build_pack(config, ["train"])


# Feature caches


def test_cached_features_are_those_of_the_crop_and_are_computed_once(world, weights, monkeypatch):
    config = make_config(world, world / "x", weights)
    pack = Pack(world / "data" / "pack" / "train", config)
    encoder = make_encoder(config.image_encoder)
    require_backbone(encoder)
    with monkeypatch.context() as patch:
        patch.setattr(cached_features, "write_feature_cache", None)  # a training has made them
        feature_cache = open_feature_cache(encoder, pack, config, 2)
    assert feature_cache.crops == 2
    images = np.array([5, 0, 2])
    seen = encoder.look(read_images(pack, images, centre_crops(pack, 3), 32))
    for cached, expected in zip(feature_cache.read(images, np.zeros(3, dtype=int)), seen, strict=True):
        torch.testing.assert_close(cached, expected, rtol=1e-2, atol=1e-2)
    assert not torch.allclose(
        feature_cache.read(images, np.ones(3, dtype=int))[0], seen[0], rtol=1e-3, atol=1e-3
    )
    assert len(list(pack.folder.glob("feature-cache-*"))) == 1 and not list(
        pack.folder.glob(".feature-cache-*")
    )
    stored, looked = gallery_vectors(encoder, pack, feature_cache), gallery_vectors(encoder, pack)
    torch.testing.assert_close(stored, looked, rtol=1e-2, atol=1e-2)


def test_a_feature_cache_of_a_trainable_network_is_refused(world, tmp_path):
    config = tiny_training_config(world / "data", tmp_path / "run")
    config = replace(
        config,
        image_encoder=replace(config.image_encoder, cached_crops=2),
        data=replace(config.data, packed_size=32),
    )
    with pytest.raises(InputError, match="image_encoder.cached_crops=0 for kind small"):
        train_encoder(config)
    assert not (tmp_path / "run").exists()


def test_an_encoder_trains_without_a_feature_cache_too(world, weights, tmp_path):
    config = make_config(world, tmp_path / "run", weights)
    config = replace(config, image_encoder=replace(config.image_encoder, cached_crops=0))
    config = replace(config, matching=replace(config.matching, steps=1))
    assert (train_encoder(config) / "checkpoints" / BEST).is_file()


# Runs and models


def test_encoders_know_their_network_and_continue_over_no_other(world, weights, tmp_path):
    state = read_checkpoint(world / "speech-encoder" / "checkpoints" / BEST)["nets"]["image_encoder"]
    backbone = make_encoder(
        ImageEncoderConfig(kind="mobilenet_v2", input_size=32, weights=str(weights))
    ).backbone
    assert torch.equal(state["fingerprint"], fingerprint(backbone))
    values = load_file(weights)
    values["features.0.0.weight"] = values["features.0.0.weight"] + 0.1
    save_file(values, tmp_path / "other.safetensors")
    other = make_config(world, world / "speech-encoder", tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="trained over other weights"):
        train_encoder(other)
    gan = make_config(world, tmp_path / "gan", tmp_path / "other.safetensors")
    assert gan.gan.matching_weight or gan.gan.relation_weight
    gan = replace(gan, gan=replace(gan.gan, encoder=str(world / "speech-encoder"), steps=1))
    with pytest.raises(InputError, match=r"found others in .*other\.safetensors"):
        train_gan(gan)


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_an_exported_model_generates_without_the_network_and_compares_images_with_it(
    bits, world, weights, tmp_path
):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    runs = []
    for modality in ("speech", "text"):
        config = make_config(world, tmp_path / modality, moved, modality)
        gan = replace(config.gan, encoder=str(world / f"{modality}-encoder"), steps=1, matching_weight=1.0)
        runs.append(train_gan(replace(config, gan=gan)))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = load(runs[0]).path("speech").image_encoder(images)[0]
    model = tmp_path / "model"
    export(runs, model, bits=bits)
    # What trained it is recorded, and stays known in an exported model of either size: neither that network
    # nor another encoder over it scores.
    network = backbone_fingerprint(make_network("mobilenet_v2"))
    for path in (load(runs[0]).path("speech"), load(model).path("speech")):
        assert path.trained_by[network] == "mobilenet_v2 in the image encoder of gan.encoder"
        assert len(path.trained_by) == 3 and "the speech encoder gan.encoder" in path.trained_by.values()
        assert path.all_trained_by().keys() == path.trained_by.keys()
        with pytest.raises(InputError, match="shares the weights .* of another kind than the generator's"):
            load_r_precision_encoder(world / "text-encoder", path)
    moved.unlink()
    assert str(tmp_path) not in (model / "config.json").read_text()
    embeddings = load(model).path("speech").image_encoder(images)[0]
    torch.testing.assert_close(embeddings, expected, rtol=2e-2, atol=1e-5 if bits == 32 else 2e-2)
    (model / IMAGE_NETWORK).unlink()
    path = load(model).path("text")
    generated = path.generate(path.encode_text(["a bird that is red"]), ["key"]).images[-1]
    assert generated.shape == (1, 3, 16, 16)
