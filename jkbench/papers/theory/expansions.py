"""Propositions 1 and 2 and equations 2 and 3 against Monte Carlo, as printed and whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench.maths import noise
from jkbench.maths.noise import Expansion, expansion, softmaxed
from jkbench.papers.theory.networks import CLASSES, PIXELS, Digits, Kind, digits, pair

SIGMA: dict[Kind, float] = {"smooth": 0.02, "piecewise linear": 1e-5}
"""Deviation of the noise: small against the curvature of the one, and against the distance to the next kink of the
other."""
JITTER = 0.3
"""Deviation of one fixed noise on the images that the statements are checked at: on its even ground a digit itself lies
on kinks (see `at_ties`)."""
LIMIT = 4.0
"""Standard errors that a form may lie from the measurement and still agree with it."""


@dataclass(frozen=True)
class Check:
    """One statement on one pair of networks: the coefficient of σ², averaged over images."""

    statement: str
    networks: str
    measured: float
    error: float
    printed: float
    whole: float

    @property
    def printed_agrees(self) -> bool:
        """Whether the printed form lies within `LIMIT` standard errors of the measurement."""
        return abs(self.printed - self.measured) <= LIMIT * self.error

    @property
    def whole_agrees(self) -> bool:
        """Whether the whole second-order term does."""
        return abs(self.whole - self.measured) <= LIMIT * self.error


Form = Callable[[Tensor, Expansion, Expansion, Expansion, Expansion], Tensor]
"""One coefficient, of (label, teacher, student, softmaxed teacher, softmaxed student)."""


@dataclass(frozen=True)
class Statement:
    """A loss of teacher logits, student logits and label (N×k each → N), and its two forms."""

    name: str
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    printed: Form
    whole: Form


STATEMENTS = [
    Statement(
        "Proposition 1: sum_i (T_i − S_i)²",
        lambda t, s, y: (t - s).square().sum(-1),
        lambda y, t, s, tp, sp: noise.squared_error_printed(t, s),
        lambda y, t, s, tp, sp: noise.squared_error_whole(t, s),
    ),
    Statement(
        "Equation 2: −sum_i T^s_i log S^s_i",
        lambda t, s, y: -(t.softmax(-1) * s.log_softmax(-1)).sum(-1),
        lambda y, t, s, tp, sp: noise.cross_entropy_printed(tp, sp),
        lambda y, t, s, tp, sp: noise.cross_entropy_whole(tp, sp),
    ),
    Statement(
        "Proposition 2: sum_i (y_i − S_i)²",
        lambda t, s, y: (y - s).square().sum(-1),
        lambda y, t, s, tp, sp: noise.label_error_printed(y, s),
        lambda y, t, s, tp, sp: noise.label_error_whole(y, s),
    ),
    Statement(
        "Equation 3: −log S^s_c",
        lambda t, s, y: -(y * s.log_softmax(-1)).sum(-1),
        lambda y, t, s, tp, sp: noise.label_cross_entropy_printed(y, sp),
        lambda y, t, s, tp, sp: noise.label_cross_entropy_whole(y, sp),
    ),
]


def checks(images: int = 12, draws: int = 20_000, steps: int = 400, data: Digits | None = None) -> Iterator[Check]:
    """Every statement on random and trained pairs, smooth and piecewise linear, on test images."""
    data = data or digits()
    stream = torch.Generator().manual_seed(0)
    for kind, sigma in SIGMA.items():
        for trained in (False, True):
            teacher, student = pair(kind, trained, steps, data)
            named = f"{'trained' if trained else 'random'}, {kind}"
            moved = data.test[:images] + JITTER * torch.randn(images, PIXELS, generator=stream, dtype=torch.float64)
            at = list(zip(moved, data.test_labels[:images], strict=True))
            expanded = [_expanded(teacher, student, x, label) for x, label in at]
            for statement in STATEMENTS:
                yield _check(statement, named, teacher, student, at, expanded, sigma, draws, stream)


def at_ties(images: int = 12, draws: int = 5000, steps: int = 400, data: Digits | None = None) -> dict[float, float]:
    """How much noise changes sum_i (T_i − S_i)² on average, over σ², at digits as they are, for a trained piecewise
    linear pair: by σ, the mean of absolute values over images.

    In even ground the pixels of a pooling window tie: max-pooling has a kink there, and no derivative. What noise adds
    is then of order σ, so that this grows as 1/σ, while the formulas take one of the tied pixels and say nothing of it.
    """
    data = data or digits()
    teacher, student = pair("piecewise linear", True, steps, data)
    stream = torch.Generator().manual_seed(1)

    def loss(points: Tensor) -> Tensor:
        with torch.no_grad():
            return (teacher(points) - student(points)).square().sum(-1)

    return {
        sigma: sum(abs(noise.monte_carlo(loss, x, sigma, draws, stream)[0]) for x in data.test[:images]) / images
        for sigma in (1e-2, 1e-3, 1e-4)
    }


Parts = tuple[Tensor, Expansion, Expansion, Expansion, Expansion]


def _expanded(teacher: nn.Module, student: nn.Module, x: Tensor, label: Tensor) -> Parts:
    y = functional.one_hot(label, CLASSES).to(x.dtype)
    soft = (softmaxed(teacher), softmaxed(student))
    return (y, expansion(teacher, x), expansion(student, x), expansion(soft[0], x), expansion(soft[1], x))


def _check(
    statement: Statement,
    named: str,
    teacher: nn.Module,
    student: nn.Module,
    at: list[tuple[Tensor, Tensor]],
    expanded: list[Parts],
    sigma: float,
    draws: int,
    stream: torch.Generator,
) -> Check:
    means, errors = [], []
    for (x, _), (y, *_rest) in zip(at, expanded, strict=True):

        def loss(points: Tensor, y: Tensor = y) -> Tensor:
            with torch.no_grad():
                return statement.loss(teacher(points), student(points), y)

        mean, error = noise.monte_carlo(loss, x, sigma, draws, stream)
        means.append(mean)
        errors.append(error)
    count = len(at)
    printed, whole = (
        float(torch.stack([form(*parts) for parts in expanded]).mean().detach())
        for form in (statement.printed, statement.whole)
    )
    return Check(
        statement=statement.name,
        networks=named,
        measured=sum(means) / count,
        error=sum(error**2 for error in errors) ** 0.5 / count,
        printed=printed,
        whole=whole,
    )
