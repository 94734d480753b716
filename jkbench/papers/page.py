"""The page of a paper's table: each reading's numbers beside the published ones, and what of the claims holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from jkbench.papers import figure
from jkbench.papers.compare import PaperDifference, PaperNumber, Read, Reproduction
from jkbench.records.timings import duration
from jkbench.report.document import Block, Bullets, Document, Drawing, Entry, Section, Table, Words, rich, table
from jkbench.report.wording import code, measured, plural, signed

VERDICTS = {
    "holds": "holds", "does not hold": "does not hold", "below": "is below", "above": "is above",
    "not resolved": "is not resolved",
}  # fmt: skip


def document(page: Reproduction, name: str) -> Document:
    """The page as a document. The same records give the same one."""
    paper, shared = page.table, len(page.readings) > 1
    drawn = [Drawing(name, figure.says(page), partial(figure.draw, page))] if figure.pairs(page) else []
    blocks = [
        " ".join(f"{done(page, read)}." for read in page.readings) + " Cells that have not been run are empty.",
        "" if page.known else "None of the paper's numbers for this table is available.",
        _another_protocol(page) if page.stands_in else "",
        *drawn,
        *([_beside(page)] if shared else []),
        *(block for read in page.readings for block in _reading(page, read)),
        *([_missing(page)] if page.missing else []),
        Section("How to read the tables", tuple(_explained(page))),
        Section("Protocol", (Bullets(tuple(page.protocol)) if page.protocol else "Nothing has been run yet.",)),
        f"{plural(page.stale, 'record')} of earlier code or another protocol left out." if page.stale else "",
    ]
    title = f"{paper.caption}: published and measured" if page.known else paper.caption
    return Document(name, title, "`jkbench reproduce` from the records in this folder", tuple(blocks))


def done(page: Reproduction, read: Read) -> str:
    """``3 of 36 cells of the paper's table have been run``."""
    whose = "the paper's" if page.known else "this"
    of = f" in the reading {code(read.name)}" if read.name else ""
    return f"{read.run} of {len(read.cells)} cells of {whose} table have been run{of}"


def _another_protocol(page: Reproduction) -> Words:
    return rich(
        "**Another protocol than the paper's.** These records are of {task}, a cheaper stand-in for {own}: "
        "{description} Differences from the published numbers are therefore also differences of protocol.",
        task=code(page.task.name),
        own=code(page.table.task),
        description=" ".join(page.task.description.split()),
    )


def _column(page: Reproduction) -> str:
    return page.table.column.replace("_", " ")


def _missing(page: Reproduction) -> Section:
    """How long what is empty would take, by regime."""
    rows: list[list[str | Entry]] = [
        [str(each.shots), str(each.trials), duration(each.seconds)] for each in page.missing
    ]
    total = duration(sum(each.seconds for each in page.missing))
    intro = (
        f"All empty cells together: about {total} of one core, with {plural(page.task.seeds, 'seed')} each and without "
        "the teacher's own training. By the steps of recorded trials with the same student (median of the row, or of "
        "its method); what ran beside them is in these times."
    )
    return Section("What is missing", (intro, table(["per class", "trials", "time"], rows)))


def _pair(gain: PaperDifference) -> str:
    return f"{code(gain.row)} − {code(gain.over)}"


def _beside(page: Reproduction) -> Section:
    rows: list[list[str | Entry]] = [
        [
            _pair(gains[0]), gains[0].column, _published(gains[0], sign=True),
            *(Entry(measured(g.ours, sign=True), f"n = {g.ours.n}" if g.ours else "") for g in gains),
        ]
        for gains in page.beside
    ]  # fmt: skip
    heads = ["difference", _column(page), "published", *(code(str(read.name)) for read in page.readings)]
    intro = (
        f"The {len(page.readings)} readings of the paper share one protocol and differ only in the weights of the loss "
        "terms; each is explained below."
    )
    notes = (
        "Differences in points, ours paired by seed with 95 % intervals. Readings that run a row with the same "
        "parameters share its records, so equal numbers are one measurement. Differences that no reading has run are "
        "left out."
    )
    if not rows:
        return Section("Readings side by side", (intro, "No reading has run any of the differences."))
    return Section("Readings side by side", (intro, table(heads, rows, notes=[notes])))


def _reading(page: Reproduction, read: Read) -> list[Block]:
    changed = ", ".join(f"{code(row)} as {code(read.labels[row])}" for row in read.changed)
    blocks: list[Block] = [
        read.says,
        f"Rows with other parameters than the table's own: {changed}." if changed else "",
        *(f"{code(row)} cannot be run here: {reason}." for row, reason in read.not_here.items()),
        _accuracies(page, read),
        _differences(page, read),
    ]
    if page.known:
        blocks.append(f"Of these {len(read.gains)} differences: {verdicts(read)}.")
    return [Section(f"Reading {code(read.name)}", tuple(blocks))] if read.name else blocks


def _accuracies(page: Reproduction, read: Read) -> Table:
    rows = []
    for cell in read.cells:
        ours = [measured(cell.ours)]
        if page.known:
            ours = [_published(cell), *ours, "" if cell.difference is None else signed(cell.difference)]
        name = f"{code(cell.row)} ({code(read.labels[cell.row])})"
        rows.append([name, cell.column, *ours, str(cell.ours.n) if cell.ours else ""])
    heads = ["published", "ours", "difference", "n"] if page.known else ["accuracy", "n"]
    return table([page.table.row, _column(page), *heads], rows, "Accuracy in %")


def _differences(page: Reproduction, read: Read) -> Table:
    rows = []
    for gain in read.gains:
        ours = [measured(gain.ours, sign=True), str(gain.ours.n) if gain.ours else ""]
        if page.known:
            cells = [_published(gain, sign=True), *ours, gain.sign, gain.size]
        else:
            cells = [*ours, "not run" if not gain.ours else "yes" if gain.resolved else "no"]
        rows.append([_pair(gain), gain.column, *cells])
    heads = ["published", "ours, paired", "n", "sign", "size"] if page.known else ["paired", "n", "excludes zero"]
    title = "Claimed differences, in points" if page.known else "Differences in points"
    return table(["difference", _column(page), *heads], rows, title)


def _published(cell: PaperNumber, sign: bool = False) -> str:
    if cell.published is None:
        return ""
    text = signed(cell.published) if sign else f"{cell.published:.2f}"
    return text + ("" if cell.error is None else f" ± {cell.error:.2f}") + (" (recalled)" if cell.recalled else "")


def verdicts(read: Read) -> str:
    """How often each verdict is given: ``the sign holds in 2; the size is above in 2; 1 has not been run``."""
    parts = []
    for what in ("sign", "size"):
        counts = Counter(getattr(gain, what) for gain in read.gains)
        found = ", ".join(f"{words} in {counts[verdict]}" for verdict, words in VERDICTS.items() if counts[verdict])
        parts += [f"the {what} {found}"] if found else []
    missing = sum(gain.ours is None for gain in read.gains)
    if missing:
        parts.append(f"{missing} {'has' if missing == 1 else 'have'} not been run")
    return "; ".join(parts)


def _explained(page: Reproduction) -> Sequence[Words]:
    paper = page.table
    terms = f"{paper.terms} " if paper.terms else ""
    if not page.known:
        return [
            f"{terms}Means over n seeds ± half-width of the 95 % t-interval, of the last epoch, never the best on "
            "test. Each difference is judged by its own interval, without adjustment for their number."
        ]
    error = "with a ± where the paper prints one, which it does not explain" if paper.errors else "without an interval"
    recalled = rich("; *recalled*: written down from memory, not from the paper") if paper.recalled else ""
    brackets = "In brackets: the suite's method, with the parameters that differ from its task's. " if terms else ""
    return [
        f"{terms}{brackets}".strip(),
        (
            f"Published: one number per cell, {error}", *recalled,
            ". Ours: mean over n seeds ± half-width of its 95 % t-interval, of the last epoch, never the best on test.",
        ),
        rich(
            "Sign: *holds* if our interval excludes zero on the published side, *does not hold* if it excludes zero on "
            "the other side, *not resolved* if it includes zero. Size: *below* or *above* if the published difference "
            "is above or below where one more run of ours would fall (95 % prediction interval); else *holds* if our "
            "interval excludes zero, *not resolved* if it does not."
        ),
        "This assumes that each published difference is one paired run with our variance; the paper does not say so. "
        "In a prediction interval the variances of all differences are drawn towards their mean. Each difference is "
        "judged by itself, without adjustment for their number.",
    ]  # fmt: skip
