"""One training from packed images to a whole candidate folder, for networks from scratch and by transfer."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darkroom import candidate, files, packed, params
from darkroom.candidate import Card, Kind, Predictions
from darkroom.errors import DarkroomError
from darkroom.packed import SPLITS, Split
from darkroom.training import (
    augment,
    batches,
    checkpoint,
    device,
    distributed,
    export,
    layers,
    scoring,
    seeds,
    watching,
)
from darkroom.training.batches import Data, Place
from darkroom.training.checkpoint import EVERY, Keeper, Key
from darkroom.training.device import Compute
from darkroom.training.distributed import World
from darkroom.training.loop import Plan, Trainer, Watch
from darkroom.training.network import Network
from darkroom.training.seeds import Draws
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
    deterministic: bool
    packed: Path
    split: Path
    checkpoints: Path
    """Folder for the state of a training that is broken off."""
    every: float
    """Seconds between two checkpoints."""
    models: list[str]
    """All that params.yaml trains: only theirs are checkpoints to keep."""
    quiet: bool


def parser(description: str, section: str) -> argparse.ArgumentParser:
    """Return the command line that all training stages share; `section` is where NAME is looked up."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("name", help=f"an entry of {section} in params.yaml")
    result.add_argument("--params", type=Path, default=Path("params.yaml"))
    result.add_argument("--dataset", required=True, help="an entry of datasets in params.yaml")
    result.add_argument("--packed", type=Path, required=True)
    result.add_argument("--split", type=Path, required=True)
    result.add_argument("--checkpoints", type=Path, required=True, help="folder that outlives a broken-off training")
    result.add_argument("--every", type=float, default=EVERY, help="seconds between two checkpoints")
    result.add_argument("--out", type=Path, required=True)
    result.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return result


def job(arguments: argparse.Namespace, kind: Kind, settings: ScratchSettings | TransferSettings) -> Job:
    """Return the job of a command line; raises DarkroomError for a wrong parameter."""
    path, data_set = arguments.params, f"datasets.{arguments.dataset}"
    document = params.read(path)
    return Job(
        name=arguments.name,
        kind=kind,
        settings=settings,
        augment=params.load(path, AugmentSettings, f"{data_set}.augment"),
        training=params.load(path, TrainingSettings, f"{data_set}.training"),
        seed=params.load(path, int, "seed"),
        device=params.load(path, Device, "device"),
        deterministic=params.load(path, bool, "deterministic"),
        packed=arguments.packed,
        split=arguments.split,
        checkpoints=arguments.checkpoints,
        every=arguments.every,
        models=[str(name) for section in ("scratch", "transfer") for name in document.get(section) or {}],
        quiet=arguments.quiet,
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


def train(job: Job, begin: Begin, out: Path) -> None:
    """Train and write the candidate `out`, whole or not at all; as one process, or as one of several.

    Raises DarkroomError when the device is missing, memory is full or training diverges.
    """
    world = distributed.launched()
    compute = device.choose(job.device, job.deterministic, world)
    with distributed.joined(world, compute.device), device.memory_refused(compute.device):
        data, split = packed.open_packed(job.packed), packed.read_split(job.split)
        place = batches.place(data.images.nbytes, compute.device, world.neighbours)
        training, validation, test = (batches.load(data, split, name, compute.device, place) for name in SPLITS)
        start = begin(training, len(split.classes))
        network = start.network.to(compute.device)
        plan = _plan(job, len(training), world)
        trainer = Trainer(network, start.groups, (training, validation), plan, compute, world)
        fingerprint = packed.fingerprint(job.packed, job.split)
        keeper = Keeper(job.checkpoints / f"{job.name}.pt", _key(job, plan, fingerprint, compute, world), job.every)
        checkpoint.clean(job.checkpoints, job.models)
        if not world.leads:
            trainer.run(Watch(), keeper)
            return
        if not job.quiet:
            print(_outset(plan, _asked(job), training, place, compute, world), flush=True)
        with files.whole_directory(out) as folder:
            _write_augmented(folder, trainer)
            with watching.watch(job.name, folder / "history", plan.epochs, job.quiet) as watch:
                best = trainer.run(watch, keeper)
            logits = [scoring.predict(network, part).numpy() for part in (validation, test)]
            candidate.write_predictions(folder, Predictions(*logits))
            export.write_weights(folder / "weights.safetensors", network)
            export.write_onnx(folder / "model.onnx", network, data.images.shape[1])
            candidate.write_card(folder, _card(job, plan, start, trainer, best, split, fingerprint))
        keeper.clear()
        if not job.quiet:
            chosen = trainer.history[best - 1]
            print(
                f"{job.name}: best epoch {best} of {len(trainer.history)}, validation accuracy "
                f"{chosen.validation_accuracy:.1%}, {trainer.seconds:.0f} s"
            )


def _plan(job: Job, count: int, world: World) -> Plan:
    epochs = max(1, round(job.training.epochs * job.settings.epochs_factor))
    batch_size = batches.fitting_size(count, _asked(job), max(batches.SMALLEST_BATCH, 2 * world.size))
    if min(batch_size, count) < 2 * world.size:
        raise DarkroomError(
            f"launch starts {world.size} processes, and batches of {min(batch_size, count)} images leave less than two "
            f"for each: start {max(1, min(batch_size, count) // 2)}, or set batch_size to {2 * world.size} or more"
        )
    return Plan(job.settings, job.augment, job.training, epochs, batch_size, job.seed)


def _asked(job: Job) -> int:
    """Return the batch size that the parameters name."""
    return job.settings.batch_size or job.training.batch_size


def _key(job: Job, plan: Plan, fingerprint: str, compute: Compute, world: World) -> Key:
    """Return what a checkpoint must agree with to be gone on from."""
    sections = [section.model_dump() for section in (job.settings, job.augment, job.training)]
    parameters = json.dumps([job.name, job.kind, plan.seed, job.deterministic, *sections], sort_keys=True)
    machine = ", ".join([*device.describe(compute).values(), f"{world.size} processes"])
    return Key(checkpoint.digest(parameters), fingerprint, checkpoint.code(), machine)


def _outset(plan: Plan, asked: int, training: Data, place: Place, compute: Compute, world: World) -> str:
    """Return the line that says what is about to happen."""
    where = {"device": f"from the memory of {compute.device.type}", "memory": "from memory", "file": "from the file"}
    processes = f", {world.size} processes" if world.size > 1 else ""
    fewer = f", not of {asked} since there are few images" if plan.batch_size < asked else ""
    return (
        f"{len(training):,} images of {training.size} pixels {where[place]}, batches of {plan.batch_size}{fewer}, "
        f"{compute.words}{processes}"
    )


def _card(job: Job, plan: Plan, start: Start, trainer: Trainer, best: int, split: Split, fingerprint: str) -> Card:
    network = start.network
    return Card(
        name=job.name,
        kind=job.kind,
        architecture=start.architecture,
        classes=split.classes,
        image_size=trainer.training.size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        data=fingerprint,
        training={
            **job.settings.model_dump(),
            **job.training.model_dump(),
            "epochs": plan.epochs,
            "batch_size": plan.batch_size,
            "augment": job.augment.model_dump(),
            "seed": job.seed,
        },
        seconds=round(trainer.seconds, 2),
        epochs=len(trainer.history),
        best_epoch=best,
        mean=_rounded(network.mean),
        std=_rounded(network.std),
        environment=device.describe(trainer.compute),
        network=start.description,
        layers=layers.describe(network, trainer.training.size),
    )


def _write_augmented(out: Path, trainer: Trainer) -> None:
    """Draw what the first step sees, up to 64 images of it."""
    plan, generator = trainer.plan, seeds.generator(trainer.plan.seed, seeds.ORDER, 1)
    places = batches.order(trainer.training, plan.batch_size, generator, trainer.chances)[0]
    images = augment.augment(trainer.training.take(places), plan.augment, Draws(plan.seed, 0, len(places)), places, 1)
    export.write_montage(out / "augmented.png", images)


def _rounded(tensor: torch.Tensor) -> list[float]:
    return [round(float(value), 4) for value in tensor.flatten()]
