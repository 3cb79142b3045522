"""Index and search: exact neighbours, both spaces, recordings by image, pages, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from s2i import cli
from s2i.data.crops import centre_crops, read_images
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.metrics.domain import Domain
from s2i.reports.export import export
from s2i.search.build import build_index
from s2i.search.index import Index
from s2i.search.nearest import VectorTable, write_table
from s2i.search.page import write_page
from tests.fixtures.data import write_tiny_data
from tests.fixtures.models import tiny_model_config, write_recording, write_tiny_run

SENTENCE = "a small red bird"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, write_tiny_data(folder)


@pytest.fixture(scope="module")
def index(data, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("indexes") / "index"
    build_index(load(model), data[0] / "manifest.jsonl", output)
    return output


def _table(folder, vectors):
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    write_table(folder)
    return VectorTable(folder)


@pytest.mark.parametrize("kind", ["clustered", "isotropic", "narrow", "few"])
def test_neighbours_are_those_of_comparing_all(tmp_path, kind):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(3000, 96)).astype(np.float32)
    if kind == "clustered":
        vectors = (vectors[:20][random.integers(20, size=3000)] + 0.3 * vectors).astype(np.float32)
    vectors = {"narrow": vectors[:, :8], "few": vectors[:5]}.get(kind, vectors)
    table = _table(tmp_path / kind, vectors)
    for query in random.normal(size=(20, vectors.shape[1])).astype(np.float32):
        query /= np.linalg.norm(query)
        places, cosines = table.nearest(query, 10)
        every = np.asarray(table.vectors) @ query
        assert len(places) == min(10, len(vectors))
        np.testing.assert_allclose(cosines, np.sort(every)[::-1][: len(places)], atol=2e-6)
        np.testing.assert_allclose(every[places], cosines, atol=2e-6)


def test_few_vectors_are_read_whole_where_few_directions_hold_them(tmp_path):
    random = np.random.default_rng(0)
    low = random.normal(size=(20, 256))
    vectors = (random.normal(size=(4000, 20)) @ low + 0.1 * random.normal(size=(4000, 256))).astype(
        np.float32
    )
    table = _table(tmp_path / "low", vectors.astype(np.float32))
    read = []
    exact = table._cosines
    table._cosines = lambda places, vector: read.append(len(places)) or exact(places, vector)
    for query in np.asarray(table.vectors[:20]):
        assert table.nearest(query, 10)[0][0] in range(20)
    assert max(read) < 400  # a tenth


def test_equals_come_in_their_order(tmp_path):
    vectors = np.tile(np.array([[0.6, 0.8, 0.0]], np.float32), (9, 1))
    places, _ = _table(tmp_path / "equal", vectors).nearest(vectors[0], 4)
    assert places.tolist() == [0, 1, 2, 3]


def test_images_are_seen_as_training_saw_them(data, model, index):
    folder, images = data
    config = replace(tiny_model_config("speech"))
    config = replace(
        config,
        data=replace(
            config.data, root=str(folder), manifest=str(folder / "manifest.jsonl"), pack=str(folder / "p")
        ),
    )
    build_pack(config, ("train",))
    pack = Pack(folder / "p" / "train")
    seen = read_images(pack, np.arange(3), centre_crops(pack, 3), config.packed_size)
    for modality, path in load(model).paths.items():
        table = Index.open(index)._tables[f"{modality}-images"]
        expected = F.normalize(path.image_encoder(seen)[0], dim=1)
        torch.testing.assert_close(torch.from_numpy(np.array(table.vectors[:3])), expected)


def test_search_orders_all_images_by_cosine_for_speech_text_and_image(data, model, index, tmp_path):
    folder, images = data
    loaded, recording = load(model), write_recording(tmp_path / "x.wav")
    for query, space in (
        ({"speech": recording}, "speech"),
        ({"text": SENTENCE}, "text"),
        ({"image": folder / images[3].image}, "speech"),
    ):
        hits = loaded.search(index, **query, top=5)
        vector = loaded.embed(**query)
        cosines = np.asarray(Index.open(index)._tables[f"{space}-images"].vectors) @ vector
        best = np.argsort(-cosines, kind="stable")[:5]
        assert [hit.id for hit in hits] == [images[place].id for place in best]
        assert hits[0].score == pytest.approx(cosines.max(), abs=1e-6)
        nearest = images[best[0]]
        assert (hits[0].class_name, hits[0].caption) == (nearest.class_name, nearest.captions[0].text)
        assert hits[0].image.resolve() == (folder / nearest.image).resolve() and hits[0].recording is None


def test_a_query_with_words_that_the_model_never_learnt_says_so(model, index, capsys):
    words = ["search", "--model", str(model), "--device", "cpu", "--index", str(index), "--json"]
    cli.main([*words, "--text", "a purpel red bird"])
    output = capsys.readouterr()
    warning = "s2i: warning: 'a purpel red bird' is read in part: the model never learnt purpel"
    assert warning in output.err.splitlines() and json.loads(output.out)


def test_recordings_are_found_by_image(data, model, index):
    folder, images = data
    loaded = load(model)
    hits = loaded.search(index, image=folder / images[0].image, top=3, gallery="recordings")
    vector = loaded.embed(image=folder / images[0].image, space="speech")
    spoken = [(image, caption) for image in images for caption in image.captions if caption.audio]
    path = loaded.path("speech")
    by_hand = [float(loaded.embed(speech=folder / caption.audio) @ vector) for _, caption in spoken]
    image, caption = spoken[int(np.argmax(by_hand))]
    assert hits[0].score == pytest.approx(max(by_hand), abs=1e-5) and path.encoder is not None
    assert hits[0].recording.resolve() == (folder / caption.audio).resolve()
    assert hits[0].image.resolve() == (folder / image.image).resolve()


def test_recordings_are_searched_as_they_were_indexed(data, model, index, tmp_path):
    """Embeddings of voices that are normalised are not those of the same voices as they are."""
    folder, images = data
    image = folder / images[0].image
    known = _that_normalises_voices(load(model))
    assert known.search(index, image=image, top=1)  # among images, which have no voice
    with pytest.raises(InputError, match="voices are normalised in the index .*, found them as heard"):
        known.search(index, image=image, gallery="recordings")
    build_index(known, folder / "manifest.jsonl", tmp_path / "index")
    assert known.search(tmp_path / "index", image=image, gallery="recordings")
    with pytest.raises(InputError, match="voices are as heard in the index .*, found them normalised"):
        load(model).search(tmp_path / "index", image=image, gallery="recordings")


def _that_normalises_voices(model):
    path = model.path("speech")
    domain = Domain(torch.zeros(path.embedding_dim), torch.eye(path.embedding_dim), torch.tensor(1.0))
    speech = replace(path, domain=domain).hearing(normalised=True)
    return replace(model, paths={**model.paths, "speech": speech})


def test_a_folder_is_indexed_to_its_depths_and_broken_images_are_named(model, tmp_path, capsys):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for name, shade in (("a.png", 10), ("deep/b.JPG", 200), ("deep/c.webp", 90)):
        Image.new("RGB", (40, 30), (shade, 0, 255 - shade)).save(tmp_path / "images" / name)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    (tmp_path / "images" / "notes.txt").write_text("no image either")
    made = build_index(load(model), tmp_path / "images", tmp_path / "index")
    assert made.sizes == {"images": 3} and made.spaces == ["speech", "text"]
    assert "broken.png" in capsys.readouterr().err
    hits = load(model).search(tmp_path / "index", image=tmp_path / "images" / "deep" / "b.JPG")
    assert hits[0].id == "deep/b.JPG" and hits[0].score == pytest.approx(1, abs=1e-5)
    # Moved together with its images, an index still finds them.
    (tmp_path / "elsewhere").mkdir()
    for name in ("images", "index"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    [hit] = load(model).search(tmp_path / "elsewhere" / "index", text=SENTENCE, top=1)
    assert hit.image.is_file()


def test_a_folder_that_is_no_index_is_refused_and_stays(model, tmp_path):
    images, project = tmp_path / "images", tmp_path / "project"
    images.mkdir()
    Image.new("RGB", (40, 30)).save(images / "a.png")
    project.mkdir()
    (project / "index.json").write_text("mine")
    for output, obstacle in ((images, "a.png"), (project, "index.json"), (project / "index.json", "a file")):
        with pytest.raises(InputError, match=f"found {obstacle}"):
            build_index(load(model), images, output)
    assert (project / "index.json").read_text() == "mine"
    made = images / "birds.index"  # inside of what is indexed: no image, so the second call finds the same
    for _ in range(2):
        assert build_index(load(model), images, made).sizes == {"images": 1}
    (made / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="found notes.txt there"):
        build_index(load(model), images, made)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "project"}


def test_a_generated_image_is_searched_as_it_is(model, index):
    loaded = load(model)
    [generated] = loaded.generate(text=SENTENCE)
    framed = np.asarray(generated, np.float32) / 127.5 - 1
    path = loaded.path("text")
    expected = F.normalize(path.image_encoder(torch.from_numpy(framed).movedim(2, 0)[None])[0], dim=1)[0]
    np.testing.assert_allclose(loaded.embed(image=generated, space="text"), expected.numpy(), atol=1e-5)


def test_an_index_of_another_model_and_what_it_lacks_are_refused(data, model, index, tmp_path):
    other = load(write_tiny_run(tmp_path / "other", seed=1))
    with pytest.raises(InputError, match="expected the model that the index .* found another"):
        other.search(index, image=data[0] / data[1][0].image)
    with pytest.raises(InputError, match="in the embedding space of text .* found only speech"):
        build_index(
            load(write_tiny_run(tmp_path / "speech")), data[0] / "manifest.jsonl", tmp_path / "speech-only"
        )
        load(model).search(tmp_path / "speech-only", text=SENTENCE)
    with pytest.raises(InputError, match="found no such folder"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found neither file nor folder"):
        build_index(load(model), tmp_path / "nowhere", tmp_path / "nowhere.index")
    with pytest.raises(InputError, match="no index.json"):
        load(model).search(tmp_path, text=SENTENCE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected images .* found none"):
        build_index(load(model), tmp_path / "empty", tmp_path / "new")
    with pytest.raises(InputError, match="or one that s2i index wrote, at .*, found 0-0.wav there"):
        build_index(load(model), data[0], data[0])
    assert not (tmp_path / "new").exists() and (data[0] / "manifest.jsonl").is_file()


def test_an_index_that_is_cut_short_is_one_line(index, tmp_path):
    def torn(name, change):
        copy = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(index, copy)
        (copy / name).write_bytes(change((copy / name).read_bytes()))
        return copy

    for name in ("images.jsonl", "recordings.jsonl", "index.json"):
        with pytest.raises(InputError, match="run s2i index again") as caught:
            Index.open(torn(name, lambda content: content[:-20]))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="run s2i index again"):
        Index.open(torn("index.json", lambda content: b"[" * 100_000))
    other = Index.open(torn("images.jsonl", lambda content: content.replace(b'"id"', b'"ID"')))
    with pytest.raises(InputError, match="of images.jsonl in .* run s2i index again"):
        other.nearest(np.eye(16, dtype=np.float32)[0])


def test_a_model_without_an_image_encoder_says_so(model, data, tmp_path):
    loaded = load(model)
    bare = replace(loaded, paths={"speech": replace(loaded.path("speech"), image_encoder=None)})
    with pytest.raises(InputError, match="with an image encoder, found one without"):
        build_index(bare, data[0], tmp_path / "index")
    with pytest.raises(InputError, match="with an image encoder, found one without"):
        bare.embed(image=data[0] / data[1][0].image)


def test_a_half_size_export_reads_the_index_of_its_run(data, model, index, tmp_path):
    run = write_tiny_run(tmp_path / "speech")
    export([run], tmp_path / "half", bits=16)
    assert load(tmp_path / "half").search(index, image=data[0] / data[1][0].image, top=1)


def test_the_command_prints_lines_or_json_and_writes_a_page(data, model, index, tmp_path, capsys):
    recording, page = write_recording(tmp_path / "x.wav"), tmp_path / "page.html"
    words = ["search", "--model", str(model), "--index", str(index), "--top", "3", "--device", "cpu"]
    cli.main([*words, "--speech", str(recording), "--json", "--html", str(page)])
    printed_hits = json.loads(capsys.readouterr().out)
    assert [hit["id"] for hit in printed_hits] == [
        hit.id for hit in load(model).search(index, speech=recording, top=3)
    ]
    text = page.read_text()
    assert text.count("<img ") == 3 and text.count("<audio ") == 1 and "http" not in text
    assert all(hit["id"] in text for hit in printed_hits)
    cli.main([*words, "--text", SENTENCE, "--html", str(page)])
    said = capsys.readouterr()
    assert said.out.count("\n") == 3 and f"{page} is replaced" in said.err
    photograph = tmp_path / "photograph.html"
    shutil.copy(data[0] / data[1][0].image, photograph)
    for given, reason in ((photograph, "which is read"), (tmp_path / "x.wav", "ends in .html")):
        with pytest.raises(SystemExit):
            cli.main([*words, "--image", str(photograph), "--html", str(given)])
        assert reason in capsys.readouterr().err
    assert photograph.read_bytes() == (data[0] / data[1][0].image).read_bytes()
    cli.main(
        ["index", str(data[0] / "manifest.jsonl"), "--split", "val", "--model", str(model)]
        + ["--output", str(tmp_path / "val")]
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "val")
    assert Index.open(tmp_path / "val").sizes["images"] == sum(p.split == "val" for p in data[1])


def test_words_on_a_page_are_no_markup(data, model, index, tmp_path):
    [hit] = load(model).search(index, text=SENTENCE, top=1)
    write_page(tmp_path / "page.html", "<script>alert(1)</script>", [replace(hit, caption="<b>bold</b>")])
    text = (tmp_path / "page.html").read_text()
    assert "<script>" not in text and "<b>" not in text and "&lt;b&gt;" in text
