"""Methods on embeddings, maps and explanations: each by the identity that its docstring names."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close
from zoo import LABELS, batch, drawn, method, network, terms

from jkbench import maths
from jkbench.engine.signals import JacobianRows
from jkbench.errors import UserError

MINE, THEIRS = drawn(1), drawn(2)


def of_maps(*maps: Tensor, **signals: Any) -> Any:
    """A network whose matched layers have these maps, and whose last layer is the last of them."""
    return network(
        drawn(3), features=lambda layers: list(maps), layers=("stage",), features_of=lambda name: maps[-1], **signals
    )


def of_embedding(embedding: Tensor, labels: Tensor = LABELS, **signals: Any) -> Any:
    return network(drawn(4), embedding=embedding, subset=SimpleNamespace(labels=labels), **signals)


def fitted(name: str, student: Any, teacher: Any, **parameters: Any) -> Any:
    """The method, with its modules made and given to the student, in float64."""
    made = method(name, **parameters)
    student.modules = {key: module.double() for key, module in made.modules(student, teacher).items()}
    return made


# ------------------------------------------------------------------------------------------------------------- logits


def test_dkd_with_equal_weights_is_kd_where_the_teacher_is_sure_of_nothing_else() -> None:
    found = terms(method("dkd", tau=1), network(MINE), network(THEIRS))
    p, q = THEIRS.softmax(1), MINE.softmax(1)
    pairs = [torch.stack([each.gather(1, LABELS[:, None])[:, 0]] * 2, 1) for each in (p, q)]
    b_teacher, b_student = (torch.stack([pair[:, 0], 1 - pair[:, 0]], 1) for pair in pairs)
    assert_close(found["target"], (b_teacher * (b_teacher / b_student).log()).sum(1).mean())
    whole = (p * (p / q).log()).sum(1)
    target = (b_teacher * (b_teacher / b_student).log()).sum(1)
    assert_close(found["others"], 8 * ((whole - target) / b_teacher[:, 1]).mean())


def test_dkd_warms_up_over_a_twelfth_of_training() -> None:
    made, pair = method("dkd"), (network(MINE), network(THEIRS))
    full = terms(made, *pair, progress=0.5)
    early = terms(made, *pair, progress=1 / 48)
    assert_close(early["target"], full["target"] / 4)
    assert_close(early["others"], full["others"] / 4)
    assert_close(early["ce"], full["ce"])
    assert_close(terms(method("dkd", warmup=0), *pair, progress=1e-9), full)


# --------------------------------------------------------------------------------------------------------------- maps


def test_fitnets_is_zero_where_the_hint_is_a_linear_map_of_the_students_channels() -> None:
    maps, mix = drawn(5, 4, 2, 3, 3), drawn(6, 4, 2)
    student, teacher = of_maps(maps), of_maps(torch.einsum("oc,bchw->bohw", mix, maps) + 1)
    made = fitted("fitnets", student, teacher)
    assert terms(made, student, teacher)["hint"] > 0
    with torch.no_grad():
        student.modules["r"][0].weight.copy_(mix[:, :, None, None])
        student.modules["r"][0].bias.fill_(1)
    assert terms(made, student, teacher)["hint"].item() == pytest.approx(0, abs=1e-12)
    student.modules["r"][0].bias.data += 0.5  # off by ½ everywhere: 100 · ¼
    assert terms(made, student, teacher)["hint"].item() == pytest.approx(25)


def test_fitnets_has_a_stage_of_hints_alone() -> None:
    student, teacher = of_maps(drawn(5, 4, 2, 3, 3)), of_maps(drawn(6, 4, 3, 3, 3))
    made = fitted("fitnets", student, teacher, stage=0.3)
    assert list(terms(made, student, teacher, progress=0.3)) == ["hint"]
    assert list(terms(made, student, teacher, progress=0.31)) == ["ce", "hint"]


def test_vid_with_a_fixed_variance_is_a_squared_error() -> None:
    student, teacher = of_maps(drawn(5, 4, 2, 3, 3)), of_maps(drawn(6, 4, 3, 3, 3))
    made = fitted("vid", student, teacher)
    (given,) = student.modules["given"]
    error = (given.mean(student.features("all")[0]) - teacher.features("all")[0]).square().mean()
    variance = 5 + 1e-5
    assert_close(terms(made, student, teacher)["vid"], error / (2 * variance) + math.log(variance) / 2)


def test_vid_is_smallest_where_the_variance_is_the_mean_squared_error_of_a_channel() -> None:
    student, teacher = of_maps(drawn(5, 4, 2, 3, 3)), of_maps(drawn(6, 4, 3, 3, 3))
    made = fitted("vid", student, teacher)
    (given,) = student.modules["given"]
    error = (given.mean(student.features("all")[0]) - teacher.features("all")[0]).square().mean((0, 2, 3)).detach()
    with torch.no_grad():
        given.a.copy_(torch.log(torch.expm1(error - 1e-5)))
    (gradient,) = torch.autograd.grad(terms(made, student, teacher)["vid"], given.a)
    assert_close(gradient, torch.zeros(3).double(), atol=1e-9, rtol=0)


def test_sp_is_the_published_loss_at_64_images() -> None:
    """3000·‖G_S − G_T‖²/B², with G written out."""
    maps = [drawn(seed, 64, 2, 3, 3) for seed in (7, 8)]
    grams = [functional.normalize(m.flatten(1) @ m.flatten(1).T) for m in maps]
    found = terms(method("sp", ce=0, sp=3000 / 64), *map(of_maps, maps))
    assert_close(found["sp"], 3000 * (grams[0] - grams[1]).square().sum() / 64**2)
    assert method("sp").sp == round(3000 / 64)


def test_sp_does_not_see_an_orthogonal_map() -> None:
    maps, turn = drawn(9, 4, 6), torch.linalg.qr(drawn(10, 6, 6)).Q
    student = of_maps((3 * maps @ turn).view(4, 6, 1, 1))
    assert terms(method("sp"), student, of_maps(maps.view(4, 6, 1, 1)))["sp"].item() == pytest.approx(0, abs=1e-9)


# --------------------------------------------------------------------------------------------------------- embeddings


def test_rkd_does_not_see_where_the_embeddings_lie() -> None:
    made, embedding, turn = method("rkd"), drawn(11, 4, 3), torch.linalg.qr(drawn(12, 3, 3)).Q
    same = terms(made, of_embedding(0.3 * embedding @ turn + 7), of_embedding(embedding))
    assert same["distance"].item() == pytest.approx(0, abs=1e-9)
    assert same["angle"].item() == pytest.approx(0, abs=1e-9)


def test_rkd_is_the_published_loss() -> None:
    """Written out with norms of differences, as in the paper; the two widths differ."""
    embeddings = [drawn(13, 4, 3), drawn(14, 4, 6)]
    between = [e[None] - e[:, None] for e in embeddings]
    lengths = [each.norm(dim=2) for each in between]
    relative = [each / each[each > 0].mean() for each in lengths]
    cosines = [functional.normalize(each, dim=2) for each in between]
    cosines = [each @ each.transpose(1, 2) for each in cosines]
    found = terms(method("rkd"), *map(of_embedding, embeddings))
    assert_close(found["distance"], 25 * functional.smooth_l1_loss(*relative))
    assert_close(found["angle"], 50 * functional.smooth_l1_loss(*cosines))


def contrasted(**parameters: Any) -> tuple[Any, Any, Any]:
    student, teacher = (
        of_embedding(drawn(15, 4, 3).requires_grad_(), torch.tensor([0, 2, 1, 3, 0, 1])),
        of_embedding(drawn(16, 4, 5)),
    )
    return fitted("crd", student, teacher, dimension=8, **parameters), student, teacher


def test_crd_contrasts_both_ways_with_every_image_of_another_class() -> None:
    made, student, teacher = contrasted()
    contrast = student.modules["contrast"]
    memories = contrast.mine.clone(), contrast.theirs.clone()
    mine, theirs = (functional.normalize(linear(each.embedding)) for linear, each in
                    zip(contrast.linear, (student, teacher), strict=True))  # fmt: skip
    expected = 0.0
    for anchors, memory in ((mine, memories[1]), (theirs, memories[0])):
        for image in range(4):
            negatives = [j for j in range(6) if contrast.labels[j] != LABELS[image]]
            h = [torch.exp(anchors[image] @ m / 0.07) for m in memory]
            h = [each / (each + len(negatives) / 6) for each in h]
            expected -= (h[image].log() + sum((1 - h[j]).log() for j in negatives)) / 4
    found = terms(made, student, teacher)["crd"]
    assert_close(found, 0.8 * expected)
    assert torch.autograd.grad(found, student.embedding)[0].abs().sum() > 0
    moved = functional.normalize(0.5 * memories[0][:4] + 0.5 * mine.detach())
    assert_close(contrast.mine, torch.cat([moved, memories[0][4:]]))
    assert_close(contrast.theirs[4:], memories[1][4:])
    assert_close(contrast.theirs.norm(dim=1), torch.ones(6).double())


def test_crd_draws_as_many_images_of_other_classes_as_it_is_told() -> None:
    made, student, _ = contrasted(negatives=2)
    labels = student.modules["contrast"].labels
    drawn_ones = [made.others(batch(noise=torch.Generator().manual_seed(seed)), labels) for seed in range(20)]
    for others in drawn_ones:
        assert others.sum(1).tolist() == [2] * 4
        assert not bool((others & (labels == LABELS[:, None])).any())
    assert len({tuple(others.flatten().tolist()) for others in drawn_ones}) > 1


def test_crd_refuses_more_negatives_than_there_are_images_of_other_classes() -> None:
    contrasted(negatives=4)
    with pytest.raises(UserError, match="only 4 images of other classes") as refused:
        contrasted(negatives=5)
    assert "negatives=4 or fewer" in str(refused.value.hint)
    lone = of_embedding(drawn(15, 4, 3), torch.zeros(4).long())
    with pytest.raises(UserError, match="only 0 images"):
        fitted("crd", lone, lone)


# ------------------------------------------------------------------------------------------------------- explanations


def explained(width: int, head: Tensor, seed: int) -> Any:
    """Maps, global average pooling and a linear head: what Grad-CAM is defined on."""
    maps = drawn(seed, 4, width, 2, 2).abs().requires_grad_()
    logits = maps.mean((2, 3)) @ head.T
    rows = JacobianRows(maths.largest_rows(logits))
    return network(
        logits, layers=("stage",), features_of=lambda name: maps, head_weight=head, rows=lambda choice: rows, maps=maps
    )


def grad_cam(each: Any, classes: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(each.logits.gather(1, classes).sum(), each.maps, retain_graph=True)
    return (gradient.mean((2, 3), keepdim=True) * each.maps).sum(1, keepdim=True).relu()


def test_e2kd_compares_grad_cam_of_the_teachers_class() -> None:
    student, teacher = explained(3, drawn(17, 5, 3), 18), explained(4, drawn(19, 5, 4), 20)
    classes = teacher.logits.argmax(1, keepdim=True)
    mine, theirs = (functional.interpolate(grad_cam(each, classes), (6, 6), mode="bilinear").flatten(1) for each in
                    (student, teacher))  # fmt: skip
    expected = 1 - functional.cosine_similarity(mine, theirs).mean()
    found = terms(method("e2kd"), student, teacher, x=drawn(21, 4, 1, 6, 6))
    assert list(found) == ["kd", "explanation"]
    assert_close(found["explanation"], expected)


def test_e2kd_by_gradient_is_half_of_the_normalised_jacobian() -> None:
    jacobians = [drawn(22, 4, 1, 6), drawn(23, 4, 1, 6)]
    rows = JacobianRows(THEIRS.argmax(1, keepdim=True))
    pair = [network(z, jacobian=lambda rows, j=j: j, rows=lambda choice: rows) for z, j in
            zip((MINE, THEIRS), jacobians, strict=True)]  # fmt: skip
    found = terms(method("e2kd", by="gradient"), *pair)["explanation"]
    assert_close(found, terms(method("jacobian", rows="largest", normalise=True), *pair)["jac"] / 2)


def test_e2kd_refuses_a_head_that_does_not_read_the_last_map() -> None:
    teacher = explained(4, drawn(19, 5, 4), 20)
    teacher.head_weight = drawn(24, 5, 1280)
    with pytest.raises(UserError, match="reads 1280 features, and the map has 4 channels") as refused:
        terms(method("e2kd"), explained(3, drawn(17, 5, 3), 18), teacher)
    assert "by=gradient" in str(refused.value.hint)


# ------------------------------------------------------------------------------------------------------------ all zero


@pytest.mark.parametrize("name", ["fitnets", "vid", "sp", "rkd", "crd", "e2kd"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_and_zero_features_give_finite_values_and_gradients(name: str, value: float) -> None:
    maps, embedding = (torch.full(shape, value).double().requires_grad_() for shape in ((4, 3, 2, 2), (4, 3)))
    rows = JacobianRows(LABELS[:, None])
    student, teacher = (
        of_maps(m, embedding=e, subset=SimpleNamespace(labels=LABELS), head_weight=drawn(25, 5, 3), rows=lambda c: rows)
        for m, e in ((maps, embedding), (maps.detach(), embedding.detach()))
    )
    total = torch.stack(list(terms(fitted(name, student, teacher), student, teacher).values())).sum()
    assert bool(total.isfinite())
    for gradient in torch.autograd.grad(total, [maps, embedding], allow_unused=True):
        assert gradient is None or bool(gradient.isfinite().all())


def test_vid_trains_its_variance() -> None:
    """And every other number of its modules; mdistiller leaves the variance out."""
    student, teacher = of_maps(drawn(5, 4, 2, 3, 3)), of_maps(drawn(6, 4, 3, 3, 3))
    made = fitted("vid", student, teacher)
    parameters = list(nn.ModuleDict(student.modules).parameters())
    gradients = torch.autograd.grad(terms(made, student, teacher)["vid"], parameters)
    assert all(bool((gradient != 0).any()) for gradient in gradients)
