"""Train a network from random weights.

    python stages/scratch.py resnet9 --dataset digits --packed data/packed --split data/split.csv \
        --out models/candidates/resnet9
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom import files, params
from darkroom.errors import run
from darkroom.training import batches, network, optimizer, session
from darkroom.training.batches import Data
from darkroom.training.network import Network
from darkroom.training.settings import AugmentSettings, Device, ScratchSettings, TrainingSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Train one entry of `scratch`."""
    parser = argparse.ArgumentParser(description="Train a network from random weights.")
    parser.add_argument("name", help="an entry of scratch in params.yaml")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    path, data_set = arguments.params, f"datasets.{arguments.dataset}"
    settings = params.load(path, ScratchSettings, f"scratch.{arguments.name}")
    job = session.Job(
        name=arguments.name,
        kind="scratch",
        settings=settings,
        epochs_factor=settings.epochs_factor,
        augment=params.load(path, AugmentSettings, f"{data_set}.augment"),
        training=params.load(path, TrainingSettings, f"{data_set}.training"),
        seed=params.load(path, int, "seed"),
        device=params.load(path, Device, "device"),  # type: ignore[arg-type]  # a Literal is no class to mypy
        packed=arguments.packed,
        split=arguments.split,
    )

    def start(training: Data, classes: int) -> tuple[Network, list[dict[str, object]], dict[str, Any]]:
        description = {"architecture": settings.architecture, "width": settings.width}
        model = network.build(description, classes, training.images.shape[1], job.seed)
        whole = Network(model, *batches.statistics(training))
        return whole, optimizer.groups([(whole, 1.0)], settings), description

    words = f"{settings.architecture}, width {settings.width}, from random weights"
    with files.whole_directory(arguments.out) as out:
        card = session.fit(job, start, words, out)
    print(f"{card.name}: best epoch {card.best_epoch} of {card.epochs}, {card.seconds:.0f} s")


if __name__ == "__main__":
    run(main)
