"""Fetch pretrained weights once and check them, so that training needs no network.

python stages pretrained cifar10_backbone --backbones backbones --downloads .darkroom/weights/cifar10_backbone
    --out models/pretrained/cifar10_backbone
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from darkroom.foundations import files, naming, params
from darkroom.foundations.errors import run
from darkroom.training import pretrained
from darkroom.training.settings import TransferSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch the weights of one entry of `transfer`, unless they are here."""
    parser = argparse.ArgumentParser(description="Fetch pretrained weights once and check them.")
    parser.add_argument("name", help="an entry of transfer in params.yaml")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--backbones", type=Path, required=True, help="folder of weights that DVC watches")
    parser.add_argument("--downloads", type=Path, required=True, help="keeps unfinished downloads for the next run")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, TransferSettings, f"transfer.{arguments.name}")
    # DVC leaves the folder as it was: weights that were fetched once are not fetched for another learning rate.
    if pretrained.have(settings, arguments.out):
        print(f"{arguments.name}: the weights are here")
        return
    with files.whole_directory(arguments.out) as out:
        origin = pretrained.fetch(settings, arguments.backbones, arguments.downloads, out)
        size = (out / origin.file).stat().st_size
    shutil.rmtree(arguments.downloads, ignore_errors=True)
    print(f"{arguments.name}: {naming.shown(origin.architecture or origin.weights)}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
