"""The page of the theory's checks: tables and a figure, all from one computation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jkbench.papers.theory import expansions, figure, transfer
from jkbench.papers.theory.expansions import LIMIT, SIGMA, Check
from jkbench.papers.theory.figure import ToyStudent
from jkbench.papers.theory.measured import Side
from jkbench.report.document import Block, Document, Drawing, Entry, Section, Span, joined, rich, table
from jkbench.report.render import write as write_document
from jkbench.report.wording import code

NAME = "theory"


def write(folder: Path, quick: bool = False) -> tuple[list[Path], list[Check], list[Side]]:
    """Compute everything and write ``theory.md`` and ``theory.png``. ``quick`` takes fewer draws and steps."""
    checks = list(expansions.checks(draws=4000 if quick else 40_000, images=6 if quick else 24))
    bounds = transfer.bounds()
    ties = expansions.at_ties(draws=500 if quick else 5000)
    students = figure.students(600 if quick else 3000)
    sections = (_noise(checks, ties), _bound(bounds, measured(folder)), _students(students))
    intro = (
        "What Srinivas & Fleuret (2018) prove or print, checked against independent computations on networks of 8×8 "
    )
    page = Document(NAME, "The theory, checked", "`jkbench theory`", (f"{intro}digits in float64.", *sections))
    return write_document(folder, page), checks, [side for _, side in bounds]


def _noise(checks: Sequence[Check], ties: dict[float, float]) -> Section:
    grown = "; ".join(f"{value:.3g} at σ = {sigma}" for sigma, value in ties.items())
    blocks: list[Block] = [
        rich(
            "For noise ξ ~ N(0, σ² I), E f(x + ξ) = f(x) + (σ²/2) Δf(x) + O(σ⁴). The table shows the coefficient of "
            "σ², averaged over test images, three times: measured by Monte Carlo (pairs of ξ and −ξ; ± one standard "
            "error), as the paper prints it, and whole (formulas in `jkbench/maths/noise.py`). The noise has standard "
            "deviation {smooth} for smooth networks (SiLU) and {linear} for piecewise linear ones (ReLU and "
            "max-pooling). Each test image carries one fixed noise of standard deviation {jitter}, for the reason "
            "below. *Agrees*: within {limit:.0f} standard errors.",
            smooth=SIGMA["smooth"],
            linear=SIGMA["piecewise linear"],
            jitter=expansions.JITTER,
            limit=LIMIT,
        ),
        table(["loss and networks", "measured", "printed", "agrees", "whole", "agrees"], map(_row, checks)),
        rich(
            "**Propositions 1 and 2** hold as printed where the networks are locally linear. Where they are smooth, a "
            "term with Laplacians is missing. **Equations 2 and 3 do not match as printed** on any of these networks; "
            "the whole second-order terms do. Equation 2 as printed is linear in the student's Jacobian and therefore "
            "unbounded below, so it cannot be minimised."
        ),
        rich(
            "**Locally linear is not everywhere.** The noise above is too small to cross a kink. In the even "
            "background of an unperturbed digit all pixels tie, and max-pooling has a kink at every tie. There, for "
            "the trained piecewise linear pair, noise changes `sum_i (T_i − S_i)²`, divided by σ², by (mean absolute "
            "value over images): {grown}. This grows as 1/σ: the change is of order σ, not σ², and neither form "
            "describes it. Photographs with even backgrounds behave the same way.",
            grown=grown,
        ),
    ]
    return Section("What noise on the inputs adds to a loss", tuple(blocks))


def _bound(bounds: Sequence[tuple[int, Side]], names: Sequence[str]) -> Section:
    rows = [
        (
            b.space, str(images), f"{b.distance:.2f}", f"{b.distance_with_copies:.2f}", f"{b.slope:.3g}",
            f"{b.source_mean:.3g}", f"{b.right:.3g}", _held(b.holds), _held(b.copies_tighten),
        )
        for images, b in bounds
    ]  # fmt: skip
    links = joined(((Span(name, "link", f"bound-{name}.md"),) for name in names), by=", ")
    blocks: list[Block] = [
        "`E over the source of rho ≤ max over the target of rho + K·H`. Here rho is the squared distance between the "
        "teacher's and the student's logits, the target is the first images of the source, H is the one-sided "
        "Hausdorff distance, and K is the largest slope of rho over all pairs of source images. The bound is therefore "
        "about these images, and K is a lower estimate for any others. With copies: H after adding a noisy copy of "
        "every target image, which can only shorten it (the lemma).",
        table(["space", "target images", "H", "H with copies", "K", "E source", "right side", "bound", "lemma"], rows),
        "The bound holds and says little: it is far above what it bounds, even where the target is the source.",
        joined(["Measured on tasks of the suite, with their own teachers and students, beside the gain:", links])
        if names
        else "",
    ]
    return Section("The transfer bound", tuple(blocks))


def _students(students: list[ToyStudent]) -> Section:
    errors = "; ".join(f"{student.name} {student.error:.2f}" for student in students)
    blocks: list[Block] = [
        Drawing(NAME, "A teacher, five samples, and three students", partial(figure.draw, students)),
        "Three students with the same initial weights learn a function of one variable from five samples: from its "
        f"values; from its values at inputs with noise of standard deviation {figure.SIGMA}; and from its values and "
        "derivatives (weighted by the noise's variance, as in Proposition 1). Root mean square errors between the "
        f"outermost samples: {errors}.",
    ]
    return Section("Values, noisy values, and Jacobians", tuple(blocks))


def _held(holds: bool) -> Entry:
    return Entry("holds" if holds else "fails", bold=not holds)


def measured(folder: Path) -> list[str]:
    """The tasks whose measured bound has a page in this folder (`jkbench.papers.theory.bound_page`)."""
    return sorted(path.stem.removeprefix("bound-") for path in folder.glob("bound-*.md"))


def _row(check: Check) -> Sequence[str | Entry]:
    """A check as cells."""
    digits = max(2, _digits(check.error))
    name, formula = check.statement.split(": ")
    return [
        f"{name}: {code(formula)}, {check.networks}",
        f"{check.measured:.{digits}f} ± {check.error:.{digits}f}",
        f"{check.printed:.{digits}f}",
        _agrees(check.printed_agrees),
        f"{check.whole:.{digits}f}",
        _agrees(check.whole_agrees),
    ]


def _agrees(yes: bool) -> Entry:
    return Entry("yes" if yes else "no", bold=not yes)


def _digits(error: float) -> int:
    """Decimals that show an error's first two digits, six at most."""
    count = 0
    while count < 6 and error * 10**count < 9.5:
        count += 1
    return count
