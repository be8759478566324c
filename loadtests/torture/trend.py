"""Whether something grows: a test of the ranks, which neither noise nor single jumps can deceive."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, theilslopes

BLOCKS: Final = 24
"""Samples beside each other are alike; means of blocks are taken as independent."""
SIGNIFICANCE: Final = 0.01

Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series went over a time."""

    level: float  # its median
    slope: float  # per hour: the median of all slopes between two blocks (Theil and Sen)
    low: float  # its 99 % confidence interval
    high: float
    p: float  # of a slope of zero (Kendall's rank correlation, two-sided)
    hours: float

    @property
    def growth(self) -> float:
        """Over the whole time."""
        return self.slope * self.hours

    def grows(self, least: float, tests: int) -> bool:
        """Whether it rises, by no chance and by more than nothing.

        Args:
            least: Growth over the whole time that is nothing: a page, a descriptor.
            tests: How many series are judged together (Bonferroni).
        """
        return self.growth > least and self.p < SIGNIFICANCE / tests


def trend_of(times_s: Series, values: Series) -> Trend:
    """The trend of a series.

    Args:
        times_s: (N,) rising.
        values: (N,) at those times; N at least BLOCKS.
    """
    hours = np.array([part.mean() for part in np.array_split(times_s / 3600, BLOCKS)])
    means = np.array([part.mean() for part in np.array_split(values, BLOCKS)])
    level = float(np.median(values))
    span = float(times_s[-1] - times_s[0]) / 3600
    if np.ptp(means) == 0:
        return Trend(level, 0.0, 0.0, 0.0, 1.0, span)
    slope, _, low, high = theilslopes(means, hours, alpha=0.99)
    p = float(kendalltau(hours, means).pvalue)
    return Trend(level, float(slope), float(low), float(high), p, span)
