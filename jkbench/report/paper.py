"""What a paper needs of a leaderboard: tables, figures, a bibliography, cells by name, and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jkbench
from jkbench.files import write_atomically
from jkbench.plugins.discovery import Index
from jkbench.report.document import Document, joined
from jkbench.report.grid import Column
from jkbench.report.page import BOLD, Page, gain_notes, resolution
from jkbench.report.render import files
from jkbench.report.render.latex import words
from jkbench.report.wording import code, listed, measured, p_value, plural, significant
from jkbench.tasks.shots import per_class

FORMATS = ("pdf", "svg")
UNSAFE = set("%#{}\\~^")
"""Letters that no name of a cell may have: TeX reads them before a macro sees them."""
_CELL = r"""% \jkb{KIND}{TASK}{ROW}{IMAGES PER CLASS} is a number of the leaderboard; kinds: accuracy, mean, n, gain, p.
% Under noise the last argument is, for example, 10@0.2: images per class and the noise's standard deviation.
\newcommand{\jkb}[4]{\ifcsname jkb|\detokenize{#1|#2|#3|#4}\endcsname
  \csname jkb|\detokenize{#1|#2|#3|#4}\endcsname
  \else\GenericError{}{jkbench: there is no \detokenize{#1} of \detokenize{#3} at \detokenize{#4} in
  \detokenize{#2}}{}{}\fi}"""


@dataclass(frozen=True)
class PaperPart:
    """The files of one page by name, its cells by name, and the citations of its methods."""

    name: str
    files: dict[str, str | bytes]
    cells: dict[str, str]
    cites: dict[str, str]


def part(page: Page, document: Document, index: Index) -> PaperPart:
    """What a paper needs of one page; ``document`` is the same page with its tables and drawings."""
    found: dict[str, str | bytes] = {}
    for name, content in files(document, FORMATS).items():
        folder = "tables" if name.startswith("tex/") else "figures" if name.endswith(FORMATS) else None
        if folder and not name.endswith("--protocol.tex"):
            found[f"{folder}/{name.removeprefix('tex/')}"] = content
    paragraphs = {
        "Protocol": joined(document.protocol),
        "Hardware": " ".join(hardware(page)),
        "Statistics": " ".join(statistics(page)),
    }
    if page.grid.labels:
        text = "\n\n".join(rf"\paragraph{{{title}.}} {words(said)}" for title, said in paragraphs.items())
        found[f"text/{page.name}.tex"] = f"\\begin{{sloppypar}}\n{text}\n\\end{{sloppypar}}\n"
    methods = {record.method for record in page.records}
    plugins = {name: plugin for name, plugin in index.methods().items() if name in methods and plugin.described}
    return PaperPart(
        page.name, found, dict(_cells(page)), {name: plugin.facts.get("cite", "") for name, plugin in plugins.items()}
    )


def hardware(page: Page) -> Iterator[str]:
    """On what the trials of a page ran, and how long."""
    done = [(record.environment, record.cost) for record in page.records if record.environment and record.cost]
    machines = sorted({f"{e.processor or e.device}, {plural(e.threads, 'thread')}" for e, _ in done})
    if not done:
        yield "No record says where it ran."
        return
    seconds = sum(cost.seconds + cost.signals_seconds for _, cost in done)
    yield f"{plural(len(done), 'training')} of students took {significant(seconds / 3600)} hours on {listed(machines)}."
    versions = sorted({environment.torch for environment, _ in done})
    yield f"PyTorch {', '.join(versions)}, {', '.join(sorted({environment.precision for environment, _ in done}))}."
    yield f"A training took at most {max(cost.peak_memory_mb for _, cost in done):,.0f} MiB."


def statistics(page: Page) -> Iterator[str]:
    """How numbers of a page were compared."""
    yield "Cells are means over seeds with 95 % t-intervals; only finished trials are averaged."
    yield BOLD
    yield from gain_notes(page.task, page.grid, page.gains)
    yield from resolution(page.grid)


def _cells(page: Page) -> Iterator[tuple[str, str]]:
    """The numbers of the main table by kind, task, row and column, as LaTeX."""
    for label in page.grid.labels:
        for column in page.grid.columns:
            found, gain = page.grid.cell(label, column).interval, page.gains.get((label, column))
            place = f"{page.name}|{label}|{_at(column)}"
            if found is None or UNSAFE & set(place):
                continue
            scaled = found.scaled(100)
            yield f"accuracy|{place}", words(measured(scaled))
            yield f"mean|{place}", words(f"{scaled.mean:.2f}")
            yield f"n|{place}", str(found.n)
            if gain is not None:
                yield f"gain|{place}", words(measured(gain.interval.scaled(100), sign=True))
            if gain is not None and gain.p is not None:
                yield f"p|{place}", f"${p_value(gain.p)}$"


def _at(column: Column) -> str:
    return f"{column.shots}@{column.noise:g}" if column.noise else str(column.shots)


def write_paper(folder: Path, parts: Iterable[PaperPart]) -> list[Path]:
    """Write the parts, ``cells.tex``, ``methods.tex``, ``methods.bib`` and an ``example.tex`` that shows all of it.

    Raises `UserError` where the folder cannot be written.
    """
    every = sorted(parts, key=lambda each: each.name)
    cells = [
        rf"\expandafter\def\csname jkb|\detokenize{{{name}}}\endcsname{{{text}}}"
        for each in every
        for name, text in each.cells.items()
    ]
    cites = {name: key for each in every for name, key in each.cites.items()}
    found = {name: content for each in every for name, content in each.files.items()}
    found["cells.tex"] = "\n".join([_CELL, *cells]) + "\n"
    cited = [words(code(name)) + (rf"~\cite{{{key}}}" if key else "") for name, key in sorted(cites.items())]
    found["methods.tex"] = f"\\begin{{sloppypar}}\nMethods: {', '.join(cited)}.\n\\end{{sloppypar}}\n"
    found["methods.bib"] = _bibliography(set(cites.values()))
    found["example.tex"] = _example(every)
    for name, content in found.items():
        write_atomically(folder / name, content)
    return [folder / name for name in found]


def _bibliography(keys: set[str]) -> str:
    """The entries of the suite's bibliography that have these keys."""
    package = Path(jkbench.__file__).parent
    places = (package / "methods/methods.bib", package.parent / "docs/methods.bib")
    text = next((path.read_text(encoding="utf-8") for path in places if path.is_file()), "")
    whole = {found[1]: found[0] for found in re.finditer(r"^@\w+\{(\S+),\n(?:.*\n)*?\}\n", text, re.MULTILINE)}
    missing = sorted(keys - set(whole) - {""})
    notes = [f"% {key}: a method's file names it; add its entry\n" for key in missing]
    return "\n".join([*notes, *(whole[key] for key in sorted(keys & set(whole)))])


def _example(parts: list[PaperPart]) -> str:
    lines = [
        r"\documentclass{article}",
        r"\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}",
        r"\input{cells}",
        r"\begin{document}",
        r"\input{methods}",
    ]
    for each in parts:
        lines.append(rf"\clearpage\section*{{{words(code(each.name))}}}")
        name = next((cell for cell in each.cells if cell.startswith("accuracy|")), "")
        if name:
            kind, task, row, where = name.split("|")
            shots = where.partition("@")[0]
            at = per_class("full" if shots == "full" else int(shots))
            lines.append(rf"{words(code(row))} reaches \jkb{{{kind}}}{{{task}}}{{{row}}}{{{where}}} \% at {at}.")
        for file in sorted(each.files):
            stem = file.rpartition(".")[0]
            if file.endswith(".tex"):
                lines.append(rf"\input{{{stem}}}")
            elif file.endswith(".pdf"):
                lines.append(
                    rf"\begin{{figure}}[htbp]\centering\includegraphics[width=\textwidth]{{{stem}}}\end{{figure}}"
                )
    return "\n".join([*lines, r"\bibliographystyle{plain}\bibliography{methods}", r"\end{document}", ""])
