"""Ranges beside parameters: read without importing, refused with their line, and no part of a method's hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.plugins.describe import Plugin, read
from jkbench.plugins.parameters import Range, tunable, widened

METHODS = sorted((ROOT / "methods").glob("*.py"))
TEXT = '''"""Test."""
from typing import Annotated, Literal
from pydantic import Field
from jkbench import Deviation, Method, Weight

class Mine(Method):
    RANGES

    act: Weight = 1.0
    fixed: Weight = 1.0
    tau: Annotated[float, Field(gt=0, le=50)] = 4.0
    rows: Literal["all", "one"] = "all"
    count: Annotated[int, Field(ge=1)] = 3
    sigma: Deviation = 0.1
'''


def plugin(folder: Path, ranges: str) -> Plugin:
    (folder / "mine.py").write_text(TEXT.replace("RANGES", ranges))
    return read(folder / "mine.py", "method", "test")


def test_ranges_are_read_without_importing(tmp_path: Path) -> None:
    made = plugin(tmp_path, 'ranges = {"tau": (1.0, 20.0), "count": (1, 8, "linear"), "fixed": None}')
    assert made.broken is None
    assert tunable(made) == {
        "act": Range(1e-4, 100.0),
        "tau": Range(1.0, 20.0),
        "count": Range(1, 8, log=False),
        "sigma": Range(1e-3, 10.0),
    }


def test_a_range_is_widened_as_far_as_the_parameter_takes_it(tmp_path: Path) -> None:
    made = plugin(tmp_path, 'ranges = {"tau": (1.0, 20.0), "count": (1, 8, "linear")}')
    tau, count = Range(1.0, 20.0), Range(1, 8, log=False)
    assert widened(made, "tau", tau, "high") == tau  # 89 is above its bound of 50
    assert widened(made, "tau", tau, "low") == tau.widened("low")
    assert widened(made, "tau", tau, None) == tau
    assert widened(made, "count", count, "high") == Range(1, 11.5, log=False)
    assert widened(made, "count", count, "low") == count  # 0 is below its bound of 1


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ('{"tau": (5.0, 5.0)}', "5.0 to 5.0 is empty or reversed"),
        ('{"tau": (5.0, 1.0)}', "5.0 to 1.0 is empty or reversed"),
        ('{"tau": (0.0, 1.0)}', "a log scale starts above 0"),
        ('{"tau": (1.0,)}', "is not (low, high)"),
        ('{"tau": (1.0, 2.0, "cubic")}', "is not (low, high)"),
        ('{"tau": ("a", "b")}', "is not (low, high)"),
        ('{"gone": (1.0, 2.0)}', "there is no such parameter"),
        ('{"tau": (1.0, 2 * 3)}', "must be written out"),
        ('{"tau": (1.0, float("nan"))}', "must be written out"),
        ('{"tau": (1.0, 1e999)}', "is not (low, high)"),
    ],
)
def test_a_wrong_range_is_refused_with_its_line(tmp_path: Path, ranges: str, told: str) -> None:
    broken = plugin(tmp_path, f"ranges = {ranges}").broken
    assert broken is not None
    assert "mine.py:7: " in broken
    assert told in broken


@pytest.mark.parametrize("ranges", ['{"tau": (1.0, 90.0)}', '{"rows": (1.0, 2.0)}', '{"count": (0.5, 2.0)}'])
def test_an_end_that_the_parameter_does_not_take_is_refused(tmp_path: Path, ranges: str) -> None:
    with pytest.raises(UserError, match=r"mine\.py:1[123]: its range: "):
        tunable(plugin(tmp_path, f"ranges = {ranges}"))


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_declaring_ranges_keeps_the_hash(path: Path) -> None:
    text = path.read_text()
    line = next(line for line in text.splitlines() if line.startswith("    def "))
    with_ranges = text.replace(line, f'    ranges = {{"act": (1e-3, 5.0)}}\n\n{line}', 1)
    other = text.replace(line, f'    beside = {{"act": (1e-3, 5.0)}}\n\n{line}', 1)
    assert hashing.of_source(with_ranges) == hashing.of_source(text) != hashing.of_source(other)


def test_ranges_that_the_code_reads_are_part_of_the_hash() -> None:
    text = "class A:\n    ranges = {'a': (VALUE, 2)}\n    def f(self): return self.ranges\n"
    assert hashing.of_source(text.replace("VALUE", "0")) != hashing.of_source(text.replace("VALUE", "1"))


def test_every_committed_record_of_a_method_has_the_hash_of_its_file() -> None:
    now = {read(path, "method", "x").name: read(path, "method", "x").code for path in METHODS}
    for path in (ROOT / "leaderboard" / "records").rglob("*.jsonl"):
        found = {record["method"]: record["code"] for record in map(json.loads, path.read_text().splitlines())}
        assert found == {name: now[name] for name in found}, path
