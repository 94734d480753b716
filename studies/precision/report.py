"""Whether bfloat16 changes accuracies, from this folder's records: `report.py` writes the page to stdout."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, median

import numpy as np
from scipy import stats

from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, rich, table
from jkbench.report.render import markdown
from jkbench.report.wording import measured
from jkbench.statistics import mean_interval

HERE = Path(__file__).parent
MARGIN = 0.5
"""Points: a smaller difference is none."""
PAIRS = {"digits-fewshot": "digits-bfloat16", "cifar10-lite": "cifar10-bfloat16"}
"""Tasks in float32, and the same in bfloat16."""
IMAGE = {"digits-fewshot": 0.5, "cifar10-lite": 0.02}
"""Points of one validation image."""
TWICE = ("digits-fewshot", 10)
"""The regime whose rows were judged after ten seeds, and again after twenty."""
SIMULATIONS = 4000

PRECISIONS = ("float32", "tf32", "bfloat16")

Cells = dict[tuple[str, int], dict[int, float]]


@dataclass(frozen=True)
class Row:
    """One row at one regime, in both precisions: accuracies and differences in points."""

    task: str
    shots: int
    label: str
    exact: float
    rounded: float
    differences: list[float]
    """bfloat16 − float32, one for each seed."""

    @property
    def limit(self) -> float:
        """Below which p says equivalent: 5 %, shared by the looks that were taken at this regime."""
        return 0.025 if (self.task, self.shots) == TWICE else 0.05

    @property
    def p(self) -> float:
        """That the mean difference lies outside the margin."""
        return not_equivalent(self.differences, IMAGE[self.task])

    @property
    def verdict(self) -> str:
        """What the two one-sided tests and the 95 % interval say."""
        mean = mean_interval(self.differences)
        if self.p < self.limit:
            return "equivalent"
        return "different" if abs(mean.mean) > (mean.half_width or 0.0) else "not resolved"

    def __str__(self) -> str:
        return f"`{self.label}` at {self.shots} (`{self.task}`)"


def accuracies(task: str) -> Cells:
    """Accuracy in % by row and regime, then by seed."""
    found: Cells = {}
    for record in Store(HERE).read(task).records.values():
        if record.status == "ok":
            found.setdefault((record.label, int(record.shots)), {})[record.seed] = 100 * record.metrics["accuracy"]
    return found


def not_equivalent(differences: list[float], image: float, margin: float = MARGIN) -> float:
    """The p-value of two one-sided t-tests: that the mean difference lies outside ± margin (Schuirmann 1987).

    Seeds that do not differ have no variance of 0: it is at least that of one image, as in the suite's tie groups.
    """
    spread = max(float(np.std(differences, ddof=1)), image / 6**0.5) / len(differences) ** 0.5
    mean = sum(differences) / len(differences)
    return float(stats.t.sf((margin - abs(mean)) / spread, len(differences) - 1))


def level(rows: list[Row]) -> float:
    """How often rows of one regime that differ by exactly the margin would be called equivalent, in %.

    Differences are drawn from all rows' own, each centred, and shifted by the margin; one look after each ten seeds
    where two were taken.
    """
    first, seeds = rows[0], len(rows[0].differences)
    pool = np.concatenate([np.array(row.differences) - np.mean(row.differences) for row in rows])
    stream, hits = np.random.default_rng(0), 0
    ends = [seeds // 2, seeds] if (first.task, first.shots) == TWICE else [seeds]
    for _ in range(SIMULATIONS):
        drawn = stream.choice(pool, seeds) + MARGIN
        hits += any(not_equivalent(list(drawn[:end]), IMAGE[first.task]) < first.limit for end in ends)
    return 100 * hits / SIMULATIONS


def levels(rows: list[Row]) -> Iterator[str]:
    """Each regime's level in words: 5.3 % at 10 per class of `digits-fewshot`."""
    for (task, shots), alike in groupby(rows, key=lambda row: (row.task, row.shots)):
        yield f"{level(list(alike)):.1f} % at {shots} per class of `{task}`"


def paired() -> Iterator[Row]:
    """All rows that were run in both precisions, by task, regime and name."""
    for task, twin in PAIRS.items():
        exact, rounded = accuracies(task), accuracies(twin)
        for label, shots in sorted(exact.keys() & rounded.keys(), key=lambda cell: (cell[1], cell[0])):
            theirs, mine = exact[label, shots], rounded[label, shots]
            seeds = sorted(mine.keys() & theirs.keys())
            if len(seeds) > 1:
                found = [mine[seed] - theirs[seed] for seed in seeds]
                yield Row(task, shots, label, *(fmean(each[seed] for seed in seeds) for each in (theirs, mine)), found)


def page() -> Document:
    """The study's page."""
    rows = list(paired())
    body = [
        [f"`{row.task}`", str(row.shots), f"`{row.label}`", f"{row.exact:.1f}", f"{row.rounded:.1f}",
         measured(mean_interval(row.differences), 2, sign=True), f"{row.p:.4f}", row.verdict, str(len(row.differences))]
        for row in rows
    ]  # fmt: skip
    head = ["task", "per class", "row", "float32", "bfloat16", "difference", "p", "verdict", "n"]
    legend = rich(LEGEND, margin=MARGIN, levels=", ".join(levels(rows)))
    blocks = (
        rich(INTRO, margin=MARGIN),
        Section("Answer", (Bullets(tuple(answers(rows))),)),
        Section("Row by row", ((table(head, body),) if body else ()) + (legend,)),
        Section("The first gradient", (rich(GRADIENTS), table(["task", "row", *PRECISIONS], list(gradient_rows())))),
        "Run it again: `bash studies/precision/run.sh`. What is there is not run again.",
    )
    return Document("README", "May a step be taken in bfloat16?", "studies/precision/report.py", blocks)


def gradient_rows() -> Iterator[list[str]]:
    """Relative errors of the first gradient, a line for each task and row: median and range over seeds."""
    for task, rows in json.loads((HERE / "gradients.json").read_text()).items():
        for label, kinds in rows.items():
            told = [f"{median(found):.1g} ({min(found):.1g} to {max(found):.1g})" for found in kinds.values()]
            yield [f"`{task}`", f"`{label}`", *told]


def answers(rows: list[Row]) -> Iterator[str]:
    """One sentence for each verdict, with the rows that have it."""
    if not rows:
        yield "Nothing has been run yet: use float32."
    meaning = {
        "equivalent": f"Equivalent to ± {MARGIN:g} points",
        "different": "Different",
        "not resolved": "Not resolved with these seeds, so bfloat16 is not to be used",
    }
    for word, told in meaning.items():
        named = [str(row) for row in rows if row.verdict == word]
        if named:
            yield f"{told}: {', '.join(named)}."


INTRO = """A task may say `precision = "bfloat16"`: the student's passes then take factors of 8 bits, while weights,
losses and scores stay float32. Is the accuracy that it gives the same? The same trials, on validation images and at
seeds that no table uses, in both precisions; differences are paired by seed. A difference of less than {margin} points
counts as none."""

LEGEND = """Accuracies in %, the difference in points with its 95 % t-interval. p: of two one-sided tests that the mean
difference lies outside ± {margin} points. Below 0.05 the row is *equivalent*; at 10 per class of `digits-fewshot` below
0.025, because these rows were judged twice: ten seeds left three of them not resolved, so ten more were run for all
four. On `cifar10-lite` the number of seeds was set beforehand. A row is *different* where the interval leaves out zero,
else *not resolved*. How often a row that differs by exactly {margin} points is called equivalent, simulated with these
differences: {levels}. A validation image is half a point on digits, a fiftieth of a point on CIFAR-10, and ± 0.00 says
that no seed differs. The tests are not adjusted for the number of rows. Nothing larger was run: on
`cifar100-fewshot-short` at 10 per class a trial in float32 takes 16 minutes of one core (`distill`) or 34 (`jacobian`),
so 10 seeds of both rows in both precisions take about 13 hours."""

GRADIENTS = """The gradient of the whole loss by the student's weights, at initialisation and on the first batch of a
trial with 10 images per class, against the same in float64: the error relative to its norm, median and range over five
seeds. The teacher's signals are the same float32 numbers in all. tf32 is emulated: factors of products and convolutions
are rounded to its 10 bits, sums stay float32. An error can be far above the rounding itself: where a ReLU or a
max-pooling chooses otherwise, a derivative jumps. It tells nothing of accuracies by itself; the table above does."""

if __name__ == "__main__":
    print(markdown.render(page()), end="")
