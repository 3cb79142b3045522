"""Other people's checkpoints: read to the last channel, or refused in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from s2i.cli import main
from s2i.data.plain_pickle import read_plain_pickle
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.models.caption_encoding import CaptionEncoding
from s2i.published.attngan import read_text_encoder
from s2i.published.files import read_weights
from s2i.published.s2igan import read_speech_encoder
from s2i.published.stacked import read_generator
from s2i.published.vocabulary import read_vocabulary
from s2i.published.weights import Weights
from s2i.reports.export import export
from tests.fixtures.models import write_recording
from tests.fixtures.networks import make_network
from tests.parity import check
from tests.parity import published_networks as published

SYSTEMS = ("attngan", "s2igan", "stackgan-v2")
HIDDEN = 4  # of each direction: embeddings of 8 numbers


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def widths(system: str, stages: int = 3) -> list[int]:
    return [8 if system == "attngan" else 8 // 2**i for i in range(stages)]


def make_generator(system: str, stages: int = 3, blocks: tuple[int, ...] = (2, 2)) -> published.State:
    return published.generator_state(system, widths(system, stages), list(blocks), 2 * HIDDEN)


def generator_part(system: str, stages: int, blocks: tuple[int, ...], batch: int = 2) -> dict:
    state = make_generator(system, stages, blocks)
    sentence, words = torch.randn(batch, 2 * HIDDEN), torch.randn(batch, 2 * HIDDEN, 4)
    noise, augmentation = torch.randn(batch, 5), torch.randn(batch, 3)
    made = published.generate(system, state, sentence, words, noise, augmentation)
    return {
        "state": state,
        "noise": noise,
        "sentence": sentence,
        "words": words,
        "ca_noise": augmentation,
        **made,
    }


def discriminator_part(system: str, further: int) -> dict:
    state = published.discriminator_state(system, 2, further, 3)
    images, condition = torch.randn(2, 3, 64 * 2**further, 64 * 2**further), torch.randn(2, 3)
    both = published.classifier(system, state, images, condition)
    names = ("conditional_probability", "unconditional_probability")
    return {"state": state, "images": images, "condition": condition, **dict(zip(names, both, strict=True))}


def fixture(tmp_path: Path, **components) -> str:
    torch.save({"meta": {}, **components}, tmp_path / "fixture.pt")
    return str(tmp_path / "fixture.pt")


@pytest.fixture
def files(tmp_path) -> dict[str, list[Path]]:
    """Files of each system; wrapped or old here and there, and not in the order of the manual."""
    text, speech = published.TextEncoder(HIDDEN), published.SpeechEncoder(HIDDEN)
    encoder = published.write_weights(tmp_path / "audio.pth", speech.state_dict(), wrapped=True)
    generators = {
        system: published.write_weights(
            tmp_path / f"{system}.pth", make_generator(system), wrapped=system != "attngan", old=True
        )
        for system in SYSTEMS
    }
    return {
        "attngan": [
            published.write_captions(tmp_path / "captions.pickle"),
            published.write_weights(tmp_path / "text_encoder.pth", text.state_dict(), old=True),
            generators["attngan"],
        ],
        "s2igan": [generators["s2igan"], encoder],
        "stackgan-v2": [encoder, generators["stackgan-v2"]],
    }


def command(system: str, files: list[Path], output: Path) -> list[str]:
    return ["import", system, *map(str, files), "--output", str(output)]


def refused(capsys, arguments: list[str], *words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and said.startswith("s2i: error: expected")
    for word in words:
        assert word in said


# Numbers


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("stages", "blocks"), [(1, ()), (2, (1,)), (3, (3, 3)), (4, (2, 2, 1))])
def test_a_generator_of_any_depth_generates_as_the_published_one(tmp_path, system, stages, blocks):
    part = generator_part(system, stages, blocks)
    assert len(part["images"]) == stages
    assert check.compare(fixture(tmp_path, generator=part))["generator"] < 1e-5


@pytest.mark.parametrize("system", ["attngan", "s2igan"])
def test_discriminators_of_every_scale_score_as_the_published_ones(tmp_path, system):
    discriminators = [discriminator_part(system, further) for further in (0, 1, 2)]
    assert check.compare(fixture(tmp_path, discriminators=discriminators))["discriminators"] < 1e-5


@pytest.mark.parametrize("layers", [1, 2])
def test_a_text_encoder_reads_as_the_published_one(layers):
    theirs = published.TextEncoder(HIDDEN, layers)
    ours = read_text_encoder(Weights(theirs.state_dict(), "here"))
    tokens = torch.tensor([[1, 4, 2, 0], [3, 5, 6, 1]])
    encoding = ours(tokens, torch.tensor([3, 4]))
    for row, length in ((0, 3), (1, 4)):
        words, sentence = theirs(tokens[row : row + 1, :length])
        torch.testing.assert_close(encoding.sequence[row, :, :length], words[0])
        torch.testing.assert_close(encoding.sentence[row], sentence[0])


def test_a_speech_encoder_gives_the_published_embedding_whatever_the_padding():
    theirs = published.SpeechEncoder(HIDDEN, mels=20, kernel=4, layers=3).eval()
    ours = read_speech_encoder(Weights(theirs.state_dict(), "here"))
    mels, lengths = torch.randn(2, 60, 20), torch.tensor([60, 43])
    sentences = ours(mels.transpose(1, 2), lengths).sentence
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(sentences[row : row + 1], theirs(mels[row : row + 1, :length]))


def test_the_parity_check_prints_json_and_fails_where_numbers_differ(tmp_path, capsys):
    part = generator_part("s2igan", 2, (1,))
    check.main([fixture(tmp_path, generator=part)])
    assert json.loads(capsys.readouterr().out)["generator"] < 1e-4
    part["images"][1] = part["images"][1].clone()
    part["images"][1][0, 0, 0, 0] += 2e-4
    with pytest.raises(SystemExit) as ended:
        check.main([fixture(tmp_path, generator=part)])
    assert ended.value.code == 1 and json.loads(capsys.readouterr().out)["generator"] > 1e-4
    part["images"].pop()
    with pytest.raises(SystemExit):
        check.main([fixture(tmp_path, generator=part)])


def test_the_parity_check_refuses_a_part_that_it_does_not_know(tmp_path):
    with pytest.raises(InputError, match="surprise"):
        check.main([fixture(tmp_path, surprise={})])


def test_reading_weights_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    state = make_generator("attngan")
    torch.set_rng_state(before)
    read_generator(Weights(state, "here"))
    assert torch.equal(torch.get_rng_state(), before)


# Model folders


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_imported_model_generates_from_the_command_line(files, tmp_path, capsys, system):
    model, page = tmp_path / "model", tmp_path / "bird.png"
    main(command(system, files[system], model))
    assert capsys.readouterr().out == f"{model}\n"
    assert not list(tmp_path.glob(".*"))
    path = load(model, "cpu").paths["text" if system == "attngan" else "speech"]
    assert path.image_encoder is None and path.config.generated_size == 32
    card = (model / "README.md").read_text()
    assert f"s2i import {system}" in card and all(file.name in card for file in files[system])
    given = ["--text", "a bird with red wings"]
    if system != "attngan":
        given = ["--speech", str(write_recording(tmp_path / "speech.wav"))]
    main(["generate", "--model", str(model), *given, "--output", str(page)])
    assert page.stat().st_size > 0


def test_an_imported_model_generates_what_the_published_one_generates(files, tmp_path):
    main(command("attngan", files["attngan"], tmp_path / "model"))
    path = load(tmp_path / "model", "cpu").path("text")
    encoding = path.encode_text(["a red bird"])
    theirs = published.TextEncoder(HIDDEN)
    theirs.load_state_dict(torch.load(files["attngan"][1], weights_only=True))
    words, sentence = theirs(torch.tensor([[1, 4, 2]]))
    state = torch.load(files["attngan"][2], weights_only=True)
    noise, augmentation = torch.randn(1, 5), torch.randn(1, 3)
    made = published.generate("attngan", state, sentence, words, noise, augmentation)
    ours = path.generator(encoding, noise, augmentation)
    torch.testing.assert_close(ours.images[-1], made["images"][-1])


def write_image_encoder(path: Path, width: int) -> dict[str, torch.Tensor]:
    """AttnGAN's CNN_ENCODER: Inception-v3 without its heads, and two layers; random weights."""
    inception = make_network("inception_v3").state_dict()
    values = {key: value for key, value in inception.items() if key.split(".")[0] not in ("fc", "AuxLogits")}
    values |= {"emb_features.weight": torch.randn(width, 768, 1, 1) / 100}
    values |= {"emb_cnn_code.weight": torch.randn(width, 2048) / 100, "emb_cnn_code.bias": torch.randn(width)}
    torch.save(values, path)
    return values


def test_an_imported_image_encoder_gives_the_published_features_and_stays_with_the_model(files, tmp_path):
    values = write_image_encoder(tmp_path / "image_encoder200.pth", 2 * HIDDEN)
    main(command("attngan", [*files["attngan"], tmp_path / "image_encoder200.pth"], tmp_path / "first"))
    (tmp_path / "image_encoder200.pth").unlink()
    export([tmp_path / "first"], tmp_path / "model")
    inception = make_network("inception_v3")
    inception.load_state_dict(values, strict=False)
    inception.fc, seen = torch.nn.Identity(), []
    inception.Mixed_6e.register_forward_hook(lambda *given: seen.append(given[-1]))
    images = 2 * torch.rand(1, 3, 64, 64) - 1
    with torch.no_grad():
        pooled = inception(F.interpolate(images, (299, 299), mode="bilinear"))  # as their forward
        regions = F.conv2d(seen[0], values["emb_features.weight"]).flatten(2)
        vector = F.linear(pooled, values["emb_cnn_code.weight"], values["emb_cnn_code.bias"])
    ours = load(tmp_path / "model", "cpu").path("text").image_encoder(images)
    torch.testing.assert_close(ours[0], vector, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours[1], regions, rtol=1e-3, atol=1e-4)


def test_an_image_encoder_of_another_width_or_cut_short_is_one_line(files, tmp_path, capsys):
    path = tmp_path / "image_encoder.pth"
    values = write_image_encoder(path, 2 * HIDDEN + 2)
    given = command("attngan", [*files["attngan"], path], tmp_path / "model")
    refused(capsys, given, f"expected an image encoder of {2 * HIDDEN} numbers")
    del values["Mixed_7c.branch_pool.conv.weight"]
    torch.save(values, path)
    refused(capsys, given, "image_encoder.pth")
    assert not (tmp_path / "model").exists()


def test_an_attention_map_is_labelled_by_the_words_that_were_read(files, tmp_path):
    main(command("attngan", files["attngan"], tmp_path / "model"))
    path = load(tmp_path / "model", "cpu").path("text")
    encoding = path.encode_text(["The bird's wings"])
    assert path.vocabulary.read("The bird's wings") == ["bird", "s", "wings"]
    assert int(encoding.mask.sum()) == 3
    main(
        [
            *("generate", "--model", str(tmp_path / "model"), "--text", "The bird's wings"),
            *("--output", str(tmp_path / "bird.png"), "--attention", str(tmp_path / "where.png")),
        ]
    )
    assert (tmp_path / "where.png").is_file()


def test_a_generator_alone_generates_from_embeddings_and_says_that_it_has_no_encoder(files, tmp_path, capsys):
    model = tmp_path / "model"
    main(command("stackgan-v2", files["stackgan-v2"][1:], model))
    path = load(model, "cpu").path("text")
    embedding = torch.randn(2, 2 * HIDDEN)
    encoding = CaptionEncoding(embedding, embedding.unsqueeze(2), torch.ones(2, 1, dtype=torch.bool))
    assert path.generate(encoding, ["a", "b"]).images[-1].shape == (2, 3, 32, 32)
    capsys.readouterr()
    output = ["generate", "--model", str(model), "--text", "a bird", "--output", str(tmp_path / "x.png")]
    refused(capsys, output, "found a generator alone")
    assert "no encoder" in (model / "README.md").read_text()


def test_images_are_searched_by_speech_over_the_published_image_encoder(files, tmp_path, capsys):
    layer = torch.nn.Linear(2048, 2 * HIDDEN)
    state = {f"L1.{name}": value for name, value in layer.state_dict().items()}
    image = published.write_weights(tmp_path / "image.pth", state)
    main(command("s2igan", [*files["s2igan"], image], tmp_path / "model"))
    assert "over torchvision's inception_v3, fetched when" in (tmp_path / "model" / "README.md").read_text()
    encoder = load(tmp_path / "model", "cpu").path("speech").image_encoder
    pooled = torch.randn(3, 2048)
    expected = F.normalize(layer(pooled), dim=1)
    torch.testing.assert_close(encoder.project(pooled, None)[0], expected)
    capsys.readouterr()
    for wrong, width in ((torch.nn.Linear(2048, 6), "6"), (torch.nn.Linear(512, 2 * HIDDEN), "over 512")):
        state = {f"L1.{name}": value for name, value in wrong.state_dict().items()}
        image = published.write_weights(tmp_path / "image.pth", state)
        refused(capsys, command("s2igan", [*files["s2igan"], image], tmp_path / "other"), "image.pth", width)


def test_an_imported_model_is_exported_again_beside_another(files, tmp_path):
    main(command("attngan", files["attngan"], tmp_path / "text"))
    main(command("s2igan", files["s2igan"], tmp_path / "speech"))
    export([tmp_path / "text", tmp_path / "speech"], tmp_path / "both")
    assert set(load(tmp_path / "both", "cpu").paths) == {"text", "speech"}


# Vocabularies


def test_pickle_and_text_give_the_same_vocabulary(tmp_path):
    rows = len(published.WORDS) + 1
    first = read_vocabulary(published.write_captions(tmp_path / "captions.pickle"), rows)
    for start in ([], ["<end>"]):
        (tmp_path / "words.txt").write_text("\n".join([*start, *published.WORDS]) + "\n")
        assert read_vocabulary(tmp_path / "words.txt", rows).to_list() == first.to_list()
    assert len(first) == rows
    assert first.encode("A RED bird", 18) == [1, 4, 2]


def test_a_published_vocabulary_leaves_out_what_it_does_not_know():
    vocabulary = Vocabulary(published.WORDS, unknown=False)
    assert vocabulary.encode("a quick red bird", 2) == [1, 4]
    assert Vocabulary.from_list(vocabulary.to_list()).encode("the bird's wings", 18) == [2, 6, 5]
    with pytest.raises(InputError, match="known|found none"):
        vocabulary.encode("quick fox", 18)


class Called:
    def __reduce__(self):
        return (pytest.fail, ("the pickle called something",))


def test_a_pickle_that_would_call_something_is_refused_by_name(tmp_path):
    path = tmp_path / "captions.pickle"
    path.write_bytes(pickle.dumps([Called()]))
    with pytest.raises(InputError, match="captions.pickle.*would call"):
        read_plain_pickle(path)
    path.write_bytes(pickle.dumps([1, 2])[:-3])
    with pytest.raises(InputError, match="captions.pickle"):
        read_plain_pickle(path)


# What is refused


def test_weights_that_would_call_something_are_refused_by_name(tmp_path):
    torch.save({"weight": Called()}, tmp_path / "netG.pth")
    with pytest.raises(InputError, match="netG.pth.*would call"):
        read_weights(tmp_path / "netG.pth")


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps([1, 2]), pickle.dumps({})])
def test_a_file_that_holds_no_weights_is_refused_by_name(tmp_path, content):
    (tmp_path / "netG.pth").write_bytes(content)
    with pytest.raises(InputError, match="netG.pth"):
        read_weights(tmp_path / "netG.pth")


@pytest.mark.parametrize("state", [{}, {"epoch": 3}, {"netG": {"weight": torch.ones(1)}}, torch.ones(2)])
def test_a_file_that_holds_more_than_a_state_dict_is_refused_by_name(tmp_path, state):
    torch.save(state, tmp_path / "netG.pth")
    with pytest.raises(InputError, match="netG.pth"):
        read_weights(tmp_path / "netG.pth")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("other", SYSTEMS)
def test_weights_of_another_system_are_one_line_and_nothing_is_written(
    files, tmp_path, capsys, system, other
):
    if system == other:
        return
    mixed = [file for file in files[system] if file.name != f"{system}.pth"] + [tmp_path / f"{other}.pth"]
    refused(capsys, command(system, mixed, tmp_path / "model"), f"{other}.pth", f"use s2i import {other}")
    assert not (tmp_path / "model").exists() and not list(tmp_path.glob(".model*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("h_net2.residual.1.block.3.weight"), "netG.pth"),
        (lambda state: state.pop("h_net2.upsample.2.weight"), "netG.pth"),
        (lambda state: state.update({"h_net9.extra.weight": torch.ones(1)}), "h_net9.extra.weight"),
        (lambda state: state.update({"img_net2.img.0.weight": torch.ones(3, 5, 3, 3)}), "netG.pth"),
        (lambda state: state.update({"ca_net.fc.weight": torch.ones(3)}), "ca_net.fc.weight"),
    ],
)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_changed_or_cut_short_generator_is_one_line(files, tmp_path, capsys, system, change, words):
    state = make_generator(system)
    change(state)
    broken = published.write_weights(tmp_path / "netG.pth", state)
    rest = [file for file in files[system] if file.name != f"{system}.pth"]
    refused(capsys, command(system, [*rest, broken], tmp_path / "model"), "netG.pth", words)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("system", "left_out", "words"),
    [
        ("attngan", "captions.pickle", "vocabulary"),
        ("attngan", "text_encoder.pth", "text encoder"),
        ("attngan", "attngan.pth", "generator"),
        ("s2igan", "audio.pth", "speech encoder"),
        ("s2igan", "s2igan.pth", "generator"),
    ],
)
def test_a_file_that_is_missing_is_named(files, tmp_path, capsys, system, left_out, words):
    rest = [file for file in files[system] if file.name != left_out]
    refused(capsys, command(system, rest, tmp_path / "model"), words)
    absent = [tmp_path / "nowhere" / left_out]
    refused(capsys, command(system, rest + absent, tmp_path / "model"), f"nowhere/{left_out}")


def test_a_file_that_is_there_twice_or_is_of_no_use_is_named(files, tmp_path, capsys):
    model = tmp_path / "model"
    again = published.write_weights(tmp_path / "again.pth", make_generator("s2igan"))
    refused(capsys, command("s2igan", [*files["s2igan"], again], model), "again.pth", "two")
    state = published.discriminator_state("s2igan", 2, 0, 3)
    classifier = published.write_weights(tmp_path / "netD0.pth", state)
    refused(capsys, command("s2igan", [*files["s2igan"], classifier], model), "netD0.pth", "a discriminator")


def test_parts_that_do_not_fit_each_other_are_named(files, tmp_path, capsys):
    wide = published.SpeechEncoder(HIDDEN + 1).state_dict()
    encoder = published.write_weights(tmp_path / "wide.pth", wide)
    given = [files["s2igan"][0], encoder]
    refused(capsys, command("s2igan", given, tmp_path / "model"), "s2igan.pth", "wide.pth", "8", "10")
    captions = published.write_captions(tmp_path / "other.pickle", published.WORDS[:-1])
    given = [captions, *files["attngan"][1:]]
    refused(capsys, command("attngan", given, tmp_path / "model"), "other.pickle", "6 different words")


def test_a_folder_of_something_else_is_left_as_it_is(files, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("precious")
    refused(capsys, command("s2igan", files["s2igan"], tmp_path / "model"), "thesis.tex")
    assert (tmp_path / "model" / "thesis.tex").read_text() == "precious"
