"""A plugin that dies, hangs, exits or changes under the run ends its own trial, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import small
from test_cli import jkbench
from user_folder import METHOD

from jkbench import planning
from jkbench.errors import UserError
from jkbench.execute import Machine, backends
from jkbench.execute.backends import processes
from jkbench.plugins.describe import read
from jkbench.plugins.discovery import discover
from jkbench.plugins.loading import load
from jkbench.records.store import Store

pytestmark = pytest.mark.processes

SEGFAULT = "import ctypes; ctypes.string_at(0)"
HANG = "import time; time.sleep(600)"
DATASET = '''"""Test."""
import os
import numpy as np
from jkbench import Dataset, carve

class Mine(Dataset):
    classes = ("a", "b", "c")

    def load(self):
        DO
'''


def method(statement: str) -> str:
    """A method whose loss does this first."""
    return METHOD.replace("        yield", f"        {statement}\n        yield")


def test_a_loss_that_ends_its_process_or_hangs_is_a_record_and_the_run_goes_on(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one job, where the deadly one comes last: the command has to end with 1 and a record of each."""
    monkeypatch.setattr(processes, "START", 20.0)  # of the limit's own minute
    for name, statement in {
        "exits": "import sys; sys.exit(0)", "quits": "import os; os._exit(0)", "segfaults": SEGFAULT, "hangs": HANG
    }.items():  # fmt: skip
        (work / f"methods/{name}.py").write_text(method(statement))
    arguments = ("--shots", "2", "--seeds", "1", "--jobs", "1", "--timeout", "1", "--methods")
    code, out, _ = jkbench(capsys, "run", "--task", "small.toml", *arguments, "scratch,exits,hangs,segfaults,quits")
    assert code == 1
    assert "ran 3 failed, 1 ok, 1 timeout" in out
    found = {record.method: record for record in Store(work / "leaderboard").read("small").records.values()}
    assert {name: record.status for name, record in found.items()} == {
        "scratch": "ok", "exits": "failed", "quits": "failed", "segfaults": "failed", "hangs": "timeout"
    }  # fmt: skip
    assert "SystemExit: 0" in (found["exits"].message or "")
    assert (found["quits"].message or "").startswith("the worker exited with status 0")
    assert (found["segfaults"].message or "").startswith("the worker died by SIGSEGV")
    assert found["hangs"].message == "stopped: no step ended within 1 s"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import os; os._exit(0)\n" + METHOD, "the worker exited with status 0"),
        ("import sys; sys.exit(0)\n" + METHOD, "SystemExit: 0"),
        (method(SEGFAULT), "the worker died by SIGSEGV"),
        (method(HANG), "no step ended within 1 s"),
        (DATASET.replace("DO", "os._exit(0)"), "the worker exited with status 0"),
    ],
    ids=["at-import", "exit-at-import", "segfault", "hang", "load"],
)
def test_check_fails_where_the_plugin_ends_its_process(
    work: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (work / "mine.py").write_text(text)
    code, out, _ = jkbench(capsys, "check", "mine.py", "--timeout", "1", "--json")
    answer = json.loads(out)
    assert code == 1
    assert not answer["held"]
    assert told in answer["findings"][-1]["seen"]


def test_a_data_set_that_ends_its_process_is_a_sentence(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "datasets").mkdir()
    (work / "datasets/mine.py").write_text(DATASET.replace("DO", "os._exit(0)"))
    text = (work / "small.toml").read_text().replace('dataset = "digits"', 'dataset = "mine"')
    (work / "small.toml").write_text(text)
    for command in ("plan", "run"):
        code, _, err = jkbench(capsys, command, "--task", "small.toml", "--methods", "scratch")
        assert code == 2
        assert "the worker exited with status 0" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("profile", "--task", "small.toml", "--methods", "scratch", "--shots", "2"),
        ("theory", "terms", "small.toml", "--methods", "scratch", "--shots", "2"),
        ("teacher", "train", "--task", "small.toml"),
        ("teacher", "import", "--task", "small.toml", "small.toml"),
        ("data", "prepare", "mine"),
        ("data", "import", "mine", "mine.npz"),
    ],
    ids=" ".join,
)
def test_no_command_runs_a_plugin_in_its_own_process(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    (work / "datasets").mkdir()
    (work / "datasets/mine.py").write_text("import os; os._exit(0)\n" + DATASET.replace("DO", "pass"))
    text = (work / "small.toml").read_text().replace('dataset = "digits"', 'dataset = "mine"')
    (work / "small.toml").write_text(text)
    code, _, err = jkbench(capsys, *arguments)
    assert code == 2
    assert "the worker exited with status 0" in err


def test_a_file_that_was_changed_after_planning_is_not_run_under_its_old_hash(work: Path) -> None:
    path = work / "methods/mine.py"
    path.write_text(METHOD)
    made = planning.make(small.task(), discover(working=work), "mine", shots=(4,), seeds=[0]).trials
    path.write_text(METHOD.replace('"ce", cross', '"ce", 2 * cross'))
    (record,) = backends.run(made, Machine(work / "board"))
    assert record.status == "failed"
    assert "was changed after this trial was planned" in (record.message or "")
    assert str(work) not in (record.message or "")


def test_what_is_hashed_is_what_is_executed_in_installed_packages_too(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the package was imported before its file changed."""
    (work / "theirs").mkdir()
    (work / "theirs/__init__.py").write_text("from . import loss\n")
    (work / "theirs/loss.py").write_text(METHOD)
    monkeypatch.syspath_prepend(work)
    described = dataclasses.replace(read(work / "theirs/loss.py", "method", "x"), module="theirs.loss")
    first = load(described)
    (work / "theirs/loss.py").write_text(METHOD.replace("    def loss", "    extra = lambda self: 1\n    def loss"))
    with pytest.raises(UserError, match="was changed"):
        load(dataclasses.replace(described, class_name="Other"))
    now = dataclasses.replace(read(work / "theirs/loss.py", "method", "x"), module="theirs.loss")
    assert load(described) is first
    assert load(now)().extra() == 1
    assert load(now).__module__ == "theirs.loss"


def test_a_plugin_is_broken_where_it_runs_not_where_it_is_planned(work: Path) -> None:
    """A machine that lacks an import plans for one that has it."""
    path = work / "methods/mine.py"
    path.write_text("import colorsys\n" + METHOD)
    index = discover(working=work)
    planned = dataclasses.replace(index.find("method", "mine"), broken=f"{path}:1: imports 'colorsys', not installed")
    index.plugins["method"]["mine"] = planned
    made = planning.make(small.task(), index, "mine", shots=(4,), seeds=[0]).trials
    (record,) = backends.run(made, Machine(work / "board"))
    assert record.status == "ok", record.message
