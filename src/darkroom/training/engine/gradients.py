"""The gradients of one batch, with optional accumulation, compilation and loss scaling."""

import copy
import math
from typing import NoReturn, cast

import torch
from torch import Tensor, nn

from darkroom.foundations.errors import DarkroomError
from darkroom.training.augmentation.mixing import Targets
from darkroom.training.engine import device
from darkroom.training.engine.batches import Data
from darkroom.training.engine.device import Compute
from darkroom.training.engine.distributed import World
from darkroom.training.settings import RecipeSettings


class Gradients:
    """Computes the gradients of `network`, which `model` wraps for several processes.

    All processes together process `batch_size` images per step. `training` are the images that may be moved off the
    device when its memory is full, `weights` the class weights of the loss. With `accumulate`, a batch that does not
    fit is split.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: RecipeSettings,
        training: Data,
        batch_size: int,
        weights: Tensor | None,
        compute: Compute,
        world: World,
        accumulate: bool = False,
    ) -> None:
        self.network, self.settings, self.training, self.weights = network, settings, training, weights
        self.batch_size, self.compute, self.world, self.accumulate = batch_size, compute, world, accumulate
        self.model = world.wrap(network)
        # With fixed shapes: with a dynamic batch size, PyTorch 2.11 generated GPU code that failed its own check.
        self.compiled = cast(nn.Module, torch.compile(self.model, dynamic=False)) if settings.compile else None
        self.scaler = compute.scaler()
        self.most = len(training)

    def warm_up(self, sides: set[int], classes: int) -> None:
        """Compile for images of each of `sides` in pixels, without changing the network; a no-op unless requested."""
        if not self.compiled:
            return
        state = copy.deepcopy(self.network.state_dict())
        self.model.train()
        count = len(range(self.batch_size)[self.world.share(self.batch_size)])
        labels = torch.arange(count, device=self.compute.device) % classes
        for side in sorted(sides):
            images = torch.zeros((count, side, side, 3), device=self.compute.device)
            self.compute_all(images, Targets(labels, labels, 1.0), 1.0)
        self.network.zero_grad(set_to_none=True)
        self.network.load_state_dict(state)

    def compute_all(self, images: Tensor, targets: Targets, factor: float) -> Tensor:
        """Compute the gradients of a batch and return its loss, both multiplied by `factor`.

        Raises DarkroomError when the batch does not fit into memory, or the network cannot be compiled.
        """
        while True:
            try:
                return self._backward(images, targets, factor, self.most)
            except (RuntimeError, AssertionError) as error:
                if reason := device.refusal(error):
                    raise DarkroomError(reason) from error
                if not (isinstance(error, RuntimeError) and device.out_of_memory(error)):
                    raise
            if self.world.size > 1:  # the other processes wait in this step, so it cannot be retried
                raise DarkroomError(
                    f"batches of {self.batch_size} over {self.world.size} processes do not fit into the memory of "
                    f"{self.compute.device.type}: set batch_size to {self.batch_size // 2} or start more processes"
                )
            if self.training.leave_device():
                continue
            self.most = min(self.most, len(images)) // 2
            if not self.accumulate or self.most < 2:
                self._refuse_batch(images, targets)

    def _backward(self, images: Tensor, targets: Targets, factor: float, most: int) -> Tensor:
        """Process a batch in equal parts of at most `most` images, but at least two, as batch norm requires."""
        self.network.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        parts = min(math.ceil(len(images) / most), max(1, len(images) // 2))
        for rows in torch.arange(len(images)).tensor_split(parts):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            loss = targets.part(part).loss(self._logits(images[part]), self.weights, self.settings.label_smoothing)
            loss = loss * (factor * len(rows) / len(images))
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _logits(self, images: Tensor) -> Tensor:
        """Return logits, from the compiled network for whole batches, the only shape for which it is compiled."""
        whole = len(images) == len(range(self.batch_size)[self.world.share(self.batch_size)])
        with self.compute.autocast():
            if self.compiled and whole:
                logits: Tensor = self.compiled(images.float())  # one type, whatever the augmentation
            else:
                logits = self.model(images)
        return logits

    def _refuse_batch(self, images: Tensor, targets: Targets) -> NoReturn:
        """Find how many images fit, and raise DarkroomError with that number."""
        asked, fits = len(images), self.most
        while fits > 1:
            try:
                self._backward(images[:fits], targets.part(slice(fits)), 1.0, fits)
                break
            except RuntimeError as error:
                if not device.out_of_memory(error):
                    raise
                fits //= 2
        if fits < 2:
            raise DarkroomError("not even two images fit into memory: lower the image size or the width") from None
        raise DarkroomError(
            f"a batch of {asked} images does not fit into the memory of {self.compute.device.type}, but {fits} do: "
            f"set batch_size to {fits}, or accumulate: true to split it"
        )
