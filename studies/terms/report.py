"""How far training reduces a Jacobian term, by its weight: `report.py` writes the page to stdout."""

from collections.abc import Sequence
from pathlib import Path

from jkbench.records.schema import Record
from jkbench.records.store import Store
from jkbench.report.document import Bullets, Document, Section, Table, rich, table
from jkbench.report.grid import END, value_of
from jkbench.report.render import markdown
from jkbench.report.wording import DASH, code, measured
from jkbench.statistics import mean_interval
from jkbench.tasks.shots import per_class

HERE = Path(__file__).parent
TASKS = ("digits-transfer", "digits-fewshot")
METHODS = ("jacobian", "lwf-jacobian", "attention-jacobian")
OTHERS = ("act", "attention")


def alone(record: Record) -> bool:
    """Whether the Jacobian is the only term."""
    return not record.parameters["ce"] and not any(record.parameters.get(name) for name in OTHERS)


def groups(task: str, shots: int) -> dict[tuple[str, float, bool], list[Record]]:
    """The finished records of a task and regime by method, weight and whether the term is alone."""
    found: dict[tuple[str, float, bool], list[Record]] = {}
    for record in Store(HERE).read(task).records.values():
        if (record.shots, record.status) == (shots, "ok"):
            found.setdefault((record.method, float(record.parameters["jac"]), alone(record)), []).append(record)
    return found


def fell(group: Sequence[Record], term: str = "jac") -> str:
    """The last tenth of a term in % of its first value: mean, and the range over seeds."""
    ends = [100 * value_of(record, f"{END}{term}") for record in group if term in record.curves]
    return f"{sum(ends) / len(ends):.0f} ({min(ends):.0f} to {max(ends):.0f})" if ends else DASH


def accuracy(group: Sequence[Record]) -> str:
    """Mean and interval in %."""
    return measured(mean_interval([100 * record.metrics["accuracy"] for record in group]))


def swept(task: str, shots: int) -> Table:
    """A row a weight; the term alone last."""
    found = groups(task, shots)
    keys = sorted({(lonely, weight) for _, weight, lonely in found})
    rows = []
    for lonely, weight in keys:
        cells = [found.get((method, weight, lonely), []) for method in METHODS]
        shown = [fell(group) if group else DASH for group in cells]
        right = [DASH if lonely or not group else accuracy(group) for group in cells]
        rows.append(["the term alone" if lonely else f"{weight:g}", *shown, *right])
    heads = ["weight", *(f"{code(method)}: end in %" for method in METHODS), *(f"{code(m)}: accuracy" for m in METHODS)]
    return table(heads, rows, per_class(shots))


def answers(task: str) -> list[str]:
    """What the weights change, in a sentence a regime and method, from the numbers of the tables."""
    sentences = []
    for shots in regimes(task):
        found = groups(task, shots)
        for method in METHODS:
            ends = {
                (lonely, weight): sum(value_of(r, f"{END}jac") for r in group) / len(group)
                for (name, weight, lonely), group in found.items()
                if name == method
            }
            with_others = {weight: end for (lonely, weight), end in ends.items() if not lonely}
            if with_others:
                low, high = min(with_others), max(with_others)
                text = (
                    f"{task}, {per_class(shots)}, {code(method)}: {100 * with_others[low]:.0f} % of the first value at "
                )
                text += f"weight {low:g}, {100 * with_others[high]:.0f} % at {high:g}"
                by_itself = [end for (lonely, _), end in ends.items() if lonely]
                sentences.append(text + (f", {100 * by_itself[0]:.0f} % alone." if by_itself else "."))
    return sentences


def regimes(task: str) -> list[int]:
    """The regimes that were run."""
    return sorted({int(record.shots) for record in Store(HERE).read(task).records.values()})


def page() -> Document:
    """The study's page."""
    sections = [Section(f"{task}", tuple(swept(task, shots) for shots in regimes(task))) for task in TASKS]
    answer = Section("Answer", (Bullets(tuple(map(rich, (line for task in TASKS for line in answers(task))))),))
    blocks = (rich(INTRO), answer, *sections, Section("How to read the tables", (Bullets(LEGEND),)), rich(AGAIN))
    return Document("README", "Does training reduce a Jacobian term?", "studies/terms/report.py", blocks)


INTRO = """The paper matches Jacobians of attention maps because, it says, the optimiser could not reduce the Jacobian
of a deep network's outputs. How far a term falls depends on its weight beside the other terms: here the
weight goes from 0.01 to 1000, and each term is trained on alone. Students of digits are scored on
**validation** images, with three seeds that no table uses. Networks and images are small: this shows what the
weight does, and nothing about deep networks."""

LEGEND = (
    "end in %: the mean of the last tenth of the recorded steps, in % of the term's first value; mean over seeds, and "
    "the range.",
    "accuracy: on validation images in %, ± 95 % over seeds. A term alone trains no classifier.",
    "All other parameters are the task's own.",
)

AGAIN = "Run it again: `bash studies/terms/run.sh`"

if __name__ == "__main__":
    print(markdown.render(page()), end="")
