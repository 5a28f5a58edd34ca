"""Download pretrained weights once and verify them, so that training needs no network access.

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
    """Download the weights of one entry of `transfer`, unless they are already there."""
    parser = argparse.ArgumentParser(description="Download pretrained weights once and verify them.")
    parser.add_argument("name", help="an entry of transfer in params.yaml")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--backbones", type=Path, required=True, help="folder of weights that DVC tracks")
    parser.add_argument(
        "--downloads", type=Path, required=True, help="folder for partial downloads, which the next run resumes"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, TransferSettings, f"transfer.{arguments.name}")
    # The output is persisted, so that a changed learning rate does not download the weights again.
    if pretrained.have(settings, arguments.out):
        print(f"{arguments.name}: the weights are already there")
        return
    with files.whole_directory(arguments.out) as out:
        origin = pretrained.fetch(settings, arguments.backbones, arguments.downloads, out)
        size = (out / origin.file).stat().st_size
    shutil.rmtree(arguments.downloads, ignore_errors=True)
    named = "" if origin.architecture == arguments.name else f"{naming.shown(origin.architecture or origin.weights)}, "
    terms = f", {origin.shown}, licence: {naming.shown(origin.licence or 'unknown')}" if origin.repository else ""
    print(f"{arguments.name}: {named}{size / 1e6:.1f} MB{terms}")


if __name__ == "__main__":
    run(main)
