"""Features, the last layer that is fitted to them, and folds."""

import math
import os

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from darkroom import packed
from darkroom.foundations.errors import DarkroomError
from darkroom.training.engine import batches, checkpoint, device, scoring
from darkroom.training.networks import network
from darkroom.training.networks.network import Network
from darkroom.training.transfer import features, folds, initialization, probe
from darkroom.training.transfer.features import FeatureCache
from tests import factories

CPU = device.Compute(torch.device("cpu"))


def clouds(count=300, classes=3, values=20, spread=1.5, seed=0):
    """Return float16 features in overlapping clouds, of very different scales and far from zero, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(9).normal(0, 1, (classes, values))
    points = centres[labels] + random.normal(0, spread, (count, values))
    return (points * np.logspace(-2, 1, values) + 5).astype(np.float16), labels.astype(np.int64)


def test_the_head_is_the_optimum_that_scikit_learn_finds_on_scaled_features():
    training, validation = clouds(), clouds(seed=1)
    head = probe.fit(training, validation, 3)
    scale = probe.scaling(training[0])
    exact = LogisticRegression(C=1 / (head.strength * 300), tol=1e-8, max_iter=5000)
    exact.fit(scale.apply(training[0]).astype(np.float64), training[1])
    expected = exact.predict_proba(scale.apply(validation[0]).astype(np.float64))
    logits = validation[0].astype(np.float64) @ head.weight.T + head.bias
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 0.01
    assert head.accuracy == (logits.argmax(axis=1) == validation[1]).mean()
    assert head.loss == pytest.approx(probe.cross_entropy(logits, validation[1]), abs=1e-4)


def test_validation_chooses_the_strength():
    head = probe.fit(clouds(), clouds(seed=1), 3)
    losses = {}
    for strength, weight, bias in probe.path(
        probe.scaling(clouds()[0]).apply(clouds()[0]), clouds()[1], 3, probe.STRENGTHS
    ):
        logits = probe.scaling(clouds()[0]).apply(clouds(seed=1)[0]) @ weight.T + bias
        losses[strength] = probe.cross_entropy(logits, clouds(seed=1)[1])
    assert head.strength == min(losses, key=losses.__getitem__)
    assert probe.STRENGTHS[0] > head.strength > probe.STRENGTHS[-1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_layer_answers_as_the_head(bias, classes):
    training, validation = clouds(classes=classes), clouds(classes=classes, seed=1)
    head = probe.fit(training, validation, classes, intercept=bias)
    layer = torch.nn.Linear(20, classes, bias=bias)
    head.write(layer, scale=1 / 8)
    logits = layer(torch.from_numpy(validation[0].astype(np.float32))).detach().numpy() / 8
    assert (logits.argmax(1) == validation[1]).mean() == pytest.approx(head.accuracy, abs=0.004)
    assert head.accuracy > 0.8
    assert bias or not head.bias.any()


def test_balance_gives_a_rare_class_its_say():
    points, labels = clouds(count=600)
    rare = (labels != 2) | (np.arange(600) % 20 == 2)
    uneven, evaluated = (points[rare], labels[rare]), clouds(seed=1)
    found = []
    for balanced in (False, True):
        head = probe.fit(uneven, evaluated, 3, balanced)
        guesses = (evaluated[0].astype(np.float32) @ head.weight.T + head.bias).argmax(axis=1)
        found.append((guesses[evaluated[1] == 2] == 2).mean())
    assert found[1] > found[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    top = tmp_path_factory.mktemp("features")
    factories.write_packed(top / "packed", per_class=20)
    factories.write_split(top / "split.csv", top / "packed")
    return top


def context(place):
    data, split = packed.open_packed(place / "packed"), packed.read_split(place / "split.csv")
    whole = Network(network.build({"architecture": "resnet9", "width": 4}, 3, 16, 0), [0.5] * 3, [0.25] * 3)
    return whole, batches.load(data.images, split, "train", CPU.device), split.rows("train")


def cache(folder, whole, limit=10**9):
    return FeatureCache(folder, features.fingerprint(whole, CPU), "images", 60, limit)


def test_features_are_what_the_last_layer_reads_of_the_plain_and_the_mirrored_image(place, tmp_path):
    whole, data, rows = context(place)
    with torch.inference_mode():
        whole.eval()
        for view, images in (("plain", data.images), ("mirrored", data.images.flip(2))):
            found = features.extract(whole, data, rows, view, cache(tmp_path, whole), CPU)
            expected = whole.model.features(whole.normalise(images)).numpy()
            assert found.dtype == np.float16
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


def test_nothing_is_computed_twice_and_a_broken_off_run_goes_on(place, tmp_path, monkeypatch):
    whole, data, rows = context(place)
    seen = []
    whole.model.features.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    kept = cache(tmp_path, whole)
    half = batches.Data(data.images[:10], None, data.labels[:10])
    first = features.extract(whole, half, rows[:10], "plain", kept, CPU)
    assert sum(seen) == 10
    monkeypatch.setattr(features, "EVERY", 0.0)
    monkeypatch.setattr(scoring, "chunk_size", lambda size: 7)

    class KilledError(Exception):
        pass

    def kill(module, inputs):
        if len(seen) == 4:
            raise KilledError

    handle = whole.model.features.register_forward_pre_hook(kill)
    with pytest.raises(KilledError):
        features.extract(whole, data, rows, "plain", kept, CPU)
    handle.remove()
    assert sum(seen) == 10 + 3 * 7
    whole_set = features.extract(whole, data, rows, "plain", kept, CPU)
    assert sum(seen) == len(rows)
    assert np.array_equal(whole_set[:10], first)
    fresh = features.extract(whole, data, rows, "plain", cache(tmp_path / "other", whole), CPU)
    np.testing.assert_allclose(whole_set, fresh, rtol=2e-3, atol=1e-3)


def test_other_code_or_torchvision_is_other_features(place, monkeypatch):
    whole = context(place)[0]
    keys = {features.fingerprint(whole, CPU)}
    monkeypatch.setattr(features, "version", lambda name: f"another {name}")
    keys.add(features.fingerprint(whole, CPU))
    monkeypatch.setattr(checkpoint, "code", lambda: "another")
    keys.add(features.fingerprint(whole, CPU))
    assert len(keys) == 3


def test_what_another_process_overwrites_is_not_lost_and_cached_features_keep_their_time(place, tmp_path, monkeypatch):
    whole, data, rows = context(place)
    kept = cache(tmp_path, whole)
    first = features.extract(whole, data, rows, "plain", kept, CPU)
    assert 0 < kept.spent("plain", rows[:9]) < kept.spent("plain", rows)
    assert kept.spent("mirrored", rows) == 0
    other = cache(tmp_path / "other", whole)
    monkeypatch.setattr(FeatureCache, "save", lambda *_: None)
    assert np.array_equal(features.extract(whole, data, rows, "plain", other, CPU), first)


def test_other_weights_are_other_features_and_old_ones_make_room(place, tmp_path):
    whole, data, rows = context(place)
    features.extract(whole, data, rows, "plain", cache(tmp_path, whole), CPU)
    [first] = tmp_path.iterdir()
    os.utime(first, (1, 1))
    with torch.no_grad():
        whole.model.features[0].weight += 1
    features.extract(whole, data, rows, "plain", cache(tmp_path, whole), CPU)
    assert len(list(tmp_path.iterdir())) == 2
    features.extract(whole, data, rows, "mirrored", cache(tmp_path, whole, limit=2 * first.stat().st_size), CPU)
    assert len(list(tmp_path.iterdir())) == 2
    assert not first.exists()
    damaged = next(iter(tmp_path.iterdir()))
    damaged.write_bytes(b"no")
    for view in ("plain", "mirrored"):
        assert len(features.extract(whole, data, rows, view, cache(tmp_path, whole), CPU)) == len(rows)


def test_saving_features_writes_their_rows_and_nothing_else(tmp_path):
    whole = tmp_path / "features"
    kept = FeatureCache(whole, "network", "images", 1000, 10**9)
    values = np.arange(20, dtype=np.float16).reshape(2, 10)
    kept.save("plain", np.array([3, 900]), values, 1.0)
    [path] = whole.iterdir()
    inode, blocks = path.stat().st_ino, path.stat().st_blocks
    kept.save("plain", np.array([4, 901]), values + 1, 2.0)
    assert path.stat().st_ino == inode  # the same file: not written anew
    assert path.stat().st_blocks == blocks
    found, known = kept.load("plain", np.array([3, 4, 5, 900, 901]))
    assert known.tolist() == [True, True, False, True, True]
    assert found[[0, 3]].tolist() == values.tolist()
    assert found[[1, 4]].tolist() == (values + 1).tolist()
    assert kept.spent("plain", np.arange(1000)) == pytest.approx(3.0)


@pytest.mark.parametrize("damage", ["cut", "empty", "other rows"])
def test_damaged_features_are_computed_again(tmp_path, damage):
    kept = FeatureCache(tmp_path, "network", "images", 100, 10**9)
    kept.save("plain", np.arange(3), np.ones((3, 8), np.float16), 1.0)
    [path] = tmp_path.iterdir()
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:60])
        case "empty":
            path.write_bytes(b"")
        case "other rows":
            kept = FeatureCache(tmp_path, "network", "images", 101, 10**9)
            path.rename(kept._path("plain"))
    assert kept.load("plain", np.arange(3))[0] is None
    kept.save("plain", np.arange(2), np.ones((2, 8), np.float16), 1.0)
    assert kept.load("plain", np.arange(3))[1].tolist() == [True, True, False]


def test_features_that_a_cut_lost_are_unknown(tmp_path):
    kept = FeatureCache(tmp_path, "network", "images", 100, 10**9)
    kept.save("plain", np.arange(100), np.ones((100, 8), np.float16), 1.0)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found, known = kept.load("plain", np.arange(100))
    assert 30 < known.sum() < 60
    assert (found[known] == 1).all()
    assert not known[60:].any()


def test_a_head_for_very_many_images_is_fitted_to_the_same_share_of_each_class():
    labels = np.array([0] * 1000 + [1] * 100 + [2] * 6)
    chosen = probe.sample(labels, 300, 0)
    assert np.bincount(labels[chosen]).tolist() == [271, 27, 6]
    assert (np.diff(chosen) > 0).all()
    assert chosen.tolist() == probe.sample(labels, 300, 0).tolist()
    assert probe.sample(labels, 300, 1).tolist() != chosen.tolist()
    assert probe.sample(labels, 2000, 0).tolist() == list(range(1106))
    assert probe.most_images(1280, 10) == 2**28 // 1280
    assert probe.most_images(1280, 1000) == 2**35 // 1_280_000


def test_features_of_some_images_are_those_of_all(place, tmp_path):
    whole, data, rows = context(place)
    chosen = probe.sample(data.labels.numpy(), 20, 0)
    part = data.subset(chosen)
    assert torch.equal(part.images, data.images[torch.from_numpy(chosen)])
    assert torch.equal(part.labels, data.labels[torch.from_numpy(chosen)])
    everything = features.extract(whole, data, rows, "plain", cache(tmp_path / "all", whole), CPU)
    found = features.extract(whole, part, rows[chosen], "plain", cache(tmp_path / "some", whole), CPU)
    np.testing.assert_allclose(found, everything[chosen], rtol=2e-3, atol=1e-3)


def test_folds_tell_what_is_learnable_and_keep_families_together():
    points, labels = clouds(count=120)
    head = probe.fit((points, labels), clouds(seed=1), 3)
    alone = np.arange(120)
    told = folds.evaluate(points, [], labels, alone, 3, head, 5, 0)
    assert (told.folds, told.repeats, told.images) == (5, 2, 120)
    assert told.accuracy > 0.8
    assert told.macro_f1 == pytest.approx(told.accuracy, abs=0.02)
    assert 0 < told.log_loss < 1
    assert 0 < told.spread < 0.2
    assert told == folds.evaluate(points, [], labels, alone, 3, head, 5, 0)
    # Noise with every image twice: a fold that split the twins would be as good as certain.
    noise = np.random.default_rng(0).normal(0, 1, (60, 40)).astype(np.float16).repeat(2, axis=0)
    classes = (np.arange(120) // 2 % 3).astype(np.int64)
    loose = probe.Head(head.weight, head.bias, 1e-3, math.inf, 0.0)
    apart, together = (folds.evaluate(noise, [], classes, family, 3, loose, 5, 0) for family in (alone, alone // 2))
    assert apart.accuracy > 0.8
    assert together.accuracy < 0.6


@pytest.mark.parametrize(
    ("together", "fewest", "remedy"),
    [
        (lambda labels: np.arange(9), 3, 3),
        (lambda labels: np.arange(9) % 3, 1, 0),  # three groups, each a class
        (lambda labels: np.where(labels == 1, 9, np.arange(9)), 1, 0),  # one class is one family
    ],
)
def test_more_folds_than_families_of_a_class_are_refused(together, fewest, remedy):
    points, labels = clouds(count=9)
    head = probe.fit(clouds(), clouds(seed=1), 3)
    message = rf"select\.folds: 5 needs as many .* and one class has {fewest}: set it to {remedy}$"
    with pytest.raises(DarkroomError, match=message):
        folds.evaluate(points, [], labels, together(labels), 3, head, 5, 0)


def test_a_fold_that_takes_a_whole_class_is_refused():
    # Scikit-learn puts both families of class 0 into one of two folds.
    sizes = {0: (1, 5, 5), 1: (0, 1, 5), 2: (5, 0, 0), 3: (0, 1, 0), 4: (0, 6, 5)}
    labels = np.concatenate([np.repeat([0, 1, 2], counts) for counts in sizes.values()])
    families = np.repeat(list(sizes), [sum(counts) for counts in sizes.values()])
    points = np.random.default_rng(0).normal(0, 1, (len(labels), 4)).astype(np.float16)
    head = probe.fit(clouds(), clouds(seed=1), 3)
    with pytest.raises(
        DarkroomError, match=r"select\.folds: 2 leaves a class without training images in one fold.* 0 for"
    ):
        folds.evaluate(points, [], labels, families, 3, head, 2, 0)


def test_folds_judge_heads_without_bias_for_layers_without_bias():
    # Far from the origin only one side of the line tells the classes apart, which takes a bias.
    labels = np.arange(200) % 2
    points = (10 + labels[:, None] + np.random.default_rng(0).normal(0, 0.05, (200, 1))).astype(np.float16)
    head = probe.Head(np.zeros((2, 1), np.float32), np.zeros(2, np.float32), 1e-4, math.inf, 0.0)
    options = (points, [], labels, np.arange(200), 2, head, 5, 0, False)
    assert folds.evaluate(*options, intercept=True).accuracy > 0.95
    assert folds.evaluate(*options, intercept=False).accuracy < 0.6


@pytest.mark.parametrize(
    ("method", "images", "where", "expected", "reason"),
    [
        ("auto", 200, "cpu", "probe", "200 training images are fewer than 5,000"),
        ("auto", 200, "cuda", "probe", "fewer than 5,000"),
        ("auto", 9_000, "cpu", "probe", "needs a GPU"),
        ("auto", 9_000, "cuda", "probe+finetune", "9,000 training images and a GPU"),
        ("finetune", 200, "cpu", "finetune", "as set in params.yaml"),
    ],
)
def test_the_method_follows_from_the_data_and_the_machine_and_says_why(method, images, where, expected, reason):
    found, words = initialization.choose(method, images, where)
    assert found == expected
    assert reason in words
