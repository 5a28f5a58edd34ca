"""How long a call takes."""

import time
from collections.abc import Callable

import numpy as np

LEAST, MOST = 10, 200
"""Bounds on the number of timed calls."""
SECONDS = 0.5
"""Time after which no more calls are made, if at least `LEAST` are timed."""


def milliseconds(call: Callable[[], object]) -> float:
    """Return the median time of a call in milliseconds, which takes about half a second to measure."""
    call()  # the first one allocates memory
    times: list[float] = []
    while len(times) < LEAST or (sum(times) < SECONDS and len(times) < MOST):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3
