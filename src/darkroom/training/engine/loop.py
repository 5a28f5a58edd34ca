"""The training loop: plain PyTorch, every step on the device, the best epoch kept, ready to go on where it stopped."""

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.foundations.errors import DarkroomError
from darkroom.training.augmentation import augment, mixing
from darkroom.training.engine import batches, device, ema, optimizer, schedule, scoring, seeds
from darkroom.training.engine.batches import Data
from darkroom.training.engine.checkpoint import Checkpointer
from darkroom.training.engine.device import Compute
from darkroom.training.engine.distributed import ALONE, World
from darkroom.training.engine.gradients import Gradients
from darkroom.training.engine.seeds import Draws
from darkroom.training.settings import AugmentSettings, RecipeSettings, TrainingSettings

DIVERGED = 1e4
"""Mean loss of an epoch, in nats, from which on no network finds back: guessing costs the logarithm of the classes."""
LOOK = 20
"""Steps between two looks at the clock and at the loss: a look makes a GPU wait."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images came to."""

    number: int
    """From 1."""
    train_loss: float
    validation_loss: float
    """Cross-entropy in nats, without label smoothing."""
    validation_accuracy: float
    learning_rate: float
    """Of the first parameter group, at the end of the epoch."""
    images_per_second: float


@dataclass(frozen=True)
class Plan:
    """All that decides how a network is trained."""

    settings: RecipeSettings
    augment: AugmentSettings
    training: TrainingSettings
    epochs: int
    batch_size: int
    seed: int


class Callback:
    """Who is told how a training goes; this one keeps it to itself."""

    def resume(self, progress: float, epochs: list[Epoch]) -> None:
        """Note that a training resumes from a checkpoint, and its epochs so far."""

    def epoch(self, epoch: Epoch) -> None:
        """Take in an epoch that has just ended."""

    def step(self, progress: float) -> None:
        """Take in how much of the training is done, 0 to 1."""


@dataclass
class Best:
    """The epoch that is kept."""

    epoch: int = 0
    accuracy: float = -1.0
    """The highest on validation so far, of this epoch or of one that it cannot be told from."""
    state: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """A network in training, with all that decides its next step; `state` is what a checkpoint holds of it.

    `groups` are the parameter groups that learn, `data` is (train, validation). The best epoch is that of the
    highest validation accuracy, the last of several equal ones: the loss would not do, since label smoothing
    raises it while the network still gets better. Where the learning rate falls to zero it is the last epoch
    within a standard error of the highest: each is meant to better the one before, and a lead of half a per cent
    on a thousand images is luck. (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3, choose
    so among pruned trees.)
    """

    def __init__(
        self,
        network: nn.Module,
        groups: list[dict[str, Any]],
        data: tuple[Data, Data],
        plan: Plan,
        compute: Compute,
        world: World = ALONE,
    ) -> None:
        self.network, self.plan, self.compute, self.world = network, plan, compute, world
        self.training, self.validation = data
        self.optimizers = optimizer.build(groups, plan.settings, fused=compute.device.type == "cuda")
        self.groups = [group for each in self.optimizers for group in each.param_groups]
        self.rates = [float(group["lr"]) for group in self.groups]
        self.evaluated = copy.deepcopy(network) if plan.settings.average else network
        weights, self.chances = batches.balance(self.training, plan.training.balance)
        self.gradients = Gradients(
            *(network, plan.settings, self.training, plan.batch_size, weights, compute, world),
            accumulate=plan.training.accumulate,
        )
        self.smallest = batches.smallest(world.size)
        self.steps = batches.steps(len(self.training), plan.batch_size, self.smallest)
        self.total = plan.epochs * self.steps
        self.step, self.seconds = 0, 0.0
        self.loss = torch.zeros((), device=compute.device)
        self.history: list[Epoch] = []
        self.best = Best()

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1: by steps, or by the clock where that is further."""
        minutes = self.plan.training.max_minutes
        return min(1.0, max(self.step / self.total, self.seconds / (60 * minutes) if minutes else 0.0))

    def include_start(self) -> None:
        """Let the network as it is now be kept, as epoch 0, unless an epoch is as good."""
        _, accuracy = scoring.score(self.network, self.validation, self.compute, self.world)
        self.best = Best(0, accuracy, copy.deepcopy(self.network.state_dict()))

    def state(self) -> dict[str, Any]:
        """Return where the training stands. Random numbers are drawn from the seed and the step, so none are in it."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "most": self.gradients.most,
            "scaler": self.gradients.scaler.state_dict(),
            "loss": self.loss * self.world.size,  # the other processes have their own, about as large
            "network": self.network.state_dict(),
            "evaluated": self.evaluated.state_dict() if self.evaluated is not self.network else None,
            "optimizers": [each.state_dict() for each in self.optimizers],
            "history": [asdict(epoch) for epoch in self.history],
            "best": vars(self.best),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.step, self.seconds, self.gradients.most = state["step"], state["seconds"], state["most"]
        if state["scaler"] and self.gradients.scaler.is_enabled():
            self.gradients.scaler.load_state_dict(state["scaler"])
        self.loss = state["loss"].to(self.compute.device) * float(self.world.leads)
        self.network.load_state_dict(state["network"])
        if self.evaluated is not self.network:
            self.evaluated.load_state_dict(state["evaluated"])
        for each, saved in zip(self.optimizers, state["optimizers"], strict=True):
            each.load_state_dict(saved)
        self.groups = [group for each in self.optimizers for group in each.param_groups]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.best = Best(**state["best"])

    def run(self, callback: Callback, checkpointer: Checkpointer | None = None) -> int:
        """Train to the end and leave the network with the weights of its best epoch, whose number is returned.

        Raises DarkroomError when the loss is no longer finite or beyond return, or a batch does not fit into memory.
        """
        # One process decides and tells the others, whose folders and processors may be others.
        state = self.world.tell(checkpointer.load() if checkpointer and self.world.leads else None)
        if state:
            self.restore(state)
            callback.resume(self.progress, self.history)
        device = self.compute.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            sides = {
                schedule.image_size(self.plan.settings, self.training.size, progress)
                for progress in (0, *schedule.GROWS)
            }
            self.gradients.warm_up(sides, int(self.training.labels.max()) + 1)
            while self.progress < 1 and not self._out_of_patience():
                self._epoch(callback, checkpointer)
        self.network.load_state_dict(self.best.state)
        return self.best.epoch

    def _epoch(self, callback: Callback, checkpointer: Checkpointer | None) -> None:
        number = len(self.history) + 1
        generator = seeds.generator(self.plan.seed, seeds.ORDER, number)
        order = batches.order(self.training, self.plan.batch_size, generator, self.chances, self.smallest)
        shares = [batch[self.world.share(len(batch))] for batch in order]
        # One transfer an epoch: to move each batch's numbers would make a GPU wait in every step.
        moved = device.put(torch.cat(shares), self.compute.device).split([len(share) for share in shares])
        wanted = moved if self.training.resident else shares
        done = self.step - (number - 1) * self.steps  # before this training was resumed
        begin = clock = time.perf_counter()
        seen = 0
        self.gradients.model.train()
        for images, positions, batch in zip(
            self.training.batches(wanted[done:]), moved[done:], order[done:], strict=True
        ):
            self._step(images, positions, len(batch), number)
            seen += len(batch)
            if self.compute.device.type == "cpu" or self.step % LOOK == 0:
                if not math.isfinite(loss := float(self.loss)):
                    raise _divergence(number, loss, self.plan)
                clock = self._look_at_the_clock(clock)
                if checkpointer and self.world.leads and checkpointer.due() and self.progress < 1:
                    checkpointer.save(self.state())
            callback.step(self.progress)
            if self.progress >= 1:
                break
        train_loss = float(self.world.sum(self.loss)) / (self.step - (number - 1) * self.steps)
        speed = seen / (time.perf_counter() - begin)
        if not train_loss < DIVERGED:  # nor is NaN
            raise _divergence(number, train_loss, self.plan)
        for buffer in self.evaluated.buffers():
            self.world.lead(buffer)
        validation_loss, accuracy = scoring.score(self.evaluated, self.validation, self.compute, self.world)
        self.history.append(Epoch(number, train_loss, validation_loss, accuracy, self.groups[0]["lr"], speed))
        if accuracy >= self.best.accuracy - self._luck():
            top = max(accuracy, self.best.accuracy)
            self.best = Best(number, top, copy.deepcopy(self.evaluated.state_dict()))
        self.loss = torch.zeros_like(self.loss)
        self._look_at_the_clock(clock)
        callback.epoch(self.history[-1])

    def _step(self, images: Tensor, positions: Tensor, count: int, epoch: int) -> None:
        """Take one step with the images at `positions`, this process's share of a batch of `count`."""
        seed, settings = self.plan.seed, self.plan.settings
        labels = self.training.labels[positions]
        draws = Draws(seed, self.step, count, self.world.share(count), self.compute.device)
        images = augment.augment(images, self.plan.augment, draws, positions, epoch)
        images = augment.shrink(images, schedule.image_size(settings, images.shape[1], self.progress))
        images, targets = mixing.mix(images, labels, settings, seeds.derive(seed, seeds.MIX, self.step))
        torch.manual_seed(seeds.derive(seed, seeds.DROPOUT, self.step, self.world.rank))
        # Gradients are averaged over processes, whose shares may differ by an image.
        loss = self.gradients.compute_all(images, targets, len(labels) * self.world.size / count)
        self._move()
        if self.evaluated is not self.network:
            ema.blend(self.evaluated, self.network, settings.average, self.step)
        self.loss += loss / self.world.size
        self.step += 1

    def _move(self) -> None:
        """Move the weights along their gradients, at this step's learning rate."""
        settings, scaler = self.plan.settings, self.gradients.scaler
        if settings.clip:
            for each in self.optimizers:
                scaler.unscale_(each)
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        share = self._share()
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate * share
        for each in self.optimizers:
            scaler.step(each)
        scaler.update()

    def _share(self) -> float:
        """Return the share of the peak learning rate for this step: that of its middle, so that none is zero."""
        accuracies = [epoch.validation_accuracy for epoch in self.history]
        return schedule.factor(self.plan.settings, min(1.0, self.progress + 0.5 / self.total), accuracies)

    def _look_at_the_clock(self, last: float) -> float:
        """Add the time since `last` and return the time now; all processes go by the clock of the first."""
        now = time.perf_counter()
        self.seconds += now - last
        if self.plan.training.max_minutes and self.world.size > 1:
            seconds = torch.tensor(self.seconds, device=self.compute.device)
            self.seconds = float(self.world.lead(seconds))
        return now

    def _luck(self) -> float:
        """Return the standard error of the highest accuracy, where it may stand back behind a later epoch's."""
        if self.plan.settings.schedule in schedule.FALLING and self.best.epoch:
            return math.sqrt(self.best.accuracy * (1 - self.best.accuracy) / len(self.validation))
        return 0.0

    def _out_of_patience(self) -> bool:
        patience, accuracies = self.plan.settings.patience, [epoch.validation_accuracy for epoch in self.history]
        return patience is not None and schedule.epochs_without_improvement(accuracies) >= patience


def _divergence(epoch: int, loss: float, plan: Plan) -> DarkroomError:
    return DarkroomError(
        f"training diverged: the loss of epoch {epoch} is {loss:.3g}. Lower learning_rate, "
        f"now {plan.settings.learning_rate}, for example to {plan.settings.learning_rate / 4:g}"
    )
