"""The training loop: plain PyTorch, all steps on the device, keeps the best epoch, and can be resumed."""

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
"""Mean loss of an epoch, in nats, above which training has diverged: random guessing has the loss log(classes)."""
LOOK = 20
"""Steps between two checks of the clock and the loss, because each check synchronises with the GPU."""


@dataclass(frozen=True)
class Epoch:
    """Metrics of one pass over the training images."""

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
    """All settings of a training run."""

    settings: RecipeSettings
    augment: AugmentSettings
    training: TrainingSettings
    epochs: int
    batch_size: int
    seed: int


class Callback:
    """Receives the progress of a training run; this base class ignores it."""

    def resume(self, progress: float, epochs: list[Epoch]) -> None:
        """Called when training resumes from a checkpoint, with its epochs so far."""

    def epoch(self, epoch: Epoch) -> None:
        """Called at the end of an epoch."""

    def step(self, progress: float) -> None:
        """Called after a step with the progress of the training, 0 to 1."""


@dataclass
class Best:
    """The best epoch so far."""

    epoch: int = 0
    accuracy: float = -1.0
    """The highest validation accuracy so far, of this epoch or of one that is not significantly better."""
    state: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """A network in training with its whole state; `state` returns what a checkpoint contains.

    `groups` are the parameter groups to train, `data` is (train, validation). The best epoch has the highest validation
    accuracy; among equal ones, the last is taken. The loss is not used, because label smoothing raises it while the
    network still improves. If the learning rate falls to zero, it is the last epoch within one standard error of the
    highest accuracy: later epochs are expected to be better, and a lead of half a percent on a thousand images is noise
    (the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3).
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
        """Progress of the training, 0 to 1: by steps, or by the clock if it is ahead of the steps."""
        minutes = self.plan.training.max_minutes
        return min(1.0, max(self.step / self.total, self.seconds / (60 * minutes) if minutes else 0.0))

    def include_start(self) -> None:
        """Record the current network as epoch 0, which is kept unless a later epoch is at least as good."""
        _, accuracy = scoring.score(self.network, self.validation, self.compute, self.world)
        self.best = Best(0, accuracy, copy.deepcopy(self.network.state_dict()))

    def state(self) -> dict[str, Any]:
        """Return the training state. It has no random state, because random numbers depend only on seed and step."""
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
        """Restore a `state`."""
        self.step, self.seconds, self.gradients.most = state["step"], state["seconds"], state["most"]
        if state["scaler"] and self.gradients.scaler.is_enabled():
            self.gradients.scaler.load_state_dict(state["scaler"])
        self.loss = state["loss"].to(self.compute.device) * float(self.world.is_main)
        self.network.load_state_dict(state["network"])
        if self.evaluated is not self.network:
            self.evaluated.load_state_dict(state["evaluated"])
        for each, saved in zip(self.optimizers, state["optimizers"], strict=True):
            each.load_state_dict(saved)
        self.groups = [group for each in self.optimizers for group in each.param_groups]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.best = Best(**state["best"])

    def run(self, callback: Callback, checkpointer: Checkpointer | None = None) -> int:
        """Train to the end, load the weights of the best epoch into the network, and return the number of that epoch.

        Raises DarkroomError when the training diverges, or a batch does not fit into memory.
        """
        # The main process decides and broadcasts, because the others may have other folders and processors.
        state = self.world.broadcast_object(checkpointer.load() if checkpointer and self.world.is_main else None)
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
        # One transfer per epoch: moving the indices of each batch would synchronise with the GPU in every step.
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
                if checkpointer and self.world.is_main and checkpointer.due() and self.progress < 1:
                    checkpointer.save(self.state())
            callback.step(self.progress)
            if self.progress >= 1:
                break
        train_loss = float(self.world.sum(self.loss)) / (self.step - (number - 1) * self.steps)
        speed = seen / (time.perf_counter() - begin)
        if not train_loss < DIVERGED:  # nor is NaN
            raise _divergence(number, train_loss, self.plan)
        for buffer in self.evaluated.buffers():
            self.world.broadcast(buffer)
        validation_loss, accuracy = scoring.score(self.evaluated, self.validation, self.compute, self.world)
        self.history.append(Epoch(number, train_loss, validation_loss, accuracy, self.groups[0]["lr"], speed))
        if accuracy >= self.best.accuracy - self._luck():
            top = max(accuracy, self.best.accuracy)
            self.best = Best(number, top, copy.deepcopy(self.evaluated.state_dict()))
        self.loss = torch.zeros_like(self.loss)
        self._look_at_the_clock(clock)
        callback.epoch(self.history[-1])

    def _step(self, images: Tensor, positions: Tensor, count: int, epoch: int) -> None:
        """Run one step on the images at `positions`, this process's share of a batch of `count`."""
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
        """Update the weights at this step's learning rate."""
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
        """Return this step's learning rate relative to the peak, at the middle of the step so that none is zero."""
        accuracies = [epoch.validation_accuracy for epoch in self.history]
        return schedule.factor(self.plan.settings, min(1.0, self.progress + 0.5 / self.total), accuracies)

    def _look_at_the_clock(self, last: float) -> float:
        """Add the time since `last` and return the current time; all processes use the clock of the main process."""
        now = time.perf_counter()
        self.seconds += now - last
        if self.plan.training.max_minutes and self.world.size > 1:
            seconds = torch.tensor(self.seconds, device=self.compute.device)
            self.seconds = float(self.world.broadcast(seconds))
        return now

    def _luck(self) -> float:
        """Return the standard error of the highest accuracy, if a later epoch within it is preferred."""
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
