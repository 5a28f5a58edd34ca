"""Compare `pack.fit` (crop, pad, stretch) by linear probes on the 320 sample photographs, centred and off-centre.

    PYTHONPATH=. nice python benchmarks/fit.py ../shared           # both networks at 160 and 224 pixels
    PYTHONPATH=. nice python benchmarks/fit.py ../shared --only mobilenet_v2@160

Images are decoded by `images.decode`, as for packing and serving. Features of the plain and the mirrored image are
computed once per network, size, fit and set. A head (the pipeline's scaling and logistic regression) is fitted in five
repetitions of five stratified folds, and its penalty is the better of two by the loss on the left-out images.

The second set has subjects off-centre: each photograph is extended along its longer side to twice its shorter side
(1:2 or 2:1; longer photographs are not changed) on one side only, chosen at random, so that it lies at the left, right,
top or bottom end of the canvas. The rest shows its blurred reflection (Gaussian, radius a tenth of the shorter side).
`pad, grey` is `pad` with bars of 128 instead of the mean colour of the image.

Prints Markdown tables: accuracy over all images and repetitions; differences from crop are paired over the images, with
95% intervals of 10,000 bootstrap samples of images.
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter, ImageOps
from sklearn.model_selection import StratifiedKFold

from darkroom import framing, images
from darkroom.foundations import files
from darkroom.framing import FITS, Fit
from darkroom.training.networks.network import Network
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import probe, weights
from stages import pretrained

MOBILENET = "weights/mobilenet_v2-imagenet.pth"
RUNS = ("mobilenet_v2@160", "mobilenet_v2@224", "efficientnet_lite0@160", "efficientnet_lite0@224")
"""Network and side of the packed images, at which it computes."""
REPEATS, FOLDS, STRENGTHS = 5, 5, (0.1, 0.03)
SAMPLES = 10_000
GREY = "pad, grey"
Variant = Fit | Literal["pad, grey"]
Right = npt.NDArray[np.float64]
"""How often each image was right, 0 to 1, shape (images,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare pack.fit by linear probes.")
    parser.add_argument("shared", type=Path, help="the folder with real images and weights")
    parser.add_argument("--only", action="append", help="NETWORK@SIDE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, help="photographs per class, for a quick trial")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "torchvision", "timm", "pillow"))
    print(f"{os.cpu_count()} cores, {arguments.threads} threads, {packages}\n")
    photos, labels = read(arguments.shared / "data" / "animals10-sample.zip", arguments.limit)
    moved = [off_centre(photo, np.random.default_rng([0, place])) for place, photo in enumerate(photos)]
    found: dict[tuple[str, str, bool, Variant], Right] = {}
    for run in arguments.only or RUNS:
        name, side = run.split("@")
        network = open_network(arguments.shared, name, int(side))
        for title, files_ in (("as they are", photos), ("off-centre", moved)):
            for variant in (*FITS, *([GREY] if files_ is photos else [])):
                pixels = decode(files_, int(side), variant)
                plain, mirrored = extract(network, pixels), extract(network, pixels[:, :, ::-1])
                for flips, features in ((False, plain), (True, (plain + mirrored) / 2)):
                    found[run, title, flips, variant] = evaluate(features, labels)
            report(run, title, found)


def read(path: Path, limit: int | None) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """Return the photographs' bytes and the numbers of their classes, int64, shape (photos,)."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpeg"))
        classes = [name.split("/")[-2] for name in names]
        kept = [place for place, label in enumerate(classes) if limit is None or classes[:place].count(label) < limit]
        labels = np.unique(np.array(classes)[kept], return_inverse=True)[1].astype(np.int64)
        return [archive.read(names[place]) for place in kept], labels


def off_centre(photo: bytes, random: np.random.Generator) -> bytes:
    """Return the photograph at one end of a longer canvas, as a PNG file."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo))).convert("RGB")
    shorter, longer = min(image.size), max(image.size)
    if longer >= 2 * shorter:
        return photo
    wide, before = image.width >= image.height, bool(random.integers(2))
    more = 2 * shorter - longer
    pixels = np.asarray(image)
    border = ((more, 0) if before else (0, more), (0, 0), (0, 0))
    turned = pixels.transpose(1, 0, 2) if wide else pixels
    filled = np.pad(turned, border, mode="symmetric")
    filled = filled.transpose(1, 0, 2) if wide else filled
    canvas = Image.fromarray(filled).filter(ImageFilter.GaussianBlur(shorter / 10))
    start = more if before else 0
    canvas.paste(image, (start, 0) if wide else (0, start))
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=1)
    return file.getvalue()


def decode(photos: Sequence[bytes], side: int, variant: Variant) -> npt.NDArray[np.uint8]:
    """Return the squares that a network receives, uint8, shape (photos, side, side, 3)."""
    fit: Fit = "pad" if variant == GREY else variant
    squares = []
    for photo in photos:
        decoded = images.decode(photo, side, fit=fit)
        square = decoded.pixels
        if variant == GREY:
            box = framing.content(decoded.width, decoded.height, side, fit)
            square = np.full_like(decoded.pixels, 128)
            square[box.top : box.bottom, box.left : box.right] = box.cut(decoded.pixels)
        squares.append(square)
    return np.stack(squares)


def open_network(shared: Path, name: str, side: int) -> Network:
    """Return the network with its weights, read by the pipeline's stage."""
    entry: dict[str, Any] = {"architecture": name, "method": "probe", "input_size": side}
    if name == "mobilenet_v2":
        path = (shared / MOBILENET).resolve()
        entry |= {"weights": str(path), "sha256": files.sha256(path)}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        top = Path(folder)
        (top / "params.yaml").write_text(json.dumps({"transfer": {"network": entry}}))
        pretrained.main([
            "network", "--params", f"{top}/params.yaml", "--backbones", f"{top}/backbones",
            "--downloads", f"{top}/w", "--out", f"{top}/pretrained",
        ])  # fmt: skip
        network, _, _ = weights.read(top / "pretrained", TransferSettings(**entry), 10, side, 0)
    return network.eval()


@torch.inference_mode()
def extract(network: Network, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the features of all images, float32, shape (images, values)."""
    layers = network.model.get_submodule("features")
    parts = torch.from_numpy(np.ascontiguousarray(pixels)).split(16)
    return torch.cat([layers(network.normalise(part)) for part in parts]).float().numpy()


def evaluate(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Right:
    """Return how often each image was right when it was left out."""
    classes = int(labels.max()) + 1
    logits = np.zeros((len(STRENGTHS), REPEATS, len(labels), classes), dtype=np.float32)
    for repeat in range(REPEATS):
        for fitted, evaluated in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(features, labels):
            scale = probe.scaling(features[fitted])
            # A head is a combination of the images it is fitted on, so their span has it all, in a fifth of the time.
            span = np.linalg.qr(scale.apply(features[fitted]).T)[0]
            heads = probe.path(scale.apply(features[fitted]) @ span, labels[fitted], classes, STRENGTHS)
            for place, (_, weight, bias) in enumerate(heads):
                logits[place, repeat, evaluated] = scale.apply(features[evaluated]) @ span @ weight.T + bias
    losses = [np.mean([probe.cross_entropy(repeat, labels) for repeat in strength]) for strength in logits]
    chosen = logits[int(np.argmin(losses))]
    right: Right = (chosen.argmax(axis=2) == labels).mean(axis=0)
    return right


def report(run: str, title: str, found: dict[tuple[str, str, bool, Variant], Right]) -> None:
    """Print the rows of a network and a set of photographs."""
    random = np.random.default_rng(0)
    print(f"\n{run}, photographs {title}\n\n| fit | plain | difference | flips averaged | difference |")
    print("|---|---|---|---|---|")
    variants = [variant for network, about, flips, variant in found if (network, about, flips) == (run, title, False)]
    for variant in variants:
        cells = []
        for flips in (False, True):
            right, reference = found[run, title, flips, variant], found[run, title, flips, "crop"]
            cells.append(f"{right.mean():.1%}")
            gap = right - reference
            means = gap[random.integers(len(gap), size=(SAMPLES, len(gap)))].mean(axis=1)
            low, high = np.percentile(100 * means, [2.5, 97.5])
            cells.append("" if variant == "crop" else f"{100 * gap.mean():+.1f} ({low:+.1f} to {high:+.1f})")
        print(f"| {variant} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
