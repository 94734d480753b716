"""Rows of one run: what the code of one patches in its process reaches no other, nor the signals on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
from user_folder import METHOD

from jkbench import planning
from jkbench.execute import Machine, backends
from jkbench.execute.order import LongestFirst
from jkbench.execute.run import make_plan
from jkbench.plugins.discovery import discover
from jkbench.records.schema import Record

pytestmark = pytest.mark.processes

NEIGHBOURS = "scratch,attention,jacobian"
ATTACKS = {
    "loss": "torch.nn.functional.cross_entropy = lambda z, y, **_: 0.1 * z.square().mean()",
    "maths": "jkbench.maths.attention_map = lambda maps: maps.abs().mean(1) + 1; teacher.attention()",
    "rows": "jkbench.maths.jacobian_rows = lambda outputs, x, index, create_graph=False: 0 * x.flatten(1)[:, None] + 3;"
    " teacher.jacobian(teacher.rows('auto'))",
    "hook": "torch.nn.modules.module.register_module_forward_hook(HALVE)",
    "base": "Method.inputs = lambda self, batch: 0 * batch.x",
    "rates": "jkbench.engine.loop.Batches.rate = lambda self, step: 0.0",
}


HALVE = "lambda module, given, out: out / 2 if isinstance(module, torch.nn.Linear) else None"


def attacks(folder: Path) -> str:
    """Plugin files whose first loss does such a thing; their names."""
    for name, statement in ATTACKS.items():
        statement = f"import jkbench.engine.loop, torch; {statement.replace('HALVE', HALVE)}"
        text = METHOD.replace("        yield", f"        {statement}\n        yield")
        (folder / f"{name}.py").write_text(text)
    return ",".join(ATTACKS)


def numbers(records: list[Record]) -> dict[str, object]:
    return {r.method: (r.status, r.metrics, r.predictions, r.curves, r.environment) for r in records}


def test_what_a_plugin_patches_reaches_no_other_row(work: Path) -> None:
    """Neither rows that the same worker runs later, nor those that read the teacher's signals from the same cache."""
    names = attacks(work / "methods")
    index, task = discover(working=work), small.task()

    def ran(methods: str, cache: str) -> dict[str, object]:
        trials = planning.make(task, index, methods, shots=(4,), seeds=[0]).trials
        assert LongestFirst(trials, {}).take().row.label == methods.split(",")[0]
        return numbers(list(backends.run(trials, Machine(work / "board", work / cache))))

    clean = ran(NEIGHBOURS, "clean")
    beside = ran(f"{names},{NEIGHBOURS}", "shared")
    assert {beside[name][0] for name in NEIGHBOURS.split(",")} == {"ok"}  # type: ignore[index]
    assert {name: beside[name] for name in clean} == clean


EDITS = {
    "": "ok",
    "steps = 4": "the file was changed after this trial was planned",
    'title = "Small"': "ok",
    "[student]": "not a TOML file",
}


@pytest.mark.parametrize("edited", EDITS)
def test_a_task_that_was_changed_after_planning_is_not_run_under_its_old_protocol(work: Path, edited: str) -> None:
    """A title changes no number; a file that cannot be read is not the planned one. What was planned is not run."""
    planned = make_plan("small.toml", "scratch", [2], [0], folder=work / "board")
    if edited:
        file = work / "small.toml"
        file.write_text(file.read_text().replace(edited, edited.replace("4", "5").replace("Small", "S").strip("]")))
    machine = Machine(work / "board", task_file=planned.task_file)
    (record,) = backends.run(planned.plan.trials, machine, "serial")
    assert record.status == ("ok" if EDITS[edited] == "ok" else "failed")
    assert record.status == "ok" or EDITS[edited] in (record.message or "")
    assert str(work) not in (record.message or "")


def test_trials_of_one_plugin_share_a_process(work: Path) -> None:
    """A process a trial would load everything again."""
    (work / "methods/mine.py").write_text(
        METHOD.replace(
            "        yield", "        import os; open('pids', 'a').write(f'{os.getpid()}\\n')\n        yield"
        )
    )
    trials = planning.make(small.task(), discover(working=work), "mine", shots=(4,), seeds=[0, 1]).trials
    assert [record.status for record in backends.run(trials, Machine(work / "board"))] == ["ok", "ok"]
    assert len(set((work / "pids").read_text().split())) == 1


def test_a_plugin_that_exits_is_a_failed_record_whatever_its_status(work: Path) -> None:
    """No status of its own says that a process was to end for another method."""
    for status in (0, 77):
        (work / f"methods/exit{status}.py").write_text(
            METHOD.replace("        yield", f"        import os; os._exit({status})\n        yield")
        )
    trials = planning.make(small.task(), discover(working=work), "exit0,exit77,scratch", shots=(4,), seeds=[0]).trials
    records = {record.method: record for record in backends.run(trials, Machine(work / "board"))}
    assert records["scratch"].status == "ok"
    for status in (0, 77):
        assert f"the worker exited with status {status}, twice" in (records[f"exit{status}"].message or "")
