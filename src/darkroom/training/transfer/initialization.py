"""Initialisation of a network from pretrained weights, with a new last layer."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from darkroom import packed
from darkroom.candidate import Folds
from darkroom.training.engine import optimizer
from darkroom.training.engine.jobs import Job
from darkroom.training.engine.session import Context, Start
from darkroom.training.networks.network import Network
from darkroom.training.settings import Method, TransferSettings
from darkroom.training.transfer import features, folds, probe, weights
from darkroom.training.transfer.features import FeatureCache, Features, View
from darkroom.training.transfer.origin import read_origin

FEW = 5_000
"""Number of training images below which `auto` does not fine-tune, and batch norms keep their statistics."""
LEVELS = 8
"""Number of steps in which the learning rate decreases from the topmost to the lowest pretrained layers."""


@dataclass(frozen=True)
class Source:
    """Paths and options of a transfer, from its stage's arguments."""

    pretrained: Path
    cache: Path
    """Cache folder of features."""
    folds: int
    """Number of folds for evaluating a probe, or 0."""


def start(source: Source, job: Job, settings: TransferSettings, context: Context) -> Start:
    """Return the network of `source.pretrained` with a new head, fitted to its frozen features.

    The method probe ends there. Otherwise the whole network is then trained (Kumar et al., arXiv 2202.10054): the head
    with the full learning rate, the pretrained layers with a lower one, which decreases towards the input. The
    normalisation is the one that the pretrained layers were trained with.

    Raises DarkroomError when the weights do not fit the network.
    """
    begin = time.perf_counter()
    classes, count = len(context.split.classes), len(context.training)
    whole, description, words = weights.read(source.pretrained, settings, classes, context.training.size, job.seed)
    method, reason = choose(settings.method, count, context.compute.device.type)
    whole.frozen_norms = settings.norms == "frozen" or (settings.norms == "auto" and count < FEW)
    if context.world.is_main and not job.quiet:
        print(f"{job.name}: {method}, {reason}", flush=True)
    origin = read_origin(source.pretrained)
    spent = time.perf_counter() - begin
    with_folds = method == "probe"
    head, scored, seconds = context.world.run_on_main("probe", lambda: _probe(source, job, whole, context, with_folds))
    if context.world.is_main and not job.quiet:
        print(f"{job.name}: last layer with L2 penalty {head.strength:g}, validation accuracy {head.accuracy:.1%}")
    _write(head, whole.model)
    return Start(
        network=whole,
        groups=optimizer.groups(shares(whole.model, settings), settings),
        description=description,
        architecture=words,
        epochs=method != "probe",
        include_start=method == "probe+finetune",
        facts={
            "method": method,
            "strength": head.strength,
            "weights": origin.weights,
            "weights_sha256": origin.sha256,
        },
        extras={"folds.json": asdict(scored)} if scored else {},
        seconds=spent + seconds,
        accuracy=head.accuracy,
    )


def choose(method: Method, images: int, device: str) -> tuple[Method, str]:
    """Return the method for this number of training images and this device, and the reason."""
    if method != "auto":
        return method, "as set in params.yaml"
    if images < FEW:
        return "probe", f"because {images:,} training images are fewer than {FEW:,}, too few for fine-tuning"
    if device == "cpu":
        return "probe", "because fine-tuning the whole network needs a GPU"
    return "probe+finetune", f"because there are {images:,} training images and a GPU"


def _probe(
    source: Source, job: Job, whole: Network, context: Context, with_folds: bool
) -> tuple[probe.Head, Folds | None, float]:
    """Fit a head to the features of the images and, if `flip` is set, of their flipped views.

    The third value is the time in seconds for features and head, as if nothing had been cached; folds, which are only
    for evaluation, are not included.
    """
    begin, spared = time.perf_counter(), 0.0
    whole.to(context.compute.device)
    rows = {name: context.split.rows(name) for name in ("train", "validation")}
    views: list[View] = ["plain", "mirrored"] if job.augment.flip else ["plain"]
    classes, layer = len(context.split.classes), _head(whole.model)
    most = probe.most_images(layer.in_features * len(views), classes)
    chosen = probe.sample(context.split.labels[rows["train"]], most, job.seed)
    if len(chosen) < len(rows["train"]) and not job.quiet:
        print(f"{job.name}: fitted to {len(chosen):,} of {len(rows['train']):,} training images, stratified by class")
    rows["train"] = rows["train"][chosen]
    cache = FeatureCache(
        source.cache,
        features.fingerprint(whole, context.compute),
        packed.pixels_checksum(job.packed),
        len(context.split.labels),
    )
    parts = {"train": context.training.subset(chosen), "validation": context.validation}

    def seen(name: str, view: View) -> Features:
        nonlocal spared
        spared += cache.spent(view, rows[name])
        return features.extract(whole, parts[name], rows[name], view, cache, context.compute)

    labels = {name: context.split.labels[rows[name]] for name in rows}
    balanced = job.training.balance != "none"
    training = np.concatenate([seen("train", view) for view in views])
    targets, evaluated = np.tile(labels["train"], len(views)), (seen("validation", "plain"), labels["validation"])
    head = probe.fit((training, targets), evaluated, classes, balanced, layer.bias is not None)
    seconds = time.perf_counter() - begin + spared
    if not (with_folds and source.folds):
        return head, None, seconds
    both = [np.concatenate([seen("train", view), seen("validation", view)]) for view in views]
    numbers = context.split.groups[np.concatenate([rows["train"], rows["validation"]])]
    truth = np.concatenate([labels["train"], labels["validation"]])
    options = (source.folds, job.seed, balanced, layer.bias is not None)
    return head, folds.evaluate(both[0], both[1:], truth, numbers, classes, head, *options), seconds


def _head(model: nn.Module) -> nn.Linear:
    layer = model.get_submodule("head")
    assert isinstance(layer, nn.Linear)
    return layer


def _write(head: probe.Head, model: nn.Module) -> None:
    head.write(_head(model), float(getattr(model, "scale", 1.0)))


def shares(model: nn.Module, settings: TransferSettings) -> list[tuple[nn.Module, float]]:
    """Return parts of the network with their relative learning rates, which decrease evenly from layer to layer."""
    old = list(model.get_submodule("features").parameters())
    levels: list[list[nn.Parameter]] = [[] for _ in range(LEVELS)]
    for place, parameter in enumerate(old):
        levels[place * LEVELS // len(old)].append(parameter)
    rates = [settings.backbone_factor * settings.lower_factor ** (1 - level / (LEVELS - 1)) for level in range(LEVELS)]
    parts = [(nn.ParameterList(part), share) for part, share in zip(levels, rates, strict=True)]
    return [*parts, (_head(model), 1.0)]
