"""The table of the readings, from this folder's records on validation images: `report.py` writes the page to stdout."""

from collections.abc import Sequence
from pathlib import Path

from jkbench.papers import table as papers
from jkbench.records.schema import Record
from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, Table, rich, table
from jkbench.report.grid import END, value_of
from jkbench.report.render import markdown
from jkbench.report.wording import measured, signed
from jkbench.statistics import mean_interval
from jkbench.tasks.task import load

HERE = Path(__file__).parent
TASKS = (
    "cifar100-teacher-12",
    "cifar100-teacher-4",
    "cifar100-teacher-augmented",
    "cifar100-batch-16",
    "cifar100-teacher-4-batch-128",
)
PUBLISHED = papers.load("jacobian-matching").tables["cifar100"].numbers


def records(task: str) -> list[Record]:
    """The finished records of a task on validation images."""
    found = Store(HERE).read(task).records.values()
    return [record for record in found if record.split == "validation" and record.status == "ok"]


def accuracy(group: Sequence[Record]) -> str:
    """Mean and interval in %, or the one value."""
    return measured(mean_interval([100 * record.metrics["accuracy"] for record in group]), 1)


def fell(group: Sequence[Record], term: str) -> str:
    """The last tenth of a term, in % of its first value; mean over seeds."""
    shares = [100 * value_of(record, f"{END}{term}") for record in group if term in record.curves]
    return f"{sum(shares) / len(shares):.0f}" if shares else ""


def paired(group: Sequence[Record], base: Sequence[Record]) -> list[float]:
    """Differences from another row of the same task, in points, seed by seed."""
    of = {record.seed: 100 * record.metrics["accuracy"] for record in base}
    return [100 * r.metrics["accuracy"] - of[r.seed] for r in group if r.seed in of]


def gain(group: Sequence[Record], base: Sequence[Record]) -> str:
    """Mean and interval of the paired differences, in points."""
    pairs = paired(group, base)
    if not pairs or {r.id for r in group} == {r.id for r in base}:
        return ""
    return measured(mean_interval(pairs), 1, sign=True)


def without_jacobian(label: str) -> str | None:
    """The row that differs by the Jacobian term alone; None for a row that has no such term."""
    method, _, given = label.removesuffix("]").partition("[")
    if method != "jacobian":
        return None
    kept = [part for part in given.split(",") if part.startswith(("ce=", "act="))]
    if "act=0" in kept:
        return None if "ce=0" in kept else "scratch"
    return "distill" + (f"[{','.join(kept)}]" if kept else "")


def of_paper(base: str) -> str:
    """The paper's name of a row without a Jacobian term."""
    return "ce" if base == "scratch" else "act" if "ce=0" in base else "ce+act"


def published_gain(row: str, shots: int) -> float:
    """What the paper's Jacobian gains over its row, in points."""
    return PUBLISHED[f"{row}+jac", str(shots)] - PUBLISHED[row, str(shots)]


def published(label: str, shots: int) -> str:
    """The paper's gain for a row with a Jacobian term, in points; empty for another."""
    base = without_jacobian(label)
    return "" if base is None else signed(published_gain(of_paper(base), shots))


def rows_of(shots: int) -> Table:
    """All readings of one regime."""
    rows = []
    for task in TASKS:
        here = [record for record in records(task) if record.shots == shots]
        labels = sorted({record.label for record in here}, key=lambda label: (len(label), label))
        of = {label: [record for record in here if record.label == label] for label in labels}
        for label in labels:
            group = sorted((r for r in here if r.label == label), key=lambda r: r.seed)
            metrics = [r.metrics for r in group]
            cosine = sum(m["jacobian_cosine"] for m in metrics) / len(metrics)
            rows.append([
                f"`{task.removeprefix('cifar100-')}`", f"`{label}`", accuracy(group),
                *(gain(group, of.get(base or "", [])) for base in ("distill", without_jacobian(label))),
                published(label, shots),
                *(fell(group, term) for term in ("ce", "act", "jac")), f"{cosine:.3f}", str(len(group)),
            ])  # fmt: skip
    over = ["over distill", "Jacobian's gain", "published"]
    head = ["protocol", "row", "accuracy", *over, "ce end in %", "act end in %", "jac end in %", "cosine", "n"]
    return table(head, rows, left=(0, 1))


def nearest(shots: int) -> list[str]:
    """By row that the gain is over: the published gain, and the readings' gains, the nearest to it first."""
    found: dict[str, list[tuple[float, str]]] = {}
    for task in TASKS:
        here = [record for record in records(task) if record.shots == shots]
        for label in sorted({record.label for record in here}):
            base = without_jacobian(label)
            pairs = paired([r for r in here if r.label == label], [r for r in here if r.label == base])
            if base is not None and pairs:
                told = f"`{label}` with `{task.removeprefix('cifar100-')}`"
                found.setdefault(of_paper(base), []).append((sum(pairs) / len(pairs), told))
    lines = []
    for row, gains in sorted(found.items(), reverse=True):
        wanted = published_gain(row, shots)
        gains.sort(key=lambda entry: abs(entry[0] - wanted))
        told = "; ".join(f"{signed(gain, 1)} {name}" for gain, name in gains)
        lines.append(f"{shots} per class, over `{row}` (published {signed(wanted)}): {told}.")
    return lines


def teachers() -> Table:
    """The teachers, as the records know them."""
    rows = []
    for task in TASKS:
        found = {(r.teacher.accuracy, r.teacher.weights) for r in records(task) if r.teacher}
        for value, weights in sorted(found):
            made = load(str(HERE / f"tasks/{task}.toml"))
            assert made.teacher is not None
            assert made.teacher.training is not None
            told = f"{made.teacher.training.describe()}; students: batches of {made.student.training.batch}"
            rows.append([f"`{task.removeprefix('cifar100-')}`", f"{100 * (value or 0):.2f}", f"`{weights}`", told])
    return table(["protocol", "test accuracy in %", "weights", "training"], rows, left=(0, 2, 3))


def page() -> Document:
    """The study's page."""
    shots = sorted({int(r.shots) for task in TASKS for r in records(task)})
    sections = []
    for count in shots:
        numbers = {row: PUBLISHED[row, str(count)] for row in ("ce", "ce+act", "ce+act+jac", "ce+jac")}
        told = ", ".join(f"`{row}` {value:.2f}" for row, value in numbers.items())
        gains = f"{signed(numbers['ce+act+jac'] - numbers['ce+act'])} over `ce+act`"
        alone = f"{signed(numbers['ce+jac'] - numbers['ce'])} over `ce`"
        said = f"Published, on test images: {told}. The Jacobian's gain is {gains} and {alone}."
        sections.append(Section(f"{count} per class", (said, rows_of(count))))
    answer = Bullets(tuple(line for count in shots for line in nearest(count)))
    blocks = (
        rich(INTRO),
        Section("Answer", (rich(ANSWER), answer)),
        Section("Teachers", (teachers(),)),
        *sections,
        Section("How to read the tables", (Bullets(LEGEND),)),
        "Run it again: `bash studies/readings/run.sh`",
    )
    title = "Which reading of the paper reproduces its table?"
    return Document("README", title, "studies/readings/report.py", blocks)


INTRO = """The paper leaves open what its effect depends on: how its teacher was trained, how the terms
are scaled, whether Jacobians are normalised, how large a batch is. These are readings on CIFAR-100, scored on
**validation** images (5,000 training images that no student sees; the teacher has seen them), at seeds that no table
uses. No weight is chosen by its accuracy on test images. The reading in which distillation weighs 0.01, a mean over
the classes, was added after a row with the Jacobian at 100 had contradicted the paper on test images."""

ANSWER = """The Jacobian's gain in points, the reading nearest to the published one first. Each gain is of one seed
unless its table says otherwise: this page chose what to run on test images, and proves nothing. The results on
test images, with three seeds, are in [the tables beside the
paper's](../../leaderboard/jacobian-matching-cifar100-fewshot-early.md)."""

LEGEND = (
    "accuracy: in %.",
    "over distill: the gain over `distill` in points, paired by seed.",
    "Jacobian's gain: the gain over the same row without its Jacobian term; published: the paper's, on test images.",
    "ce, act and jac end: the last tenth of the term, in % of its first value.",
    "cosine: of the student's and the teacher's input gradient of the correct class, on validation images.",
    "n: seeds. One seed has no interval.",
)

if __name__ == "__main__":
    print(markdown.render(page()), end="")
