"""Compare scores that separate in-distribution from out-of-distribution images.

    OMP_NUM_THREADS=1 PYTHONPATH=. nice python benchmarks/out_of_distribution.py ../shared

The scores: the largest probability and the energy, both of calibrated logits; the cosine similarity to the k-th nearest
training image, by the features before the last layer (Sun et al., Out-of-distribution Detection with Deep Nearest
Neighbors, ICML 2022); and combinations of them. The scenarios:

- `cifar, trained`: `backbones/cifar10_backbone` with its own last layer.
- `cifar, probe`: a probe of efficientnet_lite0 at 96 pixels.
- `cifar, probe, two left out`: the same without two classes, whose images are the near ones; five pairs.
- `cifar, scratch, two left out`: resnet9 of width 32, trained from random weights for `EPOCHS`; two pairs.
- `digits, two left out`: lab_cnn and resnet9, trained from random weights; three pairs.
- `animals, probe`: ten classes of the sample photographs at 224 pixels.
- `animals, two classes`: the same with two classes, for nine pairs; photographs of the other eight are the near images.

Near: classes that were left out. Far: everything else. For the generated kinds (noise, plain, shuffled) thresholds can
be fitted; the others are never seen in fitting. Features are cached in --cache by content. Prints Markdown tables:
the AUROC of held-out against foreign images, and the share accepted where 95% of validation images are.
"""

import argparse
import hashlib
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from darkroom import images as decoding
from darkroom import neighbors
from darkroom.evaluation.checks import out_of_distribution
from darkroom.evaluation.scores.calibration import fit_temperature
from darkroom.thresholds import Outputs, in_distribution_score
from darkroom.training.networks import network as networks
from darkroom.training.networks.network import Network
from darkroom.training.transfer import backbones, out_of_fold, packaged, probe, weights
from darkroom.training.transfer.cache import FeatureCache

KS = (1, 5, 10, 50)
CHOICES = {
    "maximum or energy": ("max probability", "energy"),
    "also kNN": ("max probability", "energy", "kNN, k=5"),
    "also kNN + energy": ("max probability", "energy", "kNN, k=5", "kNN + energy"),
}
"""Scores among which the generated images choose."""
EPOCHS = 10
COUNT = 200
"""Foreign images of each kind."""
ROOT = Path(__file__).parents[1]
Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass
class Part:
    """Images as the network sees them."""

    features: Floats
    logits: Floats


@dataclass
class Case:
    """One classifier with its images."""

    name: str
    index: Floats
    """Features of the training images, shape (images, values)."""
    validation: Part
    test: Part
    near: dict[str, Part]
    far: dict[str, Part]
    accuracy: float
    temperature: float


class Extractor:
    """Features of images by a network, cached by the content of each image."""

    def __init__(self, name: str, network: Network, folder: Path) -> None:
        self.network, self.cache = network.eval(), FeatureCache(folder)
        digest = hashlib.sha256(name.encode())
        for tensor in network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        self.identity = digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, images: Images) -> Floats:
        """Return features, shape (images, values)."""
        hashes = [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]
        found = self.cache.load(self.identity, hashes)
        layers, size = self.network.model.get_submodule("features"), max(1, 2**18 // images.shape[1] ** 2)
        for places in np.array_split(np.flatnonzero(~found.known), max(1, int((~found.known).sum()) // size)):
            if len(places):
                values = layers(self.network.normalise(torch.from_numpy(images[places]))).half().numpy()
                self.cache.save(self.identity, [hashes[place] for place in places], values, 0.0)
        return self.cache.load(self.identity, hashes).features.astype(np.float32)


def scores(case: Case) -> dict[str, Callable[[Part], Scores]]:
    """Return the score functions of one case by name; higher means more likely in distribution."""
    temperature = case.temperature
    index = normalised(case.index)
    centre = case.index.mean(axis=0)
    centred = normalised(case.index - centre)

    def similar(part: Part, k: int) -> Scores:
        return kth(normalised(part.features) @ index.T, k)

    def energy(part: Part) -> Scores:
        return in_distribution_score(Outputs(part.logits), temperature, "energy")

    def largest(part: Part) -> Scores:
        return in_distribution_score(Outputs(part.logits), temperature, "max_probability")

    def odds(part: Part) -> Scores:
        return -np.log1p(1e-12 - largest(part))

    def standard(score: Callable[[Part], Scores]) -> Callable[[Part], Scores]:
        known = score(case.validation)
        mean, spread = known.mean(), known.std() + 1e-9
        return lambda part: (score(part) - mean) / spread

    def ranked(score: Callable[[Part], Scores]) -> Callable[[Part], Scores]:
        known = np.sort(score(case.validation))
        return lambda part: np.searchsorted(known, score(part)) / len(known)

    def five(part: Part) -> Scores:
        return similar(part, 5)

    found: dict[str, Callable[[Part], Scores]] = {"max probability": largest, "energy": energy}
    found |= {f"kNN, k={k}": (lambda part, k=k: similar(part, k)) for k in KS if k <= len(index) // 2}
    found["kNN, k=5, centred"] = lambda part: kth(normalised(part.features - centre) @ centred.T, 5)
    z_energy, z_knn, z_odds = standard(energy), standard(five), standard(odds)
    found["kNN + energy"] = lambda part: z_energy(part) + z_knn(part)
    found["kNN + log odds"] = lambda part: z_odds(part) + z_knn(part)
    r_largest, r_knn = ranked(largest), ranked(five)
    found["least rank of kNN and max"] = lambda part: np.minimum(r_largest(part), r_knn(part))
    found["similarity × energy"] = lambda part: energy(part) * five(part)
    small = neighbors.build(neighbors.reduce(case.index), *[np.arange(len(index))] * 2)
    found["kNN, k=5, as served"] = lambda part: small.score(small.embed(part.features)).astype(np.float64)
    for name, names in CHOICES.items():
        found[f"chosen: {name}"] = found[max(names, key=lambda each: separation(case, found[each]))]
    return found


def separation(case: Case, score: Callable[[Part], Scores]) -> float:
    """Return the AUROC of validation against generated images, by which a score is chosen."""
    known, others = (
        score(case.validation),
        np.concatenate([score(case.far[kind]) for kind in ("noise", "plain", "shuffled")]),
    )
    return float(roc_auc_score(np.arange(len(known) + len(others)) < len(known), np.concatenate([known, others])))


def normalised(features: Floats) -> Floats:
    """Return rows of length 1."""
    rows: Floats = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return rows


def kth(similarities: Floats, k: int) -> Scores:
    """Return the k-th largest similarity of each row."""
    return np.partition(similarities, -k, axis=1)[:, -k].astype(np.float64)


def foreign(side: int, known: Images, classes: list[str]) -> dict[str, Images]:
    """Return foreign images by kind; thresholds can be fitted with the first three."""
    kinds = out_of_distribution.generated(known, 1, COUNT)
    return kinds | out_of_distribution.bundled(side, classes, 1, COUNT)


def read_cifar(shared: Path, side: int, training: int, testing: int) -> dict[str, tuple[Images, Labels]]:
    """Return this many images per class of both parts."""
    found: dict[str, list[tuple[Images, str]]] = {"train": [], "test": []}
    with tarfile.open(shared / "data" / "cifar10-images.tar.gz") as archive:
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for member in archive:
            if not member.isfile() or not member.name.endswith(".jpg"):
                continue
            part, label = member.name.split("/")[-3:-1]
            counts[part, label] += 1
            if counts[part, label] <= (training if part == "train" else testing):
                data = archive.extractfile(member)
                assert data is not None
                found[part].append((decoding.decode(data.read(), side).pixels, label))
    return {part: arrays(rows) for part, rows in found.items()}


def read_animals(shared: Path, side: int) -> tuple[Images, Labels]:
    """Return the sample photographs."""
    with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        return arrays([(decoding.decode(archive.read(name), side).pixels, name.split("/")[1]) for name in names])


def arrays(rows: list[tuple[Images, str]]) -> tuple[Images, Labels]:
    """Return images, shape (N, S, S, 3), and labels, numbered by name."""
    names = sorted({label for _, label in rows})
    return np.stack([image for image, _ in rows]), np.array([names.index(label) for _, label in rows])


def lite(side: int, folder: Path) -> Extractor:
    """Return efficientnet_lite0 with ImageNet weights."""
    name = "efficientnet_lite0"
    state = weights.load(packaged.find(name), name)
    model = backbones.build(name, 2, side, side, 0, state)
    return Extractor(f"{name} {side}", Network(model, *backbones.normalisation(name)), folder)


def make(
    name: str,
    extract: Extractor,
    data: tuple[Images, Labels, Images, Labels, Images, Labels],
    left_out: Images | None,
    kinds: dict[str, Images],
    head: Callable[[Floats], Floats] | None,
) -> Case:
    """Return the case of a network and the images of three splits; without `head`, a probe is fitted as in training."""
    train, labels, validation, held_out, test, truth = data
    known = [extract(part) for part in (train, validation, test)]
    if head is None:
        both = np.concatenate(known[:2]).astype(np.float16)
        targets, classes = np.concatenate([labels, held_out]), int(labels.max()) + 1
        if len(validation) < 500:
            folds = out_of_fold.divide(targets, np.arange(len(targets)), classes, 0)
            fitted = out_of_fold.fit([both], targets, folds, classes, False, True)
            best, logits = fitted.head, fitted.logits[len(train) :]
        else:
            best = probe.fit((both[: len(train)], labels), (both[len(train) :], held_out), classes)
            logits = known[1] @ best.weight.T + best.bias

        def head(features: Floats) -> Floats:
            answers: Floats = features @ best.weight.T + best.bias
            return answers

    else:
        logits = head(known[1])
    assert head is not None

    def part(images: Images) -> Part:
        return Part(extract(images), head(extract(images)))

    near = {} if left_out is None else {"left out": part(left_out)}
    far = {kind: part(images) for kind, images in kinds.items()}
    accuracy = float((head(known[2]).argmax(axis=1) == truth).mean())
    temperature = fit_temperature(logits, held_out)
    return Case(name, known[0], Part(known[1], logits), part(test), near, far, accuracy, temperature)


def trained_head(network: Network) -> Callable[[Floats], Floats]:
    """Return the last layer of a trained network."""
    layer, scale = network.model.get_submodule("head"), getattr(network.model, "scale", 1.0)

    @torch.inference_mode()
    def head(features: Floats) -> Floats:
        logits: Floats = (layer(torch.from_numpy(features)) * scale).numpy()
        return logits

    return head


def train(architecture: str, width: int, images: Images, labels: Labels, epochs: int, flip: bool) -> Network:
    """Train a network of the zoo with AdamW and a one-cycle learning rate."""
    torch.manual_seed(0)
    classes, side = int(labels.max()) + 1, images.shape[1]
    model = networks.build({"architecture": architecture, "width": width}, classes, side, 0)
    mean, std = (images.reshape(-1, 3).astype(np.float32) / 255).mean(0), (images / 255.0).reshape(-1, 3).std(0)
    network = Network(model, mean.tolist(), std.tolist()).train()
    batch, steps = 64, epochs * (len(images) // 64)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(epochs):
        for places in torch.randperm(len(pixels)).split(batch)[: len(images) // batch]:
            some = pixels[places].float()
            some = some.flip(2) if flip and torch.rand(()) < 0.5 else some
            some = some.roll(tuple(torch.randint(-2, 3, (2,)).tolist()), (1, 2))
            loss = torch.nn.functional.cross_entropy(network(some), targets[places], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def without(images: Images, labels: Labels, left_out: Sequence[int]) -> tuple[Images, Labels]:
    """Return the images of the other classes, numbered anew."""
    kept = [number for number in range(int(labels.max()) + 1) if number not in left_out]
    rows = np.isin(labels, kept)
    return images[rows], np.searchsorted(kept, labels[rows])


def of(images: Images, labels: Labels, chosen: Sequence[int], count: int = COUNT) -> Images:
    """Return up to `count` images of these classes."""
    return images[np.isin(labels, chosen)][:: max(1, int(np.isin(labels, chosen).sum()) // count)][:count]


def splits(images: Images, labels: Labels, validation: float, test: float) -> tuple[Images | Labels, ...]:
    """Return images and labels of three stratified splits."""
    rest, held, rest_labels, held_labels = train_test_split(
        images, labels, test_size=test, stratify=labels, random_state=0
    )
    size = validation / (1 - test)
    first, second, a, b = train_test_split(rest, rest_labels, test_size=size, stratify=rest_labels, random_state=0)
    return first, a, second, b, held, held_labels


def halves(images: Images, labels: Labels) -> tuple[Images, Labels, Images, Labels]:
    """Return every other image."""
    return images[::2], labels[::2], images[1::2], labels[1::2]


def cifar_trained(shared: Path, folder: Path) -> Iterator[Case]:
    data = read_cifar(shared, 32, 1000, 200)
    description = {"architecture": "resnet9", "width": 32}
    network = Network(networks.build(description, 10, 32, 0), [0.4912, 0.4819, 0.4464], [0.2452, 0.2428, 0.2606])
    state = weights.load(ROOT / "backbones/cifar10_backbone/weights.safetensors", "cifar10_backbone")
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    kinds = foreign(32, data["test"][0], ["cat"])
    animals, labels = read_animals(shared, 32)
    kinds["animals"] = of(animals, labels, OTHERS)
    parts = (*data["train"], *halves(*data["test"]))
    yield make("cifar, trained", Extractor("resnet9", network, folder), parts, None, kinds, trained_head(network))


def cifar_probe(shared: Path, folder: Path) -> Iterator[Case]:
    data, extract = read_cifar(shared, 96, 300, 150), lite(96, folder)
    kinds = foreign(96, data["test"][0], ["cat"])
    animals, labels = read_animals(shared, 96)
    kinds["animals"] = of(animals, labels, OTHERS)
    yield make("cifar, probe", extract, (*data["train"], *halves(*data["test"])), None, kinds, None)
    for pair in ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)):
        known, truth = without(*data["test"], pair)
        parts = (*without(*data["train"], pair), *halves(known, truth))
        yield make("cifar, probe, two left out", extract, parts, of(*data["test"], pair), kinds, None)


def cifar_scratch(shared: Path, folder: Path) -> Iterator[Case]:
    data = read_cifar(shared, 32, 1000, 200)
    kinds = foreign(32, data["test"][0], ["cat"])
    animals, labels = read_animals(shared, 32)
    kinds["animals"] = of(animals, labels, OTHERS)
    for pair in ((2, 3), (8, 9)):
        images, targets = without(*data["train"], pair)
        network = trained(folder, "resnet9", 32, images, targets, EPOCHS, True)
        parts = (images, targets, *halves(*without(*data["test"], pair)))
        extract = Extractor("resnet9", network, folder)
        left_out = of(*data["test"], pair)
        yield make("cifar, scratch, two left out", extract, parts, left_out, kinds, trained_head(network))


def digits(shared: Path, folder: Path) -> Iterator[Case]:
    grey = (load_digits().images * (255 / 16)).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    images, labels = np.stack([grey] * 3, axis=-1), load_digits().target.astype(np.int64)
    animals, _ = read_animals(shared, 16)
    for architecture in ("lab_cnn", "resnet9"):
        for pair in ((0, 1), (4, 7), (8, 9)):
            parts = splits(*without(images, labels, pair), 0.15, 0.2)
            network = trained(folder, architecture, 32, parts[0], parts[1], EPOCHS, False)
            kinds = foreign(16, parts[2], ["0"]) | {"animals": animals[::2]}
            extract = Extractor(architecture, network, folder)
            left_out = of(images, labels, pair)
            name = f"digits, {architecture}, two left out"
            yield make(name, extract, parts, left_out, kinds, trained_head(network))


def animals(shared: Path, folder: Path) -> Iterator[Case]:
    images, labels = read_animals(shared, 224)
    extract = lite(224, folder)
    cifar = of(*read_cifar(shared, 224, 1, 10)["test"], (0, 1, 6, 8, 9), 50)
    kinds = foreign(224, images, ["cat"]) | {"cifar": cifar}
    yield make("animals, probe", extract, splits(images, labels, 0.15, 0.2), None, kinds, None)
    for first in range(9):
        pair = (first, first + 1)
        rest = [number for number in range(10) if number not in pair]
        parts = splits(*without(images, labels, rest), 0.2, 0.3)
        yield make("animals, two classes", extract, parts, of(images, labels, rest, 256), kinds, None)


def trained(folder: Path, architecture: str, width: int, images: Images, labels: Labels, *more: Any) -> Network:
    """Return a trained network, kept in the cache folder."""
    key = hashlib.sha256(f"{architecture} {width} {more}".encode() + images.tobytes()).hexdigest()[:24]
    path = folder / f"{key}.pt"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(train(architecture, width, images, labels, *more), path)
    network: Network = torch.load(path, weights_only=False)
    return network


def measure(case: Case, rows: dict[tuple[str, str], list[tuple[float, ...]]]) -> None:
    """Add AUROC and accepted shares of each score, for near and far images and each kind of the latter."""
    for name, score in scores(case).items():
        validation, test = np.sort(score(case.validation)), score(case.test)
        limits = [np.quantile(validation, share) for share in REJECTED]
        for kind, part in (case.near | case.far).items():
            values = score(part)
            auroc = roc_auc_score(np.arange(len(test) + len(values)) < len(test), np.concatenate([test, values]))
            shares = [float((values >= limit).mean()) for limit in limits]
            rows[name, kind].append((float(auroc), *shares, *(float((test >= limit).mean()) for limit in limits)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare out-of-distribution scores.")
    parser.add_argument("shared", type=Path, help="the folder with real images")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/darkroom-out-of-distribution"))
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    arguments = parser.parse_args()
    for scenario in arguments.only:
        found: dict[str, dict[tuple[str, str], list[tuple[float, ...]]]] = {}
        accuracies = defaultdict(list)
        for case in SCENARIOS[scenario](arguments.shared, arguments.cache):
            measure(case, found.setdefault(case.name, defaultdict(list)))
            accuracies[case.name].append(case.accuracy)
        for name, rows in found.items():
            print(f"\n**{name}**: {len(accuracies[name])} classifiers, test accuracy {np.mean(accuracies[name]):.1%}\n")
            show(rows)


def show(rows: dict[tuple[str, str], list[tuple[float, ...]]]) -> None:
    """Print AUROC, and shares accepted where 95 and 85% of validation images are, in percent."""
    kinds = list(dict.fromkeys(kind for _, kind in rows))
    print("| score | " + " | ".join(kinds) + " | known |")
    print("|---|" + "---|" * (len(kinds) + 1))
    for name in dict.fromkeys(name for name, _ in rows):
        means = [np.mean(rows[name, kind], axis=0) * 100 for kind in kinds]
        cells = [f"{mean[0]:.1f} ({mean[1]:.0f}, {mean[2]:.0f})" for mean in means]
        print(f"| {name} | " + " | ".join(cells) + f" | {means[0][3]:.0f}, {means[0][4]:.0f} |", flush=True)


REJECTED = (0.05, 0.15)
OTHERS = (2, 3, 6, 7, 8, 9)
"""Sample animals that are none of CIFAR's classes; elephant, butterfly, cow, sheep, spider, squirrel"""
SCENARIOS = {
    "trained": cifar_trained,
    "probe": cifar_probe,
    "scratch": cifar_scratch,
    "digits": digits,
    "animals": animals,
}

if __name__ == "__main__":
    main()
