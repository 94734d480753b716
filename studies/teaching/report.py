"""What makes a teacher teach: `report.py` writes the page to stdout from records and `properties.json`."""

import json
import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray
from recipes import HERE, SUITES, Suite
from scipy import stats

from jkbench.records.schema import Record
from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, Table, rich, table
from jkbench.report.render import markdown
from jkbench.report.wording import code, measured, p_value
from jkbench.statistics import mean_interval
from jkbench.tasks.shots import per_class

SHOTS = (1, 5)
PERMUTATIONS, SIMULATIONS = 4000, 1000
Matrix = NDArray[np.float64]


@cache
def properties() -> dict[str, dict[str, float]]:
    """Of each teacher, by its task."""
    found: dict[str, dict[str, float]] = json.loads((HERE / "properties.json").read_text())
    return found


def names() -> list[str]:
    """Of the properties."""
    return [name for name in next(iter(properties().values())) if name != "weights"]


@cache
def tasks(suite: str) -> list[str]:
    """The tasks of a suite's teachers."""
    return list(SUITES[suite].recipes())


@cache
def records(task: str) -> list[Record]:
    """The finished records of a teacher's students."""
    return [r for r in Store(HERE).read(task).records.values() if r.status == "ok" and r.split == "validation"]


def accuracies(suite: str, method: str, shots: int) -> Matrix:
    """Accuracy in %, a row a teacher, a column a seed."""
    rows = []
    for task in tasks(suite):
        found = {r.seed: 100 * r.metrics["accuracy"] for r in records(task) if (r.method, r.shots) == (method, shots)}
        rows.append([found[seed] for seed in sorted(found)])
    return np.array(rows)


def outcomes(suite: str) -> dict[str, Matrix]:
    """What a teacher is judged by, teachers × seeds: accuracy after distillation, and the Jacobian's gain over it."""
    found = {}
    for shots in SHOTS:
        plain = accuracies(suite, "distill", shots)
        found[f"`distill`, {per_class(shots)}"] = plain
        found[f"`jacobian` − `distill`, {per_class(shots)}"] = accuracies(suite, "jacobian", shots) - plain
    return found


def ranks(columns: Matrix) -> Matrix:
    """Standardised ranks down the columns: the product of two is Spearman's correlation."""
    found = stats.rankdata(columns, axis=0)
    found = found - found.mean(axis=0)
    return np.asarray(found / np.linalg.norm(found, axis=0))


def correlations(own: Matrix, means: Matrix) -> tuple[Matrix, Matrix]:
    """Spearman's correlations, properties × outcomes, and p adjusted for all of them.

    Teachers are exchanged between properties and outcomes; p is the share of permutations whose largest absolute
    correlation reaches this one. Source: Westfall & Young, *Resampling-based multiple testing*, 1993.
    """
    x, y, stream = ranks(own), ranks(means), np.random.default_rng(0)
    found = x.T @ y
    largest = [np.abs(x.T @ y[stream.permutation(len(y))]).max() for _ in range(PERMUTATIONS)]
    reached = (np.array(largest)[:, None, None] >= np.abs(found) - 1e-12).sum(axis=0)
    return found, (1 + reached) / (1 + PERMUTATIONS)


def level(own: Matrix, means: Matrix) -> float:
    """How often any p falls below 5 % where outcomes have nothing to do with the teachers, in %: outcomes are drawn
    from a normal distribution with the covariances of ours."""
    stream, hits = np.random.default_rng(1), 0
    x, spread = ranks(own), np.cov(means, rowvar=False)
    null = [np.abs(x.T @ ranks(means)[stream.permutation(len(means))]).max() for _ in range(PERMUTATIONS)]
    limit = np.quantile(null, 0.95)
    for _ in range(SIMULATIONS):
        drawn = stream.multivariate_normal(np.zeros(len(spread)), spread, size=len(means))
        hits += bool(np.abs(x.T @ ranks(drawn)).max() > limit)
    return 100 * hits / SIMULATIONS


def teachers(suite: str) -> Table:
    """The teachers, and their students' means over seeds."""
    found, rows = outcomes(suite), []
    for at, task in enumerate(tasks(suite)):
        own = properties()[task]
        told = [f"{own[name]:.3g}" for name in names()]
        means = [measured(mean_interval(x[at].tolist()), sign="−" in name) for name, x in found.items()]
        rows.append([code(task.removeprefix(f"{suite}-taught-")), *told, *means])
    return table(["teacher", *names(), *found], rows)


def predicted(suite: str) -> tuple[Table, list[str]]:
    """Which property goes with which outcome."""
    found = outcomes(suite)
    own = np.array([[properties()[task][name] for name in names()] for task in tasks(suite)])
    means = np.array([x.mean(axis=1) for x in found.values()]).T
    rho, p = correlations(own, means)
    rows, clear = [], []
    for i, name in enumerate(names()):
        rows.append([name, *(f"{rho[i, j]:+.2f} ({p_value(p[i, j])})".replace("-", "−") for j in range(len(found)))])
    for j, outcome in enumerate(found):
        good = [
            f"{names()[i]} ({rho[i, j]:+.2f})".replace("-", "−") for i in np.argsort(-abs(rho[:, j])) if p[i, j] < 0.05
        ]
        clear.append(f"{outcome} goes with: {', '.join(good) or 'nothing that can be told'}.")
    note = f"Chance of any p below 5 % where nothing goes with anything, simulated: {level(own, means):.1f} %."
    return table(["property of the teacher", *found], rows, notes=(note,)), clear


def rows(suite: Suite) -> str:
    """The rows to run: the methods with the parameters that were chosen on the task that the suite is like."""
    chosen = json.loads((HERE.parent.parent / f"leaderboard/choices/{suite.like}.json").read_text())["methods"]
    named = []
    for method in ("distill", "jacobian"):
        found = chosen[method]["chosen"][0]["parameters"]
        named.append(f"{method}[{','.join(f'{name}={found[name]}' for name in chosen[method]['ranges'])}]")
    return ",".join(named)


def sections(suite: Suite) -> tuple[Section, ...]:
    """What one suite's teachers say."""
    correlated, clear = predicted(suite.name)
    title = suite.title.split(",")[0]
    told = f"{len(tasks(suite.name))} teachers of `{suite.like}`, {len(suite.seeds)} seeds. {OWN} {suite.own}."
    return (
        Section(f"{title}: answer", (rich(told), Bullets(tuple(map(rich, clear))))),
        Section(f"{title}: correlations over teachers", (correlated,)),
        Section(f"{title}: teachers", (teachers(suite.name),)),
    )


def page() -> Document:
    """The study's page."""
    of_suites = [section for suite in SUITES.values() for section in sections(suite)]
    legend = Section("How to read the tables", (Bullets(tuple(map(rich, LEGEND))),))
    blocks = (rich(INTRO), *of_suites, legend, rich(AGAIN))
    return Document("README", "What makes a teacher teach?", "studies/teaching/report.py", blocks)


INTRO = """Which property of a teacher goes with the accuracy of its students, and with the gain of the Jacobian over
distillation? Teachers differ in optimiser, weight decay, length of training and augmentation. Each teaches the same
students: the same images, initial weights and order of batches at a seed. Validation images, seeds of no table."""

OWN = "Parameters are those that `jkbench tune` chose there; other teachers may need others. That task's own teacher is"

LEGEND = (
    "Correlations are Spearman's, over teachers, of a property with the mean over seeds; p by permutations of the "
    "teachers, adjusted for all cells of the table (largest absolute correlation).",
    "A correlation over recipes is no proof of a cause: the properties go with each other, and with one weight for all "
    "teachers, the Jacobian's term is the larger the larger its norm.",
    "The teacher's accuracy on its test images is for information: nothing was chosen by it.",
    "The students' images are those that validation runs draw their subsets from, on photographs 2,000 of them; the "
    "teacher was trained on them.",
    "Norm of the Jacobian's correct row: of the correct class's logit by the normalised input, mean over images.",
    "Local linearity: 1 − ‖f(x + δ) − f(x) − J δ‖ / ‖f(x + δ) − f(x)‖ with Gaussian δ of std 0.3; 1 for a linear map.",
    "Students: mean over seeds ± 95 %.",
)

AGAIN = "Run it again: `bash studies/teaching/run.sh`"

if __name__ == "__main__":
    if len(sys.argv) > 1:
        asked = SUITES[sys.argv[1]]
        print(rows(asked), f"{asked.seeds[0]}-{asked.seeds[-1]}")
    else:
        print(markdown.render(page()), end="")
