"""What the numbers of a table can support: intervals over seeds and images, paired tests, tie groups, ranks, power.

Pure functions on numpy arrays. A row is a method (in one regime), a column is a seed; NaN is a trial that is not there.
Randomness comes only from a generator that the caller hands in. What was simulated stands in `docs/statistics.md`.
"""

from jkbench.statistics.across import Estimate, interquartile_mean, probability_of_improvement
from jkbench.statistics.curves import Reached, first_reached, reach
from jkbench.statistics.gains import GainTest, gain_test, holm
from jkbench.statistics.groups import Group, leading_group, mean_pair_variance, panel
from jkbench.statistics.images import McNemar, TwoWay, mcnemar, two_way_interval
from jkbench.statistics.intervals import Interval, mean_interval, share_interval
from jkbench.statistics.power import detectable_gap, prediction_intervals, seeds_to_settle
from jkbench.statistics.ranks import CriticalDifference, critical_difference, mean_ranks
from jkbench.statistics.signflip import EXACT_UP_TO, MaxStatistic, max_statistic_test
from jkbench.statistics.tuning import expected_best
