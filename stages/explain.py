"""Draw explanation maps of the best network for some test images.

python stages explain --best models/best.json --candidates models/candidates --packed data/packed
    --split data/split.csv --evaluation plots/tables/scores.json --out plots/explanations
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom import candidate, packed, plotting
from darkroom.evaluation.checks import explanations
from darkroom.evaluation.checks.activation import Activation
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.predictor import Predictor


def main(argv: Sequence[str] | None = None) -> None:
    """Choose correct and wrong predictions and draw their explanation maps."""
    parser = argparse.ArgumentParser(description="Draw explanation maps of the best network.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("best", "candidates", "packed", "split", "evaluation", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args(argv)
    seed = params.load(arguments.params, int, "seed")
    name = files.read_json(arguments.best)["name"]
    temperature = files.read_json(arguments.evaluation)["candidates"][name]["temperature"]
    folder = arguments.candidates / name
    split = packed.read_split(arguments.split)
    rows = split.rows("test")
    labels = split.labels[rows]
    probabilities = candidate.softmax(candidate.read_predictions(folder).test, temperature)
    right, wrong = explanations.choose(probabilities.argmax(axis=1).astype(np.int64), labels, seed)
    chosen = [*right, *wrong]
    images = np.asarray(packed.open_packed(arguments.packed).images[rows[chosen]])
    predictor = Predictor(folder, temperature=temperature)
    activation = Activation(folder / "model.onnx")
    drawing = explanations.draw(predictor, activation, images, labels[chosen], probabilities[chosen], split.classes)
    with files.whole_directory(arguments.out) as out:
        plotting.save(drawing, out / "explanations.png")
    print(f"{name}: explained {len(right)} correct and {len(wrong)} wrong predictions")


if __name__ == "__main__":
    run(main)
