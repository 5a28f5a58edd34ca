"""Fit the classical baseline: HOG features and a linear classifier.

    python stages baseline --dataset digits --packed data/packed --split data/split.csv \
        --out models/candidates/baseline
"""

import argparse
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import sklearn
from safetensors.numpy import save_file

from darkroom import candidate, packed
from darkroom.candidate import Card, Predictions
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.packed import SPLITS
from darkroom.training import baseline
from darkroom.training.settings import BaselineSettings, TrainingSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the features, fit the classifier and write the candidate."""
    parser = argparse.ArgumentParser(description="Fit HOG features and a linear classifier.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--dataset", required=True, help="an entry of datasets in params.yaml")
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, BaselineSettings, "baseline")
    balance = params.load(arguments.params, TrainingSettings, f"datasets.{arguments.dataset}.training").balance
    clock = time.perf_counter()
    data, split = packed.open_packed(arguments.packed), packed.read_split(arguments.split)
    rows = [split.rows(name) for name in SPLITS]
    train, validation, test = (baseline.features(data.images[part], settings) for part in rows)
    labels = [split.labels[part] for part in rows]
    model = baseline.fit((train, labels[0]), (validation, labels[1]), len(split.classes), settings, balance != "none")
    card = Card(
        name="baseline",
        kind="baseline",
        architecture=f"histograms of oriented gradients and logistic regression, C = {model.strength:g}",
        classes=split.classes,
        image_size=int(data.images.shape[1]),
        fit=data.fit,
        parameters=model.weights.size + model.bias.size,
        data=packed.fingerprint(arguments.packed, arguments.split),
        training={**settings.model_dump(), "balance": balance},
        seconds=round(time.perf_counter() - clock, 2),
        environment={
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "device": "cpu",
        },
    )
    with files.whole_directory(arguments.out) as out:
        candidate.write_predictions(out, Predictions(model.logits(validation), model.logits(test)))
        save_file({"weights": model.weights, "bias": model.bias}, out / "weights.safetensors")
        candidate.write_card(out, card)
    correct = float((model.logits(validation).argmax(1) == labels[1]).mean())
    print(f"baseline: C = {model.strength:g}, validation accuracy {correct:.1%}, {card.seconds:.0f} s")


if __name__ == "__main__":
    run(main)
