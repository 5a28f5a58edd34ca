"""Decode all images of the archive into one array.

python stages pack --dataset digits --raw data/raw --decoded .darkroom/packed --out data/packed
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom.data.pack import packing, reuse
from darkroom.data.settings import PackSettings
from darkroom.foundations import files, naming, params
from darkroom.foundations.errors import run


def main(argv: Sequence[str] | None = None) -> None:
    """Pack the images and report those that were excluded."""
    parser = argparse.ArgumentParser(description="Decode all images into one array.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--decoded", type=Path, help="cache of decoded images (default: decode all)")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, PackSettings, f"datasets.{arguments.dataset}.pack")
    with reuse.Decoded(arguments.decoded, settings) as decoded:
        with files.whole_directory(arguments.out) as out:
            count, broken = packing.pack(arguments.raw, settings, out, decoded=decoded)
        decoded.keep(arguments.out / "images.npy")
    fit = "" if settings.fit == "crop" else f", fit: {settings.fit}"
    before = f", {decoded.reused:,} of them decoded by an earlier run" if decoded.reused else ""
    print(f"{count:,} images packed at {settings.image_size}×{settings.image_size}{fit}{before}")
    unlabelled = sum(not item.label for item in broken)
    broken = [item for item in broken if item.label]
    if unlabelled:
        print(f"{unlabelled:,} images outside class folders excluded, listed in {arguments.out / 'broken.csv'}")
    if broken:
        print(f"{len(broken):,} unreadable files excluded, listed in {arguments.out / 'broken.csv'}:")
        for item in broken[:5]:
            print(f"  {naming.shown(item.name)}: {naming.shown(item.reason)}")


if __name__ == "__main__":
    run(main)
