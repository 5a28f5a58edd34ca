"""Features of images and their cache."""

import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom import packed
from darkroom.training.engine import batches, checkpoint, device, scoring
from darkroom.training.networks import models, network
from darkroom.training.networks.network import Network
from darkroom.training.transfer import backbones, features, probe
from darkroom.training.transfer.cache import FeatureCache
from darkroom.training.transfer.features import Extractor
from tests import factories

CPU = device.Compute(torch.device("cpu"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    top = tmp_path_factory.mktemp("features")
    factories.write_packed(top / "packed", per_class=20)
    factories.write_split(top / "split.csv", top / "packed")
    return top


def resnet(seed=0):
    return Network(network.build({"architecture": "resnet9", "width": 4}, 3, 16, seed), [0.5] * 3, [0.25] * 3)


def training(place):
    images, split = packed.open_images(place / "packed"), packed.read_split(place / "split.csv")
    return batches.load(images, split, "train", CPU.device)


def extractor(folder, whole=None):
    return Extractor(whole or resnet(), "resnet9", FeatureCache(folder), CPU)


@pytest.fixture
def passes(monkeypatch):
    """Return a list to which every image that passes through a network adds itself."""
    seen = []
    normalise = Network.normalise

    def watched(self, images):
        seen.extend(images)
        return normalise(self, images)

    monkeypatch.setattr(Network, "normalise", watched)
    return seen


def test_features_are_what_the_last_layer_reads_of_the_plain_and_the_mirrored_image(place, tmp_path):
    whole, data = resnet(), training(place)
    with torch.inference_mode():
        whole.eval()
        for view, images in (("plain", data.images), ("mirrored", data.images.flip(2))):
            found = extractor(tmp_path, whole).extract(data, features.hashes(data), view)
            expected = whole.model.features(whole.normalise(images)).numpy()
            assert found.dtype == np.float16
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


def test_new_images_among_known_ones_cost_their_own_passes_and_another_order_or_split_none(place, tmp_path, passes):
    data = training(place)
    hashes = features.hashes(data)
    some = np.arange(3, len(data))
    first = extractor(tmp_path).extract(data.subset(some), [hashes[number] for number in some], "plain")
    assert len(passes) == len(some)
    everything = extractor(tmp_path).extract(data, hashes, "plain")
    assert len(passes) == len(data)  # the three new ones
    assert np.array_equal(everything[some], first)
    order = np.random.default_rng(0).permutation(len(data))
    again = extractor(tmp_path).extract(data.subset(order), [hashes[number] for number in order], "plain")
    assert len(passes) == len(data)
    assert np.array_equal(again, everything[order])
    fresh = extractor(tmp_path / "other").extract(data, hashes, "plain")
    np.testing.assert_allclose(everything, fresh, rtol=2e-3, atol=1e-3)


def test_an_image_is_identified_by_its_pixels_wherever_they_lie(place):
    data = training(place)
    images, split = packed.open_images(place / "packed"), packed.read_split(place / "split.csv")
    file = batches.load(images, split, "train", CPU.device, "file")
    hashes = features.hashes(data)
    assert hashes == features.hashes(file)
    assert len(set(hashes)) == len({image.numpy().tobytes() for image in data.images})
    data.images[0, 0, 0, 0] ^= 1
    assert [new == old for new, old in zip(features.hashes(data), hashes, strict=True)].count(False) == 1


def test_an_interrupted_run_resumes(place, tmp_path, monkeypatch, passes):
    data = training(place)
    monkeypatch.setattr(features, "EVERY", 0.0)
    monkeypatch.setattr(scoring, "chunk_size", lambda size: 7)
    whole = resnet()

    class KilledError(Exception):
        pass

    def kill(module, inputs):
        if len(passes) > 21:
            raise KilledError

    handle = whole.model.features.register_forward_pre_hook(kill)
    with pytest.raises(KilledError):
        extractor(tmp_path, whole).extract(data, features.hashes(data), "plain")
    handle.remove()
    del passes[:]
    extractor(tmp_path, whole).extract(data, features.hashes(data), "plain")
    assert len(passes) == len(data) - 21


def test_cached_features_keep_the_time_that_they_took(place, tmp_path):
    data = training(place)
    hashes = features.hashes(data)
    first = extractor(tmp_path)
    begin = time.perf_counter()
    first.extract(data, hashes, "plain")
    spent = time.perf_counter() - begin
    assert first.seconds == 0
    second, part = extractor(tmp_path), extractor(tmp_path)
    second.extract(data, hashes, "plain")
    assert 0 < second.seconds <= spent
    part.extract(data.subset(np.arange(10)), hashes[:10], "plain")
    assert part.seconds == pytest.approx(second.seconds * 10 / len(data))


class Layer(torch.nn.Identity):
    """A layer of another package."""

    __module__ = "timm.layers"


def test_what_determines_features_is_part_of_their_identity_and_nothing_else(monkeypatch):
    whole = resnet()
    known = [features.fingerprint(whole, "resnet9", CPU)]
    with torch.no_grad():
        whole.model.head.weight += 1  # the new last layer, which depends on the seed
    monkeypatch.setattr(checkpoint, "code", lambda: "another training loop")
    assert features.fingerprint(whole, "resnet9", CPU) == known[0]

    known.append(features.fingerprint(whole, "resnet10", CPU))
    known.append(features.fingerprint(whole, "resnet9", device.Compute(CPU.device, torch.bfloat16)))
    whole.side = 64
    known.append(features.fingerprint(whole, "resnet9", CPU))
    whole.mean += 0.1
    known.append(features.fingerprint(whole, "resnet9", CPU))
    next(part for part in whole.modules() if isinstance(part, torch.nn.MaxPool2d)).stride = 1
    known.append(features.fingerprint(whole, "resnet9", CPU))
    with torch.no_grad():
        whole.model.features[0].weight += 1
    known.append(features.fingerprint(whole, "resnet9", CPU))
    whole.model.features.add_module("another", Layer())
    known.append(features.fingerprint(whole, "resnet9", CPU))
    monkeypatch.setattr(features, "version", lambda name: f"another {name}")
    known.append(features.fingerprint(whole, "resnet9", CPU))
    monkeypatch.setattr(features, "_code", lambda: ["another"])
    known.append(features.fingerprint(whole, "resnet9", CPU))
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("name", [*models.ZOO, "efficientnet_lite0"])
def test_the_code_of_every_layer_is_part_of_the_identity(name):
    if name in models.ZOO:
        model = network.build({"architecture": name, "width": 8}, 3, 32, 0)
    else:
        model = backbones.build(name, 3, 64)
    top = Path(features.__file__).parents[1]
    listed = {path for pattern in features.CODE for path in top.glob(pattern)}
    assert len(listed) > len(features.CODE)
    modules = {type(part).__module__ for part in Network(model, [0.0] * 3, [1.0] * 3).modules()}
    used = {Path(import_module(each).__file__) for each in modules if each.startswith("darkroom.")}
    assert used <= listed


def test_features_of_some_images_are_those_of_all(place, tmp_path):
    data = training(place)
    hashes = features.hashes(data)
    chosen = probe.sample(data.labels.numpy(), 20, 0)
    part = data.subset(chosen)
    assert torch.equal(part.images, data.images[torch.from_numpy(chosen)])
    assert torch.equal(part.labels, data.labels[torch.from_numpy(chosen)])
    everything = extractor(tmp_path / "all").extract(data, hashes, "plain")
    found = extractor(tmp_path / "some").extract(part, [hashes[number] for number in chosen], "plain")
    np.testing.assert_allclose(found, everything[chosen], rtol=2e-3, atol=1e-3)


def test_a_cache_that_cannot_be_used_does_not_stop_a_run(place, tmp_path, capsys):
    data = training(place)
    expected = extractor(tmp_path / "good").extract(data, features.hashes(data), "plain")
    (tmp_path / "file").write_text("in the way of the folder")
    found = extractor(tmp_path / "file").extract(data, features.hashes(data), "plain")
    assert np.array_equal(found, expected)
    assert "features.sqlite cannot be used" in capsys.readouterr().err
