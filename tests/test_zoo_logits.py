"""Methods on logits, and the controls of `jacobian`: each by the identity that its docstring names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close
from zoo import LABELS, batch, drawn, method, network, terms

from jkbench import maths
from jkbench.engine.signals import JacobianRows

MINE, THEIRS = drawn(1), drawn(2)


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(p_T ‖ p_S) of probabilities, written out: the mean over the batch."""
    return (teacher * (teacher / student).log()).sum(1).mean()


def test_kd_is_the_published_mixture() -> None:
    found = terms(method("kd"), network(MINE), network(THEIRS))
    assert_close(found["ce"], 0.1 * functional.cross_entropy(MINE, LABELS))
    assert_close(found["kd"], 0.9 * 16 * kl((THEIRS / 4).softmax(1), (MINE / 4).softmax(1)))


def test_kd_at_a_high_temperature_is_distill_centred() -> None:
    centred = [network(z - z.mean(1, keepdim=True)) for z in (MINE, THEIRS)]
    act = terms(method("distill"), *centred)["act"]
    kd = terms(method("kd", kd=1, tau=1e4), network(MINE), network(THEIRS))["kd"]
    assert_close(kd, act / (2 * 5), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["kd", "lskd", "dist"])
def test_on_transfer_the_separate_head_learns_from_the_teacher(name: str) -> None:
    """Labels 0 to 3 train the student's logits; the teacher's five outputs train the other head, and that alone."""
    heads = [drawn(3).requires_grad_(), drawn(4, 4, 7).requires_grad_()]
    student = SimpleNamespace(logits=heads[0], teacher_logits=heads[1])
    found = terms(method(name), student, network(drawn(5, 4, 7)))
    rest = torch.stack([term for key, term in found.items() if key != "ce"]).sum()
    assert torch.autograd.grad(rest, heads, allow_unused=True)[0] is None
    assert torch.autograd.grad(found["ce"], heads, allow_unused=True)[1] is None


def test_lskd_does_not_see_an_affine_map_of_either_network() -> None:
    made = method("lskd")
    plain = terms(made, network(MINE), network(THEIRS))["kd"]
    assert_close(terms(made, network(3 * MINE - 1), network(0.2 * THEIRS + 4))["kd"], plain, rtol=1e-5, atol=0)
    standard = [(z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) for z in (THEIRS, MINE)]
    expected = 9 * 4 * kl(*((z / 2).softmax(1) for z in standard))
    assert_close(plain, expected, rtol=1e-5, atol=0)


def test_dist_is_one_minus_the_correlation_of_rows_and_columns() -> None:
    found = terms(method("dist", tau=4), network(MINE), network(THEIRS))
    mine, theirs = ((z / 4).softmax(1) for z in (MINE, THEIRS))
    rows = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(mine, theirs, strict=True)])
    columns = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(mine.T, theirs.T, strict=True)])
    assert_close(found["inter"], 2 * 16 * (1 - rows.mean()), rtol=1e-4, atol=0)
    assert_close(found["intra"], 2 * 16 * (1 - columns.mean()), rtol=1e-4, atol=0)
    same = terms(method("dist"), network(MINE), network(MINE))
    assert same["inter"].item() == pytest.approx(0, abs=1e-5)


def test_label_smoothing_spreads_a_share_over_all_classes() -> None:
    found = terms(method("label-smoothing", alpha=0.3), network(MINE))["ce"]
    uniform = -MINE.log_softmax(1).mean()
    assert_close(found, 0.7 * functional.cross_entropy(MINE, LABELS) + 0.3 * uniform)
    assert_close(
        terms(method("label-smoothing", alpha=0), network(MINE))["ce"], terms(method("scratch"), network(MINE))["ce"]
    )


def test_tf_kd_at_temperature_1_trains_as_label_smoothing_does() -> None:
    """KL(p_D ‖ p_S) is the cross-entropy of smooth labels but for a constant: alpha = (1 − correct)·K/(K − 1)."""
    gradients = []
    for made in (method("tf-kd", ce=0, kd=1, correct=0.9, tau=1), method("label-smoothing", alpha=0.1 * 5 / 4)):
        logits = MINE.clone().requires_grad_()
        (term,) = terms(made, network(logits)).values()
        gradients += torch.autograd.grad(term, logits)
    assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)


def test_tf_kd_softens_the_hand_made_teacher_and_not_its_probabilities() -> None:
    by_hand = torch.full((4, 5), 0.01 / 4).scatter(1, LABELS[:, None], 0.99).double()
    softened = by_hand ** (1 / 20)
    softened = softened / softened.sum(1, keepdim=True)
    found = terms(method("tf-kd"), network(MINE))["kd"]
    assert_close(found, 0.1 * 400 * kl(softened, (MINE / 20).softmax(1)), rtol=1e-4, atol=0)


def test_funmatch_mixes_whole_images_and_matches_what_both_networks_say() -> None:
    made, x = method("funmatch"), drawn(6, 4, 1, 2, 2)
    mixed = made.inputs(batch(x=x))
    share = torch.linalg.lstsq(x.flatten(1).T, mixed.flatten(1).T).solution  # of each image in each mixture
    assert_close(share.sum(0), torch.ones(4).double())
    assert_close(share.T @ x.flatten(1), mixed.flatten(1))
    assert bool((share > -1e-9).all())
    kept = share.diagonal()
    assert (kept < 1).any()
    found = terms(made, network(MINE), network(THEIRS))
    assert list(found) == ["kd"]
    assert_close(found["kd"], terms(method("kd", ce=0, kd=1, tau=1), network(MINE), network(THEIRS))["kd"])


def of_matrices(jacobian: Tensor, logits: Tensor) -> Any:
    """A network with this Jacobian, B×K×D: rows are read from it as signals read them."""

    def rows(choice: str) -> JacobianRows:
        assert choice in ("auto", "full")
        every = torch.arange(jacobian.shape[1]).expand(len(jacobian), -1)
        return JacobianRows(every if choice == "full" else LABELS[:, None], name=choice)

    def read(rows: JacobianRows) -> Tensor:
        return jacobian.gather(1, rows.index[:, :, None].expand(-1, -1, jacobian.shape[2]))

    return network(logits, rows=rows, jacobian=read)


STUDENT, TEACHER = of_matrices(drawn(7, 4, 5, 6), MINE), of_matrices(drawn(8, 4, 5, 6), THEIRS)


def test_a_shuffled_jacobian_is_never_the_images_own() -> None:
    own = STUDENT.jacobian(STUDENT.rows("auto"))
    for seed in range(20):
        noise = torch.Generator().manual_seed(seed)
        # where both networks agree, only another image's Jacobian can differ
        found = terms(method("shuffled-jacobian"), STUDENT, STUDENT, noise=noise)["jac"]
        moved = [(own - own.roll(by, 0)).square().sum((1, 2)).mean() for by in (1, 2, 3)]
        assert any(torch.isclose(found, each) for each in moved)
        assert found > 0


def test_a_shuffled_jacobian_of_equal_images_is_the_jacobian() -> None:
    alike = [of_matrices(drawn(seed, 1, 5, 6).expand(4, -1, -1), drawn(seed, 1, 5).expand(4, -1)) for seed in (9, 10)]
    y = torch.zeros(4, dtype=torch.long)
    for each in alike:
        each.rows = lambda choice: JacobianRows(y[:, None])
    found, plain = (terms(method(name), *alike, y=y) for name in ("shuffled-jacobian", "jacobian"))
    assert_close(found, plain)


def test_random_rows_estimate_the_full_jacobian() -> None:
    full = terms(method("jacobian", rows="full"), STUDENT, TEACHER)["jac"]
    assert_close(terms(method("jacobian-random-rows", count=5), STUDENT, TEACHER)["jac"], full)
    assert_close(terms(method("jacobian-random-rows", count=50), STUDENT, TEACHER)["jac"], full)
    noise = torch.Generator().manual_seed(1)
    for count in (1, 2):
        made = method("jacobian-random-rows", count=count)
        draws = torch.stack([terms(made, STUDENT, TEACHER, noise=noise)["jac"] for _ in range(400)])
        error = draws.std() / 20
        assert error < 0.05 * full
        assert abs(draws.mean() - full) < 4 * error


def test_random_rows_are_live_and_differ_between_images() -> None:
    seen: list[JacobianRows] = []
    teacher = of_matrices(drawn(8, 4, 5, 6), THEIRS)
    read = teacher.jacobian
    teacher.jacobian = lambda rows: seen.append(rows) or read(rows)
    terms(method("jacobian-random-rows", count=2), STUDENT, teacher)
    assert seen[0].name is None  # a name would read cached rows of another choice
    assert all(len(set(row)) == 2 for row in seen[0].index.tolist())
    assert len({tuple(row) for row in seen[0].index.tolist()}) > 1


@pytest.mark.parametrize("name", ["kd", "lskd", "dist", "label-smoothing", "tf-kd", "funmatch"])
def test_a_weight_is_of_a_mean_over_the_batch(name: str) -> None:
    """A batch said twice has the same terms."""
    once = terms(method(name), network(MINE), network(THEIRS))
    twice = terms(method(name), *(network(z.repeat(2, 1)) for z in (MINE, THEIRS)), y=LABELS.repeat(2))
    assert_close(twice, once)


@pytest.mark.parametrize("name", ["kd", "lskd", "dist", "label-smoothing", "tf-kd", "funmatch"])
@pytest.mark.parametrize("size", [0.0, 100.0])
def test_equal_and_confident_logits_give_finite_gradients(name: str, size: float) -> None:
    logits = torch.full((4, 5), size).requires_grad_()
    confident = network(1e3 * functional.one_hot(LABELS, 5).float())
    total = torch.stack(list(terms(method(name), network(logits), confident).values())).sum()
    total.backward()
    assert bool(total.isfinite())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert maths.squared_norm(logits.grad[:, None]) > 0
