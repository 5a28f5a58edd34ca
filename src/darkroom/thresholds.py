"""Thresholds that decide whether a prediction is confident and whether an image is in distribution.

The evaluation fits them on validation images; the served card stores them and the service applies them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Score = Literal["max_probability", "energy", "neighbors", "neighbors_energy"]
"""Score that separates in-distribution from out-of-distribution images: the largest calibrated probability (Hendrycks
and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution Examples, 2017), the logsumexp of the logits,
which is the negative energy (Liu et al., Energy-based Out-of-distribution Detection, 2020), the similarity to the
nearest training images (Sun et al., Out-of-distribution Detection with Deep Nearest Neighbors, 2022), or a weighted sum
of the last two."""
NEEDS_INDEX = ("neighbors", "neighbors_energy")
"""Scores for which the outputs must have similarities."""

MISLEADING = 0.2
"""Fraction of confident predictions on one kind of out-of-distribution images above which a warning is given."""

_KINDS = {"plain": "plain colours", "shuffled": "shuffled images", "noise": "images of noise"}


class Outputs(NamedTuple):
    """What a network gives for images, one row for each."""

    logits: npt.NDArray[np.float32]
    """Shape (rows, classes)."""
    similarity: npt.NDArray[np.float32] | None = None
    """Cosine similarity to the nearest training images, `Index.score`, -1 to 1, shape (rows,); None without an
    index."""

    @classmethod
    def concatenated(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Return all rows of `parts` as one; without similarities if those of one part are missing."""
        known = [part.similarity for part in parts if part.similarity is not None]
        similarity = np.concatenate(known) if len(known) == len(parts) else None
        return cls(np.concatenate([part.logits for part in parts]), similarity)


@dataclass(frozen=True)
class Thresholds:
    """When a prediction is confident and when an image is in distribution; fitted on validation images."""

    score: Score
    """The score that `known` applies to."""
    known: float
    """An image is in distribution if its `in_distribution_score` is at least this."""
    confident: float
    """A prediction is confident if its image is in distribution and its largest calibrated probability is at least
    this, 0 to 1."""
    coverage: float
    """Fraction of the validation images with confident predictions, 0 to 1."""
    energy_weight: float = 0.0
    """Weight of the logsumexp of the logits, which is added to the similarity if the score is neighbors_energy."""

    def verdicts(self, outputs: Outputs, temperature: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return whether each row is in distribution and whether its prediction is confident: two arrays of shape
        (rows,).

        temperature: that of the card, which calibrates the probabilities. Raises ValueError when the score needs
        similarities and `outputs` has none.
        """
        in_distribution = in_distribution_score(outputs, temperature, self.score, self.energy_weight) >= self.known
        largest = in_distribution_score(outputs, temperature, "max_probability") >= self.confident
        return in_distribution, in_distribution & largest


def in_distribution_score(
    outputs: Outputs, temperature: float, score: Score, energy_weight: float = 0.0
) -> npt.NDArray[np.float64]:
    """Return the score of each row, shape (rows,): higher means more likely in distribution.

    The largest probability lies between 1 / classes and 1, the similarity between -1 and 1; the energy is unbounded.
    Raises ValueError when the score needs similarities and `outputs` has none.
    """
    if score in NEEDS_INDEX:
        if outputs.similarity is None:
            raise ValueError(f"the score {score} needs the similarity to the nearest training images: give it")
        similarity = outputs.similarity.astype(np.float64)
        if score == "neighbors":
            return similarity
        return similarity + energy_weight * in_distribution_score(outputs, temperature, "energy")
    scaled = outputs.logits.astype(np.float64) / temperature
    largest = scaled.max(axis=1)
    rest = np.log(np.exp(scaled - largest[:, np.newaxis]).sum(axis=1))
    scores: npt.NDArray[np.float64] = np.exp(-rest) if score == "max_probability" else largest + rest
    return scores


def misleads(shares: Mapping[str, float]) -> bool:
    """Return whether too many out-of-distribution images get confident predictions: their fraction by kind, 0 to 1."""
    return any(share > MISLEADING for share in shares.values())


def kind_name(kind: str) -> str:
    """Return the name of a kind of out-of-distribution images in the plural: "plain colours"."""
    return _KINDS.get(kind, kind.replace("_", " "))


def describe(shares: Mapping[str, float]) -> str:
    """State how many out-of-distribution images get confident predictions, by kind; empty if there are no kinds."""
    if not shares:
        return ""
    named = sorted((kind_name(kind), share) for kind, share in shares.items())
    confident = [
        f"{_percent(share)} of {name}" for name, share in sorted(named, key=lambda item: -item[1]) if share > 0
    ]
    if not confident:
        names = _listing([name for name, _ in named])
        return f"Of images that show none of the classes ({names}), none gets a confident prediction."
    text = f"Of images that show none of the classes, {_listing(confident)} still get a confident prediction."
    if misleads(shares):
        text = f"Warning: a confident prediction does not mean that the image shows one of the classes. {text}"
    return text


def _percent(share: float) -> str:
    """Return a fraction as a whole percentage, halves rounded up; only 0 and 1 themselves are shown as 0% and 100%."""
    whole = int(share * 100 + 0.5 + 1e-9)
    if whole in (0, 100) and share not in (0, 1):
        return "under 1%" if whole == 0 else "over 99%"
    return f"{whole}%"


def _listing(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
