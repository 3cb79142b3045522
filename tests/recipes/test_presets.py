"""Presets against papers: what a published system chose is what its preset resolves to, by its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from s2i.config import Config, OptimiserConfig
from s2i.config_files import config_to_dict
from tests.recipes.presets import ROOT, load_preset

CUB = ROOT / "recipes" / "cub" / "conf"


def under(prefix: str, **values: Any) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in values.items()}


def adam(prefix: str, lr: float, betas: list[float], weight_decay: float = 0, clip: float = 0) -> dict:
    return under(prefix, lr=lr, betas=betas, weight_decay=weight_decay, clip=clip)


# Images: AttnGAN's, StackGAN-v2's and S2IGAN's code cut CUB alike. Adversaries: all four have this Adam.
CROPS = under("data", margin=76 / 64, box_scale=1.5)
ADVERSARIES = {
    **adam("gan.generator", 2e-4, [0.5, 0.999]),
    **adam("gan.discriminator", 2e-4, [0.5, 0.999]),
    "gan.generator.schedule.kind": "constant",
    "gan.discriminator.schedule.kind": "constant",
    **under("gan", loss="bce", ema=0.999, conditional_weight=1, unconditional_weight=1),
}
# S2IGAN: 40 log-mels of 551 and 220 samples, normalised by their data script; the speech embedding network.
MELS = under("audio", sample_rate=22050, mel_bins=40, window=0.025, hop=0.010, log_floor=1e-6, cmvn=True)
SEN = {
    **under("speech_encoder", channels=[64, 128], kernel=6, stride=2, activation="none", cell="gru"),
    **under("speech_encoder", hidden_dim=512, layers=2, dropout=0, pooling="attention", attention_dim=128),
    **under("speech_encoder", normalize="l2"),
    **under("image_encoder", kind="inception_v3", input_size=299, normalize="l2"),
    **adam("matching.optimiser", 1e-3, [0.95, 0.999], weight_decay=1e-3),
    **under("matching.optimiser.schedule", kind="step", factor=0.1, every=50 * 69),
    **under("matching", steps=150 * 69, batch_size=128),
    **under("matching", batch_weight=1, scale=10, class_weight=1, region_weight=0),
}
STACKGAN_V2 = {
    **CROPS,
    **ADVERSARIES,
    **under("generator", stages=3, base_size=64, noise_dim=100, condition_dim=128, init_std=1, channels=64),
    **under("generator", min_channels=16, residual_blocks=2, activation="glu", upsample="nearest"),
    **under("generator", tile=True, dense=False, attention=False),
    **under("discriminator", channels=64, condition_on="mu", norm="batch"),
    **under("gan", steps=600 * 368, batch_size=24, kl_weight=2, relation_weight=0, matching_weight=0),
    **under("gan.terms", real_c=1, real_u=2, wrong_c=1, fake_c=1, fake_u=1),
}
ATTNGAN_GAN = {
    **CROPS,
    **ADVERSARIES,
    **under("generator", stages=3, base_size=64, noise_dim=100, condition_dim=100, init_std=1, channels=32),
    **under("generator", keep_channels=True, residual_blocks=2, activation="glu", upsample="nearest"),
    **under("generator", tile=False, dense=False, attention=True),
    **under("discriminator", channels=64, condition_on="sentence", norm="batch"),
    **under("gan", steps=600 * 442, batch_size=20, kl_weight=1, relation_weight=0, matching_weight=5),
    **under("gan.terms", real_c=1 / 2, real_u=1 / 2, wrong_c=1 / 3, fake_c=1 / 3, fake_u=1 / 3),
}
ATTNGAN = {
    **ATTNGAN_GAN,
    **under("text_encoder", max_words=18, embedding_dim=300, dropout=0.5, hidden_dim=128, layers=1),
    **under("text_encoder", pooling="last", normalize="none"),
    **under("image_encoder", kind="inception_v3", input_size=299, normalize="none"),
    **adam("matching.optimiser", 2e-3, [0.5, 0.999], weight_decay=0, clip=0.25),
    **under("matching.optimiser.schedule", kind="step", factor=0.98, every=184, min_factor=0.1),
    **under("matching", steps=200 * 184, batch_size=48, batch_weight=1, scale=10, class_weight=0),
    **under("matching", region_weight=1, gamma1=4, gamma2=5, gamma3=10),
}
LI = {
    **STACKGAN_V2,
    **under("audio", sample_rate=16000, mel_bins=40, window=0.025, hop=0.010),
    **under("speech_encoder", channels=[64, 64, 128, 256, 256, 512, 512, 1024], max_pools=[2, 6]),
    **under("speech_encoder", kernels=[1, 3, 17, 13, 3, 9, 3, 5], strides=[1, 1, 2, 2, 1, 2, 1, 2]),
    **under("speech_encoder", activation="relu", cell="lstm", hidden_dim=512, layers=1, pooling="mean"),
    **under("speech_encoder", padded=True, dropout=0, normalize="none"),
    **under("image_encoder", kind="googlenet", input_size=224, normalize="none", project=False),
    **adam("matching.optimiser", 1e-3, [0.9, 0.999], weight_decay=1e-5),
    **under("matching.optimiser.schedule", kind="step", factor=0.5, every=200 * 138),
    **under("matching", steps=1000 * 138, batch_size=64, batch_weight=0, class_weight=0, region_weight=0),
    **under("matching", joint_weight=1, distance_weight=5, distillation_weight=1000),
}
GAN_INT_CLS = {
    **CROPS,
    **under("text_encoder", network="s2i.models.char_cnn_rnn:CharCnnRnn", units="characters", max_words=201),
    **under("text_encoder.options", channels=[384, 512, 512], hidden=512, width=1024),
    **under("image_encoder", kind="googlenet", input_size=224, normalize="none", project=False),
    **adam("matching.optimiser", 7e-4, [0.9, 0.999]),
    **under("matching", steps=30000, batch_size=40, batch_weight=0, class_weight=0, region_weight=0),
    **under("matching", joint_weight=1),
    **under("generator", network="s2i.models.residual_dcgan:ResidualGenerator", stages=1, base_size=64),
    **under("generator", noise_dim=100, condition_dim=128, channels=128),
    **under("discriminator", network="s2i.models.residual_dcgan:MatchingAwareDiscriminator", channels=64),
    **under("discriminator", condition_on="sentence", norm="batch"),
    "discriminator.options.project_dim": 128,
    **adam("gan.generator", 2e-4, [0.5, 0.999]),
    **adam("gan.discriminator", 2e-4, [0.5, 0.999]),
    **under("gan.generator.schedule", kind="step", every=100 * 138, factor=0.5),
    **under("gan.discriminator.schedule", kind="step", every=100 * 138, factor=0.5),
    **under(
        "gan", steps=600 * 138, batch_size=64, loss="bce", interpolation_weight=1, unconditional_weight=0
    ),
    **under("gan.terms", real_c=1, real_u=0, wrong_c=0.5, fake_c=0.5, fake_u=0),  # w = .5
}
REED = {key: value for key, value in GAN_INT_CLS.items() if key.startswith(("text_", "image_", "matching."))}
STACKGAN_STAGE1 = {
    **CROPS,
    **REED,
    **under(
        "generator", network="s2i.models.stackgan:StageOneGenerator", stages=1, base_size=64, channels=128
    ),
    **under("generator", noise_dim=100, condition_dim=128),
    **under("discriminator", network="s2i.models.stackgan:ConditionalDiscriminator", channels=64),
    **under("discriminator", condition_on="mu", norm="batch"),
    **adam("gan.generator", 2e-4, [0.5, 0.999]),
    **adam("gan.discriminator", 2e-4, [0.5, 0.999]),
    **under("gan.generator.schedule", kind="step", every=100 * 138, factor=0.5),
    **under("gan.discriminator.schedule", kind="step", every=100 * 138, factor=0.5),
    **under("gan", steps=600 * 138, batch_size=64, loss="bce", kl_weight=2, unconditional_weight=0),
    **under("gan.terms", real_c=1, real_u=0, wrong_c=0.5, fake_c=0.5, fake_u=0),
}
SPEECH2FACE = {
    **under("audio", sample_rate=16000, mel_bins=257),
    **under("speech_encoder", network="s2i.models.speech2face:SpeechToFeature"),
    **under("speech_encoder.options", width=2048, hidden=4096),
    "speech_encoder.options.channels": [64, 64, 128, 128, 128, 128, 256, 512, 512, 512],
    **under("image_encoder", kind="inception_v3", input_size=299, project=False),
    **under("matching", class_weight=1),
    **under("generator", network="s2i.models.feature_decoder:FeatureDecoder", stages=1, base_size=256),
    **under("regression", batch_size=8, decoder_weight=1, distance_weight=0.025, distillation_weight=200),
    **under("regression", temperature=2),
    **adam("regression.encoder", 1e-3, [0.5, 0.999]),
    **under("regression.encoder.schedule", kind="step", every=10000, factor=0.95),
}
WAV2PIX = {
    **under("audio", front_end="waveform", sample_rate=16000, cmvn=False),
    **under("speech_encoder", network="s2i.models.wav2pix:WaveformEncoder"),
    "speech_encoder.options.channels": [16, 32, 128, 256, 512, 1024],
    **under("speech_encoder.options", hidden=[256, 128], width=128),
    **under("generator", network="s2i.models.wav2pix:DropoutGenerator", stages=1, base_size=128, channels=64),
    **under("discriminator", network="s2i.models.stackgan:ConditionalDiscriminator", channels=64),
    **under("discriminator", condition_on="sentence", norm="spectral"),
    **adam("gan.generator", 1e-4, [0.5, 0.999]),
    **adam("gan.discriminator", 4e-4, [0.5, 0.999]),
    **under("gan", encoder_start="random", encoder_lr=1e-4, batch_size=64, loss="least_squares"),
    **under("gan", pixel_weight=50, feature_matching_weight=100, caption_class_weight=20, real_target=0.9),
    **under("gan", unconditional_weight=0, steps=200 * 138),
    **under("matching", class_weight=1),
}
PAPERS: dict[str, dict[str, Any]] = {
    "speech2face": SPEECH2FACE,
    "wav2pix": WAV2PIX,
    "gan_int_cls": GAN_INT_CLS,
    "stackgan_stage1": STACKGAN_STAGE1,
    "stackgan": {
        **STACKGAN_STAGE1,
        **under("generator", network="s2i.models.stackgan:StageTwoGenerator", base_size=256),
        **under("generator", residual_blocks=4),
        **under("generator.options", first_size=64, first_channels=128),
    },
    "stackgan_v2": {**STACKGAN_V2, **MELS, **SEN},  # on S2IGAN's embeddings, as in S2IGAN's tables
    "s2igan": {
        **STACKGAN_V2,
        **MELS,
        **SEN,
        **under("generator", dense=True),
        **adam("gan.relation", 2e-4, [0.5, 0.999]),
        **under("gan", relation_weight=1),
    },
    "attngan": ATTNGAN,
    # Nobody published these two: what they say they have of AttnGAN's they have.
    "attngan4": {**ATTNGAN, "generator.stages": 4, "gan.batch_size": 10},
    "speech_attngan": {**ATTNGAN_GAN, "matching.optimiser.weight_decay": 0},
    "li2020": LI,
}
# What none of them has.
OFF = {
    **under("speech_encoder", network="", padded=False, pool=1, kernels=[], strides=[], max_pools=[]),
    **under("image_encoder", region_side=0, cached_crops=0, project=True),
    **under("matching", joint_weight=0, distance_weight=0, distillation_weight=0, region_weight=0),
    **under("matching", class_weight=0, added_loss="", region_group=0, autoencoding_weight=0),
    **under("generator", add_context=False, conditional_batch_norm=False, image_skips=False),
    **under("generator", keep_channels=False),
    **under("discriminator", match_widths=False),
    **under("gan", encoder_start="matched", encoder_lr=0, augment=True, generator_steps=1, grow=[]),
    **under("gan", contrast_weight=0, class_weight=0, added_loss="", reconstruction_weight=0, penalty="none"),
    **under("gan", relation_weight=0, matching_weight=0, interpolation_weight=0),
    **under("gan", pixel_weight=0, feature_matching_weight=0, caption_class_weight=0, real_target=1),
    **under("audio", front_end="log_mel"),
    **under("gan", first_stage=""),
    **under("generator", network=""),
    **under("discriminator", network=""),
    **under("text_encoder", network="", units="words"),
}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        flattened |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flattened


def resolved(path: Path) -> dict[str, Any]:
    return flat(config_to_dict(load_preset(path)))


def stated(path: Path) -> set[str]:
    """The keys that a preset gives in its own file."""
    return set(flat(OmegaConf.to_container(OmegaConf.load(path), resolve=True)))


@pytest.mark.parametrize("preset", PAPERS)
def test_a_preset_resolves_to_what_its_paper_chose(preset):
    settings = resolved(CUB / f"{preset}.yaml")
    differing = {
        key: (settings[key], value)
        for key, value in PAPERS[preset].items()
        if settings[key] != (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    }
    assert differing == {}


@pytest.mark.parametrize("preset", ["deep_cross_modal_speech", "cmcgan"])
def test_presets_that_generate_speech_resolve_to_what_their_papers_chose(preset):
    settings = resolved(CUB / f"{preset}.yaml")
    chosen = {
        **adam("cross_modal.generator", 2e-4, [0.5, 0.999]),
        **adam("cross_modal.discriminator", 2e-4, [0.5, 0.999]),
        **under("cross_modal", loss="bce", wrong_share=0.5, batch_size=64),
        **under("generator", stages=1, base_size=64),
        **under("audio", front_end="log_mel", mel_bins=128, cmvn=preset == "deep_cross_modal_speech"),
        **under("cross_modal", generates="speech" if preset == "deep_cross_modal_speech" else "both"),
    }
    assert {key: settings[key] for key in chosen} == chosen
    assert bool(settings["cross_modal.cycle_weight"]) == (preset == "cmcgan")


@pytest.mark.parametrize("preset", PAPERS)
def test_a_preset_states_what_its_paper_chose_in_its_own_file(preset):
    """So that no default can hand one paper's choice to another's preset."""
    assert set(PAPERS[preset]) - stated(CUB / f"{preset}.yaml") == set()


@pytest.mark.parametrize("preset", PAPERS)
def test_what_a_presets_paper_does_not_have_is_off(preset):
    settings = resolved(CUB / f"{preset}.yaml")
    ours = stated(CUB / f"{preset}.yaml") if preset == "speech_attngan" else set()  # whose matching is ours
    expected = {key: value for key, value in OFF.items() if key not in PAPERS[preset] and key not in ours}
    assert {key: settings[key] for key in expected} == expected


def test_defaults_are_neutral():
    """No regulariser, no term of one paper's, every weight of a sum 1, Adam as Kingma and Ba propose it."""
    defaults = flat(config_to_dict(Config()))
    neutral = {
        **adam("matching.optimiser", 1e-3, [0.9, 0.999]),
        **{key: 0 for key in defaults if key.endswith((".weight_decay", ".clip", ".dropout", ".warmup"))},
        **{key: "constant" for key in defaults if key.endswith("schedule.kind")},
        **under("gan.terms", real_c=1, real_u=1, wrong_c=1, fake_c=1, fake_u=1),
        **under("gan", kl_weight=1, conditional_weight=1, unconditional_weight=1),
        **under("gan", matching_weight=0, relation_weight=0, contrast_weight=0, class_weight=0),
        **under("gan", reconstruction_weight=0, penalty="none", grow=[], encoder_lr=0, generator_steps=1),
        **under("gan", interpolation_weight=0, pixel_weight=0, feature_matching_weight=0),
        **under("gan", caption_class_weight=0, real_target=1),
        **under("matching", batch_weight=1, class_weight=0, region_weight=0, joint_weight=0),
        **under("matching", distance_weight=0, distillation_weight=0, autoencoding_weight=0),
        **under("cross_modal", cycle_weight=0),
        **under("generator", init_std=1, dense=False, attention=False),
        **under("generator", conditional_batch_norm=False, image_skips=False),
        **under("image_encoder", normalize="none", region_side=0, cached_crops=0),
        **under("speech_encoder", normalize="none"),
        **under("text_encoder", normalize="none"),
    }
    assert {key: defaults[key] for key in neutral} == neutral
    assert OptimiserConfig() == OptimiserConfig(lr=1e-3, betas=(0.9, 0.999), weight_decay=0, clip=0)


@pytest.mark.parametrize("name", ["small", "small128", "ours"])
def test_learning_rates_on_photographs_fall_but_the_priors(name):
    gan = load_preset(ROOT / "recipes" / "cub" / "conf" / f"{name}.yaml").gan
    for optimiser in (gan.generator, gan.discriminator):
        assert (optimiser.schedule.kind, optimiser.schedule.start) == ("linear", 0.5)
    assert gan.prior.schedule.kind == "constant" and gan.prior.schedule.warmup == 50
