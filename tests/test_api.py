"""`jkbench` from a script and from a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from user_folder import METHOD

import jkbench
from jkbench.records.store import Store

ROOT = Path(__file__).parent.parent
CELLS = (
    "import jkbench",
    "trials = jkbench.run('small.toml', methods=['scratch', 'my_method.py'], seeds=2, shots=2,\n"
    "                     set={'student.training.steps': 3}, jobs=1)\n"
    "assert list(trials['method']) == ['my-method', 'my-method', 'scratch', 'scratch']\n"
    "assert set(trials['status']) == {'ok'}\n"
    "trials[['task', 'label', 'shots', 'seed', 'accuracy', 'seconds']]",
    "assert jkbench.plan('small-steps-3', 'scratch', shots=2)['done'].all()\n"
    "assert len(jkbench.results(task='small-steps-3')) == 4\n"
    "assert set(jkbench.predictions(task='small-steps-3')['predicted']) <= {0, 1, 2}\n"
    "jkbench.gains(task='small-steps-3', plugins=['my_method.py'])",
)


def test_the_api_works_in_a_notebook_and_prints_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real kernel, with the suite's default: worker processes."""
    import nbclient
    import nbformat

    (work / "my_method.py").write_text(METHOD)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(work)}}).execute()
    assert [[output.output_type for output in cell.outputs] for cell in book.cells] == [
        [], ["execute_result"], ["execute_result"]
    ]  # fmt: skip
    assert "my-method" in book.cells[1].outputs[0].data["text/plain"]
    assert "half_width" in book.cells[2].outputs[0].data["text/plain"]


def test_a_script_needs_no_guard_against_its_workers(work: Path) -> None:
    """They do not import it again; what it asks for is in the records, in the records' own numbers."""
    (work / "script.py").write_text(
        "import jkbench\nprint('once')\n"
        "found = jkbench.run('small.toml', ['scratch'], seeds=[3], shots=[2, 4], leaderboard='board', jobs=2)\n"
        "print(dict(zip(found['id'], found['accuracy'])))\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=work, capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    records = Store(work / "board").read("small").records
    assert done.stdout.splitlines()[0] == "once"
    assert eval(done.stdout.splitlines()[1]) == {name: record.metrics["accuracy"] for name, record in records.items()}
    assert {record.seed for record in records.values()} == {3}


def test_mistakes_are_user_errors(work: Path) -> None:
    with pytest.raises(jkbench.UserError, match="did you mean 'distill'"):
        jkbench.run("small.toml", "distil")
    with pytest.raises(jkbench.UserError, match="no such plugin file"):
        jkbench.plan("small.toml", ["missing.py"])
    with pytest.raises(jkbench.UserError, match="not a number of seconds"):
        jkbench.run("small.toml", "scratch", timeout=float("nan"))
    with pytest.raises(jkbench.UserError, match="there are no records of 'small'"):
        jkbench.results(task="small")
    assert not (work / "leaderboard").exists()


def test_the_import_is_light() -> None:
    program = "import jkbench, sys; assert callable(jkbench.run) and callable(jkbench.plan); "
    program += "assert not {'torch', 'pandas', 'pydantic_core', 'click'} & {*sys.modules} - {'pydantic_core'}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
