"""Repeated cross-validation: how much a probe's accuracy depends on the validation images."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from darkroom import packed
from darkroom.candidate import Folds
from darkroom.foundations.errors import DarkroomError
from darkroom.training.transfer import probe
from darkroom.training.transfer.features import Features
from darkroom.training.transfer.probe import Labels

FITS = 10
"""Approximate number of heads to fit, for any number of folds."""


def evaluate(
    plain: Features,
    others: list[Features],
    labels: Labels,
    families: npt.NDArray[np.int64],
    classes: int,
    head: probe.Head,
    count: int,
    seed: int,
    balanced: bool = False,
    intercept: bool = True,
) -> Folds:
    """Evaluate heads with the penalty of `head` by `count` stratified folds, repeated for about ten fits.

    Heads are scaled and fitted as in `probe.fit`, on all views (`plain` and the `others`), and evaluated on the plain
    one; images of one family are always in the same fold. Without `intercept`, they have no bias, like the layer they
    replace.

    Raises DarkroomError when a class has fewer families than there are folds, or all of them in one fold.
    """
    if (fewest := min(len(np.unique(families[labels == number])) for number in range(classes))) < count:
        raise DarkroomError(
            f"select.folds: {count} needs as many different training and validation images of each class (copies and "
            f"groups count as one), and one class has {fewest}: set it to {fewest if fewest > 1 else 0}"
        )
    repeats, views = max(1, round(FITS / count)), [plain, *others]
    scores: list[tuple[float, float, float]] = []
    single: list[float] = []
    for repeat in range(repeats):
        divider = StratifiedGroupKFold(count, shuffle=True, random_state=seed + repeat)
        logits = np.zeros((len(labels), classes), dtype=np.float32)
        for fitted, evaluated in divider.split(plain, labels, families):
            if len(np.unique(labels[fitted])) < classes:
                raise DarkroomError(
                    f"select.folds: {count} leaves a class without training images in one fold, because copies and "
                    "groups stay together: use fewer folds, or 0 for none"
                )
            features = np.concatenate([view[fitted] for view in views])
            targets = np.tile(labels[fitted], len(views))
            scale = probe.scaling(features, intercept)
            fits = probe.path(scale.apply(features), targets, classes, (head.strength,), balanced, intercept)
            [(_, weight, bias)] = fits
            logits[evaluated] = scale.apply(plain[evaluated]) @ weight.T + bias
            single.append(float((logits[evaluated].argmax(axis=1) == labels[evaluated]).mean()))
        guesses = logits.argmax(axis=1)
        f1 = float(f1_score(labels, guesses, average="macro", zero_division=0))
        scores.append((float((guesses == labels).mean()), f1, probe.cross_entropy(logits, labels)))
    accuracy, macro_f1, loss = (round(float(value), 6) for value in np.mean(scores, axis=0))
    return Folds(count, repeats, len(labels), accuracy, macro_f1, loss, round(float(np.std(single, ddof=1)), 6))


def families(folder: Path, copies: Path) -> npt.NDArray[np.int64]:
    """Return equal numbers for packed rows that are copies, near copies or images of one group."""
    records = packed.read_index(folder)
    places: dict[tuple[str, str], int] = {}
    links: list[tuple[int, int]] = []
    clusters = {row["name"]: row["cluster"] for row in packed.read_sheet(copies)}
    for row, record in enumerate(records):
        for kind, key in (("bytes", record.sha256), ("group", record.group), ("copy", clusters.get(record.name, ""))):
            if key:
                links.append((row, places.setdefault((kind, key), row)))
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    shape = (len(records), len(records))
    _, numbers = connected_components(coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=shape), False)
    result: npt.NDArray[np.int64] = numbers.astype(np.int64)
    return result
