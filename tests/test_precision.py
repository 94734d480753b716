"""Precision is protocol: a task says it, its hash and its records have it, and a step takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small
import torch
from torch import Tensor
from torch.func import functional_call

from jkbench import maths
from jkbench.engine import images as image_sets
from jkbench.engine import pretend
from jkbench.engine.setup import Ready, make_ready, trained_networks
from jkbench.engine.trial import run
from jkbench.errors import UserError
from jkbench.models.batchnorm import recorded_inputs, statistics_of
from jkbench.models.network import build
from jkbench.models.replay import recording, replayed
from jkbench.planning import Trial
from jkbench.plugins.discovery import Index
from jkbench.tasks import builtin
from jkbench.tasks.task import Precision, Task, load


def trial(index: Index, name: str, precision: Precision) -> Trial:
    made = small.trial(index, name)
    return replace(made, task=made.task.model_copy(update={"precision": precision}))


def prepared(index: Index, folder: Path, name: str, precision: Precision) -> Ready:
    made = trial(index, name, precision)
    data = image_sets.of_task(made.task, made.datasets)
    ready = make_ready(made, small.CPU, data, trained_networks(made, small.where(folder), data))
    ready.student.train()
    return ready


def gradient(ready: Ready) -> Tensor:
    """The gradient of the first step's loss by all weights, in float64."""
    batch = ready.loop.batch(0)
    total = torch.stack([term for _, term in ready.method.loss(batch, *ready.loop.signals(batch))]).sum()
    found = torch.autograd.grad(total, list(ready.student.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([each.flatten().double() for each in found])


def test_a_task_that_says_nothing_keeps_its_hash() -> None:
    """Records from before this field stay valid: it is not in what is hashed."""
    for name in builtin():
        task = load(name)
        assert "precision" not in task.model_dump(mode="json")
        assert task.model_copy(update={"precision": "float32"}).protocol == task.protocol
        assert len({task.model_copy(update={"precision": each}).protocol for each in ("tf32", "bfloat16")}) == 2
        assert task.model_copy(update={"precision": "bfloat16"}).protocol != task.protocol


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="precision"):
        Task.model_validate({**small.task().model_dump(mode="json"), "precision": "float16"})


def test_a_record_says_its_precision(index: Index, references: Path) -> None:
    for precision in ("float32", "bfloat16"):
        record = run(trial(index, "jacobian", precision), small.where(references))
        assert record.status == "ok", record.message
        assert record.environment is not None
        assert record.environment.precision == precision


def test_tf32_needs_a_gpu_and_is_on_in_its_steps_alone(index: Index, references: Path) -> None:
    made = trial(index, "distill", "tf32")
    assert run(made, small.where(references)).reason == "precision = tf32 needs a GPU"
    data = image_sets.of_task(made.task, made.datasets)
    with pytest.raises(UserError, match="needs a GPU"):
        make_ready(made, small.CPU, data, trained_networks(made, small.where(references), data))
    with pretend.gpu():
        ready = make_ready(made, pretend.CUDA, data, trained_networks(made, replace(
            small.where(references), device=pretend.CUDA), data))  # fmt: skip
        seen = []
        for batch, student, teacher in ready.loop:
            seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            ready.loop.step(ready.method.loss(batch, student, teacher))
    assert seen == [(True, True)] * 6
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("name", "worst"),
    [("distill", 0.1), ("jacobian", 0.1), ("attention-jacobian", 0.2), ("jacobian[normalise=true]", 0.2),
     ("jacobian[rows=forward]", 0.1), ("crd", 0.2)],
)  # fmt: skip
def test_bfloat16_errs_by_its_rounding(index: Index, references: Path, name: str, worst: float) -> None:
    """Eight bits of a factor are 0.4 %: some layers and a second derivative later a few per cent, in direction too."""
    exact, rounded = (gradient(prepared(index, references, name, each)) for each in ("float32", "bfloat16"))
    error = float((exact - rounded).norm() / exact.norm())
    assert 1e-3 < error < worst


def test_float32_errs_by_its_rounding() -> None:
    """The gradient of CE and a Jacobian's row, by the replayed pass, against the plain definition in float64."""
    network = build("vgg:8-M-16-M-16", 1, 8, 5, 0)
    x, y = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 5
    target = torch.randn(12, 1, 64, generator=torch.Generator().manual_seed(1))

    def fast() -> Tensor:
        leaf = x.detach().requires_grad_()
        with recording(network) as kept:
            first = network(x)
        with replayed(kept, leaf):
            second = network(leaf)
        row = maths.jacobian_rows(second.logits, leaf, y[:, None], create_graph=True)
        return maths.cross_entropy(first.logits, y) + maths.squared_distance(row, target)

    def plain() -> tuple[Tensor, dict[str, Tensor]]:
        named = {name: value.double().requires_grad_() for name, value in network.named_parameters()}
        network.double()
        leaf = x.double().requires_grad_()
        with recorded_inputs(network) as inputs:
            first = functional_call(network, named, x.double())
        with statistics_of(network, inputs):
            second = functional_call(network, named, leaf)
        row = maths.jacobian_rows(second.logits, leaf, y[:, None], create_graph=True)
        return maths.cross_entropy(first.logits, y) + maths.squared_distance(row, target.double()), named

    mine = torch.autograd.grad(fast(), list(network.parameters()))
    total, named = plain()
    exact = torch.autograd.grad(total, list(named.values()))
    off = sum(float((a.double() - b).square().sum()) for a, b in zip(mine, exact, strict=True)) ** 0.5
    assert 1e-8 < off / sum(float(b.square().sum()) for b in exact) ** 0.5 < 1e-5
