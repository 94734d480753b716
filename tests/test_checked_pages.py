"""A committed page that the records do not give is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from report_factory import few, make_chosen
from test_verify import board, real

from jkbench.cli import cli
from jkbench.records.store import Store
from jkbench.report import accuracy_figure
from jkbench.report.figures import content, save
from jkbench.report.leaderboard import differences, write_leaderboard
from jkbench.report.page import compose

PAGES = [make_chosen()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_leaderboard(folder, PAGES)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    for path in written.rglob("*.*"):
        (tmp_path / path.relative_to(written)).parent.mkdir(exist_ok=True)
        (tmp_path / path.relative_to(written)).write_bytes(path.read_bytes())
    return tmp_path


def edit(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def test_what_was_written_is_what_the_records_give(folder: Path) -> None:
    assert list(differences(folder, PAGES)) == []


@pytest.mark.parametrize(
    ("name", "pattern", "by"),
    [
        ("digits-fewshot.md", r"30\.\d\d ± ", "99.99 ± "),
        ("digits-fewshot.md", "not ranked", "ranked"),
        ("digits-fewshot.csv", r"0\.3\d{5}", "0.399999"),
        ("tex/digits-fewshot--accuracy.tex", r"\\textbf", r"\\emph"),
        ("README.md", "v1", "v2"),
    ],
)
def test_a_page_edited_by_hand_is_found(folder: Path, name: str, pattern: str, by: str) -> None:
    edit(folder / name, pattern, by)
    (said,) = differences(folder, PAGES)
    assert re.match(rf"{re.escape(str(folder / name))}:\d+: it says '.*', the records '", said)


def test_the_rounding_of_another_machine_is_no_difference(folder: Path) -> None:
    text = (folder / "digits-fewshot.csv").read_text()
    number = re.search(r"0\.\d{14,}", text)
    assert number is not None
    (folder / "digits-fewshot.csv").write_text(text.replace(number[0], repr(float(number[0]) * (1 + 1e-13))))
    assert (folder / "digits-fewshot.csv").read_text() != text
    assert list(differences(folder, PAGES)) == []


def redrawn(path: Path, figure: Figure) -> None:
    path.write_bytes(save(lambda: figure))


def without_metadata(path: Path, figure: Figure) -> None:
    with Image.open(path) as opened:
        opened.save(path)


def cut(path: Path, figure: Figure) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("change", [redrawn, without_metadata, cut])
def test_a_figure_of_other_records_is_found(folder: Path, change: Callable[[Path, Figure], None]) -> None:
    """One cell's seed moves by one image of the test set."""
    image = PAGES[0].records[0].model_copy(update={"metrics": PAGES[0].records[0].metrics | {"accuracy": 0.3001}})
    other = replace(PAGES[0], records=[image, *PAGES[0].records[1:]])
    change(folder / "digits-fewshot.png", accuracy_figure.draw(compose(other)))
    assert list(differences(folder, PAGES)) == [f"{folder / 'digits-fewshot.png'}: it was drawn from other records"]


def test_fonts_and_the_rounding_of_another_machine_are_no_difference_of_a_figure() -> None:
    page = compose(PAGES[0])
    one = content(partial(accuracy_figure.draw, page))

    def elsewhere() -> Figure:
        with mpl.rc_context({"font.size": 14.0, "font.family": "monospace"}):
            figure = accuracy_figure.draw(page)
        for line in figure.axes[0].lines:
            line.set_ydata(np.asarray(line.get_ydata()) * (1 + 1e-13))
        FigureCanvasAgg(figure).draw()
        return figure

    assert content(elsewhere) == one


def test_missing_files_and_pages_without_records_are_found(folder: Path) -> None:
    for name in ("digits-fewshot.png", "tex/digits-fewshot--gain.tex"):
        (folder / name).unlink()
    (folder / "old-task.md").write_text((folder / "digits-fewshot.md").read_text())
    (folder / "mine.md").write_text("Not written by jkbench\n")
    assert {said.removeprefix(f"{folder}/") for said in differences(folder, PAGES)} == {
        "digits-fewshot.png: it is missing",
        "tex/digits-fewshot--gain.tex: it is missing",
        "old-task.md: the records give no such file",
    }
    assert any("digits-fewshot.md:" in said for said in differences(folder, [few()]))


def test_the_command_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = board(tmp_path, real("scratch"))
    Store(home).put(real("distill"))  # in flight
    readme = tmp_path / "paper.md"
    readme.write_text("<!-- table: digits-fewshot scratch -->\n<!-- end of table -->\n")
    words = ["leaderboard", "--leaderboard", str(home), "--readme", str(readme)]
    assert cli.main(words, standalone_mode=False) == 0
    assert cli.main([*words, "--check"], standalone_mode=False) == 0
    Store(home).put(real("jacobian"))
    capsys.readouterr()
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert cli.main([*words, "--check"], standalone_mode=False) == 1
    assert "README.md:4: it says" in (said := capsys.readouterr()).out
    assert "files do not match the records; to write them: jkbench leaderboard" in said.err
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
