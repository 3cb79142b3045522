"""Inception by three libraries: their own loading paths with random weights, their numbers against ours, and
one clear line where weights can't be had."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from s2i import cli
from s2i.data.images import to_tensor, to_uint8
from s2i.errors import InputError
from s2i.evaluation import inception_weights
from s2i.evaluation.extractors import FEATURES, Extractor
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.inception import LOGITS, inception_extractor
from s2i.evaluation.inception_weights import PUBLISHED
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.records import evaluate, measure, record
from s2i.files.atomic import sha256_of
from s2i.inference.model import load
from s2i.metrics.distances import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_and_recall,
)
from tests.fixtures.runs import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("inception"), classifier_steps=20)


@pytest.fixture
def images() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return to_tensor(torch.randint(256, (2, 20, 20, 3), generator=random, dtype=torch.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder of the three files, of random weights."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    pytest.importorskip("cleanfid")
    from torchvision.models import inception_v3

    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *given, **options: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        compat = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        patch.undo()
        torch.save(compat.state_dict(), folder / PUBLISHED["inception"].file)
        torch.save(inception_v3(weights=None, init_weights=False).state_dict(), folder / "imagenet.pth")
        torch.jit.script(Scripted()).save(folder / PUBLISHED["clean"].file)
    return folder


class Scripted(nn.Module):
    """As clean-fid's file is laid out: `layers` takes 299 px in [-1, 1] and gives 2048 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 2048))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def stand_in(name: str, width: int = 6) -> Extractor:
    """A small fake extractor: colours of the four quarters, and logits of them."""

    def extract(images: Tensor) -> dict[str, Tensor]:
        quarters = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)[:, :width]
        return {FEATURES: quarters, LOGITS: 5 * quarters}

    return Extractor(name, f"fake {name}", "cafe", "none", {FEATURES: width, LOGITS: width}, extract)


def bank_with(world: dict[str, Path], cache: Path, *names: str) -> FeatureBank:
    path = load(world["text"], "cpu").path("text")
    bank = FeatureBank(path, replace(path.config.evaluation, cache=str(cache)))
    bank.networks.extractors |= {name: stand_in(name) for name in names}
    return bank


def values(scores, of: str = "run") -> dict[str, float]:
    return {score.metric: score.value for score in scores if score.of == of}


def test_torch_fidelitys_network_is_read_from_a_file_and_sees_each_image_alone(weights, images):
    path = weights / PUBLISHED["inception"].file
    extractor = inception_extractor("inception", str(path))
    assert extractor.identity == sha256_of(path)[:12] and "instead of the published" in extractor.network
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(path))
    expected = theirs(torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2))
    outputs = extractor.extract(images)
    assert torch.allclose(outputs[FEATURES], expected[0], atol=1e-5)
    assert torch.allclose(outputs[LOGITS], expected[1], atol=1e-5)
    assert torch.allclose(extractor.extract(images[1:])[FEATURES], outputs[FEATURES][1:], atol=1e-4)


def test_clean_fids_network_sees_what_clean_fid_shows_it(weights, images, tmp_path):
    extractor = inception_extractor("clean", str(weights))  # out of a folder, by its own name
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    network, resize = InceptionV3W(str(weights), download=False), build_resizer("clean")
    larger = np.stack([resize(image) for image in to_uint8(images)]).transpose(0, 3, 1, 2)
    expected = network(torch.from_numpy(larger)).detach()
    assert torch.allclose(extractor.extract(images)[FEATURES], expected, atol=1e-5)


def test_torchvisions_network_is_pooled_before_its_classifier(weights, images):
    extractor = inception_extractor("imagenet", str(weights / "imagenet.pth"))
    from torchvision.models import inception_v3

    theirs = inception_v3(weights=None, init_weights=False, transform_input=False).eval()
    theirs.load_state_dict(torch.load(weights / "imagenet.pth", weights_only=True))
    theirs.fc = nn.Identity()
    larger = nn.functional.interpolate(images, (299, 299), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = theirs(larger)
    assert torch.allclose(extractor.extract(images)[FEATURES], expected, atol=1e-4)


def test_weights_of_another_network_are_refused(weights, tmp_path):
    with pytest.raises(InputError, match="expected weights for imagenet .* found another network's"):
        inception_extractor("imagenet", str(weights / PUBLISHED["inception"].file))
    with pytest.raises(InputError, match="expected Inception weights, found no file at"):
        inception_extractor("inception", str(tmp_path / "nowhere.pth"))
    with pytest.raises(InputError, match=r"expected inception_v3_google-0cc3c7bd.pth for imagenet in"):
        inception_extractor("imagenet", str(weights))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    pytest.importorskip("torch_fidelity")
    path = tmp_path / PUBLISHED["inception"].file
    torch.save({"fc.weight": Path("/")}, path)
    with pytest.raises(InputError, match="expected weights for inception"):
        inception_extractor("inception", str(tmp_path))


def test_a_file_is_fetched_by_its_address_into_torchs_cache_and_checked(tmp_path, monkeypatch):
    """From a local server's stand-in: a file of a few bytes."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    origin = tmp_path / "small.pth"
    torch.save({"fc.weight": torch.zeros(3, 1)}, origin)
    published = replace(
        PUBLISHED["imagenet"], file="small.pth", url=origin.as_uri(), digest=sha256_of(origin)[:8]
    )
    fetched = inception_weights.fetch(published)
    assert fetched.read_bytes() == origin.read_bytes()
    origin.unlink()
    assert inception_weights.fetch(published) == fetched  # not again
    fetched.unlink()
    torch.save({"fc.weight": torch.ones(3, 1)}, origin)
    with pytest.raises(InputError, match="invalid hash value.*--inception-weights PATH"):
        inception_weights.fetch(published)
    assert not fetched.exists()


def offline(*given, **options):
    raise URLError("no route to host")


def test_offline_is_one_line_and_the_classifiers_forms_still_run(world, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch_fidelity")
    pytest.importorskip("cleanfid")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    arguments = ["evaluate", str(world["text"]), f"evaluation.cache={tmp_path}"]
    cli.main([*arguments, "--inception-weights", "download"])
    output = capsys.readouterr()
    for name in ("inception_distances", "clean_distances", "s2igan_mean_average_precision"):
        [line] = [line for line in output.err.splitlines() if line.startswith(f"{name} is left out")]
        assert "no route to host" in line and "--inception-weights PATH" in line
        assert f"# {name}:" not in output.out
    assert "# classifier_distances: Classifier-based:" in output.out and "\nKID  " in output.out
    before = (world["text"] / "metrics.jsonl").read_text()
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--protocol", "classifier_distances", "--protocol", "inception_distances"])
    assert caught.value.code == 2 and "no route to host" in capsys.readouterr().err
    assert (world["text"] / "metrics.jsonl").read_text() == before


def test_weights_of_inception_are_fetched_only_for_protocols_that_are_named(world, tmp_path, monkeypatch):
    monkeypatch.setattr(inception_weights, "fetch", offline)
    path = load(world["text"], "cpu").path("text")
    records = evaluate(world["text"], (), replace(path.config.evaluation, cache=str(tmp_path)))
    assert not {"inception_distances", "clean_distances"} & {line["protocol"] for line in records}


def test_a_library_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity", None)
    with pytest.raises(InputError, match=r"expected torch-fidelity .* pip install -e '\.\[eval\]'"):
        inception_extractor("inception", "download")


def test_torch_fidelity_and_ours_agree_on_a_fake_extractor(world, tmp_path):
    pytest.importorskip("torch_fidelity")
    bank = bank_with(world, tmp_path, "inception")
    scores = PROTOCOLS["inception_distances"](bank)
    generated, real = bank.generated("inception"), bank.real("inception")
    metrics = values(scores)
    assert metrics["fid"] == pytest.approx(frechet_distance(generated[FEATURES], real[FEATURES]), rel=1e-5)
    precise, recalled = precision_and_recall(generated[FEATURES], real[FEATURES])
    assert metrics["precision"] == pytest.approx(precise.mean())
    assert metrics["recall"] == pytest.approx(recalled.mean())
    # Of 30 images a subset is all of the real ones, and half of the 60 generated ones at a time.
    ours = kernel_distance(generated[FEATURES], real[FEATURES])
    [kid] = [score for score in scores if score.metric == "kid" and score.of == "run"]
    assert kid.counts["subset"] == 30 and kid.value == pytest.approx(ours, abs=4 * kid.spread / 10)
    probabilities = np.exp(generated[LOGITS]) / np.exp(generated[LOGITS]).sum(1, keepdims=True)
    order = np.random.RandomState(2020).permutation(60)
    splits = [float(inception_score(probabilities[part])[0]) for part in np.array_split(order, 10)]
    assert metrics["inception_score"] == pytest.approx(np.mean(splits), rel=1e-5)
    [score] = [score for score in scores if score.metric == "inception_score" and score.of == "run"]
    assert score.spread == pytest.approx(np.std(splits), rel=1e-4)


def test_clean_fid_and_ours_agree_on_a_fake_extractor(world, tmp_path):
    pytest.importorskip("cleanfid")
    bank = bank_with(world, tmp_path, "clean")
    scores = PROTOCOLS["clean_distances"](bank)
    generated, real = bank.generated("clean")[FEATURES], bank.real("clean")[FEATURES]
    from cleanfid.fid import fid_from_feats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of an argument that SciPy 1.18 drops
        try:
            assert values(scores)["fid"] == pytest.approx(fid_from_feats(generated, real), rel=1e-4)
        except TypeError:
            assert values(scores)["fid"] == pytest.approx(frechet_distance(generated, real))
    assert values(scores)["kid"] == pytest.approx(kernel_distance(generated, real), rel=0.05)
    state = np.random.get_state()[1].copy()
    assert values(PROTOCOLS["clean_distances"](bank)) == values(scores)
    assert np.array_equal(np.random.get_state()[1], state)


def test_below_2048_images_fid_says_so_and_kid_leads(world, tmp_path):
    pytest.importorskip("torch_fidelity")
    pytest.importorskip("cleanfid")
    bank = bank_with(world, tmp_path, "inception", "clean")
    for name in ("inception_distances", "clean_distances", "classifier_distances"):
        scores = [score for score in PROTOCOLS[name](bank) if score.of == "run"]
        assert [score.metric for score in scores[:2]] == ["kid", "fid"]
        assert "under 2048: biased upward" in scores[1].note


def test_a_record_says_who_looked_and_how(world, tmp_path):
    pytest.importorskip("torch_fidelity")
    bank = bank_with(world, tmp_path, "inception")
    [scores] = measure(bank, ["inception_distances"]).values()
    line = record(bank, "inception_distances", scores[0])
    assert line["extractor"] == "fake inception" and line["extractor_hash"] == "cafe"
    assert line["resize"] == "none" and "real images" in line["reference"]
    assert line["counts"]["generated"] == 60 and line["counts"]["real"] == 30 and line["spread"] > 0
