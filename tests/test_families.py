"""A family of task is one object: a fourth is one entry, and nothing else in the package asks for one by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from test_layers import PACKAGE, modules

from jkbench import planning as plan
from jkbench.engine.check import check, small_task
from jkbench.plugins.discovery import Index
from jkbench.report import grid
from jkbench.tasks.families import FAMILIES, Family, Rule
from jkbench.tasks.task import Task

FOURTH = Family(
    name="denoising",
    teacher=True,
    other_labels=True,
    along="noise std",
    rules=(Rule("a denoising task needs [evaluation] noise = [...]", needs=("noise",)),),
    why_not="it knows no denoising",
)
METHOD = '''"""Mine."""
from jkbench import Method, cross_entropy, squared_error


class Mine(Method):
    tasks = {"denoising"}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
        yield "act", squared_error(student.teacher_logits, teacher.teacher_logits)
'''


@pytest.fixture
def fourth(monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setitem(FAMILIES, FOURTH.name, FOURTH)
    return FOURTH


def test_a_fourth_family_is_one_entry(fourth: Family, tmp_path: Path, index: Index) -> None:
    task = small_task("denoising")
    assert (task.teacher is not None, task.source is not None, task.evaluation.noise) == (True, True, (0.1,))
    with pytest.raises(ValueError, match="a denoising task needs"):
        Task.model_validate({**task.model_dump(), "evaluation": {}})
    assert plan.why_not(index.methods()["jacobian"], task) == "it knows no denoising"
    assert [block.along for block in grid.arrange(task, [], [("mine", 4)]).main] == ["noise std"]
    (tmp_path / "mine.py").write_text(METHOD)
    findings = list(check(tmp_path / "mine.py"))
    assert [finding for finding in findings if not finding.held] == []
    assert any(finding.what.startswith("denoising: gradients never reach the teacher") for finding in findings)


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("robustness", {"source": {"dataset": "digits"}}, "neither teacher nor source"),
        ("robustness", {"evaluation": {}}, r"needs \[evaluation\] noise"),
        ("distillation", {"teacher": None}, r"a distillation task needs a \[teacher\]"),
        ("distillation", {"source": {"dataset": "digits", "classes": (0, 1)}}, "share their labels"),
        ("transfer", {"teacher": None}, r"a transfer task needs a \[teacher\]"),
        ("transfer", {"source": None}, r"a transfer task needs a \[source\]"),
        ("denoising", {}, "there is no such family of task: 'distillation', 'transfer', 'robustness' are known"),
    ],
)
def test_what_a_family_asks_of_a_task_file_is_said_in_a_sentence(
    kind: str, change: dict[str, object], told: str
) -> None:
    content = small_task(kind if kind in FAMILIES else "distillation").model_dump()
    with pytest.raises(ValueError, match=told):
        Task.model_validate({**content, "kind": kind, **change})


def test_no_code_asks_for_a_family_by_name() -> None:
    for path in modules():
        if path == PACKAGE / "tasks" / "families.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                assert not constants & set(FAMILIES), f"{path}:{node.lineno} compares with a family's name"
