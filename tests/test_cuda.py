"""On a GPU: the same numbers as on CPU, to rounding. Skipped where torch sees none; nothing depends on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch
from torch.testing import assert_close

from jkbench import planning as plan
from jkbench.engine import images as image_sets
from jkbench.engine.setup import Where, make_ready, trained_networks
from jkbench.engine.trial import run
from jkbench.models.network import build, placed
from jkbench.models.replay import recording, replayed
from jkbench.plugins.discovery import Index

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
METHODS = ["attention", "attention-jacobian", "distill", "finetune", "jacobian", "jacobian-norm", "lwf", "lwf-jacobian",
           "scratch"]  # fmt: skip


def first_terms(index: Index, folder: Path, name: str, device: str) -> dict[str, torch.Tensor]:
    """The loss terms of the first step, and the gradient's norm."""
    made = small.trial(index, name)
    where = Where(torch.device(device), folder)
    data = image_sets.of_task(made.task, made.datasets)
    ready = make_ready(made, where.device, data, trained_networks(made, where, data))
    ready.student.train()
    batch = ready.loop.batch(0)
    terms = dict(ready.method.loss(batch, *ready.loop.signals(batch)))
    weights = list(ready.student.parameters())
    total = torch.stack(list(terms.values())).sum()
    gradients = torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)
    terms["gradient"] = torch.stack([gradient.norm() for gradient in gradients]).norm()
    return {key: value.detach().cpu() for key, value in terms.items()}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_losses_and_gradients_of_the_cpu(index: Index, references: Path, name: str) -> None:
    on_cpu, on_gpu = (first_terms(index, references, name, device) for device in ("cpu", "cuda"))
    assert set(on_cpu) == set(on_gpu)
    for term, value in on_cpu.items():
        assert_close(on_gpu[term], value, rtol=1e-3, atol=1e-5)


def test_the_fast_jacobian_pass_on_the_gpu_equals_the_cpus() -> None:
    found = []
    for device in ("cpu", "cuda"):
        network = placed(build("vgg:6-M-8-8-M-5", 3, 8, 4, 0), torch.device(device)).double().train()
        x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        x = x.to(device).contiguous(memory_format=torch.channels_last)
        leaf = x.detach().requires_grad_()
        with recording(network) as kept:
            network(x)
        with replayed(kept, leaf):
            logits = network(leaf).logits
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf, create_graph=True)
        weights = torch.autograd.grad(
            gradient.square().sum(), list(network.parameters()), allow_unused=True, materialize_grads=True
        )
        found.append([value.detach().cpu() for value in (gradient, *weights)])
    for cpu, gpu in zip(*found, strict=True):
        assert_close(gpu, cpu)


def test_a_trial_runs_and_says_which_device(index: Index, references: Path, tmp_path: Path) -> None:
    made = plan.make(small.task(), index, "jacobian", seeds=[0]).trials[0]
    record = run(made, Where(torch.device("cuda"), references, tmp_path))
    assert record.status == "ok", record.message
    assert record.environment is not None
    assert record.environment.device == torch.cuda.get_device_name()
    assert record.cost is not None
    assert 0 < record.cost.peak_memory_mb < 4096
