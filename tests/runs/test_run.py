"""A run's folder holds what made it, refuses another configuration and rewinds its logs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from s2i.config import Config, EvaluationConfig, GanConfig, LogConfig, MatchingConfig
from s2i.config_data import DataConfig
from s2i.config_files import RETIRED, config_from_dict, config_to_dict, load_config
from s2i.config_networks import GeneratorConfig
from s2i.errors import InputError
from s2i.files.unfinished import PART
from s2i.runs.run import begun_config, open_run


def make_config(folder, **changes) -> Config:
    return replace(Config(run=str(folder)), **changes)


def test_a_new_run_gets_its_whole_configuration(tmp_path):
    config = make_config(tmp_path / "exp" / "run", seed=7)
    run = open_run(config)
    assert load_config(run.folder / "config.yaml") == config
    assert run.label == "run"


def test_a_run_with_settings_that_have_retired_continues_and_a_preset_with_them_is_refused(tmp_path):
    config = make_config(tmp_path / "run", seed=7)
    file = open_run(config).folder / "config.yaml"
    text = file.read_text()
    older = text.replace("gan:\n", "gan:\n" + "".join(f"  {key}: 0.75\n" for key in RETIRED))
    file.write_text(older)
    (file.parent / "env.json").write_text("{}")  # as each run has it
    assert older.count("posterior_deviation") == 1 and begun_config(config) == config
    assert open_run(config).label == "run"
    (tmp_path / "preset.yaml").write_text(older)
    with pytest.raises(InputError, match="posterior_deviation"):
        load_config(tmp_path / "preset.yaml")
    for broken in ("[1, 2]\n", "gan: 3\n", "gan:\n", ""):
        file.write_text(broken)
        with pytest.raises(InputError) as error:
            open_run(config)
        assert "\n" not in str(error.value)
    values = config_to_dict(config)
    values["gan"] |= dict.fromkeys(RETIRED, 0.75)
    assert config_from_dict(values, "a model") == config


@pytest.mark.parametrize(
    "theirs", ["photo.jpg", "log.jsonl", "env.json", "checkpoints/last.pt", "samples/x.png"]
)
def test_a_folder_that_is_no_run_is_refused_and_stays(tmp_path, theirs):
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).write_text("mine")
    with pytest.raises(InputError, match=f"or a run, at .*, found {theirs} there"):
        open_run(make_config(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / theirs]


def test_a_configuration_that_somebody_wrote_is_not_taken_for_a_runs(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    config = load_config(tmp_path / "config.yaml", [f"run={tmp_path}"])
    with pytest.raises(InputError, match="found config.yaml there"):
        open_run(config)
    assert (tmp_path / "config.yaml").read_text() == "seed: 7\n"


def test_what_a_killed_start_has_left_is_swept_by_the_next(tmp_path):
    left = [f".env.json.abcdefgh{PART}", f"samples/.step-00000001.png.abcdefgh{PART}", ".lock"]
    (tmp_path / "samples").mkdir()
    for name in left:
        (tmp_path / name).write_text("")
    run = open_run(
        make_config(tmp_path)
    )  # killed before there was a configuration: the folder is as good as new
    open_run(make_config(tmp_path))
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "config.yaml", "samples"]
    assert not list(run.samples.iterdir())


def test_another_configuration_is_refused_with_every_key_and_both_values(tmp_path):
    open_run(make_config(tmp_path, seed=1))
    other = make_config(tmp_path, seed=2, matching=MatchingConfig(steps=5), device="cpu")
    with pytest.raises(InputError) as caught:
        open_run(other)
    text = str(caught.value)
    assert "seed: 1 -> 2" in text and "matching.steps: 10000 -> 5" in text and "device:" not in text
    assert load_config(tmp_path / "config.yaml").seed == 1


def test_a_value_given_to_a_run_that_had_none_is_a_difference(tmp_path):
    open_run(make_config(tmp_path))
    with pytest.raises(InputError, match="data.pack: nothing -> there"):
        open_run(make_config(tmp_path, data=DataConfig(pack="there")))


def test_what_decides_nothing_that_is_learnt_may_change(tmp_path):
    open_run(make_config(tmp_path))
    changes = {
        "log": LogConfig(every=1),
        "data": DataConfig(workers=2),
        "evaluation": EvaluationConfig(seed=3),
    }
    other = make_config(tmp_path, device="cpu", threads=3, **changes)
    open_run(other)
    assert load_config(tmp_path / "config.yaml") == other


@pytest.mark.parametrize("kind", ["encoder", "classifier"])
def test_what_a_training_does_not_read_may_change_without_a_word(kind, tmp_path, capsys):
    open_run(make_config(tmp_path), kind)
    generator = GeneratorConfig(channels=8)
    other = make_config(tmp_path, gan=GanConfig(steps=5), generator=generator)
    open_run(other, kind)
    assert load_config(tmp_path / "config.yaml").gan.steps == GanConfig().steps
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="gan.steps.*generator.channels|generator.channels.*gan.steps"):
        open_run(other, "gan")
    with pytest.raises(InputError, match="found generator.stages: 3 -> 2: "):  # how large images are
        open_run(make_config(tmp_path, generator=replace(generator, stages=2)), kind)


def test_changed_matching_settings_stop_an_encoder_run(tmp_path):
    open_run(make_config(tmp_path), "encoder")
    with pytest.raises(InputError, match="matching.steps"):
        open_run(make_config(tmp_path, matching=MatchingConfig(steps=5)), "encoder")


def test_a_run_may_be_moved(tmp_path):
    open_run(make_config(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert open_run(make_config(tmp_path / "there")).label == "there"


def test_a_process_that_may_not_write_still_refuses(tmp_path):
    open_run(make_config(tmp_path / "new"), writes=False)
    assert not (tmp_path / "new").exists()
    open_run(make_config(tmp_path, seed=1))
    with pytest.raises(InputError, match="seed"):
        open_run(make_config(tmp_path, seed=2), writes=False)


def test_rewinding_drops_later_lines_a_half_one_and_keeps_numbers_without_a_step(tmp_path):
    run = open_run(make_config(tmp_path))
    for step in (10, 20, 30):
        run.log({"step": step, "seconds": 0.5, "loss/é": step / 3})
    run.metric({"metric": "mAP", "value": 0.5, "step": 20})
    run.metric({"metric": "fid", "value": 9.0})
    with open(tmp_path / "log.jsonl", "a") as stream:
        stream.write('{"step": 40, "los')
    assert [line["step"] for line in run.read_log()] == [10, 20, 30]
    run.rewind(15)
    assert run.read_log() == [{"step": 10, "seconds": 0.5, "loss/é": 10 / 3}]
    assert [line["metric"] for line in run.read_metrics()] == ["fid"]
    run.log({"step": 20, "seconds": 1.0})
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_what_follows_a_half_line_takes_its_place_and_words_may_hold_any_character(tmp_path):
    run = open_run(make_config(tmp_path))
    run.log({"step": 1, "note": "one\u2028line\x85"})
    with open(tmp_path / "log.jsonl", "a") as stream:
        stream.write('{"step": 2, "los')
    run.log({"step": 3})
    assert run.read_log() == [{"step": 1, "note": "one\u2028line\x85"}, {"step": 3}]
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match="expected to write .*metrics.jsonl"):
        run.metric({"metric": "mAP", "value": 0.5})


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    run = open_run(make_config(tmp_path))
    (tmp_path / "log.jsonl").write_text('{"step": 1}\nrubbish\n{"step": 2}\n')
    with pytest.raises(InputError, match="log.jsonl, line 2"):
        run.read_log()


def test_the_environment_names_versions_command_and_commit_but_no_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/s2i/__main__.py", "train-gan", "--config", "a b.yaml"])
    run = open_run(make_config(tmp_path))
    run.write_environment(0, device="cpu", processes=1)
    environment = json.loads((tmp_path / "env.json").read_text())
    assert environment["command"] == "s2i train-gan --config 'a b.yaml'"
    assert environment["packages"]["torch"].startswith("2.")
    assert environment["device"] == "cpu" and {"commit", "dirty", "python"} <= set(environment)
    assert "/some/where" not in json.dumps(environment)


def test_the_environment_keeps_every_commit_that_trained(tmp_path, monkeypatch):
    run = open_run(make_config(tmp_path))
    (tmp_path / "env.json").write_text('{"commit": "a", "dirty": false}')  # as before it had the list
    for step, code in ((200, ("a", False)), (300, ("a", False)), (600, ("b", True)), (700, ("b", True))):
        monkeypatch.setattr("s2i.runs.run.commit", lambda code=code: code)
        run.write_environment(step)
    first = {"after_step": 0, "commit": "a", "dirty": False}
    second = {"after_step": 600, "commit": "b", "dirty": True}
    assert json.loads((tmp_path / "env.json").read_text())["code"] == [first, second]
    # A start that goes on from before the second commit's steps takes them again.
    monkeypatch.setattr("s2i.runs.run.commit", lambda: ("c", False))
    run.write_environment(600)
    third = {"after_step": 600, "commit": "c", "dirty": False}
    assert json.loads((tmp_path / "env.json").read_text())["code"] == [first, third]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder"):
        open_run(make_config(tmp_path / "file" / "run"))
