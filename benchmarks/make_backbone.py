"""Turn a trained candidate into a backbone small enough for git: float16 weights, and a card with its accuracy.

    python benchmarks/make_backbone.py models/candidates/resnet9 --name cifar10_backbone \
        --packed data/packed --split data/split.csv --out backbones/cifar10_backbone

Prints its accuracy and its SHA-256.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from darkroom import candidate, packed
from darkroom.foundations import files
from darkroom.training.engine import batches, device, scoring
from darkroom.training.networks import export, network
from darkroom.training.networks.network import Network


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn a candidate into a committed backbone.")
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    card = candidate.read_card(arguments.candidate)
    state = load_file(arguments.candidate / "weights.safetensors")
    whole = Network(network.build(card.network, len(card.classes), card.image_size, 0), card.mean, card.std)
    whole.load_state_dict({name: tensor.half() for name, tensor in state.items()})  # rounded, as others will load them
    images, split = packed.open_images(arguments.packed), packed.read_split(arguments.split)
    test = batches.load(images, split, "test", torch.device("cpu"))
    _, accuracy = scoring.score(whole, test, device.Compute(torch.device("cpu")))
    with files.whole_directory(arguments.out) as out:
        export.write_weights(out / "weights.safetensors", whole.half())
        scores = {"test_accuracy": round(accuracy, 4), "test_images": len(test)}
        candidate.write_card(out, replace(card, name=arguments.name, scores=scores))
    weights = arguments.out / "weights.safetensors"
    print(f"test accuracy {accuracy:.2%} on {len(test):,} images, {weights.stat().st_size / 1e6:.1f} MB")
    print(f"sha256: {files.sha256(weights)}")


if __name__ == "__main__":
    main()
