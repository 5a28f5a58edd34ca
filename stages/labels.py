"""Find probable label errors among all images, shortcuts (what predicts the class without the object), and which
images to collect next.

python stages labels --packed data/packed --split data/split.csv --pretrained models/pretrained
    --features .darkroom/features --out plots/labels
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from darkroom import forecasts, frames, plotting
from darkroom.evaluation.figures import growth
from darkroom.evaluation.growth import curves
from darkroom.evaluation.labels import confident, effect, planted, results, shortcuts
from darkroom.evaluation.labels.confident import Issue, Labels, Noise, Scores
from darkroom.evaluation.labels.shortcuts import Result
from darkroom.forecasts import Curve
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.packed import LEFT_OUT, Packed, Split, open_packed, read_split
from darkroom.training import baseline, held_out, subsets
from darkroom.training.engine import device
from darkroom.training.held_out import Features, HeldOut
from darkroom.training.settings import BaselineSettings, Device, TransferSettings
from darkroom.training.transfer import frozen

HOG = "HOG features"  # no network has this name, which has a space
SMALL = 64
"""Largest image side in pixels for which HOG features are compared with those of pretrained networks."""


def main(argv: Sequence[str] | None = None) -> None:
    """Cross-validate probes on features and on facts about the files; write label issues, shortcuts and forecasts."""
    arguments = _parse(argv)
    data, split = open_packed(arguments.packed), read_split(arguments.split)
    seed = params.load(arguments.params, int, "seed")
    name, features, seen = _best_features(arguments, data, split, seed)
    plants: list[planted.Planted] = []

    def plan(first: HeldOut) -> list[Labels]:
        plants.extend(planted.plant(split.labels, first.scores, first.known, seed))
        return [each.labels for each in plants]

    checked = held_out.cross_validate(features, split.labels, split.groups, len(split.classes), seed, plan)
    found = {"features": name, "seen": seen, "images": len(split.labels), "issues": 0}
    issues: list[Issue] = []
    if checked and checked[0].known.any():
        noise, issues, predicted = _issues(checked[0], split.labels)
        lists = [_issues(each, plant.labels)[1] for each, plant in zip(checked[1:], plants, strict=True)]
        trial = planted.compare(plants, lists)
        found |= {"folds": held_out.FOLDS, "repeats": held_out.REPEATS, "penalty": checked[0].penalty}
        found |= results.summary(issues, noise, trial, checked[0].known, predicted, split)
    found["corrected"] = _corrected(features, [each.label for each in data.records], split, seed)
    results_of, shown = _shortcuts(data, split, frames.read(arguments.packed / "files.csv"), seed)
    found["shortcuts"] = shortcuts.summarise(results_of, split.classes)
    with threadpool_limits(1, "blas"):  # of many small systems, several threads would only wait for one another
        learning, measured = _learning_curves(features, split, seed)
    sizes = np.bincount(split.labels, minlength=len(split.classes)).tolist()
    with files.whole_directory(arguments.out) as out:
        forecasts.write(out / forecasts.PATH.name, learning, name, measured, sizes)
        if drawing := growth.curves(learning, forecasts.usual(sizes)):
            plotting.save(drawing, out / "growth.png")
        frames.write(out / "issues.csv", results.table(issues, data.records, split))
        files.write_json(out / "summary.json", found)
        if drawing := results.figure(data.images, issues, split.classes):
            plotting.save(drawing, out / "label_issues.png")
        if shown:
            plotting.save(plotting.image_grid(shown), out / "shortcuts.png")
    likely = round(sum(each.precision for each in issues))
    expected = f", about {likely:,} of which are expected to be wrong" if likely else ", but probably none is"
    source = name if name == HOG else f"features of {name}"
    print(f"labels: {len(issues):,} of {len(split.labels):,} may be wrong{expected * bool(issues)} ({source})")
    if strong := [each.measure for each in results_of if each.is_shortcut]:
        print(f"warning: these predict the class without the rest of the image: {', '.join(strong)}", file=sys.stderr)


def _corrected(features: Features, source: Sequence[str], split: Split, seed: int) -> dict[str, Any] | None:
    """Return what decisions about labels brought, None if none was changed. source: the class of each image before."""
    names, numbers = np.unique([*source, *split.classes], return_inverse=True)
    labels = numbers[len(source) :][split.labels]
    used = np.flatnonzero(split.splits != LEFT_OUT)
    before, after, tested = numbers[used], labels[used], split.splits[used] == "test"
    changed = before != after
    if not changed[~tested].any() or not tested.any():
        return None
    fitted = features[used], split.groups[used], tested, len(names), seed
    first, second = (held_out.predict(each, *fitted) for each in (before, after))
    if first is None or second is None:
        return None
    return asdict(effect.compare(changed, tested, after[tested], first, second))


def _learning_curves(features: Features, split: Split, seed: int) -> tuple[list[Curve], int]:
    """Return the learning curves, and the number of images that they are based on."""
    rows = subsets.choose(split.groups, len(split.classes), seed)
    labels, groups = split.labels[rows], split.groups[rows]
    folds = held_out.divide(labels, groups, seed)
    if folds is None or len(split.classes) < 2:
        return [], 0
    probes = subsets.Probes(features[rows], labels, folds, len(split.classes))
    sizes = np.bincount(split.labels, minlength=len(split.classes))
    return curves.measure(probes.predict, labels, groups, split.classes, seed, sizes), len(rows)


def _shortcuts(
    data: Packed, split: Split, table: pd.DataFrame, seed: int
) -> tuple[list[Result], list[tuple[str, npt.NDArray[np.uint8]]]]:
    """Return the result of each measure, and examples of the strongest shortcut, as rows of images with a title."""
    classes = len(split.classes)
    rows = shortcuts.choose(len(split.labels), classes, seed)
    labels, groups = split.labels[rows], split.groups[rows]
    labellings = [labels, *shortcuts.permuted(labels, groups, seed)]
    compared: list[tuple[Result, Scores]] = []
    for measure in shortcuts.measures(data.images, data.records, table, rows):
        scored = held_out.cross_validate(
            measure.features, labels, groups, classes, seed, lambda _: labellings[1:], repeats=1
        )
        scores = [each.scores for each in scored]
        if scores and (result := shortcuts.compare(measure, scores, labellings)):
            compared.append((result, scores[0]))
    strong = [each for each in compared if each[0].is_shortcut]
    shown: list[tuple[str, npt.NDArray[np.uint8]]] = []
    if strong:
        result, best = max(strong, key=lambda each: each[0].auc - each[0].bound)
        titles = (split.classes[result.label], "other classes")
        chosen = shortcuts.examples(best, labels, result.label)
        shown = [(title, data.images[rows[few]]) for title, few in zip(titles, chosen, strict=True)]
    return [result for result, _ in compared], shown


def _issues(checked: HeldOut, labels: Labels) -> tuple[Noise, list[Issue], Labels]:
    """Return the noise, the issues and the predicted classes."""
    known = checked.known
    noise = confident.fit(checked.scores[known], labels[known])
    likely = confident.probabilities(checked.scores, noise)
    precision = confident.wrong(likely, labels, noise)
    return noise, confident.issues(likely, labels, precision, known), likely.argmax(axis=1).astype(np.int64)


def _best_features(
    arguments: argparse.Namespace, data: Packed, split: Split, seed: int
) -> tuple[str, Features, dict[str, list[str]]]:
    """Return the features with the lowest error in cross-validation, with their name.

    Also the networks that were left out, each with the classes that it was trained with.
    """
    transfer = params.load(arguments.params, dict[str, TransferSettings], "transfer")
    seen = {name: frozen.saw(each, arguments.pretrained / name, split.classes) for name, each in transfer.items()}
    honest = {name: each for name, each in transfer.items() if not seen[name]}
    best: tuple[float, str, Features] | None = None
    for name, features in _features(arguments, honest, data.images):
        scored = held_out.cross_validate(features, split.labels, split.groups, len(split.classes), seed, repeats=1)
        error = scored[0].error if scored else 0.0
        if best is None or error < best[0]:
            best = (error, name, features)
    assert best is not None  # HOG if there are no networks
    return best[1], best[2], {name: classes for name, classes in seen.items() if classes}


def _features(
    arguments: argparse.Namespace, networks: dict[str, TransferSettings], images: npt.NDArray[np.uint8]
) -> Iterator[tuple[str, Features]]:
    if not networks or images.shape[1] <= SMALL:
        yield (
            HOG,
            baseline.features(images, params.load(arguments.params, BaselineSettings, "baseline")).astype(np.float16),
        )
    if networks:
        wanted = params.load(arguments.params, Device, "device")
        compute = device.choose(wanted, params.load(arguments.params, bool, "deterministic"))
        with device.memory_refused(compute.device):
            for name, settings in networks.items():
                yield name, frozen.extract(images, settings, arguments.pretrained / name, arguments.features, compute)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find probable label errors and shortcuts.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("packed", "split", "pretrained", "features", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
