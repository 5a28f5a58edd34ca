"""Networks of torchvision, with random weights: taken apart, frozen, trained for a step, exported."""

import dataclasses
import zipfile
from collections import OrderedDict
from typing import get_args

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from darkroom import candidate, images
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.engine import optimizer
from darkroom.training.networks import export
from darkroom.training.networks.network import Network
from darkroom.training.settings import ONLY_INPUT, SMALLEST_INPUT, TorchvisionName, TransferSettings
from darkroom.training.transfer import backbones, initialization, weights

QUICK = ("resnet18", "squeezenet1_0")
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in get_args(TorchvisionName)]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def pictures(count, size=40, seed=0):
    return torch.randint(
        0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def whole(name, classes=3, size=40, state=None):
    model = backbones.build(name, classes, size, None, 0, state)
    network = Network(model, MEAN, STD)
    network.side = model.side
    return network


def settled(network):
    """Give batch norms the statistics of random images: with none, random deep networks give numbers without bounds."""
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None  # the mean of all batches, which are one
    with torch.no_grad():
        network.train()(pictures(4, seed=2))
    return network.eval()


@pytest.mark.parametrize("name", ALL)
def test_a_backbone_takes_published_weights_freezes_takes_a_step_and_answers_as_its_onnx_model(tmp_path, name):
    network = with_published_weights(name)  # one build for all, which is seconds for some
    check_step_and_export(tmp_path, network, TransferSettings(architecture=name, optimizer="sgd", learning_rate=0.01))


def check_step_and_export(tmp_path, network, settings):
    """Check that a network of three classes freezes, takes a step in its layers and answers as its ONNX model."""
    settled(network)
    network.frozen_norms = True
    groups = optimizer.groups(initialization.shares(network.model, settings), settings)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.parameters())  # each learns, once
    [descent] = optimizer.build(groups, settings)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    network.train()
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert network.model.head.training
    assert not any(part.training for part in norms)
    loss = torch.nn.functional.cross_entropy(network(pictures(4)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # gradients of random deep networks know no bounds
    descent.step()
    after = network.state_dict()
    for key, tensor in before.items():
        counted = "running_" in key or key.endswith("num_batches_tracked")
        assert not counted or torch.equal(tensor, after[key]), key
    assert not torch.equal(before["model.head.weight"], after["model.head.weight"])
    export.write_onnx(tmp_path / "model.onnx", network, 40)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    some = pictures(2, seed=1)
    (logits,) = session.run(["logits"], {"images": some.numpy()})
    with torch.inference_mode():
        values = network.eval().model.features(network.normalise(some))
        expected = network.model.head(values)
    assert logits.shape == (2, 3)
    spread = max(1.0, float(values.abs().max()))
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=5e-4 * spread, rtol=1e-4)


def with_published_weights(name):
    """Return a network with random weights under torchvision's names, after a look at how it takes them."""
    from torchvision.models import get_model

    torch.manual_seed(1)
    heads = {"aux_logits": True} if name in ("googlenet", "inception_v3") else {}
    original = get_model(name, weights=None, **{**backbones.OPTIONS.get(name, {}), **heads})
    network = whole(name, state=original.state_dict())
    assert not any(tensor.is_meta for tensor in network.state_dict().values())
    assert network.model.head.out_features == 3
    original.aux_logits = False
    original.eval()
    network.eval()
    with torch.inference_mode():
        normalised = network.model.features.resize(network.normalise(pictures(2)))
        seen = network.model.features(network.normalise(pictures(2)))
        last = [part for part in original.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)][-1]
        if isinstance(last, torch.nn.Linear):
            found = last(seen)
        else:  # squeezenet1_0 pools after its last layer
            maps = network.model.features.network.features(normalised)
            torch.testing.assert_close(seen, maps.relu().mean((2, 3)), atol=1e-4, rtol=1e-4)
            found = last(maps).relu().mean((2, 3))
        torch.testing.assert_close(found, original(normalised), atol=1e-4, rtol=1e-4)
    # A candidate's own weights fit as well; all are new tensors, or nothing would be compared.
    state = network.state_dict()
    again = whole(name, classes=5, state={key: tensor + 0 for key, tensor in state.items()}).state_dict()
    for key in state:
        assert not key.startswith("model.features.") or torch.equal(again[key], state[key]), key
    return network


def test_frozen_norms_stay_frozen_over_several_processes():
    network = Network(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)), MEAN, STD)
    network.frozen_norms = True
    network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    before = network.model[1].running_mean.clone()
    network(pictures(2, 8))
    assert isinstance(network.model[1], torch.nn.SyncBatchNorm)
    assert torch.equal(network.model[1].running_mean, before)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("vit_b_16", {"input_size": 160}, "input_size: vit_b_16 accepts only 224 pixels, not 160"),
        ("inception_v3", {"input_size": 64}, "input_size: inception_v3 needs at least 75 pixels, not 64"),
        ("resnet18", {"small_start": 0.5}, "small_start: 0.5 is for networks of the zoo, which resnet18 is not"),
    ],
)
def test_sizes_are_checked_where_the_card_of_a_candidate_names_the_network(tmp_path, name, given, message):
    card = candidate.Card("mine", "transfer", name, ["a", "b"], 64, 1, "0" * 64, {}, 1.0, mean=MEAN, std=STD)
    card = dataclasses.replace(card, network={"architecture": name, "input_size": None})
    candidate.write_card(tmp_path, card)
    save_file({}, tmp_path / "weights.safetensors")
    files.write_json(tmp_path / "source.json", vars(pretrained.Origin("mine", "", "0" * 64, "weights.safetensors")))
    with pytest.raises(DarkroomError, match=message):
        weights.read(tmp_path, TransferSettings(weights=str(tmp_path), **given), 2, 64, 0)


def test_metadata_gives_address_checksum_and_normalisation():
    found = backbones.published("mobilenet_v2")
    assert found.file == f"mobilenet_v2-{found.sha256}.pth"
    assert len(found.sha256) == 8
    assert backbones.normalisation("mobilenet_v2") == (MEAN, STD)


@pytest.mark.parametrize(
    ("name", "image_size", "input_size", "expected"),
    [
        ("resnet18", 160, None, 160),
        ("resnet18", 32, None, 64),
        ("resnet18", 32, 32, 32),
        ("resnet18", 64, 128, 128),
        ("inception_v3", 32, None, SMALLEST_INPUT["inception_v3"]),
        ("vit_b_16", 160, None, ONLY_INPUT["vit_b_16"]),
    ],
)
def test_the_side_at_which_a_network_sees_images(name, image_size, input_size, expected):
    assert backbones.side(name, image_size, input_size) == expected


@pytest.mark.parametrize(("size", "mode"), [(32, "bilinear"), (100, "bilinear"), (32, "bicubic"), (100, "bicubic")])
def test_images_of_another_size_are_resized_inside_the_onnx_model(tmp_path, size, mode):
    class Means(torch.nn.Module):
        def forward(self, images):
            return images[:, :, ::7, ::5].flatten(1)

    layers = OrderedDict(features=backbones.Resize(64, mode), head=Means())
    network = Network(torch.nn.Sequential(layers), [0.5] * 3, [0.25] * 3)
    export.write_onnx(tmp_path / "model.onnx", network, size)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (values,) = session.run(["logits"], {"images": pictures(3, size).numpy()})
    torch.testing.assert_close(torch.from_numpy(values), network(pictures(3, size)), atol=1e-4, rtol=1e-4)


def test_weights_of_another_network_are_refused_with_what_does_not_fit():
    state = whole("squeezenet1_0").state_dict()
    with pytest.raises(DarkroomError, match=r"these weights do not fit resnet18: \d+ tensors are missing, \d+ unknown"):
        whole("resnet18", state=state)


def test_the_lowest_layers_learn_least():
    settings = TransferSettings(architecture="resnet18", learning_rate=1.0, backbone_factor=0.2, lower_factor=0.1)
    network = whole("resnet18")
    rates = [share for _, share in initialization.shares(network.model, settings)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.02)
    assert rates[-2:] == [pytest.approx(0.2), 1.0]


def test_only_tensors_are_read(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "nested.pth")
    assert weights.load(tmp_path / "nested.pth", "x").keys() == {"a"}
    save_file({"a": torch.ones(2)}, tmp_path / "plain.safetensors")
    assert weights.load(tmp_path / "plain.safetensors", "x").keys() == {"a"}
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(DarkroomError, match=r"mine\.pth cannot be read as plain weights: save the state dict"):
        weights.load(tmp_path / "module.pth", "mine.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(DarkroomError, match=r"mine\.pth contains no state dict"):
        weights.load(tmp_path / "list.pth", "mine.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(DarkroomError, match="cannot be read"):
        weights.load(tmp_path / "broken.safetensors", "mine")


ANIMALS = {  # folders of the sample, and the ImageNet classes that they are
    "cane": range(151, 269),
    "cavallo": [339],
    "elefante": [101, 385, 386],
    "farfalla": range(321, 327),
    "gatto": range(281, 286),
    "ragno": range(72, 78),
    "scoiattolo": [335],
}


def animals(shared, size):
    """Return three photographs of each animal, uint8 (S, S, 3), and for each the ImageNet classes that are right."""
    photographs, truth = [], []
    with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
        for folder, classes in ANIMALS.items():
            for path in [path for path in archive.namelist() if f"/{folder}/" in path and path[-1] != "/"][:3]:
                photographs.append(torch.tensor(images.decode(archive.read(path), size).pixels))
                truth.append(classes)
    return photographs, truth


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_0"])
def test_real_weights_know_animals(shared, tmp_path, name):
    file = shared / "weights" / f"{name}-imagenet.pth"
    settings = TransferSettings(architecture=name, weights=str(file), sha256=files.sha256(file))
    pretrained.fetch(settings, tmp_path / "backbones", tmp_path / "downloads", tmp_path)
    network, description, words = weights.read(tmp_path, settings, 7, 224, 0)
    assert description == {"architecture": name, "input_size": None, "side": 224}
    assert words == f"{name}, from the weights {file.name}, normalised as ImageNet's"
    # The old last layer, which reads what the new one reads; that of squeezenet1_0 comes before the pooling.
    state = torch.load(file, weights_only=True)
    weight, bias = (state[f"classifier.1.{part}"].float() for part in ("weight", "bias"))
    photographs, truth = animals(shared, 224)
    with torch.inference_mode():
        normalised = network.eval().normalise(torch.stack(photographs))
        if name == "mobilenet_v2":
            logits = network.model.features(normalised) @ weight.T + bias
        else:
            maps = network.model.features.network.features(normalised)
            logits = torch.nn.functional.conv2d(maps, weight, bias).relu().mean((2, 3))
    guesses = logits.argmax(1).tolist()
    right = sum(guess in classes for guess, classes in zip(guesses, truth, strict=True))
    assert right >= len(truth) / 2  # two thirds are known by the weights' own account
