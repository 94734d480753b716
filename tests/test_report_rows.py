"""What a row, a newcomer or another machine may change on a page: rows of other kinds, images, costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from report_factory import few, make_record, make_task, rows_of

from jkbench.plugins.discovery import discover
from jkbench.records.schema import pack_labels
from jkbench.records.select import Chosen, choose
from jkbench.records.store import Store
from jkbench.report import analysis
from jkbench.report.grid import Column, arrange
from jkbench.report.leaderboard import document
from jkbench.report.page import compose
from jkbench.report.render import markdown
from jkbench.statistics import two_way_interval
from jkbench.tasks import task as tasks


def test_fine_tuning_is_ranked_apart_and_compared_with_the_reference_that_starts_there():
    task = make_task(shots=[1, 5])
    records = [
        make_record(task, label, shots, seed, accuracy=accuracy + 0.01 * seed, started_from=start)
        for label, accuracy, start in (
            ("distill", 0.5, None), ("scratch", 0.4, None), ("finetune", 0.7, "w"),
            ("l2-sp", 0.8, "w"), ("bss", 0.6, "w"),
        )
        for shots in (1, 5)
        for seed in range(4)
    ]  # fmt: skip
    grid = arrange(task, records)
    assert [rows.labels for rows in grid.rows] == [("distill", "scratch"), ("l2-sp", "bss"), ("finetune",)]
    column = grid.columns[0]
    assert analysis.ties(grid, column).tied == {"distill", "l2-sp"}
    found = analysis.gains(grid, "distill")
    assert found["scratch", column].interval.mean == pytest.approx(-0.1)
    assert found["l2-sp", column].interval.mean == pytest.approx(0.1)
    assert found["finetune", column].interval.mean == pytest.approx(0.2)
    text = markdown.render(document(compose(Chosen(task, records))))
    assert "fine-tuning, from pre-trained weights" in text
    # without the reference there is nothing to compare with
    alone = arrange(task, [record for record in records if record.label != "finetune"])
    assert not [label for label, _ in analysis.gains(alone, "distill") if label == "l2-sp"]


def test_a_deployed_network_is_marked_with_its_size(tmp_path):
    task = make_task(shots=[1])
    records = [make_record(task, "distill", 1, seed) for seed in range(2)]
    records += [make_record(task, "simkd", 1, seed, deployed_parameters=2_000_000) for seed in range(2)]
    text = markdown.render(document(compose(Chosen(task, records))))
    assert "2.00 M deployed" in next(line for line in text.splitlines() if line.startswith("| `simkd`"))
    assert "deployed" not in next(line for line in text.splitlines() if line.startswith("| `distill`"))
    assert "is scored instead of the student" in text


# rows of few seeds, images


def test_a_new_method_with_two_seeds_changes_no_other_rows_statement():
    """On the committed records of ten seeds: every line of another row, and every sentence of a rule, is the same."""
    folder = ROOT / "leaderboard"
    found = Store(folder).read("digits-fewshot")
    task, index = tasks.load("digits-fewshot"), discover(())
    chosen = choose(task, index, found)
    of_two = [r for r in chosen.records if r.label == "jacobian" and r.seed < 2]
    new = [r.model_copy(update={"label": "newcomer", "method": "newcomer", "id": f"new{r.id}"}) for r in of_two]
    better = [r.model_copy(update={"metrics": r.metrics | {"accuracy": 0.999}}) for r in new]
    before = document(compose(chosen))
    for added in (new, better):
        after = document(compose(replace(chosen, records=[*chosen.records, *added])))
        old, fresh = (markdown.render(page).replace(" ", "").replace(":-", "-") for page in (before, after))
        # widths of columns, and what counts rows and records, may change
        counted = (
            "trials",
            "Parameters:",
            "Nottuned",
            "jkbench",
            "haven=",
            "-----",
            "Arowthatlacks",
            "Figure",
            "Thefigure",
        )
        told = {line for line in fresh.splitlines() if not any(word in line for word in counted)}
        lost = [
            line for line in old.splitlines()
            if line not in told and not any(word in line for word in counted) and not line.startswith("Accuracyin%:")
        ]  # fmt: skip
        assert lost == []
        kept = after.data[after.data.label != "newcomer"].reset_index(drop=True)
        assert kept.equals(before.data.reset_index(drop=True))
        row = after.data[after.data.label == "newcomer"]
        assert not row.in_tie_group.eq(True).any()


def test_gains_have_an_interval_over_images_from_predictions_that_give_the_stated_accuracy():
    task, generator = make_task(shots=[5]), np.random.default_rng(4)
    truth = np.repeat(np.arange(10), 36)
    records, masks = [], {}
    for label, rate in (("scratch", 0.5), ("distill", 0.6)):
        for seed in range(4):
            right = generator.random(360) < rate
            masks[label, seed] = right
            predicted = np.where(right, truth, (truth + 1) % 10)
            told = {"predictions": pack_labels(predicted.tolist())}
            records.append(make_record(task, label, 5, seed, accuracy=float(right.mean()), **told))
    page = compose(Chosen(task, records))
    x = np.array([masks["distill", seed].astype(float) - masks["scratch", seed] for seed in range(4)])
    found = page.gains["distill", Column(5, "accuracy")]
    assert found.both is not None
    assert found.both.mean == pytest.approx(x.mean())
    assert found.both.half_width == two_way_interval(x).over_both
    wrong = [r.model_copy(update={"metrics": r.metrics | {"accuracy": 0.123}}) for r in records[:1]]
    assert compose(Chosen(task, [*wrong, *records[1:]])).gains["distill", Column(5, "accuracy")].both is None


def test_no_ratio_between_two_models_of_cpu():
    chosen = few()
    records = []
    for r in chosen.records:
        assert r.environment is not None
        model = "another CPU" if r.label == "distill" else "a CPU"
        changed = r.environment.model_copy(update={"device": "cpu (x86_64)", "processor": model})
        records.append(r.model_copy(update={"environment": changed}))
    page = compose(Chosen(chosen.task, records))
    assert rows_of(page.tables[0])["distill"][-4].text == "–"
    assert any("jkbench profile" in note for note in page.tables[0].notes)
