"""The training loop: plain PyTorch, every step on the device, the best epoch kept, ready to go on where it stopped."""

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn

from darkroom.errors import DarkroomError
from darkroom.training import augment, averaging, batches, device, mixing, optimizer, scoring, seeds
from darkroom.training.batches import Data
from darkroom.training.checkpoint import Keeper
from darkroom.training.device import Compute
from darkroom.training.distributed import ALONE, World
from darkroom.training.mixing import Targets
from darkroom.training.seeds import Draws
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


class Watch:
    """Who is told how a training goes; this one keeps it to itself."""

    def resume(self, way: float, epochs: list[Epoch]) -> None:
        """Take in that a training goes on from a checkpoint, and its epochs so far."""

    def epoch(self, epoch: Epoch) -> None:
        """Take in an epoch that has just ended."""

    def step(self, way: float) -> None:
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
        self.model = world.wrap(network)
        if plan.settings.compile:
            self.model = cast(nn.Module, torch.compile(self.model))
        self.optimizers = optimizer.build(groups, plan.settings)
        self.groups = [group for each in self.optimizers for group in each.param_groups]
        self.rates = [float(group["lr"]) for group in self.groups]
        self.judged = copy.deepcopy(network) if plan.settings.average else network
        self.weights, self.chances = batches.balance(self.training, plan.training.balance)
        self.smallest = max(batches.SMALLEST_BATCH, 2 * world.size)
        self.steps = batches.steps(len(self.training), plan.batch_size, self.smallest)
        self.total = plan.epochs * self.steps
        self.step, self.seconds, self.most = 0, 0.0, len(self.training)
        self.loss = torch.zeros((), device=compute.device)
        self.history: list[Epoch] = []
        self.best = Best()

    @property
    def way(self) -> float:
        """How much of the training is done, 0 to 1: by steps, or by the clock where that is further."""
        minutes = self.plan.training.max_minutes
        return min(1.0, max(self.step / self.total, self.seconds / (60 * minutes) if minutes else 0.0))

    def contend(self) -> None:
        """Let the network as it is now be kept, as epoch 0, unless an epoch is as good."""
        _, accuracy = scoring.score(self.network, self.validation, self.compute, self.world)
        self.best = Best(0, accuracy, copy.deepcopy(self.network.state_dict()))

    def state(self) -> dict[str, Any]:
        """Return where the training stands. Random numbers are drawn from the seed and the step, so none are in it."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "most": self.most,
            "loss": self.loss * self.world.size,  # the other processes have their own, about as large
            "network": self.network.state_dict(),
            "judged": self.judged.state_dict() if self.judged is not self.network else None,
            "optimizers": [each.state_dict() for each in self.optimizers],
            "history": [asdict(epoch) for epoch in self.history],
            "best": vars(self.best),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.step, self.seconds, self.most = state["step"], state["seconds"], state["most"]
        self.loss = state["loss"].to(self.compute.device) * float(self.world.leads)
        self.network.load_state_dict(state["network"])
        if self.judged is not self.network:
            self.judged.load_state_dict(state["judged"])
        for each, saved in zip(self.optimizers, state["optimizers"], strict=True):
            each.load_state_dict(saved)
        self.groups = [group for each in self.optimizers for group in each.param_groups]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.best = Best(**state["best"])

    def run(self, watch: Watch, keeper: Keeper | None = None) -> int:
        """Train to the end and leave the network with the weights of its best epoch, whose number is returned.

        Raises DarkroomError when the loss is no longer finite or beyond return, or a batch does not fit into memory.
        """
        # One process decides and tells the others, whose folders and processors may be others.
        state = self.world.tell(keeper.load() if keeper and self.world.leads else None)
        if state:
            self.restore(state)
            watch.resume(self.way, self.history)
        device = self.compute.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            while self.way < 1 and not self._out_of_patience():
                self._epoch(watch, keeper)
        self.network.load_state_dict(self.best.state)
        return self.best.epoch

    def _epoch(self, watch: Watch, keeper: Keeper | None) -> None:
        number = len(self.history) + 1
        generator = seeds.generator(self.plan.seed, seeds.ORDER, number)
        order = batches.order(self.training, self.plan.batch_size, generator, self.chances, self.smallest)
        order = order[self.step - (number - 1) * self.steps :]
        shares = [batch[self.world.share(len(batch))] for batch in order]
        begin = clock = time.perf_counter()
        seen = 0
        self.model.train()
        for images, places, batch in zip(self.training.batches(shares), shares, order, strict=True):
            self._step(images, places, len(batch), number)
            seen += len(batch)
            if self.compute.device.type == "cpu" or self.step % LOOK == 0:
                if not math.isfinite(loss := float(self.loss)):
                    raise _divergence(number, loss, self.plan)
                clock = self._look_at_the_clock(clock)
                if keeper and self.world.leads and keeper.due() and self.way < 1:
                    keeper.save(self.state())
            watch.step(self.way)
            if self.way >= 1:
                break
        train_loss = float(self.world.sum(self.loss)) / (self.step - (number - 1) * self.steps)
        speed = seen / (time.perf_counter() - begin)
        if not train_loss < DIVERGED:  # nor is NaN
            raise _divergence(number, train_loss, self.plan)
        for buffer in self.judged.buffers():
            self.world.lead(buffer)
        validation_loss, accuracy = scoring.score(self.judged, self.validation, self.compute, self.world)
        self.history.append(Epoch(number, train_loss, validation_loss, accuracy, self.groups[0]["lr"], speed))
        if accuracy >= self.best.accuracy - self._luck():
            top = max(accuracy, self.best.accuracy)
            self.best = Best(number, top, copy.deepcopy(self.judged.state_dict()))
        self.loss = torch.zeros_like(self.loss)
        self._look_at_the_clock(clock)
        watch.epoch(self.history[-1])

    def _step(self, images: Tensor, places: Tensor, count: int, epoch: int) -> None:
        """Take one step with the images at `places`, this process's share of a batch of `count`."""
        seed, settings = self.plan.seed, self.plan.settings
        labels = self.training.labels[places.to(self.compute.device)]
        draws = Draws(seed, self.step, count, self.world.share(count))
        images = augment.augment(images, self.plan.augment, draws, places, epoch)
        images = augment.shrink(images, optimizer.size(settings, images.shape[1], self.way))
        images, targets = mixing.mix(images, labels, settings, seeds.derive(seed, seeds.MIX, self.step))
        torch.manual_seed(seeds.derive(seed, seeds.DROPOUT, self.step, self.world.rank))
        # Gradients are averaged over processes, whose shares may differ by an image.
        loss = self._descend(images, targets, len(labels) * self.world.size / count)
        if settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        share = self._share()
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate * share
        for each in self.optimizers:
            each.step()
        if self.judged is not self.network:
            averaging.blend(self.judged, self.network, settings.average, self.step)
        self.loss += loss / self.world.size
        self.step += 1

    def _share(self) -> float:
        """Return the share of the peak learning rate for this step: that of its middle, so that none is zero."""
        accuracies = [epoch.validation_accuracy for epoch in self.history]
        return optimizer.share(self.plan.settings, min(1.0, self.way + 0.5 / self.total), accuracies)

    def _descend(self, images: Tensor, targets: Targets, factor: float) -> Tensor:
        """Compute gradients, in as many parts as memory needs, and return the loss, both multiplied by `factor`."""
        while True:
            try:
                return self._backward(images, targets, factor, self.most)
            except RuntimeError as error:
                if reason := device.refusal(error):
                    raise DarkroomError(reason) from error
                if not device.out_of_memory(error):
                    raise
            if self.world.size > 1:  # the others are waiting in this step, so nothing can be tried again
                raise DarkroomError(
                    f"batches of {self.plan.batch_size} over {self.world.size} processes do not fit into the memory of "
                    f"{self.compute.device.type}: set batch_size to {self.plan.batch_size // 2} or start more processes"
                )
            self.most = min(self.most, len(images)) // 2
            if not self.plan.training.accumulate or self.most < 2:
                self._refuse_batch(images, targets)

    def _backward(self, images: Tensor, targets: Targets, factor: float, most: int) -> Tensor:
        """Go through a batch in even parts of at most `most` images, but of two or more, as batch norm needs."""
        self.network.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        parts = min(math.ceil(len(images) / most), max(1, len(images) // 2))
        for rows in torch.arange(len(images)).tensor_split(parts):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            with self.compute.autocast():
                logits = self.model(images[part])
            loss = targets.part(part).loss(logits, self.weights, self.plan.settings.label_smoothing)
            loss = loss * (factor * len(rows) / len(images))
            loss.backward()
            total += loss.detach()
        return total

    def _refuse_batch(self, images: Tensor, targets: Targets) -> NoReturn:
        """Find how many images fit, and say so."""
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
            f"a batch of {asked} images does not fit into the memory of {self.compute.device.type}, {fits} would: "
            f"set batch_size to {fits}, or accumulate: true to take it in parts"
        )

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
        if self.plan.settings.schedule in optimizer.FALLING and self.best.epoch:
            return math.sqrt(self.best.accuracy * (1 - self.best.accuracy) / len(self.validation))
        return 0.0

    def _out_of_patience(self) -> bool:
        patience, accuracies = self.plan.settings.patience, [epoch.validation_accuracy for epoch in self.history]
        return patience is not None and optimizer.waited(accuracies) >= patience


def _divergence(epoch: int, loss: float, plan: Plan) -> DarkroomError:
    return DarkroomError(
        f"training diverged: the loss of epoch {epoch} is {loss:.3g}. Lower learning_rate, "
        f"now {plan.settings.learning_rate}, for example to {plan.settings.learning_rate / 4:g}"
    )
