"""ImageNet networks that score: bird share and distances, and the refusal of what trained a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from s2i.errors import InputError
from s2i.evaluation.classifier import load_classifier
from s2i.evaluation.extractors import FEATURES, LOGITS, Extractor
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.imagenet_networks import BIRD_CLASSES, SIDE, imagenet_extractor
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import evaluate, measure
from s2i.inference.model import load
from s2i.metrics.distances import frechet_distance, kernel_distance
from s2i.runs.checkpoint import read_checkpoint, write_checkpoint
from s2i.runs.pretrained_weights import efficientnet_lite0
from s2i.runs.provenance import backbone_fingerprint
from tests.fixtures.networks import make_network
from tests.fixtures.runs import write_world

LITE0 = backbone_fingerprint(efficientnet_lite0())
NAMES = [name for name, each in PROTOCOLS.items() if each.extractor == "efficientnet_lite0"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("imagenet"), classifier_steps=20)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory) -> Path:
    """MobileNet-v2 of random weights, in a file."""
    file = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    save_file(make_network("mobilenet_v2").state_dict(), file)
    return file


def bank_of(world: dict[str, Path], cache: Path, **changes) -> FeatureBank:
    path = load(world["text"], "cpu").path("text")
    return FeatureBank(path, replace(path.config.evaluation, cache=str(cache), **changes))


def stand_in(name: str) -> Extractor:
    """The mean colour as features; a bird for a light image, class 0 for a dark one."""

    def extract(images: Tensor) -> dict[str, Tensor]:
        logits = torch.zeros(len(images), 1000)
        logits[:, 146] = images.mean((1, 2, 3))
        return {FEATURES: images.mean((2, 3)), LOGITS: logits}

    return Extractor(name, "fake", "cafe", "none", {FEATURES: 3, LOGITS: 1000}, extract)


def test_lite0_sees_what_it_sees_of_the_enlarged_image():
    extractor = imagenet_extractor("efficientnet_lite0")
    network = efficientnet_lite0()
    for size in ((1, 1), (20, 31), (SIDE, SIDE)):
        images = 2 * torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) - 1
        larger = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
        outputs = extractor.extract(images)
        assert {name: value.shape[1] for name, value in outputs.items()} == extractor.outputs
        torch.testing.assert_close(outputs[LOGITS], network(larger), rtol=1e-3, atol=1e-3)
    assert extractor.weights == {LITE0: "efficientnet_lite0"}


def test_mobilenet_comes_from_a_file_and_its_range_is_part_of_its_name(mobilenet, tmp_path):
    one, other = (
        imagenet_extractor("mobilenet_v2", str(mobilenet), range_) for range_ in ("imagenet", "symmetric")
    )
    images = torch.zeros(1, 3, 32, 32)
    assert not torch.allclose(one.extract(images)[FEATURES], other.extract(images)[FEATURES])
    assert one.identity != other.identity and one.weights == other.weights
    backbone = {k: v for k, v in make_network("mobilenet_v2").state_dict().items() if "classifier" not in k}
    save_file(backbone, tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="expected weights of the classifier of mobilenet_v2 in .*cut"):
        imagenet_extractor("mobilenet_v2", str(tmp_path / "cut.safetensors"))
    with pytest.raises(InputError, match="found no file at .*none.safetensors"):
        imagenet_extractor("mobilenet_v2", str(tmp_path / "none.safetensors"))


def test_the_birds_of_imagenet_are_59():
    assert len(set(BIRD_CLASSES)) == 59 and {7, 24, 80, 100, 127, 146} <= set(BIRD_CLASSES)
    assert not {6, 25, 79, 101, 126, 147} & set(BIRD_CLASSES)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2"])
def test_bird_share_and_distances_by_hand(world, tmp_path, name):
    bank = bank_of(world, tmp_path)
    bank.networks.extractors[name] = stand_in(name)
    shares = {score.of: score for score in PROTOCOLS[f"bird_share_by_{name}"](bank)}
    generated, real = bank.generated(name)[FEATURES], bank.real(name)[FEATURES]
    assert shares["run"].value == pytest.approx((generated.mean(1) > 0).mean())
    assert shares["real"].value == pytest.approx((real.mean(1) > 0).mean())
    assert shares["chance"].value == 0.059 and shares["run"].counts == {"images": len(generated)}
    metrics = {(s.metric, s.of): s.value for s in PROTOCOLS[f"{name}_distances"](bank)}
    assert metrics["fid", "run"] == pytest.approx(frechet_distance(generated, real))
    assert metrics["kid", "run"] == pytest.approx(kernel_distance(generated, real))
    assert set(metrics) == {(m, of) for m in ("fid", "kid", "precision", "recall") for of in ("run", "real")}
    scores = PROTOCOLS[f"class_retrieval_by_{name}"](bank)
    assert {score.of for score in scores} == {"run", "real", "chance"}


def test_they_run_when_asked_and_only_then(world, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "s2i.evaluation.metric_networks.imagenet_extractor",
        lambda name, *rest, **options: made.append((name, rest)) or stand_in(name),
    )
    settings = replace(load(world["text"], "cpu").path("text").config.evaluation, cache=str(tmp_path))
    assert not any(line["protocol"] in NAMES for line in evaluate(world["text"], (), settings))
    assert made == []
    records = evaluate(world["text"], NAMES, settings)
    assert [line["protocol"] for line in records if line["metric"] == "bird_share"] == [NAMES[0]] * 3
    evaluate(world["text"], ["bird_share_by_mobilenet_v2"], settings)
    chosen = replace(settings, mobilenet_weights="file", mobilenet_normalization="symmetric")
    evaluate(world["text"], ["bird_share_by_mobilenet_v2"], chosen)
    rest = [(name, given[:2]) for name, given in made]
    assert rest == [
        ("efficientnet_lite0", ()),
        ("mobilenet_v2", ("", "published")),
        ("mobilenet_v2", ("file", "symmetric")),
    ]


# Nothing that scores shares weights with anything that trained.


def trained_by_lite0(world: dict[str, Path], folder: Path) -> Path:
    """A run whose discriminators looked through EfficientNet-lite0."""
    saved = read_checkpoint(world["text"] / "checkpoints" / "last.pt")
    saved["trained_by"] = {LITE0: "efficientnet_lite0 in a discriminator"}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_bytes((world["text"] / "config.yaml").read_bytes())
    write_checkpoint(folder / "checkpoints" / "last.pt", saved)
    return folder


def test_a_model_that_lite0_trained_is_not_measured_by_lite0(world, mobilenet, tmp_path, capsys):
    run = trained_by_lite0(world, tmp_path / "run")
    settings = replace(load(run, "cpu").path("text").config.evaluation, cache=str(tmp_path / "cache"))
    for name in NAMES:
        with pytest.raises(InputError) as caught:
            evaluate(run, [name], settings)
        message = str(caught.value)
        assert "shares the weights" in message and "efficientnet_lite0 in a discriminator" in message
        assert message.endswith("measure by mobilenet_v2 (evaluation.mobilenet_weights) or by the classifier")
    bank = FeatureBank(load(run, "cpu").path("text"), replace(settings, efficientnet_lite0=True))
    scores = measure(bank, [NAMES[0], "classifier_distances"])
    assert scores[NAMES[0]] == [] and scores["classifier_distances"]
    assert f"{NAMES[0]} is left out: expected a scoring network efficientnet_lite0" in capsys.readouterr().err
    other = FeatureBank(bank.path, replace(settings, mobilenet_weights=str(mobilenet)))
    assert other.extractor("mobilenet_v2").weights.keys().isdisjoint(bank.networks.trained_by)


def test_a_classifier_that_began_with_what_trained_the_generator_is_refused(world, tmp_path):
    run = trained_by_lite0(world, tmp_path / "run")
    saved = read_checkpoint(world["classifier"] / "checkpoints" / "last.pt")
    assert set(load_classifier(world["classifier"]).origins.values()) == {"the classifier"}
    saved["trained_by"] = {LITE0: "efficientnet_lite0, its first weights"}
    write_checkpoint(tmp_path / "classifier" / "checkpoints" / "last.pt", saved)
    path = load(run, "cpu").path("text")
    settings = replace(path.config.evaluation, classifier=str(tmp_path / "classifier"))
    with pytest.raises(InputError, match="its first weights.*in a discriminator: train another with"):
        FeatureBank(path, settings)
    FeatureBank(load(world["text"], "cpu").path("text"), settings)  # which lite0 did not train


def test_an_extractor_of_another_package_may_name_its_weights_too(world, tmp_path):
    path = load(trained_by_lite0(world, tmp_path / "run"), "cpu").path("text")
    bank = FeatureBank(path, replace(path.config.evaluation, cache=str(tmp_path / "cache")))
    with pytest.raises(InputError, match="measure by another network"):
        bank.networks.extractor(f"{__name__}:lite0_by_another_name")


def lite0_by_another_name(networks: object) -> Extractor:
    return replace(stand_in("mine"), weights={LITE0: "mine"})
