"""What only a transfer task's page says, against numbers worked out by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_factory import make_chosen, make_record, make_records, make_robustness, make_task, rows_of
from scipy import stats

from jkbench.records.schema import Record
from jkbench.records.select import Chosen
from jkbench.report import transfer_figure
from jkbench.report.document import Table
from jkbench.report.figures import save
from jkbench.report.grid import Column
from jkbench.report.leaderboard import write_leaderboard
from jkbench.report.page import Page, compose
from jkbench.report.render import markdown
from jkbench.report.tidy import COLUMNS, TRANSFER_COLUMNS
from jkbench.statistics import first_reached, reach, share_interval
from jkbench.tasks.task import Task

SOURCE = {"dataset": "digits", "classes": [0, 1, 2]}


def transfer_task(**changes: object) -> Task:
    return make_task(**({"name": "digits-other", "kind": "transfer", "source": SOURCE, "shots": [1, 5, 10]} | changes))


def page_of(scores: dict[str, dict[int | str, list[float]]], **changes: object) -> Page:
    """A transfer page of accuracies by row, regime and seed."""
    task = transfer_task(**changes)
    return compose(Chosen(task, records_of(task, scores)))


def records_of(task: Task, scores: dict[str, dict[int | str, list[float]]]) -> list[Record]:
    return [
        make_record(task, label, shots, seed, accuracy=value)
        for label, regimes in scores.items()
        for shots, values in regimes.items()
        for seed, value in enumerate(values)
    ]


def words_of(page: Page, title: str) -> dict[str, list[str]]:
    found = rows_of(table_of(page, title))
    return {label: [markdown.words(entry.words).replace("\\", "") for entry in row] for label, row in found.items()}


def table_of(page: Page, title: str) -> Table:
    assert page.transfer is not None
    return next(table for table in page.transfer.tables if table.title.startswith(title))


# negative transfer


def test_seeds_below_the_baseline_are_counted_at_the_same_seed_and_equal_is_not_below():
    page = page_of(
        {
            "scratch": {1: [0.5, 0.6, 0.7], 5: [0.6, 0.7, 0.8], 10: [0.9, 0.9]},
            "distill": {1: [0.4, 0.6, 0.9], 5: [0.5, 0.6, 0.7], 10: [0.8, 0.95, 0.1]},
            "finetune": {1: [0.6, 0.5, 0.6]},
        }
    )
    assert words_of(page, "Negative") == {
        "distill": ["1 of 3", "3 of 3", "1 of 2", "5 of 8"],  # the third seed of scratch at 10 is not there
        "finetune": ["2 of 3", "–", "–", "2 of 3"],
    }


def test_the_exact_interval_of_a_rate_is_where_the_binomial_tails_are_two_and_a_half_percent():
    assert share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert share_interval(10, 10) == pytest.approx((0.025**0.1, 1))
    low, high = share_interval(3, 10)
    assert stats.binom.sf(2, 10, low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 10, high) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="11 of 10"):
        share_interval(11, 10)


# shots to target


def test_images_needed_are_read_off_the_mean_curve_in_log_images():
    page = page_of(
        {
            "scratch": {1: [0.3, 0.5], 5: [0.5, 0.5], 10: [0.7, 0.9]},
            "distill": {1: [0.5, 0.3], 5: [0.9, 0.9], 10: [0.9, 0.9]},
            "noise": {1: [0.8, 0.9], 5: [0.1, 0.1], 10: [0.9, 0.9]},
            "lwf": {1: [0.3, 0.5], 5: [0.5, 0.5], 10: [0.6, 0.7]},
        }
    )
    # the target is 0.8; distill goes from 0.4 to 0.9 between 1 and 5 images: four fifths of the way in logs
    needed = 5**0.8
    assert page.transfer is not None
    assert page.transfer.needed["distill", 10].at == pytest.approx(needed)
    assert [head.text for head in table_of(page, "Shots").heads[1:]] == [
        "for 80.00 % (`scratch` at 10 per class)",
        "saving",
    ]
    assert words_of(page, "Shots") == {
        "distill": [f"{needed:.2f}", f"{10 / needed:.2f}"],
        "noise": ["≤ 1", "≥ 10.00"],
        "scratch": ["10", "1.00"],
        "lwf": ["not reached by 10", "< 1.00"],
    }
    assert any("2 seeds are too few for an interval" in note for table in page.transfer.tables for note in table.notes)


def test_only_common_seeds_are_compared_and_the_cell_says_how_many():
    page = page_of(
        {
            "scratch": {1: [0.4, 0.4, 0.4], 10: [0.8, 0.8, 0.5]},
            "distill": {1: [0.6, 0.6], 10: [1.0, 1.0]},
        },
        shots=[1, 10],
    )
    # on seeds 0 and 1 the target is 0.8: half of the way from 1 to 10 in logs
    assert words_of(page, "Shots")["distill"] == [f"{math.sqrt(10):.2f} (n = 2)", f"{math.sqrt(10):.2f}"]


@pytest.mark.parametrize(("images", "there"), [(2600, True), (2740, True), (2300, True), (2800, False), (2200, False)])
def test_full_data_is_a_tenfold_within_ten_percent_at_its_own_number(images: int, there: bool):
    task = transfer_task(shots=[25, "full"])
    records = []
    for record in records_of(task, {"scratch": {25: [0.4], "full": [0.8]}, "distill": {25: [0.5], "full": [0.8]}}):
        assert record.data is not None
        data = record.data.model_copy(update={"train_images": images if record.shots == "full" else 250})
        records.append(record.model_copy(update={"data": data}))
    found = compose(Chosen(task, records)).transfer
    assert found is not None
    assert [(goal.few, goal.many, goal.images) for goal in found.targets] == [(25, "full", images / 10)] * there
    assert any("no regime has ten times" in note for note in found.notes) is not there


def test_the_first_crossing_counts_and_a_curve_that_starts_above_is_at_its_first_place():
    curves = [[-1, 1, -1, 3], [0, -1, -1, -1], [-2, -1, -1, 0], [-1, -1, -1, -0.1]]
    found = first_reached([1, 4, 16, 64], curves)
    assert found[:3] == pytest.approx([2, 1, 64])
    assert math.isinf(found[3])
    with pytest.raises(ValueError, match="increasing"):
        first_reached([1, 1], [[0, 0]])


def test_the_bootstrap_draws_seeds_whole():
    # one of five seeds lifts the mean above the target: without it (chance 0.8^5 = 0.33) a draw never gets there
    gaps = np.array([[-1.0, -1.0]] * 4 + [[-1.0, 9.0]])
    found = reach([1, 10], gaps, np.random.default_rng(0))
    assert found.at == pytest.approx(10**0.5)  # the mean goes from -1 to 1
    assert found.high == math.inf
    # the more draws of that seed, the sooner: the 250th of 9,999 has it three times (binomial, P(≥ 4) = 0.0067)
    assert found.low == pytest.approx(10 ** (1 / 6))  # then the mean goes from -1 to 5
    assert stats.binom.sf(3, 5, 0.2) < 0.025 < stats.binom.sf(2, 5, 0.2)
    again = reach([1, 10], gaps, np.random.default_rng(0))
    assert found == again
    assert reach([1, 10], gaps[1:], np.random.default_rng(0)).low is None  # four seeds


# drift, files, figure


def with_drift(records: list[Record], only: str | None = None) -> list[Record]:
    """The same records with the drift of their source heads, of one row or of all."""
    found = []
    for record in records:
        if only in (None, record.label):
            drift = {"source_distance": 20.0 / (1 + record.seed), "source_agreement": 0.25 * (record.seed % 4)}
            record = record.model_copy(update={"metrics": record.metrics | drift})
        found.append(record)
    return found


def test_drift_is_shown_where_records_hold_it_and_a_dash_elsewhere():
    task = transfer_task()
    records = make_records(task, ["scratch", "lwf"], seeds=2)
    page = compose(Chosen(task, with_drift(records, only="lwf")))
    half = stats.t.ppf(0.975, 1) * stats.sem([20, 10])
    assert words_of(page, "Distance of the source head") == {"lwf": [f"15.00 ± {half:.2f}"] * 3, "scratch": ["–"] * 3}
    assert words_of(page, "Images on which")["lwf"][0].startswith("12.50 ±")
    old = compose(Chosen(task, records)).transfer
    assert old is not None
    assert [note for note in old.notes if "No record of this page holds the distance" in note]
    assert len(old.tables) == 2


def test_other_kinds_of_task_have_no_such_section():
    for chosen in (make_chosen(), make_robustness()):
        page = compose(chosen)
        assert page.transfer is None
        assert transfer_figure.panels(page) == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a full transfer task, of the same with old records, and of one without any."""
    folder = tmp_path_factory.mktemp("leaderboard")
    pages = []
    for name, new in (("new-records", True), ("old-records", False)):
        task = transfer_task(name=name, shots=[1, 5, 10, 50])
        records = make_records(task, seeds=6)
        pages.append(Chosen(task, with_drift(records) if new else records))
    write_leaderboard(folder, [*pages, Chosen(transfer_task(name="no-records"), [])])
    return folder


def test_the_page_has_the_section_and_the_figure(written: Path):
    text = (written / "new-records.md").read_text()
    section = text.split("## Transfer\n")[1].split("## Fidelity")[0]
    for part in ("### Negative transfer", "### Shots to target", "### Distance of the source head", "0 of 6"):
        assert part in section
    assert "squared distance of the source head from the teacher, with 95 % intervals" in section
    assert "(old-records-transfer.png)" in (written / "old-records.md").read_text()
    assert "## Transfer" not in (written / "no-records.md").read_text()
    assert not (written / "no-records-transfer.png").exists()


def test_the_second_figure_is_the_same_every_time_small_and_without_metadata(written: Path):
    task = transfer_task(name="new-records", shots=[1, 5, 10, 50])
    page = compose(Chosen(task, with_drift(make_records(task, seeds=6)[::-1])))
    image = save(lambda: transfer_figure.draw(page))
    assert image == (written / "new-records-transfer.png").read_bytes()
    assert len(image) < 200_000
    opened = Image.open(io.BytesIO(image))
    assert 900 <= opened.width <= 1400
    assert set(opened.info) <= {"Content", "dpi"}
    assert image != (written / "old-records-transfer.png").read_bytes()  # which has no panel of the drift


def test_csv_holds_the_numbers_of_the_section(written: Path):
    frame = pd.read_csv(written / "new-records.csv")
    assert list(frame.columns) == [*COLUMNS, *TRANSFER_COLUMNS]
    task = transfer_task(name="new-records", shots=[1, 5, 10, 50])
    found = compose(Chosen(task, make_records(task, seeds=6))).transfer
    assert found is not None
    line = frame[(frame.label == "distill") & (frame.shots == 10) & (frame.metric == "accuracy")].iloc[0]
    count = found.below["distill", Column(10, "accuracy")]
    assert (line.below_baseline, line.gain_n) == (count.hits, count.n)
    assert (line.below_baseline_low, line.below_baseline_high) == share_interval(count.hits, count.n)
    assert line.images_to_baseline == found.needed["distill", 10].at
    assert frame[frame.metric != "accuracy"].images_to_baseline.isna().all()
    assert frame[frame.shots == 5].images_to_baseline.isna().all()  # no regime has half an image a class


def test_latex_has_a_file_for_each_table_of_the_section(written: Path):
    text = (written / "tex/new-records--negative-transfer.tex").read_text()
    assert r"\label{tab:new-records--negative-transfer}" in text
    assert (written / "tex/new-records--shots-to-target.tex").exists()
