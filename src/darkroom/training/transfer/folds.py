"""Repeated cross-validation: how much a probe's accuracy depends on the validation images."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from darkroom.candidate import Folds
from darkroom.foundations.errors import DarkroomError
from darkroom.training.transfer import probe
from darkroom.training.transfer.cache import Features
from darkroom.training.transfer.probe import Labels

FITS = 10
"""Approximate number of heads to fit, for any number of folds."""


def evaluate(
    plain: Features,
    others: list[Features],
    labels: Labels,
    groups: npt.NDArray[np.int64],
    classes: int,
    head: probe.Head,
    count: int,
    seed: int,
    balanced: bool = False,
    intercept: bool = True,
) -> Folds:
    """Evaluate heads with the penalty of `head` by `count` stratified folds, repeated for about ten fits.

    Heads are scaled and fitted as in `probe.fit`, on all views (`plain` and the `others`), and evaluated on the plain
    one; images of one of the `groups` of `packed.Split` are always in the same fold. Without `intercept`, they have no
    bias, like the layer they replace.

    Raises DarkroomError when a class has fewer groups than there are folds, or all of them in one fold.
    """
    if (fewest := min(len(np.unique(groups[labels == number])) for number in range(classes))) < count:
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
        for fitted, evaluated in divider.split(plain, labels, groups):
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
