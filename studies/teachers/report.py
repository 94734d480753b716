"""What of a gain is the teacher's: `report.py` writes the page to stdout from this folder's records."""

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jkbench.records.schema import Record
from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, Table, rich, table
from jkbench.report.render import markdown
from jkbench.report.wording import code, measured
from jkbench.statistics import Interval, mean_interval, two_way_interval
from jkbench.tasks.shots import per_class

HERE = Path(__file__).parent
BASE = "distill"
TASKS = [f"digits-teacher-{number}" for number in range(1, 7)]
SIMULATIONS = 4000
Matrix = NDArray[np.float64]


@cache
def records() -> list[list[Record]]:
    """The finished records of each teacher."""
    store = Store(HERE)
    return [[r for r in store.read(task).records.values() if r.status == "ok"] for task in TASKS]


def accuracies(method: str, shots: int) -> Matrix:
    """Accuracy in %, a row a teacher, a column a seed."""
    rows = []
    for group in records():
        found = {r.seed: 100 * r.metrics["accuracy"] for r in group if (r.method, r.shots) == (method, shots)}
        rows.append([found[seed] for seed in sorted(found)])
    return np.array(rows)


def components(x: Matrix) -> tuple[float, float, float]:
    """Variances of teacher, seed, and the rest, of a table teachers × seeds with one value a cell.

    The estimates of the analysis of variance, at least 0. Source: Searle et al., *Variance Components*, 1992, ch. 4.
    """
    teachers, seeds = x.shape
    by_teacher, by_seed, mean = x.mean(1), x.mean(0), x.mean()
    rest = x - by_teacher[:, None] - by_seed[None] + mean
    error = float((rest**2).sum()) / ((teachers - 1) * (seeds - 1))
    of_teacher = max(float(by_teacher.var(ddof=1)) - error / seeds, 0.0)
    return of_teacher, max(float(by_seed.var(ddof=1)) - error / teachers, 0.0), error


def over_both(x: Matrix, level: float = 0.95) -> Interval:
    """The mean over other teachers and other seeds: crossed random effects."""
    found = two_way_interval(x, level)
    return Interval(found.mean, found.over_both, x.size)


def coverage(x: Matrix) -> float:
    """How often the interval holds the true mean in simulated tables with this one's variances, in %."""
    stream = np.random.default_rng(0)
    deviations = np.sqrt(components(x))
    hits = 0
    for _ in range(SIMULATIONS):
        parts = [stream.standard_normal(shape) for shape in ((len(x), 1), (1, x.shape[1]), x.shape)]
        found = over_both(sum(d * part for d, part in zip(deviations, parts, strict=True)))
        hits += abs(found.mean) <= (found.half_width or 0.0)
    return 100 * hits / SIMULATIONS


def gains(method: str, shots: int) -> Matrix:
    """Paired differences from the base row in points."""
    return accuracies(method, shots) - accuracies(BASE, shots)


def gained(methods: Sequence[str], shots: int) -> Table:
    """A row a method."""
    rows = []
    for method in methods:
        x = gains(method, shots)
        teacher, seed, rest = components(x)
        by_teacher = x.mean(1)
        total = teacher + seed + rest
        rows.append([
            code(method), measured(mean_interval(x[0]), sign=True), measured(mean_interval(by_teacher), sign=True),
            measured(over_both(x), sign=True), f"{by_teacher.min():+.2f} to {by_teacher.max():+.2f}".replace("-", "−"),
            *(f"{100 * part / total:.0f}" for part in (teacher, seed, rest)), f"{coverage(x):.1f}",
        ])  # fmt: skip
    heads = [
        "method", "one teacher, over seeds", "over teachers, these seeds", "over teachers and seeds", "by teacher",
        "teacher, % of variance", "seed, %", "rest, %", "coverage in %",
    ]  # fmt: skip
    return table(heads, rows, per_class(shots))


def taught() -> Table:
    """The teachers and their students' mean accuracies."""
    methods, rows = sorted({r.method for r in records()[0]}), []
    for number, group in enumerate(records(), start=1):
        known = next(r.teacher for r in group if r.teacher)
        means = [accuracies(method, 1)[number - 1].mean() for method in methods]
        told = [f"{100 * (known.accuracy or 0):.2f}", f"`{known.weights}`"]
        rows.append([str(number), *told, *(f"{mean:.2f}" for mean in means)])
    return table(
        ["teacher", "accuracy in %", "weights", *map(code, methods)], rows, "Teachers, students at 1 per class"
    )


def answers(methods: Sequence[str], regimes: Sequence[int]) -> list[str]:
    """The largest share of the teacher, and gains whose interval over teachers and seeds leaves 0 out."""
    shares = {}
    sentences = []
    for shots in regimes:
        clear = []
        for method in methods:
            x = gains(method, shots)
            parts, found = components(x), over_both(x)
            shares[method, shots] = 100 * parts[0] / sum(parts)
            if abs(found.mean) > (found.half_width or 0.0):
                clear.append(f"{code(method)} ({measured(found, sign=True)})")
        told = ", ".join(clear) or "none"
        sentences.append(
            f"{per_class(shots)}: differences from {code(BASE)} that hold for other teachers and seeds: {told}."
        )
    (method, shots), most = max(shares.items(), key=lambda item: item[1])
    worst = f"{code(method)}, {per_class(shots)}"
    return [*sentences, f"The teacher's share of a gain's variance is at most {most:.0f} % ({worst})."]


def rows() -> str:
    """The rows to run: the methods with the parameters that were chosen on `digits-fewshot`."""
    chosen = json.loads((HERE.parent.parent / "leaderboard/choices/digits-fewshot.json").read_text())["methods"]
    named = []
    for method in ("distill", "kd", "jacobian", "jacobian-random-rows", "noise"):
        found = chosen[method]["chosen"][0]["parameters"]
        named.append(f"{method}[{','.join(f'{name}={found[name]}' for name in chosen[method]['ranges'])}]")
    return ",".join(named)


def page() -> Document:
    """The study's page."""
    methods = sorted({r.method for r in records()[0]} - {BASE})
    regimes = sorted({int(r.shots) for r in records()[0]})
    sections = (
        Section("Answer", (Bullets(tuple(map(rich, answers(methods, regimes)))),)),
        Section("Gains", tuple(gained(methods, shots) for shots in regimes)),
        Section("Teachers", (taught(),)),
        Section("How to read the tables", (Bullets(tuple(map(rich, LEGEND))),)),
    )
    title = "Does a gain depend on the teacher?"
    return Document("README", title, "studies/teachers/report.py", (rich(INTRO), *sections, rich(AGAIN)))


INTRO = """Each table of the suite has one teacher. Here `digits-fewshot` has six, which differ in the seed of
their training alone: initial weights and order of batches. Each teaches the same students: the same images, initial
weights and order of batches at a seed. Test images, six seeds that no other table uses; the parameters are those that
`jkbench tune` chose with the teacher of `digits-fewshot`, which is none of the six."""

LEGEND = (
    f"Gains are paired differences from `{BASE}` with the same teacher, in points of accuracy, ± 95 %.",
    "one teacher, over seeds: what a page of the suite says, with the first of the six.",
    "over teachers, these seeds: a t-interval of the six teachers' means.",
    "over teachers and seeds: crossed random effects, for another teacher and another seed.",
    "% of variance: of a single trial's gain, by the analysis of variance. `scratch` has no teacher: the teacher's "
    "share of its gain is that of the base row.",
    f"coverage: of the interval over teachers and seeds, in {SIMULATIONS:,} tables simulated with these variances.",
)

AGAIN = "Run it again: `bash studies/teachers/run.sh`"

if __name__ == "__main__":
    print(rows() if "rows" in sys.argv else markdown.render(page()), end="")
