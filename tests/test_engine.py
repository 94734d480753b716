"""The engine: pairing, budget, last step, a teacher that stays as it is, trials that fail in the right way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import small
import torch

from jkbench import planning as plan
from jkbench.engine import images as image_sets
from jkbench.engine import scoring
from jkbench.engine import teacher as networks
from jkbench.engine.batches import ordered
from jkbench.engine.trial import run
from jkbench.errors import UserError
from jkbench.models.network import build
from jkbench.plugins.discovery import Index, discover
from jkbench.records import teachers
from jkbench.records.schema import Record, unpack_labels
from jkbench.tasks.task import Training

ALL = ["attention", "attention-jacobian", "distill", "finetune", "jacobian", "jacobian-norm", "lwf", "lwf-jacobian",
       "noise", "scratch"]  # fmt: skip


def record(index: Index, folder: Path, method: str, kind: str = "distillation", **options: int) -> Record:
    return run(small.trial(index, method, kind, **options), small.where(folder))


def test_every_method_of_a_seed_shares_subset_initial_weights_and_order(index: Index, references: Path) -> None:
    records = [record(index, references, name) for name in ALL]
    assert [r.status for r in records] == ["ok"] * 10, [r.message for r in records]
    pairings = {r.pairing for r in records}
    assert len(pairings) == 1
    other = record(index, references, "scratch", seed=1).pairing
    (mine,) = pairings
    assert mine is not None
    assert other is not None
    assert {mine.subset, mine.initial, mine.order}.isdisjoint({other.subset, other.initial, other.order})
    assert len({r.teacher.weights for r in records if r.teacher}) == 1


def test_a_teacher_head_does_not_move_the_other_initial_weights() -> None:
    with_head, without = build("vgg:8-M-8", 1, 8, 5, 3, teacher_classes=7), build("vgg:8-M-8", 1, 8, 5, 3)
    other = build("vgg:8-M-8", 1, 8, 5, 4)
    for name, value in without.state_dict().items():
        assert torch.equal(with_head.state_dict()[name], value)
    assert not torch.equal(other.head.weight, without.head.weight)


@pytest.mark.parametrize("name", ["jacobian", "noise", "lwf-jacobian"])
def test_the_same_trial_gives_the_same_record_whatever_ran_before(index: Index, references: Path, name: str) -> None:
    first = record(index, references, name)
    torch.manual_seed(99)
    record(index, references, "attention", seed=5)
    second = record(index, references, name)
    assert (first.metrics, first.predictions, first.curves) == (second.metrics, second.predictions, second.curves)


def test_a_trial_leaves_the_global_random_state_alone(index: Index, references: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    record(index, references, "noise")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("images", [10, 32, 33, 500])
def test_every_image_is_seen_once_an_epoch_and_no_batch_is_a_lone_image(images: int) -> None:
    training = Training(learning_rate=1, epochs=3, batch=32)
    order = ordered(images, training, seed=0)
    an_epoch = len(order) // 3
    for epoch in range(3):
        seen = np.concatenate(order[epoch * an_epoch : (epoch + 1) * an_epoch])
        assert sorted(seen) == list(range(images))
    assert min(map(len, order)) >= 2
    assert max(map(len, order)) <= 32


def test_the_rate_drops_once_and_the_budget_is_the_tasks(index: Index, references: Path) -> None:
    loop, method, *_ = small.loop_of(small.trial(index, "scratch", steps=6, drop_at=4), references)
    rates = []
    for batch, student, teacher in loop:
        loop.step(method.loss(batch, student, teacher))
        rates.append(loop.program.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3] * 4 + [1e-4] * 2)
    assert loop.trace.steps == 6


def test_the_score_is_the_last_steps(index: Index, references: Path) -> None:
    """Written out: train by the loop, and only then score."""
    made = small.trial(index, "distill", steps=8)
    loop, method, student, _ = small.loop_of(made, references)
    method.fit(loop)
    data = image_sets.of_task(made.task, made.datasets)
    test = image_sets.on_device(data.target.splits["test"], data.normalisation, small.CPU)
    student.eval()
    predicted = student(test.read(slice(None))).logits.argmax(1)
    got = run(made, small.where(references))
    assert got.predictions is not None
    assert unpack_labels(got.predictions).tolist() == predicted.tolist()
    assert got.metrics["accuracy"] == pytest.approx(float((predicted == test.labels).double().mean()))


def test_metrics_against_scikit_learn_and_by_hand() -> None:
    from sklearn.metrics import accuracy_score, log_loss

    stream = torch.Generator().manual_seed(0)
    scores, labels = 2 * torch.randn(400, 5, generator=stream), torch.randint(0, 5, (400,), generator=stream)
    probabilities = scores.double().softmax(1).numpy()
    assert scoring.accuracy(scores, labels) == pytest.approx(accuracy_score(labels, probabilities.argmax(1)))
    nll = torch.nn.functional.cross_entropy(scores.double(), labels)
    assert float(nll) == pytest.approx(log_loss(labels, probabilities))
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (probabilities.max(1) > low) & (probabilities.max(1) <= low + 1 / 15)
        if inside.any():
            right = (probabilities.argmax(1) == labels.numpy())[inside].mean()
            expected += inside.mean() * abs(probabilities.max(1)[inside].mean() - right)
    assert scoring.calibration_error(scores, labels) == pytest.approx(expected, abs=1e-6)


def test_the_teacher_is_never_in_train_mode_and_never_moves(index: Index, references: Path) -> None:
    """Trap: a teacher left in train mode teaches something else at each step."""
    for name in ("jacobian", "noise", "attention-jacobian"):
        loop, method, _, teacher = small.loop_of(small.trial(index, name), references)
        assert teacher is not None
        before = networks.weights_hash(teacher.state_dict())
        assert not any(module.training for module in teacher.modules())
        method.fit(loop)
        assert not any(module.training for module in teacher.modules())
        assert networks.weights_hash(teacher.state_dict()) == before
        assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_finetune_starts_from_the_student_trained_on_what_the_teacher_saw(index: Index, references: Path) -> None:
    for kind in ("distillation", "transfer"):
        made = small.trial(index, "finetune", kind)
        got = run(made, small.where(references))
        assert got.reference
        assert (references / "teachers").exists()
        data = image_sets.of_task(made.task, made.datasets)
        found = teachers.of_task(made.task, made.datasets, "student")
        assert found is not None
        pretrained = networks.load(references, found, data.source, small.CPU)
        assert pretrained.recipe.architecture == made.task.student.architecture
        scratch = record(index, references, "scratch", kind)
        assert got.pairing == scratch.pairing
        assert got.curves["ce"] != scratch.curves["ce"]


PLUGIN = '''"""Test."""
import torch
from jkbench import Method, cross_entropy

class Mine(Method):
    tasks = {"distillation"}

    def loss(self, batch, student, teacher):
        ce = cross_entropy(student.logits, batch.y)
        STATEMENT
'''


@pytest.mark.parametrize(
    ("statement", "status", "told"),
    [
        ("yield 'ce', ce * float('nan')", "diverged", "not finite at step 1: ce"),
        ("yield 'ce', ce if batch.step < 3 else ce * float('inf')", "diverged", "step 4"),
        (
            "raise ValueError('my mistake')",
            "failed",
            "mine.py:10 in loss: ValueError: my mistake",
        ),
        ("return []", "failed", "no term"),
        ("yield 'ce', student.logits", "failed", "'ce' is not a scalar tensor"),
        ("yield 'ce', ce; yield 'ce', ce", "failed", "two terms are called 'ce'"),
        ("raise MemoryError('too big')", "oom", "too big"),
        ("import sys; sys.exit('no')", "failed", "SystemExit: no"),
        (
            "zero = 0 * student.logits.square().sum(); yield 'ce', ce + (zero.sqrt() if batch.step == 5 else zero)",
            "diverged",
            "weights are not finite after the last step",
        ),
    ],
)
def test_a_trial_that_goes_wrong_becomes_a_record_that_says_how(
    tmp_path: Path, references: Path, statement: str, status: str, told: str
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.replace("STATEMENT", statement))
    found = discover([tmp_path])
    got = record(found, references, "mine")
    assert got.status == status
    assert told in (got.message or "")
    assert got.metrics == {}
    assert str(tmp_path) not in (got.message or "")


@pytest.mark.parametrize("mode", ["per-sample", "batch", "running", "constant"])
@pytest.mark.parametrize(
    "name", ["jacobian[ce=0,act=0]", "jacobian-norm[ce=0]", "attention-jacobian[ce=0,act=0,attention=0]"]
)
def test_running_statistics_learn_from_every_step_whatever_the_loss_reads(
    index: Index, references: Path, name: str, mode: str
) -> None:
    task = small.task()
    changed = task.model_copy(update={"matching": task.matching.model_copy(update={"batch_norm": mode})})
    (made,) = plan.make(changed, index, name, seeds=[0]).trials
    loop, method, student, _ = small.loop_of(made, references)
    method.fit(loop)
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert [int(norm.num_batches_tracked) for norm in norms] == [loop.trace.steps] * 2


def test_images_changed_in_place_reach_the_teacher_too(tmp_path: Path, references: Path) -> None:
    (tmp_path / "mine.py").write_text(
        PLUGIN.replace("STATEMENT", "yield 'ce', ce")
        + """
    def inputs(self, batch):
        batch.x.add_(1.0)
        return batch.x
"""
    )
    loop, *_ = small.loop_of(small.trial(discover([tmp_path]), "mine"), references)
    clean = loop.batches[0].x
    _, teacher = loop.signals(loop.batch(0))
    assert teacher is not None
    assert loop.teacher is not None
    torch.testing.assert_close(teacher.logits, loop.teacher(clean + 1).logits)


def test_the_students_own_rows_are_the_students(index: Index, references: Path) -> None:
    """The teacher read at the student's largest output: by its index, not by the name of the teacher's own rows."""
    loop, *_ = small.loop_of(small.trial(index, "distill"), references)
    student, teacher = loop.signals(loop.batch(0))
    assert teacher is not None
    rows = student.rows("largest")
    assert rows.name is None
    everything = teacher.jacobian(teacher.rows("full"))
    picked = everything[torch.arange(len(rows.index)), rows.index[:, 0]]
    torch.testing.assert_close(teacher.jacobian(rows)[:, 0], picked)
    transfer, *_ = small.loop_of(small.trial(index, "lwf", "transfer"), references)
    batch = transfer.batch(0)
    teacher = transfer.signals(batch)[1]
    assert teacher is not None
    with pytest.raises(UserError, match="no output for the correct class"):
        teacher.jacobian(batch.correct)


def test_a_trial_out_of_time_is_stopped(index: Index, references: Path) -> None:
    got = run(small.trial(index, "scratch", steps=500), small.where(references, timeout=0.05))
    assert got.status == "timeout"
    assert got.cost is not None
    assert 0 < got.cost.steps < 500


def test_a_method_may_own_modules_inputs_and_the_loop(tmp_path: Path, references: Path) -> None:
    (
        tmp_path / "mine.py"
    ).write_text('''"""A regressor between feature maps, trained with the student, in a loop of its own."""
from torch import nn
from jkbench import Method, cross_entropy

class Mine(Method):
    tasks = {"distillation"}

    def modules(self, student, teacher):
        return {"map": nn.Linear(student.attention()[0][0].numel(), teacher.attention()[0][0].numel())}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
        mine, theirs = student.attention()[0].flatten(1), teacher.attention()[0].flatten(1)
        yield "map", (student.modules["map"](mine) - theirs).square().mean()

    def fit(self, loop):
        for batch, student, teacher in loop:
            loop.step(self.loss(batch, student, teacher))
''')
    found = discover([tmp_path])
    loop, method, student, _ = small.loop_of(small.trial(found, "mine"), references)
    before = loop.program.modules["map"].weight.detach().clone()  # type: ignore[union-attr, operator]
    counted = int(student.body.stages[0][1].num_batches_tracked)  # type: ignore[index, union-attr, arg-type]
    assert counted == 0  # reading shapes left no trace
    method.fit(loop)
    assert not torch.equal(before, loop.program.modules["map"].weight)  # type: ignore[arg-type]
    scratch = run(small.trial(found, "scratch"), small.where(references))
    mine = run(small.trial(found, "mine"), small.where(references))
    assert mine.pairing == scratch.pairing
    assert mine.cost is not None
    assert scratch.cost is not None
    assert mine.cost.trainable_parameters == scratch.cost.trainable_parameters + 64 * 64 + 64


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("for batch, s, t in loop: pass", "one step per batch"),
        (
            "for b, s, t in loop:\n            loop.step(self.loss(b, s, t)); loop.step(self.loss(b, s, t))",
            "called twice",
        ),
        ("next(iter(loop))", "the budget is 6"),
    ],
)
def test_a_loop_of_its_own_keeps_the_budget(tmp_path: Path, references: Path, body: str, told: str) -> None:
    text = PLUGIN.replace("STATEMENT", "yield 'ce', ce") + f"\n    def fit(self, loop):\n        {body}\n"
    (tmp_path / "mine.py").write_text(text)
    got = record(discover([tmp_path]), references, "mine")
    assert got.status == "failed"
    assert told in (got.message or "")


def test_noise_in_evaluation_is_the_same_for_everybody_and_hurts(index: Index, references: Path) -> None:
    got = record(index, references, "scratch", "robustness")
    assert set(got.metrics) == {"accuracy", "nll", "ece", "accuracy@0.1"}
    assert got.teacher is None
    made = small.trial(index, "scratch", "robustness")
    data = image_sets.of_task(made.task, made.datasets)
    test = image_sets.on_device(data.target.splits["test"], data.normalisation, small.CPU)
    network = build("vgg:8-M-8", 1, 8, 5, 0)
    assert torch.equal(scoring.logits(network, test, 0.3), scoring.logits(network, test, 0.3))
    assert not torch.equal(scoring.logits(network, test, 0.3, 0), scoring.logits(network, test, 0.3, 1))


def test_a_timm_model_learns_as_a_student(index: Index, references: Path) -> None:
    task = small.task()
    changed = task.model_copy(update={"student": task.student.model_copy(update={"architecture": "timm:resnet10t"})})
    (made,) = plan.make(changed, index, "jacobian", seeds=[0]).trials
    got = run(made, small.where(references))
    assert got.status == "ok", got.message
    wrong = task.model_copy(update={"student": task.student.model_copy(update={"architecture": "timm:resnet0"})})
    (made,) = plan.make(wrong, index, "scratch", seeds=[0]).trials
    assert "there is no timm model 'resnet0'" in (run(made, small.where(references)).message or "")


@pytest.mark.parametrize("name", ["vgg:8-X", "vgg:8-M-M-M-M", "vgg:M", "resnet18", "vgg:"])
def test_an_architecture_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(UserError):
        build(name, 1, 8, 5, 0)


def test_the_papers_networks() -> None:
    teacher, student = build("vgg-9", 3, 32, 100, 0), build("vgg-4", 3, 32, 100, 0)
    convolutions = [
        [m.out_channels for m in net.modules() if isinstance(m, torch.nn.Conv2d)] for net in (teacher, student)
    ]
    assert convolutions == [[64, 128, 256, 256, 512, 512, 512, 512], [64, 128, 512]]
    assert [tuple(m.shape[1:]) for m in student(torch.zeros(2, 3, 32, 32)).maps.values()] == [
        (64, 32, 32), (128, 16, 16), (512, 8, 8)
    ]  # fmt: skip


def test_order_counts_every_image_the_same_number_of_times() -> None:
    order = ordered(10, Training(learning_rate=1, steps=30, batch=32), seed=1)
    assert set(Counter(np.concatenate(order).tolist()).values()) == {30}
