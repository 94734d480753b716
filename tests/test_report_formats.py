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
from report_factory import METHODS, few, make_chosen, make_record, make_records, make_robustness, make_task
from rich.console import Console

from jkbench.plugins.discovery import discover
from jkbench.records.select import Chosen
from jkbench.report import accuracy_figure, figures
from jkbench.report.document import Bullets, Document, Drawing, Section, Span, Table, rich, table
from jkbench.report.leaderboard import document, write_leaderboard
from jkbench.report.page import compose, summary
from jkbench.report.render import files, latex, markdown, terminal
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
    paths = [*folder.glob("tex/*.tex"), *tmp_path.glob("tex/*.tex")]
    inputs = "\n".join(rf"\input{{{path.as_posix()}}}\clearpage" for path in sorted(paths))
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
    assert "Float too large" not in log
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_latex_escapes_names_and_bolds_ties_one_table_a_file(folder):
    text = (folder / "tex/digits-fewshot--accuracy.tex").read_text()
    assert r"\texttt{jacobian{[}ce=0{]}} & \textbf{" in text
    assert r"seeds\_x" in (folder / "tex/digits-fewshot--protocol.tex").read_text()
    for path in folder.glob("tex/*.tex"):
        assert path.name.endswith("protocol.tex") or path.read_text().count(r"\begin{table}") == 1, path.name


def test_every_latex_table_fits_the_width_and_the_height_of_a_page():
    """Estimated without LaTeX, from wide tables of many rows; with LaTeX the test above sees it in the log."""
    task = make_task(shots=[1, 2, 5, 10, 25, 50, 100, 200])
    labels = [f"a-method-of-many-parameters[weight={n},another=0.12345,third=true]" for n in range(30)]
    records = [make_record(task, each, s, seed) for each in labels for s in task.shots for seed in range(2)]
    many = document(compose(Chosen(task, records)))
    tables = [block for block in many.every() if isinstance(block, Table) and block.name]
    assert len(tables) == 5
    for each in tables:
        wide = latex.widths(each)
        shown = latex.panels_of(each)
        assert {at for panel in shown for at in panel} == set(range(len(each.heads)))
        assert all(sum(wide[at] for at in panel) - latex.GAP <= latex.TEXT_WIDTH for panel in shown)
    accuracy = latex.render(many)["digits-fewshot--accuracy"]
    assert accuracy.count(r"\begin{table}") == accuracy.count("\\begin{tabular}{@{}l") > 1  # too tall for one page
    captions = [line for line in accuracy.splitlines() if line.startswith(r"\caption")]
    assert max(map(len, captions)) < 80
    assert "protocol" in accuracy.split("minipage")[1]


@pytest.mark.parametrize("text", ["0.12 ± 0.03", "`jacobian[act=0]`", "mean over images of MANY"])
def test_the_estimated_width_is_that_of_computer_modern_or_a_little_more(text):
    """Against cmr8 and cmtt8 at 8 pt as their font metrics have them: digits and code 0.531 em, letters by name."""
    em = {**dict.fromkeys("0123456789", 0.531), " ": 0.354, ".": 0.295, "±": 0.778, "a": 0.531, "e": 0.472, "f": 0.325}
    em |= dict(
        zip(
            "gimnorsvMANY",
            (0.531, 0.295, 0.885, 0.590, 0.531, 0.418, 0.419, 0.560, 0.972, 0.797, 0.797, 0.797),
            strict=True,
        )
    )
    true = 8 * (0.531 * (len(text) - 2) if "`" in text else sum(em[letter] for letter in text))
    assert true <= latex.width(text) * 1.02
    assert latex.width(text) < 1.25 * true


@given(st.text(max_size=40))
def test_no_text_leaves_a_live_character_in_latex(text):
    found = latex.words(text)
    bare = re.sub(r"\\[&%$#_{},]|\\[a-z]+(\{\}|$)?|\$(\\[a-z]+|-|\^2)\$|\\texttt\{|\{[\[\]]\}|[{}~]", "", found)
    assert not set(bare) & set("&%$#_^\\")
    assert "\n" not in found


@given(st.text(alphabet="ab|*_`<[]\\ \n", max_size=20))
def test_no_text_breaks_out_of_a_markdown_cell(text):
    found = markdown.words(text)
    assert "\n" not in found
    assert not re.search(r"(?<!\\)\|", found.replace(r"\\", ""))


@pytest.mark.parametrize("make", [make_chosen, make_robustness, few])
def test_figure_is_small_readable_and_without_metadata(make):
    page = compose(make())
    image = figures.save(lambda: accuracy_figure.draw(page))
    assert len(image) < 150_000
    opened = Image.open(io.BytesIO(image))
    assert 900 <= opened.width <= 1400
    assert set(opened.info) <= {"Content", "dpi"}


def test_figure_of_one_column_and_of_the_full_data():
    for shots in ([5], [50, "full"]):
        task = make_task(shots=shots)
        page = compose(Chosen(task, make_records(task, ["scratch", "finetune"])))
        assert figures.save(lambda page=page: accuracy_figure.draw(page)).startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [60, 200])
def test_terminal_table_shows_labels_numbers_and_what_is_wrong(width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(terminal.render(summary(compose(make_chosen()))))
    text = console.export_text()
    assert "jacobian[ce=0]" in text
    assert "finetune" in text
    assert "1 planned cell not run" in text
    assert "1.23 M" in text


# the document


def test_a_document_is_the_same_page_in_every_format():
    page = Document(
        "a",
        "A & b",
        "a test",
        (
            rich("**All** of `{name}` is [here]({name}.md).", name="x*y"),
            Section("Inner", (table(["method", "n"], [("`m[a|b]`", "1")], "T", ["Note."], name="t"),)),
            Bullets(("one", (Span("two", "emphasis"),))),
            Drawing("a", "alt", lambda: accuracy_figure.draw(compose(few()))),
        ),
        provenance=("Of a test.",),
    )
    text = str(files(page)["a.md"])
    assert "**All** of `x*y` is [here](x%2Ay.md)." in text
    assert "## Inner\n\n### T\n\n| method    |   n |" in text
    assert "- one\n- *two*" in text
    assert "![alt](a.png)" in text
    tex = str(files(page)["tex/a--t.tex"])
    assert r"\caption{A \& b: T.}" in tex
    assert r"\texttt{m{[}a\textbar{}b{]}} & 1 \\" in tex
    assert "Note. Of a test." in tex
    assert {"a.md", "a.svg", "a.pdf"} <= set(files(page, ["svg", "pdf"]))
    assert all(files(page, [kind])[f"a.{kind}"] == files(page, [kind])[f"a.{kind}"] for kind in ("svg", "pdf"))


@given(st.text(alphabet="ab*_[](){}`# -\\n", max_size=20))
def test_what_is_put_into_a_template_stays_text(text):
    (said,) = (part for part in [rich("**By** {who}.", who=text)])
    assert [piece for piece in said if isinstance(piece, Span)] == [Span("By", "strong")]
    assert not re.match(r"[#+-]", markdown.render(Document("a", "t", "c", (text,))).partition("\n\n")[2])


def test_a_page_that_does_not_change_is_not_written_again_and_old_tables_go(tmp_path):
    write_leaderboard(tmp_path, [few()])
    old, other = tmp_path / "tex/digits-fewshot--gone.tex", tmp_path / "tex/digits-fewshot--two--nll.tex"
    old.write_text("")
    other.write_text("of a task whose name begins with this one's")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    write_leaderboard(tmp_path, [few()])
    assert not old.exists()
    del times[old]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == times


# figures


def test_a_methods_colour_and_mark_depend_on_its_name_alone():
    own = [name for name in ("jacobian-norm", "lwf-jacobian", *METHODS) if "[" not in name]  # of the committed figures
    assert len({figures.style(name).colour for name in own}) == len(own) == 10
    assert figures.style("distill") == figures.Style("#56B4E9", figures.style("distill").marker, "-")
    every = discover().methods()
    assert len({figures.style(name) for name in every}) == len(every) >= 24
    variants = [figures.style(f"jacobian[jac={n}]") for n in (0.1, 1, 10, 100)]
    assert len({*variants, figures.style("jacobian")}) == 5


def test_axes_stay_where_numbers_can_be():
    task = make_task(shots=[1, 5])
    values = {"scratch": [0.98, 0.999], "distill": [0.2, 0.999]}  # of two seeds: an interval of ± 500 points
    records = [
        make_record(task, label, shots, seed, accuracy=v) for label, of in values.items() for shots in (1, 5)
        for seed, v in enumerate(of)
    ]  # fmt: skip
    panel = accuracy_figure.draw(compose(Chosen(task, records))).axes[0]
    low, high = panel.get_ylim()
    assert 0 <= low < 59 < 99.9 <= high <= 100


# words


def test_words_of_numbers():
    assert [significant(x) for x in (1234.5, 25, 0.01234, 0)] == ["1,234", "25.0", "0.0123", "0"]
    assert [compact(x) for x in (999, 45_600, 1_234_567)] == ["999", "45.6 k", "1.23 M"]
    assert [p_value(x) for x in (0.0625, 1.0, 0.0002)] == ["p = 0.0625", "p = 1", "p < 0.001"]
    assert ranges([4, 0, 1, 2, 7]) == "0–2, 4, 7"
