"""Tables of tasks' pages inside another text: the README's numbers come from the records, too."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace

from jkbench.report.page import Page
from jkbench.report.render import markdown

_MARKED = re.compile(r"(<!-- table: (\S+)((?: \S+)*) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def fill(text: str, page: Callable[[str], Page]) -> str:
    """The text with new tables between its marks ``<!-- table: PAGE ROW ROW -->`` and ``<!-- end of table -->``.

    ``page`` composes the page of that name. The rest of the text stays as it is.
    """
    return _MARKED.sub(lambda found: f"{found[1]}{_rows(page(found[2]), found[3].split())}\n{found[4]}", text)


def _rows(page: Page, labels: Collection[str]) -> str:
    """Accuracy and relative cost of these rows, as the page has them."""
    full = page.tables[0]
    groups = [
        replace(group, rows=tuple(row for row in group.rows if str(row[0].text).strip("`") in labels))
        for group in full.groups
    ]
    # a cost that some row lacks has no column
    known = [all(row[at].value is not None for group in groups for row in group.rows) for at in range(len(full.heads))]
    columns = [
        at
        for at, head in enumerate(full.heads)
        if at == 0 or head.over or (str(head.text).startswith("×") and known[at])
    ]
    kept = tuple(replace(g, rows=tuple(tuple(row[at] for at in columns) for row in g.rows)) for g in groups if g.rows)
    return markdown.tabular(replace(full, heads=tuple(full.heads[at] for at in columns), groups=kept))
