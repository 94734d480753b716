"""What tuning found, on the page of the tuned rows: who needs it, and where the best configurations lie."""

from __future__ import annotations

from collections.abc import Iterator

from jkbench.records.choices import Choice, Choices, Tuned
from jkbench.report.document import Head, Section, Words, table
from jkbench.report.wording import DASH, code, settings
from jkbench.statistics import expected_best
from jkbench.tasks.shots import per_class


def section(choices: Choices) -> Section:
    """Two tables: the expected best of n configurations against n, and what was chosen."""
    places = list(range(len(choices.shots)))
    counts = sorted({1, 2, 4, 8, 16, 32, 64, choices.budget} & set(range(1, choices.budget + 1)))
    curves, rows = [], []
    for name, tuned in choices.methods.items():
        best = expected_best([each.mean(places) for each in tuned.tried])
        own = f"{100 * tuned.tried[0].mean(places):.2f}"
        shown = [f"{100 * best[n - 1]:.2f}" if n <= len(best) else DASH for n in counts]
        curves.append((len(best) == 1, -best[-1], name, (code(name), own, *shown)))
        rows += [(code(name), *_chosen(tuned, each)) for each in tuned.chosen]
    regimes = per_class(*choices.shots)
    over = f"mean over {regimes} and {len(choices.seeds)} seeds"
    notes = [
        f"Expected validation accuracy in %, {over}, of the best of n configurations drawn with replacement from those "
        f"tried (Dodge et al. 2019). Default is the method's own configuration. “{DASH}”: fewer than n configurations; "
        "a method without parameters has one.",
    ]
    heads: list[str | Head] = ["method", "default", *(f"n = {n}" for n in counts)]
    chosen: list[str | Head] = [
        "method",
        Head("chosen", "text"),
        "accuracy",
        Head("at an edge", "text"),
        Head("widened", "text"),
    ]
    return Section(
        "Tuning",
        (
            table(
                heads, [row for *_, row in sorted(curves)], "Expected best of n configurations", notes, name="tuning"
            ),
            table(chosen, rows, "What was chosen", (f"Validation accuracy in %, {over}.",)),
        ),
    )


def _chosen(tuned: Tuned, choice: Choice) -> Iterator[Words]:
    """Parameters, accuracy, edges and widened ranges of one choice."""
    values = {name: value for name, value in choice.parameters.items() if name in tuned.ranges}
    yield (settings(values) or DASH) + (f" ({per_class(*choice.shots)})" if len(tuned.chosen) > 1 else "")
    yield f"{100 * choice.accuracy:.2f}"
    yield ", ".join(f"{code(name)} ({side})" for name, side in choice.edge.items()) or DASH
    yield ", ".join(f"{code(name)} to {low:g}–{high:g}" for name, (low, high) in tuned.widened.items()) or DASH
