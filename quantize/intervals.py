"""Confidence intervals for what INT8 loses: both models see the same faces, so every interval is a paired one.

Agreement is one proportion: Clopper and Pearson (1934), whose coverage is never below its level. A drop of accuracy is
a difference of two paired proportions: the score interval of Tango (1998), which stays honest where no face, or one,
changed sides; McNemar's test asks whether the drop is zero, and this gate asks whether it is below a limit. Macro-F1
and concordance have no such formula: a paired bootstrap (Efron, 1979) with a fixed seed, over the faces.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_RESAMPLES, _SEED = 2000, 0
_STEPS = 60
# Beyond this nobody collects faces: the observed figure lies on its limit.
MAX_FACES = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A figure measured on faces, and where it lies with 95 % confidence."""

    measured: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Interval":
        """The interval `factor` times as wide, around the same figure."""
        return Interval(
            self.measured,
            self.measured + factor * (self.low - self.measured),
            self.measured + factor * (self.high - self.measured),
        )


def proportion(hits: float, n: float, level: float = LEVEL) -> Interval:
    """Clopper and Pearson's interval of `hits` out of `n`; both may be fractions, to ask what more faces would show."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits >= n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return Interval(hits / n, low, high)


def paired_drop(lost: float, gained: float, n: float, level: float = LEVEL) -> Interval:
    """Tango's interval of a drop (lost - gained) / n: `lost` faces only the first model names rightly, `gained` only
    the second."""
    z = NormalDist().inv_cdf((1 + level) / 2)

    def score(drop: float) -> float:
        # Maximum likelihood under this drop (Tango, 1998, equation 10).
        a, b = 2 * n, -lost - gained + (2 * n - lost + gained) * drop
        c = -gained * drop * (1 - drop)
        gained_rate = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * gained_rate + drop * (1 - drop))
        return (lost - gained - n * drop) / math.sqrt(variance) if variance > 0 else 0.0

    measured = (lost - gained) / n
    low = _crossing(lambda drop: score(drop) - z, -1.0, measured)
    high = _crossing(lambda drop: score(drop) + z, measured, 1.0)
    return Interval(measured, low, high)


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is zero between `low` and `high`, by bisection."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def median(values: NDArray[np.float64]) -> Interval:
    """The median of independent values (n,) and its interval, from order statistics: no distribution is assumed."""
    from scipy.stats import binom

    ordered, n = np.sort(values), len(values)
    rank = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))
    low, high = max(rank - 1, 0), min(n - rank, n - 1)
    return Interval(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def bootstrap(figure: Callable[[NDArray[np.int64]], NDArray[np.float64]], counts: NDArray[np.int64]) -> Interval:
    """Percentile interval of `figure` over resamples of the faces.

    `counts` (k,): how many faces are of each kind, the kinds being all that tells two faces apart. `figure` takes
    resampled counts (r, k) and gives the figure of each resample (r,).
    """
    generator = np.random.default_rng(_SEED)
    drawn = generator.multinomial(int(counts.sum()), counts / counts.sum(), size=_RESAMPLES)
    values = figure(drawn)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(figure(counts[None])[0]), float(low), float(high))


def faces_needed(at: Callable[[float], bool], n: int) -> int | None:
    """The smallest number of faces, above `n`, at which `at` says that the figure is decided; None beyond a million."""
    low, high = float(n), float(n)
    while not at(high):
        if high >= MAX_FACES:
            return None
        low, high = high, min(high * 2, float(MAX_FACES))
    while high - low > max(1.0, 0.01 * low):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) else (middle, high)
    return math.ceil(high)
