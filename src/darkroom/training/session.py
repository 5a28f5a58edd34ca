"""One training from packed images to a whole candidate folder, for networks from scratch and by transfer."""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from dvclive.live import Live

from darkroom import candidate, packed, params
from darkroom.candidate import Card, Kind, Predictions
from darkroom.errors import DarkroomError
from darkroom.training import augment, batches, device, export, loop
from darkroom.training.batches import Data
from darkroom.training.loop import Epoch, Plan
from darkroom.training.network import Network
from darkroom.training.settings import (
    AugmentSettings,
    Device,
    ScratchSettings,
    TrainingSettings,
    TransferSettings,
)


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what, with what."""

    name: str
    kind: Kind
    settings: ScratchSettings | TransferSettings
    augment: AugmentSettings
    training: TrainingSettings
    seed: int
    device: Device
    packed: Path
    split: Path


def parser(description: str, section: str) -> argparse.ArgumentParser:
    """Return the command line that all training stages share; `section` is where NAME is looked up."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("name", help=f"an entry of {section} in params.yaml")
    result.add_argument("--params", type=Path, default=Path("params.yaml"))
    result.add_argument("--dataset", required=True, help="an entry of datasets in params.yaml")
    result.add_argument("--packed", type=Path, required=True)
    result.add_argument("--split", type=Path, required=True)
    result.add_argument("--out", type=Path, required=True)
    return result


def job(arguments: argparse.Namespace, kind: Kind, settings: ScratchSettings | TransferSettings) -> Job:
    """Return the job of a command line; raises DarkroomError for a wrong parameter."""
    path, data_set = arguments.params, f"datasets.{arguments.dataset}"
    return Job(
        name=arguments.name,
        kind=kind,
        settings=settings,
        augment=params.load(path, AugmentSettings, f"{data_set}.augment"),
        training=params.load(path, TrainingSettings, f"{data_set}.training"),
        seed=params.load(path, int, "seed"),
        device=params.load(path, Device, "device"),
        packed=arguments.packed,
        split=arguments.split,
    )


@dataclass(frozen=True)
class Start:
    """Where a training begins."""

    network: Network
    groups: list[dict[str, object]]
    """Parameter groups for the optimiser."""
    description: dict[str, Any]
    """The card's `network`: how to build it again."""
    architecture: str
    """The card's line for people."""


Begin = Callable[[Data, int], Start]
"""From the training data and the number of classes to the start."""


def fit(job: Job, begin: Begin, out: Path) -> Card:
    """Train and write the candidate into the existing folder `out`; returns its card.

    Raises DarkroomError when the device is missing or training diverges.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DarkroomError(
            f"launch started {os.environ['WORLD_SIZE']} processes, and training takes one: set it to python"
        )
    clock = time.perf_counter()
    compute = device.choose(job.device)
    data = packed.open_packed(job.packed)
    split = packed.read_split(job.split)
    training, validation = (batches.load(data, split, name, compute.device) for name in ("train", "validation"))
    start = begin(training, len(split.classes))
    network = start.network.to(compute.device)
    epochs = max(1, round(job.training.epochs * job.settings.epochs_factor))
    batch_size = batches.fitting_size(len(training), job.training.batch_size)
    if batch_size < job.training.batch_size:
        print(
            f"batches of {batch_size} instead of {job.training.batch_size}: there are {len(training)} training images"
        )
    plan = Plan(job.settings, job.augment, epochs, batch_size, job.seed, job.training.balance)
    _write_augmented(out, training, plan)
    with Live(str(out / "history"), dvcyaml=None, save_dvc_exp=False, report=None) as live:
        best = loop.train(network, start.groups, (training, validation), plan, compute, _reporter(live, plan))
    test = batches.load(data, split, "test", compute.device)
    logits = [loop.predict(network, part.images).numpy() for part in (validation, test)]
    candidate.write_predictions(out, Predictions(*logits))
    export.write_weights(out / "weights.safetensors", network)
    export.write_onnx(out / "model.onnx", network, data.images.shape[1])
    card = Card(
        name=job.name,
        kind=job.kind,
        architecture=start.architecture,
        classes=split.classes,
        image_size=int(data.images.shape[1]),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        data=packed.fingerprint(job.packed, job.split),
        training={
            **job.settings.model_dump(),
            "epochs": epochs,
            "batch_size": plan.batch_size,
            "balance": plan.balance,
            "augment": job.augment.model_dump(),
            "seed": job.seed,
        },
        seconds=0.0,
        epochs=epochs,
        best_epoch=best,
        mean=_rounded(network.mean),
        std=_rounded(network.std),
        environment=device.describe(compute),
        network=start.description,
    )
    card = replace(card, seconds=round(time.perf_counter() - clock, 2))
    candidate.write_card(out, card)
    return card


def _reporter(live: Live, plan: Plan) -> Callable[[Epoch], None]:
    """Return what is done after every epoch: a line for people, and DVCLive's curves."""

    def report(epoch: Epoch) -> None:
        live.step = epoch.number
        live.log_metric("train/loss", epoch.train_loss)
        live.log_metric("validation/loss", epoch.validation_loss)
        live.log_metric("validation/accuracy", epoch.validation_accuracy)
        live.log_metric("learning_rate", epoch.learning_rate)
        live.make_summary()
        print(
            f"epoch {epoch.number:>3}/{plan.epochs}  loss {epoch.train_loss:.3f}  "
            f"validation loss {epoch.validation_loss:.3f}, accuracy {epoch.validation_accuracy:.1%}  "
            f"{epoch.images_per_second:,.0f} images/s",
            flush=True,
        )

    return report


def _write_augmented(out: Path, training: Data, plan: Plan) -> None:
    generator = torch.Generator().manual_seed(plan.seed)
    images, _ = next(batches.shuffled(training, min(64, len(training)), generator))
    export.write_montage(out / "augmented.png", augment.augment(images, plan.augment, generator))


def _rounded(tensor: torch.Tensor) -> list[float]:
    return [round(float(value), 4) for value in tensor.flatten()]
