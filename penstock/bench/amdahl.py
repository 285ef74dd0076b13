"""Fits Amdahl's law: estimates the part of the work that runs in parallel from measured speed-ups. Pure functions.

With a fraction p of the work spread over n processors, the speed-up over one is S(n) = 1 / ((1 - p) + p / n), so
1 - 1 / S(n) = p (1 - 1 / n): a straight line through the origin, whose least squares have a closed form.
(G. Amdahl, "Validity of the Single Processor Approach to Achieving Large Scale Computing Capabilities", 1967.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Amdahl:
    """A fitted law."""

    #: The part of the work that runs in parallel; noise and caches may push it out of [0, 1].
    parallel: float
    #: Standard error of `parallel`; nan from a single point, which always fits.
    error: float

    def speed_up(self, processors: float) -> float:
        """Return what the law says; inf where it has no answer."""
        inverse = 1.0 - self.parallel * (1.0 - 1.0 / processors)
        return 1.0 / inverse if inverse > 0.0 else math.inf

    def __str__(self) -> str:
        """Return the law as a sentence."""
        error = "" if math.isnan(self.error) else f" ± {self.error:.3f}"
        return f"parallel fraction {self.parallel:.3f}{error}"


def fit(processors: Sequence[float], speed_ups: Sequence[float]) -> Amdahl | None:
    """Fit the law to speed-ups over one processor; None if no point has more than one.

    Raises ValueError for processors below 1 and speed-ups that are not positive.
    """
    n, s = np.asarray(processors, np.float64), np.asarray(speed_ups, np.float64)
    if n.shape != s.shape or n.ndim != 1 or (n < 1.0).any() or not (s > 0.0).all():
        raise ValueError(f"processors {processors!r} (each 1 or more) and speed-ups {speed_ups!r} (each above 0)")
    n, s = n[n > 1.0], s[n > 1.0]
    if not len(n):
        return None
    x, y = 1.0 - 1.0 / n, 1.0 - 1.0 / s
    squares = float(x @ x)
    parallel = float(x @ y) / squares
    if len(n) == 1:
        return Amdahl(parallel, math.nan)
    rest = y - parallel * x
    return Amdahl(parallel, math.sqrt(float(rest @ rest) / (len(n) - 1) / squares))
