"""Rows over several data sets: regimes of one data set are one family."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jkbench.report.across import Scored, families, section


def page(dataset: str, seed: int, rows: str = "abc", kind: str = "task") -> Scored:
    generator = np.random.default_rng(seed)
    return Scored(
        dataset, {row: generator.normal(0.5 + 0.1 * place, 0.05, (2, 6)) for place, row in enumerate(rows)}, kind
    )


def test_tasks_of_one_data_set_are_one_family_with_ranks_by_hand() -> None:
    pages = [page("digits", 1), page("digits", 2), page("flowers", 3)]
    rows, found = families(pages)
    assert rows == ["a", "b", "c"]
    assert {name: x.shape for name, x in found.items()} == {"digits": (3, 4, 6), "flowers": (3, 2, 6)}
    made = section(pages)
    assert made is not None
    table = made.blocks[0]
    ranks = {name: stats.rankdata(-x, axis=0).mean(axis=(1, 2)) for name, x in found.items()}
    overall = stats.rankdata([ranks["digits"], ranks["flowers"]], axis=1).mean(axis=0)
    assert [float(str(row[3].text)) for row in table.rows] == pytest.approx(sorted(overall), abs=0.005)
    middle = np.concatenate([found[name][2].reshape(-1) for name in found])
    assert str(table.rows[0][5].text).startswith(f"{100 * stats.trim_mean(middle, 0.25):.1f} [")
    wins = [np.mean([x[2] > x[other] for other in (0, 1)]) for x in found.values()]
    assert str(table.rows[0][4].text).startswith(f"{100 * np.mean(wins):.1f} [")


def test_rows_or_data_sets_that_are_too_few_have_no_section() -> None:
    assert section([page("digits", 1)]) is None
    assert section([page("digits", 1, "ab"), page("flowers", 2, "ab")]) is None
    assert section([]) is None


def test_more_rows_in_one_task_take_none_away() -> None:
    few = [page("digits", 1), page("flowers", 2), page("colours", 3)]
    more = [*few, page("digits", 4, "adefgh"), page("colours", 5, "bdefgh")]
    assert families(few)[0] == families([*few, page("colours", 5, "bdefgh")])[0] == ["a", "b", "c"]
    rows, found = families(more)
    assert rows == ["a", "b", "c"]
    assert list(found) == ["colours", "digits", "flowers"]


def test_default_and_tuned_rows_never_share_the_table() -> None:
    default, tuned = [page(name, 1) for name in ("digits", "flowers")], [page("digits", 2, kind="tuned")]
    both = [*tuned, page("flowers", 3, kind="tuned")]
    for pages, alone, told in (
        ([*default, *tuned], default, "not tuned alike"),
        ([*default, *both], both, "tuned alike within"),
    ):
        made, expected = section(pages), section(alone)
        assert made is not None
        assert expected is not None
        assert made.blocks[0] == expected.blocks[0]
        assert told in str(made.blocks[0])
    assert section([page("digits", 1), page("flowers", 1, kind="tuned")]) is None
