"""95% confidence intervals of scores, for the sampling of test images."""

import math

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array
from scipy.special import expit, logit

DRAWS = 1000
"""Number of bootstrap resamples."""
BLOCK = 100
"""Resamples drawn at a time, which limits memory."""
TWO_SIDED = 1.959963984540054
"""Standard normal quantile of 97.5%."""

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


def accuracy_interval(right: int, total: int) -> Interval:
    """Return Wilson's 95% interval (Probable Inference, 1927) of a proportion: valid for few rows and for 100%.

    Implemented here because importing scipy.stats takes longer than the measurements of `robustness`.
    """
    return wilson_interval(right / total, total)


def wilson_interval(share: float, rows: float) -> Interval:
    """Return Wilson's interval of a proportion 0 to 1 of `rows`, which may be an effective number of rows."""
    squared = TWO_SIDED**2
    middle = share * rows + squared / 2
    reach = TWO_SIDED * math.sqrt(rows * share * (1 - share) + squared / 4)
    low = 0.0 if share == 0 else (middle - reach) / (rows + squared)
    high = 1.0 if share == 1 else (middle + reach) / (rows + squared)
    return low, high


class Bootstrap:
    """The same `draws` resamples of `rows` test images for every score and candidate (Efron, 1979), from `seed`."""

    def __init__(self, rows: int, seed: int, draws: int = DRAWS) -> None:
        random = np.random.default_rng(seed)
        blocks = []
        for start in range(0, draws, BLOCK):
            width = min(BLOCK, draws - start)
            cells = random.integers(0, rows, (width, rows)) * width + np.arange(width)[:, np.newaxis]
            counts = np.bincount(cells.ravel(), minlength=rows * width).reshape(rows, width)
            blocks.append(counts.astype(np.uint16))
        self.blocks = blocks
        """Count of each row in each resample: arrays of shape (rows, up to `BLOCK`)."""

    def sums(self, columns: csc_array) -> Floats:
        """Return the sum of each column over the rows of each resample, shape (draws, columns).

        columns: shape (rows, columns). Sparse, since most columns are indicators, and because sparse
        sums are the same on every processor.
        """
        transposed = columns.T.tocsr()
        return np.concatenate([(transposed @ block.astype(np.float64)).T for block in self.blocks])


def percentile_interval(values: Floats) -> Interval:
    """Return the percentile interval of bootstrap values, shape (draws,)."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def jackknife_interval(value: float, without: Floats) -> Interval:
    """Return the 95% interval of a score between 0 and 1 from its leave-one-out values, shape (rows,).

    Uses the jackknife variance (Efron and Stein, 1981) on the logit scale, so that the bounds stay between 0 and 1.
    """
    rows = len(without)
    if not 0 < value < 1:
        return value, value
    error = np.sqrt((rows - 1) / rows * ((without - without.mean()) ** 2).sum())
    reach = TWO_SIDED * error / (value * (1 - value))
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def effective_rows(labels: npt.NDArray[np.int64]) -> int:
    """Return the number of rows, at least 1, for which a proportion varies as much as a mean over classes.

    labels: shape (rows,). For k classes with n_c rows each, this is k² / sum(1 / n_c): small classes have the same
    weight as large ones, so their few rows dominate the variance.
    """
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return max(1, round(float(len(counts) ** 2 / (1 / counts).sum())))


def unless_perfect(interval: Interval, rows: int) -> Interval:
    """Return `interval`, or Wilson's interval for a proportion of `rows` if it has collapsed to 0 or 1.

    Resamples of rows that are all correct contain no mistake, so the interval would claim certainty.
    """
    if interval == (1.0, 1.0):
        return accuracy_interval(rows, rows)
    return accuracy_interval(0, rows) if interval == (0.0, 0.0) else interval
