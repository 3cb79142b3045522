"""One walk for every command: links are followed, loops end, hidden files stay out, and it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.own_data import list_images
from s2i.data.file_kinds import (
    FOREIGN_IMAGES,
    FOREIGN_RECORDINGS,
    IMAGES,
    RECORDINGS,
    find_images,
    find_recordings,
)
from s2i.errors import InputError
from s2i.files.walk import walk


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def relative_paths(folder: Path, *endings: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk(folder, endings or (".jpg",))]


def test_files_come_in_order_of_their_paths_whatever_the_case_of_their_endings(tmp_path, capsys):
    put(tmp_path, "b/2.jpg", "a.JPG", "b/1.Jpg", "b/1.txt", "c.jpg/d.jpg", "jpg")
    assert relative_paths(tmp_path) == ["a.JPG", "b/1.Jpg", "b/2.jpg", "c.jpg/d.jpg"]
    assert capsys.readouterr().err == ""


def test_links_to_folders_and_files_are_followed(tmp_path, capsys):
    put(tmp_path / "store", "wren/1.jpg", "wren/young/2.jpg", "3.jpg")
    images = tmp_path / "images"
    put(images, "heron/4.jpg")
    (images / "wren").symlink_to(tmp_path / "store" / "wren")
    (images / "heron" / "5.jpg").symlink_to("../../store/3.jpg")
    (tmp_path / "linked").symlink_to(images)
    expected = ["heron/4.jpg", "heron/5.jpg", "wren/1.jpg", "wren/young/2.jpg"]
    assert relative_paths(images) == relative_paths(tmp_path / "linked") == expected
    assert capsys.readouterr().err == ""


def test_loops_end_and_each_folder_is_read_once_by_its_own_path(tmp_path, capsys):
    put(tmp_path / "images", "b/1.jpg", "c/2.jpg")
    for link, target in (("a", "b"), ("b/self", "."), ("b/up", ".."), ("c/b", "../b"), ("far", "/")):
        (tmp_path / "images" / link).symlink_to(target)
    assert relative_paths(tmp_path / "images") == ["b/1.jpg", "c/2.jpg"]
    said = capsys.readouterr().err
    assert "passed over 5 repeated folders (a, b/self, b/up, c/b, far)" in said


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_any_web_of_links_gives_each_file_once(tmp_path_factory, links):
    folder = tmp_path_factory.mktemp("web")
    put(folder, *(f"{number}/{number}.jpg" for number in range(5)))
    for count, (place, target) in enumerate(links):
        (folder / str(place) / f"link{count}").symlink_to(f"../{target}")
    assert relative_paths(folder) == [f"{number}/{number}.jpg" for number in range(5)]


def test_what_is_hidden_or_broken_is_passed_over_and_said(tmp_path, capsys):
    put(tmp_path, "1.jpg", "._1.jpg", ".ipynb_checkpoints/1-checkpoint.jpg", "a/.2.jpg", "a/.DS_Store")
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    (tmp_path / "gone.jpg").symlink_to("gone.jpg")
    (tmp_path / ".#1.jpg").symlink_to("me@here")
    assert relative_paths(tmp_path) == ["1.jpg"]
    assert capsys.readouterr().err == (
        f"{tmp_path}: passed over 2 broken links (a/gone, gone.jpg), 2 hidden files (._1.jpg, a/.2.jpg),"
        " 1 hidden folder (.ipynb_checkpoints)\n"
    )


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    put(tmp_path / ".cache" / "birds", "a/1.jpg")
    assert relative_paths(tmp_path / ".cache" / "birds") == ["a/1.jpg"]


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=f"at {tmp_path}/b, found: Permission denied"):
        walk(tmp_path, (".jpg",))


def test_every_ending_is_found_in_any_case_and_nothing_else(tmp_path):
    put(tmp_path, *(f"{place}{ending}" for place, ending in enumerate(IMAGES + FOREIGN_IMAGES)))
    put(tmp_path, *(f"{place}{e.upper()}" for place, e in enumerate(RECORDINGS + FOREIGN_RECORDINGS)))
    put(tmp_path, "a.txt", "b.jsonl", "c")
    assert len(find_images(tmp_path)) == len(IMAGES + FOREIGN_IMAGES)
    assert len(find_recordings(tmp_path)) == len(RECORDINGS + FOREIGN_RECORDINGS)
    for find, kind in ((find_images, "images"), (find_recordings, "recordings")):
        for folder in (tmp_path / "empty", tmp_path / "nowhere"):
            if folder.name == "empty":
                folder.mkdir(exist_ok=True)
            with pytest.raises(
                InputError, match=rf"expected {kind} in {folder}, found none in {folder.name}"
            ):
                find(folder)


def test_own_images_in_linked_folders_are_classes(tmp_path):
    for number in range(3):
        folder = tmp_path / "store" / str(number)
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / "a.png")
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"class{number}").symlink_to(folder)
    assert sorted(list_images(tmp_path / "images")) == ["class0/a", "class1/a", "class2/a"]
