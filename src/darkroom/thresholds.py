"""When an answer is unsure, and when a picture is none of the classes: the thresholds, and how they are applied.

The evaluation fits a `Thresholds` on validation images; the served card carries it and the service answers by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Score = Literal["max_probability", "energy"]
"""What tells pictures of the classes from others: the largest calibrated probability (Hendrycks and Gimpel, A
Baseline for Detecting Misclassified and Out-of-Distribution Examples, 2017), or the logarithm of the summed
exponentials of the logits, which is the energy with its sign turned (Liu et al., Energy-based Out-of-distribution
Detection, 2020)."""

MISLEADING = 0.2
"""Share of a kind of foreign images with confident answers above which people are warned."""


@dataclass(frozen=True)
class Thresholds:
    """When an answer is unsure, and when a picture is none of the classes: fitted on validation."""

    score: Score
    """What tells pictures of the classes from others."""
    known: float
    """A picture is in distribution where its `known_score` is at least this."""
    confident: float
    """An answer is confident where its picture is in distribution and its largest calibrated probability is at
    least this, 0 to 1."""
    coverage: float
    """Share of the validation images with confident answers, 0 to 1."""

    def verdicts(
        self, logits: npt.NDArray[np.float32], temperature: float
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return whether each row is in distribution, and whether its answer is confident: two of shape (rows,).

        logits: shape (rows, classes); temperature: that of the card, which makes probabilities calibrated.
        """
        in_distribution = known_score(logits, temperature, self.score) >= self.known
        sure = known_score(logits, temperature, "max_probability") >= self.confident
        return in_distribution, in_distribution & sure


def known_score(logits: npt.NDArray[np.float32], temperature: float, score: Score) -> npt.NDArray[np.float64]:
    """Return how much each row looks like a picture of the classes, shape (rows,): higher is more so.

    logits: shape (rows, classes). A largest probability is 1 / classes to 1; an energy can be any number.
    """
    scaled = logits.astype(np.float64) / temperature
    largest = scaled.max(axis=1)
    rest = np.log(np.exp(scaled - largest[:, np.newaxis]).sum(axis=1))
    known: npt.NDArray[np.float64] = np.exp(-rest) if score == "max_probability" else largest + rest
    return known


def misleads(foreign: Mapping[str, float]) -> bool:
    """Return whether too many foreign images get confident answers: their share by kind, 0 to 1."""
    return any(share > MISLEADING for share in foreign.values())


def describe(foreign: Mapping[str, float]) -> str:
    """Say in a sentence or two how many foreign images, by kind, get confident answers; empty without any kind."""
    if not foreign:
        return ""
    words = {"plain": "plain colours", "shuffled": "shuffled images", "noise": "images of noise"}
    named = sorted(((words.get(kind, kind.replace("_", " ")), share) for kind, share in foreign.items()))
    taken = [f"{share:.0%} of {name}" for name, share in sorted(named, key=lambda item: -item[1]) if share > 0]
    if not taken:
        names = _listing([name for name, _ in named])
        return f"Of images that show none of the classes ({names}), none gets a confident answer."
    text = f"Of images that show none of the classes, {_listing(taken)} still get a confident answer."
    if misleads(foreign):
        text = f"Warning: a confident answer does not mean that the image shows one of the classes. {text}"
    return text


def _listing(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
