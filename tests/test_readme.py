"""The README and the documents: numbers from records, commands that exist, links that lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from conftest import ROOT

import jkbench
from jkbench.cli import cli
from jkbench.plugins.discovery import discover
from jkbench.records import tasks as recorded_tasks
from jkbench.records.choices import read
from jkbench.records.select import pages
from jkbench.records.store import Store
from jkbench.report.excerpt import fill
from jkbench.report.page import Page, compose
from jkbench.report.tidy import tidy

README = (ROOT / "README.md").read_text(encoding="utf-8")
BOARD = ROOT / "leaderboard"
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.name != "performance.md"
]


def page(name: str) -> Page:
    return shown(name, "task")


def shown(name: str, origin: str) -> Page:
    task = recorded_tasks.load(name, BOARD)
    every = pages(task, discover(), Store(BOARD).read(name), read(task, BOARD))
    return compose(next(each for each in every if each.origin == origin))


def gains(task: str, label: str) -> dict[object, tuple[float, float]]:
    """Gain over the task's baseline and the half-width of its interval, in points, by images per class."""
    rows = jkbench.gains(BOARD, task=task).query("label == @label and metric == 'accuracy'")
    return {row.shots: (100 * row.gain, 100 * row.half_width) for row in rows.itertuples()}


def test_the_table_in_the_readme_is_what_the_records_say():
    assert "<!-- table: digits-fewshot " in README
    assert fill(README, page) == README, "run: jkbench leaderboard --readme README.md"
    assert fill(README.replace("72.06", "99.99"), page) == README


def test_the_readme_s_first_finding_is_what_the_records_say():
    found = gains("digits-fewshot", "jacobian")
    for shots, words in ((1, "with one image per\n  class"), (10, "with ten")):
        gain, half = found[shots]
        assert f"{gain:.1f} ± {half:.1f}" in README, words
    assert all(found[1][0] - found[1][1] > found[shots][0] + found[shots][1] for shots in (5, 10, 50))
    assert found[50][0] - found[50][1] < 0 < found[50][0] + found[50][1]


def test_the_readme_s_second_finding_is_what_the_records_say():
    block = next(table for table in page("digits-fewshot").tables)
    cells = {str(row[0].text).strip("`"): row for row in block.rows}
    assert cells["noise"][1].bold
    assert cells["jacobian"][1].bold
    ratio = [str(head.text).startswith("×") for head in block.heads].index(True)
    assert cells["noise"][ratio].value < cells["jacobian"][ratio].value


def test_the_readme_s_third_finding_is_what_the_records_say():
    by_hand = page("digits-transfer")
    assert by_hand.task.baseline == "scratch"
    with_teacher = {"attention", "attention-jacobian", "jacobian", "lwf", "lwf-jacobian", "noise"}
    assert with_teacher == set(by_hand.grid.ranked) - {"scratch", "jacobian-norm"}
    for label in with_teacher:
        found = gains("digits-transfer", label)
        assert all(found[shots][0] + found[shots][1] < 0 for shots in (5, 10, 50)), (label, found)
    tuned = tidy(shown("digits-transfer", "tuned")).query("metric == 'accuracy'").set_index(["label", "shots"])
    assert with_teacher < set(tuned.index.get_level_values("label"))
    assert not any(tuned["gain_p"] < 0.05)


def test_the_readme_is_at_most_700_words():
    assert len(README.split()) <= 700


def commands() -> list[tuple[str, str]]:
    found = []
    for path in PAGES:
        for line in re.findall(r"^    (?:\.venv/bin/)?(jkbench .*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
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
