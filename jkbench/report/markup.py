"""From the words of a page to Markdown and LaTeX. In those words only backticks mean something: a name as code."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

TEMPLATES = Path(__file__).parent / "templates"
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "·": r"\textperiodcentered{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "²": r"$^2$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "\u00a0": "~",
    "\u202f": r"\,",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def tex(text: str) -> str:
    """Words as LaTeX: every special character escaped, `` `name` `` in a typewriter face, a line on one line.

    Letters beyond Latin Extended-A, which pdflatex does not know, become "?".
    """
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    escaped = ["".join(_TEX.get(c, c if ord(c) < 0x180 else "?") for c in part) for part in parts]
    return "".join(rf"\texttt{{{part}}}" if i % 2 else part for i, part in enumerate(escaped))


def markdown(text: str) -> str:
    """Words as Markdown, safe in a table too: what would mean something outside of backticks is escaped."""
    # GFM cannot hold a backslash before a bar inside code: such backslashes go
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    for i, part in enumerate(parts):
        parts[i] = re.sub(r"\\*\|", r"\\|", part) if i % 2 else re.sub(r"([\\*_<>\[\]|])", r"\\\1", part)
    return "".join(parts)


def pipe_table(rows: Sequence[Sequence[str]], head: Sequence[str], last: str = "right") -> str:
    """A Markdown table of ready cells: the first column to the left, the others to the right, the last as told."""
    return tabulate(
        [list(row) for row in rows],
        headers=list(head),
        tablefmt="pipe",
        colalign=("left", *["right"] * (len(head) - 2), last),
        disable_numparse=True,
    )


def _environment(inline: Callable[[str], str], **delimiters: str) -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # neither output is HTML: each template escapes with `words`
        **delimiters,  # type: ignore[arg-type]
    )
    made.filters["words"] = inline
    made.filters["pipe_table"] = pipe_table
    return made


def render_markdown(template: str, **context: object) -> str:
    """A Markdown template with its context."""
    return _environment(markdown).get_template(template).render(**context)


def render_tex(template: str, **context: object) -> str:
    """A LaTeX template, whose own delimiters are ``<< >>`` and ``<% %>``."""
    delimiters = {
        "variable_start_string": "<<",
        "variable_end_string": ">>",
        "block_start_string": "<%",
        "block_end_string": "%>",
        "comment_start_string": "<#",
        "comment_end_string": "#>",
    }
    return _environment(tex, **delimiters).get_template(template).render(**context)
