"""The formats of a page: CSV is exact, LaTeX compiles, the figure is small, the terminal says it too."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_factory import few, make_chosen, make_record, make_records, make_robustness, make_task
from rich.console import Console

from jkbench.report import Chosen, figure, markup, terminal_table, write_leaderboard
from jkbench.report.page import compose
from jkbench.report.tidy import COLUMNS, tidy
from jkbench.report.wording import compact, p_value, ranges, significant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaderboard")
    write_leaderboard(folder, [make_chosen(), make_robustness(), Chosen(make_task(name="empty-task"), [])])
    return folder


def test_csv_is_tidy_and_exact(folder):
    frame = pd.read_csv(folder / "digits-fewshot.csv", dtype={"mean": str})
    assert list(frame.columns) == COLUMNS
    assert not frame.duplicated(["label", "shots", "metric"]).any()
    line = frame[(frame.label == "jacobian") & (frame.shots == 5) & (frame.metric == "accuracy")].iloc[0]
    x = [r.metrics["accuracy"] for r in make_chosen().records if (r.label, r.shots) == ("jacobian", 5)]
    assert float(line["mean"]) == np.mean(x)
    assert line["n"] == 5
    assert line["in_tie_group"] in (True, "True")
    lost = frame[(frame.label == "attention-jacobian") & (frame.shots == 1) & (frame.metric == "accuracy")].iloc[0]
    assert (lost["diverged"], lost["n"]) == (2, 3)
    assert frame[frame.label == "finetune"].in_tie_group.isna().all()


def test_empty_pages_have_an_empty_frame():
    assert tidy(compose(Chosen(make_task(), []))).shape == (0, len(COLUMNS))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_in_an_article_with_booktabs(folder, tmp_path):
    odd = make_task(
        name="odd-names",
        title=r"100 % odd_names & \more #1 {x} ~ ^ <|> λ 中 `a[b_c]`",
        selection='picked by [hand]; it\'s "fine"',
    )
    label = "jacobian[act=0, why=a_b%c&d]"
    records = [make_record(odd, label, 1, s, method="jacobian", accuracy=0.5 + s / 50) for s in range(3)]
    records += [make_record(odd, "scratch", 1, s, status="failed", message=r"\bad_{news} $5 #") for s in range(3)]
    write_leaderboard(tmp_path, [Chosen(odd, records)])
    for path in folder.glob("*.tex"):
        shutil.copy(path, tmp_path)
    inputs = "\n".join(rf"\input{{{path.stem}}}" for path in sorted(tmp_path.glob("*.tex")))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\usepackage[utf8]{inputenc}\n"
        f"\\begin{{document}}\nText.\n{inputs}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull" not in log
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_latex_escapes_names_and_bolds_ties(folder):
    text = (folder / "digits-fewshot.tex").read_text()
    assert r"\texttt{jacobian{[}ce=0{]}} & \textbf{" in text
    assert r"seeds\_x" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5


@given(st.text(max_size=40))
def test_no_text_leaves_a_live_character_in_latex(text):
    found = markup.tex(text)
    bare = re.sub(r"\\[&%$#_{},]|\\[a-z]+(\{\}|$)?|\$(\\[a-z]+|-|\^2)\$|\\texttt\{|\{[\[\]]\}|[{}~]", "", found)
    assert not set(bare) & set("&%$#_^\\")
    assert "\n" not in found


@given(st.text(alphabet="ab|*_`<[]\\ \n", max_size=20))
def test_no_text_breaks_out_of_a_markdown_cell(text):
    found = markup.markdown(text)
    assert "\n" not in found
    assert not re.search(r"(?<!\\)\|", found.replace(r"\\", ""))


@pytest.mark.parametrize("make", [make_chosen, make_robustness, few])
def test_figure_is_small_readable_and_without_metadata(make):
    image = figure.draw(compose(make()))
    assert image is not None
    assert len(image) < 150_000
    opened = Image.open(io.BytesIO(image))
    assert 900 <= opened.width <= 1400
    assert set(opened.info) <= {"dpi"}


def test_figure_of_one_column_and_of_the_full_data():
    for shots in ([5], [50, "full"]):
        task = make_task(shots=shots)
        assert figure.draw(compose(Chosen(task, make_records(task, ["scratch", "finetune"])))) is not None


@pytest.mark.parametrize("width", [60, 200])
def test_terminal_table_shows_labels_numbers_and_what_is_wrong(width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(terminal_table(make_chosen()))
    text = console.export_text()
    assert "jacobian[ce=0]" in text
    assert "finetune" in text
    assert "1 planned cell not run" in text
    assert "1.23 M" in text


# words


def test_words_of_numbers():
    assert [significant(x) for x in (1234.5, 25, 0.01234, 0)] == ["1,234", "25.0", "0.0123", "0"]
    assert [compact(x) for x in (999, 45_600, 1_234_567)] == ["999", "45.6 k", "1.23 M"]
    assert [p_value(x) for x in (0.0625, 1.0, 0.0002)] == ["p = 0.0625", "p = 1", "p < 0.001"]
    assert ranges([4, 0, 1, 2, 7]) == "0–2, 4, 7"
