"""Cost of a network: its size and its latency on this machine."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from darkroom import timing
from darkroom.predictor import Predictor


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
    milliseconds = timing.milliseconds(partial(predictor.logits, image))
    size = (folder / "model.onnx").stat().st_size
    return Cost(card.name, card.parameters, round(size / 1e6, 3), card.seconds, round(milliseconds, 3))
