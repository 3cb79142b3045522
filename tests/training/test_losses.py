"""Losses against values worked out by hand, and against the papers' equations written out plainly."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import losses, region_comparison
from s2i.models.caption_encoding import length_mask

NEVER = float("-inf")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def some_captions(lengths: list[int], width: int = 6) -> tuple[Tensor, Tensor]:
    """Segments (C, D, T) with numbers in the padding that nothing may read, and their mask (C, T)."""
    steps = max(lengths)
    return torch.randn(len(lengths), width, steps), length_mask(torch.tensor(lengths), steps)


# Two recordings of a caption


def test_invariance_is_the_mean_of_one_minus_cosine_whatever_the_lengths():
    first = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    second = torch.tensor([[5.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    assert losses.invariance_loss(first, second).item() == pytest.approx((0 + 1 - sqrt(0.5) + 2) / 3)


# Who speaks


def test_a_reversed_gradient_by_hand():
    """y = w x, loss = 3 y: what follows the reversal learns from +3 x, what precedes it from -weight times
    3 w."""
    x, w = torch.tensor([2.0, -1.0], requires_grad=True), torch.tensor(5.0, requires_grad=True)
    reversed_x = losses.reverse_gradient(x, 0.5)
    assert torch.equal(reversed_x, x)
    (3 * w * reversed_x).sum().backward()
    assert w.grad.item() == pytest.approx(3 * (2 - 1))
    assert x.grad.tolist() == pytest.approx([-0.5 * 3 * 5] * 2)


def test_speakers_are_told_over_those_that_are_named():
    logits = torch.tensor([[0.0, log(3)], [5.0, 5.0], [log(4), 0.0]])
    loss = losses.speaker_loss(logits, torch.tensor([1, -1, 1]))
    assert loss.item() == pytest.approx((-log(3 / 4) - log(1 / 5)) / 2)
    assert losses.speaker_loss(logits, torch.tensor([-1, -1, -1])).item() == 0


# Teacher and student


PRODUCTS = torch.tensor([[2.0, 1.5, 0.0], [1.0, 1.0, 0.95], [3.0, 0.2, 0.0]])  # image i, caption j


def test_joint_embedding_by_hand_asks_less_of_another_image_of_the_same_class():
    """Captions' own images have 2, 1 and 0; the first two are of one class."""
    loss = losses.joint_embedding_loss(PRODUCTS, torch.eye(3), torch.tensor([4, 4, 8]))
    # Caption 0: .1 * (1 - 2) < 0, 1 + 3 - 2; 1: .1 * (1.5 - 1), 1 + .2 - 1; 2: 1 + 0 - 0, 1 + .95 - 0
    assert loss.item() == pytest.approx((2 + 0.05 + 0.2 + 1 + 1.95) / 9)


def test_joint_embedding_goes_one_way_from_captions_to_images():
    """Swapped, each image's own caption has 2, 1 and 0."""
    loss = losses.joint_embedding_loss(torch.eye(3), PRODUCTS, torch.tensor([4, 4, 8]))
    # Image 0: .1 * (1.5 - 2) < 0, 1 + 0 - 2 < 0; 1: .1 * (1 - 1), 1 + .95 - 1; 2: 1 + 3 - 0, 1 + .2 - 0
    assert loss.item() == pytest.approx((0 + 0.95 + 4 + 1.2) / 9)


def test_joint_embedding_equals_its_sum_over_pairs():
    image, caption, classes = torch.randn(8, 5), torch.randn(8, 5), [0, 1, 0, 2, 2, 2, 3, 1]
    expected = 0.0
    for i in range(8):
        for j in range(8):
            excess = float(image[i] @ caption[j] - image[j] @ caption[j])
            if classes[i] != classes[j]:
                expected += max(0.0, 1 + excess)
            elif i != j:
                expected += 0.1 * max(0.0, excess)
    loss = losses.joint_embedding_loss(image, caption, torch.tensor(classes))
    assert loss.item() == pytest.approx(expected / 64, rel=1e-5)


def test_joint_embedding_loss_of_one_pair_is_zero():
    assert losses.joint_embedding_loss(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([0])).item() == 0


def test_the_distance_of_student_and_teacher_is_of_batches_over_their_norms():
    image, caption = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0, 12.0], [5.0, 0.0]])
    expected = (3 / 5 + 12 / 13 + 5 / 13 + 4 / 5) / 4  # norms 5 and 13
    assert losses.distance_loss(image, caption).item() == pytest.approx(expected)
    assert losses.distance_loss(7 * image, caption).item() == pytest.approx(expected)


def test_the_distance_of_64_unit_vectors_is_an_eighth_of_their_mean_difference():
    image, caption = (F.normalize(torch.randn(64, 9), dim=1) for _ in range(2))
    loss = losses.distance_loss(image, caption)
    assert loss.item() == pytest.approx((image - caption).abs().mean().item() / 8, rel=1e-5)


def test_distillation_softens_the_teacher_alone_and_is_a_mean_over_all_numbers():
    teacher, student = torch.tensor([[2.0 * log(3), 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = (0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)) / 2  # softmax of log 3 and 0: 3/4, 1/4
    assert losses.distillation_loss(teacher, student).item() == pytest.approx(expected)
    same = losses.distillation_loss(teacher, teacher / 2)
    assert same.item() == pytest.approx(0, abs=1e-7)


# Matching


def test_the_same_class_mask_keeps_the_diagonal():
    mask = losses.same_class_mask(torch.tensor([3, 5, 3, 3]))
    expected = [[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0]]
    assert mask.int().tolist() == expected


@pytest.mark.parametrize("classes", [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]])
def test_no_mix_of_classes_gives_a_loss_or_gradient_that_is_no_number(classes):
    scores = torch.randn(4, 4, requires_grad=True)
    both = losses.match_both_ways(10 * scores, torch.tensor(classes))
    sum(both).backward()
    assert all(torch.isfinite(value) for value in both) and torch.isfinite(scores.grad).all()
    if len(set(classes)) == 1:  # nothing to tell apart: nothing to learn
        assert [value.item() for value in both] == [0, 0] and not scores.grad.any()


def test_two_captions_of_one_image_are_no_negatives_of_each_other():
    """They have one class; where there are no classes, the image stands for one."""
    scores = torch.zeros(3, 3, requires_grad=True)
    sum(losses.match_both_ways(scores, torch.tensor([7, 7, 9]))).backward()
    assert scores.grad[0, 1] == scores.grad[1, 0] == 0
    assert scores.grad[0, 2] > 0 and scores.grad[2, 1] > 0 and (scores.grad.diagonal() < 0).all()


def test_masked_batch_matching_equals_its_equation():
    image, caption = torch.randn(4, 5), torch.randn(4, 5)
    classes = [0, 1, 0, 2]
    expected = [0.0, 0.0]
    cosines = [[F.cosine_similarity(v, s, 0).item() for s in caption] for v in image]
    for i in range(4):
        allowed = [j for j in range(4) if j == i or classes[j] != classes[i]]
        over_captions = log(sum(exp(10 * cosines[i][j]) for j in allowed))
        over_images = log(sum(exp(10 * cosines[j][i]) for j in allowed))
        expected[0] += (over_captions - 10 * cosines[i][i]) / 4
        expected[1] += (over_images - 10 * cosines[i][i]) / 4
    matching = losses.batch_matching_loss(image, caption, torch.tensor(classes), scale=10)
    assert [value.item() for value in matching] == pytest.approx(expected, abs=1e-5)


def test_batch_matching_by_hand():
    """Right partners have cosine 1, wrong ones 0: ln(1 + e^-gamma) each way."""
    matching = losses.batch_matching_loss(5 * torch.eye(2), torch.eye(2), torch.tensor([0, 1]), scale=2)
    assert [value.item() for value in matching] == pytest.approx([log(1 + exp(-2))] * 2)


def test_batch_matching_takes_cosines_and_knows_no_order():
    image, caption, classes = torch.randn(6, 5), torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 3])
    matching = losses.batch_matching_loss(image, caption, classes, 10)
    longer = losses.batch_matching_loss(3 * image, 0.1 * caption, classes, 10)
    order = torch.randperm(6)
    shuffled = losses.batch_matching_loss(image[order], caption[order], classes[order], 10)
    swapped = losses.batch_matching_loss(caption, image, classes, 10)
    for other in (longer, shuffled, swapped[::-1]):
        torch.testing.assert_close(matching, other)


# Region-segment (DAMSM)


def plain_score(
    regions: Tensor, segments: Tensor, gamma1: float, gamma2: float
) -> tuple[float, list[list[float]]]:
    """AttnGAN, eq. 7 to 10, for one image (D, R) and one caption (D, T), number by number."""
    count, steps = regions.shape[1], segments.shape[1]
    products = [[float(segments[:, i] @ regions[:, j]) for j in range(count)] for i in range(steps)]
    alphas, pooled = [], 0.0
    for i in range(steps):
        over_words = []
        for j in range(count):  # eq. 8: of all words, how much is this region's one?
            over_words.append(exp(products[i][j]) / sum(exp(products[k][j]) for k in range(steps)))
        shares = [exp(gamma1 * value) for value in over_words]  # eq. 9
        alpha = [value / sum(shares) for value in shares]
        context = sum(alpha[j] * regions[:, j] for j in range(count))
        cosine = float(context @ segments[:, i]) / sqrt(
            float(context @ context) * float(segments[:, i] @ segments[:, i])
        )
        pooled += exp(gamma2 * cosine)  # eq. 10; like the published code without the root of gamma2
        alphas.append(alpha)
    return log(pooled), alphas


def test_region_scores_equal_the_papers_equations_padding_left_out():
    regions = torch.randn(3, 6, 4)
    lengths = [5, 1, 3]
    sequence, mask = some_captions(lengths)
    scores, attention = losses.region_scores(regions, sequence, mask, 4.0, 5.0)
    assert scores.shape == (3, 3) and attention.shape == (3, 3, 5, 4)
    for b in range(3):
        for c, length in enumerate(lengths):
            expected, alphas = plain_score(regions[b], sequence[c, :, :length], 4.0, 5.0)
            assert scores[b, c].item() == pytest.approx(expected, abs=1e-4)
            torch.testing.assert_close(attention[b, c, :length], torch.tensor(alphas))


def test_region_scores_do_not_depend_on_padding_or_on_other_captions():
    regions = torch.randn(2, 6, 4)
    sequence, mask = some_captions([4, 2, 3])
    scores, _ = losses.region_scores(regions, sequence, mask, 4.0, 5.0)
    wider = F.pad(sequence, (0, 3), value=100.0), F.pad(mask, (0, 3))
    torch.testing.assert_close(losses.region_scores(regions, *wider, 4.0, 5.0)[0], scores)
    alone, _ = losses.region_scores(regions[1:], sequence[1:2, :, :2], mask[1:2, :2], 4.0, 5.0)
    assert alone.item() == pytest.approx(scores[1, 1].item(), abs=1e-5)


def test_region_scores_know_no_order_of_regions_or_of_segments():
    regions = torch.randn(2, 6, 4)
    sequence, mask = torch.randn(3, 6, 5), torch.ones(3, 5, dtype=torch.bool)
    scores, _ = losses.region_scores(regions, sequence, mask, 4.0, 5.0)
    places, steps = torch.randperm(4), torch.randperm(5)
    other, _ = losses.region_scores(regions[..., places], sequence[..., steps], mask, 4.0, 5.0)
    torch.testing.assert_close(scores, other)


def test_region_scores_have_finite_gradients_with_padding_and_silent_segments():
    regions = torch.randn(2, 6, 4, requires_grad=True)
    sequence, mask = some_captions([4, 1])
    sequence = (sequence * mask.unsqueeze(1)).requires_grad_()  # padding is zero, as the encoders give it
    losses.region_scores(regions, sequence, mask, 4.0, 5.0)[0].sum().backward()
    assert torch.isfinite(regions.grad).all() and torch.isfinite(sequence.grad).all()
    assert not sequence.grad[1, :, 1:].any()


def _much_to_compare(dtype=torch.float32):
    """Regions (5, 3, 7) and captions (4, 3, 6), of which one segment is nothing; and their mask."""
    torch.manual_seed(0)
    regions, sequence = torch.randn(5, 3, 7, dtype=dtype), torch.randn(4, 3, 6, dtype=dtype)
    sequence[0, :, 2] = 0
    mask = torch.arange(6) < torch.tensor([6, 1, 3, 5])[:, None]
    return regions.requires_grad_(), sequence.requires_grad_(), mask


@pytest.mark.parametrize("kept", [0, 250, 10**9])  # products: of no image, of two, of all
@pytest.mark.parametrize("of_a_part", [1, 2 * 4 * 6 * 7, 10**9])  # images: one, two, all at once
def test_image_by_image_is_the_same_comparison_and_the_same_gradient(monkeypatch, of_a_part, kept):
    regions, sequence, mask = _much_to_compare()
    weights = torch.randn(5, 4)
    expected = losses.region_scores(regions, sequence, mask, 4.0, 5.0)[0]
    gradients = torch.autograd.grad((expected * weights).sum(), (regions, sequence))
    monkeypatch.setattr(region_comparison, "AT_ONCE", 0)
    monkeypatch.setattr(region_comparison, "_OF_A_PART", {"cpu": of_a_part})
    monkeypatch.setattr(region_comparison, "KEPT", kept)
    scores = losses.compare_regions(regions, sequence, mask, 4.0, 5.0)
    torch.testing.assert_close(scores, expected)
    of_scores = torch.autograd.grad((scores * weights).sum(), (regions, sequence))
    for one, other in zip(of_scores, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_gradient_image_by_image_is_that_of_small_differences():
    regions, sequence, mask = _much_to_compare(torch.float64)
    with torch.no_grad():
        sequence[0, :, 2] = 1  # its length has a gradient
    with torch.autocast("cpu", enabled=False):
        assert torch.autograd.gradcheck(
            lambda *given: region_comparison.RegionScores.apply(*given, mask, 4.0, 5.0), (regions, sequence)
        )


@pytest.mark.parametrize(("kept", "made"), [(0, 10), (250, 8), (10**9, 5)])
def test_of_a_large_batch_as_much_is_kept_as_has_room(monkeypatch, kept, made):
    """Of 5 images, 15 segments and 7 regions each: 105 products an image."""
    regions, sequence, mask = _much_to_compare()
    compare, comparisons = region_comparison._Comparison, []
    note = lambda *given: comparisons.append(compare(*given)) or comparisons[-1]  # noqa: E731
    monkeypatch.setattr(region_comparison, "AT_ONCE", 0)
    monkeypatch.setattr(region_comparison, "_OF_A_PART", {"cpu": 1})
    monkeypatch.setattr(region_comparison, "KEPT", kept)
    monkeypatch.setattr(region_comparison, "_Comparison", note)
    losses.compare_regions(regions, sequence, mask, 4.0, 5.0).sum().backward()
    assert comparisons[0].attention.numel() == 105 and len(comparisons) == made


def test_image_by_image_keeps_nothing_else_but_its_inputs(monkeypatch):
    regions, sequence, mask = _much_to_compare()
    kept = []

    def keep(value):
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        losses.compare_regions(regions, sequence, mask, 4.0, 5.0)
        at_once = sum(kept)
        kept.clear()
        monkeypatch.setattr(region_comparison, "AT_ONCE", 0)
        losses.compare_regions(regions, sequence, mask, 4.0, 5.0)
    assert sum(kept) == regions.numel() + sequence.numel() + mask.numel() < at_once / 5


def test_the_region_loss_compares_each_image_with_the_captions_of_its_group():
    regions = torch.randn(6, 6, 4)
    sequence, mask = some_captions([4, 2, 3, 5, 1, 2])
    classes, gammas = torch.tensor([0, 1, 0, 2, 3, 4]), (4.0, 5.0, 10.0)
    whole = losses.region_loss(regions, sequence, mask, classes, gammas)
    expected = losses.match_both_ways(
        10 * losses.region_scores(regions, sequence, mask, 4.0, 5.0)[0], classes
    )
    torch.testing.assert_close(whole, expected)
    torch.testing.assert_close(
        losses.region_loss(regions, sequence, mask, classes, gammas, group=6), expected
    )
    halves = [
        losses.region_loss(regions[p], sequence[p], mask[p], classes[p], gammas)
        for p in (slice(0, 3), slice(3, 6))
    ]
    grouped = losses.region_loss(regions, sequence, mask, classes, gammas, group=3)
    for way in range(2):
        assert grouped[way].item() == pytest.approx((halves[0][way] + halves[1][way]).item() / 2, abs=1e-5)


def test_matching_losses_keep_float32_in_a_bf16_training():
    image, caption, classes = torch.randn(8, 32), torch.randn(8, 32), torch.arange(8)
    regions = torch.randn(8, 6, 9)
    sequence, mask = some_captions([4, 2, 3, 5, 1, 2, 3, 3])
    gammas = (4.0, 5.0, 10.0)

    def both() -> tuple[Tensor, ...]:
        return losses.batch_matching_loss(image, caption, classes, 10) + losses.region_loss(
            regions, sequence, mask, classes, gammas
        )

    exact = both()
    with torch.autocast("cpu", torch.bfloat16):
        in_autocast = both()
    torch.testing.assert_close(in_autocast, exact, atol=1e-6, rtol=0)


# Classes


def test_the_class_loss_is_the_cross_entropy_of_both_modalities():
    image = torch.tensor([[log(3.0), 0.0], [0.0, 0.0]])
    caption = torch.tensor([[0.0, 0.0], [0.0, log(4.0)]])
    loss = losses.class_loss(image, caption, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((log(4 / 3) + log(2)) / 2 + (log(2) + log(5 / 4)) / 2)


# Adversarial


@pytest.mark.parametrize("real", [True, False])
def test_bce_on_logits_equals_sigmoid_and_bce_where_that_is_finite(real):
    logits = torch.linspace(-8, 8, 33, dtype=torch.float32)
    expected = F.binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, float(real)))
    assert losses.adversarial_loss(logits, real, "bce").item() == pytest.approx(expected.item(), rel=1e-4)


def test_bce_on_logits_stays_exact_and_learns_where_sigmoid_and_bce_saturates():
    logits = torch.tensor([200.0], requires_grad=True)
    loss = losses.adversarial_loss(logits, False, "bce")
    loss.backward()
    assert loss.item() == 200 and logits.grad.item() == 1
    saturated = torch.tensor([200.0], requires_grad=True)
    F.binary_cross_entropy(saturated.sigmoid(), torch.zeros(1)).backward()
    assert saturated.grad.item() == 0


@pytest.mark.parametrize(
    ("kind", "real", "expected"),
    [
        ("bce", True, (log(1 + exp(2)) + log(2) + log(1 + exp(-3))) / 3),
        ("bce", False, (log(1 + exp(-2)) + log(2) + log(1 + exp(3))) / 3),
        ("hinge", True, (3 + 1 + 0) / 3),
        ("hinge", False, (0 + 1 + 4) / 3),
        ("least_squares", True, (9 + 1 + 4) / 3),
        ("least_squares", False, (4 + 0 + 9) / 3),
    ],
)
def test_adversarial_losses_by_hand(kind, real, expected):
    logits = torch.tensor([-2.0, 0.0, 3.0])
    assert losses.adversarial_loss(logits, real, kind).item() == pytest.approx(expected)


def test_a_generator_wants_its_images_taken_for_real():
    logits = torch.tensor([-2.0, 0.0, 3.0])
    for kind in ("bce", "least_squares"):
        assert losses.generator_loss(logits, kind) == losses.adversarial_loss(logits, True, kind)
    assert losses.generator_loss(logits, "hinge").item() == pytest.approx(-1 / 3)


def test_losses_of_bf16_logits_are_float32():
    logits = torch.randn(4).bfloat16()
    for kind in ("bce", "hinge", "least_squares"):
        assert losses.adversarial_loss(logits, True, kind).dtype == torch.float32
        assert losses.generator_loss(logits, kind).dtype == torch.float32


# Conditioning augmentation


def test_the_augmentation_loss_is_the_mean_divergence_from_a_standard_normal():
    mu, logvar = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, log(3.0)]])
    expected = (0.0 + 0.5 * (3 + 4 - 1 - log(3))) / 2
    assert losses.augmentation_loss(mu, logvar).item() == pytest.approx(expected)
    mu, logvar = torch.randn(5, 7), torch.randn(5, 7)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (0.5 * logvar).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(losses.augmentation_loss(mu, logvar), theirs.mean())


# Penalties


def test_the_squared_gradient_of_a_linear_map_is_the_square_of_its_weights():
    weights, other = torch.randn(3, 2, 2), torch.randn(4)
    images = torch.randn(5, 3, 2, 2, requires_grad=True)
    condition = torch.randn(5, 4, requires_grad=True)
    outputs = (images * weights).sum((1, 2, 3)) + condition @ other
    expected = weights.square().sum()
    torch.testing.assert_close(losses.squared_gradient(outputs, [images]), expected.expand(5))
    both = losses.squared_gradient((images * weights).sum((1, 2, 3)) + condition @ other, [images, condition])
    torch.testing.assert_close(both, (expected + other.square().sum()).expand(5))


def test_the_squared_gradient_of_a_quadratic_map_can_be_learnt_from():
    """d = a |x|^2: gradient 2 a x, penalty mean 4 a^2 |x|^2, derivative by a 8 a |x|^2."""
    scale = torch.tensor(0.5, requires_grad=True)
    values = torch.tensor([[1.0, 2.0], [0.0, 3.0]], requires_grad=True)
    squared = losses.squared_gradient(scale * values.square().sum(1), [values])
    assert squared.tolist() == [5.0, 9.0]
    losses.r1_penalty(squared).backward()
    assert scale.grad.item() == pytest.approx(8 * 0.5 * (5 + 9) / 2)


def test_penalties_of_a_gradients_norm():
    squared = torch.tensor([4.0, 1.0])  # norms 2 and 1
    assert losses.r1_penalty(squared).item() == 2.5
    assert losses.matching_aware_penalty(squared).item() == pytest.approx((2**6 + 1**6) / 2)


# Wrong pairs


def test_a_wrong_partner_is_never_of_the_same_class_and_its_lack_is_reported():
    random = torch.Generator().manual_seed(1)
    for _ in range(200):
        classes = torch.randint(3, (6,), generator=random)
        partner, has_partner = losses.wrong_partner(classes)
        assert (classes[partner] != classes)[has_partner].all()
        there_is = torch.tensor([(classes != label).any() for label in classes])
        assert torch.equal(has_partner, there_is)


def test_the_wrong_partner_is_the_next_one_of_another_class():
    partner, has_partner = losses.wrong_partner(torch.tensor([4, 4, 9, 9, 9]))
    assert partner.tolist() == [2, 2, 0, 0, 0] and has_partner.all()
    _, has_partner = losses.wrong_partner(torch.tensor([4, 4]))
    assert not has_partner.any()
