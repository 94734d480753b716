"""Relations between images: against the formulas written out, by their invariances, and what they cost."""

from __future__ import annotations

import math

import pytest
import torch
from small_networks import generator
from torch import Tensor
from torch.testing import assert_close

from jkbench import maths
from jkbench.errors import UserError

RELATIONS = [maths.similarity, maths.relative_distances, maths.angles]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape or (6, 3), generator=generator(seed), dtype=torch.float64)


def rotation(seed: int) -> Tensor:
    return torch.linalg.qr(drawn(seed, 3, 3)).Q


def test_similarity_by_pencil() -> None:
    # Gram matrix of (3, 4), (4, 3), (0, 0): rows (25, 24, 0), (24, 25, 0), (0, 0, 0)
    found = maths.similarity(torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]]))
    norm = math.hypot(25, 24)
    assert_close(found, torch.tensor([[25, 24, 0], [24, 25, 0], [0, 0, 0]]) / norm)


def test_similarity_does_not_see_rotation_or_scale() -> None:
    features = drawn(1)
    assert_close(maths.similarity(5 * features @ rotation(2)), maths.similarity(features))


def test_distances_and_angles_equal_the_formulas_written_out() -> None:
    features = drawn(3)
    between = features[None] - features[:, None]  # from i to j
    distances = torch.linalg.vector_norm(between, dim=2)
    assert_close(maths.relative_distances(features), distances / distances[distances > 0].mean())
    directions = torch.nn.functional.normalize(between, dim=2)
    assert_close(maths.angles(features), directions @ directions.transpose(1, 2))


@pytest.mark.parametrize("relation", [maths.relative_distances, maths.angles])
def test_distances_and_angles_do_not_see_where_the_embeddings_lie(relation: object) -> None:
    features = drawn(4)
    moved = 0.1 * features @ rotation(5) + drawn(6, 3)
    assert_close(relation(moved), relation(features))  # type: ignore[operator]


def test_angles_hold_far_from_the_origin_in_single_precision() -> None:
    features = drawn(7)
    assert_close(maths.angles((features + 1000).float()).double(), maths.angles(features), rtol=0, atol=2e-3)


@pytest.mark.parametrize("relation", RELATIONS)
def test_equal_and_zero_embeddings_have_finite_values_and_gradients(relation: object) -> None:
    pair = drawn(8)
    pair[1] = pair[0]
    for start in (torch.zeros(6, 3), torch.ones(6, 3), pair.float()):
        features = start.clone().requires_grad_()
        found = relation(features)  # type: ignore[operator]
        found.square().sum().backward()
        assert bool(found.isfinite().all())
        assert features.grad is not None
        assert bool(features.grad.isfinite().all())
        assert features.grad.abs().max() < 100


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_lone_image_has_no_relation(relation: object) -> None:
    with pytest.raises(UserError, match="a batch of one image"):
        relation(torch.ones(1, 3))  # type: ignore[operator]


def test_gradients_equal_finite_differences() -> None:
    features = drawn(9, 4, 3).requires_grad_()
    for relation in RELATIONS:
        assert torch.autograd.gradcheck(relation, features)
    others = ~torch.eye(4, dtype=torch.bool)
    scores = drawn(10, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: maths.noise_contrast(s, torch.arange(4), others), scores)


def test_relations_of_128_images_keep_less_than_100_mb() -> None:
    """What the graph keeps for the backward pass, of embeddings as wide as ResNet-18's."""
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    student, teacher = (torch.randn(128, 512, generator=generator(seed)) for seed in (11, 12))
    for relation in RELATIONS:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            held = maths.huber(relation(student.requires_grad_()), relation(teacher))
        assert bool(held.isfinite())
        assert sum(kept.values()) + relation(teacher).nbytes < 100e6


def test_huber_by_pencil() -> None:
    # differences ½ and 3: ½·¼ and 3 − ½
    assert maths.huber(torch.tensor([0.5, 3.0]), torch.zeros(2)).item() == pytest.approx((0.125 + 2.5) / 2)


def test_mixup_by_pencil() -> None:
    x, order = torch.tensor([[[[1.0]]], [[[3.0]]]]), torch.tensor([1, 0])
    assert maths.mixup(x, torch.tensor([0.25]), order).flatten().tolist() == [2.5, 1.5]
    assert maths.mixup(x, torch.tensor([1.0, 0.5]), order).flatten().tolist() == [1.0, 2.0]


def test_noise_contrast_equals_the_formula_written_out() -> None:
    scores, own = drawn(13, 2, 4), [0, 3]
    others = torch.tensor([[False, True, True, False], [True, True, True, False]])
    expected = 0.0
    for row, (at, negatives) in enumerate(zip(own, [[1, 2], [0, 1, 2]], strict=True)):
        h = [math.exp(s) / (math.exp(s) + len(negatives) / 4) for s in scores[row].tolist()]
        expected -= math.log(h[at]) + sum(math.log(1 - h[j]) for j in negatives)
    assert maths.noise_contrast(scores, torch.tensor(own), others).item() == pytest.approx(expected / 2)


def test_noise_contrast_of_undecided_scores_is_log_2_each() -> None:
    others = torch.tensor([[False, True, True]])
    scores = torch.full((1, 3), math.log(2 / 3))
    assert maths.noise_contrast(scores, torch.tensor([0]), others).item() == pytest.approx(3 * math.log(2))


def test_noise_contrast_of_large_scores_is_finite() -> None:
    scores = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]], requires_grad=True)
    others = ~torch.eye(2, dtype=torch.bool)
    loss = maths.noise_contrast(scores, torch.tensor([1, 0]), others.flip(1))
    loss.backward()
    assert bool(loss.isfinite())
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_class_activation_is_grad_cam_under_average_pooling() -> None:
    features, head = drawn(14, 2, 3, 4, 4).requires_grad_(), drawn(15, 5, 3)
    classes = torch.tensor([4, 1])
    chosen = (features.mean((2, 3)) @ head.T).gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, features)
    grad_cam = (gradient.mean((2, 3), keepdim=True) * features).sum(1).relu()
    assert_close(maths.class_activation(features, head[classes]) / 16, grad_cam)
    with pytest.raises(ValueError, match="3 features, and the map has 2 channels"):
        maths.class_activation(features[:, :2], head[classes])
