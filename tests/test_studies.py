"""The pages of the studies come again from their records, byte for byte."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

from jkbench.records.store import Store

REPORTS = sorted(path.parent.name for path in (ROOT / "studies").glob("*/report.py"))


@pytest.mark.parametrize("study", REPORTS)
def test_a_study_s_page_is_what_its_report_writes(study: str) -> None:
    made = subprocess.run(
        [sys.executable, f"studies/{study}/report.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout == (ROOT / "studies" / study / "README.md").read_text(encoding="utf-8")


def test_no_seed_chooses_an_estimators_weight_and_stands_in_the_table() -> None:
    records = Store(ROOT / "studies/estimators").read("digits-fewshot").records.values()
    seeds = {split: {record.seed for record in records if record.split == split} for split in ("validation", "test")}
    assert seeds["validation"]
    assert seeds["test"]
    assert not seeds["validation"] & seeds["test"]


def test_the_readings_are_of_validation_images_alone() -> None:
    folder = ROOT / "studies/readings"
    for task in (folder / "records").iterdir():
        assert {record.split for record in Store(folder).read(task.name).records.values()} == {"validation"}
