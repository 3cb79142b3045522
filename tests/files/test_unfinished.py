"""What a killed process leaves half made is known by its name and its lock, and nothing else goes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from s2i.files.atomic import write_atomically
from s2i.files.unfinished import PART, lasting_part, lasting_part_folder, part_folder, sweep

WRITING = """
import sys, time
from pathlib import Path
from s2i.files.atomic import write_atomically
from s2i.files.unfinished import part_folder
with part_folder(Path(sys.argv[1]) / "folder") as made, write_atomically(made / "inside") as stream:
    with write_atomically(Path(sys.argv[1]) / "file.txt") as stream:
        print("written", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def writing(tmp_path):
    """A process that holds a part file and a part folder in tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", WRITING, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    yield process
    process.kill()
    process.wait()


def names(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_parts_of_a_living_process_stay_and_those_of_a_killed_one_go(writing, tmp_path):
    part_names = names(tmp_path)
    assert len(part_names) == 3 and all(name.endswith(PART) for name in part_names)
    sweep(tmp_path)
    assert names(tmp_path) == part_names
    os.kill(writing.pid, signal.SIGKILL)
    writing.wait()
    assert names(tmp_path) == part_names
    sweep(tmp_path, "other")
    assert names(tmp_path) == part_names
    sweep(tmp_path, "file.txt")
    assert len(names(tmp_path)) == 2
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_what_only_resembles_a_part_is_not_swept(tmp_path):
    for name in (
        ".env.json.original",
        ".last.pt.abc",
        f"mine{PART}",
        ".feature-cache-0123456789abcdef.77",
        PART,
    ):
        (tmp_path / name).write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("mine")
    (tmp_path / f".link.abcdefgh{PART}").symlink_to("elsewhere")
    before = names(tmp_path)
    sweep(tmp_path, deep=True)
    assert names(tmp_path) == before


def test_links_to_folders_are_not_followed(tmp_path):
    inside = tmp_path / "data" / f".x.abcdefgh{PART}"
    inside.parent.mkdir()
    inside.write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data").symlink_to(inside.parent)
    sweep(tmp_path / "out", deep=True)
    assert inside.exists()
    sweep(tmp_path, deep=True)
    assert not inside.exists()


def test_a_part_folder_goes_however_its_block_ends(tmp_path):
    with part_folder(tmp_path / "a") as made:
        (made / "x").write_text("")
    with pytest.raises(RuntimeError), part_folder(tmp_path / "a"):
        raise RuntimeError
    assert names(tmp_path) == []
    with part_folder(tmp_path / "a") as made:
        os.rename(made, tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_a_lasting_part_is_found_again_and_no_sweep_takes_it(tmp_path):
    with pytest.raises(RuntimeError), lasting_part_folder(tmp_path / "a") as made:
        (made / "half").write_text("")
        raise RuntimeError
    sweep(tmp_path)
    assert names(tmp_path) == [f".a{PART}", f".a{PART}/half"]
    with lasting_part_folder(tmp_path / "a") as made:
        assert made == lasting_part(tmp_path / "a") and names(made) == ["half"]
    assert names(tmp_path) == []


def test_a_file_that_fails_or_has_a_long_name_leaves_no_part(tmp_path):
    with pytest.raises(RuntimeError), write_atomically(tmp_path / "a"):
        raise RuntimeError
    assert names(tmp_path) == []
    name = "🐦" * 63
    with write_atomically(tmp_path / name) as stream:
        stream.write("x")
    assert names(tmp_path) == [name]


def test_a_writer_and_a_sweeper_side_by_side_lose_nothing(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom s2i.files.unfinished import sweep\n"
        "print('on', flush=True)\nwhile True: sweep(Path(sys.argv[1]))"
    )
    sweeper = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert sweeper.stdout.readline() == "on\n"
        end, count = time.monotonic() + 2, 0
        while time.monotonic() < end:
            with write_atomically(tmp_path / str(count), to_disk=False) as stream:
                stream.write("x")
            count += 1
    finally:
        sweeper.kill()
        sweeper.wait()
    assert len([name for name in names(tmp_path) if not name.endswith(PART)]) == count > 10
