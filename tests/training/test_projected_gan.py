"""Training against projected features: what is passed how often, what weighs what, and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from s2i import losses
from s2i.config import Config, DiscriminatorTerms, GanConfig
from s2i.config_files import load_config
from s2i.config_networks import DiffAugmentConfig, DiscriminatorConfig
from s2i.errors import InputError
from s2i.inference.model import load
from s2i.models.discriminator import Discriminators
from s2i.models.projected_discriminator import Head, ProjectedDiscriminator
from s2i.reports.export import export
from s2i.runs.checkpoint import load_last
from s2i.runs.provenance import backbone_fingerprint
from s2i.runs.run import CLOCK, Run
from s2i.training import gan, gan_losses, gan_step
from s2i.training.inversion import inversion_loss
from tests.fixtures.models import same, tiny_training_config
from tests.fixtures.networks import TinyFeatures, tiny_feature_network
from tests.fixtures.trainings import train_and_die

CLASSES = torch.tensor([0, 1, 0, 2])


def make_config(trained_encoders: Path, run: Path, **settings) -> Config:
    config = tiny_training_config(trained_encoders / "data", run)
    return replace(
        config,
        generator=replace(
            config.generator, prior="flow", prior_dim=8, prior_layers=1, prior_steps=2, guidance=1.5
        ),
        discriminator=DiscriminatorConfig(
            kind="projected",
            condition_on="sentence",
            mixed_channels=(4, 4, 4, 4),
            head_channels=8,
            joint=True,
            augmentation=DiffAugmentConfig(colour=True, translation=0.125, cutout=0.2),
        ),
        gan=replace(
            config.gan,
            encoder=str(trained_encoders / "speech-encoder"),
            loss="hinge",
            penalty="none",
            relation_weight=0.0,
            matching_weight=0.0,
            reconstruction_weight=3.0,
            perceptual_weight=10.0,
            feature_input_size=32,
            posterior="features",
            adversarial_ratio=0.5,
            adversarial_start=0.2,
            adversarial_ramp=0.4,
            **settings,
        ),
        log=replace(config.log, every=1),
    )


@pytest.fixture(autouse=True)
def tiny_features(monkeypatch) -> None:
    load = lambda config: tiny_feature_network(config.feature_input_size)  # noqa: E731
    monkeypatch.setattr(gan, "load_feature_network", load)


# The losses by hand


def test_the_perceptual_distance_is_of_vectors_of_length_one_averaged_over_places_and_scales():
    first = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).t().reshape(1, 2, 1, 2)  # (3, 4) and (0, 2)
    second = torch.tensor([[3.0, 4.0], [5.0, 0.0]]).t().reshape(1, 2, 1, 2)
    wide = losses.perceptual_distance([first], [second])
    assert wide.item() == pytest.approx((0 + 2) / 2, rel=1e-6)  # orthogonal vectors of length 1
    deep = torch.ones(1, 3, 1, 1)
    both = losses.perceptual_distance([first, deep], [second, -2 * deep])
    assert both.item() == pytest.approx((1 + 4) / 2, rel=1e-6)


def test_reconstruction_weighs_pixels_and_features_of_the_largest_images():
    features = tiny_feature_network(32)
    generated, real = ([torch.rand(2, 3, size, size) for size in (8, 16)] for _ in range(2))
    generated = [each.requires_grad_() for each in generated]
    config = GanConfig(reconstruction_weight=3, perceptual_weight=10)
    total, terms = gan_losses.reconstruction_loss(generated, real, config, features)
    distance = losses.perceptual_distance(features(generated[1]), features(real[1]))
    assert terms["g/perceptual"].item() == pytest.approx(distance.item())
    expected = 3 * terms["g/reconstruction"] + 10 * terms["g/perceptual"]
    assert total.item() == pytest.approx(expected.item())
    alone, terms = gan_losses.reconstruction_loss(generated, real, GanConfig(perceptual_weight=10), features)
    assert set(terms) == {"g/perceptual"}
    assert [each.any().item() for each in gan_losses.gradients_at_images(alone, generated)] == [False, True]


def test_the_adversary_is_weighted_by_the_ratio_of_the_gradients_at_the_images():
    source = torch.rand(4, 3, 2, 2, requires_grad=True)
    small, large = 2 * source, source * 1.0
    a, b = torch.full((3, 2, 2), 0.5), torch.zeros(3, 2, 2)
    b[0, 0, 0] = 6.0
    adversarial = (large * a).flatten(1).sum(1).mean() + small.mean()
    reconstruction = (large[:2] * b).flatten(1).sum(1).mean()
    engine = SimpleNamespace(average=lambda values: values)
    total, terms = gan_step.balanced(engine, adversarial, reconstruction, [small, large], 2, 0.5)
    balance = 6.0 / (12 * 0.25) ** 0.5
    assert terms["g/gradient_ratio"].item() == pytest.approx(balance, rel=1e-5)
    assert terms["g/adversarial_weight"].item() == pytest.approx(0.5 * balance, rel=1e-5)
    weight = 0.5 * balance
    assert total.item() == pytest.approx((reconstruction + weight * adversarial).item(), rel=1e-5)
    total.backward()
    expected = weight * (a / 4 + 2 / small.numel()).expand(4, 3, 2, 2).clone()
    expected[:2] += b / 2
    torch.testing.assert_close(source.grad, expected)


def test_an_adversary_without_a_gradient_gets_a_finite_weight():
    zero = torch.zeros(())
    assert losses.adversarial_balance(torch.ones(()), zero) == 1e4
    assert losses.adversarial_balance(zero, zero) == 0


def test_the_adversary_is_off_then_rises():
    config = GanConfig(steps=100, adversarial_start=0.2, adversarial_ramp=0.1)
    shares = [gan_step.adversary_share(config, step) for step in (0, 19, 20, 24, 29, 30, 99)]
    assert shares == pytest.approx([0, 0, 0.1, 0.5, 1, 1, 1])
    assert gan_step.adversary_share(GanConfig(), 0) == 1


def test_the_discriminators_hinge_is_taken_of_each_head():
    """And a wrong pair is a real image with the caption of another class."""
    torch.manual_seed(0)
    settings = DiscriminatorConfig(kind="projected", mixed_channels=(4, 4, 4, 4), head_channels=8)
    network = ProjectedDiscriminator(settings, 32, 5, network=tiny_feature_network(32)).eval()
    networks, condition = Discriminators([network]), torch.randn(4, 5)
    real, generated = (networks.look([torch.rand(4, 3, 32, 32)]) for _ in range(2))
    config = GanConfig(loss="hinge", terms=DiscriminatorTerms(1.0, 2.0, 3.0, 4.0, 5.0))
    terms = gan_step.discriminator_losses(networks, real, generated, condition, CLASSES, config)
    partner = [1, 2, 3, 0]
    of_real, of_generated = network(real[0]), network(generated[0])
    expected = {
        "real_c": (1 - network.conditional_logits(of_real, condition)).relu().mean(),
        "real_u": (1 - of_real[:, :, 0]).relu().mean(),
        "wrong_c": (1 + network.conditional_logits(of_real, condition[partner])).relu().mean(),
        "fake_c": (1 + network.conditional_logits(of_generated, condition)).relu().mean(),
        "fake_u": (1 + of_generated[:, :, 0]).relu().mean(),
    }
    for name, value in expected.items():
        assert terms[f"d_32_features/{name}"].item() == pytest.approx(value.item(), rel=1e-5)
    total = sum(weight * value for weight, value in enumerate(expected.values(), 1))
    assert terms["d/all"].item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("penalty", ["r1", "matching_aware"])
def test_a_projected_discriminators_penalty_is_on_its_features(penalty):
    settings = DiscriminatorConfig(kind="projected", mixed_channels=(4, 4, 4, 4), head_channels=8)
    network = ProjectedDiscriminator(settings, 32, 5, network=tiny_feature_network(32))
    views = [network.look(torch.rand(4, 3, 32, 32))]
    total, terms = gan_losses.gradient_penalty(
        [network], views, torch.randn(4, 5), GanConfig(penalty=penalty)
    )
    total.backward()
    assert terms["d_32_features/penalty"] > 0
    assert all(weight.grad is not None for weight in network.heads[0].trunk.parameters())


# What is seen


def networks_of(rank: int, world: int) -> SimpleNamespace:
    """As much of the networks as `look` reads, as process `rank` has them; its discriminator sees images."""
    seen = Discriminators([nn.Identity()])
    engine = SimpleNamespace(rank=rank, world=world, device=torch.device("cpu"))
    engine.config, engine.autocast = SimpleNamespace(seed=3), lambda: torch.autocast("cpu", enabled=False)
    augmentation = DiffAugmentConfig(colour=True, brightness=0.2, translation=0.2, cutout=0.2)
    return SimpleNamespace(discriminators=seen, engine=engine, augmentation=augmentation)


def test_two_processes_see_what_one_sees_of_the_joint_batch_and_no_other_random_state_moves():
    images, before = torch.rand(4, 3, 16, 16), torch.get_rng_state()
    (whole,) = gan_step.look(networks_of(0, 1), [images], 7, "real")
    for rank in (0, 1):
        (shard,) = gan_step.look(networks_of(rank, 2), [images[rank::2]], 7, "real")
        assert torch.equal(shard, whole[rank::2])
    assert torch.equal(torch.get_rng_state(), before)
    (other,) = gan_step.look(networks_of(0, 1), [images], 8, "real")
    (generated,) = gan_step.look(networks_of(0, 1), [images], 7, "generated")
    assert not torch.equal(other, whole) and not torch.equal(generated, whole)


def test_real_and_generated_images_are_changed_alike_in_distribution():
    images = torch.rand(512, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = {
        whose: torch.cat([gan_step.look(networks_of(0, 1), [images], step, whose)[0] for step in range(4)])
        for whose in ("real", "generated")
    }
    for statistic in (Tensor.mean, Tensor.std):
        statistics = [statistic(seen[whose], 0) for whose in ("real", "generated")]
        assert (statistics[0] - statistics[1]).abs().max() < 0.1
        assert not torch.equal(*statistics)


# A training


def test_a_training_killed_and_resumed_equals_an_unbroken_one_bit_for_bit(
    trained_encoders, tmp_path, monkeypatch
):
    config = make_config(trained_encoders, tmp_path / "broken", steps=6)
    unbroken = gan.train_gan(replace(config, run=str(tmp_path / "unbroken")))
    train_and_die(monkeypatch, gan.train_gan, config, 5)  # a checkpoint is from step 4
    torch.rand(5)
    states = [load_last(folder / "checkpoints") for folder in (unbroken, gan.train_gan(config))]
    for part in ("nets", "optimisers", "random"):
        assert same(states[0][part], states[1][part]), part
    logs = [
        [{key: value for key, value in line.items() if key not in CLOCK} for line in Run(run).read_log()]
        for run in (unbroken, tmp_path / "broken")
    ]
    assert logs[0] == logs[1]
    assert [("d/all" in line, "g/adversarial_weight" in line) for line in logs[0]] == [
        (step >= 2, step >= 2) for step in range(6)
    ]  # from a fifth of six steps on
    terms = {"g/perceptual", "g/reconstruction", "g/prior", "lr/prior", "grad_norm/prior", "g/gradient_ratio"}
    assert terms <= logs[0][-1].keys()
    names = states[0]["nets"]["discriminators"].keys()
    assert {name.split(".")[2] for name in names} == {"mixing", "heads", "condition"}
    export([unbroken], tmp_path / "model")  # without network, discriminator or posterior
    files = [path for path in (tmp_path / "model").rglob("*.safetensors")]
    assert files and sum(path.stat().st_size for path in files) < 1e6


def test_a_step_passes_the_frozen_network_and_each_trunk_no_more_often_than_it_must(
    trained_encoders, tmp_path, monkeypatch
):
    seen: dict[str, list] = {"network": [], "head": [], "changed": []}
    features, forward, change = TinyFeatures.features, Head.forward, gan_step.augment

    def note_network(self, images):
        seen["network"].append((len(images), images.requires_grad))
        return features(self, images)

    def note_head(self, maps):
        seen["head"].append(maps.requires_grad)
        return forward(self, maps)

    def note_change(images, *rest):
        seen["changed"].append(images.requires_grad)
        return change(images, *rest)

    monkeypatch.setattr(TinyFeatures, "features", note_network)
    monkeypatch.setattr(Head, "forward", note_head)
    monkeypatch.setattr(gan_step, "augment", note_change)
    config = make_config(trained_encoders, tmp_path / "run", steps=2)
    config = replace(config, memory_format="channels_last")  # a trial of both would be a further call
    gan.train_gan(replace(config, gan=replace(config.gan, adversarial_start=0.0)))
    # the posterior's; generated images for both sides, real ones, half of the real and of the generated ones
    # as they are
    assert seen["network"] == 2 * [(2, False), (4, True), (4, False), (2, False), (2, True)]
    assert seen["head"] == 2 * (4 * [False, False] + 4 * [True])  # real and generated; the generator's
    assert seen["changed"] == 2 * [True, False]  # the largest images, generated ones with their history


def test_a_generator_waits_while_its_new_posterior_learns_to_invert_it(
    trained_encoders, tmp_path, monkeypatch
):
    earlier = make_config(trained_encoders, tmp_path / "earlier", steps=3)
    export([gan.train_gan(earlier)], tmp_path / "model")
    config = replace(earlier, start_from=str(tmp_path / "model"))
    settings = replace(earlier.gan, steps=4, adversarial_start=0.0, generator_start=0.5)
    before = load(tmp_path / "model", "cpu").path("speech").generator
    began = {key: value.clone() for key, value in before.named_parameters()}
    seen: list[dict[str, Tensor]] = []
    step = gan_step.train_step

    def note(networks, *rest):
        terms = step(networks, *rest)
        states = networks.generator, networks.posterior, networks.discriminators
        seen.append(
            {
                f"{number}.{key}": value.detach().clone()
                for number, network in enumerate(states)
                for key, value in network.named_parameters()
            }
        )
        return terms

    monkeypatch.setattr(gan.gan_step, "train_step", note)
    run = gan.train_gan(replace(config, run=str(tmp_path / "run"), gan=settings))
    for state in seen[:2]:
        assert all(torch.equal(state[f"0.{key}"], value) for key, value in began.items())
    for key in began:  # from half of the steps on, the prior too
        assert not torch.equal(seen[2][f"0.{key}"], began[key]) or not began[key].numel()
    for number in (1, 2):  # what starts anew learns from the first step on
        learnt = [key for key in seen[0] if key.startswith(f"{number}.")]
        assert learnt and any(not torch.equal(seen[0][key], seen[1][key]) for key in learnt)
    log = Run(run).read_log()
    assert [("g/inversion" in line, "g/prior" in line) for line in log] == 2 * [(True, False)] + 2 * [
        (False, True)
    ]


def test_what_looks_through_another_size_starts_anew_where_the_generator_waits(
    trained_encoders, tmp_path, capsys
):
    earlier = make_config(trained_encoders, tmp_path / "earlier", steps=3)
    gan.train_gan(earlier)
    settings = replace(earlier.gan, feature_input_size=64, adversarial_start=0.0)
    config = replace(earlier, run=str(tmp_path / "run"), start_from=earlier.run, gan=settings)
    with pytest.raises(
        InputError, match="expected the discriminators of start_from .* configuration.s shape"
    ):
        gan.train_gan(config)
    gan.train_gan(replace(config, gan=replace(settings, generator_start=0.5)))
    said = capsys.readouterr().err
    assert "posterior: starts anew, that of" in said and "generator: starts" not in said


def test_the_inversion_is_of_the_latents_that_images_were_generated_from():
    posterior = SimpleNamespace(forward=lambda images, *rest: (images.flatten(1)[:, :2], None))
    images = torch.rand(3, 3, 4, 4, requires_grad=True)
    latents = torch.randn(3, 2, requires_grad=True)
    weight = torch.ones((), requires_grad=True)
    infer = lambda *given: (weight * posterior.forward(*given)[0], None)  # noqa: E731
    loss = inversion_loss(infer, images, torch.rand(3, 5), latents)
    assert loss.item() == pytest.approx((images.flatten(1)[:, :2] - latents).square().mean().item())
    loss.backward()
    assert weight.grad is not None and images.grad is None and latents.grad is None


def test_bf16_trains_and_every_weight_stays_finite(trained_encoders, tmp_path):
    config = replace(make_config(trained_encoders, tmp_path / "run", steps=3), precision="bf16")
    state = load_last(gan.train_gan(config) / "checkpoints")
    nets, digits = state["nets"], backbone_fingerprint(tiny_feature_network(32).network)
    assert state["trained_by"][digits] == "the frozen network in whose features images are compared"
    for net in nets.values():
        assert all(value.dtype != torch.bfloat16 and value.isfinite().all() for value in net.values())


def test_the_prior_learns_by_its_own_loss_alone_and_generates(trained_encoders, tmp_path, monkeypatch):
    """Its weights stay as they are where its own update is left out, whatever else is updated."""
    config = make_config(trained_encoders, tmp_path / "run", steps=3)
    state = load_last(gan.train_gan(config) / "checkpoints")["nets"]["generator"]
    assert state["prior.velocity.weight"].any() and state["prior.velocity.bias"].any()  # zeros at first
    monkeypatch.setattr(gan_step, "prior_step", lambda *rest: {})
    other = gan.train_gan(replace(config, run=str(tmp_path / "without")))
    state = load_last(other / "checkpoints")["nets"]["generator"]
    assert not state["prior.velocity.weight"].any() and not state["prior.velocity.bias"].any()


@pytest.mark.parametrize(("width", "layers", "anew"), [(8, 1, False), (12, 1, True), (8, 2, True)])
def test_a_prior_of_another_size_starts_anew(
    trained_encoders, tmp_path, monkeypatch, capsys, width, layers, anew
):
    earlier = make_config(trained_encoders, tmp_path / "earlier", steps=3)
    before = load_last(gan.train_gan(earlier) / "checkpoints")["nets"]
    still = replace(earlier.gan.generator, lr=0.0)
    config = replace(
        earlier,
        run=str(tmp_path / "run"),
        start_from=earlier.run,
        generator=replace(earlier.generator, prior_dim=width, prior_layers=layers),
        gan=replace(earlier.gan, steps=1, generator=still, discriminator=still),
    )
    monkeypatch.setattr(gan_step, "prior_step", lambda *rest: {})
    after = load_last(gan.train_gan(config) / "checkpoints")["nets"]
    for name in ("generator", "ema"):
        prior, others = (
            {
                key: value
                for key, value in after[name].items()
                if key.startswith("prior.") is of_prior and "running_" not in key and "num_" not in key
            }
            for of_prior in (True, False)
        )
        assert others and all(torch.equal(value, before["ema"][key]) for key, value in others.items())
        assert prior["prior.velocity.weight"].any() != anew  # zeros at first
        assert anew or all(torch.equal(value, before["ema"][key]) for key, value in prior.items())
    assert ("prior: starts anew" in capsys.readouterr().err) is anew


def test_a_stage_more_than_the_earlier_run_has_starts_anew(trained_encoders, tmp_path, monkeypatch, capsys):
    config = make_config(trained_encoders, tmp_path / "run", steps=1)
    config = replace(config, data=replace(config.data, packed_size=16))
    still = replace(config.gan.generator, lr=0.0)
    fewer = replace(config.generator, stages=config.generator.stages - 1)
    shorter = replace(config, run=str(tmp_path / "earlier"), generator=fewer)
    before = load_last(gan.train_gan(shorter) / "checkpoints")["nets"]["ema"]
    config = replace(
        config, start_from=shorter.run, gan=replace(config.gan, generator=still, discriminator=still)
    )
    monkeypatch.setattr(gan_step, "prior_step", lambda *rest: {})
    after = load_last(gan.train_gan(config) / "checkpoints")["nets"]["ema"]
    for name, value in before.items():
        assert torch.equal(value, after[name]) or "running_" in name or "num_" in name
    last = config.generator.stages - 1
    anew = {tuple(name.split(".")[:2]) for name in after.keys() - before.keys()}
    assert anew == {("heads", f"{last}"), ("later", f"{last - 1}")}
    assert "generator: its last stages start anew" in capsys.readouterr().err


def test_all_of_a_batch_is_resampled_while_there_is_no_adversary(trained_encoders, tmp_path, monkeypatch):
    counts, reconstruct = [], gan_step.reconstruction_loss

    def note(generated, *rest):
        counts.append(len(generated[-1]))
        return reconstruct(generated, *rest)

    monkeypatch.setattr(gan_step, "reconstruction_loss", note)
    gan.train_gan(make_config(trained_encoders, tmp_path / "run", steps=4))
    assert counts == [4, 2, 2, 2]  # adversarial from step .2 * 4 on


@pytest.mark.parametrize("guided", [True, False])
def test_the_adversary_sees_guided_latents_where_they_are_asked_for(
    trained_encoders, tmp_path, monkeypatch, guided
):
    """Noise truncated to nothing stays nothing in a flow that has not learnt to move."""
    config = make_config(trained_encoders, tmp_path / "run", steps=1, guided=guided)
    config = replace(
        config,
        generator=replace(config.generator, truncation=0.0),
        gan=replace(config.gan, adversarial_start=0.0),
    )
    latents, step = [], gan_step.discriminator_step

    def note(networks, generated, *rest):
        latents.append(generated.latents)
        return step(networks, generated, *rest)

    monkeypatch.setattr(gan_step, "discriminator_step", note)
    gan.train_gan(config)
    assert len(latents) == 1 and len(latents[0]) == 2
    assert latents[0].any().item() is not guided


# Configurations


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("discriminator.mixed_channels=[8,8]", "discriminator.mixed_channels of 4 numbers"),
        ("discriminator.plain_stages=4", "discriminator.plain_stages of at most generator.stages"),
        ("discriminator.network=some:Network", "discriminator.kind=plain"),
        ("gan.feature_input_size=16", "gan.feature_input_size of 32 px or more, found 16"),
        ("gan.adversarial_ratio=1", "reconstruction_weight or gan.perceptual_weight above 0"),
        ("discriminator.augmentation.cutout=2", "discriminator.augmentation.cutout"),
        ("discriminator.kind=projection", "discriminator.kind"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused_in_one_line(word, expected, tmp_path):
    (tmp_path / "x.yaml").write_text("discriminator: {kind: projected}\n")
    with pytest.raises(InputError) as error:
        load_config(tmp_path / "x.yaml", [word])
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_a_learnt_prior_needs_a_posterior(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "run", steps=1)
    alone = replace(
        config.gan,
        perceptual_weight=0.0,
        reconstruction_weight=0.0,
        adversarial_ratio=0.0,
        posterior="pixels",
    )
    with pytest.raises(InputError, match="gan.perceptual_weight above 0 for a learnt prior"):
        gan.train_gan(replace(config, gan=alone))


def test_a_posterior_on_features_needs_a_learnt_prior(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "run", steps=1)
    normal = replace(config.generator, prior="normal")
    with pytest.raises(InputError, match="expected generator.prior=flow for gan.posterior=features"):
        gan.train_gan(replace(config, generator=normal))


@pytest.mark.parametrize(
    ("guided", "guidance", "truncation", "key"),
    [
        (True, 1.0, 1.0, "gan.guided"),
        (False, 2.0, 1.0, "generator.guidance"),
        (False, 1.0, 0.9, "generator.truncation"),
    ],
)
def test_nothing_is_guided_or_truncated_without_a_learnt_prior(
    trained_encoders, tmp_path, guided, guidance, truncation, key
):
    config = make_config(trained_encoders, tmp_path / "run", steps=1, guided=guided)
    normal = replace(config.generator, prior="normal", guidance=guidance, truncation=truncation)
    config = replace(config, generator=normal, gan=replace(config.gan, posterior="pixels"))
    with pytest.raises(InputError, match=f"expected generator.prior=flow for {key}, found normal"):
        gan.train_gan(config)


@pytest.mark.parametrize(
    ("posterior", "processes", "rows", "least"),
    [("features", 1, 3, 4), ("features", 2, 1, 4), ("pixels", 2, 1, 4)],
)
def test_a_posterior_reads_half_of_the_images_of_each_process(
    trained_encoders, tmp_path, posterior, processes, rows, least
):
    config = make_config(trained_encoders, tmp_path / "run", steps=1)
    config = replace(config, gan=replace(config.gan, posterior=posterior, batch_size=rows * processes))
    with pytest.raises(
        InputError, match=f"expected gan.batch_size of {least} or more in processes: {processes}"
    ):
        gan._check_rows(config, rows, processes)
    gan._check_rows(config, least // processes, processes)
    without = replace(config.gan, perceptual_weight=0.0, reconstruction_weight=0.0)
    gan._check_rows(replace(config, gan=without), rows, processes)


def test_a_batch_too_small_for_its_posterior_is_refused_before_a_run_begins(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "run", steps=1, batch_size=2)
    with pytest.raises(InputError, match="expected gan.batch_size of 4 or more"):
        gan.train_gan(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_generator_without_a_prior_is_asked_for_none(trained_encoders, tmp_path):
    config = make_config(trained_encoders, tmp_path / "run", steps=1)
    other = replace(
        config.generator, network="s2i.models.residual_dcgan:ResidualGenerator", stages=1, base_size=16
    )
    with pytest.raises(
        InputError, match="a generator with a prior for generator.prior=flow, found s2i.models"
    ):
        gan.train_gan(replace(config, generator=replace(other, attention=False)))


def test_the_balance_needs_the_sentence_as_condition(tmp_path):
    (tmp_path / "x.yaml").write_text("gan: {perceptual_weight: 1, adversarial_ratio: 1}\n")
    with pytest.raises(InputError, match="discriminator.condition_on=sentence"):
        load_config(tmp_path / "x.yaml")
