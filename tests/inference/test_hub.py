"""Models at hf://OWNER/NAME, over huggingface_hub itself and a stand-in for its server."""

from __future__ import annotations

import sys
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

from s2i import cli
from s2i.errors import InputError
from s2i.files.output_folder import RECORD
from s2i.inference.hub import model_folder
from s2i.inference.model import load
from s2i.runs.stored import FILES
from tests.fixtures.hub import Hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that huggingface_hub talks to, with an empty cache."""
    served = Hub()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
    template = f"{served.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield served
    served.close()


@pytest.fixture
def published(hub, model):
    """The session's exported model as `main` of anna/birds, beside what no model needs."""
    files = {file.name: file.read_bytes() for file in model.iterdir()}
    hub.models["anna/birds"]["main"] = files | {"weights.bin": b"a pickle", "images/1.png": b"an image"}
    return hub


def test_an_address_is_the_model_that_was_published(published, model):
    [image] = load("hf://anna/birds").generate(text="a small red bird")
    [same] = load(model).generate(text="a small red bird")
    assert image.tobytes() == same.tobytes()
    fetched = {request.rpartition("/")[2] for request in published.asked if "/resolve/" in request}
    assert fetched == FILES & {file.name for file in model.iterdir()}  # no pickle, no record of outputs


def test_it_is_fetched_once_and_opened_without_a_network(published, monkeypatch):
    folder = model_folder("hf://anna/birds")
    published.asked.clear()
    assert model_folder("hf://anna/birds") == folder
    assert not [request for request in published.asked if "/resolve/" in request]
    published.close()
    assert model_folder("hf://anna/birds") == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert model_folder("hf://anna/birds") == folder and set(load("hf://anna/birds").paths) == {
        "speech",
        "text",
    }


def test_a_revision_is_a_branch_a_tag_or_a_commit(published):
    card = {"README.md": b"of the tag"}
    published.models["anna/birds"]["v1"] = published.models["anna/birds"]["main"] | card
    tagged = model_folder("hf://anna/birds@v1")
    assert (
        (tagged / "README.md").read_bytes()
        == b"of the tag"
        != (model_folder("hf://anna/birds") / "README.md").read_bytes()
    )
    assert model_folder(f"hf://anna/birds@{tagged.name}") == tagged  # a snapshot is named by its commit


def test_what_the_command_line_makes_a_path_is_still_an_address(published, tmp_path, capsys):
    output = tmp_path / "bird.png"
    cli.main(
        ["generate", "--model", "hf://anna/birds", "--text", "a small red bird", "--output", str(output)]
    )
    assert output.is_file() and capsys.readouterr().out.strip() == str(output)


def test_a_model_is_named_by_its_address_and_loaded_by_that_again(published):
    origin = load("hf://anna/birds").origin
    assert origin.name == "birds" and set(load(origin, only="text").paths) == {"text"}


def test_a_folder_is_itself(model):
    assert model_folder(model) == model and model_folder("checkpoints/hf") == Path("checkpoints/hf")


@pytest.mark.parametrize(
    "address, said",
    [
        ("hf://birds", "expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION, found hf://birds:"),
        ("hf://anna/birds/main", "found hf://anna/birds/main:"),
        ("hf://anna/birds@", "found hf://anna/birds@:"),
        ("hf://anna/fish", "expected a model at hf://anna/fish, found none that you may read:"),
        ("hf://anna/birds@v9", "expected a revision of hf://anna/birds, found none named v9:"),
        ("hf://anna/notes", "at hf://anna/notes, found no config.json there:"),
    ],
)
def test_each_error_is_one_line(published, address, said):
    published.models["anna/notes"]["main"] = {"README.md": b"no model"}
    with pytest.raises(InputError) as error:
        load(address)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_neither_cache_nor_network_is_one_line(published):
    published.close()
    with pytest.raises(
        InputError, match="expected hf://anna/birds in the cache of huggingface_hub or a network"
    ):
        load("hf://anna/birds")


def test_a_server_that_fails_is_one_line(published, monkeypatch):
    monkeypatch.setattr(published, "answer", lambda *_: (500, {}, b"out of\norder"))
    with pytest.raises(InputError) as error:
        load("hf://anna/birds")
    assert "hf://anna/birds" in str(error.value) and "\n" not in str(error.value)


def test_without_huggingface_hub_an_address_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"found none: pip install -e '\.\[hub\]'"):
        load("hf://anna/birds")


def test_an_exported_folder_is_uploaded_as_it_is_and_comes_back(hub, model):
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token="hf_stand_in")
    api.upload_folder(repo_id="anna/birds", folder_path=model)
    assert set(hub.models["anna/birds"]["main"]) >= {file.name for file in model.iterdir()} - {RECORD}
    [image] = load("hf://anna/birds").generate(text="a small red bird", seed=3)
    [same] = load(model).generate(text="a small red bird", seed=3)
    assert image.tobytes() == same.tobytes()


def test_the_card_is_read_by_the_hub(model):
    card = huggingface_hub.ModelCard.load(model / "README.md")
    assert card.data.license == "unknown" and card.data.library_name == "s2i"
    assert card.data.tags == ["s2i", "speech-to-image", "text-to-image", "gan"]
    assert card.data.datasets == ["data"]  # the folder of the manifest
    results = {(result.task_type, result.metric_type): result for result in card.data.eval_results}
    assert set(results) == {("speech-to-image", "kid"), ("text-to-image", "kid")}
    kid = results["speech-to-image", "kid"]
    assert kid.metric_value == 0.75 and kid.metric_args["interval95"] == [0.25, 0.3333]  # the last, step 6
    assert kid.metric_args["protocol"] == "classifier_distances" and kid.metric_args["n"] == "1,200 generated"
    assert card.data.metrics == ["kid"] and card.data.model_name == "model"
    front = yaml.safe_load(card.content.split("---\n")[1])
    assert list(front) == ["license", "library_name", "tags", "datasets", "metrics", "model-index"]
