"""Mixed batches, in which each image is combined with another one, and so are the labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkroom.training.settings import RecipeSettings


@dataclass(frozen=True)
class Targets:
    """Targets of a batch: label `first` with weight `share`, label `second` with the rest."""

    first: Tensor
    second: Tensor
    share: float

    def loss(self, logits: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
        """Return the mean over the images of the cross-entropy in nats, each weighted by its class.

        It is not divided by the sum of the weights, as PyTorch's mean is, so that parts of a batch add up to the whole.
        """
        loss = _cross_entropy(logits, self.first, weight, smoothing)
        if self.share == 1:
            return loss
        return self.share * loss + (1 - self.share) * _cross_entropy(logits, self.second, weight, smoothing)

    def part(self, rows: slice) -> "Targets":
        """Return the targets of some images of the batch."""
        return Targets(self.first[rows], self.second[rows], self.share)


def _cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    if weight is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    # PyTorch's own weights would weight each part of a smoothed target by its class, and so bias images of common
    # classes towards rare ones.
    each = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (weight[labels] * each).mean()


def mix(images: Tensor, labels: Tensor, settings: RecipeSettings, seed: int) -> tuple[Tensor, Targets]:
    """Blend each image of (N, S, S, 3) with the next one, or paste a rectangle of that one into it.

    mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899), with one fraction per batch from
    Beta(α, α), as in these papers; if both are set, one is chosen at random for each batch. Batches are shuffled, so
    the next image is a random one.
    """
    if not (settings.mixup or settings.cutmix):
        return images, Targets(labels, labels, 1.0)
    random = np.random.default_rng(seed)
    cut = bool(settings.cutmix) and (not settings.mixup or random.random() < 0.5)
    alpha = settings.cutmix if cut else settings.mixup
    share = float(random.beta(alpha, alpha))
    others = images.roll(-1, 0)
    if cut:
        size = images.shape[1]
        side = round(size * (1 - share) ** 0.5)
        top, left = (int(random.integers(0, size - side + 1)) for _ in range(2))
        images = images.clone()
        images[:, top : top + side, left : left + side] = others[:, top : top + side, left : left + side]
        share = 1 - (side / size) ** 2
    else:
        images = torch.lerp(others.float(), images.float(), share)
    return images, Targets(labels, labels.roll(-1, 0), share)
