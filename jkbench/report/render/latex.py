"""A document's tables as LaTeX, one a file, each on one page of an article.

The caption is short; notes and provenance stand below the table in small print, and the protocol has a file of its own.
Columns that are too wide for the page stand in panels below each other, and panels that are too tall in tables of their
own: sizes are estimated from those of Computer Modern's letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jkbench.report.document import Document, Entry, Head, Span, Table, TableRow, Words, joined, rendered
from jkbench.report.render.panels import fit

TEXT_WIDTH, TEXT_HEIGHT = 345.0, 598.0
"""Points of the text of an article of 10 pt."""
SIZE, SMALL, GAP, LINE = 8.0, 7.0, 8.0, 9.6
"""Points: of letters, of remarks beside a number, between columns, from line to line."""
BOLD = 1.17
"""How much wider bold letters are."""
LABEL = 34
"""Letters of a row's name on one line; a longer one is broken at its commas."""
_WIDE = {**dict.fromkeys("mwMW%@+=", 0.9), **dict.fromkeys("ABCDEFGHIJKLNOPQRSTUVXYZ×±−", 0.78)}
_NARROW = {**dict.fromkeys("ijl.,:;|'!I ", 0.36), **dict.fromkeys("()[]ft-", 0.42)}
_EM = _NARROW | _WIDE
_TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}", '"': "''", "±": r"$\pm$", "×": r"$\times$",
    "−": "$-$", "–": "--", "—": "---", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}", "·": r"\textperiodcentered{}",
    "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", "²": r"$^2$", "λ": r"$\lambda$", "σ": r"$\sigma$",
    "µ": r"$\mu$", "μ": r"$\mu$", "\u00a0": "~", "\u202f": r"\,",
    **{character: "\\" + character for character in "&%$#_{}"},
}  # fmt: skip


def render(document: Document) -> dict[str, str]:
    """The named tables and the protocol by the name of their file, ``DOCUMENT--TABLE`` and ``DOCUMENT--protocol``."""
    found = {
        block.name: _floats(document, block)
        for block in document.every()
        if isinstance(block, Table) and block.name and block.rows
    }
    if found:
        text = words(joined(document.protocol))
        found["protocol"] = f"{_written(document)}\n\\begin{{sloppypar}}\n{text}\n\\end{{sloppypar}}\n"
    return {f"{document.name}--{name}": text for name, text in found.items()}


def _written(document: Document) -> str:
    return f"% Written by {document.command}. Do not edit: it is overwritten."


def words(text: Words) -> str:
    """Words as LaTeX: every special character escaped, `` `name` `` in a typewriter face, all on one line.

    Letters beyond Latin Extended-A, which pdflatex does not know, become "?".
    """
    return rendered(text, _escaped, _span)


def _span(span: Span) -> str:
    inner = _escaped(span.text)
    return inner if span.style == "link" else rf"\{'textbf' if span.style == 'strong' else 'emph'}{{{inner}}}"


def _escaped(text: str) -> str:
    parts = re.split(r"`([^`]*)`", re.sub(r"\s+", " ", text))
    escaped = ["".join(_TEX.get(c, c if ord(c) < 0x180 else "?") for c in part) for part in parts]
    return "".join(rf"\texttt{{{part}}}" if i % 2 else part for i, part in enumerate(escaped))


def width(text: Words, size: float = SIZE) -> float:
    """About how many points these words are wide, rather too many than too few."""
    pieces = (piece.text if isinstance(piece, Span) else piece for piece in ([text] if isinstance(text, str) else text))
    code, total = False, 0.0
    for letter in "".join(pieces):
        if letter == "`":
            code = not code
        else:
            total += 0.535 if code else _EM.get(letter, 0.535)
    return total * size


def widths(table: Table) -> list[float]:
    """The columns' widths in points, gaps included; a column of wrapped text has what the others leave."""
    found = [_column(table, at) for at in range(len(table.heads))]
    wrapped = [at for at, head in enumerate(table.heads) if head.align == "text"]
    for at in wrapped:
        others = sum(found[i] for i in range(len(found)) if i not in wrapped)
        found[at] = max((TEXT_WIDTH - others) / len(wrapped), 0.3 * TEXT_WIDTH)
    return found


def _column(table: Table, at: int) -> float:
    cells = [
        width(line, BOLD * SIZE if row[at].bold else SIZE) for row in table.rows for line in _lines(row[at].text, at)
    ]
    asides = [width(f"({row[at].aside})", SMALL) for row in table.rows if row[at].aside]
    return GAP + max([width(_head(table.heads[at])), *cells, *asides])


def _lines(text: Words, at: int) -> list[Words]:
    """A long name in the first column as several lines, broken after commas."""
    if at or not isinstance(text, str) or len(text) <= LABEL:
        return [text]
    quote = "`" if text.startswith("`") and text.endswith("`") else ""
    found = [""]
    for part in re.split(r"(?<=,)", text.strip("`") if quote else text):
        if found[-1] and len(found[-1]) + len(part) > LABEL:
            found.append("")
        found[-1] += part
    return [f"{quote}{line}{quote}" for line in found]


def _head(head: Head) -> Words:
    return head.short if head.over else head.text


def _floats(document: Document, table: Table) -> str:
    """The table in one float; where its panels are too tall for a page, a float a panel."""
    panels = panels_of(table)
    apart = len(panels) > 1 and len(panels) * height(table) > 0.85 * TEXT_HEIGHT
    parts = [[panel] for panel in panels] if apart else [panels]
    label = f"{document.name}--{table.name}"
    lines = [
        _written(document),
        rf"% In the preamble: \usepackage{{booktabs}} \usepackage[utf8]{{inputenc}}; then \input{{{label}}}.",
    ]
    for number, part in enumerate(parts):
        lines += [
            r"\begin{table}[htbp]",
            rf"\centering\footnotesize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
            rf"\caption{{{words(document.title)}: {words(table.title)}{' (continued)' if number else ''}.}}",
            rf"\label{{tab:{label}{f'-{number + 1}' if number else ''}}}",
        ]
        for columns in part:
            lines += [r"\par\medskip", *_tabular(table, columns)]
        small = words(joined([*table.notes, *document.provenance]))
        lines += [
            rf"\par\medskip\begin{{minipage}}{{\textwidth}}\scriptsize\sloppy {small}\end{{minipage}}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def panels_of(table: Table) -> list[list[int]]:
    """The columns of each panel: one where all fit, else those that share a heading apart from the others."""
    wide, room = widths(table), TEXT_WIDTH + GAP  # there is no gap outside
    if sum(wide) <= room:
        return [list(range(len(wide)))]
    shared = [at for at, head in enumerate(table.heads) if at and head.over]
    groups = [[0, *shared], [0, *(at for at in range(1, len(wide)) if at not in shared)]]
    return [
        [group[at] for at in panel]
        for group in groups
        if len(group) > 1
        for panel in fit([wide[at] for at in group], room)
    ]


def height(table: Table) -> float:
    """About how many points a panel of the table is high."""
    rows = [max(len(_lines(entry.text, at)) + bool(entry.aside) for at, entry in enumerate(row)) for row in table.rows]
    return LINE * (sum(rows) + 4)


def _tabular(table: Table, columns: Sequence[int]) -> list[str]:
    heads = [table.heads[at] for at in columns]
    room = [widths(table)[at] for at in columns]
    kinds = {"left": "l", "right": "r"}
    shape = "".join(
        kinds.get(head.align, rf"p{{{points - GAP:.0f}pt}}") for head, points in zip(heads, room, strict=True)
    )
    spans = _spans(heads, room)
    lines = [rf"\begin{{tabular}}{{@{{}}{shape}@{{}}}}", r"\toprule", *spans]
    lines.append(" & ".join(words(_head(head) if spans else head.text) for head in heads) + r" \\")
    for group in table.groups:
        if group.rows:
            lines += [r"\midrule", *(_row(row, columns) for row in group.rows)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _spans(heads: Sequence[Head], room: Sequence[float]) -> list[str]:
    """A line above the headings that says what several columns share, where they are wide enough for it."""
    shared = [at for at, head in enumerate(heads) if head.over]
    if not shared or width(heads[shared[0]].over) > sum(room[at] for at in shared):
        return []
    over, low, high = words(heads[shared[0]].over), shared[0], shared[-1]
    line = " & " * low + rf"\multicolumn{{{len(shared)}}}{{c}}{{{over}}}" + " &" * (len(heads) - high - 1) + r" \\"
    return [line, rf"\cmidrule(lr){{{low + 1}-{high + 1}}}"]


def _row(row: TableRow, columns: Sequence[int]) -> str:
    return " & ".join(_cell(row[at], at) for at in columns) + r" \\"


def _cell(entry: Entry, at: int) -> str:
    lines = [words(line) for line in _lines(entry.text, at)]
    if entry.bold:
        lines = [rf"\textbf{{{line}}}" for line in lines]
    if entry.aside:
        lines.append(rf"{{\scriptsize ({words(entry.aside)})}}")
    if len(lines) == 1:
        return lines[0]
    return rf"\begin{{tabular}}[t]{{@{{}}{'r' if at else 'l'}@{{}}}}" + r"\\".join(lines) + r"\end{tabular}"
