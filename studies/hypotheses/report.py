"""The answers to `hypotheses.toml`, from the committed records of tuned rows: the page is written to stdout."""

import tomllib
from pathlib import Path

from jkbench import api
from jkbench.report.document import Document, Section, Table, rich, table
from jkbench.report.render import markdown
from jkbench.report.versus import Versus, versus
from jkbench.report.wording import DASH, code, measured
from jkbench.statistics import Interval, mean_interval
from jkbench.tasks.shots import per_class

HERE = Path(__file__).parent
HYPOTHESES = tomllib.loads((HERE / "hypotheses.toml").read_text(encoding="utf-8"))["hypothesis"]
PAGES = {page.name: page for page in api.pages(HERE.parent.parent / "leaderboard", None, ())}
OPEN, HOLDS, CONTRADICTED = "open", "holds", "contradicted"


def differences(hypothesis: dict) -> list[tuple[str, Versus]]:
    """Each paired difference that a hypothesis speaks of, with its first row."""
    page = PAGES.get(f"{hypothesis['task']}-tuned")
    if page is None or not {*hypothesis["first"], hypothesis["second"]} <= {record.label for record in page.records}:
        return []
    return [
        (first, found)
        for first in hypothesis["first"]
        for found in versus([page], first, hypothesis["second"])
        if found.column.shots in hypothesis["shots"]
    ]


def answer(hypothesis: dict, points: list[float]) -> str:
    """What one difference says (points, a seed each)."""
    within = hypothesis.get("within")
    found = mean_interval(points, 0.95 if within is None else 0.9)
    if found.half_width is None:
        return OPEN
    low, high = found.mean - found.half_width, found.mean + found.half_width
    if within is not None:
        outside = low > within or high < -within
        return HOLDS if -within < low and high < within else CONTRADICTED if outside else OPEN
    right, wrong = (low > 0, high < 0) if hypothesis["expects"] == "above" else (high < 0, low > 0)
    return HOLDS if right else CONTRADICTED if wrong else OPEN


def verdict(answers: list[str]) -> str:
    """Of a hypothesis whose differences were answered so."""
    if CONTRADICTED in answers:
        return CONTRADICTED
    return HOLDS if answers and all(each == HOLDS for each in answers) else OPEN


def shown(hypothesis: dict) -> tuple[str, Table | None]:
    """The verdict and its differences."""
    rows, answers = [], []
    for first, found in differences(hypothesis):
        points = [100 * value for value in found.differences]
        answers.append(answer(hypothesis, points))
        both: Interval | None = found.both.scaled(100) if found.both else None
        rows.append([
            f"{code(first)} − {code(hypothesis['second'])}", per_class(found.column.shots),
            measured(found.seeds.scaled(100), sign=True), measured(both, sign=True) or DASH,
            str(len(points)), answers[-1],
        ])  # fmt: skip
    heads = ["difference", "images", "over seeds", "over seeds and images", "n", "answer"]
    return verdict(answers), table(heads, rows, left=(0, 1, 5)) if rows else None


def page() -> Document:
    """The study's page."""
    sections, summary = [], []
    for hypothesis in HYPOTHESES:
        said, differ = shown(hypothesis)
        expected = f"within {hypothesis['within']:g}" if "within" in hypothesis else hypothesis["expects"]
        summary.append([code(hypothesis["name"]), code(hypothesis["task"]), hypothesis["says"], said])
        blocks = [f"{hypothesis['says']} {hypothesis['because']} Expected: {expected}. **{said.capitalize()}.**"]
        sections.append(Section(hypothesis["name"], (*map(rich, blocks), *([differ] if differ else []))))
    heads = ["name", "task", "what was expected", "answer"]
    blocks = (rich(INTRO), Section("Answers", (table(heads, summary, left=(0, 1, 2, 3)),)), *sections)
    return Document("README", "Hypotheses", "studies/hypotheses/report.py", blocks)


INTRO = """[hypotheses.toml](hypotheses.toml) says what was expected of rows tuned alike, and why. It was committed
before these rows were run on test images, except where it says otherwise. A hypothesis *holds* if every
difference does as expected: its 95 % interval over seeds lies on the expected side of 0, or its 90 % interval
lies within the margin. It is *contradicted* if an interval lies on the other side, and *open* otherwise.
Intervals are not adjusted for their number: without a difference, about one in forty lies on the expected
side by chance. Differences are in points of accuracy, ± half-width of the 95 % interval; the interval over
seeds and images also holds for other test images."""

if __name__ == "__main__":
    print(markdown.render(page()), end="")
