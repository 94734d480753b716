"""The README and the documents: numbers from records, commands that exist, links that lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pandas as pd
import pytest
from conftest import ROOT

from jkbench.cli import cli
from jkbench.plugins.discovery import discover
from jkbench.records.select import Chosen, every
from jkbench.records.store import Store
from jkbench.report.excerpt import fill
from jkbench.report.page import Page, compose
from jkbench.report.tidy import tidy
from jkbench.report.versus import versus
from jkbench.statistics import mean_interval

README = (ROOT / "README.md").read_text(encoding="utf-8")
BOARD = ROOT / "leaderboard"
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.name != "performance.md"
]


def chosen(name: str) -> Chosen:
    (found,) = (each for each in every(Store(BOARD), discover(), "test", [], Store(BOARD).read) if each.name == name)
    return found


def page(name: str) -> Page:
    return compose(chosen(name))


def gains(name: str) -> pd.DataFrame:
    """Gains over a page's baseline in points, by row and images per class."""
    rows = tidy(page(name)).query("metric == 'accuracy'").set_index(["label", "shots"])
    return rows[["gain", "gain_half_width"]].mul(100).join(rows["gain_p"])


def test_the_table_in_the_readme_is_what_the_records_say():
    assert "<!-- table: digits-fewshot-tuned " in README
    assert fill(README, page) == README, "run: jkbench leaderboard --readme README.md"
    assert fill(README.replace("84.30", "99.99"), page) == README


def test_the_readme_s_first_finding_is_what_the_records_say():
    found = gains("digits-fewshot-tuned")
    costs = json.loads((ROOT / "docs/method-costs.json").read_text())["steps of distill"]
    for label in ("jacobian-random-rows", "jacobian"):
        for shots in (1, 10):
            gain, half, p = found.loc[label, shots]
            assert f"{gain:.1f} ± {half:.1f}" in README, (label, shots)
            assert p < 0.05
        assert f"{costs[label]:.1f}" in README
        gain, half, p = found.loc[label, 50]
        assert gain - half < 0 < gain + half
    best = {label: found.loc[label, 1]["gain"] for label in found.index.unique("label") if label != "finetune"}
    assert max(best, key=best.get) == "jacobian-random-rows"


def test_the_readme_s_second_finding_is_what_the_records_say():
    found = gains("digits-fewshot-tuned")
    gained = {label for (label, _), row in found.iterrows() if row["gain"] > 0 and row["gain_p"] < 0.05}
    assert {"funmatch", "noise"} < gained
    controls = {"scratch", "finetune", "jacobian-norm"}
    none = set(found.index.unique("label")) - gained - controls - {"distill", "shuffled-jacobian"}
    assert {"kd", "rkd", "crd"} < none
    assert f"{len(none)} methods" in README, sorted(none)


def test_the_readme_s_third_finding_is_what_the_records_say():
    found = gains("digits-transfer-tuned")
    assert {"jacobian", "jacobian-random-rows", "kd", "fitnets", "noise", "lwf"} < set(found.index.unique("label"))
    for name, rows in (("digits-transfer", 10), ("flowers-transfer", 10), ("flowers-transfer-lite0", 4)):
        each = gains(f"{name}-tuned")
        assert each["gain"].notna().sum() >= rows
        assert not any((each["gain"] > 0) & (each["gain_p"] < 0.05))


def test_what_the_readme_says_of_photographs_is_what_the_records_say():
    found = gains("cifar10-lite-tuned")
    for label, shots in (("jacobian-random-rows", 5), ("jacobian-random-rows", 20), ("jacobian", 20), ("vid", 20)):
        gain, half, p = found.loc[label, shots]
        assert f"{gain:.1f} ± {half:.1f}" in README
        assert p < 0.05
    for label, shots in (("jacobian", 5), ("jacobian", 100), ("jacobian-random-rows", 100)):
        assert not (found.loc[label, shots]["gain"] > 0 and found.loc[label, shots]["gain_p"] < 0.05)


def test_what_the_reproduction_says_of_photographs_is_what_the_records_say():
    found = gains("cifar100-to-cifar10-tuned")
    for shots in (5, 20):
        assert found.loc["lwf", shots]["gain"] > 0
        assert found.loc["lwf", shots]["gain_p"] < 0.05
    lost = found.drop(index="finetune", level="label").query("shots == 100").dropna()
    assert len(lost) == 7
    assert all((lost["gain"] < 0) & (lost["gain_p"] < 0.05))
    for each in versus([chosen("cifar100-to-cifar10-tuned")], "attention-jacobian", "lwf"):
        if each.column.shots in (5, 20):
            points = mean_interval([100 * value for value in each.differences])
            assert abs(points.mean) < points.half_width
            assert points.mean + points.half_width < 0.94  # the smallest gain of the paper's table


def test_the_readme_is_at_most_700_words():
    assert len(README.split()) <= 700


def commands() -> list[tuple[str, str]]:
    found = []
    for path in PAGES:
        text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))  # lines that go on
        for line in re.findall(r"^    (?:\.venv/bin/)?(jkbench .*)$", text, re.MULTILINE):
            found.append((path.name, line))
    return found


@pytest.mark.parametrize(("where", "line"), commands())
def test_every_command_in_the_documents_is_one(where: str, line: str) -> None:
    """Its name, its options and its arguments are read as the command line reads them; nothing runs."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli
    context = click.Context(command, info_name="jkbench")
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        assert command is not None, line
        context = click.Context(command, info_name=name, parent=context)
    words = [word for word in words if word != "\\"]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_of_the_documents_leads_to_a_file(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
