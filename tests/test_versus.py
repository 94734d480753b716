"""Two rows beside each other, and how many seeds a difference needs: against scipy and the bold cells' own rule."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT
from report_factory import few, make_record, make_records, make_task
from scipy import stats

from jkbench.api import pages
from jkbench.errors import UserError
from jkbench.records.schema import pack_labels
from jkbench.records.select import Chosen
from jkbench.report.figures import save
from jkbench.report.versus import blocks, draw, plans, sentence, versus
from jkbench.statistics import detectable_gap


def chosen_of(gap: float, spread: float, seeds: int = 5) -> Chosen:
    task, generator = make_task(shots=[5]), np.random.default_rng(1)
    base = generator.normal(0.5, 0.02, seeds)
    values = {"scratch": base, "distill": base + gap + generator.normal(0, spread, seeds)}
    return Chosen(
        task, [make_record(task, k, 5, s, accuracy=float(v[s])) for k, v in values.items() for s in range(seeds)]
    )


def test_two_rows_are_compared_by_seed_and_what_is_said_follows_the_interval() -> None:
    chosen = chosen_of(0.05, 0.004)
    (found,) = versus([chosen], "distill", "scratch")
    x = {k: np.array([r.metrics["accuracy"] for r in chosen.records if r.label == k]) for k in ("distill", "scratch")}
    low, high = stats.ttest_rel(x["distill"], x["scratch"]).confidence_interval()
    assert (found.seeds.mean, found.seeds.half_width) == pytest.approx(((low + high) / 2, (high - low) / 2))
    assert "`distill` is" in sentence(found, "distill", "scratch")
    assert sentence(found, "distill", "scratch").endswith(
        "on these test images."
    )  # without predictions no more is known
    (other,) = versus([chosen_of(0.001, 0.02)], "distill", "scratch")
    assert "cannot be told apart; " in sentence(other, "distill", "scratch")
    assert other.settled_by is None or other.settled_by > 5


def test_a_gain_on_these_images_alone_is_said_to_be_one() -> None:
    """Seeds that agree, images that do not: 40 test images cannot tell of others."""
    task, truth, records = make_task(shots=[5]), np.repeat(np.arange(10), 4), []
    for label, right in (("scratch", 20), ("distill", 22)):
        mask = np.arange(40) < right if label == "scratch" else np.arange(40) >= 40 - right
        for seed in range(4):
            flipped = mask.copy()
            flipped[seed % 2] = False
            predicted = np.where(flipped, truth, (truth + 1) % 10).tolist()
            data = make_record(task, label, 5, seed).data
            assert data is not None
            records.append(
                make_record(
                    task, label, 5, seed, accuracy=float(flipped.mean()), predictions=pack_labels(predicted),
                    data=data.model_copy(update={"scored_images": 40}),
                )
            )  # fmt: skip
    (found,) = versus([Chosen(task, records)], "distill", "scratch")
    assert found.images is not None
    assert (found.images.first_only, found.images.second_only) == (4 * (22 - 2), 4 * (19 - 2))
    assert sentence(found, "distill", "scratch").endswith("on these test images only.")


def test_the_figure_and_the_table_are_of_every_task_that_has_both() -> None:
    found = versus(list(pages(ROOT / "leaderboard", None, ())), "jacobian", "distill")
    assert {each.task.name for each in found} >= {"digits-fewshot", "cifar100-fewshot-early"}
    assert save(lambda: draw(found, "jacobian", "distill")).startswith(b"\x89PNG")
    assert "is ahead at" in str(blocks(found, "jacobian", "distill")[-1])
    with pytest.raises(UserError, match="no row 'jacobina'"):
        versus([few()], "jacobina", "distill")


def test_a_plan_of_seeds_is_the_first_number_that_finds_the_difference() -> None:
    task = make_task(shots=[5])
    table = plans(Chosen(task, make_records(task, ["scratch", "distill", "noise"], seeds=5)), 0.8)
    deviation, now, two, every = (float(str(table.rows[0][at].text)) for at in (1, 2, 4, 5))
    assert now == 5
    for rows, seeds in ((2, int(two)), (3, int(every))):
        assert detectable_gap(deviation, rows, seeds, resolution=100 / 360) <= 0.8 * 1.01
        assert detectable_gap(deviation, rows, seeds - 1, resolution=100 / 360) > 0.8 * 0.99
    with pytest.raises(UserError, match="--delta 0"):
        plans(few(), 0)
    with pytest.raises(UserError, match="no two rows with two seeds"):
        plans(Chosen(task, make_records(task, ["scratch", "distill"], seeds=1)), 1.0)
