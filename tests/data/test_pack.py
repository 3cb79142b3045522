from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep import pack as command
from s2i.config import Config
from s2i.config_files import save_config
from s2i.data import pack_builder
from s2i.data.audio import features, load_waveform
from s2i.data.images import load_image, resize, square_crop
from s2i.data.manifest import write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.shards import Shard
from s2i.errors import InputError, exit_on_input_error
from s2i.files.unfinished import lasting_part, lasting_part_folder
from tests.fixtures.data import tiny_config, write_tiny_data


def changed(config: Config, section: str, **values: object) -> Config:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def packed(tmp_path):
    images = write_tiny_data(tmp_path)
    config = tiny_config(tmp_path)
    build_pack(config, ["train", "val"])
    return images, config


def test_a_pack_holds_the_crops_and_features_of_its_split_in_order(packed, tmp_path):
    images, config = packed
    pack = Pack(tmp_path / "pack" / "val", config)
    expected = [image for image in images if image.split == "val"]
    assert pack.records == expected
    assert pack.images.shape == (4, 19, 19, 3) and pack.images.dtype == np.uint8
    assert pack.caption_count == 8 and pack.has_speech
    assert pack.caption_image.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    index = 0
    for row, image in enumerate(expected):
        crop = square_crop(load_image(tmp_path / image.image), image.box, config.data.box_scale)
        assert np.array_equal(pack.images[row], np.asarray(resize(crop, 19)))
        for caption in image.captions:
            mel = features(load_waveform(tmp_path / caption.audio, config.audio), config.audio)
            assert pack.caption(index) == caption
            assert pack.mel_lengths[index] == len(mel)
            assert pack.mel(index).dtype == torch.float32
            torch.testing.assert_close(pack.mel(index), mel, rtol=1e-3, atol=1e-3)
            index += 1


def test_class_labels_are_contiguous_whatever_the_class_ids(packed, tmp_path):
    pack = Pack(tmp_path / "pack" / "train")
    assert pack.class_labels == {10: 0, 20: 1, 30: 2, 40: 3}
    assert pack.class_ids[:5].tolist() == [10, 20, 30, 40, 10]
    assert pack.labels[:5].tolist() == [0, 1, 2, 3, 0]


def test_attributes_of_the_manifest_go_along(tmp_path):
    write_tiny_data(tmp_path)
    (tmp_path / "attributes.json").write_text('{"wing": ["red", "blue"]}')
    build_pack(tiny_config(tmp_path), ["val"])
    assert Pack(tmp_path / "pack" / "val").attributes == {"wing": ["red", "blue"]}


def test_a_pack_of_the_same_sources_is_not_built_again(packed, tmp_path, monkeypatch):
    _, config = packed
    monkeypatch.setattr(pack_builder, "load_image", lambda path: pytest.fail("an image was read again"))
    build_pack(config, ["train", "val"])


def test_a_folder_that_is_no_pack_is_not_replaced(tmp_path):
    write_tiny_data(tmp_path)
    config = changed(tiny_config(tmp_path), "data", pack=str(tmp_path))
    listed = tmp_path / "train" / "filenames.pickle"
    listed.parent.mkdir(parents=True)
    listed.write_bytes(b"mine")
    with pytest.raises(InputError, match="or a pack, at .*/train, found filenames.pickle there.*data.pack"):
        build_pack(config, ["train"])
    assert listed.read_bytes() == b"mine"
    listed.unlink()
    build_pack(config, ["train"])
    assert (tmp_path / "train" / "pack.json").exists()


@pytest.mark.parametrize("names", [["images.npy", "labels.npy"], ["pack.json"], ["images.npy"]])
def test_arrays_and_folders_of_like_names_are_not_taken_for_the_packers(tmp_path, names):
    write_tiny_data(tmp_path)
    mine = [tmp_path / "pack" / "train" / name for name in names]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    with pytest.raises(InputError, match=f"found {names[0]} there"):
        build_pack(tiny_config(tmp_path), ["train"])
    kept = [".val-backup/x", ".val-0123456789abcdef/x", ".val-/x", "val-old/x", ".val.mine.s2i-part/x"]
    for name in kept:
        (tmp_path / "pack" / name).parent.mkdir()
        (tmp_path / "pack" / name).write_text("mine")
    for _ in range(2):
        build_pack(tiny_config(tmp_path), ["val"])
    assert all((tmp_path / "pack" / name).read_text() == "mine" for name in kept)
    assert all(path.read_text() == "{}" for path in mine)


def test_a_file_of_ones_own_in_a_pack_keeps_it_from_being_replaced(packed, tmp_path):
    _, config = packed
    mine = tmp_path / "pack" / "val" / "notes.txt"
    mine.write_text("mine")
    build_pack(config, ["val"])  # as it is
    with pytest.raises(InputError, match="found notes.txt there"):
        build_pack(changed(config, "data", margin=0.5), ["val"])
    assert mine.read_text() == "mine"


def test_a_killed_build_of_other_settings_is_swept_and_a_living_one_is_not(packed, tmp_path):
    _, config = packed
    left = lasting_part(tmp_path / "pack" / "val-0123456789abcdef")
    with suppress(RuntimeError), lasting_part_folder(left.with_name("val-0123456789abcdef")):
        build_pack(config, ["val"])
        assert left.is_dir()
        raise RuntimeError
    assert left.is_dir()
    build_pack(config, ["val"])
    assert not left.exists()


def test_a_changed_recording_is_packed_again(packed, tmp_path):
    images, config = packed
    before = Pack(tmp_path / "pack" / "val").mel(0)
    recording = tmp_path / images[12].captions[0].audio
    recording.write_bytes((tmp_path / images[0].captions[0].audio).read_bytes())
    build_pack(config, ["val"])
    after = Pack(tmp_path / "pack" / "val", config).mel(0)
    assert after.shape != before.shape or not torch.equal(after, before)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("audio", {"hop": 0.02}),
        ("audio", {"cmvn": False}),
        ("data", {"margin": 1.5}),
        ("data", {"box_scale": 1.2}),
        ("generator", {"base_size": 32}),
    ],
)
def test_a_pack_made_with_other_settings_is_refused_and_then_built(packed, tmp_path, section, values):
    config = changed(packed[1], section, **values)
    with pytest.raises(InputError, match="stale"):
        Pack(tmp_path / "pack" / "val", config)
    build_pack(config, ["val"])
    assert len(Pack(tmp_path / "pack" / "val", config).records) == 4


def test_a_changed_manifest_makes_packs_stale_but_only_its_split_is_built_again(packed, tmp_path):
    images, config = packed
    train_before = os.stat(tmp_path / "pack" / "train" / "images.npy")
    write_manifest(tmp_path / "manifest.jsonl", images[:-1])
    for split in ("train", "val"):
        with pytest.raises(InputError, match="stale"):
            Pack(tmp_path / "pack" / split, config)
    build_pack(config, ["train", "val"])
    assert len(Pack(tmp_path / "pack" / "val", config).records) == 3
    assert len(Pack(tmp_path / "pack" / "train", config).records) == 12
    assert os.stat(tmp_path / "pack" / "train" / "images.npy").st_mtime_ns == train_before.st_mtime_ns


def test_a_pack_opens_where_its_manifest_is_no_longer(packed, tmp_path):
    (tmp_path / "manifest.jsonl").unlink()
    assert len(Pack(tmp_path / "pack" / "train", packed[1]).records) == 12


@pytest.mark.parametrize(
    "name", ["images.npy", "mels.npy", "cmvn.npy", "offsets.npy", "index.jsonl", "pack.json"]
)
def test_a_pack_cut_short_is_refused_and_built_again(packed, tmp_path, name):
    folder = tmp_path / "pack" / "val"
    whole = (folder / name).read_bytes()
    for kept in (whole[: len(whole) // 2], b""):
        (folder / name).write_bytes(kept)
        with pytest.raises(InputError, match="expected") as caught:
            Pack(folder)
        assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(InputError):
        Pack(folder)
    build_pack(packed[1], ["val"])
    assert (folder / name).read_bytes() == whole


def test_lines_lost_from_the_index_are_noticed(packed, tmp_path):
    folder = tmp_path / "pack" / "val"
    lines = (folder / "index.jsonl").read_text().splitlines(keepends=True)
    (folder / "index.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match="cut short"):
        Pack(folder)


def test_a_stopped_build_leaves_no_pack_and_continues_to_the_same_bytes(packed, tmp_path, monkeypatch):
    _, config = packed
    unbroken = content(tmp_path / "pack" / "train")
    config = changed(config, "data", pack=str(tmp_path / "again"))
    monkeypatch.setattr(pack_builder, "CHUNK", 2)
    read: list[Path] = []

    def stop_at_the_sixth(path: Path) -> Image.Image:
        read.append(path)
        if len(read) == 6:
            raise KeyboardInterrupt
        return load_image(path)

    monkeypatch.setattr(pack_builder, "load_image", stop_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        build_pack(config, ["train"])
    assert not (tmp_path / "again" / "train").exists()
    del read[:]
    monkeypatch.setattr(pack_builder, "load_image", lambda path: read.append(path) or load_image(path))
    build_pack(config, ["train"])
    assert [path.stem for path in read] == [str(number) for number in range(4, 12)]
    assert content(tmp_path / "again" / "train") == unbroken
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["train"]


def test_a_build_stopped_at_its_last_rename_only_renames(packed, tmp_path, monkeypatch):
    _, config = packed
    folder = tmp_path / "pack" / "val"
    made_from = json.loads((folder / "pack.json").read_text())
    building = lasting_part(folder.parent / f"val-{made_from['sources'][:16]}")
    building.mkdir()
    folder.rename(building / "whole")
    monkeypatch.setattr(pack_builder, "load_image", lambda path: pytest.fail("an image was read again"))
    build_pack(config, ["val"])
    assert len(Pack(folder, config).records) == 4 and not building.exists()


def test_two_processes_write_the_same_bytes_as_one(packed, tmp_path, monkeypatch):
    _, config = packed
    monkeypatch.setattr(pack_builder, "CHUNK", 5)
    build_pack(changed(config, "data", pack=str(tmp_path / "two")), ["train"], processes=2)
    assert content(tmp_path / "two" / "train") == content(tmp_path / "pack" / "train")


def test_shards_become_the_same_bytes_as_one_build(packed, tmp_path, monkeypatch):
    _, config = packed
    monkeypatch.setattr(pack_builder, "CHUNK", 2)
    folder = tmp_path / "shared"
    sharded = changed(config, "data", pack=str(folder))
    monkeypatch.setattr(pack_builder, "load_image", lambda path: read.append(path.stem) or load_image(path))
    read: list[str] = []
    build_pack(sharded, ["train"], shard=Shard(1, 4))
    assert read == ["0", "1", "8", "9"]  # chunks 0 and 4 of six
    for number in (2, 4):
        build_pack(sharded, ["train"], shard=Shard(number, 4))
    assert not (folder / "train").exists() and len(list(folder.iterdir())) == 3
    del read[:]
    build_pack(sharded, ["train"], shard=Shard(4, 4))
    assert read == []  # it is there
    (folder / f"train-{'0' * 16}-shard-1-of-2").mkdir()  # of sources that have changed since
    (folder / f"train-{'0' * 16}-shard-1-of-2" / "000000.npz").write_bytes(b"old")
    (folder / "train-mine-shard-1-of-2").mkdir()
    build_pack(sharded, ["train"])
    assert read == ["4", "5"]  # what no shard has packed
    assert content(folder / "train") == content(tmp_path / "pack" / "train")
    assert sorted(path.name for path in folder.iterdir()) == ["train", "train-mine-shard-1-of-2"]
    build_pack(sharded, ["train"], shard=Shard(2, 4))
    assert len(list(folder.iterdir())) == 2  # packed before


@pytest.mark.parametrize("word", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_one_line(word, tmp_path, capsys, monkeypatch):
    write_tiny_data(tmp_path)
    save_config(tiny_config(tmp_path), tmp_path / "config.yaml")
    monkeypatch.setattr(sys, "argv", ["pack", "--config", str(tmp_path / "config.yaml"), f"--shard={word}"])
    with pytest.raises(SystemExit) as stopped:
        exit_on_input_error(command.main)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and "expected i/n" in error


@pytest.mark.parametrize("name", ["3.png", "3-1.wav"])
def test_a_missing_source_is_named_and_nothing_is_built(tmp_path, name):
    write_tiny_data(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=name):
        build_pack(tiny_config(tmp_path), ["train"])
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("name", ["3.png", "3-1.wav"])
def test_a_broken_source_is_named_and_no_pack_appears(tmp_path, name):
    write_tiny_data(tmp_path)
    (tmp_path / name).write_bytes(b"neither image nor sound")
    with pytest.raises(InputError, match=name):
        build_pack(tiny_config(tmp_path), ["train"])
    assert not (tmp_path / "pack" / "train").exists()


def test_a_split_without_images_is_refused(tmp_path):
    write_tiny_data(tmp_path)
    with pytest.raises(InputError, match="'test'"):
        build_pack(tiny_config(tmp_path), ["test"])


def test_captions_without_audio_or_text_keep_their_place_and_are_not_usable(tmp_path):
    images = write_tiny_data(tmp_path, train=2, val=0)
    first, second = images
    silent = dataclasses.replace(first.captions[0], audio=None)
    unwritten = dataclasses.replace(second.captions[1], text=None)
    write_manifest(
        tmp_path / "manifest.jsonl",
        [
            dataclasses.replace(first, captions=(silent, first.captions[1])),
            dataclasses.replace(second, captions=(second.captions[0], unwritten)),
        ],
    )
    build_pack(tiny_config(tmp_path), ["train"])
    pack = Pack(tmp_path / "pack" / "train")
    assert pack.caption_count == 4 and pack.has_speech
    assert pack.mel_lengths[0] == 0 and pack.mel(0).shape == (0, 40)
    assert pack.usable("speech").tolist() == [1, 2, 3]
    assert pack.usable("text").tolist() == [0, 1, 2]


def test_a_data_set_without_speech_is_packed_for_text(tmp_path):
    images = write_tiny_data(tmp_path, train=2, val=0)
    written = [
        dataclasses.replace(
            image, captions=tuple(dataclasses.replace(caption, audio=None) for caption in image.captions)
        )
        for image in images
    ]
    write_manifest(tmp_path / "manifest.jsonl", written)
    build_pack(tiny_config(tmp_path), ["train"])
    pack = Pack(tmp_path / "pack" / "train")
    assert not pack.has_speech and len(pack.usable("text")) == 4
    with pytest.raises(InputError, match="audio"):
        pack.usable("speech")


def test_a_pack_sent_to_another_process_takes_only_its_folder(packed, tmp_path):
    pack = Pack(tmp_path / "pack" / "train", packed[1])
    sent = pickle.dumps(pack)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).mel(3), pack.mel(3))


def test_the_command_packs_the_requested_splits(tmp_path):
    write_tiny_data(tmp_path)
    save_config(tiny_config(tmp_path), tmp_path / "conf.yaml")
    command.main(
        ["--config", str(tmp_path / "conf.yaml"), "data.margin=1.0", "--splits", "val", "--processes", "1"]
    )
    assert Pack(tmp_path / "pack" / "val").side == 16
    assert not (tmp_path / "pack" / "train").exists()


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"version": 1}', b'{"version": 1, "images"', b"\xff"],
    ids=["deep", "lacking", "cut", "no text"],
)
def test_a_truncated_or_incomplete_pack_json_is_refused(packed, tmp_path, content):
    folder = tmp_path / "copy"
    shutil.copytree(Path(packed[1].data.pack) / "val", folder)
    (folder / "pack.json").write_bytes(content)
    with pytest.raises(InputError, match="run data_prep/pack.py") as caught:
        Pack(folder)
    assert "\n" not in str(caught.value)


def test_a_huge_class_id_takes_no_room(tmp_path):
    images = write_tiny_data(tmp_path, train=4, val=0, captions=1)
    images[2] = dataclasses.replace(images[2], class_id=2**62, class_name="rare")
    write_manifest(tmp_path / "manifest.jsonl", images)
    build_pack(tiny_config(tmp_path), ["train"])
    pack = Pack(tmp_path / "pack" / "train")
    assert pack.class_labels[2**62] == 3 and sorted(pack.labels) == [0, 1, 2, 3]


def test_a_missing_folder_is_called_that(tmp_path):
    with pytest.raises(InputError, match="found no such folder: check data.pack"):
        Pack(tmp_path / "nowhere")
