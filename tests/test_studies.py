"""The pages of the studies come again from their records, byte for byte."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT
from scipy import stats

from jkbench.records.store import Store
from jkbench.report.grid import END, value_of
from jkbench.tasks import task as tasks

REPORTS = sorted(path.parent.name for path in (ROOT / "studies").glob("*/report.py"))


def report_of(study: str) -> Any:
    """A study's report as a module."""
    spec = importlib.util.spec_from_file_location(f"{study}_report", ROOT / f"studies/{study}/report.py")
    assert spec is not None
    assert spec.loader is not None
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    return report


@pytest.mark.parametrize("study", REPORTS)
def test_a_study_s_page_is_what_its_report_writes(study: str) -> None:
    made = subprocess.run(
        [sys.executable, f"studies/{study}/report.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout == (ROOT / "studies" / study / "README.md").read_text(encoding="utf-8")


def test_the_teachers_of_the_study_of_teaching_are_its_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "studies/teaching"
    monkeypatch.syspath_prepend(folder)
    recipes = importlib.import_module("recipes")
    written = {name: text for suite in recipes.SUITES.values() for name, text in suite.recipes().items()}
    assert {path.stem: path.read_text() for path in (folder / "tasks").glob("*.toml")} == written
    for suite in recipes.SUITES.values():
        own, like = tasks.load(str(folder / "tasks" / f"{next(iter(suite.recipes()))}.toml")), tasks.load(suite.like)
        assert (own.student, own.target) == (like.student, like.target)


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


def test_two_precisions_are_equivalent_where_both_one_sided_tests_say_so() -> None:
    """Against Schuirmann's two tests, each written out."""
    report = report_of("precision")
    near, far, wide = [0.3, -0.3, 0.2, 0.0, 0.3, -0.4], [1.0, 1.5, 0.9, 1.2, 1.0, 0.5], [2.0, -2.0, 1.5, -1.0, 0.5, 0.0]
    for values in (near, far, wide):
        above = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
        below = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
        assert report.not_equivalent(values, image=0.5) == pytest.approx(max(above, below))
    assert report.not_equivalent([0.0] * 6, image=0.5) > 0, "seeds that do not differ are no proof"
    rows = [report.Row("cifar10-lite", 20, "distill", 0.0, 0.0, values) for values in (near, far, wide)]
    assert [row.verdict for row in rows] == ["equivalent", "different", "not resolved"]


def test_the_sentence_on_the_weight_of_a_jacobian_term_is_what_its_records_say() -> None:
    """docs/reproduction.md: both keep about nine tenths at weight 0.01, and a sixth or less from 10 up, or alone."""
    report = report_of("terms")
    found = report.groups("digits-transfer", 5)
    kept = {key: sum(v := [value_of(r, f"{END}jac") for r in group]) / len(v) for key, group in found.items()}
    assert {method for method, *_ in kept} == set(report.METHODS)
    for (_, weight, lonely), share in kept.items():
        if lonely or weight >= 10:
            assert share <= 1 / 6
        elif weight == 0.01:
            assert 0.85 < share < 0.95
