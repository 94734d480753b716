"""What a method cannot do with a task is refused in one sentence, with what would fit, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import torch
from conftest import ROOT

from jkbench import planning
from jkbench.engine import images as image_sets
from jkbench.engine.first_loss import refusal
from jkbench.errors import UserError
from jkbench.execute import run as application
from jkbench.execute import work
from jkbench.execute.session import Resources, fit
from jkbench.plugins.discovery import discover
from jkbench.tasks.task import Task

EXAMPLES = ROOT / "docs" / "examples"
WIDTHS = """
from jkbench import Method, cross_entropy, squared_error

class Mine(Method):
    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
        yield "match", squared_error(student.embedding, teacher.embedding)
"""
NO_NORM = """
from torch import nn
from jkbench import Method, cross_entropy

class Mine(Method):
    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
        for module in teacher._network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.affine = False
        yield "margin", 0 * sum(mean.sum() for mean, _ in teacher.norm_before()) * student.logits.sum()
"""
HEADLESS = """
from jkbench import Method, cross_entropy

class Mine(Method):
    tasks = {"distillation", "transfer"}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)

    def deployed(self, student, modules, teacher):
        return teacher
"""


def apart(task: Task) -> Task:
    """Student and teacher without maps of one size."""
    assert task.teacher is not None
    teacher = task.teacher.model_copy(update={"architecture": "vgg:8"})
    student = task.student.model_copy(update={"architecture": "vgg:M-8"})
    return task.model_copy(update={"teacher": teacher, "student": student})


def lone(task: Task) -> Task:
    """Five classes of one image, two a batch: one is left over."""
    training = task.student.training.model_copy(update={"batch": 2})
    student = task.student.model_copy(update={"training": training})
    return task.model_copy(update={"shots": (1,), "student": student})


def same(task: Task) -> Task:
    return task


BAD: dict[str, tuple[str, str, Any, str, str, str]] = {
    "no common layer": (
        "fitnets", "distillation", apart, "", "no layer of equal size", "name pairs in the task's [matching] layers"),
    "unequal widths": ("mine", "distillation", same, WIDTHS, "is compared with the teacher's", "map one to the other"),
    "fewer images than negatives": (
        "crd[negatives=100]", "distillation", same, "", "only 16 images of other classes", "take negatives=16 or"),
    "one image a batch, distances": ("rkd", "distillation", lone, "", "a batch of one image", "take a larger batch"),
    "one image a batch, similarities": ("sp", "distillation", lone, "", "a batch of one image", "take a larger batch"),
    "a margin without batch norm": (
        "mine", "distillation", same, NO_NORM, "no batch norm comes before an activation", "match other layers"),
    "a teacher without the target's classes": (
        "jacobian[rows=correct]", "transfer", same, "", "no output for the correct class", "use rows=largest"),
    "a deployed network without the target's classes": (
        "mine", "transfer", same, HEADLESS.replace("return teacher", "from jkbench import Network; "
        "from torch import nn; return Network(student.body, nn.LazyLinear(3))"),
        "the deployed network has logits of the shape (1, 3)", "deploy it in distillation tasks only"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_plan_and_run_before_anything_is_trained(nowhere: Path, case: str) -> None:
    methods, kind, change, text, sentence, hint = BAD[case]
    (nowhere / "methods").mkdir()
    if text:
        (nowhere / "methods/mine.py").write_text(text)
    task = change(small.task(kind))
    plan = planning.make(task, discover(working=nowhere), f"scratch,{methods}", seeds=[0])
    planned = application.Planned(plan, discover(working=nowhere), "", application.Store(nowhere / "board"))
    for refuse in (application.check, lambda planned: application.run(planned, Resources(), show=False)):
        with pytest.raises(UserError) as raised:
            refuse(planned)
        told = str(raised.value)
        assert sentence in told
        assert hint in told
        assert told.startswith(plan.rows[-1].label)
        assert "scratch" not in told
    assert not list(nowhere.rglob("*.safetensors")), "a teacher was trained"


def test_rows_that_fit_pass_and_leave_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    for kind in ("distillation", "transfer"):
        task, index = small.task(kind), discover([EXAMPLES], ROOT)
        plan = planning.make(task, index, "all", seeds=[0])
        data = image_sets.of_task(task, plan.trials[0].datasets)
        for trial in plan.trials:
            assert refusal([trial], data) is None, trial.name
    assert torch.equal(before, torch.get_rng_state())


def test_another_error_of_a_plugin_is_left_to_its_own_trials(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WIDTHS.replace("squared_error(", "undefined("))
    (tmp_path / "broken.py").write_text(WIDTHS.replace("from jkbench", "import nothing_of_this_name\nfrom jkbench"))
    plan = planning.make(small.task(), discover([tmp_path]), "mine,broken", seeds=[0])
    data = image_sets.of_task(small.task(), plan.trials[0].datasets)
    assert [refusal([trial], data) for trial in plan.trials] == [None, None]


def test_rows_that_differ_in_the_size_of_weights_alone_are_tried_once() -> None:
    """Tuning has dozens of them; a weight of 0 leaves out a term, and another layer is another loss."""
    rows = "attention[act=2],attention[act=3],attention[act=0],attention[layers=1],distill,distill[act=2]"
    plan = planning.make(small.task(), discover(), rows, seeds=[0])
    tried = []

    class Counting:
        def call(self, function: Any, what: Any, *_: Any, **__: Any) -> None:
            if function is work.first_loss:
                tried.append(what[0].row.label)

    fit(plan, False, Counting(), 1.0)  # type: ignore[arg-type]
    assert tried == ["attention[act=2]", "attention[act=0]", "attention[layers=1]", "distill"]
