"""What a loss may read beside logits: features, embeddings, heads, views, gradients; against plain torch."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import small
import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench.engine.loop import Loop
from jkbench.engine.signals import Batch, Signals
from jkbench.errors import UserError
from jkbench.models.batchnorm import norms
from jkbench.models.network import build
from jkbench.plugins.discovery import Index

BATCH_NORMS = ("per-sample", "batch", "running", "constant")


def ready(index: Index, references: Path, method: str = "distill") -> tuple[Loop, Batch, Signals, Signals]:
    loop, *_ = small.loop_of(small.trial(index, method), references)
    loop.student.train()
    batch = loop.batch(0)
    student, teacher = loop.signals(batch)
    assert teacher is not None
    return loop, batch, student, teacher


def test_features_and_embeddings_are_those_of_the_pass(index: Index, references: Path) -> None:
    """The VGG written out: convolution, batch norm, ReLU, pooling."""
    loop, batch, student, _ = ready(index, references)
    first, second = copy.deepcopy(loop.student).body.stages
    before = first[1](first[0](batch.x))
    later = second[2](second[1](second[0](before.relu())))
    assert student.layers == ("stage1", "stage2")
    torch.testing.assert_close(student.features("first", before=True)[0], before)
    torch.testing.assert_close(student.features("first")[0], before.relu())
    torch.testing.assert_close(student.features_of("stage2", before=True), later)
    torch.testing.assert_close(student.embedding, later.relu().mean((2, 3)))
    torch.testing.assert_close(student.classify(student.embedding), student.logits)


def test_features_have_gradients_and_move_running_statistics_once(index: Index, references: Path) -> None:
    loop, batch, student, _ = ready(index, references)
    norm = loop.student.body.stages[0][1]
    plain = copy.deepcopy(loop.student).train()
    plain(batch.x)
    student.features("all", before=True)[0].square().sum().backward()
    student.at(batch.x + 1).embedding.sum().backward()
    assert norm.weight.grad.abs().sum() > 0
    expected = plain.body.stages[0][1]
    assert torch.equal(norm.running_mean, expected.running_mean)
    assert torch.equal(norm.running_var, expected.running_var)
    assert norm.num_batches_tracked == 1


def test_a_view_alone_still_moves_the_statistics_of_the_steps_own_images(index: Index, references: Path) -> None:
    loop, batch, student, _ = ready(index, references)
    view = student.at(2 * batch.x)
    expected = copy.deepcopy(loop.student).train()(2 * batch.x)
    torch.testing.assert_close(view.logits, expected.logits)
    assert loop.student.body.stages[0][1].num_batches_tracked == 1


def test_the_teachers_head_passes_gradients_to_its_input_only(index: Index, references: Path) -> None:
    loop, _, student, teacher = ready(index, references)
    assert loop.teacher is not None
    loop.teacher.requires_grad_(True)
    embedding = torch.randn(5, 16, requires_grad=True)
    logits = teacher.classify(embedding)
    torch.testing.assert_close(logits, embedding @ teacher.head_weight.T + teacher.head_bias)
    logits.sum().backward()
    assert embedding.grad is not None
    assert loop.teacher.head.weight.grad is None
    with pytest.raises(UserError, match="embeddings of width 16, not 8"):
        teacher.classify(student.embedding)


@pytest.mark.parametrize("architecture", ["timm:resnet18", "timm:resnetv2_50", "timm:efficientnet_lite0"])
def test_timm_layers_are_read_before_their_activation_or_refused(architecture: str) -> None:
    network = build(architecture, 3, 32, 4, seed=0).eval()
    for norm in norms(network):
        nn.init.ones_(norm.weight)  # timm starts each residual branch at zero
    x = torch.randn(2, 3, 32, 32)
    plain = network(x)
    network.keeps_before = True
    kept = network(x)
    assert torch.equal(plain.logits, kept.logits)
    assert kept.before is not None
    for name, before in kept.before.items():
        torch.testing.assert_close(before.relu(), kept.maps[name])
        assert bool((before < 0).any())
    told = {"timm:resnet18": 5, "timm:efficientnet_lite0": 0}
    assert len(kept.before) == told.get(architecture, len(kept.before))


def test_a_layer_without_an_activation_is_refused(index: Index, references: Path) -> None:
    loop, _batch, student, _ = ready(index, references)
    loop.student.body.stages[1][3] = nn.Identity()
    with pytest.raises(UserError, match="stage2 does not end with an activation"):
        student.features_of("stage2", before=True)
    with pytest.raises(UserError, match="stage3"):
        student.features_of("stage3")


@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
def test_gradient_of_one_logit_is_its_row_of_the_jacobian(index: Index, references: Path, batch_norm: str) -> None:
    """Through the same batch statistics, whatever the task says of them."""
    trial = small.trial(index, "distill")
    changed = trial.task.model_copy(
        update={"matching": trial.task.matching.model_copy(update={"batch_norm": batch_norm})}
    )
    loop, *_ = small.loop_of(trial.__class__(**{**vars(trial), "task": changed}), references)
    loop.student.train()
    batch = loop.batch(0)
    student, teacher = loop.signals(batch)
    assert teacher is not None
    for signals in (student, teacher):
        rows = signals.jacobian(signals.rows("correct"))[:, 0]
        found = signals.gradient(lambda outputs: outputs.logits.gather(1, batch.y[:, None])[:, 0])
        torch.testing.assert_close(found, rows)
    assert found.requires_grad is False
    with pytest.raises(UserError, match="one number per image"):
        student.gradient(lambda outputs: outputs.logits)


def test_gradient_equals_autograd_on_a_network_without_batch_norm(index: Index, references: Path) -> None:
    """Of the cross-entropy, as IGDM and gkd match it: Jᵀ(p − e_y)."""
    _, batch, _, teacher = ready(index, references)

    def entropy(outputs: object) -> Tensor:
        return functional.cross_entropy(outputs.logits, batch.y, reduction="none")  # type: ignore[attr-defined]

    p = teacher.logits.softmax(1) - functional.one_hot(batch.y, 5)
    torch.testing.assert_close(teacher.gradient(entropy), teacher.projection(p))


def test_progress_ends_at_one(index: Index, references: Path) -> None:
    loop, *_ = ready(index, references)
    seen = [loop.batch(step).progress for step in range(len(loop))]
    assert seen == [(step + 1) / len(loop) for step in range(len(loop))]
