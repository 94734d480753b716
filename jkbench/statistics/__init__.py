"""What the numbers of a table can support: intervals over seeds, exact paired tests, tie groups, power.

Pure functions on numpy arrays. A row is a method (in one regime), a column is a seed; NaN is a trial that is not there.
Randomness comes only from a generator that the caller hands in.
"""

from jkbench.statistics.curves import Reached, first_reached, reach
from jkbench.statistics.intervals import (
    Interval,
    detectable_difference,
    mean_interval,
    power_of_paired_t,
    share_interval,
)
from jkbench.statistics.signflip import EXACT_UP_TO, MaxStatistic, SignFlip, max_statistic_test, sign_flip_test
from jkbench.statistics.ties import holm, tie_group

__all__ = [
    "EXACT_UP_TO",
    "Interval",
    "MaxStatistic",
    "Reached",
    "SignFlip",
    "detectable_difference",
    "first_reached",
    "holm",
    "max_statistic_test",
    "mean_interval",
    "power_of_paired_t",
    "reach",
    "share_interval",
    "sign_flip_test",
    "tie_group",
]
