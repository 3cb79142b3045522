"""The command line: parsing, one line for what is wrong, and nothing imported that is not needed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import s2i
from s2i import cli
from s2i.config import Config
from s2i.config_files import load_config

COMMANDS = (
    "train-encoder",
    "train-gan",
    "train-regression",
    "train-cross-modal",
    "train-classifier",
    "train-speech-classifier",
    "systems",
    "show-config",
    "plot",
    "generate",
    "about",
    "evaluate",
    "compare",
    "export",
    "app",
)


@pytest.fixture
def calls(monkeypatch) -> list:
    """Stands in for what the commands call; holds (name, arguments, options) of each call."""
    recorded_calls: list = []
    known = {"by_class": types.SimpleNamespace(procedure="how by_class is done")}
    # Before the fakes below: it imports what they replace.
    monkeypatch.setattr("s2i.evaluation.protocols.registry.PROTOCOLS", known)

    def stand_in(module: str, name: str, result=None, **others) -> None:
        def call(*arguments, **options):
            recorded_calls.append((name, arguments, options))
            return result

        fake = types.ModuleType(module)
        for attribute, value in {name: call, **others}.items():
            setattr(fake, attribute, value)
        monkeypatch.setitem(sys.modules, module, fake)
        parent, _, child = module.rpartition(".")
        monkeypatch.setattr(importlib.import_module(parent), child, fake, raising=False)

    extractor = {"extractor": "a network", "extractor_hash": "0a1b", "resize": "none", "reference": "images"}
    when = {"modality": "speech", "split": "test", "step": 7, "seed": 0, "weights": "ema"}
    common = {"metric": "mAP", "protocol": "by_class", "counts": {"captions": 1200}, **extractor, **when}
    metrics = [
        {"value": 0.512391, "interval95": [0.5, 0.53331], "of": "run", **common},
        {"value": 0.1, "interval95": None, "of": "chance", **common},
    ]
    stand_in("s2i.training.encoder", "train_encoder")
    stand_in("s2i.training.gan", "train_gan")
    stand_in("s2i.training.regression", "train_regression")
    stand_in("s2i.training.cross_modal", "train_cross_modal")
    stand_in("s2i.training.classifier", "train_classifier")
    stand_in("s2i.training.speech_classifier", "train_speech_classifier")
    written = [Path("out.png"), Path("where.png")]
    stand_in("s2i.inference.generate", "generate", written, check_outputs=lambda files: None)
    stand_in(
        "s2i.evaluation.records",
        "evaluate",
        metrics,
        settings_of=lambda run, overrides: {"evaluation": f"settings of {run} with {' '.join(overrides)}"},
    )
    stand_in("s2i.reports.compare", "compare")
    stand_in("s2i.reports.export", "export")
    return recorded_calls


@pytest.fixture
def config_file(tmp_path) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text("seed: 3\n")
    return path


def refused(capsys, *words: str) -> str:
    """The one line on stderr of a command that exits with status 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("s2i: error: ") and printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("train-encoder", "train_encoder"),
        ("train-gan", "train_gan"),
        ("train-regression", "train_regression"),
        ("train-cross-modal", "train_cross_modal"),
        ("train-classifier", "train_classifier"),
        ("train-speech-classifier", "train_speech_classifier"),
    ],
)
def test_a_training_gets_the_file_with_its_overrides(calls, config_file, command, name):
    cli.main([command, "--config", str(config_file), "run=here", "gan.steps=7"])
    [(called, (config,), _)] = calls
    assert called == name and isinstance(config, Config)
    assert (config.seed, config.run, config.gan.steps) == (3, "here", 7)


def test_options_that_would_mean_nothing_are_refused(capsys, calls, tmp_path):
    clip, output = str(tmp_path / "a.wav"), ["generate", "--model", "m", "--output", "out.png"]
    Path(clip).touch()
    for words, option in (
        (["--speech", clip, "--frames", "4"], "--frames"),
        (["--speech", clip, "--root", "there"], "--root"),
        (["--interpolate", clip, clip, "--stages"], "--stages"),
        (["--interpolate", clip, clip, "--root", "there"], "--root"),
    ):
        assert f"leave out {option}" in refused(capsys, *output, *words)
    assert not calls


@pytest.mark.parametrize(
    "words",
    [
        ("seedd=1",),
        ("seed=x",),
        ("seed",),
        ("modality=image",),
        ("gan.grow=[0.5",),
        ("gan.grow[0]=0.5",),
        ("gan.generator_steps=0",),
        ("gan.batch_size=1",),
        ("gan.penalty_every=0",),
        ("evaluation.captions=11",),
        ("generator.base_size=24",),
    ],
)
def test_a_bad_override_is_one_line(capsys, calls, config_file, words):
    refused(capsys, "train-gan", "--config", str(config_file), *words)
    assert not calls


@pytest.mark.parametrize(
    "given", ["birds #2/pack", "007", "no", "1e3", "12:30", "a: b", "[x]", "na\u00efve", ""]
)
def test_text_in_a_key_value_word_is_taken_letter_by_letter(config_file, given):
    config = load_config(config_file, [f"data.pack={given}", "seed=3", "gan.grow=[0.25]"])
    assert (config.data.pack, config.seed, config.gan.grow) == (given, 3, (0.25,))


def test_show_config_prints_what_reads_back_as_the_same_configuration(capsys, config_file, tmp_path):
    cli.main(["show-config", "--config", str(config_file), "run=here"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "printed.yaml") == load_config(config_file, ["run=here"])


def test_generate_passes_every_option_on(capsys, calls, tmp_path):
    (tmp_path / "x.wav").touch()
    words = f"--model m --speech {tmp_path}/x.wav --output out.png --count 4 --seed 9 --stages"
    cli.main(["generate", *words.split(), "--attention", "where.png", "--device", "cpu"])
    [(_, _, options)] = calls
    assert options == {
        "model": Path("m"),
        "speech": tmp_path / "x.wav",
        "text": None,
        "output": Path("out.png"),
        "count": 4,
        "seed": 9,
        "truncation": 1.0,
        "guidance": 0.0,
        "candidates": 1,
        "bf16": False,
        "stages": True,
        "scale": 1,
        "caption": False,
        "attention": Path("where.png"),
        "device": "cpu",
    }
    assert capsys.readouterr().out == "out.png\nwhere.png\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "COMMAND"),
        (("paint",), "paint"),
        (("train-gan",), "--config"),
        (("train-gan", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("train-gan", "--conf", "nowhere.yaml"), "--config"),
        (("generate", "--model", "m", "--output", "o.png"), "--speech"),
        (("generate", "--model", "m", "--output", "o.png", "--text", "a", "--speech", "b"), "not allowed"),
        (("generate", "--model", "m", "--output", "o.png", "--text", "a", "--count", "0"), "1 to 10000"),
        (("generate", "--model", "m", "--output", "o.png", "--text", "a", "--seed", "-1"), "--seed"),
        (("generate", "--model", "m", "--output", "o.png", "--speech", "nowhere.wav"), "nowhere.wav"),
        (("compare", "a", "b"), "--output"),
        (("export", "only-one"), "DIR"),
    ],
)
def test_a_wrong_use_is_one_line_and_status_2(capsys, calls, words, expected):
    assert expected in refused(capsys, *words)
    assert not calls


def test_evaluate_prints_numbers_for_people_or_as_json(capsys, calls):
    cli.main(["evaluate", "run", "--protocol", "a", "--protocol", "b"])
    assert capsys.readouterr().out.splitlines() == [
        "# by_class: how by_class is done",
        "# from speech, test split, step 7, seed 0, ema weights",
        "# extractor: a network (0a1b), resize: none; reference: images",
        "     value                 chance  n",
        "mAP  0.512 [0.500, 0.533]  0.100   1,200 captions",
    ]
    cli.main(["evaluate", "run", "--json", "--protocol", "a", "b", "evaluation.captions=2"])
    measured, chance = json.loads(capsys.readouterr().out)
    assert (
        chance["value"] == 0.1
        and measured["value"] == 0.512391
        and measured["procedure"] == "how by_class is done"
    )
    assert [arguments for _, arguments, _ in calls] == [(Path("run"), ["a", "b"])] * 2
    settings = {"evaluation": "settings of run with evaluation.captions=2"}
    assert [options for _, _, options in calls] == [{}, settings]


def test_evaluate_takes_other_settings_and_weights(capsys, calls):
    cli.main(["evaluate", "run", "evaluation.captions=10", "--inception-weights", "w.pth"])
    cli.main(["evaluate", "run", "--inception-weights", "w.pth", "evaluation.captions=10"])
    settings = "evaluation.captions=10 evaluation.inception_weights=w.pth"
    for _, arguments, options in calls:
        assert arguments == (Path("run"), [])
        assert options == {"evaluation": f"settings of run with {settings}"}
    capsys.readouterr()
    assert "unrecognized arguments: captions" in refused(capsys, "evaluate", "run", "--json", "captions")
    assert "unrecognized arguments: a=b" in refused(capsys, "export", "a", "b", "--bits", "8", "a=b")
    assert "invalid choice: 4" in refused(capsys, "export", "a", "b", "--bits", "4")
    assert "see `s2i plot --help`" in refused(capsys, "plot", "run", "--fast")
    assert "1 to 65535, found '70000'" in refused(capsys, "app", "--port", "70000")
    too_long = ("generate", "--model", "m", "--text", "a", "--output", "a.png", "--seed", "9" * 19)
    assert "0 or more, of 18 digits at most, found" in refused(capsys, *too_long)


def test_compare_and_export_get_their_folders(capsys, calls):
    cli.main(["compare", "s", "t", "--output", "report", "evaluation.seed=3"])
    cli.main(["export", "s", "t", "model"])
    cli.main(["export", "s", "model", "--bits", "8"])
    (_, _, compared), (_, *exported), (_, *in_8_bits) = calls
    assert [str(compared.pop(name)) for name in ("speech_run", "text_run", "output")] == ["s", "t", "report"]
    expected = {"also_speech": [], "also_text": [], "overrides": ["evaluation.seed=3"], "recogniser": ""}
    assert compared == expected
    assert exported == [([Path("s"), Path("t")], Path("model")), {"bits": 32, "license": "unknown"}]
    assert in_8_bits == [([Path("s")], Path("model")), {"bits": 8, "license": "unknown"}]
    calls.clear()
    further = ["--also-speech", "s1", "--also-speech", "s2", "--also-text", "t1"]
    cli.main(["compare", "s", "t", *further, "--output", "report"])
    [(_, _, compared)] = calls
    assert (compared["also_speech"], compared["also_text"]) == ([Path("s1"), Path("s2")], [Path("t1")])
    capsys.readouterr()
    cli.main(["compare", "s", "t", "--output", "report"])
    cli.main(["export", "s", "t", "model"])
    assert capsys.readouterr().out == "report/index.html\nmodel\n"


def test_help_names_every_command_and_loads_nothing_heavy():
    program = (
        "import sys\nfrom s2i.cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(sorted({'torch', 'numpy', 'librosa', 'omegaconf', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_packages_own(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"s2i {s2i.__version__}")
    setup = Path(s2i.__file__).parents[1] / "setup.py"
    if setup.is_file():
        completed = subprocess.run(
            [sys.executable, setup, "--version"], cwd=setup.parent, capture_output=True, text=True, check=True
        )
        assert completed.stdout.split()[-1] == s2i.__version__


def test_a_shell_completes_verbs_options_and_files(capsys, tmp_path, monkeypatch):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as caught:
        cli.main(["--print-completion", "bash"])
    assert caught.value.code == 0
    (tmp_path / "s2i.bash").write_text(capsys.readouterr().out)
    program = (
        "source s2i.bash; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        '_shtab_s2i s2i "${COMP_WORDS[COMP_CWORD]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    (tmp_path / "bird.wav").touch()
    for words, expected in (
        ("s2i tab", "tabulate"),
        ("s2i generate --trunc", "--truncation"),
        ("s2i app --device cu", "cuda"),
        ("s2i generate --speech bi", "bird.wav"),
    ):
        done = subprocess.run(
            ["bash", "-c", program, "bash", words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [expected], words
    with pytest.raises(SystemExit):
        cli.main(["--print-completion", "zsh"])
    assert "#compdef s2i" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install -e '.[completion]'" in refused(capsys, "--print-completion", "bash")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: s2i {command}" in capsys.readouterr().out
