from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2i.config_networks import GeneratorConfig
from s2i.errors import InputError
from s2i.files.output_folder import RECORD
from s2i.inference import save as export_module
from s2i.inference.model import load
from s2i.models.flow_prior import FlowPrior
from s2i.models.generator import StackedGenerator
from s2i.reports.export import export
from s2i.runs.checkpoint import write_checkpoint
from s2i.runs.stored_weights import pack, unpack
from tests.fixtures.models import write_tiny_run


@pytest.fixture()
def runs(tmp_path):
    return write_tiny_run(tmp_path / "speech"), write_tiny_run(tmp_path / "text", "text")


def test_an_exported_model_holds_the_averaged_weights_and_no_pickle(runs, tmp_path):
    export(runs, tmp_path / "model")
    names = {"README.md", "config.json", "speech.safetensors", "text.safetensors", RECORD}
    assert {file.name for file in (tmp_path / "model").iterdir()} == names
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    assert described["format"] == 1 and list(described["paths"]) == ["speech", "text"]
    assert described["paths"]["speech"]["vocabulary"] is None and described["paths"]["text"]["step"] == 7
    assert "bird" in described["paths"]["text"]["vocabulary"]
    weights = load_file(tmp_path / "model" / "speech.safetensors")
    assert {key.partition(".")[0] for key in weights} == {"caption_encoder", "image_encoder", "generator"}
    for key, value in load(runs[0]).path("speech").generator.state_dict().items():
        assert torch.equal(weights[f"generator.{key}"], value)


def test_a_learnt_prior_has_a_file_of_its_own_without_which_a_model_is_refused(tmp_path):
    run = write_tiny_run(tmp_path / "run", prior="flow", prior_dim=8, prior_layers=1)
    export([run], tmp_path / "model", bits=16)
    prior = load_file(tmp_path / "model" / "speech_prior.safetensors")
    others = load_file(tmp_path / "model" / "speech.safetensors")
    weights = load(run).path("speech").generator.prior.state_dict()
    assert prior.keys() == {f"generator.prior.{key}" for key in weights}
    assert others and not any("prior" in key for key in others)
    exported = load(tmp_path / "model").path("speech").generator.prior.state_dict()
    for key, value in weights.items():
        torch.testing.assert_close(exported[key], value.half().float())
    assert "`speech.safetensors` and `speech_prior.safetensors`" in (tmp_path / "model/README.md").read_text()
    (tmp_path / "model" / "speech_prior.safetensors").unlink()
    with pytest.raises(InputError, match="expected weights in .*speech_prior.safetensors"):
        load(tmp_path / "model")


class OtherGenerator(StackedGenerator):
    """Of another package, with a prior of its own."""

    def __init__(self, config: GeneratorConfig, embedding_dim: int) -> None:
        super().__init__(config, embedding_dim)
        self.prior = FlowPrior(replace(config, prior_dim=8, prior_layers=1), embedding_dim)


def test_the_prior_of_another_packages_generator_stands_with_its_other_weights(tmp_path):
    run = write_tiny_run(tmp_path / "run", network=f"{__name__}:OtherGenerator")
    export([run], tmp_path / "model")
    assert not (tmp_path / "model" / "speech_prior.safetensors").exists()
    assert isinstance(load(tmp_path / "model").path("speech").generator.prior, FlowPrior)


def test_an_export_in_the_place_of_one_with_a_prior_leaves_none_behind(tmp_path):
    export([write_tiny_run(tmp_path / "run", prior="flow", prior_dim=8)], tmp_path / "model")
    export([write_tiny_run(tmp_path / "other")], tmp_path / "model")
    assert not (tmp_path / "model" / "speech_prior.safetensors").exists()


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    for name in ("a/model", "b/model"):
        export(runs, tmp_path / name)
    for file in (tmp_path / "a/model").iterdir():
        assert file.read_bytes() == (tmp_path / "b/model" / file.name).read_bytes()


def test_the_card_states_data_commands_commit_sizes_and_the_latest_metrics(runs, tmp_path):
    export(runs, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    for said in (
        "data/manifest.jsonl",
        "s2i train-gan --config x.yaml",
        "c0ffee",
        "speech.safetensors",
        "MB",
    ):
        assert said in card
    assert "Of all that follows: step 6, 95 % intervals by percentile bootstrap over classes." in card
    assert (
        "| classifier_distances | KID | 0.7500 [0.2500, 0.3333] | 1,200 generated |" in card
        and "0.375" not in card
    )


def test_the_card_names_every_commit_that_trained(tmp_path):
    run = write_tiny_run(tmp_path / "run")
    code = [
        {"after_step": 0, "commit": "aa", "dirty": True},
        {"after_step": 300, "commit": "bb", "dirty": False},
    ]
    (run / "env.json").write_text(json.dumps({"commit": "bb", "code": code, "command": "s2i train-gan"}))
    export([run], tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "The generator, at commits aa with changes and bb (after step 300):" in card


def test_an_exported_model_names_no_folder_of_this_machine(runs, tmp_path):
    checkpoint = torch.load(runs[0] / "checkpoints" / "last.pt", weights_only=True)
    checkpoint["config"]["data"] = {
        "root": str(tmp_path),
        "pack": str(tmp_path),
        "manifest": f"{Path.cwd()}/birds.jsonl",
    }
    checkpoint["config"]["run"] = str(tmp_path / "run")
    write_checkpoint(runs[0] / "checkpoints" / "last.pt", checkpoint)
    export(runs, tmp_path / "model")
    for name in ("README.md", "config.json"):
        text = (tmp_path / "model" / name).read_text()
        assert str(tmp_path) not in text and str(Path.cwd()) not in text
    assert "`birds.jsonl`" in (tmp_path / "model" / "README.md").read_text()


def test_half_is_half_the_size_and_read_back_into_float32(runs, tmp_path):
    export(runs[:1], tmp_path / "whole")
    export(runs[:1], tmp_path / "half", bits=16)
    whole, half = (load(tmp_path / name).path("speech").generator.state_dict() for name in ("whole", "half"))
    for key, value in whole.items():
        assert half[key].dtype == value.dtype
        torch.testing.assert_close(half[key], value, atol=1e-3, rtol=1e-3)
    assert stored_bytes(tmp_path / "half") < 0.6 * stored_bytes(tmp_path / "whole")


def stored_bytes(model: Path) -> int:
    return sum(value.nbytes for value in load_file(model / "speech.safetensors").values())


def test_eight_bits_are_of_the_generator_and_half_a_step_of_its_row_apart_at_most(tmp_path):
    run = write_tiny_run(tmp_path / "run", prior="flow", prior_dim=8, prior_layers=1)
    for bits in (8, 16, 32):
        export([run], tmp_path / f"{bits}", bits=bits)
    paths = {bits: load(tmp_path / f"{bits}", "cpu").path("speech") for bits in (8, 16, 32)}
    for network in ("encoder", "image_encoder"):
        assert paths[8].fingerprint(network) == paths[32].fingerprint(network)
    assert paths[8].fingerprint("generator") != paths[32].fingerprint("generator")
    whole, short, half = (paths[bits].generator.state_dict() for bits in (32, 8, 16))
    stored = load_file(tmp_path / "8" / "speech.safetensors")
    stored |= load_file(tmp_path / "8" / "speech_prior.safetensors")
    for name, value in whole.items():
        if value.dim() < 2:
            assert torch.equal(short[name], half[name])
            continue
        assert stored[f"generator.{name}"].dtype == torch.int8 and short[name].dtype == torch.float32
        step = value.abs().flatten(1).amax(1) / 127
        assert ((short[name] - value).abs().flatten(1).amax(1) <= 0.501 * step).all(), name
    assert any(name.startswith("prior.") and value.dim() > 1 for name, value in whole.items())
    card = (tmp_path / "8" / "README.md").read_text()
    assert "| 8 bits (the generator's matrices and kernels), else float16 |" in card
    assert "What follows was measured before the generator was brought to 8 bits." in card
    assert "8 bits" not in (tmp_path / "16" / "README.md").read_text()


def test_rows_of_any_size_and_layout_are_stored_in_eight_bits():
    rows = torch.tensor([[0.0, 0.0], [0.5, -1.0], [1e-9, 0.0], [3e7, -1e7]])
    weights = {
        "generator.rows": rows,
        "speech_generator.turned": torch.randn(3, 5).T,
        "generator.none": torch.empty(3, 0),
        "generator.steps": torch.tensor([[3]]),
        "caption_encoder.rows": rows[:2],
    }
    packed = pack(weights, 8)
    assert all(value.is_contiguous() for value in packed.values())
    names = {name for name, value in packed.items() if value.dtype == torch.int8}
    assert names == {"generator.rows", "speech_generator.turned"}
    read = unpack(packed)
    assert read.keys() == weights.keys()
    for name, value in weights.items():
        largest = value.abs().flatten(1).amax(1, keepdim=True) if value.numel() else value
        assert ((read[name] - value).abs() <= 0.501 / 127 * largest).all(), name


def test_eight_bits_without_what_scales_them_are_refused(tmp_path):
    export([write_tiny_run(tmp_path / "run")], tmp_path / "model", bits=8)
    file = tmp_path / "model" / "speech.safetensors"
    stored = load_file(file)
    scale = next(name for name in stored if name.endswith("scale_of_rows"))
    of = scale.removesuffix(".scale_of_rows")
    for broken, expected in (
        ({name: value for name, value in stored.items() if name != scale}, "numbers that scale them none"),
        (stored | {scale: stored[scale][:1]}, r"numbers that scale them \(1,\)"),
        ({name: value for name, value in stored.items() if name != of}, "fit the configuration"),
    ):
        save_file(broken, file)
        with pytest.raises(InputError, match=expected):
            load(tmp_path / "model")


def test_other_bits_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match="expected 32, 16 or 8 bits of a stored weight, found 4: choose one"):
        export(runs[:1], tmp_path / "model", bits=4)
    assert not (tmp_path / "model").exists()


def test_an_exported_model_is_replaced_and_nothing_else_is(runs, tmp_path):
    model = tmp_path / "model"
    export(runs, model)
    export(runs[:1], model)
    assert list(load(model).paths) == ["speech"] and not (model / "text.safetensors").exists()
    (model / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="notes.txt"):
        export(runs, model)
    other = tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("mine")
    with pytest.raises(InputError, match="README.md"):
        export(runs, other)
    with pytest.raises(InputError, match="a file of that name"):
        export(runs, model / "notes.txt")
    assert (other / "README.md").read_text() == "mine" and list(load(model).paths) == ["speech"]
    (model / "notes.txt").unlink()
    (model / "README.md").write_text("my own card")
    with pytest.raises(InputError, match="found README.md there"):
        export(runs, model)
    with pytest.raises(InputError, match="which is read"):
        export([model], tmp_path / "text" / ".." / "model")
    assert (model / "README.md").read_text() == "my own card" and list(load(model).paths) == ["speech"]


def test_a_model_from_before_there_were_records_is_replaced_but_no_project_of_the_same_names(runs, tmp_path):
    model, project = tmp_path / "model", tmp_path / "project"
    export(runs, model)
    (model / RECORD).unlink()
    export(runs[:1], model)
    assert list(load(model).paths) == ["speech"] and not (model / "text.safetensors").exists()
    project.mkdir()
    for content in ('{"name": "mine"}', '{"format": 1, "paths": ["x"]}', "not JSON"):
        (project / "config.json").write_text(content)
        (project / "README.md").write_text("mine")
        with pytest.raises(InputError, match="found README.md there"):
            export(runs, project)
        assert (project / "config.json").read_text() == content


def test_a_kill_between_the_renames_of_a_model_leaves_what_the_next_call_completes(
    runs, tmp_path, monkeypatch
):
    model, replaced = tmp_path / "model", os.replace
    export(runs, model)

    def dies_at_config(source, target):
        if Path(target) == model / "config.json":
            raise KeyboardInterrupt
        replaced(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies_at_config)
        with pytest.raises(KeyboardInterrupt):
            export(runs[:1], model)
    assert not (model / "config.json").exists()  # so that nobody takes it for a whole one
    export(runs[:1], model)
    assert list(load(model).paths) == ["speech"]


def test_an_empty_folder_is_filled(runs, tmp_path):
    (tmp_path / "model").mkdir()
    export(runs, tmp_path / "model")
    assert set(load(tmp_path / "model").paths) == {"speech", "text"}


def test_what_fails_leaves_what_was_there_and_nothing_beside_it(runs, tmp_path, monkeypatch):
    model = tmp_path / "models" / "model"
    export(runs[:1], model)
    before = {file.name: file.read_bytes() for file in model.iterdir()}

    written = []

    def fails_at_text(weights):
        written.append(weights)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return b""

    monkeypatch.setattr(export_module, "save", fails_at_text)
    with pytest.raises(InputError, match="No space left"):
        export(runs, model)
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before
    assert [file.name for file in model.parent.iterdir()] == ["model"]


def test_runs_that_can_not_be_exported_are_named(runs, tmp_path):
    with pytest.raises(InputError, match="found two"):
        export([runs[0], runs[0]], tmp_path / "model")
    with pytest.raises(InputError, match="no such folder"):
        export([runs[0], tmp_path / "nothing"], tmp_path / "model")
    with pytest.raises(InputError, match="at least one run"):
        export([], tmp_path / "model")
    assert not (tmp_path / "model").exists()
