"""The estimators of Jacobian matching: each against its definition, and unbiased where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch
from small_networks import generator, images, normed, smooth
from torch import Tensor
from torch.testing import assert_close

from jkbench import maths
from jkbench.engine.loop import Loop
from jkbench.engine.signals import Signals
from jkbench.models.batchnorm import recorded_inputs, statistics_of
from jkbench.plugins.discovery import Index
from jkbench.plugins.method import Method


def test_j_u_equals_torchs_forward_mode() -> None:
    network, x = smooth(1), images(4, 2)
    u = images(4, 3)
    leaf = x.clone().requires_grad_()
    ours = maths.jacobian_vector(network(leaf), leaf, u, create_graph=True)
    _, expected = torch.func.jvp(network, (x,), (u,))
    assert_close(ours, expected)
    weight = next(network.parameters())
    (found,) = torch.autograd.grad(ours.square().sum(), weight)
    stepped = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0, 1, 1] += sign * 1e-6
            stepped.append(float(torch.func.jvp(network, (x,), (u,))[1].square().sum()))
            weight[0, 0, 1, 1] -= sign * 1e-6
    assert found[0, 0, 1, 1].item() == pytest.approx((stepped[0] - stepped[1]) / 2e-6, rel=1e-5)


def test_j_u_is_an_unbiased_estimate_of_the_full_match() -> None:
    """E‖(J_T − J_S)u‖² = ‖J_T − J_S‖², within four standard errors of the Monte Carlo estimate."""
    student, teacher, x = smooth(4), smooth(5), images(1, 6)
    full = sum(
        (maths.full_jacobian(student(leaf), leaf, False) - maths.full_jacobian(teacher(leaf), leaf, False))
        .square()
        .sum()
        for leaf in [x.clone().requires_grad_()]
    )
    u = torch.randn(4000, *x.shape[1:], generator=generator(7), dtype=torch.float64)
    many = x.repeat(4000, 1, 1, 1)
    difference = torch.func.jvp(lambda z: student(z) - teacher(z), (many,), (u,))[1]
    drawn = difference.square().sum(1)
    assert abs(float((drawn.mean() - full).detach())) < 4 * float(drawn.detach().std()) / 4000**0.5


def loop_of(index: Index, folder: Path, parameters: str, kind: str = "distillation") -> tuple[Loop, Method]:
    loop, method, *_ = small.loop_of(small.trial(index, f"jacobian[{parameters}]", kind), folder)
    loop.student.train()
    return loop, method


def term(loop: Loop, method: Method) -> Tensor:
    batch = loop.batch(0)
    return dict(method.loss(batch, *loop.signals(batch)))["jac"]


ROWS = ["forward", "differences", "projection", "full", "top", "largest"]


@pytest.mark.parametrize(
    ("rows", "kind"), [("correct", "distillation"), *((r, k) for r in ROWS for k in ("distillation", "transfer"))]
)
def test_every_estimator_trains_the_student(index: Index, references: Path, rows: str, kind: str) -> None:
    loop, method = loop_of(index, references, f"rows={rows}", kind)
    value = term(loop, method)
    # what no Jacobian of the teacher's outputs can reach: the head for the student's own labels, its bias, and the bias
    gradients = torch.autograd.grad(value, list(loop.student.parameters()), allow_unused=True)
    first = gradients[0]
    assert first is not None
    assert float(first.abs().max()) > 0
    assert value.isfinite()


def test_differences_are_j_u_of_the_training_passes_statistics() -> None:
    """Per-sample: the statistics are those of the unmoved batch."""
    network, x, u = normed(8).train(), images(5, 9), images(5, 10)
    step = 1e-6
    with recorded_inputs(network) as inputs:
        network(x)
    with statistics_of(network, inputs):
        here = network(x)
    with statistics_of(network, inputs):
        there = network(x + step * u)
    leaf = x.clone().requires_grad_()
    with statistics_of(network, inputs):
        product = maths.jacobian_vector(network(leaf), leaf, u, create_graph=False)
    assert_close((there - here) / step, product, rtol=1e-4, atol=1e-6)


def test_signals_differences_tend_to_signals_products(index: Index, references: Path) -> None:
    loop, _ = loop_of(index, references, "rows=differences")
    loop.student.double()
    batch = loop.batch(0)
    # not the digits themselves: their even ground makes ties in max-pooling, where a difference is no derivative
    x, u = (torch.randn(batch.x.shape, generator=generator(at), dtype=torch.float64) for at in (11, 12))
    before = {name: value.clone() for name, value in loop.student.state_dict().items() if "num_batches" in name}
    signals = Signals(loop.student, x, batch.y, loop.program.setting, True)
    product, difference = signals.forward_product(u), signals.difference(u, 1e-7)
    assert_close(difference, product, rtol=1e-4, atol=1e-5)
    after = {name: value for name, value in loop.student.state_dict().items() if "num_batches" in name}
    assert all(int(after[name]) == int(before[name]) + 1 for name in before)  # one training pass, whatever else was run
    unrecorded = Signals(loop.student, x, batch.y, loop.program.setting, True, record=False)
    assert_close(unrecorded.difference(u, 1e-7), difference)
    assert unrecorded.took_jacobian


def test_top_takes_as_many_rows_as_it_says(index: Index, references: Path) -> None:
    values = {}
    for count in (1, 2, 5):
        loop, method = loop_of(index, references, f"rows=top,top={count}")
        values[count] = float(term(loop, method).detach())
    loop, method = loop_of(index, references, "rows=largest")
    assert values[1] == pytest.approx(float(term(loop, method).detach()))
    loop, method = loop_of(index, references, "rows=full")
    assert values[5] == pytest.approx(float(term(loop, method).detach()), rel=1e-5)  # five classes
    assert values[1] < values[2] < values[5]


@pytest.mark.parametrize("rows", ["correct", "full", "differences"])
def test_mean_divides_by_how_many_numbers_are_compared(index: Index, references: Path, rows: str) -> None:
    values = []
    for mean in ("false", "true"):
        loop, method = loop_of(index, references, f"rows={rows},mean={mean}")
        values.append(float(term(loop, method).detach()))
    pixels, classes = loop.batches.images.images[0].numel(), 5
    compared = {"correct": pixels, "full": classes * pixels, "differences": classes}[rows]
    assert values[0] == pytest.approx(compared * values[1], rel=1e-5)


def test_normalise_compares_directions(index: Index, references: Path) -> None:
    loop, method = loop_of(index, references, "normalise=true")
    batch = loop.batch(0)
    student, teacher = loop.signals(batch)
    assert teacher is not None
    mine, theirs = (s.jacobian(teacher.rows("correct"))[:, 0] for s in (student, teacher))
    unit = [row / row.norm(dim=1, keepdim=True) for row in (mine, theirs)]
    assert_close(dict(method.loss(batch, student, teacher))["jac"], (unit[0] - unit[1]).square().sum(1).mean())
