"""Initialisation of a network from pretrained weights, with a new last layer."""

import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from darkroom.candidate import Folds
from darkroom.training.engine import optimizer
from darkroom.training.engine.session import Context, Start
from darkroom.training.networks.network import Network
from darkroom.training.settings import Method, TransferSettings
from darkroom.training.transfer import features, folds, out_of_fold, probe, weights
from darkroom.training.transfer.cache import FeatureCache, Features
from darkroom.training.transfer.features import View
from darkroom.training.transfer.origin import read_origin
from darkroom.training.transfer.probe import Floats

FEW = 5_000
"""Number of training images below which batch norms keep their statistics."""
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


@dataclass(frozen=True)
class Pretrained:
    """A network with pretrained weights, before its new last layer is fitted."""

    network: Network
    description: dict[str, Any]
    """The card's `network`."""
    words: str
    """The card's description of the network."""
    seconds: float


def load(source: Source, settings: TransferSettings, context: Context) -> Pretrained:
    """Return the network of `source.pretrained`, normalised as the images that its weights were trained on.

    Raises DarkroomError when the weights do not fit the network.
    """
    begin = time.perf_counter()
    classes, size = len(context.split.classes), context.training.size
    whole, description, words = weights.read(source.pretrained, settings, classes, size, context.job.seed)
    whole.frozen_norms = settings.norms == "frozen" or (settings.norms == "auto" and len(context.training) < FEW)
    return Pretrained(whole, description, words, time.perf_counter() - begin)


@dataclass(frozen=True)
class Probed:
    """A head, fitted to the features of the images and, if `flip` is set, of their flipped views."""

    head: probe.Head
    """Its accuracy is that on the validation images, out-of-fold if it was fitted to them."""
    validation: Floats
    """Logits of the validation images, shape (images, classes), out-of-fold if it was fitted to them."""
    out_of_fold: tuple[Floats, Floats] | None
    """Out-of-fold logits of the training and validation images; None if it was fitted to the training images only."""
    folds: Folds | None
    features: tuple[npt.NDArray[np.int64], Features]
    """Positions in the training split of the images that it was fitted to, and their features."""
    seconds: float
    """Time for features and head, as if nothing had been cached; `folds`, only for evaluation, is not included."""


def fit(source: Source, pretrained: Pretrained, context: Context, *, final: bool) -> Probed:
    """Fit a head; one that is not `final`, but the start of fine-tuning, never sees the validation images."""
    begin, job, whole = time.perf_counter(), context.job, pretrained.network
    whole.to(context.compute.device)
    rows = {name: context.split.rows(name) for name in ("train", "validation")}
    views: list[View] = ["plain", "mirrored"] if job.augment.flip else ["plain"]
    classes, layer = len(context.split.classes), _head(whole.model)
    values, options = layer.in_features * len(views), (job.training.balance != "none", layer.bias is not None)
    chosen = probe.sample(context.split.labels[rows["train"]], probe.most_images(values, classes), job.seed)
    if len(chosen) < len(rows["train"]) and not job.quiet:
        print(f"{job.name}: fitted to {len(chosen):,} of {len(rows['train']):,} training images, stratified by class")
    complete = len(chosen) == len(rows["train"])
    rows["train"] = rows["train"][chosen]
    parts = {"train": context.training.subset(chosen), "validation": context.validation}
    known = {name: features.hashes(part) for name, part in parts.items()}
    extractor = features.Extractor(
        whole, pretrained.description["architecture"], FeatureCache(source.cache), context.compute
    )

    @cache
    def seen(name: str, view: View) -> Features:
        return extractor.extract(parts[name], known[name], view)

    def together() -> list[Features]:
        return [np.concatenate([seen(name, view) for name in parts]) for view in views]

    count = len(rows["train"])
    both = np.concatenate([rows["train"], rows["validation"]])
    labels, groups = context.split.labels[both], context.split.groups[both]
    divided, logits = [], None
    if final and complete and out_of_fold.suits(count, len(both) - count, values, classes):
        divided = out_of_fold.divide(labels, groups, classes, job.seed)
    if divided:
        fitted = out_of_fold.fit(together(), labels, divided, classes, *options)
        logits = fitted.logits[:count], fitted.logits[count:]
        answers = logits[1]
        head = replace(fitted.head, accuracy=float((answers.argmax(axis=1) == labels[count:]).mean()))
    else:
        training = np.concatenate([seen("train", view) for view in views]), np.tile(labels[:count], len(views))
        validation = seen("validation", "plain"), labels[count:]
        head = probe.fit(training, validation, classes, *options, probe.STRENGTHS if final else probe.USUAL)
        answers = validation[0].astype(np.float32) @ head.weight.T + head.bias
    if not job.quiet:
        how = ", out-of-fold; fitted to training and validation images" if divided else ""
        print(f"{job.name}: last layer with L2 penalty {head.strength:g}, validation accuracy {head.accuracy:.1%}{how}")
    seconds, scored = time.perf_counter() - begin + extractor.seconds, None
    if final and source.folds:
        plain, *others = together()
        scored = folds.evaluate(plain, others, labels, groups, classes, head, source.folds, job.seed, *options)
    return Probed(head, answers, logits, scored, (chosen, seen("train", "plain")), seconds)


def start(source: Source, settings: TransferSettings, pretrained: Pretrained, probed: Probed, method: Method) -> Start:
    """Return the pretrained network with the new head of `probed`, fitted to its frozen features.

    The method probe ends there. Otherwise the whole network is then trained (Kumar et al., arXiv 2202.10054): the head
    with the full learning rate, the pretrained layers with a lower one, which decreases towards the input.
    """
    head, origin = probed.head, read_origin(source.pretrained)
    _write(head, pretrained.network.model)
    return Start(
        network=pretrained.network,
        groups=optimizer.groups(shares(pretrained.network.model, settings), settings),
        description=pretrained.description,
        architecture=pretrained.words,
        epochs=method != "probe",
        include_start=method == "probe+finetune",
        facts={
            "method": method,
            "strength": head.strength,
            **({"refitted": True} if probed.out_of_fold else {}),
            "weights": origin.shown,
            "weights_sha256": origin.sha256,
            **({} if origin.licence is None else {"weights_licence": origin.licence}),
        },
        extras={"folds.json": asdict(probed.folds)} if probed.folds else {},
        seconds=pretrained.seconds + probed.seconds,
        accuracy=head.accuracy,
        out_of_fold=probed.out_of_fold,
        features=probed.features if method == "probe" else None,
    )


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
