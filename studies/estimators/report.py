"""The table of the estimators, from this folder's records and `cost.json`: `report.py chosen` names the rows to run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, rich, table
from jkbench.report.render import markdown
from jkbench.report.wording import measured
from jkbench.statistics import mean_interval

HERE = Path(__file__).parent
SHOTS = (5, 10)
PAPERS = "rows=correct"
RECORDS = list(Store(HERE).read("digits-fewshot").records.values())


def estimator(parameters: dict) -> str:
    """A row without its weight."""
    name = f"rows={parameters['rows']}" + (f",top={parameters['top']}" if parameters["rows"] == "top" else "")
    return name + (",normalise=true" if parameters["normalise"] else "")


def accuracies(split: str, method: str, shots: int, weight: float | None = None) -> dict[str, dict[int, float]]:
    """Accuracy in % by estimator and seed."""
    found: dict[str, dict[int, float]] = {}
    for record in RECORDS:
        of_weight = weight is None or record.parameters.get("jac") == weight
        if (record.split, record.method, record.shots, record.status) == (split, method, shots, "ok") and of_weight:
            name = estimator(record.parameters) if method == "jacobian" else method
            found.setdefault(name, {})[record.seed] = 100 * record.metrics["accuracy"]
    return found


def chosen() -> dict[str, float]:
    """Each estimator's weight: the best mean accuracy on validation images over both regimes; the smaller of equals."""
    weights = sorted({r.parameters["jac"] for r in RECORDS if r.method == "jacobian" and r.split == "validation"})
    scores: dict[str, dict[float, float]] = {}
    for weight in weights:
        both = [accuracies("validation", "jacobian", shots, weight) for shots in SHOTS]
        for name in both[0]:
            scores.setdefault(name, {})[weight] = float(np.mean([list(cells[name].values()) for cells in both]))
    return {name: max(by_weight, key=lambda w: (by_weight[w], -w)) for name, by_weight in scores.items()}


def costs(file: str) -> dict[str, dict[str, float]]:
    """A profile's steps by estimator; ``distill`` among them."""
    steps = json.loads((HERE / file).read_text())["steps"]
    return {("distill" if step["label"] == "distill" else _label(step["label"])): step for step in steps}


def page() -> Document:
    """The study's page."""
    weights, priced, digits = chosen(), costs("cost.json"), costs("cost-digits.json")
    tried = sorted({r.parameters["jac"] for r in RECORDS if r.method == "jacobian" and r.split == "validation"})
    edges = {tried[0], tried[-1]}
    rows = []
    for name in ["distill", *weights]:
        method = "jacobian" if name in weights else "distill"
        cells = [accuracies("test", method, shots, weights.get(name)).get(name, {}) for shots in SHOTS]
        gains = []
        for shots, cell in zip(SHOTS, cells, strict=True):
            base = accuracies("test", "distill", shots)["distill"]
            gain = mean_interval([cell[seed] - base[seed] for seed in sorted(cell)])
            gains.append("" if method == "distill" else measured(gain, 1, sign=True))
        price = [times(name, "distill", digits), times(name, "distill", priced)]
        price.append(f"{priced[name]['step_memory_mb']:.0f}" if name in priced else "–")
        means = [mean_interval(list(cell.values())) for cell in cells]
        rows.append([
            f"`{name}`", f"{weights[name]:g}{' (edge)' * (weights[name] in edges)}" if name in weights else "",
            *(measured(mean, 1) for mean in means), *gains, *price,
        ])  # fmt: skip
    head = ["estimator", "jac", *(f"{k} per class" for k in SHOTS), *(f"gain at {k}" for k in SHOTS)]
    seeds = sorted({r.seed for r in RECORDS if r.split == "test"})
    against = versus(weights)
    blocks = (
        rich(INTRO, n=len(seeds), grid=", ".join(f"{weight:g}" for weight in tried)),
        table([*head, "× (10 classes)", "× (100 classes)", "MiB a step"], rows),
        Bullets((*ROWS, *same(weights))),
        Section("Which one to take", (Bullets(tuple(answer(against, priced, digits))), LIMITS)),
        Section(
            "Against the paper's row",
            (
                rich(AGAINST),
                Bullets(tuple(f"`{name}`: {told}." for name, (told, _) in against.items())),
            ),
        ),
        "Run it again: `bash studies/estimators/run.sh`. The records are in this folder (splits validation and test), "
        "the profiles in `cost-digits.json` and `cost.json`.",
    )
    title = "Which estimator of the Jacobian should one take?"
    return Document("README", title, "studies/estimators/report.py", blocks)


def times(name: str, base: str, steps: dict[str, dict[str, float]]) -> str:
    """A step of one row as a multiple of another's."""
    return f"{steps[name]['milliseconds'] / steps[base]['milliseconds']:.2f}" if name in steps else "–"


def same(weights: dict[str, float]) -> list[str]:
    """A sentence on the teacher's largest row, where it is the paper's in every trial."""
    cells = [
        accuracies("test", "jacobian", shots, weights[name])[name]
        for name in (PAPERS, "rows=largest")
        for shots in SHOTS
    ]
    if cells[: len(SHOTS)] != cells[len(SHOTS) :]:
        return []
    return ["`largest` equals `correct` here: the teacher is right on all training images."]


def versus(weights: dict[str, float]) -> dict[str, tuple[str, int]]:
    """Each estimator against the paper's row, paired: in words, and in how many regimes it is better (less: worse)."""
    found: dict[str, tuple[str, int]] = {}
    for name in weights:
        told, resolved = [], []
        for shots in SHOTS:
            base = accuracies("test", "jacobian", shots, weights[PAPERS])[PAPERS]
            own = accuracies("test", "jacobian", shots, weights[name])[name]
            gain = mean_interval([own[seed] - base[seed] for seed in sorted(own)])
            half = gain.half_width or 0.0
            told.append(f"{measured(gain, 1, sign=True)} at {shots} per class")
            resolved.append(0 if gain.mean - half <= 0 <= gain.mean + half else 1 if gain.mean > 0 else -1)
        verdict = {
            2: "better in both",
            1: "better in one",
            0: "no significant difference",
            -1: "worse in one",
            -2: "worse in both",
        }
        if name != PAPERS:
            found[name] = f"{', '.join(told)}: {verdict[sum(resolved)]}", sum(resolved)
    return found


def answer(
    against: dict[str, tuple[str, int]], priced: dict[str, dict[str, float]], digits: dict[str, dict[str, float]]
) -> Iterator[str]:
    """Which estimator to take: the cheapest, and those that an interval shows to be better, by their price."""
    own = priced[PAPERS]["milliseconds"]
    better = [name for name, (_, regimes) in against.items() if regimes > 0]
    cheap = [name for name in better if name in priced and priced[name]["milliseconds"] < 1.05 * own]
    if cheap:
        yield f"Take {' or '.join(f'`{name}`' for name in cheap)}: better than the paper's row at no higher cost."
    else:
        yield f"Take the paper's `{PAPERS}`: no estimator of the same or a lower cost is significantly better."
    for name in sorted(set(better) - set(cheap), key=lambda name: digits[name]["milliseconds"]):
        many = (
            f" and {times(name, PAPERS, priced)} at 100"
            if name in priced
            else "; this grows with the number of classes"
        )
        yield (
            f"If a step may cost more, take `{name}` ({against[name][0]}), at {times(name, PAPERS, digits)} times the "
            f"step of `{PAPERS}` at 10 classes{many}."
        )


def _label(label: str) -> str:
    """The estimator of a profile's row, whose label leaves out what the task's rows usually have."""
    if not label.startswith("jacobian"):
        return ""
    inside = dict(part.split("=") for part in label.removeprefix("jacobian").strip("[]").split(",") if part)
    rows = inside.get("rows", "auto").replace("auto", "correct")
    name = f"rows={rows}" + (f",top={inside.get('top', '3')}" if rows == "top" else "")
    return name + (",normalise=true" if inside.get("normalise") == "true" else "")


INTRO = """`jacobian` can match one row of the Jacobian, several, all, or unbiased estimates of all of them. Accuracy
in % on the test images of `digits-fewshot` (8×8 digits): mean over {n} seeds ± half-width of the 95 % t-interval.
Gains over `distill` are paired. Each estimator's weight is the best of {grid} on validation images, over two seeds
that the table does not use; *edge* marks a best weight that was the smallest or the largest of these. Cost: one step
relative to one of `distill`, on one CPU thread, for this task (10 classes) and at CIFAR's size (VGG-4, 64 images, 100
classes); memory: what a step takes beyond networks, images and optimiser."""

ROWS = (
    "`correct`, `largest`, `top`: rows of the Jacobian. `full`: all of them, so the cost of a step grows with the "
    "number of classes (not measured at 100: the graph would hold 100 backward passes).",
    "`projection`, `forward`: one random direction per step, of the outputs or of the inputs; their mean is the full "
    "match. The teacher's side is new at every step, so it is computed live and never cached.",
    "`differences`: `forward` by finite differences, without a second derivative.",
    "`mean` is not in the table: it divides the term by the number of values, which only changes the weight.",
)

LIMITS = """Steps are equal in number, not in time, and this is on digits: on test images of CIFAR-100 only
`rows=correct` has been run."""

AGAINST = """Differences from the paper's own `rows=correct`, in points, paired by seed. A row is *better* or *worse*
in a regime if the 95 % interval there excludes zero. The intervals are not adjusted for their number."""

if __name__ == "__main__":
    if sys.argv[1:] == ["chosen"]:
        print(",".join(f"jacobian[{name},jac={weight:g}]" for name, weight in chosen().items()))
    else:
        print(markdown.render(page()), end="")
