"""The losses of transfer against computations that share no code with the suite: numpy, graphs, differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jkbench.engine.context import Pair, SignalSettings
from jkbench.engine.signals import Signals
from jkbench.models.network import Network, build
from jkbench.plugins.discovery import Index

Array = NDArray[np.float64]
STUDENTS = ["vgg:5-7-M-6", "timm:test_resnet"]
TEACHER = "vgg:9-M-11"


def double(architecture: str, seed: int, classes: int = 3, teacher_classes: int | None = None) -> Network:
    network = build(architecture, 3, 16, classes, seed, teacher_classes).double().eval()
    stream = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics and weights that a fresh network does not have
            assert module.running_mean is not None
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=stream))
            with torch.no_grad():
                module.weight.copy_(1 + 0.2 * torch.randn(module.num_features, generator=stream))
    return network


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def pair_of(student: Network, teacher: Network) -> Pair:
    """A layer of each that has the same size, and another number of channels."""
    ours, theirs = student(images(1)).maps, teacher(images(1)).maps
    for mine, a in ours.items():
        for other, b in theirs.items():
            if a.shape[2:] == b.shape[2:] and a.shape[1] != b.shape[1]:
                return Pair(mine, other, (a.shape[2], a.shape[3]))
    raise AssertionError("no layers of equal size and unequal width")


@pytest.mark.parametrize("architecture", STUDENTS)
def test_attention_transfer_by_its_published_definition(architecture: str, index: Index) -> None:
    """Zagoruyko & Komodakis 2017, equation 2, with F = sum of squares: numpy, image by image."""
    student, teacher = double(architecture, 0), double(TEACHER, 1)
    pair = pair_of(student, teacher)
    x, y = images(), torch.tensor([0, 1, 2])
    setting = SignalSettings((pair,), False, "per-sample")
    mine, theirs = (Signals(n, x, y, setting, is_student=n is student).attention() for n in (student, teacher))
    from jkbench.maths import attention_loss

    expected = []
    for at in range(len(x)):
        vectors = []
        for network, layer in ((student, pair.student), (teacher, pair.teacher)):
            features: Array = network(x).maps[layer][at].detach().numpy()
            q = np.zeros(features.shape[1:])
            for channel in features:
                q += channel**2
            vectors.append(q.ravel() / np.sqrt((q**2).sum()))
        expected.append(np.sqrt(((vectors[0] - vectors[1]) ** 2).sum()))
    assert attention_loss(mine[0], theirs[0]).item() == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("architecture", STUDENTS)
def test_attention_jacobian_equals_an_explicit_graph_and_finite_differences(architecture: str) -> None:
    student, teacher = double(architecture, 0), double(TEACHER, 1)
    pair = pair_of(student, teacher)
    x, y = images(), torch.tensor([0, 1, 2])
    setting = SignalSettings((pair,), False, "per-sample")
    peaks = Signals(teacher, x, y, setting, is_student=False).peaks()
    ours = Signals(student, x, y, setting, is_student=True).attention_jacobian(peaks)[0].detach()

    def attention(one: Tensor, at: int) -> Tensor:
        """The student's attention of one image at the teacher's pixel."""
        i, j = divmod(int(peaks.pixels[0][at]), pair.size[1])
        return (student(one[None]).maps[pair.student][0, :, i, j] ** 2).sum()

    teachers = (teacher(x).maps[pair.teacher].detach().numpy() ** 2).sum(1)
    for at, image in enumerate(x):
        assert int(peaks.pixels[0][at]) == int(teachers[at].argmax()), "the teacher's pixel, not the student's"
        leaf = image.clone().requires_grad_()
        attention(leaf, at).backward()
        assert leaf.grad is not None
        torch.testing.assert_close(ours[at].reshape(image.shape), leaf.grad, rtol=1e-9, atol=1e-12)
        stream = torch.Generator().manual_seed(at)
        for _ in range(5):
            direction = torch.randn(image.shape, generator=stream, dtype=torch.float64)
            with torch.no_grad():
                difference = (attention(image + 1e-6 * direction, at) - attention(image - 1e-6 * direction, at)) / 2e-6
            assert float((ours[at] * direction.flatten()).sum()) == pytest.approx(float(difference), rel=1e-4, abs=1e-8)


def test_lwf_is_two_heads_of_one_body(index: Index, references: Path) -> None:
    """Cross-entropy of the target head, squared error of the source head, in numpy from the body's embedding."""
    loop, method, student, teacher = small.loop_of(small.trial(index, "lwf[ce=1,act=1]", "transfer"), references)
    assert teacher is not None
    student.eval()
    batch = loop.batch(0)
    ours = {name: float(term.detach()) for name, term in method.loss(batch, *loop.signals(batch))}
    with torch.no_grad():
        embedding: Array = student.body(batch.x)[1].double().numpy()
        theirs: Array = teacher(batch.x).logits.double().numpy()
    state = {name: value.double().numpy() for name, value in student.state_dict().items()}
    target = embedding @ state["head.weight"].T + state["head.bias"]
    source = embedding @ state["teacher_head.weight"].T + state["teacher_head.bias"]
    assert source.shape == theirs.shape
    shifted = target - target.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    assert ours["ce"] == pytest.approx(-np.mean(log_softmax[np.arange(len(target)), batch.y.numpy()]), rel=1e-5)
    assert ours["act"] == pytest.approx(np.mean(((source - theirs) ** 2).sum(1)), rel=1e-5)
    assert set(ours) == {"ce", "act"}


@pytest.mark.parametrize("name", ["lwf-jacobian[ce=0,act=0]", "jacobian[ce=0,act=0]"])
def test_a_jacobian_term_moves_the_first_layer(index: Index, references: Path, name: str) -> None:
    """Its gradient reaches the student's earliest weights, and is what differences of the term along it say."""
    loop, method, student, _ = small.loop_of(small.trial(index, name, "transfer"), references)
    student.double()
    batch = loop.batch(0)
    batch = replace(batch, x=batch.x.double(), shown=None)
    first = next(module for module in student.modules() if isinstance(module, nn.Conv2d)).weight

    def term() -> Tensor:
        ((_, value),) = method.loss(batch, *loop.signals(batch))
        return value

    (gradient,) = torch.autograd.grad(term(), first)
    assert float(gradient.norm()) > 0
    direction = gradient / gradient.norm()
    values = []
    for step in (1e-7, -2e-7):
        with torch.no_grad():
            first += step * direction
        values.append(float(term().detach()))
    assert (values[0] - values[1]) / 2e-7 == pytest.approx(float(gradient.norm()), rel=1e-3)
