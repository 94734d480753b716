"""The tables of `docs/statistics.md`, and the bars that they are held against."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from simulated import others, ties
from simulated.tables import MADE, REAL

ROWS, SEEDS = (3, 10, 36), (3, 5, 10, 20)
MARKS = ("<!-- simulated -->", "<!-- end -->")
WORK = 1_200_000
"""Numbers drawn for one cell of a table about ties, at most 20,000 tables."""


class Bars:
    """What was promised: each simulated share against its limit, with two standard errors of the simulation."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        self.held = 0

    def at_most(self, what: str, share: float, limit: float, draws: int) -> None:
        """A share of ``draws`` that must not exceed the limit."""
        self._told(what, share, share - limit, draws)

    def between(self, what: str, share: float, low: float, high: float, draws: int) -> None:
        """A share of ``draws`` that must lie within limits."""
        self._told(what, share, max(low - share, share - high), draws)

    def _told(self, what: str, share: float, excess: float, draws: int) -> None:
        if excess > 2 * math.sqrt(max(share * (1 - share), 1e-4) / draws):
            self.missed.append(f"{what}: {share:.3f}")
        else:
            self.held += 1


def _draws(rows: int, seeds: int) -> int:
    return int(min(20_000, max(1_500, WORK // (rows * seeds))))


def _table(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    return tabulate(lines, list(heads), tablefmt="pipe", disable_numparse=True)


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def tie_tables(rng: np.random.Generator, bars: Bars) -> str:
    """All three questions about tie groups, for every rule."""
    lost, kept, outside = {}, {}, {}
    for scenario in (*MADE, *REAL):
        for rows in ROWS:
            for seeds in SEEDS:
                draws = _draws(rows, seeds)
                lost[scenario, rows, seeds] = found = ties.lost_bold(rng, scenario, rows, seeds, draws)
                lax = scenario == "t4 tails" or (scenario in REAL and seeds == 3)
                what = f"equal rows lose bold, {scenario}, {rows} rows, {seeds} seeds"
                bars.at_most(what, found["chosen"], 0.08 if lax else 0.06, draws)
                outside[scenario, rows, seeds] = found = ties.best_outside(rng, scenario, rows, seeds, draws // 4)
                bars.at_most(f"best outside, {scenario}, {rows} rows, {seeds} seeds", found["chosen"], 0.02, draws // 4)
        for seeds in (3, 5, 10):
            kept[scenario, seeds] = found = ties.far_stays(rng, scenario, seeds, 4000)
            limit = {3: 0.45, 5: 0.10, 10: 0.10}[seeds]
            bars.at_most(f"far rows stay bold, {scenario}, {seeds} seeds", found["chosen"], limit, 4000)
    own = [
        [scenario, rows, *(_share(lost[scenario, rows, seeds]["chosen"]) for seeds in SEEDS)]
        for scenario in (*MADE, *REAL)
        for rows in ROWS
    ]
    families = {"normal": MADE[:1], "unequal": MADE[1:3], "noisy": MADE[3:4], "records": REAL, "tails": MADE[4:]}
    rules = []
    for rule in ties.RULES:
        worst = [
            _share(max(v[rule] for (s, _, _), v in lost.items() if s in scenarios)) for scenarios in families.values()
        ]
        stays = [
            "–".join(_share(f([v[rule] for (_, n), v in kept.items() if n == seeds])) for f in (min, max))
            for seeds in (3, 5)
        ]
        rules.append([rule, *worst, *stays, _share(max(v[rule] for v in outside.values()))])
    return "\n\n".join(
        [
            "### Tie groups: the chosen rule\n\nP(some of equal rows loses bold).",
            _table(["rows drawn as", "rows", *(f"{n} seeds" for n in SEEDS)], own),
            "### Tie groups: all rules\n\nP(some of equal rows loses bold), the worst over 3, 10 and 36 rows and "
            "3 to 20 seeds; the share of rows 4 standard deviations below the best of 10 that stay bold, over the "
            "kinds of rows; P(the one truly best row is outside the group), the worst of all.",
            _table(["rule", *families, "4 SD stay, 3 seeds", "4 SD stay, 5 seeds", "best outside"], rules),
        ]
    )


def gain_tables(rng: np.random.Generator, bars: Bars) -> str:
    """Errors and power of tests of gains."""
    lines = []
    for scenario in (*MADE, *REAL, others.SKEWED):
        for seeds in (3, 5, 6, 10):
            draws = 4000 if seeds < 6 else 500
            found = others.false_gains(rng, scenario, seeds, draws)
            used = "shrunken t, Holm" if seeds < 6 else "sign flips, maximum"
            if scenario != others.SKEWED:
                limit = 0.08 if scenario in REAL and seeds == 3 else 0.06
                bars.at_most(f"false gains, {scenario}, {seeds} seeds", found[used], limit, draws)
            lines.append([scenario, seeds, *(f"**{_share(v)}**" if k == used else _share(v) for k, v in found.items())])
    power = [[seeds, *map(_share, others.found_gains(rng, seeds, 1000).values())] for seeds in (3, 4, 5, 6, 10)]
    short = others.short_row(rng, 50)
    before, after = short["rows of the panel (chosen)"]
    if before != after:
        bars.missed.append("a row of two seeds changes the page's gains")
    heads = ["shrunken t, Holm", "t, Holm", "sign flips, maximum"]
    return "\n\n".join(
        [
            "### Gains\n\nP(some false gain on a page of 9 rows and 4 regimes); bold: the test that is used.",
            _table(["differences", "seeds", *heads], lines),
            "The share of true gains that are found, of two standard deviations of the paired difference.",
            _table(["seeds", *heads], power),
            "The share of significant gains on a page of true ones (three deviations, 10 seeds), without and with a "
            "new row of two seeds.",
            _table(["test", "without", "with"], [[k, *map(_share, v)] for k, v in short.items()]),
        ]
    )


def coverage_tables(rng: np.random.Generator, bars: Bars) -> str:
    """Intervals over images, of mean ranks, and of one more run; plans."""
    images = []
    for kind in others.KINDS:
        for seeds in (3, 5, 10):
            for count, draws in ((300, 700), (1000, 500), (10_000, 150)):
                alone, both, wider = others.image_coverage(rng, kind, seeds, count, draws)
                bars.between(f"images, {kind}, {seeds} seeds, {count} images", both, 0.93, 0.97, 3 * draws)
                images.append([kind, seeds, f"{count:,}", _share(alone), _share(both), f"{wider:.2f}"])
    ranks = []
    for step in (0.0, 0.3, 1.5):
        for seeds in (3, 5, 10):
            found = others.rank_coverage(rng, step, seeds, 300)
            bars.between(f"mean ranks, step {step}, {seeds} seeds", found["shrunken (chosen)"], 0.93, 0.985, 1000)
            ranks.append([step, seeds, *map(_share, found.values())])
    verdicts = []
    for scenario in (*MADE, *REAL):
        for seeds in (3, 5, 10):
            old, new = others.false_verdicts(rng, scenario, seeds, 300)
            bars.at_most(f"false verdicts, {scenario}, {seeds} seeds", new, 0.08 if seeds == 3 else 0.06, 1000)
            verdicts.append([scenario, seeds, _share(old), _share(new)])
    plans = []
    for rows in (2, *ROWS):
        for seeds in SEEDS:
            gap, kept = others.plan_kept(rng, rows, seeds, 4000)
            bars.between(f"plans, {rows} rows, {seeds} seeds", kept, 0.78, 0.90, 4000)
            plans.append([rows, seeds, f"{gap:.2f}", _share(kept)])
    return "\n\n".join(
        [
            "### Over seeds and images\n\nThe share of 95 % intervals that hold the true difference of two rows, over "
            "test accuracies of 52, 75 and 95 %; the last column is the median ratio of the two widths.",
            _table(["what varies", "seeds", "images", "over seeds", "over both", "wider by"], images),
            "### Mean ranks\n\nThe share of 95 % intervals that hold a row's expected mean rank; 9 rows, 4 regimes "
            "that share their seeds, means of rows ``step`` deviations apart.",
            _table(["step", "seeds", "shrunken (chosen)", "t", "bootstrap"], ranks),
            '### Verdicts on one published run\n\nThe share of perfect replications judged "below" or "above".',
            _table(["rows drawn as", "seeds", "interval of our mean (before)", "prediction interval"], verdicts),
            "### Plans\n\nThe gap, in standard deviations of a paired difference, at which a row should be left out in "
            "80 %, and how often it is.",
            _table(["rows", "seeds", "gap", "left out"], plans),
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Print the tables; status 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Simulate every rule of jkbench.statistics.")
    parser.add_argument("--write", type=Path, help="document to put the tables into")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng, bars = np.random.default_rng(options.seed), Bars()
    parts = [make(rng, bars) for make in (tie_tables, gain_tables, coverage_tables)]
    verdict = (
        f"{bars.held} of {bars.held + len(bars.missed)} bars are met, within two standard errors of the simulation."
    )
    text = "\n\n".join([*parts, verdict, *(f"- missed: {line}" for line in bars.missed)])
    print(text)
    if options.write:
        before, _, rest = options.write.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        options.write.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")
    return 1 if bars.missed else 0
