"""The training loop: plain PyTorch, every step on the device, the best epoch kept."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from darkroom.candidate import chunk_size
from darkroom.errors import DarkroomError
from darkroom.training import augment, batches, optimizer
from darkroom.training.batches import Data
from darkroom.training.device import Compute
from darkroom.training.settings import AugmentSettings, Balance, RecipeSettings


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
    epochs: int
    batch_size: int
    seed: int
    balance: Balance = "none"


def train(
    network: nn.Module,
    groups: list[dict[str, object]],
    data: tuple[Data, Data],
    plan: Plan,
    compute: Compute,
    report: Callable[[Epoch], None],
) -> int:
    """Train `network` in place and leave it with the weights of its best epoch, whose number is returned.

    `groups` are the parameter groups that learn, `data` is (train, validation). The best epoch is that of the
    highest validation accuracy, the last of several equal ones: the loss would not do, since label smoothing
    raises it while the network still gets better. `report` is called after every epoch.

    Raises DarkroomError when the loss is no longer finite.
    """
    training, validation = data
    optim = optimizer.build(groups, plan.settings)
    total = plan.epochs * batches.steps(len(training), plan.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optim, optimizer.schedule(plan.settings, total))
    average = _average(network, plan.settings.average)
    judged = average.module if average else network
    generator = torch.Generator().manual_seed(plan.seed)
    weights, chances = _balance(training, plan.balance)
    best, best_accuracy, best_state = 0, -1.0, judged.state_dict()
    for number in range(1, plan.epochs + 1):
        begin = time.perf_counter()
        network.train()
        losses: list[Tensor] = []
        for images, labels in batches.shuffled(training, plan.batch_size, generator, chances):
            images = augment.augment(images, plan.augment, generator)
            with compute.autocast():
                logits = network(images)
            smoothing = plan.settings.label_smoothing
            loss = functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()
            scheduler.step()
            if average:
                average.update_parameters(network)
            losses.append(loss.detach())
        train_loss = float(torch.stack(losses).mean())
        speed = len(training) / (time.perf_counter() - begin)
        validation_loss, accuracy = score(judged, validation, compute)
        _refuse_divergence(number, train_loss, plan)
        rate = float(scheduler.get_last_lr()[0])
        report(Epoch(number, train_loss, validation_loss, accuracy, rate, speed))
        if accuracy >= best_accuracy:
            best, best_accuracy, best_state = number, accuracy, copy.deepcopy(judged.state_dict())
    network.load_state_dict(best_state)
    return best


@torch.inference_mode()
def score(network: nn.Module, data: Data, compute: Compute) -> tuple[float, float]:
    """Return (cross-entropy in nats, accuracy 0 to 1), in the precision that trains."""
    network.eval()
    with compute.autocast():
        logits = torch.cat([network(images) for images in torch.split(data.images, chunk_size(data.images.shape[1]))])
    loss = functional.cross_entropy(logits, data.labels)
    return float(loss), float((logits.argmax(1) == data.labels).float().mean())


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Return float32 logits, shape (N, classes), on the processor: these are judged, and served within 1e-5.

    So a GPU must not round to TF32 here, as cuDNN does by default, and Apple's does not compute at all.
    """
    network.eval()
    if images.device.type == "mps":
        network, images = network.cpu(), images.cpu()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        chunks = torch.split(images, chunk_size(images.shape[1]))
        return torch.cat([network(chunk) for chunk in chunks]).cpu()


def _balance(training: Data, balance: Balance) -> tuple[Tensor | None, Tensor | None]:
    """Return the class weights for the loss and those for drawing images; None is no change to either."""
    if balance == "none":
        return None, None
    weights = batches.class_weights(training, int(training.labels.max()) + 1)
    return (weights, None) if balance == "weights" else (None, weights)


def _average(network: nn.Module, decay: float) -> AveragedModel | None:
    """Return the exponential average of weights and statistics (Polyak and Juditsky 1992), or None at decay 0.

    The decay rises from 0.1 to `decay`, so that the random start is soon forgotten.
    """
    if decay == 0:
        return None

    def blend(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        share = min(decay, (1 + float(count)) / (10 + float(count)))
        return averaged.lerp(current, 1 - share) if averaged.is_floating_point() else current

    return AveragedModel(network, avg_fn=blend, use_buffers=True)


def _refuse_divergence(epoch: int, loss: float, plan: Plan) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise DarkroomError(
            f"training diverged: the loss of epoch {epoch} is {loss}. Lower learning_rate, "
            f"now {plan.settings.learning_rate}, for example to {plan.settings.learning_rate / 4:g}"
        )
