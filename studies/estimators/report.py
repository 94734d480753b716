"""The table of the estimators, from this folder's records and `cost.json`: `report.py chosen` names the rows to run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jkbench.records.store import Store
from jkbench.report.markup import pipe_table
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


def page() -> str:
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
            gains.append("" if method == "distill" else f"{gain.mean:+.1f} ± {gain.half_width or 0:.1f}")
        price = [times(name, "distill", digits), times(name, "distill", priced)]
        price.append(f"{priced[name]['step_memory_mb']:.0f}" if name in priced else "–")
        means = [mean_interval(list(cell.values())) for cell in cells]
        rows.append([
            f"`{name}`", f"{weights[name]:g}{' (edge)' * (weights[name] in edges)}" if name in weights else "",
            *(f"{m.mean:.1f} ± {m.half_width or 0:.1f}" for m in means), *(gain.replace("-", "−") for gain in gains),
            *price,
        ])  # fmt: skip
    head = ["estimator", "jac", *(f"{k} per class" for k in SHOTS), *(f"gain at {k}" for k in SHOTS)]
    seeds = sorted({r.seed for r in RECORDS if r.split == "test"})
    table = pipe_table(rows, [*head, "× (10 classes)", "× (100 classes)", "MiB a step"])
    against = versus(weights)
    return TEXT.format(
        table=table,
        n=len(seeds),
        grid=", ".join(f"{weight:g}" for weight in tried),
        same=same(weights),
        against="\n".join(f"- `{name}`: {told}." for name, (told, _) in against.items()),
        answer="\n".join(answer(against, priced, digits)),
    )


def times(name: str, base: str, steps: dict[str, dict[str, float]]) -> str:
    """A step of one row as a multiple of another's."""
    return f"{steps[name]['milliseconds'] / steps[base]['milliseconds']:.2f}" if name in steps else "–"


def same(weights: dict[str, float]) -> str:
    """A sentence on the teacher's largest row, where it is the paper's in every trial."""
    cells = [
        accuracies("test", "jacobian", shots, weights[name])[name]
        for name in (PAPERS, "rows=largest")
        for shots in SHOTS
    ]
    if cells[: len(SHOTS)] != cells[len(SHOTS) :]:
        return ""
    return "\n- `largest` is `correct` here: the teacher errs on none of the training images."


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
            told.append(f"{gain.mean:+.1f} ± {half:.1f} at {shots} per class".replace("-", "−"))
            resolved.append(0 if gain.mean - half <= 0 <= gain.mean + half else 1 if gain.mean > 0 else -1)
        verdict = {
            2: "better in both",
            1: "better in one",
            0: "not told apart",
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
        yield f"- Take {' or '.join(f'`{name}`' for name in cheap)}: better than the paper's row at no greater price."
    else:
        yield f"- Take `{PAPERS}`, the paper's: none that costs no more is seen to be better."
    for name in sorted(set(better) - set(cheap), key=lambda name: digits[name]["milliseconds"]):
        many = f" and {times(name, PAPERS, priced)} at 100" if name in priced else "; it grows with the classes"
        yield (
            f"- Where a step may cost more: `{name}` ({against[name][0]}), at {times(name, PAPERS, digits)} times the "
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


TEXT = """<!-- Written by studies/estimators/report.py. Do not edit: it is overwritten. -->
# Which estimator of the Jacobian should one take?

`jacobian` can match one row of the Jacobian, several, all, or unbiased estimates of all of them. Accuracy in % on the
test images of `digits-fewshot` (8×8 digits), mean over {n} seeds ± half-width of the 95 % t-interval; gains over
`distill` are paired. Each estimator's weight is the best of {grid} on validation images, over two
seeds that the table does not use; *edge*: the best was the first or the last of these. Cost: one step in units of
`distill`, on one CPU thread: of this task (10 classes), and at CIFAR's size (VGG-4, 64 images, 100 classes) with the
memory that it takes beyond networks, images and optimiser.

{table}

- `correct`, `largest`, `top`: rows of the Jacobian; `full`: all of them, so that a step grows with the classes (not
  measured at 100 of them: the graph would hold as many backward passes).
- `projection`, `forward`: one random direction a step, of the outputs or of the inputs; their mean is the full match.
  The teacher's side is new at every step and cannot be kept: it is computed live.
- `differences`: `forward` by finite differences, without a second derivative.
- `mean` is not in the table: it divides the term by the number of values, which is another weight.{same}

## Which one to take

{answer}

These are equal numbers of steps, not equal times, and digits: on test images of CIFAR-100 `rows=correct` alone has been
run.

Against the paper's own, `rows=correct`, in points, paired by seed; *better* and *worse* where the 95 % interval of a
regime leaves zero out:

{against}

The intervals are not adjusted for their number.

    bash studies/estimators/run.sh

The records are in this folder (split "validation" and "test"), the profiles in `cost-digits.json` and `cost.json`.
"""

if __name__ == "__main__":
    if sys.argv[1:] == ["chosen"]:
        print(",".join(f"jacobian[{name},jac={weight:g}]" for name, weight in chosen().items()))
    else:
        print(page(), end="")
