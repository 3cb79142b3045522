"""Nothing that a command did not write is ever replaced or removed, whatever lies where it is to write."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2i.errors import InputError
from s2i.files.locks import only_process
from s2i.files.output_folder import RECORD, OutputFolder, check_output_file, refuse_foreign, say_replaced
from s2i.files.unfinished import PART

NAMES = ("index.html", "a.txt", "audio/a.wav", "audio/b.wav")
REPORT = "s2i report"


def write(folder: Path, files: dict[str, str], last: str = "index.html") -> None:
    """What a command that replaces all of its output does."""
    with OutputFolder(folder, REPORT).replaced(last) as made:
        for name, text in files.items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_a_folder_is_replaced_by_the_command_that_wrote_it_alone(tmp_path):
    out = tmp_path / "out"
    write(out, {"index.html": "1", "audio/a.wav": "1", "audio/b.wav": "1"})
    (out / "audio" / "mine.wav").write_text("mine")
    (out / "audio" / "b.wav").write_text("mine")
    write(out, {"index.html": "2", "images/a.png": "2"})
    assert contents(out) == {
        "index.html": "2",
        "images/a.png": "2",
        "audio/mine.wav": "mine",
        "audio/b.wav": "mine",
    }
    recorded = [json.loads(line) for line in (out / RECORD).read_text().splitlines()]
    assert recorded[0] == {"command": REPORT}
    assert [line["file"] for line in recorded[1:]] == ["images/a.png", "index.html"]
    with pytest.raises(InputError, match="found one that s2i report wrote"):
        OutputFolder(out, "s2i compare")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("theirs", ["index.html", "audio", "audio/a.wav", ".hidden", "deep/er/x"])
def test_a_folder_that_holds_anything_else_is_refused_and_stays(tmp_path, theirs):
    (tmp_path / theirs).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / theirs).write_text("mine")
    with pytest.raises(InputError, match=f"found {theirs} there"):
        write(tmp_path, {"index.html": "1"})
    assert contents(tmp_path) == {theirs: "mine"} and not (tmp_path / RECORD).exists()


def test_a_file_where_a_folder_is_to_be_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="found a file"):
        OutputFolder(tmp_path / "out", REPORT)
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(InputError, match="found a file"):
        OutputFolder(tmp_path / "gone", REPORT)


def test_links_are_followed_to_the_output_and_never_out_of_it(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "audio").mkdir(parents=True)
    (data / "audio" / "a.wav").write_text("mine")
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(InputError, match="audio/a.wav"):
        OutputFolder(tmp_path / "link", REPORT)
    write(out, {"index.html": "1", "audio/a.wav": "1"})
    (out / "audio" / "a.wav").unlink()
    (out / "audio").rmdir()
    (out / "audio").symlink_to("../data/audio")
    with pytest.raises(InputError, match="found audio there"):
        write(out, {"index.html": "2", "audio/a.wav": "2"})
    write(out, {"index.html": "2"})  # and what lies behind the link isn't taken for what is no longer wanted
    (out / "index.html").unlink()
    (out / "index.html").symlink_to("../data/audio/a.wav")
    with pytest.raises(InputError, match="found index.html there"):
        write(out, {"index.html": "3"})
    assert contents(data) == {"audio/a.wav": "mine"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "to-empty").symlink_to("empty")
    write(tmp_path / "to-empty", {"index.html": "1"})
    assert (tmp_path / "to-empty").is_symlink() and contents(tmp_path / "empty") == {"index.html": "1"}


def test_files_are_written_one_by_one_into_ones_own(tmp_path):
    folder = OutputFolder(tmp_path / "out", "s2i generate")
    assert not (tmp_path / "out").exists()
    assert folder.write("deep/a.png", b"1") == tmp_path / "out" / "deep" / "a.png"
    folder.append("lines.jsonl", {"a": 1})
    folder = OutputFolder(tmp_path / "out", "s2i generate")
    folder.write("deep/a.png", b"2")
    folder.append("lines.jsonl", {"a": 2})
    (tmp_path / "out" / "deep" / "a.png").write_bytes(b"mine")
    (tmp_path / "out" / "b.png").write_bytes(b"mine")
    folder = OutputFolder(tmp_path / "out", "s2i generate")
    for name in ("deep/a.png", "b.png", "b.png/c.png"):
        with pytest.raises(InputError, match=f"expected to write {name} into .*, found"):
            folder.write(name, b"3")
    assert contents(tmp_path / "out") == {
        "deep/a.png": "mine",
        "b.png": "mine",
        "lines.jsonl": '{"a": 1}\n{"a": 2}\n',
    }


def test_a_failed_block_leaves_the_output_before_it(tmp_path):
    for folder in (tmp_path / "new", tmp_path / "old"):
        if folder.name == "old":
            write(folder, {"index.html": "1"})
        with pytest.raises(RuntimeError), OutputFolder(folder, REPORT).replaced("index.html") as made:
            (made / "index.html").write_text("2")
            raise RuntimeError
    assert contents(tmp_path) == {"old/index.html": "1"} and not (tmp_path / "new").exists()


def test_a_file_that_came_while_the_command_worked_is_not_replaced(tmp_path):
    with (
        pytest.raises(InputError, match="found mine there"),
        OutputFolder(tmp_path / "out", REPORT).replaced("index.html") as made,
    ):
        (made / "index.html").write_text("1")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("mine")
    assert contents(tmp_path) == {"out/mine": "mine"}


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("command"), st.sets(st.sampled_from(NAMES[1:])), st.integers(0, 12)),
        st.tuples(st.just("person"), st.sampled_from([*NAMES, "mine"]), st.just(0)),
        st.tuples(st.just("link"), st.sampled_from([*NAMES, "audio"]), st.just(0)),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_whatever_happens_in_a_folder_a_persons_files_stay(actions):
    """Commands that are killed at any of their steps, and people who write and link files in between."""
    replace, unlink = os.replace, Path.unlink
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        out, data = Path(folder) / "out", Path(folder) / "data"
        (data / "audio").mkdir(parents=True)
        (data / "audio" / "a.wav").write_text("data")
        mine: dict[str, str] = {}
        for turn, (who, what, kill) in enumerate(actions):
            if who == "command":
                left = [kill]  # steps until it is killed; 0: it isn't

                def step(function, left=left):
                    def stepped(*given, **more):
                        left[0] -= 1
                        if left[0] == 0:
                            raise KeyboardInterrupt
                        return function(*given, **more)

                    return stepped

                patch.setattr(os, "replace", step(replace))
                patch.setattr(Path, "unlink", step(unlink))
                with suppress(InputError, KeyboardInterrupt):
                    write(out, {"index.html": f"{turn}", **{name: f"{turn}" for name in sorted(what)}})
                patch.setattr(os, "replace", replace)
                patch.setattr(Path, "unlink", unlink)
            elif not (out / what).is_symlink() and not (out / what).parent.is_symlink():
                if what == "audio" and (out / what).is_dir():
                    continue
                (out / what).parent.mkdir(parents=True, exist_ok=True)
                if who == "person" and not (out / what).is_dir():
                    (out / what).write_text(mine.setdefault(what, f"mine, {turn}"))
                elif who == "link" and what not in mine:
                    (out / what).unlink(missing_ok=True)
                    (out / what).symlink_to(data / "audio" if what == "audio" else data / "audio/a.wav")
            assert {name: (out / name).read_text() for name in mine} == mine
            assert contents(data) == {"audio/a.wav": "data"}


def test_an_unwanted_record_is_no_proof(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / RECORD).write_text("not one of ours\n")
    with pytest.raises(InputError, match="found mine there"):
        OutputFolder(tmp_path, REPORT)
    (tmp_path / RECORD).unlink()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="found fifo there"):
        refuse_foreign(tmp_path, "nothing")


def test_a_named_file_is_replaced_with_a_word_and_never_an_input(tmp_path, capsys):
    path = tmp_path / "bird.png"
    check_output_file(path)
    assert capsys.readouterr().err == ""
    path.write_text("mine")
    check_output_file(path, [tmp_path / "other.wav"])
    assert capsys.readouterr().err == ""  # the command may yet be refused
    say_replaced(path)
    assert capsys.readouterr().err == f"{path} is replaced\n"
    say_replaced(tmp_path / "new.png")
    assert capsys.readouterr().err == ""
    (tmp_path / "link.wav").symlink_to("bird.png")
    os.link(path, tmp_path / "same.wav")
    for given_file in (path, tmp_path / "link.wav", tmp_path / "same.wav", tmp_path / "." / "bird.png"):
        with pytest.raises(InputError, match="expected another file to write than"):
            check_output_file(path, [given_file])
    with pytest.raises(InputError, match="found a folder"):
        check_output_file(tmp_path)


def test_a_folder_that_is_written_again_is_said_to_be_replaced(tmp_path, capsys):
    write(tmp_path / "out", {"index.html": "1"})
    assert capsys.readouterr().err == ""
    write(tmp_path / "out", {"index.html": "2"})
    assert capsys.readouterr().err == f"{tmp_path / 'out'} is replaced\n"
    with pytest.raises(ValueError), OutputFolder(tmp_path / "out", REPORT).replaced(last="index.html"):
        raise ValueError
    assert capsys.readouterr().err == ""  # nothing was


def test_two_processes_do_not_write_one_folder_together(tmp_path):
    write(tmp_path / "out", {"index.html": "1"})
    with only_process(tmp_path / "out"):
        with pytest.raises(InputError, match="at work there"):
            write(tmp_path / "out", {"index.html": "2"})
    write(tmp_path / "out", {"index.html": "3"})
    assert contents(tmp_path / "out") == {"index.html": "3"}


def test_what_a_killed_call_has_left_inside_goes_when_its_command_opens_the_folder(tmp_path):
    write(tmp_path / "out", {"index.html": "1", "audio/a.wav": "1"})
    left = [tmp_path / "out" / name for name in (f".output.abcdefgh{PART}", f"audio/.b.wav.abcdefgh{PART}")]
    left[0].mkdir()
    for path in (left[0] / "half", left[1]):
        path.write_text("half")
    OutputFolder(tmp_path / "out", REPORT)
    assert contents(tmp_path / "out") == {"index.html": "1", "audio/a.wav": "1"}
    assert not any(path.exists() for path in left)
