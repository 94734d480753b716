"""Whether bfloat16 changes accuracies, from this folder's records: `report.py` writes the page to stdout."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from scipy import stats

from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, rich, table
from jkbench.report.render import markdown
from jkbench.report.wording import measured
from jkbench.statistics import mean_interval

HERE = Path(__file__).parent
SHOTS = (10, 50)
MARGIN = 0.5
"""Points: a smaller difference is none."""
IMAGE = 0.5
"""Points of one validation image."""
LOOKS = {10: 2, 50: 1}
"""How often the rows of a regime were judged: at 10 per class after ten seeds, and again after twenty."""
SIMULATIONS = 4000

PRECISIONS = ("float32", "tf32", "bfloat16")

Cells = dict[tuple[str, int], dict[int, float]]


def accuracies(task: str) -> Cells:
    """Accuracy in % by row and regime, then by seed."""
    found: Cells = {}
    for record in Store(HERE).read(task).records.values():
        if record.status == "ok":
            found.setdefault((record.label, int(record.shots)), {})[record.seed] = 100 * record.metrics["accuracy"]
    return found


def not_equivalent(differences: list[float], margin: float = MARGIN) -> float:
    """The p-value of two one-sided t-tests: that the mean difference lies outside ± margin (Schuirmann 1987).

    Seeds that do not differ have no variance of 0: it is at least that of one image, as in the suite's tie groups.
    """
    spread = max(float(np.std(differences, ddof=1)), IMAGE / 6**0.5) / len(differences) ** 0.5
    mean = sum(differences) / len(differences)
    return float(stats.t.sf((margin - abs(mean)) / spread, len(differences) - 1))


def limit(shots: int) -> float:
    """Below which p says equivalent: 5 % shared by the looks that were taken at this regime."""
    return 0.05 / LOOKS[shots]


def level(shots: int, seeds: int) -> float:
    """How often rows that differ by exactly the margin would be called equivalent, in %.

    Differences are drawn from all rows' own, each centred, and shifted by the margin; one look after each ten seeds.
    """
    pool = np.concatenate([np.array(found) - np.mean(found) for _, at, found, *_ in rows() if at == shots])
    stream, hits = np.random.default_rng(0), 0
    for _ in range(SIMULATIONS):
        drawn = stream.choice(pool, seeds) + MARGIN
        ends = [seeds] if LOOKS[shots] == 1 else [seeds // 2, seeds]
        hits += any(not_equivalent(list(drawn[:end])) < limit(shots) for end in ends)
    return 100 * hits / SIMULATIONS


def simulated() -> dict[str, object]:
    """What the legend says of the tests."""
    return {"margin": MARGIN, "twice": f"{level(10, 20):.1f} %", "once": f"{level(50, 10):.1f} %"}


def rows() -> Iterator[tuple[str, int, list[float], float, float]]:
    """Row, regime, differences by seed, and the mean accuracy in both precisions."""
    exact, rounded = accuracies("digits-fewshot"), accuracies("digits-bfloat16")
    for label, shots in sorted(exact.keys() & rounded.keys()):
        mine, theirs = rounded[label, shots], exact[label, shots]
        seeds = sorted(mine.keys() & theirs.keys())
        if len(seeds) > 1:
            means = (sum(each[seed] for seed in seeds) / len(seeds) for each in (theirs, mine))
            yield label, shots, [mine[seed] - theirs[seed] for seed in seeds], *means


def verdict(differences: list[float], limit: float = 0.05) -> str:
    """What the two one-sided tests and the 95 % interval say of one cell."""
    mean = mean_interval(differences)
    half = mean.half_width or 0.0
    if not_equivalent(differences) < limit:
        return "equivalent"
    return "different" if abs(mean.mean) > half else "not resolved"


def page() -> Document:
    """The study's page."""
    cells = list(rows())
    body = [
        [f"`{label}`", str(shots), f"{exact:.1f}", f"{rounded:.1f}", measured(mean_interval(found), 2, sign=True),
         f"{not_equivalent(found):.4f}", verdict(found, limit(shots)), str(len(found))]
        for label, shots, found, exact, rounded in cells
    ]  # fmt: skip
    head = ["row", "per class", "float32", "bfloat16", "difference", "p", "verdict", "n"]
    blocks = (
        rich(INTRO, margin=MARGIN),
        Section("Answer", (Bullets(tuple(answers(cells))),)),
        Section("Row by row", ((table(head, body),) if body else ()) + (rich(LEGEND, **simulated()),)),
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


def answers(cells: list[tuple[str, int, list[float], float, float]]) -> Iterator[str]:
    """One sentence for each verdict, with the rows that have it."""
    if not cells:
        yield "Nothing has been run yet: use float32."
    meaning = {
        "equivalent": f"Equivalent to ± {MARGIN:g} points",
        "different": "Different",
        "not resolved": "Not resolved with these seeds, so bfloat16 is not to be used",
    }
    for word, told in meaning.items():
        named = [f"`{label}` at {shots}" for label, shots, found, *_ in cells if verdict(found, limit(shots)) == word]
        if named:
            yield f"{told}: {', '.join(named)}."


INTRO = """A task may say `precision = "bfloat16"`: the student's passes then take factors of 8 bits, while weights,
losses and scores stay float32. Is the accuracy that it gives the same? The same trials of `digits-fewshot`, on
validation images and at seeds that no table uses, in both precisions; differences are paired by seed. A difference of
less than {margin} points counts as none."""

LEGEND = """Accuracies in %, the difference in points with its 95 % t-interval. p: of two one-sided tests that the mean
difference lies outside ± {margin} points. Below 0.05 the row is *equivalent*; at 10 per class below 0.025, because
these rows were judged twice: ten seeds left three of them not resolved, so ten more were run for all four. A row is
*different* where the interval leaves out zero, else *not resolved*. How often a row that differs by exactly {margin}
points is called equivalent, simulated with these differences: {twice} at 10 per class, {once} at 50 per class.
A validation image is half a point, and ± 0.00 says that no seed differs.
The tests are not adjusted for the number of rows. Digits only.
On `cifar100-fewshot-short` at 10 per class a trial in float32 takes 16 minutes of one core (`distill`) or 34
(`jacobian`), so 10 seeds of both rows in both precisions take about 13 hours: not run."""

GRADIENTS = """The gradient of the whole loss by the student's weights, at initialisation and on the first batch of a
trial with 10 images per class, against the same in float64: the error relative to its norm, median and range over five
seeds. The teacher's signals are the same float32 numbers in all. tf32 is emulated: factors of products and convolutions
are rounded to its 10 bits, sums stay float32. An error can be far above the rounding itself: where a ReLU or a
max-pooling chooses otherwise, a derivative jumps. It tells nothing of accuracies by itself; the table above does."""

if __name__ == "__main__":
    print(markdown.render(page()), end="")
