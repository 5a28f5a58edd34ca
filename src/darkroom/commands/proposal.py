"""Values of `params.yaml` that suit a user's images, with reasons."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from darkroom import packed
from darkroom.commands.weights import Weights
from darkroom.data.settings import FolderSource, SplitSettings
from darkroom.data.split import splitting
from darkroom.data.surveying import Survey
from darkroom.foundations import naming
from darkroom.schema import Document
from darkroom.training.settings import TransferSettings

SIZES = (224, 160, 128, 96)
"""Sides in pixels for a network pretrained on ImageNet, where images are too small for its own, which is the best.
Images smaller than the last one are not treated as photographs."""
SMALL = 48
"""Up to this median shorter side in pixels, images are resized to 32 pixels."""
BACKBONE = "efficientnet_lite0"
"""The smallest network whose weights are installed with the environment: 14 MB, a few milliseconds per image."""
SCRATCH = "resnet9"
"""The network for small images."""
FEW = 300
"""Number of validation images below which folds are proposed, because selecting a model on so few is unreliable."""
FOLDS = 5
BURSTS = 0.05
"""Fraction of the images in bursts from which on scenes are proposed."""
ONE_WAY = re.compile(
    r"[0-9A-Za-z]|.*(?<![a-z])(digit|letter|number|text|left|right|(anti|counter)?clockwise|arrow)s?(?![a-z]).*",
    re.IGNORECASE,
)
"""Names of classes whose images must not be mirrored. Whole words only, so that "arrow" does not match "sparrow"."""


@dataclass
class Proposal:
    """Changes to `params.yaml`, see `editing.edit`. `reasons` are pairs (change, reason) for display."""

    values: dict[str, Any] = field(default_factory=dict)
    moves: dict[str, str | None] = field(default_factory=dict)
    reasons: list[tuple[str, str]] = field(default_factory=list)


def shows_photographs(found: Survey) -> bool:
    """Return whether the images are large enough for a network pretrained on photographs."""
    return bool(np.median(found.short_sides) >= min(SIZES))


def propose(
    found: Survey,
    splits: Sequence[str],
    current: Document,
    entry: str,
    path: str | None,
    start: Weights | None,
    *,
    offline: bool,
) -> Proposal:
    """Return the changes that adapt `current` to the images, as the data set `entry`.

    splits: the split of each image found; path: their location, None for the inbox; start: the pretrained weights to
    start from, if any; offline: whether entries whose weights must be downloaded are removed.
    """
    known = current.datasets.get(entry)
    side = int(np.median(found.short_sides))
    large = start is not None and shows_photographs(found)
    size = _size(side, start if large else None)
    counts = Counter(record.label for record in found.records)
    ratio = max(counts.values()) / min(counts.values())
    balance = "weights" if ratio > packed.UNEVEN else "none"
    one_way = sorted(label for label in counts if ONE_WAY.fullmatch(label))
    flip = False if one_way else known.augment.flip if known else True
    settings: dict[str, dict[str, Any]] = {
        "source": {"kind": "folder", "path": path, "url": None, "sha256": None},
        "pack": {"image_size": size},
        "augment": {"flip": flip, "shift": size // 16},
        "training": {"balance": balance},
    }
    result = Proposal({"dataset": entry}, reasons=_why_data(current, entry, path))
    if known and isinstance(known.source, FolderSource) and not known.source.classes.keys() <= counts.keys():
        settings["source"]["classes"] = {}
        result.reasons.append(("classes {}", "the folders that it renames are not among these images"))
    bursts = found.bursts >= BURSTS * len(found.records) and found.bursts > 0
    if known:
        if bursts:
            settings["split"] = {"scenes": True}
        parts = {f"{section}.{key}": value for section, part in settings.items() for key, value in part.items()}
        result.values |= {f"datasets.{entry}.{key}": value for key, value in parts.items()}
    else:
        split = {**SplitSettings().model_dump(), "scenes": bursts}
        settings = {"source": settings.pop("source"), "pack": settings.pop("pack"), "split": split, **settings}
        result.values[f"datasets.{entry}"] = settings
        result.reasons.append(("split", "the usual fractions of the images for validation and test"))
    if bursts and not (known and known.split.scenes):
        reason = f"{naming.count(found.bursts, 'image is', 'images are')} in bursts, which then stay in the same split"
        result.reasons.append(("scenes true", reason))
    result.reasons += [
        (f"image_size {size}", _why_size(side, size, start if large else None)),
        (f"flip {str(bool(flip)).lower()}", _why_flip(one_way)),
        (f"shift {size // 16}", "objects are not always in the same place; up to 1/16 of image_size, in pixels"),
    ]
    if balance != "none" or known is None or known.training.balance != balance:
        reason = f"the largest class has {ratio:.1f} times the images of the smallest"
        result.reasons.append((f"balance {balance}", reason))
    _propose_models(result, current, found, splits, start, offline=offline)
    return result


def _why_data(current: Document, entry: str, path: str | None) -> list[tuple[str, str]]:
    known = current.datasets.get(entry)
    source = known.source if known and isinstance(known.source, FolderSource) else None
    reasons = []
    if current.dataset != entry:
        reasons.append((f"dataset {entry}", "the pipeline uses this entry of datasets"))
    if source is None or source.path != path or source.url or source.sha256:
        where = "the images are in that folder or archive" if path else "the images are in data/inbox"
        others = (
            f", so {'url' if source.url else 'sha256'} is removed" if source and (source.url or source.sha256) else ""
        )
        reasons.append(("path" if path else "path null", f"{where}{others}"))
    return reasons


def _size(side: int, start: Weights | None) -> int:
    """Return the image size for a median shorter side, and for a network that starts from the weights `start`."""
    if start is None:
        return 32 if side <= SMALL else 64
    return next(size for size in (start.side, *SIZES) if size <= min(side, start.side))


def _why_size(side: int, size: int, start: Weights | None) -> str:
    if start is not None and start.architecture:
        own = f"{start.architecture} was trained at {start.side} pixels"
        small = ", but images would have to be enlarged" if size < start.side else ""
        return f"{own}{small}; the median shorter side is {side:,}"
    median = f"the median shorter side is {naming.count(side, 'pixel')}"
    if side > size and start is None:
        return f"training from random weights is slow on larger images; {median}"
    return median


def _why_flip(one_way: Sequence[str]) -> str:
    if not one_way:
        return "flipped photographs usually keep their class; set it to false if yours do not"
    return f"flipping would change the meaning of {naming.listed(one_way, most=3)}"


def _propose_models(
    result: Proposal, current: Document, found: Survey, splits: Sequence[str], start: Weights | None, *, offline: bool
) -> None:
    sizes = Counter(splits)
    if start:
        known = current.transfer.get(start.name)
        if known is None or (offline and known.downloaded):
            result.values[f"transfer.{start.name}"] = start.entry()
        elif start.sha256:
            result.values |= {f"transfer.{start.name}.{key}": value for key, value in start.entry().items()}
            if start.architecture is None and current.transfer[start.name].method != "auto":
                result.values[f"transfer.{start.name}.method"] = "auto"
                result.reasons.append(("method auto", "the method in params.yaml was chosen for other images"))
        origin = f"the weights are {start.weights}" if start.sha256 else "the weights are installed already"
        reason = (
            f"pretrained on photographs, so {naming.count(sizes['train'], 'training image')} may be enough; {origin}"
        )
        result.reasons.append((f"transfer {start.name}", reason))
        result.moves = {f"scratch.{name}": "zoo" for name in current.scratch}
        small = [name for name, other in current.transfer.items() if not other.architecture and name != start.name]
        result.moves |= {f"transfer.{name}": None for name in small}
        if result.moves:
            reason = "networks for small images would be slower and less accurate; those in scratch are moved to zoo"
            result.reasons.append(("no other networks", reason))
    far = [name for name, other in current.transfer.items() if offline and other.downloaded]
    far = [name for name in far if not (start and name == start.name) and f"transfer.{name}" not in result.moves]
    if far:
        result.moves |= {f"transfer.{name}": None for name in far}
        result.reasons.append((f"no {naming.listed(far)}", "the weights must be downloaded, and --offline is given"))
    if not start:
        if current.transfer.get(BACKBONE) == TransferSettings(architecture=BACKBONE):
            result.moves[f"transfer.{BACKBONE}"] = None
            result.reasons.append((f"no {BACKBONE}", "it was proposed for photographs, and these images are too small"))
        if not current.scratch and SCRATCH in current.zoo:
            result.moves[f"zoo.{SCRATCH}"] = "scratch"
            result.reasons.append((f"scratch {SCRATCH}", "a network for small images"))
    families = splitting.together(found.records, found.copies).tolist()
    rows = zip(found.records, families, splits, strict=True)
    # Images of one family stay in one fold, so a class can have at most as many folds as families.
    evaluated = {(record.label, family) for record, family, split in rows if split in ("train", "validation")}
    folds = min(FOLDS, *Counter(label for label, _ in evaluated).values()) if start and sizes["validation"] < FEW else 0
    folds = folds if folds > 1 else 0
    if folds != current.select.folds:
        result.values["select.folds"] = folds
    images = naming.count(sizes["validation"], "validation image is", "validation images are")
    enough = f"{images} enough" if start else "folds are only for pretrained networks"
    if folds:
        result.reasons.append((f"folds {folds}", f"{images} too few to select a model reliably"))
    elif current.select.folds:
        result.reasons.append((f"folds {folds}", enough))
