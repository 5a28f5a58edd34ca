"""Compare pretrained networks by the pipeline's probe on the 320 sample photographs: accuracy, and images per second.

    python benchmarks/backbones.py ../shared                                   # all networks at the sizes below
    python benchmarks/backbones.py ../shared --only efficientnet_lite0@224     # one of them

The stages run as in a pipeline, in one process, from the archive to the candidate. Accuracy is that of the folds:
two repetitions of five stratified folds on the training and validation images, with mirrored views, no test image.
Images per second are those of the feature pass as the stage does it (with an empty cache), and of the network alone on
images in memory, at the batch size that was fastest. Prints a Markdown table. `heads.py` compares the last layers.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
import zipfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from darkroom.foundations import files
from darkroom.training.engine import device
from darkroom.training.engine.batches import Data
from darkroom.training.networks import export
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import features, weights
from darkroom.training.transfer.cache import FeatureCache
from darkroom.training.transfer.features import Extractor
from stages import download, pack, pretrained, split, transfer

MOBILENET = "weights/mobilenet_v2-imagenet.pth"
RUNS = (
    "mobilenet_v2@160",
    "mobilenet_v2@224",
    "efficientnet_lite0@160",
    "efficientnet_lite0@224",
    "efficientnet_lite1@240",
    "efficientnet_lite2@260",
)
"""Network and side of the packed images, at which it computes."""
BATCHES = (2, 4, 8, 16)
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare pretrained networks by the pipeline's probe.")
    parser.add_argument("shared", type=Path, help="the folder with real images and weights")
    parser.add_argument("--only", action="append", help="NETWORK@SIDE, or NETWORK@SIDE@INPUT for another input size")
    parser.add_argument("--seeds", type=int, default=1, help="splits to draw and average over")
    arguments = parser.parse_args()
    export.write_onnx = lambda path, *_: path.touch()  # half a minute for what is not measured here
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "torchvision", "timm"))
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {packages}\n")
    print("| network | packed | computed at | accuracy by folds | feature pass, images/s | network alone, images/s |")
    print("|---|---|---|---|---|---|", flush=True)
    for run in arguments.only or RUNS:
        name, side, *more = run.split("@")
        found = [
            measure(arguments.shared, name, int(side), int(more[0]) if more else int(side), seed)
            for seed in range(arguments.seeds)
        ]
        accuracy, probe, alone = np.mean([row[:3] for row in found], axis=0)
        print(
            f"| `{name}` | {side} | {more[0] if more else side} | {accuracy:.1%} | {probe:.1f} | {alone:.1f} |",
            flush=True,
        )


def measure(shared: Path, name: str, side: int, input_size: int, seed: int) -> tuple[float, float, float]:
    """Return accuracy by folds and images per second of the probe's feature pass and of the network alone."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        top = Path(folder)
        settings, arguments = prepare(top, shared, name, side, input_size, seed)
        transfer.main(["network", *arguments])
        accuracy = files.read_json(top / "candidate" / "folds.json")["accuracy"]
        return accuracy, *speeds(top, settings, side)


def prepare(
    top: Path, shared: Path, name: str, side: int, input_size: int, seed: int
) -> tuple[TransferSettings, list[str]]:
    """Run the stages up to the weights in the folder `top`; return the settings and the arguments for training."""
    with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
        archive.extractall(top)
    entry: dict[str, Any] = {"architecture": name, "method": "probe", "input_size": input_size}
    if name == "mobilenet_v2":
        path = (shared / MOBILENET).resolve()
        entry |= {"weights": str(path), "sha256": files.sha256(path)}
    parameters = top / "params.yaml"
    parameters.write_text(json.dumps(document(top, side, seed, entry)))
    settings = ["--params", str(parameters)]
    data = ["--dataset", "photos", *settings]
    packed = ["--packed", f"{top}/packed"]
    divided = ["--split", f"{top}/split.csv", "--copies", f"{top}/copies.csv"]
    download.main([*data, "--inbox", f"{top}/inbox", "--downloads", f"{top}/downloads", "--out", f"{top}/raw"])
    pack.main([*data, "--raw", f"{top}/raw", "--out", f"{top}/packed"])
    split.main([
        *data, *packed, "--test-images", f"{top}/test.json", "--out", f"{top}/split.csv",
        "--copies", f"{top}/copies.csv", "--metrics", f"{top}/data.json",
    ])  # fmt: skip
    fetched = ["--backbones", f"{top}/backbones", "--downloads", f"{top}/w", "--out", f"{top}/pretrained"]
    pretrained.main(["network", *settings, *fetched])
    return TransferSettings(**entry), [
        *data, *packed, *divided[:2], "--pretrained", f"{top}/pretrained", "--features", f"{top}/features",
        "--checkpoints", f"{top}/checkpoints", "--out", f"{top}/candidate",
    ]  # fmt: skip


def document(top: Path, side: int, seed: int, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a project with one network."""
    data = {
        "source": {"kind": "folder", "path": f"{top}/raw-img"},
        "pack": {"image_size": side},
        "split": {"validation": 0.15, "test": 0.2},
        "augment": {"flip": True},
        "training": {},
    }
    return {
        "dataset": "photos", "seed": seed, "device": "auto", "deterministic": False,
        "datasets": {"photos": data}, "transfer": {"network": entry}, "select": {"folds": 5},
    }  # fmt: skip


@torch.inference_mode()
def speeds(top: Path, settings: TransferSettings, side: int) -> tuple[float, float]:
    """Return images per second of the feature pass, with hashes and an empty cache, and of the network alone.

    The network alone is measured at its best batch size, both at the stage's precision, by the time of the processor:
    on a busy machine, the clock shows the load. They take turns, and the best round counts.
    """
    network, description, _ = weights.read(top / "pretrained", settings, 10, side, 0)
    compute = device.choose("cpu", deterministic=False)
    layers = network.eval().model.get_submodule("features")
    images = torch.from_numpy(np.load(top / "packed" / "images.npy")[:256])
    data = Data(images, None, torch.zeros(len(images), dtype=torch.int64))

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            extractor = Extractor(network, description["architecture"], FeatureCache(Path(folder)), compute)
            extractor.extract(data, features.hashes(data), "plain")

    def alone(batch: int) -> None:
        for part in images.split(batch):
            with compute.autocast():
                layers(network.normalise(part))

    best = [0.0, 0.0]
    for _ in range(ROUNDS):
        for place, task in [(0, run), *((1, partial(alone, batch)) for batch in BATCHES)]:
            begin = time.process_time()
            task()
            spent = (time.process_time() - begin) / torch.get_num_threads()
            best[place] = max(best[place], len(images) / spent)
    return best[0], best[1]


if __name__ == "__main__":
    main()
