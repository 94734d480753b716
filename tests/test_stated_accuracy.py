"""A task may state what its teacher reaches: one that has less teaches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from jkbench.cli import cli
from jkbench.errors import UserError
from jkbench.execute.run import Resources, check, make_plan, run, smoke
from jkbench.records import teachers
from jkbench.records.weights import described
from jkbench.tasks import task as tasks


def state(work: Path, accuracy: float, name: str = "small") -> Path:
    """Write the accuracy into the task's file."""
    file = work / f"{name}.toml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("accuracy")]
    at = lines.index("[teacher]") + 1
    file.write_text("\n".join([*lines[:at], f"accuracy = {accuracy}", *lines[at:]]) + "\n")
    return file


def test_a_teacher_below_what_its_task_states_is_refused_with_both_numbers(work: Path) -> None:
    """When it is trained, when it is stored, and when it is imported; a smoke test trains two steps of it."""
    planned = make_plan("small.toml", "scratch", [2], [0], folder=work / "board")
    assert run(planned, Resources(jobs=1), show=False) == {"ok": 1}
    recipe = teachers.of_task(planned.plan.task, planned.plan.trials[0].datasets)
    assert recipe is not None
    stored = teachers.path(work / "board", recipe)
    found = described(stored)
    assert found is not None
    assert found.accuracy is not None
    assert found.accuracy < 0.999
    told = f"the teacher has {100 * found.accuracy:.2f} % on its test images, and the task states at least 99.90 %"
    state(work, 0.999)
    again = make_plan("small.toml", "scratch", [2], [0, 1], folder=work / "board")
    with pytest.raises(UserError, match=told):
        check(again)
    with pytest.raises(UserError, match=told):
        run(again, Resources(jobs=1), show=False)
    with pytest.raises(UserError, match=told):
        run(make_plan("small.toml", "scratch", [2], [0], folder=work / "other"), Resources(jobs=1), show=False)
    with pytest.raises(UserError, match=told):
        cli.main(
            ["teacher", "import", str(stored), "--task", "small.toml", "--leaderboard", "third"], standalone_mode=False
        )
    assert not (work / "third").exists()
    assert smoke(again, Resources(jobs=1), show=False) == {"ok": 2}


def test_a_stated_accuracy_moves_no_number_and_no_record(work: Path) -> None:
    """The protocol is the same: records that were made before it was stated are current."""
    before = tasks.load("small.toml").protocol
    assert tasks.load(str(state(work, 0.1))).protocol == before
    planned = make_plan("small.toml", "scratch", [2], [0], folder=work / "board")
    assert run(planned, Resources(jobs=1), show=False) == {"ok": 1}
    state(work, 0.2)
    assert run(make_plan("small.toml", "scratch", [2], [0], folder=work / "board"), Resources(jobs=1), show=False) == {}


@pytest.mark.parametrize(("accuracy", "told"), [(64.78, "less than or equal to 1"), (-0.1, "greater than or equal")])
def test_an_accuracy_is_a_share(work: Path, accuracy: float, told: str) -> None:
    with pytest.raises(UserError, match=told):
        tasks.load(str(state(work, accuracy)))


def test_a_pretrained_teacher_has_no_accuracy_to_state(work: Path) -> None:
    file = state(work, 0.5)
    text = file.read_text().replace('"vgg:8-M-8"', '"timm:resnet18"')
    lines = ["pretrained = { source = 'x' }" if "steps = 10" in line else line for line in text.splitlines()]
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match="the accuracy of a pre-trained teacher cannot be seen"):
        tasks.load("small.toml")
