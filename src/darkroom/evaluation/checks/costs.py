"""Cost of a network: its size and its latency on this machine."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.predictor import Predictor

LEAST, MOST = 10, 200
"""Bounds on the number of timed predictions."""
SECONDS = 0.5
"""Time after which measurement stops, if at least `LEAST` predictions are timed."""


@dataclass(frozen=True)
class Cost:
    """A row of `cost.csv`."""

    candidate: str
    parameters: int
    megabytes: float
    """Of `model.onnx`, 10⁶ bytes."""
    training_seconds: float
    milliseconds: float
    """Median time per image, one at a time on one thread; it varies between runs and machines."""


def headline(cost: Cost) -> dict[str, float]:
    """Return `metrics/cost.json`: the size and the latency, with one digit since it varies between runs."""
    return {
        "megabytes": round(cost.megabytes, 2),
        "milliseconds": float(f"{cost.milliseconds:.1g}"),
    }


def measure(folder: Path) -> Cost:
    """Measure the network in `folder`, which takes about half a second."""
    predictor = Predictor(folder, threads=1)
    card = predictor.card
    image = np.full((1, card.image_size, card.image_size, 3), 127, dtype=np.uint8)
    predictor.logits(image)  # the first call allocates memory
    times: list[float] = []
    while len(times) < LEAST or (sum(times) < SECONDS and len(times) < MOST):
        start = time.perf_counter()
        predictor.logits(image)
        times.append(time.perf_counter() - start)
    size = (folder / "model.onnx").stat().st_size
    return Cost(card.name, card.parameters, round(size / 1e6, 3), card.seconds, round(float(np.median(times)) * 1e3, 3))
