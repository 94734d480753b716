"""How much a method gains by being tuned: the best that a budget of so many configurations is expected to find."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def expected_best(values: ArrayLike) -> NDArray[np.float64]:
    """The expected best of n = 1, …, N configurations, drawn with replacement from the N that were tried.

    values: (N,), a validation accuracy a configuration; returns (N,), the same unit. The n-th is
    sum_i v_(i) [(i/N)^n − ((i−1)/N)^n], v_(1) ≤ … ≤ v_(N). With replacement it is somewhat too low for n near N.
    Raises ValueError without values or where one is not finite.
    Source: Dodge et al., *Show Your Work: Improved Reporting of Experimental Results*, EMNLP 2019, eq. 1.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if ordered.ndim != 1 or not ordered.size or not np.isfinite(ordered).all():
        raise ValueError("at least one finite value is needed")
    below = (np.arange(ordered.size + 1) / ordered.size) ** np.arange(1, ordered.size + 1)[:, None]
    return np.diff(below, axis=1) @ ordered
