"""What a stranger opens first: the demo, the notebook, the site's list of names, the suite's own records."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_cli import jkbench

import jkbench as suite
from jkbench.cli.demo import METHODS
from jkbench.plugins.discovery import discover
from jkbench.records.store import Store


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (ROOT / "docs/api.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(name for name in suite.__all__ if not name.startswith("__"))


def test_the_suites_own_records_are_read_by_name() -> None:
    found = suite.results("suite", task="digits-fewshot", split=None)
    assert len(found) == len(Store(ROOT / "leaderboard").read("digits-fewshot").records)
    gains = suite.gains("suite", task="digits-fewshot")
    assert {"jacobian", "noise"} <= set(gains["label"])


def test_the_demo_runs_methods_that_there_are_and_the_oracle() -> None:
    assert set(METHODS.split(",")) <= set(discover().methods())
    assert "finetune" in METHODS


def test_the_demo_is_a_run_and_a_leaderboard(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = sys.modules["jkbench.cli.demo"]
    monkeypatch.setattr(module, "METHODS", "scratch")
    monkeypatch.setattr(module, "TASK", "small.toml")
    code, out, err = jkbench(capsys, "demo")
    assert code == 0, err
    assert "scratch" in out
    assert (work / "demo/small.md").is_file()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(ROOT / "examples/your-method.ipynb", as_version=4)
    for cell in book.cells:  # two seeds of one regime say as much of whether it runs
        cell.source = cell.source.replace("shots=[1, 5], seeds=3", "shots=[1], seeds=2")
    nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    table = book.cells[3].outputs[-1].data["text/plain"]
    assert "my-method" in table
    assert "distill" in table
