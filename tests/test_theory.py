"""The theory's checks: the forms against an independent Laplacian, and the fast version of `jkbench theory`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import CLASSES, generator
from torch import Tensor, nn
from torch.nn import functional

from jkbench.cli import cli
from jkbench.maths import bound, noise
from jkbench.maths.noise import expansion, softmaxed
from jkbench.papers.theory import expansions, figure, transfer
from jkbench.papers.theory.expansions import STATEMENTS, checks
from jkbench.papers.theory.measured import Side
from jkbench.report.figures import save

D = 5


def smooth(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(D, 7), nn.Tanh(), nn.Linear(7, CLASSES)).double()
    with torch.no_grad():
        for weight in network.parameters():  # curved enough for the Laplacians to matter
            weight.mul_(2.5)
    return network


@pytest.mark.parametrize("statement", STATEMENTS, ids=[statement.name for statement in STATEMENTS])
def test_the_whole_forms_are_half_the_laplacian_of_the_loss(statement: expansions.Statement) -> None:
    """An independent computation: the Laplacian of the scalar loss, one second difference a pixel."""
    teacher, student = smooth(1), smooth(2)
    x = torch.randn(D, generator=generator(3), dtype=torch.float64)
    y = functional.one_hot(torch.tensor(1), CLASSES).double()

    def loss(point: Tensor) -> Tensor:
        return statement.loss(teacher(point), student(point), y)

    step, laplacian = 1e-3, 0.0
    with torch.no_grad():
        for axis in torch.eye(D, dtype=torch.float64):
            laplacian += float(loss(x + step * axis) + loss(x - step * axis) - 2 * loss(x)) / step**2
    parts = (expansion(each, x) for each in (teacher, student, softmaxed(teacher), softmaxed(student)))
    y_and_parts = (y, *parts)
    assert float(statement.whole(*y_and_parts).detach()) == pytest.approx(laplacian / 2, rel=1e-4)
    assert float(statement.printed(*y_and_parts).detach()) != pytest.approx(laplacian / 2, rel=2e-4)


def test_monte_carlo_of_a_quadratic_is_exact() -> None:
    """f = ‖x‖²: E f(x + ξ) − f(x) = σ² D, whatever x is."""
    x = torch.arange(D, dtype=torch.float64)
    mean, error = noise.monte_carlo(lambda p: p.square().sum(-1), x, 0.3, 20_000, generator(4))
    assert abs(mean - D) < 4 * error
    assert error < 0.05


def test_the_printed_equations_do_not_match_and_the_whole_ones_do() -> None:
    """The fast version of the page, on networks of digits."""
    found = list(checks(images=3, draws=3000, steps=150))
    assert len(found) == 16
    assert all(check.whole_agrees for check in found), [c for c in found if not c.whole_agrees]
    equations = [check for check in found if check.statement.startswith("Equation")]
    assert len(equations) == 8
    assert not any(check.printed_agrees for check in equations if check.networks != "random, smooth")
    propositions = [check for check in found if check.statement.startswith("Proposition")]
    assert all(check.printed_agrees for check in propositions if "piecewise linear" in check.networks)
    assert not any(check.printed_agrees for check in propositions if check.networks == "trained, smooth")


def test_what_noise_adds_at_ties_is_of_order_sigma() -> None:
    coarse, middle, fine = expansions.at_ties(images=4, draws=400, steps=150).values()
    assert 3 < middle / coarse < 30
    assert 3 < fine / middle < 30


def test_hausdorff_by_pencil() -> None:
    source = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    target = torch.tensor([[0.0, 0.0]])
    assert bound.hausdorff(source, target) == pytest.approx(5.0)
    assert bound.hausdorff(target, source) == 0.0  # one-sided
    values = torch.tensor([0.0, 10.0, 1.0])
    assert bound.lipschitz(values, source) == pytest.approx(2.0124612)  # 9 over the distance √20 of the last two
    side = Side("pixels", 5.0, 5.0, 2.0124612, source_mean=11 / 3, source_max=10.0, target_max=0.0)
    assert side.right == pytest.approx(10.062306)
    assert side.holds


def test_hausdorff_against_all_pairs() -> None:
    source = torch.randn(2100, 4, generator=generator(5))
    target = torch.randn(30, 4, generator=generator(6))
    brute = max(min(float((a - b).norm()) for b in target) for a in source[::7])
    assert bound.hausdorff(source[::7], target) == pytest.approx(brute, rel=1e-5)
    assert bound.hausdorff(source, target) >= brute - 1e-6


def test_the_bound_holds_and_copies_only_tighten() -> None:
    found = transfer.bounds(sizes=(10, 100), steps=100)
    assert all(side.holds and side.copies_tighten for _, side in found)
    pixels = [side.distance for _, side in found if side.space == "pixels"]
    assert pixels == sorted(pixels, reverse=True)
    assert pixels[-1] == 0  # the target is the source


def test_jacobians_and_noise_help_the_one_dimensional_student() -> None:
    errors = {student.name: student.error for student in figure.students(400)}
    assert errors["values and Jacobians"] < 0.5 * errors["values"]
    first, again = (save(lambda: figure.draw(figure.students(5))) for _ in range(2))
    assert first == again


def test_the_command_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["theory", "--quick", "--out", str(tmp_path)], standalone_mode=False)
    out = capsys.readouterr().out
    assert code == 0, out
    assert "transfer bound and lemma: 8 of 8 hold" in out
    text = (tmp_path / "theory.md").read_text()
    assert "Equation 2: `−sum_i T^s_i log S^s_i`, trained, smooth" in text
    assert (tmp_path / "theory.png").is_file()
