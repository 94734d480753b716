"""What is written for a paper compiles, and a cell that prose cites is the page's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_factory import make_chosen, make_record, make_robustness, make_task

from jkbench.plugins.discovery import Index
from jkbench.records.select import Chosen
from jkbench.report.leaderboard import document
from jkbench.report.page import compose
from jkbench.report.paper import part, write_paper
from jkbench.report.render.latex import words

PAGES = [make_chosen(), make_robustness()]


@pytest.fixture(scope="module")
def paper(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    odd = make_task(name="odd-names", title=r"100 % odd_names & \more #1 {x}", shots=[5])
    rows = {"a[b=50%]": "a", "jacobian[act=0]": "jacobian", "scratch": "scratch"}
    records = [
        make_record(odd, label, 5, seed, method=method, accuracy=0.5 + seed / 50 + len(label) / 1e3)
        for label, method in rows.items()
        for seed in range(3)
    ]
    pages = map(compose, [*PAGES, Chosen(odd, records)])
    write_paper(folder, [part(page, document(page), index) for page in pages])
    return folder


def test_tables_figures_paragraphs_and_references_are_there(paper: Path) -> None:
    names = {str(path.relative_to(paper)) for path in paper.rglob("*.*")}
    assert {"cells.tex", "methods.tex", "methods.bib", "example.tex", "text/digits-fewshot.tex"} <= names
    assert {"tables/digits-fewshot--accuracy.tex", "figures/digits-fewshot.pdf", "figures/digits-noise.svg"} <= names
    text = (paper / "text/digits-fewshot.tex").read_text()
    for title in ("Protocol", "Hardware", "Statistics"):
        assert rf"\paragraph{{{title}.}}" in text
    keys = set(re.findall(r"@\w+\{(\S+),", (paper / "methods.bib").read_text()))
    cited = set(re.findall(r"\\cite\{(\S+?)\}", (paper / "methods.tex").read_text()))
    assert "srinivas2018jacobian" in cited <= keys


def test_a_cell_is_the_page_s(paper: Path) -> None:
    told = (paper / "cells.tex").read_text()
    page = compose(PAGES[0])
    (table,) = page.tables
    for row in table.rows:
        for column, entry in zip(page.grid.columns, row[1:], strict=False):
            name = f"accuracy|digits-fewshot|{str(row[0].text).strip('`')}|{column.shots}"
            expected = rf"\expandafter\def\csname jkb|\detokenize{{{name}}}\endcsname{{{words(entry.text)}}}"
            assert (expected in told) == (entry.text != "–")
    assert "accuracy|digits-noise|noise|50@0.2" in told
    assert "a[b=50%]" not in told  # TeX would take the rest for a comment


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles_and_prose_can_cite_a_cell(paper: Path) -> None:
    def latex(name: str) -> tuple[int, str]:
        words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(words, cwd=paper, capture_output=True, check=False)
        return done.returncode, done.stdout.decode(errors="replace")

    code, log = latex("example.tex")
    assert code == 0, log[-3000:]
    if shutil.which("bibtex"):
        done = subprocess.run(["bibtex", "example"], cwd=paper, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        latex("example.tex")
        code, log = latex("example.tex")
        assert "undefined" not in log
    assert code == 0, log[-3000:]
    assert "Overfull" not in log
    assert "Float too large" not in log
    head = "\\documentclass{article}\\input{cells}\\begin{document}\n"
    cite = r"Cell: \jkb{mean}{digits-fewshot}{jacobian[ce=0]}{5}."
    (paper / "one.tex").write_text(head + cite + "\\end{document}\n")
    assert latex("one.tex")[0] == 0
    if shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "one.pdf"], cwd=paper, check=True)
        found = next(r for r in compose(PAGES[0]).tables[0].rows if r[0].text == "`jacobian[ce=0]`")
        assert f"Cell: {str(found[2].text).split(' ')[0]}." in (paper / "one.txt").read_text()
    (paper / "none.tex").write_text(head + r"\jkb{mean}{digits-fewshot}{jacobian}{7}" + "\\end{document}\n")
    code, log = latex("none.tex")
    assert code != 0
    assert "there is no mean of jacobian at 7" in " ".join(log.split())
