"""What a network costs: its size, and the time it takes to answer here."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.predictor import Predictor

LEAST, MOST = 10, 200
"""Answers that are timed."""
SECONDS = 0.5
"""Time after which no more than the least are."""


@dataclass(frozen=True)
class Cost:
    """A line of `cost.csv`."""

    candidate: str
    parameters: int
    megabytes: float
    """Of `model.onnx`, 10⁶ bytes."""
    training_seconds: float
    milliseconds: float
    """Median time of one image at a time with one thread; it differs from run to run and from machine to machine."""


def headline(price: Cost) -> dict[str, float]:
    """Return `metrics/cost.json`: the size, and the time to one digit, since it differs from run to run."""
    return {
        "megabytes": round(price.megabytes, 2),
        "milliseconds": float(f"{price.milliseconds:.1g}"),
    }


def measure(folder: Path) -> Cost:
    """Return what the network in `folder` costs; takes about half a second."""
    predictor = Predictor(folder, threads=1)
    card = predictor.card
    image = np.full((1, card.image_size, card.image_size, 3), 127, dtype=np.uint8)
    predictor.logits(image)  # the first allocates
    times: list[float] = []
    while len(times) < LEAST or (sum(times) < SECONDS and len(times) < MOST):
        start = time.perf_counter()
        predictor.logits(image)
        times.append(time.perf_counter() - start)
    size = (folder / "model.onnx").stat().st_size
    return Cost(card.name, card.parameters, round(size / 1e6, 3), card.seconds, round(float(np.median(times)) * 1e3, 3))
