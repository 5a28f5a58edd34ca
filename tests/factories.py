"""Small real parts for tests: packed folders, splits and candidates, all in a folder that the test gives.

The pictures are noisy patterns, one pattern a class; a candidate is a linear model fitted to them, so its
ONNX model, its predictions and its card agree as those of a trained network do.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file

from darkroom import candidate, forecasts, frames, neighbors, packed
from darkroom.candidate import Card, Folds, Layer, Predictions
from darkroom.data.explore.card import describe
from darkroom.data.split import summary
from darkroom.forecasts import Curve, Point
from darkroom.foundations import files

Method = Literal["scratch", "probe", "finetuned", "start"]

CLASSES = ("cat", "dog", "frog")
LABELS = {
    "features": "HOG features",
    "seen": {},
    "images": 120,
    "unchecked": 0,
    "accuracy": 0.9,
    "folds": 5,
    "repeats": 3,
    "penalty": 0.01,
    "issues": 12,
    "listed": 12,
    "probable": 3,
    "expected": 3.6,
    "wrong_share": 0.03,
    "confused": [],
    "planted": {"images": 6, "precision": 0.9, "precision_half": 1.0, "expected": 0.85, "recall": 0.95},
    "corrected": None,
    "shortcuts": [
        {"measure": "the mean colour", "label": "cat", "auc": 0.7, "chance": 0.6, "bound": 0.95, "is_shortcut": False},
    ],
}
"""`plots/labels/summary.json`."""
GROWTH = (
    Curve(None, 120, (Point(30, 0.7), Point(120, 0.8)), slope=0.08, error=0.01, choice=0.01),
    Curve("cat", 40, (Point(10, 0.7, 0.5, 0.4), Point(40, 0.8, 0.7, 0.6)), slope=0.06, error=0.01, choice=0.01),
    Curve("dog", 40, (Point(10, 0.8, 0.8, 0.8), Point(40, 0.8, 0.8, 0.8)), slope=0.001, error=0.01, choice=0.01),
    Curve("frog", 2),
)
"""The curves in `plots/labels/growth.json`."""
PARTS = ("train", "train", "train", "validation", "test")  # every fifth picture of a class is a test picture


def write_packed(
    folder: Path,
    classes: Sequence[str] = CLASSES,
    per_class: int | Sequence[int] = 40,
    size: int = 16,
    noise: float = 60.0,
    seed: int = 0,
) -> Path:
    """Write a packed folder with `per_class` noisy pictures of each class, or so many of the first and so on.

    `noise` is the spread of the noise in grey levels: with 60 a good model is right about nine times in ten.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    patterns = generator.uniform(110, 146, (len(classes), 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    if isinstance(per_class, int):
        labels = np.arange(len(classes) * per_class) % len(classes)
    else:
        labels = np.repeat(np.arange(len(classes)), per_class)
    images = patterns[labels] + generator.normal(0, noise, (len(labels), size, size, 3))
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    np.save(folder / "images.npy", pixels)
    rows = [
        (f"{classes[label]}/{row}.png", classes[label], "", size * 2, size, f"{row:064x}", f"{row:016x}", "", "")
        for row, label in enumerate(labels)
    ]
    columns = ("name", "label", "split", "width", "height", "sha256", "phash", "group", "slice")
    write_csv(folder / "index.csv", columns, rows)
    write_files(folder)
    pixel_summary = packed.PixelSummary()
    for image in pixels:
        pixel_summary.add(image)
    pixel_summary.write(folder)
    broken = [(f"{classes[0]}/broken.png", classes[0], "the file is empty")]
    write_csv(folder / "broken.csv", ("name", "label", "reason"), broken)
    source = {
        "title": "Noisy patterns",
        "source": "drawn by the tests",
        "licence": "CC0",
        "archive": "patterns.zip",
    }
    files.write_json(folder / "source.json", source)
    return folder


def write_files(folder: Path, **columns: Sequence[Any]) -> None:
    """Write `files.csv` of a packed folder: all files are alike, except for the given columns."""
    names = [record.name for record in packed.read_index(folder)]
    alike = {"bytes": 1000, "format": "PNG", "quantization": "", "camera": "", "hour": ""}
    frames.write(folder / "files.csv", pd.DataFrame({"name": names, **alike, **columns}))


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table of which only programs read the text."""
    frames.write(path, pd.DataFrame(rows, columns=columns), escape=False)


def write_split(path: Path, folder: Path, lacking: str = "", leaks: int = 0) -> Path:
    """Write the split of a packed folder, without test pictures of the class `lacking`; return `path`.

    The first `leaks` test pictures are marked as leaks.
    """
    records = packed.read_index(folder)
    classes = sorted({record.label for record in records})
    seen = dict.fromkeys(classes, 0)
    labels, splits = [], []
    for record in records:
        part = PARTS[seen[record.label] % len(PARTS)]
        seen[record.label] += 1
        labels.append(classes.index(record.label))
        splits.append("left out" if part == "test" and record.label == lacking else part)
    tests = [row for row, part in enumerate(splits) if part == "test"]
    leaking = set(tests[:leaks])
    summary.write_split(path, classes, labels, splits, [row in leaking for row in range(len(splits))])
    return path


def write_candidate(
    folder: Path,
    packed_folder: Path,
    split_path: Path,
    kind: candidate.Kind = "scratch",
    error: float = 0.0,
    sharpness: float = 6.0,
    method: Method = "scratch",
    **card: Any,
) -> Path:
    """Write a whole candidate called after `folder`; return `folder`.

    `method` is how a network was made; a probe has no epochs, and of a `start` no epoch was better.
    `error` is the spread of the noise on its weights: 0 is as good as it gets, 0.3 poor. `sharpness` scales
    its logits. `card` replaces fields of the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = np.load(packed_folder / "images.npy")
    split = packed.read_split(split_path)
    weights, bias = _fit(images, split, error, sharpness, seed=len(folder.name))
    logits = images.reshape(len(images), -1).astype(np.float32) / np.float32(255) @ weights + bias
    candidate.write_predictions(folder, Predictions(logits[split.rows("validation")], logits[split.rows("test")]))
    save_file({"weight": weights, "bias": bias}, folder / "weights.safetensors")
    facts: dict[str, Any] = {
        "name": folder.name,
        "kind": kind,
        "architecture": "HOG features, logistic regression" if kind == "baseline" else "linear model of the pixels",
        "classes": split.classes,
        "image_size": images.shape[1],
        "parameters": weights.size + bias.size,
        "data": packed.fingerprint(packed_folder, split_path),
        "training": {"learning_rate": 0.1, "optimizer": "sgd", "augment": {"shift": 2}, "seed": 0},
        "seconds": 12.5,
        "environment": {"python": "3.11", "numpy": np.__version__, "device": "cpu", "threads": "2"},
    }
    if kind != "baseline":
        facts |= {"epochs": 8, "best_epoch": 7, "mean": [0.5] * 3, "std": [0.25] * 3} | _made_by(method)
        facts["layers"] = [
            Layer("flatten", "flatten", [len(weights)], 0),
            Layer("head", "dense", [len(bias)], weights.size + bias.size),
        ]
        onnx.save(_network(weights, bias, images.shape[1]), folder / "model.onnx")
        rows = split.rows("train")
        features = neighbors.reduce(images[rows].reshape(len(rows), -1) / np.float32(255))
        neighbors.write(folder, neighbors.build(features, split.labels[rows], rows))
        if method == "probe":
            folds = Folds(5, 2, len(split.rows("train")), 0.9 - error, 0.9 - error, 0.3, 0.02)
            files.write_json(folder / "folds.json", asdict(folds))
        else:
            _write_history(folder / "history" / "plots" / "metrics", 8, slowness=1 + 10 * error)
            batch = images[split.rows("train")[:8]]
            Image.fromarray(np.concatenate(list(batch), axis=1)).save(folder / "augmented.png")
    candidate.write_card(folder, Card(**facts | card))
    return folder


def _made_by(method: Method) -> dict[str, Any]:
    """Return what the card of a network says about how it was made."""
    if method == "scratch":
        return {}
    weights = {"weights": "imagenet", "weights_sha256": "0" * 64, "strength": 0.01, "seed": 0}
    network = {"kind": "transfer", "network": {"architecture": "mobilenet_v2", "input_size": None}}
    if method == "probe":
        training = {"architecture": "mobilenet_v2", "balance": "none", "augment": {"flip": True}, "method": "probe"}
        return {**network, "epochs": 0, "best_epoch": 0, "training": training | weights}
    recipe = {"learning_rate": 0.003, "optimizer": "sgd", "schedule": "one_cycle", "batch_size": 64, "epochs": 8}
    best = {"best_epoch": 0} if method == "start" else {}
    return {**network, **best, "training": recipe | {"augment": {"shift": 2}, "method": "probe+finetune"} | weights}


def _fit(images: Any, split: packed.Split, error: float, sharpness: float, seed: int) -> tuple[Any, Any]:
    """Return float32 weights and bias of a ridge regression from pixels to classes."""
    rows = split.rows("train")
    pixels = images[rows].reshape(len(rows), -1) / 255
    targets = np.eye(len(split.classes))[split.labels[rows]]
    centre = pixels.mean(axis=0)
    gram = (pixels - centre) @ (pixels - centre).T + 10 * np.eye(len(rows))
    weights = (pixels - centre).T @ np.linalg.solve(gram, targets - targets.mean(axis=0))
    weights += np.random.default_rng(seed).normal(0, error, weights.shape) * weights.std() * 10
    bias = targets.mean(axis=0) - centre @ weights
    return (weights * sharpness).astype(np.float32), (bias * sharpness).astype(np.float32)


def _network(weights: Any, bias: Any, size: int) -> onnx.ModelProto:
    """Return the linear model as ONNX, with the inputs and outputs that a trained network has."""
    constants = {"scale": np.float32(1 / 255), "shape": np.array([0, -1]), "weight": weights, "bias": bias}
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["flat"]),
        helper.make_node("Identity", ["flat"], ["features"]),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(bias)]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(weights)]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _write_history(folder: Path, epochs: int, slowness: float) -> None:
    """Write curves as DVCLive does: a loss that falls, an accuracy that rises."""
    steps = np.arange(1, epochs + 1)
    curves = {
        "train/loss": 2 * np.exp(-steps / 2 / slowness),
        "validation/loss": 0.1 + 2 * np.exp(-steps / 3 / slowness),
        "validation/accuracy": 1 - 0.05 * slowness - 0.6 * np.exp(-steps / 2 / slowness),
    }
    for name, values in curves.items():
        lines = [
            f"step\t{name.split('/')[-1]}",
            *(f"{step}\t{value}" for step, value in zip(steps, values, strict=True)),
        ]
        files.write_text(folder / f"{name}.tsv", "\n".join(lines) + "\n")


def write_data_report(
    metrics: Path, figures: Path, card_path: Path, packed_folder: Path, split_path: Path, **facts: Any
) -> None:
    """Write `metrics/data.json`, its card and pictures as the data stages do; `facts` replaces what it says."""
    opened, split = packed.open_packed(packed_folder), packed.read_split(split_path)
    counts = {
        name: {part: int((split.labels[split.rows(part)] == label).sum()) for part in packed.SPLITS}
        for label, name in enumerate(split.classes)
    }
    summary = {
        "dataset": opened.source["title"],
        "source": opened.source["source"],
        "licence": opened.source["licence"],
        "images": len(opened.records),
        "image_size": int(opened.images.shape[1]),
        "classes": len(split.classes),
        "broken": len(opened.broken),
        "groups": 0,
        "copies": 0,
        "near_copies": 0,
        "conflicts": 0,
        "leaks": int(split.leaks.sum()),
        "imbalance": split.imbalance(),
        "left_out": int((split.splits == "left out").sum()),
        **dict.fromkeys(("relabelled", "excluded", "confirmed"), 0),
        **{part: len(split.rows(part)) for part in packed.SPLITS},
        "per_class": counts,
        "hash": packed.fingerprint(packed_folder, split_path),
    }
    files.write_json(metrics, summary | facts)
    files.write_text(card_path, describe(opened, summary | facts))
    figures.mkdir(parents=True, exist_ok=True)
    for name in ("samples", "classes", "brightness"):  # all originals have one size
        Image.fromarray(np.concatenate(list(opened.images[:10]), axis=1)).resize((800, 80)).save(
            figures / f"{name}.png"
        )


def write_project(
    top: Path,
    classes: Sequence[str] = CLASSES,
    networks: Sequence[str] = ("small", "large"),
    per_class: int | Sequence[int] = 40,
    noise: float = 60.0,
    lacking: str = "",
    leaks: int = 0,
    methods: Sequence[Method] = (),
    image_size: int = 16,
) -> Path:
    """Write what evaluate and the stages after it find: `params.yaml`, data and candidates; return `top`.

    The first of `networks` is the best; each further one is worse; `methods` say how they were made. The test split
    has no picture of `lacking`, and its first `leaks` pictures are marked as leaks.
    """
    folder = write_packed(top / "data" / "packed", classes, per_class, image_size, noise)
    split = write_split(top / "data" / "split.csv", folder, lacking, leaks)
    write_data_report(top / "metrics" / "data.json", top / "plots" / "data", top / "data" / "card.md", folder, split)
    store = top / "models" / "candidates"
    write_candidate(store / "baseline", folder, split, "baseline", error=0.15)
    for place, name in enumerate(networks):
        method = methods[place] if methods else "scratch"
        write_candidate(store / name, folder, split, error=0.06 * place, method=method)
    files.write_json(top / "plots" / "robustness" / "summary.json", {"images": 0})
    costs = [(name, 1000, 0.1, 12.5, 0.5, 0.9) for name in networks]
    columns = ("candidate", "parameters", "megabytes", "training_seconds", "milliseconds", "test_accuracy")
    write_csv(top / "plots" / "cost" / "cost.csv", columns, costs)
    (top / "models" / "served").mkdir()
    files.write_json(top / "plots" / "labels" / "summary.json", LABELS)
    forecasts.write(top / "plots" / "labels" / "growth.json", GROWTH, "HOG features", 120, [40, 40, 2])
    listed = "".join(f"  {name}: {{architecture: lab_cnn}}\n" for name in networks)
    files.write_text(
        top / "params.yaml",
        f"dataset: digits\nseed: 0\nscratch:\n{listed}transfer: {{}}\nselect: {{metric: accuracy}}\n"
        "robustness: {images: 20}\npackage: {}\n"
        "serve: {top_k: 3}\nreport: {title: '', author: A. Person}\n",
    )
    return top
