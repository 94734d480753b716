"""Intervals and tests that count the test images as a sample too, not the seeds alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class TwoWay:
    """A mean over seeds and images with the half-widths of two 95 % intervals; None below two seeds."""

    mean: float
    over_seeds: float | None
    """Other seeds, these very test images."""
    over_both: float | None
    """Other seeds and other test images of the same kind."""
    seeds: int
    images: int


def two_way_interval(difference: ArrayLike, level: float = 0.95) -> TwoWay:
    """The mean of a seeds × images table, with its interval over seeds and over seeds and images.

    difference: (seeds, images), 1, 0 or -1 where one row is right and the other wrong, or one row's own 0 and 1.
    Crossed random effects: the variance of the mean is A + B, A that of the seeds' means over their number, B that of
    the images' means over theirs, less what A holds of it already. A has seeds - 1 degrees of freedom, B images - 1.
    The quantile is the mean of Satterthwaite's, somewhat too small where A is small by chance, and of Cochran and
    Cox's, somewhat too large where images dominate: coverage in `docs/statistics.md`.
    Raises ValueError on a table without two images and a seed.
    Source: Satterthwaite, Biometrics Bulletin 1946; Cochran & Cox, *Experimental Designs*, 1957, §4.14; Searle et al.,
    *Variance Components*, 1992, ch. 4.
    """
    x = np.asarray(difference, dtype=np.float32)
    if x.ndim != 2 or x.shape[0] < 1 or x.shape[1] < 2:
        raise ValueError("a table of seeds x images needs a seed and two images")
    seeds, images = x.shape
    by_seed, by_image = x.mean(axis=1, dtype=float), x.mean(axis=0, dtype=float)
    mean = float(by_seed.mean())
    if seeds < 2:
        return TwoWay(mean, None, None, seeds, images)
    among_seeds = float(by_seed.var(ddof=1)) / seeds
    among_images = float(by_image.var(ddof=1)) / images
    squares = float(np.square(x).sum(dtype=float))
    rest = squares - images * np.square(by_seed).sum() - seeds * np.square(by_image).sum() + seeds * images * mean**2
    shared = max(float(rest), 0.0) / ((seeds - 1) * (images - 1)) / (seeds * images)
    images_alone = max(among_images - shared, 0.0)
    t, z = (float(stats.t.ppf((1 + level) / 2, degrees)) for degrees in (seeds - 1, images - 1))
    over_seeds, variance = t * math.sqrt(among_seeds), among_seeds + images_alone
    if not variance:
        return TwoWay(mean, over_seeds, 0.0, seeds, images)
    degrees = variance**2 / (among_seeds**2 / (seeds - 1) + images_alone**2 / (images - 1))
    cochran = (t * among_seeds + z * images_alone) / variance
    quantile = (float(stats.t.ppf((1 + level) / 2, degrees)) + cochran) / 2
    return TwoWay(mean, over_seeds, quantile * math.sqrt(variance), seeds, images)


@dataclass(frozen=True)
class McNemar:
    """Predictions that one row alone has right, and the two-sided p that both rows are right as often."""

    first_only: int
    second_only: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's test of two rows on the same predictions: this sample of images, these trained networks.

    first, second: (images,) or (seeds, images), whether a prediction is right. One seed: the exact binomial test.
    Several: predictions of one image depend on each other, so images are the units (a normal approximation), and p
    holds for these seeds only. Raises ValueError where the shapes differ.
    Source: McNemar, Psychometrika 1947; Durkalski et al., *Analysis of clustered matched-pair data*, 2003.
    """
    a, b = np.atleast_2d(np.asarray(first, dtype=bool)), np.atleast_2d(np.asarray(second, dtype=bool))
    if a.shape != b.shape:
        raise ValueError(f"predictions of two rows differ in shape: {a.shape} and {b.shape}")
    first_only, second_only = int((a & ~b).sum()), int((b & ~a).sum())
    if first_only + second_only == 0:
        return McNemar(0, 0, 1.0)
    if len(a) == 1:
        p = stats.binomtest(first_only, first_only + second_only).pvalue
    else:
        of_image = a.sum(axis=0, dtype=float) - b.sum(axis=0)
        scale = math.sqrt(float(np.square(of_image).sum()))
        p = 2 * stats.norm.sf(abs(float(of_image.sum())) / scale) if scale else 1.0
    return McNemar(first_only, second_only, float(p))
