"""One training run, from packed images to a complete candidate folder, for networks from scratch and by transfer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from darkroom import candidate, neighbors, packed
from darkroom.candidate import Card, Predictions
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.neighbors import Index
from darkroom.packed import SPLITS, Split
from darkroom.training.augmentation import augment
from darkroom.training.engine import batches, callbacks, checkpoint, device, distributed, indexing, scoring, seeds
from darkroom.training.engine.batches import Data, Place
from darkroom.training.engine.checkpoint import Checkpointer, Key
from darkroom.training.engine.device import Compute
from darkroom.training.engine.distributed import World
from darkroom.training.engine.jobs import Job
from darkroom.training.engine.loop import Callback, Plan, Trainer
from darkroom.training.engine.seeds import Draws
from darkroom.training.networks import export, layers
from darkroom.training.networks.network import Network


@dataclass(frozen=True)
class Context:
    """What a training run starts from: parameters, data, device and processes."""

    job: Job
    training: Data
    validation: Data
    test: Data
    split: Split
    place: Place
    """Where the images lie."""
    fingerprint: str
    """SHA-256 over the packed images and the split."""
    compute: Compute
    world: World


@dataclass(frozen=True)
class Start:
    """The initial network of a training run."""

    network: Network
    groups: list[dict[str, object]]
    """Parameter groups for the optimiser."""
    description: dict[str, Any]
    """The card's `network`: how to build it again."""
    architecture: str
    """The card's description of the network."""
    epochs: bool = True
    """Whether the network is trained by epochs; otherwise it is already fitted."""
    include_start: bool = False
    """Whether the initial network is kept if no epoch is as good."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Values that the card adds to the parameters, or that replace them."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Additional JSON files of the candidate, by name."""
    seconds: float = 0.0
    """Time spent so far."""
    accuracy: float | None = None
    """Validation accuracy of the initial network; None if its weights are random."""
    out_of_fold: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None
    """Out-of-fold logits of the training and of the validation images, if the network was fitted to both."""
    features: tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]] | None = None
    """Positions of training images and their features, shape (positions, values), if they are known: of all training
    images if there are out-of-fold logits."""


@contextmanager
def opened(job: Job) -> Iterator[Context]:
    """Yield what a training run starts from, in the only process or in one of several.

    Raises DarkroomError when the device is not available or memory is full, and for an error in the block that says so.
    With several processes none goes on behind the block.
    """
    world = distributed.launched()
    compute = device.choose(job.device, job.deterministic, world)
    identity = device.identity(compute.device)
    with distributed.joined(world, compute.device, identity) as world, device.memory_refused(compute.device):
        yield _context(job, world, compute)
    if world.size > 1:
        distributed.leave()


def _context(job: Job, world: World, compute: Compute) -> Context:
    images, split = packed.open_images(job.packed), packed.read_split(job.split)
    if len(split.labels) != len(images):
        raise DarkroomError(
            f"{job.split} has {len(split.labels):,} rows and {job.packed} {len(images):,} images, so they do "
            "not belong together: run dvc repro to rebuild both"
        )
    fingerprint = packed.fingerprint(job.packed, job.split)
    _agree(job, fingerprint, world)
    place = batches.place(images.nbytes, compute.device, world.local_size)
    training, validation, test = (batches.load(images, split, name, compute.device, place) for name in SPLITS)
    return Context(job, training, validation, test, split, place, fingerprint, compute, world)


def train(context: Context, start: Start, out: Path) -> None:
    """Train the network of `start` and write the candidate `out`, whole or not at all.

    Raises DarkroomError when training diverges.
    """
    job, training, world = context.job, context.training, context.world
    start.network.to(context.compute.device)
    plan = _plan(job, len(training), world)
    checkpointer = Checkpointer(job.checkpoints / f"{job.name}.pt", _key(plan, start, context), job.every)
    checkpoint.clean(job.checkpoints, job.models)
    trainer = _trainer(start, context, plan) if start.epochs else None
    if not world.is_main:
        if trainer:
            trainer.run(Callback(), checkpointer)
        return
    with files.whole_directory(out) as folder:
        done = Done(start.seconds)
        if trainer:
            _write_augmented(folder, training, plan)
            if not job.quiet:
                print(_start_message(plan, context), flush=True)
            done = _run(job, trainer, checkpointer, start, folder)
        network = start.network
        index, similarity = indexing.index_training(
            network, training, context.split, context.compute, job.seed, start.features, start.out_of_fold is not None
        )
        neighbors.write(folder, index)
        candidate.write_predictions(folder, _predict(start, context, index, similarity))
        export.write_weights(folder / "weights.safetensors", network)
        export.write_onnx(folder / "model.onnx", network, training.size)
        for name, content in start.extras.items():
            files.write_json(folder / name, content)
        candidate.write_card(folder, _card(plan, start, context, done))
    checkpointer.clear()


def _predict(start: Start, context: Context, index: Index, similarity: npt.NDArray[np.float32] | None) -> Predictions:
    """Return the predictions of the trained network; those of images that it was fitted to are out-of-fold."""
    validation, test = (scoring.predict(start.network, part, index) for part in (context.validation, context.test))
    similarities = validation.similarity, test.similarity, similarity
    if start.out_of_fold is None:
        return Predictions(validation.logits, test.logits, None, None, *similarities)
    training, held_out = start.out_of_fold
    return Predictions(held_out, test.logits, training, validation.logits, *similarities)


@dataclass(frozen=True)
class Done:
    """Result of a training run; without epochs only its time."""

    seconds: float
    epochs: int = 0
    best: int = 0


def _trainer(start: Start, context: Context, plan: Plan) -> Trainer:
    data = (context.training, context.validation)
    trainer = Trainer(start.network, start.groups, data, plan, context.compute, context.world)
    if start.include_start:
        trainer.include_start()
    return trainer


def _run(job: Job, trainer: Trainer, checkpointer: Checkpointer, start: Start, folder: Path) -> Done:
    """Train to the end, with curves in `folder`, and print the result."""
    with callbacks.logged(job.name, folder / "history", trainer.plan.epochs, job.quiet, start.accuracy) as callback:
        best = trainer.run(callback, checkpointer)
    seconds = start.seconds + trainer.seconds
    if not job.quiet:
        kept = f"best epoch {best} of {len(trainer.history)}" if best else "no epoch was better than the start"
        accuracy = trainer.history[best - 1].validation_accuracy if best else trainer.best.accuracy
        before = "" if start.accuracy is None else f" (last layer alone {start.accuracy:.1%})"
        print(f"{job.name}: {kept}, validation accuracy {accuracy:.1%}{before}, {seconds:.0f} s")
    return Done(seconds, len(trainer.history), best)


def _plan(job: Job, count: int, world: World) -> Plan:
    epochs = max(1, round(job.training.epochs * job.settings.epochs_factor))
    batch_size = batches.fitting_size(count, job.batch_size, batches.smallest(world.size))
    if min(batch_size, count) < 2 * world.size:
        raise DarkroomError(
            f"launch starts {world.size} processes, and batches of {min(batch_size, count)} images have fewer than two "
            f"for each: start {max(1, min(batch_size, count) // 2)}, or set batch_size to {2 * world.size} or more"
        )
    return Plan(job.settings, job.augment, job.training, epochs, batch_size, job.seed)


def _key(plan: Plan, start: Start, context: Context) -> Key:
    """Return the key that a checkpoint must match to be resumed.

    With few images, batch size and steps depend on the number of processes, so they are part of the parameters.
    """
    processes = context.world.size
    steps = batches.steps(len(context.training), plan.batch_size, batches.smallest(processes))
    sizes = [plan.batch_size, steps]
    parameters = json.dumps([start.facts.get("weights_sha256"), context.job.parameters, sizes], sort_keys=True)
    machine = ", ".join([*device.describe(context.compute).values(), f"{processes} processes"])
    return Key(checkpoint.digest(parameters), context.fingerprint, checkpoint.code(), machine)


def _agree(job: Job, fingerprint: str, world: World) -> None:
    """Raise DarkroomError if processes differ in parameters, data or code: they would deadlock or diverge."""
    mine = {"parameters": job.parameters, "data": fingerprint, "code": checkpoint.code()}
    for rank, other in enumerate(found := world.collect(mine)):
        if names := [name for name in mine if other[name] != found[0][name]]:
            raise DarkroomError(
                f"process {rank} of {world.size} has different {' and '.join(names)} from process 0: use the same "
                "commit and the same dvc pull on all machines"
            )


def _start_message(plan: Plan, context: Context) -> str:
    """Return the start message."""
    training, compute, asked = context.training, context.compute, context.job.batch_size
    where = {"device": f"from the memory of {compute.device.type}", "memory": "from memory", "file": "from the file"}
    processes = f", {context.world.size} processes" if context.world.size > 1 else ""
    fewer = f" instead of {asked} (few images)" if plan.batch_size < asked else ""
    return (
        f"{len(training):,} images of {training.size} pixels {where[context.place]}, "
        f"batches of {plan.batch_size}{fewer}, {compute.words}{processes}"
    )


def _card(plan: Plan, start: Start, context: Context, done: Done) -> Card:
    job, network = context.job, start.network
    return Card(
        name=job.name,
        kind=job.kind,
        architecture=start.architecture,
        classes=context.split.classes,
        image_size=context.training.size,
        fit=packed.read_fit(job.packed),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        data=context.fingerprint,
        training={**(_recipe(job, plan) if start.epochs else _probe_recipe(job)), "seed": job.seed, **start.facts},
        seconds=round(done.seconds, 2),
        epochs=done.epochs,
        best_epoch=done.best,
        mean=_rounded(network.mean),
        std=_rounded(network.std),
        environment=device.describe(context.compute),
        network=start.description,
        layers=layers.describe(network, context.training.size),
    )


def _recipe(job: Job, plan: Plan) -> dict[str, Any]:
    """Return the parameters of training by epochs."""
    sizes = {"epochs": plan.epochs, "batch_size": plan.batch_size}
    return {**job.settings.model_dump(), **job.training.model_dump(), **sizes, "augment": job.augment.model_dump()}


def _probe_recipe(job: Job) -> dict[str, Any]:
    """Return the parameters that a probe depends on; it has no optimiser, no schedule and no batches."""
    kept = job.settings.model_dump(include={"architecture", "input_size"})
    return {**kept, "balance": job.training.balance, "augment": {"flip": bool(job.augment.flip)}}


def _write_augmented(out: Path, training: Data, plan: Plan) -> None:
    """Draw up to 64 images of the first step, after augmentation."""
    chances = batches.balance(training, plan.training.balance)[1]
    positions = batches.order(training, plan.batch_size, seeds.generator(plan.seed, seeds.ORDER, 1), chances)[0]
    positions = positions.to(training.device)
    draws = Draws(plan.seed, 0, len(positions), device=training.device)
    images = augment.augment(training.take(positions), plan.augment, draws, positions, 1)
    export.write_montage(out / "augmented.png", images)


def _rounded(tensor: torch.Tensor) -> list[float]:
    return [round(float(value), 4) for value in tensor.flatten()]
