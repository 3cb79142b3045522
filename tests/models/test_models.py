"""Networks: masks, shapes, what an output may depend on, and how weights begin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from s2i.config import Config, GanConfig
from s2i.config_data import AudioConfig
from s2i.config_networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    ImageEncoderConfig,
    SpeechEncoderConfig,
    TextEncoderConfig,
)
from s2i.errors import InputError
from s2i.models.blocks import ConditioningAugmentation, Norm, SegmentAttention, modulate
from s2i.models.build import (
    build_caption_encoder,
    build_discriminators,
    build_generator,
    build_image_encoder,
    image_sizes,
)
from s2i.models.caption_encoding import CaptionEncoding, length_mask, masked_mean
from s2i.models.discriminator import Discriminator, image_pyramid
from s2i.models.generator import StackedGenerator, stage_widths
from s2i.models.image_encoder import ImageEncoder
from s2i.models.masked_batch_norm import MaskedBatchNorm1d
from s2i.models.recurrent import Bidirectional, Pooling
from s2i.models.relation import RelationSupervisor
from s2i.models.speech_encoder import SpeechEncoder, average_steps
from s2i.models.text_encoder import TextEncoder

MELS = AudioConfig().mel_bins
SPEECH = SpeechEncoderConfig(channels=(8, 12), hidden_dim=8, layers=2, attention_dim=6, segment=3, pool=2)
TEXT = TextEncoderConfig(embedding_dim=10, dropout=0.5, hidden_dim=8, layers=2, attention_dim=6)
GENERATOR = GeneratorConfig(
    stages=3, base_size=8, noise_dim=6, condition_dim=4, channels=8, min_channels=4, residual_blocks=1
)
# The published layouts and our own, by what sets them apart.
LAYOUTS = {
    "StackGAN-v2": {"dense": False},
    "S2IGAN": {},
    "AttnGAN": {"attention": True, "tile": False, "dense": False, "keep_channels": True},
    "ours": {
        "attention": True,
        "add_context": True,
        "tile": False,
        "dense": False,
        "activation": "relu",
        "conditional_batch_norm": True,
        "upsample": "bilinear",
        "image_skips": True,
    },
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def mels(*lengths: int) -> list[Tensor]:
    return [torch.randn(length, MELS) for length in lengths]


def padded(sequences: list[Tensor], value: float = 0.0) -> tuple[Tensor, Tensor]:
    """Parts (T, ...) -> one batch (B, T, ...) filled with `value`, and the lengths."""
    lengths = torch.tensor([len(part) for part in sequences])
    return pad_sequence(sequences, batch_first=True, padding_value=value), lengths


def encode_mels(encoder: SpeechEncoder, spectrograms: list[Tensor], value: float = 0.0) -> CaptionEncoding:
    batch, lengths = padded(spectrograms, value)
    return encoder(batch.transpose(1, 2), lengths)


def shake_norms(network: nn.Module) -> None:
    """Running statistics that no batch has, so that one which normalises by its batch shows."""
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(std=0.3)
            part.running_var.uniform_(0.5, 2.0)


def some_encoding(batch: int, width: int = 16, steps: int = 5) -> CaptionEncoding:
    mask = length_mask(torch.arange(batch) % steps + 1, steps)
    return CaptionEncoding(
        torch.randn(batch, width), torch.randn(batch, width, steps) * mask.unsqueeze(1), mask
    )


def noises(batch: int, config: GeneratorConfig = GENERATOR) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, config.noise_dim), torch.randn(batch, config.condition_dim)


def assert_same_encoding(batch: CaptionEncoding, row: int, alone: CaptionEncoding) -> None:
    steps = alone.sequence.shape[2]
    assert alone.mask.all() and batch.mask[row].sum() == steps and batch.mask[row, :steps].all()
    torch.testing.assert_close(batch.sentence[row], alone.sentence[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.sequence[row, :, :steps], alone.sequence[0], atol=1e-5, rtol=0)
    assert not batch.sequence[row, :, steps:].any()


# Speech encoder


@pytest.mark.parametrize("pooling", ["attention", "mean"])
@pytest.mark.parametrize(("activation", "pool", "segment"), [("none", 1, 1), ("relu", 2, 3), ("none", 3, 8)])
def test_a_spoken_caption_has_the_same_embedding_alone_and_in_any_padded_batch(
    pooling, activation, pool, segment
):
    encoder = SpeechEncoder(
        replace(SPEECH, pooling=pooling, activation=activation, pool=pool, segment=segment), AudioConfig()
    ).eval()
    shake_norms(encoder)
    spectrograms = mels(encoder.shortest(), 21, 64, 35, 128)
    for order in ([0, 1, 2, 3, 4], [4, 0, 2], [3, 1]):
        # What fills the padding must not matter: 0 is a bin's mean, and anything else is no better.
        for value in (0.0, 50.0):
            batch = encode_mels(encoder, [spectrograms[i] for i in order], value)
            for row, i in enumerate(order):
                assert_same_encoding(batch, row, encode_mels(encoder, [spectrograms[i]]))


def test_kernels_strides_and_poolings_of_a_padded_encoder_see_nothing_of_the_padding():
    config = replace(
        SPEECH,
        channels=(8, 8, 6, 6),
        kernels=(1, 3, 17, 5),
        strides=(1, 1, 2, 2),
        max_pools=(2, 4),
        pool=1,
        padded=True,
        activation="relu",
        cell="lstm",
        pooling="mean",
    )
    encoder = SpeechEncoder(config, AudioConfig()).eval()
    shake_norms(encoder)
    assert isinstance(encoder.recurrent.onward[0], nn.LSTM) and encoder.shortest() == 1
    lengths = torch.tensor([1, 16, 17, 33, 64])
    assert encoder.steps(lengths).tolist() == [1, 1, 2, 3, 4]  # 16 frames a step, a part of one counts
    spectrograms = mels(*lengths.tolist())
    for value in (0.0, 50.0):
        batch = encode_mels(encoder, spectrograms, value)
        for row, part in enumerate(spectrograms):
            assert_same_encoding(batch, row, encode_mels(encoder, [part]))


def test_the_shortest_recording_gives_one_step_and_a_frame_less_none():
    for changes in (
        {"channels": (4, 4), "kernel": 6, "stride": 2},
        {"channels": (4, 4), "kernels": (5, 3), "strides": (3, 2), "max_pools": (1,)},
    ):
        encoder = SpeechEncoder(replace(SPEECH, pool=1, **changes), AudioConfig())
        shortest = encoder.shortest()
        assert encoder.steps(torch.tensor([shortest, shortest - 1])).tolist() == [1, 0]


def test_kernels_for_other_convolutions_are_refused():
    with pytest.raises(InputError, match="strides for 2 convolutions, found 1 and 2"):
        SpeechEncoder(replace(SPEECH, channels=(4, 4), kernels=(3,)), AudioConfig())


def test_statistics_of_batch_norm_in_training_leave_padding_out():
    sequences = [torch.randn(length, 5) * 3 + 1 for length in (4, 9, 2)]
    batch, lengths = padded(sequences, value=100.0)
    mask = length_mask(lengths, 9)
    masked, plain = MaskedBatchNorm1d(5), nn.BatchNorm1d(5)
    for norm in (masked, plain):
        nn.init.uniform_(norm.weight), nn.init.uniform_(norm.bias)
    plain.load_state_dict(masked.state_dict())  # the same keys
    batch, valid = batch.requires_grad_(), torch.cat(sequences).requires_grad_()
    normalised, expected = masked(batch.transpose(1, 2), mask).transpose(1, 2), plain(valid)
    torch.testing.assert_close(normalised[mask], expected, atol=1e-5, rtol=0)
    assert not normalised[~mask].any()
    above = torch.randn_like(normalised)
    of_batch, *of_masked = torch.autograd.grad(normalised, (batch, *masked.parameters()), above)
    of_valid, *of_plain = torch.autograd.grad(expected, (valid, *plain.parameters()), above[mask])
    torch.testing.assert_close((of_batch[mask], *of_masked), (of_valid, *of_plain), atol=1e-5, rtol=1e-4)
    assert not of_batch[~mask].any()
    assert not masked.eval()(batch.transpose(1, 2), mask).transpose(1, 2)[~mask].any()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(masked.state_dict()[name], value, atol=1e-5, rtol=1e-5)


def test_a_training_batch_gives_the_same_with_more_padding():
    encoder = SpeechEncoder(SPEECH, AudioConfig()).train()
    batch, lengths = padded(mels(40, 64, 31))
    tight = encoder(batch.transpose(1, 2), lengths)
    wide = encoder(F.pad(batch.transpose(1, 2), (0, 50), value=7.0), lengths)
    torch.testing.assert_close(tight.sentence, wide.sentence, atol=1e-5, rtol=0)
    steps = tight.sequence.shape[2]
    torch.testing.assert_close(tight.sequence, wide.sequence[:, :, :steps], atol=1e-5, rtol=0)
    assert not wide.mask[:, steps:].any()


def test_padding_gets_no_gradient():
    encoder = SpeechEncoder(SPEECH, AudioConfig()).train()
    batch, lengths = padded(mels(40, 64, 31))
    inputs = batch.transpose(1, 2).requires_grad_()
    encoding = encoder(inputs, lengths)
    (encoding.sentence.square().sum() + encoding.sequence.square().sum()).backward()
    for row, length in enumerate(lengths):
        assert not inputs.grad[row, :, length:].any()
        assert inputs.grad[row, :, : length // 2].any(0).all()


@pytest.mark.parametrize(("kernel", "stride", "pool"), [(6, 2, 1), (6, 2, 2), (3, 1, 4), (5, 3, 1)])
def test_the_number_of_steps_is_that_of_the_convolutions_themselves(kernel, stride, pool):
    encoder = SpeechEncoder(replace(SPEECH, kernel=kernel, stride=stride, pool=pool), AudioConfig()).eval()
    shortest = encoder.shortest()
    lengths = torch.arange(shortest, shortest + 12)
    for length, steps in zip(lengths, encoder.steps(lengths), strict=True):
        hidden = torch.zeros(1, MELS, int(length))
        for convolution in encoder.convolutions:
            hidden = convolution(hidden)
        assert int(steps) == -(-hidden.shape[2] // pool)
        encoding = encoder(torch.randn(1, MELS, int(length)), length[None])
        assert encoding.mask.shape[1] == -(-int(steps) // SPEECH.segment) and encoding.mask.all()
    assert encoder.steps(torch.tensor([0, 1, shortest - 1])).tolist() == [0, 0, 0]


def test_the_published_encoder_needs_16_frames_and_refuses_fewer():
    encoder = SpeechEncoder(SpeechEncoderConfig(hidden_dim=8), AudioConfig())
    assert encoder.shortest() == 16
    with pytest.raises(ValueError, match="at least 16 frames, found 15"):
        encode_mels(encoder, mels(40, 15))


def test_the_speech_encoders_shapes_are_as_promised():
    encoding = encode_mels(SpeechEncoder(SPEECH, AudioConfig()).eval(), mels(100, 60))
    assert encoding.sentence.shape == (2, 16)
    assert encoding.sequence.shape[:2] == (2, 16) and encoding.mask.dtype == torch.bool
    assert encoding.mask.shape == (2, encoding.sequence.shape[2])


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_the_sentence_vector_has_the_configured_length_and_direction(modality):
    vectors = {}
    for normalize in ("none", "l2", "l2_sqrt_dim"):
        torch.manual_seed(0)
        if modality == "speech":
            encoder = SpeechEncoder(replace(SPEECH, normalize=normalize), AudioConfig()).eval()
            vectors[normalize] = encode_mels(encoder, mels(100, 60)).sentence
        else:
            encoder = TextEncoder(replace(TEXT, normalize=normalize), 30).eval()
            vectors[normalize] = encoder(torch.tensor([[3, 4], [5, 6]]), torch.tensor([2, 2])).sentence
    unit = F.normalize(vectors["none"], dim=1)
    assert not torch.allclose(vectors["none"], unit)
    torch.testing.assert_close(vectors["l2"], unit)
    torch.testing.assert_close(vectors["l2_sqrt_dim"], 4 * unit)  # sqrt(2 * 8)


def test_the_published_encoder_has_no_non_linearity_between_its_convolutions():
    """So that, in evaluation, the front of it is one affine map; with ReLU it isn't."""

    def front(encoder: SpeechEncoder, batch: Tensor) -> Tensor:
        heard: list[Tensor] = []
        encoder.recurrent.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
        encoder(batch, torch.tensor([32]))
        return heard[-1]

    for activation, is_affine in (("none", True), ("relu", False)):
        encoder = SpeechEncoder(replace(SPEECH, activation=activation), AudioConfig()).eval()
        first, second = torch.randn(2, 1, MELS, 32)
        middle = front(encoder, (first + second) / 2)
        between = (front(encoder, first) + front(encoder, second)) / 2
        assert torch.allclose(middle, between, atol=1e-5) == is_affine


def test_a_speech_encoder_runs_and_learns_in_bf16():
    encoder = SpeechEncoder(SPEECH, AudioConfig())
    spectrograms = mels(300, 64, 35)
    exact = encode_mels(encoder, spectrograms)
    kept = {name: value.clone() for name, value in encoder.named_buffers()}
    for part in encoder.modules():
        if isinstance(part, MaskedBatchNorm1d):
            part.reset_running_stats()
    with torch.autocast("cpu", torch.bfloat16):
        low_precision = encode_mels(encoder, spectrograms)
    torch.testing.assert_close(low_precision.sentence.float(), exact.sentence, atol=0.05, rtol=0)
    for name, value in encoder.named_buffers():
        torch.testing.assert_close(value, kept[name], atol=0.01, rtol=0.02)
    low_precision.sentence.float().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in encoder.parameters())


def test_neighbouring_steps_are_averaged_over_valid_ones_alone():
    sequence = torch.tensor([[1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 6.0, 100.0, 100.0]]).unsqueeze(2)
    averages, lengths = average_steps(sequence, torch.tensor([5, 3]), 2)
    assert averages.squeeze(2).tolist() == [[2.0, 6.0, 9.0], [3.0, 6.0, 0.0]]
    assert lengths.tolist() == [3, 2]


# Text encoder


@pytest.mark.parametrize("pooling", ["last", "attention", "mean"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_written_caption_has_the_same_embedding_alone_and_in_any_padded_batch(pooling, layers):
    encoder = TextEncoder(replace(TEXT, pooling=pooling, layers=layers), 30).eval()
    captions = [torch.randint(1, 30, (length,)) for length in (1, 4, 9, 6)]
    for order in ([0, 1, 2, 3], [2, 0], [3, 1]):
        for value in (0, 7):  # whatever token fills the padding
            batch = encoder(*padded([captions[i] for i in order], value))
            for row, i in enumerate(order):
                assert_same_encoding(batch, row, encoder(*padded([captions[i]])))


def test_the_text_encoder_gives_a_state_a_word_and_the_last_ones_as_sentence():
    encoder = TextEncoder(replace(TEXT, layers=1), 30).eval()
    encoding = encoder(torch.tensor([[3, 4, 5], [6, 0, 0]]), torch.tensor([3, 1]))
    assert encoding.sentence.shape == (2, 16) and encoding.sequence.shape == (2, 16, 3)
    assert encoding.mask.tolist() == [[True] * 3, [True, False, False]]
    onward, backward = encoding.sequence[:, :8], encoding.sequence[:, 8:]
    assert torch.equal(encoding.sentence[0], torch.cat((onward[0, :, 2], backward[0, :, 0])))
    assert torch.equal(encoding.sentence[1], encoding.sequence[1, :, 0])


def test_dropout_acts_in_training_alone():
    encoder = TextEncoder(TEXT, 30)
    batch = torch.tensor([[3, 4, 5]]), torch.tensor([3])
    assert not torch.equal(encoder(*batch).sentence, encoder(*batch).sentence)
    encoder.eval()
    assert torch.equal(encoder(*batch).sentence, encoder(*batch).sentence)


# Recurrence and pooling


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_two_way_recurrence_equals_torchs_on_packed_sequences(kind, layers):
    ours = Bidirectional(kind, 5, 7, layers, dropout=0.0)
    theirs = kind(5, 7, layers, batch_first=True, bidirectional=True)
    for layer in range(layers):
        for direction, nets in (("", ours.onward), ("_reverse", ours.back)):
            for name, weight in nets[layer].named_parameters():
                getattr(theirs, name.removesuffix("_l0") + f"_l{layer}{direction}").data.copy_(weight)
    lengths = torch.tensor([6, 1, 4])
    inputs = torch.randn(3, 6, 5, requires_grad=True)
    states, final, mask = ours(inputs, lengths)
    packed, last = theirs(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    last = last[0] if kind is nn.LSTM else last
    torch.testing.assert_close(states, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(final, torch.cat((last[-2], last[-1]), 1), atol=1e-6, rtol=1e-5)
    assert torch.equal(mask, length_mask(lengths, 6))
    cotangent = torch.randn_like(states)
    gradients = [torch.autograd.grad((out * cotangent).sum(), inputs)[0] for out in (states, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)


def test_attention_pooling_is_a_softmax_over_time_in_each_channel():
    pooling = Pooling("attention", 4, 3, "none")
    states, mask = torch.randn(2, 5, 4), length_mask(torch.tensor([5, 2]), 5)
    pooled = pooling(states, torch.zeros(2, 4), mask)
    layer = pooling.attention
    for row, length in enumerate((5, 2)):
        scores = layer.out(torch.tanh(layer.hidden(states[row, :length])))
        for channel in range(4):
            weights = torch.exp(scores[:, channel]) / torch.exp(scores[:, channel]).sum()
            expected = (weights * states[row, :length, channel]).sum()
            assert pooled[row, channel].item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_mean_is_over_valid_steps():
    states = torch.tensor([[[1.0], [3.0], [50.0]], [[4.0], [50.0], [50.0]]])
    assert masked_mean(states, length_mask(torch.tensor([2, 1]), 3)).tolist() == [[2.0], [4.0]]


# Caption encoding


def test_an_encoding_can_be_cut_repeated_and_detached():
    encoding = some_encoding(3)
    encoding.sentence.requires_grad_()
    picked = encoding[torch.tensor([2, 0])]
    assert torch.equal(picked.sentence, encoding.sentence[[2, 0]])
    assert torch.equal(picked.mask, encoding.mask[[2, 0]])
    repeated = encoding.repeat(2)
    assert torch.equal(repeated.sequence[2:4], encoding.sequence[[1, 1]])
    assert not encoding.detach().sentence.requires_grad and encoding.sentence.requires_grad


def test_speech_and_text_give_the_same_kind_of_encoding_and_nothing_downstream_asks_which():
    config = Config(speech_encoder=SPEECH, text_encoder=TEXT, generator=replace(GENERATOR, attention=True))
    speech = encode_mels(build_caption_encoder(config, 0).eval(), mels(60, 80))
    written = build_caption_encoder(replace(config, modality="text"), 30).eval()
    text = written(torch.tensor([[3, 4], [5, 0]]), torch.tensor([2, 1]))
    generator = build_generator(config).eval()
    for encoding in (speech, text):
        assert encoding.sentence.shape[1] == encoding.sequence.shape[1] == config.embedding_dim
        assert [p.shape[-1] for p in generator(encoding, *noises(2)).images] == [8, 16, 32]


# Image encoder


def test_the_image_encoder_gives_a_vector_and_regions_of_any_image_size():
    encoder = ImageEncoder(ImageEncoderConfig(input_size=32, channels=(4, 6, 8), normalize="l2"), 10).eval()
    for side in (16, 32, 50):
        vectors, regions = encoder(torch.rand(3, 3, side, side) * 2 - 1)
        assert vectors.shape == (3, 10) and regions.shape == (3, 10, 8 * 8)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert not torch.allclose(
        ImageEncoder(ImageEncoderConfig(input_size=16, channels=(4, 4), normalize="none"), 10)(
            torch.rand(3, 3, 16, 16)
        )[0].norm(dim=1),
        torch.ones(3),
    )


def test_an_images_vector_is_the_same_alone_and_in_a_batch():
    encoder = ImageEncoder(ImageEncoderConfig(input_size=16, channels=(4, 6)), 10).eval()
    shake_norms(encoder)
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    vectors, regions = encoder(images)
    alone = encoder(images[2:3])
    torch.testing.assert_close(vectors[2], alone[0][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(regions[2], alone[1][0], atol=1e-5, rtol=0)


# Generator


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_generates_each_stage_in_range_and_learns_in_all_its_weights(name):
    generator = StackedGenerator(replace(GENERATOR, **LAYOUTS[name]), 16)
    output = generator(some_encoding(3), *noises(3))
    assert [tuple(p.shape) for p in output.images] == [(3, 3, s, s) for s in (8, 16, 32)]
    assert all(p.abs().max() <= 1 and p.dtype == torch.float32 for p in output.images)
    assert output.mu.shape == output.logvar.shape == (3, 4)
    if generator.config.attention:
        assert [tuple(a.shape) for a in output.attention] == [(3, 5, 8, 8), (3, 5, 16, 16)]
    else:
        assert output.attention == []
    output.images[-1].sum().backward(retain_graph=True)
    assert generator.first.linear.weight.grad.any()  # the last image rests on the first stage
    sum(p.square().sum() for p in output.images).backward()
    silent = [name for name, weight in generator.named_parameters() if weight.grad is None]
    assert silent == []


@pytest.mark.parametrize("name", LAYOUTS)
def test_in_evaluation_an_image_depends_on_nothing_else_in_its_batch(name):
    generator = StackedGenerator(replace(GENERATOR, **LAYOUTS[name]), 16).eval()
    shake_norms(generator)
    encoding, (noise, condition_noise) = some_encoding(4), noises(4)
    together = generator(encoding, noise, condition_noise)
    for row in range(4):  # and a batch of one works
        part = slice(row, row + 1)
        alone = generator(encoding[part], noise[part], condition_noise[part])
        for many, one in zip(together.images, alone.images, strict=True):
            torch.testing.assert_close(many[row], one[0], atol=1e-5, rtol=0)


def test_an_image_does_not_depend_on_how_far_its_caption_is_padded():
    generator = StackedGenerator(replace(GENERATOR, **LAYOUTS["AttnGAN"]), 16).eval()
    encoding, noise = some_encoding(3), noises(3)
    wider = CaptionEncoding(
        encoding.sentence, F.pad(encoding.sequence, (0, 3), value=9.0), F.pad(encoding.mask, (0, 3))
    )
    for one, other in zip(generator(encoding, *noise).images, generator(wider, *noise).images, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_attention_sums_to_one_over_valid_segments_and_is_zero_on_padding():
    attention = SegmentAttention(16, 6)
    encoding = some_encoding(4)
    hidden = torch.randn(4, 6, 3, 5)
    context, weights = attention(hidden, encoding.sequence, encoding.mask)
    assert context.shape == hidden.shape and weights.shape == (4, 5, 3, 5)
    torch.testing.assert_close(weights.sum(1), torch.ones(4, 3, 5))
    assert not weights[~encoding.mask].any() and (weights[encoding.mask] > 0).all()
    # Each row has its own mask (AttnGAN's code applies another sample's): eq. 4-6, place by place.
    for row in range(4):
        words = attention.project(encoding.sequence[row : row + 1, :, encoding.mask[row]])[0]  # (C, valid)
        for y, x in ((0, 0), (2, 4)):
            share = (hidden[row, :, y, x] @ words).softmax(0)
            torch.testing.assert_close(context[row, :, y, x], words @ share)


@pytest.mark.parametrize("name", LAYOUTS)
def test_fewer_stages_generate_the_first_images_of_all(name):
    generator = StackedGenerator(replace(GENERATOR, **LAYOUTS[name]), 16).eval()
    encoding, noise = some_encoding(2), noises(2)
    whole = generator(encoding, *noise)
    for stages in (1, 2, 3):
        part = generator(encoding, *noise, stages)
        assert len(part.images) == stages and len(part.attention) in (0, stages - 1)
        assert all(map(torch.equal, part.images, whole.images))


def test_an_accumulating_stage_adds_to_the_enlarged_image_before():
    """Where its own head gives nothing, the image is the one before, in colours before the tanh."""
    generator = StackedGenerator(replace(GENERATOR, **LAYOUTS["ours"]), 16).eval()
    nn.init.zeros_(generator.heads[1].weight)
    first, second, _ = generator(some_encoding(2), *noises(2)).images
    enlarged = F.interpolate(first.atanh(), scale_factor=2, mode="bilinear").tanh()
    torch.testing.assert_close(second, enlarged, atol=1e-4, rtol=0)


def test_images_and_the_condition_are_float32_in_bf16_too():
    generator = StackedGenerator(replace(GENERATOR, **LAYOUTS["ours"]), 16)
    with torch.autocast("cpu", torch.bfloat16):
        output = generator(some_encoding(2), *noises(2))
    tensors = (*output.images, output.mu, output.logvar)
    assert {part.dtype for part in tensors} == {torch.float32}


def test_without_condition_noise_the_condition_is_mu_and_else_mu_plus_sigma_noise():
    generator = StackedGenerator(GENERATOR, 16).eval()
    encoding, (noise, condition_noise) = some_encoding(2), noises(2)
    seen: list[Tensor] = []
    generator.first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    output = generator(encoding, noise, None)
    assert torch.equal(seen[0], torch.cat((output.mu, noise), 1))
    generator(encoding, noise, condition_noise)
    sigma = output.logvar.exp().sqrt()
    torch.testing.assert_close(seen[1][:, :4], output.mu + sigma * condition_noise)


def test_conditioning_augmentation_is_linear_gated_and_split():
    layer = ConditioningAugmentation(6, 3)
    sentence = torch.randn(2, 6)
    full = layer.linear(sentence)
    expected = full[:, :6] * torch.sigmoid(full[:, 6:])
    mu, logvar = layer(sentence)
    torch.testing.assert_close(torch.cat((mu, logvar), 1), expected)


@pytest.mark.parametrize("spread", [1.0, 0.25])
def test_an_untrained_condition_has_the_configured_spread(spread):
    config = Config(speech_encoder=SPEECH, generator=replace(GENERATOR, init_std=spread, condition_dim=64))
    _, logvar = build_generator(config).augmentation(0.1 * torch.randn(50, 16))
    assert (0.5 * logvar).exp().mean().item() == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize(
    ("config", "sizes", "widths", "widest"),
    [
        # StackGAN-v2 and S2IGAN: 64 at 64 px, then 32 and 16; 1024 maps of 4 px in the beginning.
        (GeneratorConfig(), [64, 128, 256], [64, 32, 16], 1024),
        (GeneratorConfig(stages=4), [64, 128, 256, 512], [64, 32, 16, 16], 1024),
        (GeneratorConfig(base_size=16), [16, 32, 64], [64, 32, 16], 256),
        # AttnGAN: 32 wide all the way, 512 maps in the beginning.
        (GeneratorConfig(channels=32, keep_channels=True), [64, 128, 256], [32, 32, 32], 512),
    ],
)
def test_stages_have_the_published_sizes_and_widths(config, sizes, widths, widest):
    assert image_sizes(Config(generator=config)) == sizes
    assert Config(generator=config).generated_size == sizes[-1]
    assert stage_widths(config) == widths
    with torch.device("meta"):
        generator = StackedGenerator(config, 1024)
        output = generator(
            CaptionEncoding(
                torch.empty(2, 1024), torch.empty(2, 1024, 3), torch.empty(2, 3, dtype=torch.bool)
            ),
            torch.empty(2, config.noise_dim),
            torch.empty(2, config.condition_dim),
        )
    assert generator.first.widest == widest
    assert [p.shape[-1] for p in output.images] == sizes
    assert [head.weight.shape[1] for head in generator.heads] == widths


def test_the_dense_layout_joins_the_incoming_map_before_each_upsampling():
    """S2IGAN's first upsampling of stage 1 reads 128 maps where StackGAN-v2's reads 64."""
    for dense, inputs in ((True, 128), (False, 64)):
        with torch.device("meta"):
            generator = StackedGenerator(GeneratorConfig(dense=dense), 1024)
        assert generator.later[0].upsample.convolution.weight.shape[:2] == (64, inputs)
        assert generator.later[0].join.weight.shape[1] == 64 + 128


def test_a_512_px_four_stage_attention_generator_generates():
    sizes = {"stages": 4, "base_size": 64, "channels": 4, "min_channels": 2}
    generator = StackedGenerator(replace(GENERATOR, **sizes, attention=True), 16).eval()
    with torch.no_grad():
        output = generator(some_encoding(1), *noises(1))
    assert [p.shape[-1] for p in output.images] == [64, 128, 256, 512]
    assert [a.shape[-1] for a in output.attention] == [64, 128, 256]


def test_modulation_begins_as_a_plain_norm_and_then_follows_the_condition():
    plain, modulated = Norm(4).eval(), Norm(4, 3).eval()
    hidden, condition = torch.randn(2, 4, 5, 5), torch.randn(2, 3)
    assert (plain(hidden, condition) - modulated(hidden, condition)).abs().max() < 0.5
    nn.init.zeros_(modulated.modulation.weight)
    torch.testing.assert_close(plain(hidden, condition), modulated(hidden, condition))
    modulated.modulation.bias.data = torch.tensor([1.0] * 4 + [2.0] * 4)  # twice, and two more
    torch.testing.assert_close(2 * plain(hidden, condition) + 2, modulated(hidden, condition))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_map_is_modulated_alike_however_it_lies(form, kind):
    hidden = torch.randn(2, 3, 4, 6).to(kind).to(memory_format=form).requires_grad_()
    scale, shift = (torch.randn(2, 3).to(kind).requires_grad_() for _ in range(2))
    above = torch.randn_like(hidden)
    modulated = modulate(hidden, scale, shift)
    assert modulated.is_contiguous(memory_format=form) and modulated.dtype == kind
    expected = torch.addcmul(hidden + shift[..., None, None], hidden, scale[..., None, None])
    assert torch.equal(modulated, expected)
    of_ours, of_plain = (
        torch.autograd.grad(outputs, (hidden, scale, shift), above) for outputs in (modulated, expected)
    )
    torch.testing.assert_close(of_ours, of_plain, atol=0.1 if kind == torch.bfloat16 else 1e-5, rtol=0.02)


# Discriminators


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
@pytest.mark.parametrize("size", [8, 16, 64])
def test_a_discriminator_gives_one_logit_an_image_from_each_head(norm, size):
    network = Discriminator(DiscriminatorConfig(channels=4, max_channels=16, norm=norm), size, 6)
    hidden = network(torch.rand(3, 3, size, size) * 2 - 1)
    assert hidden.shape[2:] == (4, 4)
    logits, alone = (
        network.conditional_logits(hidden, torch.randn(3, 6)),
        network.unconditional_logits(hidden),
    )
    assert logits.shape == alone.shape == (3,)
    (logits.sum() + alone.sum()).backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_heads_give_logits_that_no_sigmoid_bounds():
    network = Discriminator(DiscriminatorConfig(channels=4, norm="none"), 8, 6)
    assert not any(isinstance(part, nn.Sigmoid) for part in network.modules())
    hidden = network(torch.rand(64, 3, 8, 8))
    condition = torch.randn(64, 6)
    for logits in (
        network.conditional_logits(50 * hidden, 50 * condition),
        network.unconditional_logits(50 * hidden),
    ):
        assert logits.min() < 0 or logits.max() > 1
        assert logits.abs().max() > 1


def test_the_conditional_head_reads_the_condition_tiled_over_the_map():
    """As the published networks do; each place of the map sees it through a padded 3x3 convolution."""
    for norm in ("batch", "none", "spectral"):
        network = Discriminator(DiscriminatorConfig(channels=4, norm=norm), 16, 6).eval()
        shake_norms(network)
        hidden, condition = torch.randn(3, 8, 4, 4), torch.randn(3, 6)
        tiled = condition[:, :, None, None].expand(-1, -1, 4, 4)
        expected = network.conditional(network.joint(torch.cat((hidden, tiled), 1)))
        torch.testing.assert_close(
            network.conditional_logits(hidden, condition), expected.flatten(), atol=1e-5, rtol=1e-5
        )


def test_the_unconditional_head_sees_no_condition_and_the_conditional_one_does():
    network = Discriminator(DiscriminatorConfig(channels=4, norm="none"), 8, 6)
    hidden = network(torch.rand(2, 3, 8, 8))
    condition = torch.randn(2, 6, requires_grad=True)
    network.conditional_logits(hidden, condition).sum().backward()
    assert condition.grad.any()


@pytest.mark.parametrize(
    ("size", "convolutions"),
    [
        (64, [64, 128, 256, 512]),
        (128, [64, 128, 256, 512, 1024, 512]),
        (256, [64, 128, 256, 512, 1024, 2048, 1024, 512]),
    ],
)
def test_published_discriminators_have_the_published_widths_and_no_norm_after_the_first(size, convolutions):
    with torch.device("meta"):
        network = Discriminator(DiscriminatorConfig(), size, 128)
    layers = [part for part in network.backbone if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in layers] == convolutions
    assert isinstance(network.backbone[1], nn.LeakyReLU) and isinstance(network.backbone[3], nn.BatchNorm2d)
    assert network.joint[0].weight.shape[:2] == (512, 512 + 128)


def test_matched_discriminators_are_as_wide_as_the_largest_is_at_their_size():
    for matched, first in ((False, [4, 4, 4]), (True, [16, 8, 4])):
        config = DiscriminatorConfig(channels=4, max_channels=64, match_widths=matched)
        networks = build_discriminators(
            Config(speech_encoder=SPEECH, generator=GENERATOR, discriminator=config)
        )
        assert [network.backbone[0].out_channels for network in networks] == first


@pytest.mark.parametrize(
    ("weights", "contrastive", "classifying"),
    [({}, False, False), ({"contrast_weight": 3.0}, True, False), ({"class_weight": 0.5}, False, True)],
)
def test_a_discriminator_has_the_heads_whose_terms_have_a_weight(weights, contrastive, classifying):
    config = Config(speech_encoder=SPEECH, generator=GENERATOR, gan=GanConfig(**weights))
    for network in build_discriminators(config, classes=3):
        assert (network.contrast is not None) == contrastive
        assert (network.classifier is not None) == classifying
        assert network.classifier is None or network.classifier.out_features == 3


def test_the_condition_of_the_discriminators_is_mu_or_the_sentence():
    config = Config(speech_encoder=SPEECH, generator=GENERATOR)
    for condition, width in (("mu", 4), ("sentence", 16)):
        changed = DiscriminatorConfig(channels=4, condition_on=condition)
        networks = build_discriminators(replace(config, discriminator=changed))
        assert len(networks.scales) == 3
        for network in networks:
            before = network.conditional.weight.shape[1]
            assert network.joint[0].weight.shape[1] == before + width


def test_smaller_real_images_are_area_averages_of_the_largest():
    images = torch.rand(2, 3, 16, 16)
    small, middle, large = image_pyramid(images, [4, 8, 16])
    assert large is images
    torch.testing.assert_close(middle[0, 1, 2, 3], images[0, 1, 4:6, 6:8].mean())
    torch.testing.assert_close(small[1, 2, 0, 3], images[1, 2, 0:4, 12:16].mean())


# Relation supervisor


def test_the_relation_supervisor_has_an_output_a_relation_and_can_take_the_published_four():
    for outputs in (3, 4):
        network = RelationSupervisor(6, hidden=5, outputs=outputs)
        assert network(torch.randn(4, 6), torch.randn(4, 6)).shape == (4, outputs)


def test_the_relation_of_two_images_is_read_in_their_order():
    network = RelationSupervisor(6).eval()
    first, second = torch.randn(2, 4, 6)
    assert not torch.allclose(network(first, second), network(second, first))


# Beginning


def is_orthogonal(weight: Tensor) -> bool:
    rows = weight.detach().flatten(1)
    rows = rows if rows.shape[0] <= rows.shape[1] else rows.t()
    return torch.allclose(rows @ rows.t(), torch.eye(len(rows)), atol=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_convolution_and_linear_layer_begins_orthogonal(name):
    config = Config(
        speech_encoder=SPEECH,
        generator=replace(GENERATOR, **LAYOUTS[name]),
        discriminator=DiscriminatorConfig(channels=4),
    )
    for network in (build_generator(config), build_discriminators(config)):
        known: set[str] = set()
        for path, part in network.named_modules():
            if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                if path.endswith("modulation"):  # near zero: a plain norm at first
                    assert part.weight.abs().max() < 0.1
                elif path in ("heads.1", "heads.2") and network.config.image_skips:  # add nothing at first
                    assert not part.weight.any()
                else:
                    assert is_orthogonal(part.weight), path
                assert part.bias is None or not part.bias.any()
                known |= {f"{path}.weight", f"{path}.bias"}
            elif isinstance(part, nn.modules.batchnorm._BatchNorm):
                assert (part.weight - 1).abs().max() < 0.1 and not part.bias.any()
                known |= {f"{path}.weight", f"{path}.bias"}
        assert {key for key, _ in network.named_parameters()} <= known  # nothing is left to chance


def test_image_encoders_have_the_captions_width():
    config = Config(speech_encoder=SPEECH, image_encoder=ImageEncoderConfig(input_size=16, channels=(4, 4)))
    vectors, regions = build_image_encoder(config)(torch.rand(2, 3, 16, 16))
    assert vectors.shape[1] == regions.shape[1] == config.embedding_dim == 16


def test_an_accumulating_generator_begins_with_its_first_image_enlarged():
    generator = replace(GENERATOR, image_skips=True)
    network = build_generator(Config(speech_encoder=SPEECH, generator=generator))
    assert network.heads[0].weight.any() and not any(head.weight.any() for head in network.heads[1:])
