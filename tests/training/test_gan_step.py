"""What a GAN step minimises: its terms by hand on linear discriminators, and who learns from what."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log, log1p
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from s2i import losses
from s2i.config import Config, DiscriminatorTerms, GanConfig, MatchingConfig
from s2i.config_files import load_config
from s2i.config_networks import DiscriminatorConfig, GeneratorConfig, ImageEncoderConfig, SpeechEncoderConfig
from s2i.models.build import build_discriminators, build_generator, build_image_encoder
from s2i.models.caption_encoding import CaptionEncoding, length_mask
from s2i.models.generator import GeneratorOutput
from s2i.models.posterior import Posterior, mix_colours
from s2i.models.relation import IDENTICAL, OTHER_CLASS, SAME_CLASS, RelationSupervisor
from s2i.training import gan_losses, gan_step
from s2i.training.gan_losses import GeneratedBatch, ImageEmbeddings
from s2i.training.matching_loss import matching_loss
from s2i.training.matching_model import freeze

CONFIG = Config(
    speech_encoder=SpeechEncoderConfig(hidden_dim=8),
    image_encoder=ImageEncoderConfig(input_size=16, channels=(4, 4)),
    generator=GeneratorConfig(
        stages=2, base_size=8, noise_dim=6, condition_dim=4, channels=8, min_channels=4, attention=True
    ),
    discriminator=DiscriminatorConfig(channels=4),
)
CLASSES = torch.tensor([0, 1, 0, 2])
S2IGAN = Path(__file__).parents[2] / "recipes" / "cub" / "conf" / "s2igan.yaml"
EACH = torch.ones(4, dtype=torch.bool)
ONLY = dict.fromkeys(("real_c", "real_u", "wrong_c", "fake_c", "fake_u"), 0.0)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class LinearDiscriminator(nn.Module):
    """Logits p . x + c . condition with the condition, u . x alone."""

    def __init__(self, size: int, condition: int) -> None:
        super().__init__()
        self.p, self.u = (nn.Parameter(torch.randn(3 * size * size)) for _ in range(2))
        self.c = nn.Parameter(torch.randn(condition))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def conditional_logits(self, hidden: Tensor, condition: Tensor) -> Tensor:
        return hidden @ self.p + condition @ self.c

    def unconditional_logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.u


def linear_case(batch: int = 4) -> tuple[list[LinearDiscriminator], list[Tensor], list[Tensor], Tensor]:
    sizes = (2, 4)
    networks = [LinearDiscriminator(size, 5) for size in sizes]
    reals, fakes = ([0.3 * torch.randn(batch, 3, size, size) for size in sizes] for _ in range(2))
    return networks, reals, fakes, torch.randn(batch, 5)


def some_encoding(batch: int = 4) -> CaptionEncoding:
    mask = length_mask(torch.arange(batch) % 3 + 1, 3)
    return CaptionEncoding(torch.randn(batch, 16), torch.randn(batch, 16, 3) * mask.unsqueeze(1), mask)


def generate(generator: nn.Module, encoding: CaptionEncoding) -> GeneratorOutput:
    batch = len(encoding.sentence)
    return generator(encoding, torch.randn(batch, 6), torch.randn(batch, 4))


def images(batch: int = 4) -> list[Tensor]:
    return [torch.rand(batch, 3, size, size) * 2 - 1 for size in (8, 16)]


def weights_of(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def unchanged(network: nn.Module, before: list[Tensor]) -> bool:
    return all(map(torch.equal, network.parameters(), before))


# Discriminators' step


def test_the_discriminators_terms_by_hand():
    networks, reals, fakes, condition = linear_case()
    partner = [1, 2, 3, 0]  # the next caption of another class
    config = GanConfig(terms=DiscriminatorTerms(2.0, 3.0, 5.0, 7.0, 11.0))
    terms = gan_step.discriminator_losses(networks, reals, fakes, condition, CLASSES, config)
    total = terms["d/all"]
    expected = 0.0
    for network, real, fake in zip(networks, reals, fakes, strict=True):
        real, fake = real.flatten(1), fake.flatten(1)
        logits = {
            "real_c": real @ network.p + condition @ network.c,
            "real_u": real @ network.u,
            "wrong_c": real @ network.p + condition[partner] @ network.c,
            "fake_c": fake @ network.p + condition @ network.c,
            "fake_u": fake @ network.u,
        }
        size = round((real.shape[1] / 3) ** 0.5)
        for name, weight in zip(ONLY, (2, 3, 5, 7, 11), strict=True):
            sign = -1 if name.startswith("real") else 1
            value = sum(log1p(exp(sign * logit)) for logit in logits[name].tolist()) / 4
            assert terms[f"d_{size}/{name}"].item() == pytest.approx(value, rel=1e-4)
            expected += weight * value
    assert total.item() == pytest.approx(expected, rel=1e-4)


def test_the_plain_sum_counts_a_wrong_pairs_image_as_real_once_more():
    """S2IGAN: a wrong pair is still a real image; with images of the batch that is real_u again."""
    published = load_config(S2IGAN).gan.terms
    assert published == DiscriminatorTerms(1.0, 2.0, 1.0, 1.0, 1.0)


def test_a_wrong_pair_takes_the_caption_of_another_class():
    networks, reals, fakes, _ = linear_case()
    condition = torch.nn.functional.one_hot(CLASSES, 5).float()  # tells the class
    seen: list[Tensor] = []
    for network in networks:
        classifier = network.conditional_logits
        network.conditional_logits = lambda hidden, given, classifier=classifier: (
            seen.append(given),
            classifier(hidden, given),
        )[1]
    config = GanConfig(terms=DiscriminatorTerms(**{**ONLY, "wrong_c": 1.0}))
    gan_step.discriminator_losses(networks, reals, fakes, condition, CLASSES, config)
    wrong = [given.argmax(1) for given in seen if not torch.equal(given, condition)]
    assert len(wrong) == len(networks)
    assert all((classes != CLASSES).all() for classes in wrong)


def test_a_batch_of_one_class_has_no_wrong_pairs():
    networks, reals, fakes, condition = linear_case()
    classes = torch.zeros(4, dtype=torch.int64)
    terms = gan_step.discriminator_losses(networks, reals, fakes, condition, classes, GanConfig())
    total = terms["d/all"]
    assert terms["d_2/wrong_c"] == terms["d_4/wrong_c"] == 0 and torch.isfinite(total)


@pytest.mark.parametrize("condition", ["mu", "sentence"])
def test_the_discriminators_step_gives_the_generator_and_the_encoder_no_gradient(condition):
    """As the training calls it: generated images and condition come without their history."""
    config = replace(CONFIG, discriminator=DiscriminatorConfig(channels=4, condition_on=condition))
    generator, networks = build_generator(config), build_discriminators(config)
    encoding = some_encoding()
    encoding.sentence.requires_grad_()
    output = generate(generator, encoding)
    given = output.mu if condition == "mu" else encoding.sentence
    terms = gan_step.discriminator_losses(
        networks, images(), [p.detach() for p in output.images], given.detach(), CLASSES, config.gan
    )
    terms["d/all"].backward()
    assert all(weight.grad is None for weight in generator.parameters())
    assert encoding.sentence.grad is None
    assert all(weight.grad is not None for weight in networks.parameters())


# Penalties


def test_r1_of_a_linear_discriminator_is_the_square_of_its_weights():
    networks, reals, _, condition = linear_case()
    config = GanConfig(penalty="r1", penalty_weight=0.25, penalty_every=8)
    total, terms = gan_step.gradient_penalty(networks, reals, condition, config)
    squares = [(network.p + network.u).square().sum() for network in networks]
    assert terms["d_2/penalty"].item() == pytest.approx(squares[0].item(), rel=1e-5)
    assert total.item() == pytest.approx(0.25 * 8 * sum(squares).item(), rel=1e-5)
    total.backward()  # d |p + u|^2 / dp = 2 (p + u)
    torch.testing.assert_close(networks[1].p.grad, 0.25 * 8 * 2 * (networks[1].p + networks[1].u).detach())


def test_the_matching_aware_penalty_of_a_linear_discriminator_counts_the_condition_too():
    networks, reals, _, condition = linear_case()
    networks = networks[:1]
    config = GanConfig(penalty="matching_aware", penalty_weight=2.0, penalty_every=1)
    total, _ = gan_step.gradient_penalty(networks, reals[:1], condition, config)
    network = networks[0]
    squared = (network.p + network.u).square().sum() + network.c.square().sum()
    assert total.item() == pytest.approx(2 * squared.item() ** 3, rel=1e-4)


@pytest.mark.parametrize("penalty", ["r1", "matching_aware"])
def test_a_penalty_leaves_the_images_and_the_condition_that_it_is_given_alone(penalty):
    networks, reals, _, condition = linear_case()
    config = GanConfig(penalty=penalty)
    gan_step.gradient_penalty(networks, reals, condition, config)[0].backward()
    assert not any(part.requires_grad or part.grad is not None for part in (*reals, condition))


@pytest.mark.parametrize("norm", ["none", "spectral", "batch"])
@pytest.mark.parametrize("penalty", ["r1", "matching_aware"])
def test_penalties_reach_the_real_discriminators_weights(penalty, norm):
    config = replace(
        CONFIG, discriminator=DiscriminatorConfig(channels=4, norm=norm), gan=GanConfig(penalty=penalty)
    )
    networks = build_discriminators(config)
    total, _ = gan_step.gradient_penalty(networks, images(), torch.randn(4, 4), config.gan)
    total.backward()
    assert total > 0
    for network in networks:
        first = network.backbone[0]
        weight = first.parametrizations.weight.original if norm == "spectral" else first.weight
        assert weight.grad.any()


# Generator's step


def generator_losses(
    networks, output, encoding, condition, config, matching=None, image_encoder=None
) -> dict[str, Tensor]:
    """The generator's losses but for reconstruction and relation, as its step sums them."""
    embeddings = ImageEmbeddings(*image_encoder(output.images[-1])) if image_encoder else None
    generated = GeneratedBatch(encoding, output, output.images, condition)
    adversarial, terms = gan_losses.generator_adversarial_losses(networks, generated, CLASSES, config)
    others, of_captions = gan_losses.generator_losses(
        generated, embeddings, None, CLASSES, config, matching or MatchingConfig()
    )
    return {**terms, **of_captions, "g/all": adversarial + others}


def generator_case(config: Config):
    generator, networks = build_generator(config), build_discriminators(config)
    image_encoder = freeze(build_image_encoder(config))
    encoding = some_encoding()
    output = generate(generator, encoding)
    networks.requires_grad_(False)
    terms = generator_losses(
        networks, output, encoding, output.mu, config.gan, config.matching, image_encoder
    )
    return generator, networks, image_encoder, terms


@pytest.mark.parametrize("loss", ["bce", "hinge", "least_squares"])
def test_the_generators_step_moves_the_generator_alone(loss):
    config = replace(CONFIG, gan=GanConfig(loss=loss, matching_weight=1.0))
    generator, networks, image_encoder, terms = generator_case(config)
    before = weights_of(networks), weights_of(image_encoder)
    terms["g/all"].backward()
    assert unchanged(networks, before[0]) and unchanged(image_encoder, before[1])
    for network in (networks, image_encoder):
        assert all(weight.grad is None for weight in network.parameters())
    assert all(weight.grad is not None for weight in generator.parameters())


def test_the_generators_terms_by_hand():
    networks, _, fakes, condition = linear_case()
    mu, logvar = torch.randn(4, 5), torch.randn(4, 5)
    config = GanConfig(conditional_weight=2.0, unconditional_weight=3.0, kl_weight=0.5)
    output = GeneratorOutput(fakes, [], mu, logvar)
    terms = generator_losses(networks, output, some_encoding(), condition, config)
    total = terms.pop("g/all")
    expected = 0.5 * losses.augmentation_loss(mu, logvar)
    for network, fake in zip(networks, fakes, strict=True):
        fake = fake.flatten(1)
        conditional = losses.adversarial_loss(fake @ network.p + condition @ network.c, True, "bce")
        expected = expected + 2 * conditional + 3 * losses.adversarial_loss(fake @ network.u, True, "bce")
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(terms) == {f"g_{s}/{k}" for s in (2, 4) for k in ("conditional", "unconditional")} | {"g/kl"}


def test_conditioning_augmentation_learns_through_the_condition_too():
    """In the generator's step mu keeps its history, as published; see s2i/training/gan.py."""
    networks, _, fakes, _ = linear_case()
    mu = torch.randn(4, 5, requires_grad=True)
    config = GanConfig(kl_weight=0.0)
    output = GeneratorOutput(fakes, [], mu, torch.zeros(4, 5))
    generator_losses(networks, output, some_encoding(), mu, config)["g/all"].backward()
    assert mu.grad.any()


def test_the_generator_is_matched_on_its_last_stage_as_the_encoder_was():
    config = replace(
        CONFIG,
        gan=GanConfig(matching_weight=3.0, conditional_weight=0.0, unconditional_weight=0.0, kl_weight=0.0),
        matching=MatchingConfig(batch_weight=2.0, region_weight=0.5, class_weight=1.0),
    )
    generator, image_encoder = build_generator(config), freeze(build_image_encoder(config))
    encoding = some_encoding()
    output = generate(generator, encoding)
    networks = build_discriminators(config)
    terms = generator_losses(
        networks, output, encoding, output.mu, config.gan, config.matching, image_encoder
    )
    total = terms["g/all"]
    vectors, regions = image_encoder(output.images[-1])
    batch = sum(losses.batch_matching_loss(vectors, encoding.sentence, CLASSES, 10.0))
    arguments = encoding.sequence, encoding.mask, CLASSES, (4.0, 5.0, 10.0)
    region = sum(losses.region_loss(regions, *arguments))
    assert terms["g/matching"].item() == pytest.approx((2 * batch + 0.5 * region).item(), rel=1e-5)
    assert total.item() == pytest.approx(3 * terms["g/matching"].item(), rel=1e-5)


def test_a_matching_weight_of_zero_leaves_its_loss_out():
    vectors, regions, encoding = torch.randn(4, 16), torch.randn(4, 16, 3), some_encoding()
    for batch, region, names in ((1, 0, {"loss/batch"}), (0, 1, {"loss/region"}), (0, 0, set())):
        settings = MatchingConfig(batch_weight=batch, region_weight=region)
        total, terms = matching_loss(vectors, regions, encoding, CLASSES, settings)
        assert set(terms) == names
        assert total.item() == pytest.approx(sum(value.item() for value in terms.values()))


# Relation supervisor


class Recorder(RelationSupervisor):
    """Remembers the pairs that it was shown, and answers evenly."""

    def __init__(self) -> None:
        super().__init__(16)
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def forward(self, real: Tensor, other: Tensor) -> Tensor:
        self.pairs.append((real, other))
        return super().forward(real, other)


def test_relations_have_the_labels_of_the_published_table():
    assert (IDENTICAL, SAME_CLASS, OTHER_CLASS) == (0, 1, 2)
    network = Recorder()
    real, same, fake = torch.randn(3, 4, 16)
    terms = gan_step.relation_losses(network, real, same, fake, CLASSES, EACH)
    total = terms.pop("relation/all")
    labels = dict(zip(("identical", "same_class", "generated", "other_class"), (0, 1, 1, 2), strict=True))
    others = dict(zip(labels, (real, same, fake, real[[1, 2, 3, 0]]), strict=True))
    assert set(terms) == {f"relation/{name}" for name in labels}
    pairs = dict(zip(labels, network.pairs, strict=True))
    for name, label in labels.items():
        assert torch.equal(pairs[name][0], real) and torch.equal(pairs[name][1], others[name])
        expected = gan_step.relation_loss(network, real, others[name], label)
        torch.testing.assert_close(terms[f"relation/{name}"], expected.detach())
    assert total.item() == pytest.approx(sum(value.item() for value in terms.values()), rel=1e-5)


def test_a_generated_image_has_the_same_label_in_both_steps():
    """The supervisor helps: training it and training the generator, a generated image is one of the class."""
    network = RelationSupervisor(16).eval()
    real, same, fake = torch.randn(3, 4, 16)
    terms = gan_step.relation_losses(network, real, same, fake, CLASSES, EACH)
    terms.pop("relation/all")
    for_generator = gan_step.relation_loss(network, real, fake, SAME_CLASS)
    torch.testing.assert_close(terms["relation/generated"], for_generator.detach())


def test_relations_to_another_class_are_left_out_where_there_is_none():
    network = RelationSupervisor(16)
    vectors = torch.randn(3, 4, 16)
    classes = torch.zeros(4, dtype=torch.int64)
    terms = gan_step.relation_losses(network, *vectors, classes, EACH)
    total = terms.pop("relation/all")
    assert set(terms) == {"relation/identical", "relation/same_class", "relation/generated"}
    assert torch.isfinite(total)


def test_an_image_alone_in_its_class_is_not_identical_to_itself():
    """It stands for another one of its class: the same pair under two labels would teach nothing."""
    real, same, fake = torch.randn(3, 4, 16)
    classes = torch.tensor([0, 1, 1, 2])
    network, other = Recorder(), torch.tensor([False, True, True, False])
    same = torch.where(other.unsqueeze(1), same, real)
    terms = gan_step.relation_losses(network, real, same, fake, classes, other)
    terms.pop("relation/all")
    assert torch.equal(network.pairs[0][0], real[1:3]) and torch.equal(network.pairs[0][1], real[1:3])
    assert [len(first) for first, _ in network.pairs] == [2, 4, 4, 4]
    network = Recorder()
    terms = gan_step.relation_losses(network, real, real, fake, torch.arange(4), ~EACH)
    terms.pop("relation/all")
    assert set(terms) == {"relation/same_class", "relation/generated", "relation/other_class"}


def test_the_relation_loss_is_the_cross_entropy_of_the_label():
    network = RelationSupervisor(16)
    for part in network.parameters():
        nn.init.zeros_(part)
    first, second = torch.randn(2, 4, 16)
    assert gan_step.relation_loss(network, first, second, OTHER_CLASS).item() == pytest.approx(log(3))


SEMANTIC = replace(
    CONFIG,
    discriminator=DiscriminatorConfig(channels=4, condition_on="sentence"),
    gan=replace(CONFIG.gan, contrast_weight=0.5, class_weight=2.0),
)


def test_semantic_terms_are_batch_matching_and_cross_entropy_of_the_discriminators_own_heads():
    network = next(iter(build_discriminators(SEMANTIC, classes=3)))
    images, condition = torch.rand(4, 3, 8, 8), torch.randn(4, SEMANTIC.embedding_dim)
    hidden = network(images)
    contrast = gan_losses.contrastive_loss(network, hidden, condition, CLASSES)
    seen, captions = network.contrast(hidden.flatten(1)), network.contrast_condition(condition)
    ways = losses.batch_matching_loss(seen, captions, CLASSES, gan_losses.CONTRAST_SCALE)
    assert contrast.item() == pytest.approx(sum(ways).item() / 2)
    logits = network.classifier(hidden.flatten(1)).log_softmax(1)
    classes = gan_losses.classification_loss(network, hidden, CLASSES)
    assert classes.item() == pytest.approx(-logits[torch.arange(4), CLASSES].mean().item())
    terms = gan_step.discriminator_losses(
        [network], [images], [images], condition, CLASSES, GanConfig(contrast_weight=0, class_weight=0)
    )
    assert not {"d_8/contrast", "d_8/class"} & terms.keys()


def test_semantic_terms_count_on_both_sides_by_their_weights():
    networks = build_discriminators(SEMANTIC, classes=3)
    reals = [torch.rand(4, 3, 8, 8), torch.rand(4, 3, 16, 16)]
    condition = torch.randn(4, SEMANTIC.embedding_dim)
    plain, weighted = GanConfig(), SEMANTIC.gan
    without = gan_step.discriminator_losses(networks, reals, reals, condition, CLASSES, plain)["d/all"]
    terms = gan_step.discriminator_losses(networks, reals, reals, condition, CLASSES, weighted)
    total = terms["d/all"]
    added = sum(0.5 * terms[f"d_{size}/contrast"] + 2 * terms[f"d_{size}/class"] for size in (8, 16))
    assert (total - without).item() == pytest.approx(added.item(), rel=1e-4)
    output = GeneratorOutput(reals, [], torch.zeros(4, 4), torch.zeros(4, 4))
    encoding = CaptionEncoding(condition, condition[..., None], torch.ones(4, 1, dtype=torch.bool))
    without = generator_losses(networks, output, encoding, condition, plain)["g/all"]
    terms = generator_losses(networks, output, encoding, condition, weighted)
    total = terms["g/all"]
    added = sum(0.5 * terms[f"g_{size}/contrast"] + 2 * terms[f"g_{size}/class"] for size in (8, 16))
    assert (total - without).item() == pytest.approx(added.item(), rel=1e-4)


# Reconstruction


def test_reconstruction_is_the_mean_difference_over_stages():
    generated = [torch.full((2, 3, 2, 2), 0.5), torch.full((2, 3, 4, 4), 0.25)]
    reals = [torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 4, 4)]
    total, terms = gan_losses.reconstruction_loss(generated, reals, GanConfig(reconstruction_weight=10))
    assert set(terms) == {"g/reconstruction"} and terms["g/reconstruction"] == pytest.approx(0.375)
    assert total == pytest.approx(10 * 0.375)


def test_found_noise_costs_its_nats():
    output = GeneratorOutput(images(), [])
    posterior = (torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2))
    generated = GeneratedBatch(some_encoding(), output, [], torch.zeros(4, 4), posterior)
    total, terms = gan_losses.generator_losses(
        generated, None, None, CLASSES, GanConfig(posterior_weight=3), MatchingConfig()
    )
    assert terms["g/posterior_nats"] == pytest.approx(1.0)  # half of 2 squared in one image of two
    assert total == pytest.approx(3 * 1.0)


def test_a_new_posterior_is_the_prior_and_learns_from_image_and_caption():
    posterior = Posterior(embedding_dim=16, noise_dim=6)
    images, sentence, mixtures = torch.randn(4, 3, 64, 64), torch.randn(4, 16), torch.randn(4, 3)
    mu, logvar = posterior(images, sentence, mixtures)
    assert mu.shape == logvar.shape == (4, 6) and not mu.any() and not logvar.any()
    nn.init.normal_(posterior.out.weight)
    mu = posterior(images, sentence, mixtures)[0]
    assert not torch.allclose(posterior(-images, sentence, mixtures)[0], mu)
    assert not torch.allclose(posterior(images, -sentence, mixtures)[0], mu)


def test_a_posterior_is_shown_shapes_without_their_colours():
    weights, shape = torch.randn(3), torch.randn(1, 1, 8, 8)
    red, yellow = (torch.tensor(colour).view(1, 3, 1, 1) * shape for colour in ((1.0, 0, 0), (1.0, 1.0, 0)))
    seen = [mix_colours(image, weights[None]) for image in (red, yellow, 0.3 * red - 0.2)]
    expected = (shape - shape.mean()) / shape.std()
    for mixed, weight in zip(seen, (weights[0], weights[0] + weights[1], weights[0]), strict=True):
        torch.testing.assert_close(mixed, weight.sign() * expected, atol=0.02, rtol=0.02)
    flat = mix_colours(torch.full((1, 3, 8, 8), 0.5), weights[None])
    assert flat.abs().max() < 1e-3
