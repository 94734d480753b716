"""How often gains, intervals over images, mean ranks, verdicts on one published run and plans of seeds are right."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from jkbench.statistics import max_statistic_test
from jkbench.statistics.gains import gain_test, shrunken_t
from jkbench.statistics.images import two_way_interval
from jkbench.statistics.power import detectable_gap, prediction_intervals
from jkbench.statistics.ranks import mean_ranks
from simulated.tables import Floats, equal_rows
from simulated.ties import chosen

SCALES = (4.0, 2.0, 1.0, 0.3)
"""Deviations of a page's four regimes: few images vary more."""
SKEWED = "skewed"
KINDS = {
    "seeds dominate": (0.3, 0.15, 1.0, 0.5),
    "both": (0.2, 0.06, 1.0, 0.7),
    "images dominate": (0.1, 0.02, 1.0, 1.0),
}
"""Deviations on the probit scale: a seed, a seed of one row, an image, an image for one row."""


def gains(rng: np.random.Generator, scenario: str, rows: int, seeds: int, draws: int) -> Floats:
    """Differences from a baseline that is as good: (draws, regimes, rows, seeds); skewed ones are exponential."""
    if scenario == SKEWED:
        return np.stack([s * (rng.exponential(size=(draws, rows, seeds)) - 1) for s in SCALES], axis=1)
    found = []
    for scale in SCALES:
        x = equal_rows(rng, scenario, rows + 1, seeds, draws) / math.sqrt(2)
        drawn, baseline = np.arange(draws), rng.integers(0, rows + 1, draws)
        base = x[drawn, baseline]
        x[drawn, baseline] = x[:, 0]
        found.append(scale * (x[:, 1:] - base[:, None]))
    return np.stack(found, axis=1)


def false_gains(rng: np.random.Generator, scenario: str, seeds: int, draws: int, rows: int = 9) -> dict[str, float]:
    """The chance that a page of rows as good as their baseline shows some significant gain."""
    x = gains(rng, scenario, rows, seeds, draws)
    tests = rows * len(SCALES)
    small = shrunken_t(x).reshape(draws, -1).min(axis=1) * tests
    plain = stats.ttest_1samp(x, 0, axis=-1).pvalue.reshape(draws, -1).min(axis=1) * tests
    found = {"shrunken t, Holm": float((small < 0.05).mean()), "t, Holm": float((plain < 0.05).mean())}
    pages = x[: min(draws, 1000)].reshape(-1, tests, seeds)
    found["sign flips, maximum"] = float(np.mean([max_statistic_test(page).p.min() < 0.05 for page in pages]))
    return found


def found_gains(rng: np.random.Generator, seeds: int, draws: int, rows: int = 9) -> dict[str, float]:
    """The share of true gains of two deviations (of the paired difference) that are significant, one row of a page."""
    x = gains(rng, "normal", rows, seeds, draws)
    x[:, :, 0] += 2 * np.array(SCALES)[:, None]
    tests = rows * len(SCALES)
    share = {
        "shrunken t, Holm": float((shrunken_t(x)[:, :, 0] * tests < 0.05).mean()),
        "t, Holm": float((stats.ttest_1samp(x[:, :, 0], 0, axis=-1).pvalue * tests < 0.05).mean()),
    }
    pages = [max_statistic_test(page.reshape(tests, seeds)).p[::rows] < 0.05 for page in x[: min(draws, 200)]]
    share["sign flips, maximum"] = float(np.mean(pages))
    return share


def short_row(rng: np.random.Generator, draws: int, rows: int = 9, seeds: int = 10) -> dict[str, tuple[float, float]]:
    """Significant gains on a page of true gains, without and with a new row of two seeds: before, and now."""
    before, now, tests = np.zeros(2), np.zeros(2), rows * len(SCALES)
    columns = [regime for regime in range(len(SCALES)) for _ in range(rows)]
    for page in gains(rng, "normal", rows, seeds, draws) + 3 * np.array(SCALES)[:, None, None]:
        x = page.reshape(tests, seeds)
        new = np.full((1, seeds), np.nan)
        new[0, :2] = rng.normal(size=2)
        longer = np.vstack([x, new])
        before += [(max_statistic_test(t).p[:tests] < 0.05).mean() for t in (x, longer)]
        now += [(gain_test(t, c).p[:tests] < 0.05).mean() for t, c in ((x, columns), (longer, [*columns, 0]))]
    return {"maximum over all rows": tuple(before / draws), "rows of the panel (chosen)": tuple(now / draws)}  # type: ignore[dict-item]


def right_and_wrong(rng: np.random.Generator, kind: str, seeds: int, images: int, share: float) -> tuple[Floats, float]:
    """The difference (seeds, images) of two rows' correctness, one right on ``share`` of images, and its true mean.

    A probit model with crossed effects of seeds and images, shared by the rows and their own.
    """
    of_seed, seed_own, of_image, image_own = KINDS[kind]
    total = math.sqrt(1 + of_seed**2 + seed_own**2 + of_image**2 + image_own**2)
    shares = (share, share - 0.02)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    shared = of_image * normal(1, images) + of_seed * normal(seeds, 1)
    right = []
    for level in shares:
        own = shared + image_own * normal(1, images) + seed_own * normal(seeds, 1) + normal(seeds, images)
        right.append(own > -total * stats.norm.ppf(level))
    return right[0].astype(float) - right[1], shares[0] - shares[1]


def image_coverage(
    rng: np.random.Generator, kind: str, seeds: int, images: int, draws: int
) -> tuple[float, float, float]:
    """The shares of intervals over seeds, and over seeds and images, that hold the true difference; both widths' ratio.

    Over test shares of 0.52, 0.75 and 0.95; the interval over seeds does not promise it.
    """
    hits, wider = np.zeros(2), []
    for share in (0.52, 0.75, 0.95):
        for _ in range(draws):
            table, true = right_and_wrong(rng, kind, seeds, images, share)
            found = two_way_interval(table)
            assert found.over_seeds is not None
            assert found.over_both is not None
            error = abs(found.mean - true)
            hits += [error <= found.over_seeds, error <= found.over_both]
            wider.append(found.over_both / max(found.over_seeds, 1e-12))
    return float(hits[0] / 3 / draws), float(hits[1] / 3 / draws), float(np.median(wider))


def rank_coverage(rng: np.random.Generator, step: float, seeds: int, draws: int, rows: int = 9) -> dict[str, float]:
    """The coverage of the expected mean rank over four regimes, by interval; means of rows are ``step`` apart."""

    def pages(count: int, n: int) -> Floats:
        levels = step * np.arange(rows)[:, None, None]
        return levels + rng.normal(size=(count, rows, 4, n)) + 0.5 * rng.normal(size=(count, rows, 1, n))

    true = stats.rankdata(-pages(4000, 1)[..., 0], axis=1).mean(axis=(0, 2))
    hits = {"shrunken (chosen)": 0.0, "t": 0.0, "bootstrap": 0.0}
    for page in pages(draws, seeds):
        intervals = mean_ranks(page)
        error = np.abs([i.mean for i in intervals] - true)
        ranks = stats.rankdata(-page, axis=0).mean(axis=1)
        half = stats.t.ppf(0.975, seeds - 1) * ranks.std(axis=1, ddof=1) / math.sqrt(seeds)
        drawn = np.sort(ranks[:, rng.integers(0, seeds, (199, seeds))].mean(axis=-1), axis=1)
        hits["shrunken (chosen)"] += float((error <= [i.half_width or 0.0 for i in intervals]).mean())
        hits["t"] += float((error <= half).mean())
        hits["bootstrap"] += float(((drawn[:, 4] <= true) & (true <= drawn[:, 194])).mean())
    return {name: count / draws for name, count in hits.items()}


def false_verdicts(
    rng: np.random.Generator, scenario: str, seeds: int, draws: int, rows: int = 10
) -> tuple[float, float]:
    """The share of perfect replications judged "below" or "above": by the interval of the mean, and of one more run."""
    wrong = np.zeros(2)
    for table in equal_rows(rng, scenario, rows, seeds + 1, draws):
        ours, published = table[:, :seeds], table[:, seeds]
        error = np.abs(published - ours.mean(axis=1))
        mean = stats.t.ppf(0.975, seeds - 1) * ours.std(axis=1, ddof=1) / math.sqrt(seeds)
        wrong += [(error > mean).mean(), (error > [i.half_width or 0.0 for i in prediction_intervals(ours)]).mean()]
    return float(wrong[0] / draws), float(wrong[1] / draws)


def plan_kept(rng: np.random.Generator, rows: int, seeds: int, draws: int) -> tuple[float, float]:
    """The detectable gap in deviations of a paired difference, and how often a row that far behind is left out.

    One row leads, one is behind by the gap, the others are far below.
    """
    gap = detectable_gap(1.0, rows, seeds)
    x = equal_rows(rng, "normal", rows, seeds, draws) / math.sqrt(2)
    x[:, 1] -= gap
    x[:, 2:] -= 3 * gap
    return gap, float(chosen(x)[:, 1].mean())
