"""Random numbers that depend only on the seed and the place where they are drawn.

No generator keeps state between steps, so a training run that resumes at step 1,000 draws the same numbers as an
uninterrupted one, and every process of a distributed run can draw those of the others.
"""

import numpy as np
import torch

from darkroom.training.engine.device import put

LOOK, ORDER, CHANGES, MIX, DROPOUT = range(5)
"""Uses of random numbers: preparing a network, shuffling, augmentation, mixing, and draws inside the network."""


def derive(seed: int, *place: int) -> int:
    """Return a 64-bit seed for a use and an index, such as (CHANGES, step)."""
    return int(np.random.SeedSequence((seed, *place)).generate_state(1, np.uint64)[0])


def generator(seed: int, *place: int) -> torch.Generator:
    """Return a new CPU generator for a use and an index."""
    return torch.Generator().manual_seed(derive(seed, *place))


class Draws:
    """Random numbers for the images of one batch, or of one process's share of it, on `device`.

    They are drawn on the CPU for the whole batch, and the share is selected from them. The numbers are therefore the
    same on all devices, and with several processes as with one.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        count: int,
        share: slice = slice(None),
        device: torch.device = torch.device("cpu"),  # noqa: B008  # a constant
    ) -> None:
        self.seed, self.count, self.share, self.device = seed, count, share, device
        self._generator = generator(seed, CHANGES, step)

    def uniform(self, *shape: int) -> torch.Tensor:
        """Return float32 numbers from 0 to 1, of the given shape with the images as its last dimension."""
        return put(torch.rand((*shape, self.count), generator=self._generator)[..., self.share], self.device)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Return int64 numbers from `low` to `high` - 1, of the given shape with the images as its last dimension."""
        return put(self._integers(low, high, *shape), self.device)

    def groups(self, count: int) -> list[torch.Tensor]:
        """Return a random division of the images into `count` groups: their positions (int64), some without any.

        Divided on the CPU, because the sizes of groups on a GPU would require a synchronisation.
        """
        chosen = self._integers(0, count)
        positions = put(chosen.argsort(stable=True), self.device)
        return list(positions.split(torch.bincount(chosen, minlength=count).tolist()))

    def _integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, (*shape, self.count), generator=self._generator)[..., self.share]
