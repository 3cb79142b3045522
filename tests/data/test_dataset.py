from __future__ import annotations

import random
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch

from s2i.data.batches import Batch, evaluation_batches, pad_mels, pad_tokens
from s2i.data.dataset import CaptionedImages
from s2i.data.images import to_tensor
from s2i.data.loader import endless_batches
from s2i.data.manifest import write_manifest
from s2i.data.pack import Pack
from s2i.data.pack_builder import build_pack
from s2i.data.sampler import BucketSampler
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from tests.fixtures.data import tiny_config, write_tiny_data


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tiny_data(folder, train=26, val=0, classes=4, captions=3)
    build_pack(tiny_config(folder), ["train"])
    return Pack(folder / "pack" / "train")


@pytest.fixture(scope="module")
def vocabulary(pack):
    return Vocabulary.from_list(["<padding>", "<unknown>", "a", "small", "bird", "with", "wings"])


def speech(pack: Pack, **changes: object) -> CaptionedImages:
    return CaptionedImages(
        pack, **{"seed": 7, "image_size": 16, "modality": "speech", "same_class": True, **changes}
    )


def assert_same(first: Batch, second: Batch) -> None:
    for item in fields(Batch):
        one, other = getattr(first, item.name), getattr(second, item.name)
        assert (one is None and other is None) or torch.equal(one, other), item.name


def test_a_speech_batch_has_the_shapes_and_ranges_that_it_promises(pack):
    batch = next(endless_batches(speech(pack), batch_size=4, seed=1))
    assert len(batch) == 4
    assert batch.images.shape == batch.same_class.shape == (4, 3, 16, 16)
    assert batch.images.dtype == torch.float32 and batch.images.abs().max() <= 1
    assert batch.mels.shape == (4, 40, int(batch.mel_lengths.max())) and batch.mels.dtype == torch.float32
    assert batch.tokens is None and batch.token_lengths is None
    assert torch.equal(batch.image_ids, torch.from_numpy(pack.caption_image)[batch.captions])
    assert torch.equal(batch.class_ids, torch.from_numpy(pack.labels)[batch.image_ids])
    for row, caption in enumerate(batch.captions):
        length = int(batch.mel_lengths[row])
        assert torch.equal(batch.mels[row, :, :length], pack.mel(int(caption)).T)
        assert not batch.mels[row, :, length:].any()


def test_a_text_batch_has_the_words_of_its_captions(pack, vocabulary):
    dataset = speech(pack, modality="text", vocabulary=vocabulary, words=3, same_class=False)
    batch = next(endless_batches(dataset, batch_size=4, seed=1))
    assert batch.mels is None and batch.mel_lengths is None and batch.same_class is None
    assert int(batch.token_lengths.max()) <= 3
    for row, caption in enumerate(batch.captions):
        words = vocabulary.encode(pack.caption(int(caption)).text, 3)
        assert batch.tokens[row, : len(words)].tolist() == words
        assert not batch.tokens[row, len(words) :].any()


def test_images_are_crops_of_the_packed_image_mirrored_or_not(pack):
    seen = set()
    for batch in islice(endless_batches(speech(pack), batch_size=13, seed=1), 6):
        for image, index in zip(batch.images, batch.image_ids, strict=True):
            whole = to_tensor(torch.from_numpy(np.array(pack.images[int(index)])))
            crops = [
                (top, left, flipped)
                for top in range(4)
                for left in range(4)
                for flipped in (False, True)
                if torch.equal(
                    image, (whole.flip(-1) if flipped else whole)[:, top : top + 16, left : left + 16]
                )
            ]
            assert len(crops) == 1
            seen.update(crops)
    assert len(seen) > 20  # of 32 ways


def test_without_augmentation_the_centre_is_cut(pack):
    batch = next(endless_batches(speech(pack, augment=False), batch_size=4, seed=1))
    for image, index in zip(batch.images, batch.image_ids, strict=True):
        assert torch.equal(image, to_tensor(torch.from_numpy(np.array(pack.images[int(index), 1:17, 1:17]))))


def test_second_images_are_any_other_of_the_same_class(pack):
    dataset = speech(pack)
    seen = set()
    for epoch in range(60):
        second = dataset.plan(epoch).same_class
        assert dataset[epoch, np.arange(len(second))].has_same_class.all()
        assert (pack.class_ids[second] == pack.class_ids).all()
        assert (second != np.arange(26)).all()
        seen.add(int(second[5]))
    assert seen == set(np.flatnonzero(pack.class_ids == pack.class_ids[5])) - {5}


def test_an_image_alone_in_its_class_is_its_own_second(tmp_path):
    write_tiny_data(tmp_path, train=3, val=0, classes=3)
    build_pack(tiny_config(tmp_path), ["train"])
    dataset = speech(Pack(tmp_path / "pack" / "train"))
    assert dataset.plan(0).same_class.tolist() == [0, 1, 2]
    assert dataset[0, np.arange(3)].has_same_class.tolist() == [False] * 3


def test_an_epoch_has_each_image_once_and_drops_less_than_a_batch(pack):
    sampler = BucketSampler(speech(pack), batch_size=4, seed=1)
    dropped = set()
    for epoch in range(4):
        images = sampler.epoch_batches(epoch).ravel()
        assert len(images) == len(set(images)) == 24
        dropped |= set(range(26)) - set(images)
    assert len(dropped) > 2  # not the same ones each time


def test_epochs_and_seeds_differ_in_order_captions_and_crops(pack):
    def order(seed: int, epoch: int) -> list[int]:
        return BucketSampler(speech(pack), batch_size=4, seed=seed).epoch_batches(epoch).ravel().tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) != order(2, 1)
    plans = [speech(pack, seed=seed).plan(epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    for name in ("captions", "crops", "same_class"):
        first, second, third = (getattr(plan, name) for plan in plans)
        assert (first != second).any() and (first != third).any()


def test_speech_and_text_of_one_seed_see_the_same_captions_and_crops(pack, vocabulary):
    """Else a comparison of the two would be one of other captions too."""
    spoken, written = speech(pack), speech(pack, modality="text", vocabulary=vocabulary)
    for epoch in range(3):
        first, second = spoken.plan(epoch), written.plan(epoch)
        for item in fields(first):
            assert (getattr(first, item.name) == getattr(second, item.name)).all(), item.name


def test_a_batch_holds_captions_of_about_one_length(pack):
    dataset = speech(pack)
    sampler = BucketSampler(dataset, batch_size=4, seed=1)
    plan = dataset.plan(0)
    lengths = pack.mel_lengths[plan.captions[sampler.epoch_batches(0)]]
    bucketed = lengths.max(1).sum()
    shuffled = np.random.default_rng(0).permutation(lengths.ravel()).reshape(-1, 4).max(1).sum()
    assert bucketed < 0.9 * shuffled
    assert (np.diff(lengths.max(1)) < 0).any()  # and batches do not come in order of length


def test_training_continued_at_a_step_sees_what_it_would_have_seen(pack):
    unbroken = list(islice(endless_batches(speech(pack), batch_size=4, seed=1), 15))  # 6 an epoch
    for step in (2, 6, 11):
        continued = islice(endless_batches(speech(pack), batch_size=4, seed=1, step=step), 15 - step)
        for first, second in zip(unbroken[step:], continued, strict=True):
            assert_same(first, second)


def test_batches_are_the_same_with_loader_processes(pack):
    alone = islice(endless_batches(speech(pack), batch_size=4, seed=1, step=4), 9)
    helped = endless_batches(speech(pack), batch_size=4, seed=1, step=4, workers=2)
    for first in alone:
        assert_same(first, next(helped))


def test_batches_of_several_processes_make_up_the_batch_of_one(pack):
    one = islice(endless_batches(speech(pack), batch_size=6, seed=1), 9)
    ranks = [endless_batches(speech(pack), batch_size=3, seed=1, rank=rank, world=2) for rank in (0, 1)]
    for batch in one:
        rank_batches = [next(rank) for rank in ranks]
        assert sorted(torch.cat([part.captions for part in rank_batches]).tolist()) == sorted(
            batch.captions.tolist()
        )


def test_loading_does_not_move_the_global_random_state(pack):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    list(islice(endless_batches(speech(pack), batch_size=4, seed=1), 9))
    list(evaluation_batches(pack, range(8), 4, "speech"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()


def test_fewer_images_than_a_batch_is_refused(pack):
    with pytest.raises(InputError, match="batch of 27"):
        endless_batches(speech(pack), batch_size=27, seed=1)
    with pytest.raises(InputError, match="batch of 28"):
        endless_batches(speech(pack), batch_size=14, seed=1, world=2)


def test_images_smaller_than_requested_are_refused(pack):
    with pytest.raises(InputError, match="64 px"):
        speech(pack, image_size=64)


def test_captions_without_audio_are_never_generated_for_speech(tmp_path):
    images = write_tiny_data(tmp_path, train=8, val=0, captions=2)
    images[0] = replace(images[0], captions=tuple(replace(c, audio=None) for c in images[0].captions))
    images[7] = replace(images[7], captions=(replace(images[7].captions[0], audio=None),) * 2)
    images[1] = replace(
        images[1], captions=(replace(images[1].captions[0], audio=None), images[1].captions[1])
    )
    write_manifest(tmp_path / "manifest.jsonl", images)
    build_pack(tiny_config(tmp_path), ["train"])
    dataset = speech(Pack(tmp_path / "pack" / "train"))
    assert dataset.candidates.tolist() == [1, 2, 3, 4, 5, 6]
    for batch in islice(endless_batches(dataset, batch_size=3, seed=1), 20):
        assert bool((batch.mel_lengths > 0).all())
        assert not {0, 7} & set(batch.image_ids.tolist())
        assert 2 not in batch.captions.tolist()
    with pytest.raises(InputError, match="caption 2 the first"):
        list(evaluation_batches(dataset.pack, [2, 3], 2, "speech"))


def test_captions_without_a_word_are_left_out_for_text_alone(tmp_path, capsys):
    images = write_tiny_data(tmp_path, train=8, val=0, captions=2)
    wordless = [tuple(replace(c, text=text) for c in images[0].captions) for text in ("\U0001f426", "...")]
    images[0] = replace(images[0], captions=wordless[0])
    images[7] = replace(images[7], captions=(wordless[1][0], images[7].captions[1]))
    write_manifest(tmp_path / "manifest.jsonl", images)
    build_pack(tiny_config(tmp_path), ["train"])
    pack = Pack(tmp_path / "pack" / "train")
    capsys.readouterr()
    dataset = CaptionedImages(pack, 1, 16, "text", Vocabulary.build(pack.texts()))
    assert "3 written captions without a word are left out" in capsys.readouterr().err
    assert dataset.candidates.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert not {0, 1, 14} & set(pack.usable("text").tolist())
    assert speech(pack).candidates.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_captions_that_are_cut_are_counted(pack, capsys):
    vocabulary, words = Vocabulary.build(pack.texts()), 3
    capsys.readouterr()
    CaptionedImages(pack, 1, 16, "text", vocabulary, words)
    cut = sum(len(text.split()) > words for text in pack.texts())
    assert cut and f"{cut} captions of more than 3 words are read in part" in capsys.readouterr().err


def test_evaluation_gives_every_caption_once_with_the_centre_of_its_image(pack, vocabulary):
    chosen = [70, 3, 4, 5, 9, 0, 33]
    for modality in ("speech", "text"):
        batches = list(evaluation_batches(pack, chosen, 3, modality, vocabulary, image_size=16))
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert sorted(torch.cat([batch.captions for batch in batches]).tolist()) == sorted(chosen)
        for batch in batches:
            lengths = batch.mel_lengths if modality == "speech" else batch.token_lengths
            assert lengths.tolist() == sorted(lengths.tolist())
            for image, index in zip(batch.images, batch.image_ids, strict=True):
                centre = np.array(pack.images[int(index), 1:17, 1:17])
                assert torch.equal(image, to_tensor(torch.from_numpy(centre)))


def test_padding_keeps_values_and_lengths():
    mels, lengths = pad_mels([torch.ones(2, 4), torch.full((3, 4), 2.0)])
    assert mels.shape == (2, 4, 3) and lengths.tolist() == [2, 3]
    assert mels[0, :, 2].tolist() == [0] * 4 and mels[1, 0].tolist() == [2, 2, 2]
    tokens, lengths = pad_tokens([[5, 6, 7], [8]])
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]] and tokens.dtype == torch.int64
    assert lengths.tolist() == [3, 1] and lengths.dtype == torch.int64


def test_a_batch_moves_whole_to_a_device(pack):
    batch = next(endless_batches(speech(pack), batch_size=4, seed=1)).to("meta")
    assert batch.images.device.type == batch.same_class.device.type == batch.mels.device.type == "meta"
    assert batch.tokens is None
