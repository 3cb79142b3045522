"""run.sh of a recipe: its options, its list of stages, the commands that it prints, and its environment."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.tree import write_tree

ROOT = Path(__file__).parents[2]
RUN = ROOT / "recipes" / "painted_birds" / "run.sh"
STAGES = (
    "draw",
    "speak",
    "pack",
    "classifier",
    "encoders",
    "generators",
    "evaluate",
    "compare",
    "export",
)


def bash(*words: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    known = {name: value for name, value in os.environ.items() if name != "S2I_PYTHON"}
    return subprocess.run(
        [shutil.which("bash"), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**known, **environment},
        check=False,
    )


def planned(*words: str, **options) -> list[list[str]]:
    """The commands that run.sh would run, one list of words each."""
    done = bash(RUN, "--dry-run", *words, **options)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def values(command: list[str]) -> dict[str, str]:
    """The key=value words of a command; a later one wins."""
    return dict(word.split("=", 1) for word in command if "=" in word)


def test_list_names_the_stages_and_runs_nothing():
    done = bash(RUN, "--list")
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(line[0], line[1]) for line in lines] == [(str(n), name) for n, name in enumerate(STAGES, 1)]


def test_a_dry_run_prints_commands_and_changes_nothing(tmp_path):
    commands = planned("--root", str(tmp_path / "data"))
    assert all(words[0].endswith("python") and words[1] == "-m" for words in commands)
    assert {words[2] for words in commands} == {
        "data_prep.painted_birds",
        "data_prep.synthesize_speech",
        "data_prep.check",
        "data_prep.pack",
        "s2i",
    }
    assert list(tmp_path.iterdir()) == []


def test_who_speaks_is_the_plan_that_was_named_or_the_presets():
    def plan(*words: str) -> str:
        command, *_ = planned("--stage", "2", "--stop-stage", "2", *words)
        return command[command.index("--plan") + 1]

    folder = "recipes/painted_birds/voices"
    assert plan() == f"{folder}/default.yaml"
    assert plan("--preset", "best") == f"{folder}/best.yaml"
    assert plan("--preset", "best", "--voices", "others.yaml") == "others.yaml"


def test_speech_and_text_differ_in_modality_run_and_encoder_alone():
    for number in ("5", "6"):
        speech, text, *_ = planned("--stage", number, "--stop-stage", number)
        assert speech[:4] == text[:4]
        changed = {key for key in values(speech) if values(speech)[key] != values(text)[key]}
        assert changed == ({"modality", "run"} if number == "5" else {"modality", "run", "gan.encoder"})
    encoder, gan = (planned("--stage", n, "--stop-stage", n)[0] for n in ("5", "6"))
    assert values(gan)["gan.encoder"] == values(encoder)["run"]


def test_a_network_that_scores_is_not_trained_where_another_is_named():
    stages = ("--stage", "4", "--stop-stage", "5")
    named = {"train-classifier": "evaluation.classifier", "seed=100": "evaluation.r_precision_encoder"}
    usual = planned(*stages)
    for word, key in named.items():
        other = planned(*stages, "--", f"{key}=exp/other")
        left_out = [words for words in usual if word in words]
        assert len(left_out) == 1 and len(other) == len(usual) - 1
        assert not any(word in words for words in other)


def trainings(*options: str) -> list[str]:
    """The runs that are trained, in the order in which a single core would train them."""
    runs = [values(words).get("run") for words in planned(*options) if words[2] == "s2i"]
    return [Path(run).name for run in runs if run]


def test_the_classifier_follows_the_text_encoder_where_both_are_trained():
    alone = trainings("--stage", "4", "--stop-stage", "4")
    assert alone == ["default-classifier"]
    encoders = [f"default-{name}-encoder" for name in ("speech", "text", "r-precision")]
    assert trainings("--stage", "4", "--stop-stage", "5") == encoders + alone
    assert trainings("--stage", "5", "--stop-stage", "5") == encoders
    # Where no captions are matched there is nothing beside which it could be.
    unmatched = trainings("--preset", "deep_cross_modal_random", "--stage", "4", "--stop-stage", "5")
    assert unmatched[0] == "deep_cross_modal_random-classifier"


def test_the_classifier_is_trained_on_data_of_its_own():
    commands = planned()
    packs = {values(words)["data.pack"] for words in commands if words[2] == "data_prep.pack"}
    [classifier] = [words for words in commands if "train-classifier" in words]
    assert len(packs) == 2 and values(classifier)["classifier.pack"] in packs
    assert values(classifier)["classifier.pack"] != values(classifier)["data.pack"]
    generated = [words for words in commands if words[2] == "data_prep.painted_birds"]
    assert (
        len({words[words.index("--output") + 1] for words in generated}) == 2
        and "--independent" in generated[1]
    )


def test_options_reach_the_commands(tmp_path):
    options = ["--preset", "default", "--exp", "mine", "--stage", "06", "--stop-stage", "6"]
    gan, _ = planned(*options, "--root", "some data", "--", "seed=4", "gan.steps=9", cwd=tmp_path)
    assert values(gan)["run"] == "recipes/painted_birds/exp/mine-speech-gan"
    assert values(gan)["data.root"] == f"{tmp_path}/some data"  # relative to where run.sh was called
    assert (values(gan)["seed"], values(gan)["gan.steps"]) == ("4", "9")
    assert gan[gan.index("--config") + 1] == "recipes/painted_birds/conf/default.yaml"


def test_processes_reach_trainings_and_evaluations_and_nothing_else(tmp_path):
    one, several = planned(), planned("--processes", "4")
    assert len(one) == len(several)
    for alone, together in zip(one, several, strict=True):
        training = [word for word in alone if word in ("train-encoder", "train-gan")]
        if training:
            start = alone.index(training[0])
            expected = [alone[0], "-m", "s2i.launch", "--processes", "4", *alone[start:]]
        else:
            expected = [*alone, *(["evaluation.processes=4"] if "evaluate" in alone else [])]
        assert together == expected
    assert sum("s2i.launch" in words for words in several) == 5
    assert sum("evaluation.processes=4" in words for words in several) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--processes", "0"], "--processes of 1 or more, found '0'"),
        (["--processes", "two"], "--processes of 1 or more"),
        (["--stages", "1"], "'--stages'"),
        (["stray"], "'stray'"),
        (["--stage"], "a value after --stage"),
        (["--stage", "0"], "--stage of 1 to 9, found '0'"),
        (["--stage", "12"], "--stage of 1 to 9"),
        (["--stop-stage", "a[$(touch made)]"], "--stop-stage of 1 to 9"),
        (["--stage", "5", "--stop-stage", "4"], "at least 5"),
        (["--preset", "nowhere"], "found 'nowhere'"),
        (["--preset", "cmcgan"], "a preset that also reads text, found 'cmcgan'"),
        (["--preset", "deep_cross_modal_autoencoded"], "a preset that also reads text"),
        (["--preset", "../conf/default"], "a name"),
        (["--exp", "a/b"], "a name"),
        (["--exp", "-x"], "a name"),
        (["--", "steps"], "key=value"),
        (["--", "--stage", "2"], "key=value"),
    ],
)
def test_a_bad_option_is_one_line_and_status_2(tmp_path, words, expected):
    done = bash(RUN, *words, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("s2i: error: ") and done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe of two stages in a tree of its own, run with this test's Python."""
    folder = tmp_path / "recipes" / "small"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "default.yaml").touch()
    for name in ("stages.sh", "environment.sh"):
        shutil.copy(ROOT / "recipes" / name, tmp_path / "recipes")
    (folder / "run.sh").write_text(
        'set -euo pipefail\nlast_stage=2\nsource "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"\n'
        'begin "$@"\n'
        'if stage 1 one "the first"; then\n    run sleep 1\nfi\n'
        'if stage 2 two "the second"; then\n    run test -e "a file"\n    run touch after\nfi\nfinish\n'
    )
    return folder / "run.sh"


def test_seconds_are_kept_and_a_failing_command_ends_the_recipe(recipe, tmp_path):
    done = bash(recipe, S2I_PYTHON=sys.executable)
    assert done.returncode == 1 and not (tmp_path / "after").exists()
    assert r"test -e a\ file" in done.stderr
    seconds = recipe.parent / "exp" / "default-report" / "seconds.json"
    first = json.loads(seconds.read_text())
    assert set(first) == {"one"} and first["one"] >= 1
    (tmp_path / "a file").touch()
    assert bash(recipe, "--stage", "2", S2I_PYTHON=sys.executable).returncode == 0
    assert (tmp_path / "after").exists()
    assert set(json.loads(seconds.read_text())) == {"one", "two"}


def test_a_finished_stage_keeps_its_longest_time(recipe):
    seconds = recipe.parent / "exp" / "x-report" / "seconds.json"
    seconds.parent.mkdir(parents=True)
    seconds.write_text('{"one": 300}')
    assert bash(recipe, "--exp", "x", "--stop-stage", "1", S2I_PYTHON=sys.executable).returncode == 0
    assert json.loads(seconds.read_text()) == {"one": 300}


def test_a_recipe_ends_with_its_reports_page_and_summary(recipe, tmp_path):
    measured = {"protocol": "r_precision", "metric": "r_precision", "value": 0.5, "modality": "speech"}
    (tmp_path / "results.json").write_text(json.dumps({"records": [measured]}))
    text = recipe.read_text().replace("touch after", f"touch after\n    report={tmp_path}")
    recipe.write_text(text.replace("run sleep 1", "run true"))
    (tmp_path / "a file").touch()
    done = bash(recipe, S2I_PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    page, head, row = done.stdout.splitlines()
    assert page == f"report: {tmp_path}/index.html" and head.split()[0] == "speech"
    assert row.startswith("R-precision of generated images  0.500")
    assert bash(recipe, "--stop-stage", "1", S2I_PYTHON=sys.executable).stdout == ""
    assert bash(recipe, "--list").returncode == bash(recipe, "--dry-run").returncode == 0


def environment(tree: Path, **variables: str) -> subprocess.CompletedProcess:
    return bash("-c", "set -eu; source recipes/environment.sh; echo $python", cwd=tree, **variables)


@pytest.fixture
def tools(tmp_path) -> Path:
    """A folder for PATH with the tools that the shell needs, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "basename", "head", "rm", "mkdir"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


def test_a_python_that_is_too_old_is_named(recipe, tools, tmp_path):
    write_program(tools / "python3", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    (tmp_path / "setup.py").touch()
    done = environment(tmp_path, PATH=str(tools))
    assert done.returncode == 2 and "3.10, 3.11 or 3.12" in done.stderr
    assert "python3 (Python 3.9.2)" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_python_at_all_is_one_line(recipe, tools, tmp_path):
    (tmp_path / "setup.py").touch()
    done = environment(tmp_path, PATH=str(tools))
    assert done.returncode == 2 and done.stderr.startswith("s2i: error: ") and "found none" in done.stderr


def test_a_python_of_ones_own_is_used_and_a_wrong_one_refused(recipe, tools, tmp_path):
    done = environment(tmp_path, S2I_PYTHON=sys.executable)
    assert done.returncode == 0 and done.stdout.strip() == sys.executable
    assert "none" in environment(tmp_path, S2I_PYTHON="nowhere/python").stderr
    write_program(tools / "old", "echo Python 3.8.1; exit 1")
    done = environment(tmp_path, S2I_PYTHON=str(tools / "old"))
    assert done.returncode == 2 and "found Python 3.8.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_environment_is_made_once_and_again_where_it_was_cut_short(recipe, tools, tmp_path):
    """The Python here is a stand-in: `-m venv` copies it, and `-m pip install` notes that it ran."""
    (tmp_path / "setup.py").write_text("first")
    stand_in = f"""
case "$*" in
    '-m venv'*) echo venv >>{tmp_path}/calls; mkdir -p .venv/bin; cat "$0" >.venv/bin/python
            {shutil.which("chmod")} +x .venv/bin/python ;;
    *pip*install*) echo install >>{tmp_path}/calls; [ ! -e {tmp_path}/offline ] ;;
    *--version*) echo Python 3.11.0 ;;
esac"""
    write_program(tools / "python3.11", stand_in)
    calls = tmp_path / "calls"

    def made() -> list[str]:
        logged_calls = calls.read_text().split() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return logged_calls

    (tmp_path / "offline").touch()
    failed = environment(tmp_path, PATH=str(tools))
    assert failed.returncode == 2 and "pip could not install" in failed.stderr
    assert made() == ["venv", "install"]
    (tmp_path / "offline").unlink()
    assert environment(tmp_path, PATH=str(tools)).returncode == 0
    assert made() == ["venv", "install"]  # what was cut short is made anew
    done = environment(tmp_path, PATH=str(tools))
    assert done.returncode == 0 and done.stdout.strip() == ".venv/bin/python" and done.stderr == ""
    assert made() == []
    (tmp_path / "setup.py").write_text("second")
    assert environment(tmp_path, PATH=str(tools)).returncode == 0
    assert made() == ["install"]  # brought up to date


def test_an_environment_of_somebody_else_is_never_cleared(recipe, tools, tmp_path):
    (tmp_path / "setup.py").touch()
    mine = tmp_path / ".venv" / "bin" / "python"
    mine.parent.mkdir(parents=True)
    mine.write_text("another Python")
    write_program(tools / "python3.11", "echo Python 3.11.0")
    done = environment(tmp_path, PATH=str(tools))
    assert done.returncode == 2 and "found another" in done.stderr and "S2I_PYTHON" in done.stderr
    assert [path for path in (tmp_path / ".venv").rglob("*") if path.is_file()] == [mine]


# The grid of ablate.sh


ABLATE = ROOT / "recipes" / "painted_birds" / "ablate.sh"


def grid(*words: str, script: Path = ABLATE) -> list[list[str]]:
    done = bash(script, "--dry-run", *words, S2I_PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def twice_the_steps(commands: list[list[str]]) -> str:
    """Of the generator that is trained from both modalities for twice as long."""
    [config] = [values(words) for words in commands if any(w.endswith("both-twice-the-steps") for w in words)]
    return config["gan.steps"]


def test_every_setting_of_the_grid_reads_an_encoder_that_is_trained_as_it_is():
    commands = grid("--", "gan.steps=50")
    encoders = {values(words)["run"]: values(words) for words in commands if "train-encoder" in words}
    settings = {values(words)["run"]: values(words) for words in commands if "train-gan" in words}
    for name, setting in settings.items():
        encoder = encoders[setting["gan.encoder"]]
        for key in ("modality", "seed", "speech_encoder.pooling", "matching.class_weight"):
            assert encoder.get(key) == setting.get(key), (name, key)
    changed = {tuple(sorted((k, v) for k, v in each.items() if k != "run")) for each in settings.values()}
    assert len(changed) == len(settings)
    assert twice_the_steps([words for words in commands if "train-gan" in words]) == "100"
    [table] = [words for words in commands if "tabulate" in words]
    assert [word for word in table[4:] if word in settings] == list(settings)


def test_the_grid_reads_its_steps_as_training_does(tmp_path):
    """Whichever file names them, in whatever YAML."""
    script = write_tree(tmp_path) / "recipes" / "painted_birds" / "ablate.sh"
    conf = script.parent / "conf"
    (conf / "ours.yaml").write_text("base: theirs.yaml\n")
    (conf / "theirs.yaml").write_text("{base: ablate.yaml, gan: {steps: 7}}")
    only = ("--stage", "5", "--stop-stage", "5", "--preset", "ours")
    assert twice_the_steps(grid(*only, script=script)) == "14"
    wrong = bash(script, "--dry-run", *only, "--", "gan.stepz=3", S2I_PYTHON=sys.executable)
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith("s2i: error: ") and "gan.stepz" in wrong.stderr
    unknown = bash(script, "--dry-run", *only)  # on a fresh machine
    assert "gan.steps=2\\*gan.steps" in unknown.stdout and unknown.returncode == 0


def test_published_orderings_are_of_settings_of_the_grid():
    folder = ROOT / "recipes" / "painted_birds"
    known = json.loads((folder / "published_ablations.json").read_text())
    settings = [values(words) for words in grid("--stage", "5", "--stop-stage", "5")]
    names = {Path(setting["run"]).name.removeprefix("ablate-") for setting in settings}
    assert known.keys() <= names and {entry["than"] for entry in known.values()} <= names


def test_beside_runs_all_and_fails_at_the_end_for_the_one_that_failed(recipe, tmp_path):
    recipe.write_text(
        'set -euo pipefail\nlast_stage=1\nsource "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"\n'
        'begin "$@"\nif stage 1 all "many"; then\n'
        "    for n in 1 2 3 4; do beside run touch made-$n; done\n    beside run test -e missing\n"
        "    beside run bash -c 'echo $OMP_NUM_THREADS >threads'\n    settle\nfi\nfinish\n"
    )
    done = bash(recipe, S2I_PYTHON=sys.executable)
    assert done.returncode == 1
    assert sorted(path.name for path in tmp_path.glob("made-*")) == [f"made-{n}" for n in range(1, 5)]
    assert (tmp_path / "threads").read_text() == "1\n"


def test_beside_is_one_after_the_other_in_several_processes(recipe, tmp_path):
    one = "beside run bash -c '[ ! -e busy ] && touch busy && sleep .2 && rm busy && echo done >>log'\n"
    recipe.write_text(
        'set -euo pipefail\nlast_stage=1\nsource "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"\n'
        f'begin "$@"\ncores() {{ echo 8; }}\nif stage 1 all "many"; then\n{one}{one}settle\nfi\nfinish\n'
    )
    done = bash(recipe, "--processes", "2", S2I_PYTHON=sys.executable)
    assert done.returncode == 0 and (tmp_path / "log").read_text() == "done\ndone\n"


@pytest.mark.parametrize("option", ["--root", "--exp", "--preset", "--stage"])
def test_an_empty_value_is_refused(option):
    done = bash(RUN, "--dry-run", option, "")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"s2i: error: expected a value after {option}, found an empty one")
