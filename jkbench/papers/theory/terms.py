"""What a loss term does in training: how far it falls, and how much of its gradient reaches early layers.

The paper introduces attention-Jacobians because the Jacobian of a deep network's outputs could not be reduced by the
optimiser (Srinivas & Fleuret 2018, section 4.3). Whether that holds on a task is seen here: the rows' own trials are
trained again by the suite's engine, and each term is read on the way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from jkbench.engine import environment
from jkbench.engine import images as image_sets
from jkbench.engine.loop import Diverged
from jkbench.engine.setup import Ready, Where, make_ready, trained_networks
from jkbench.errors import UserError
from jkbench.models.network import seeded
from jkbench.planning import Trial
from jkbench.report.grid import at_end
from jkbench.report.wording import code

REDUCED = 0.95
"""A term counts as reduced where the last tenth of training is below this share of its first value."""

_Values = dict[str, list[float]]


@dataclass(frozen=True)
class Curve:
    """A term over training, in units of its value at the first step: means over seeds."""

    row: str
    term: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    ends: tuple[float, ...] = ()
    """`end` of every seed."""
    first: float = 0.0
    """Its value at the first step, weighted as in training: mean over seeds."""

    @property
    def end(self) -> float:
        """The mean of the last tenth of what was read: one batch alone is noisy."""
        return at_end(self.values)


@dataclass(frozen=True)
class Reach:
    """Norms of a term's gradient by the weights of the student's first, middle and last convolution: means over
    seeds, at the first step and after the last."""

    row: str
    term: str
    start: tuple[float, ...]
    end: tuple[float, ...]


def measure(trials: Sequence[Trial], where: Where) -> tuple[list[Curve], list[Reach]]:
    """Train these trials (one regime, some rows, some seeds) and read their terms. Rows keep their order."""
    environment.prepare(where.device)
    runs: dict[str, list[tuple[_Values, list[int], _Values, _Values]]] = {}
    for trial in trials:
        data = image_sets.of_task(trial.task, trial.datasets)
        with seeded("layers", trial.seed):  # as in a trial
            ready = make_ready(trial, where.device, data, trained_networks(trial, where, data), cache=where.cache)
            start = gradients(ready)
        with seeded("layers", trial.seed):
            try:
                ready.method.fit(ready.loop)
            except Diverged as error:
                raise UserError(f"{trial.name} diverged: {error}", "take another weight") from None
        trace = ready.loop.trace
        run = (dict(trace.curves), list(trace.curve_steps), start, gradients(ready))
        runs.setdefault(trial.row.label, []).append(run)
    curves, reaches = [], []
    for row, found in runs.items():
        for term in found[0][0]:
            relative = [[value / kept[term][0] for value in kept[term]] for kept, *_ in found if kept[term][0]]
            if relative:
                ends = tuple(map(at_end, relative))
                first = sum(kept[term][0] for kept, *_ in found) / len(found)
                curves.append(Curve(row, term, tuple(found[0][1]), _mean(relative), ends, first))
            before = _mean([values[term] for _, _, values, _ in found])
            after = _mean([values[term] for _, _, _, values in found])
            reaches.append(Reach(row, term, before, after))
    return curves, reaches


def gradients(ready: Ready) -> _Values:
    """For each term of the loss on the first batch, the norm of its gradient by three convolutions' weights.

    Leaves no trace: running statistics and the stream of noise are put back.
    """
    loop, student = ready.loop, ready.student
    state, noise, mode = copy.deepcopy(student.state_dict()), loop.noise.get_state(), student.training
    student.train()
    weights = [module.weight for module in student.body.modules() if isinstance(module, nn.Conv2d)]
    chosen = [weights[0], weights[len(weights) // 2], weights[-1]]
    batch = loop.batch(0)
    found = {}
    for name, term in ready.method.loss(batch, *loop.signals(batch)):
        by = torch.autograd.grad(term, chosen, retain_graph=True, allow_unused=True)
        found[name] = [0.0 if gradient is None else float(gradient.norm()) for gradient in by]
    student.load_state_dict(state)
    student.train(mode)
    loop.noise.set_state(noise)
    return found


def _mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))


def verdict(curves: Sequence[Curve], term: str = "jac") -> str:
    """Whether the paper's remark holds here, row by row (`REDUCED`); empty where no row has the term."""
    reduced: dict[str, list[str]] = {}
    for curve in (c for c in curves if c.term == term):
        ends = curve.ends or (curve.end,)
        seeds = "in every seed" if max(ends) < REDUCED else "in some seeds" if min(ends) < REDUCED else "in no seed"
        reduced.setdefault(seeds, []).append(code(curve.row))
    parts = "; ".join(f"{seeds} for {', '.join(rows)}" for seeds, rows in sorted(reduced.items()))
    return (
        f"Training reduces the term {code(term)} below {100 * REDUCED:.0f} % of its first value {parts}."
        if parts
        else ""
    )


def conclusions(curves: Sequence[Curve], reaches: Sequence[Reach], term: str = "jac") -> Iterator[str]:
    """What the numbers say of one term, in sentences."""
    for curve in (c for c in curves if c.term == term):
        low, high = (round(100 * end(curve.ends or (curve.end,))) for end in (min, max))
        verb = "falls to" if high < 100 else "rises to" if low > 100 else "ends at"
        seeds = f" ({low} to {high} % over seeds)" if len(curve.ends) > 1 else ""
        yield f"The term {code(term)} of {code(curve.row)} {verb} {round(100 * curve.end)} % of its first value{seeds}."
    for reach in (r for r in reaches if r.term == term):
        parts = f"{code(reach.row)}, before the first step: the gradient of {code(term)}"
        if not reach.start[-1]:
            yield f"{parts} does not reach the last convolution."
            continue
        yield f"{parts} at the first convolution is {reach.start[0] / reach.start[-1]:.2g} times that at the last."
