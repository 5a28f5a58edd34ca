"""Measure the accuracy of the best network on corrupted images.

python stages robustness --best models/best.json --candidates models/candidates --packed data/packed
    --split data/split.csv --metrics metrics/robustness.json --out plots/robustness
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom import frames, packed, plotting
from darkroom.evaluation.checks import robustness
from darkroom.evaluation.checks.corruptions import STRENGTHS
from darkroom.evaluation.figures import mosaics
from darkroom.evaluation.figures.robustness import strengths
from darkroom.evaluation.settings import RobustnessSettings
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.predictor import Predictor


def main(argv: Sequence[str] | None = None) -> None:
    """Corrupt test images, classify them and write the accuracies; skip this if `robustness.images` is 0."""
    parser = argparse.ArgumentParser(description="Measure the accuracy of the best network on corrupted images.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("best", "candidates", "packed", "split", "metrics", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, RobustnessSettings, "robustness")
    seed = params.load(arguments.params, int, "seed")
    if settings.images == 0:
        with files.whole_directory(arguments.out) as out:
            files.write_json(out / "summary.json", {"images": 0})
        files.write_json(arguments.metrics, {"images": 0})
        print("robustness: skipped, because robustness.images is 0")
        return

    split = packed.read_split(arguments.split)
    rows = robustness.pick(split, settings.images, seed)
    images = packed.open_packed(arguments.packed).images[rows]
    name = files.read_json(arguments.best)["name"]
    found = robustness.measure(Predictor(arguments.candidates / name), images, split.labels[rows], seed)
    accuracies, clean = found.accuracies(), float(found.clean.mean())
    with files.whole_directory(arguments.out) as out:
        frames.write(out / "robustness.csv", robustness.curve(found), escape=False)
        plotting.save(strengths(accuracies, clean), out / "robustness.png")
        corrupted = mosaics.captioned(*robustness.examples(images[0], seed), columns=2 * STRENGTHS)
        plotting.save(corrupted, out / "corruptions.png")
        files.write_json(out / "summary.json", robustness.summarise(found, seed))
    mean = {"images": len(rows), "mean_corruption_accuracy": round(found.mean(), 4)}
    files.write_json(arguments.metrics, mean)
    worst = min(accuracies, key=lambda each: sum(accuracies[each]))
    print(f"{name}: {clean:.1%} on {len(rows):,} test images, {found.mean():.1%} when corrupted, lowest for {worst}")


if __name__ == "__main__":
    run(main)
