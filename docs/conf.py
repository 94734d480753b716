"""The site: every page of the repository where it stands, so that links are the same here and there (`make docs`)."""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "jkbench"
author = "The jkbench maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "leaderboard/*.md", "studies/*/README.md", "studies/*/validation/*.md"]
exclude_patterns = ["AGENTS.md", "site"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
html_theme = "furo"
html_title = "jkbench"
html_show_copyright = False
default_role = "code"
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

SECTIONS = {
    "Start": ["docs/running", "docs/many-machines", "docs/reading-a-table", "leaderboard/README"],
    "Your own": ["CONTRIBUTING", "docs/contract", "docs/data-and-tasks", "docs/submit", "docs/api"],
    "Methods and tasks": ["docs/methods", "docs/tasks", "docs/choices"],
    "Results": [
        "docs/reproduction",
        "docs/theory",
        "studies/hypotheses/README",
        "docs/statistics",
        "docs/performance",
        "docs/reliability",
        "docs/gpu",
    ],
}
"""Pages in the margin, in this order; those that are not there are left out, and the rest follows under More."""
GLOBS = ["leaderboard/[!R]*", "studies/*/README", "studies/*/validation/*", "docs/bound-*", "docs/terms-*", "CHANGELOG"]


def contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the tables of contents to the first page."""
    if name != root_doc:
        return
    for title, pages in SECTIONS.items():
        found = "\n".join(page for page in pages if page in app.env.found_docs)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{found}\n```\n"
    rest = "\n".join(GLOBS)
    source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: More\n\n{rest}\n```\n"


def folders(app: Sphinx, name: str, source: list[str]) -> None:
    """A link to a folder of the repository is its name here."""
    place = app.env.doc2path(name).parent

    def shown(link: re.Match[str]) -> str:
        return link["text"] if (place / link["target"]).is_dir() else link[0]

    source[0] = re.sub(r"\[(?P<text>[^\]]+)\]\((?P<target>[^):#]+)\)", shown, source[0])


def first_page(app: Sphinx, error: Exception | None) -> None:
    """A site starts at index.html."""
    if error is None and app.builder.format == "html":
        page = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={root_doc}.html">'
        Path(app.outdir, "index.html").write_text(f"{page}<title>jkbench</title>\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", contents)
    app.connect("source-read", folders)
    app.connect("build-finished", first_page)
