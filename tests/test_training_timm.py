"""EfficientNet-Lite with its installed weights, and any other network of timm with random ones."""

import sys

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch.nn import functional

from darkroom import candidate
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.networks import export
from darkroom.training.networks.network import Network
from darkroom.training.settings import OWN_INPUT, TransferSettings
from darkroom.training.transfer import backbones, packaged, timm_networks, weights
from tests.test_training_backbones import ANIMALS, animals, check_step_and_export, pictures

LITE = list(packaged.PACKAGES)
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LITE]
REPEATS = {LITE[0]: (1, 2, 2, 3, 3, 4, 1), LITE[1]: (1, 3, 3, 4, 4, 5, 1), LITE[2]: (1, 3, 3, 4, 4, 5, 1)}
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Of the first block of each stage: Tan and Le, arXiv 1905.11946, table 1."""


def read(name):
    return weights.load(packaged.find(name), name)


def original(name, state, images):
    """Return ImageNet logits of normalised images by the package's names alone, padded as TensorFlow pads."""

    def layer(values, conv, norm, stride=1, depthwise=False, clip=True):
        weight = state[f"{conv}.weight"]
        side, kernel = values.shape[-1], weight.shape[-1]
        gap = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        values = functional.pad(values, (gap // 2, gap - gap // 2, gap // 2, gap - gap // 2))
        values = functional.conv2d(values, weight, stride=stride, groups=len(weight) if depthwise else 1)
        mean, variance, scale, shift = (
            state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        values = functional.batch_norm(values, mean, variance, scale, shift, eps=1e-3)
        return values.clamp(0, 6) if clip else values

    values = layer(images, "_conv_stem", "_bn0", stride=2)
    strides = [
        stride if place == 0 else 1
        for count, stride in zip(REPEATS[name], STRIDES, strict=True)
        for place in range(count)
    ]
    for number, stride in enumerate(strides):
        block, before = f"_blocks.{number}", values
        if f"{block}._expand_conv.weight" in state:
            values = layer(values, f"{block}._expand_conv", f"{block}._bn0")
        values = layer(values, f"{block}._depthwise_conv", f"{block}._bn1", stride, depthwise=True)
        values = layer(values, f"{block}._project_conv", f"{block}._bn2", clip=False)
        if values.shape == before.shape:
            values = values + before
    values = layer(values, "_conv_head", "_bn1").mean((2, 3))
    return values @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.mark.parametrize(("name", "size"), [(LITE[0], None), (LITE[0], 150), (LITE[1], None), (LITE[2], None)])
def test_installed_weights_answer_as_in_their_own_network(name, size):
    state = read(name)
    model = backbones.build(name, 3, 64, size, state=state).eval()
    assert model.side == size or OWN_INPUT[name]
    images = pictures(2, model.side, seed=3)
    with torch.inference_mode():
        normalised = Network(model, *backbones.normalisation(name)).normalise(images)
        expected = original(name, state, (images.permute(0, 3, 1, 2).float() - 127) / 128)
        logits = model.features(normalised) @ state["_fc.weight"].T + state["_fc.bias"]
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SLOW)
def test_a_lite_network_freezes_takes_a_step_and_answers_as_its_onnx_model(tmp_path, name):
    network = built(name, state=read(name), input_size=96)
    check_step_and_export(tmp_path, network, TransferSettings(architecture=name, optimizer="sgd", learning_rate=0.01))
    again = built(name, state=network.state_dict(), input_size=96, classes=5).state_dict()  # as a candidate's weights
    for key, tensor in network.state_dict().items():
        assert not key.startswith("model.features.") or torch.equal(again[key], tensor), key


def built(name, state=None, input_size=None, classes=3):
    model = backbones.build(name, classes, 40, input_size, 0, state)
    network = Network(model, *backbones.normalisation(name))
    network.side = model.side
    return network


@pytest.mark.shared
@pytest.mark.parametrize("name", LITE)
def test_installed_weights_know_animals(shared, name):
    network, state = built(name, read(name)).eval(), read(name)
    photographs, truth = animals(shared, OWN_INPUT[name])
    with torch.inference_mode():
        features = network.model.features(network.normalise(torch.stack(photographs)))
    guesses = (features @ state["_fc.weight"].T + state["_fc.bias"]).argmax(1).tolist()
    right = sum(guess in classes for guess, classes in zip(guesses, truth, strict=True))
    assert len(truth) == 3 * len(ANIMALS)
    assert right >= len(truth) * 2 / 3


@pytest.mark.parametrize(
    ("name", "side", "values"),
    [
        ("resnet18", 64, 512),
        pytest.param("mobilenetv4_conv_small", 64, 1280, marks=pytest.mark.slow),
        pytest.param("vit_small_patch14_dinov2", 56, 384, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", 64, 768, marks=pytest.mark.slow),
        pytest.param("vit_base_patch16_siglip_224", 48, 768, marks=pytest.mark.slow),
    ],
)
def test_any_network_of_timm_freezes_takes_a_step_and_answers_as_its_onnx_model(tmp_path, name, side, values):
    architecture = f"timm/{name}"
    network = built(architecture, input_size=side)
    assert (network.side, network.model.head.in_features) == (side, values)
    config = timm.get_pretrained_cfg(name)
    assert backbones.normalisation(architecture) == (list(config.mean), list(config.std))
    assert backbones.side(architecture, 40, None) == config.input_size[-1]
    assert network.model.features.resize.mode == config.interpolation == "bicubic"
    settings = TransferSettings(architecture=architecture, weights="w.safetensors", learning_rate=0.01)
    check_step_and_export(tmp_path, network, settings)


@pytest.mark.parametrize(("name", "side"), [("resnet18", 64), ("vit_tiny_patch16_224", 64)])
@pytest.mark.parametrize("classes", [0, 7])
def test_weights_under_the_names_of_timm_are_read_whole(tmp_path, name, side, classes):
    torch.manual_seed(0)
    other = timm.create_model(name, num_classes=classes)  # positions for 224 pixels, where it has any
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    settings = TransferSettings(
        architecture=f"timm/{name}",
        weights=str(tmp_path / "w.safetensors"),
        sha256=files.sha256(tmp_path / "w.safetensors"),
        input_size=side,
    )
    pretrained.fetch(settings, tmp_path / "backbones", tmp_path / "downloads", tmp_path)
    network, description, words = weights.read(tmp_path, settings, 3, 40, 0)
    assert words == f"timm/{name}, from the weights w.safetensors"
    assert description == {"architecture": f"timm/{name}", "input_size": side, "side": side}
    again = backbones.build(description["architecture"], 3, 40, description["input_size"], 0, network.state_dict())
    images = network.normalise(pictures(2))
    with torch.inference_mode():
        seen = network.eval().model.features(images)
        torch.testing.assert_close(again.eval().features(images), seen)
        if name == "resnet18":
            resized = network.model.features.resize(images)
            torch.testing.assert_close(
                other.eval().forward_head(other.forward_features(resized), pre_logits=True), seen
            )
    last = "layer4.1.conv2.weight" if name == "resnet18" else "blocks.11.mlp.fc2.weight"
    assert torch.equal(network.state_dict()[f"model.features.network.{last}"], other.state_dict()[last])


def test_position_embeddings_are_resampled_to_the_size_of_the_images():
    torch.manual_seed(0)
    name = "vit_small_patch14_dinov2"
    state = timm.create_model(name, depth=1).state_dict()  # for 518 pixels, and without its other eleven blocks
    shallow = {key.replace("blocks.0.", f"blocks.{block}."): state[key] for block in range(12) for key in state}
    network, values = timm_networks.create(f"timm/{name}", 56, shallow)
    assert values == 384
    given, made = state["pos_embed"], network.state_dict()["pos_embed"]
    assert (given.shape, made.shape) == ((1, 1 + 37 * 37, 384), (1, 1 + 4 * 4, 384))
    torch.testing.assert_close(made, resample_abs_pos_embed(given, [4, 4], num_prefix_tokens=1))
    assert network(torch.zeros(2, 3, 56, 56)).shape == (2, 384)
    with pytest.raises(DarkroomError, match="needs a multiple of 14, such as 56 or 70, not 64"):
        timm_networks.create(f"timm/{name}", 64, shallow)


def test_a_candidate_of_timm_is_where_another_training_starts(tmp_path):
    network = built("timm/resnet18", input_size=64)
    mean, std = backbones.normalisation("timm/resnet18")
    card = candidate.Card("mine", "transfer", "resnet18", ["a", "b"], 40, 1, "0" * 64, {}, 1.0, mean=mean, std=std)
    fields = vars(card) | {"network": {"architecture": "timm/resnet18", "input_size": 64, "side": 64}}
    candidate.write_card(tmp_path, candidate.Card(**fields))
    export.write_weights(tmp_path / "weights.safetensors", network)
    files.write_json(tmp_path / "source.json", vars(pretrained.Origin("mine", "", "0" * 64, "weights.safetensors")))
    again, _, _ = weights.read(tmp_path, TransferSettings(weights=str(tmp_path)), 5, 40, 0)
    key = "model.features.network.conv1.weight"
    assert torch.equal(again.state_dict()[key], network.state_dict()[key])


@pytest.mark.parametrize(
    ("name", "size", "state", "message"),
    [
        ("timm/resnet19", None, None, "has no network for images of the name resnet19: did you mean timm/resnet1"),
        ("timm/resnet18", 64, {"a": torch.zeros(1)}, r"cannot be built for 64 pixels with these weights .*Missing key"),
        ("timm/vit_tiny_patch16_224", 64, {"a": torch.zeros(1)}, "with these weights .* set input_size to its own 224"),
        (
            LITE[0],
            64,
            {"_conv_stem.weight": torch.zeros(1)},
            f"these weights do not fit {LITE[0]}: .* tensors are missing",
        ),
    ],
)
def test_what_does_not_fit_is_one_message(name, size, state, message):
    with pytest.raises(DarkroomError, match=message) as caught:
        backbones.build(name, 3, 40, size, 0, state)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LITE)
def test_installed_weights_are_recognised_under_their_own_names_and_those_of_timm(name):
    state = read(name)
    assert backbones.recognise(state) == name
    renamed = timm_networks.renamed(state, timm.create_model(timm_networks.LITE[name]))
    assert backbones.recognise(renamed) == name


def test_networks_of_torchvision_and_candidates_need_no_timm(monkeypatch):
    state = backbones.build("squeezenet1_0", 3, 64).state_dict()
    monkeypatch.setitem(sys.modules, "timm", None)  # importing it is an error
    with pytest.raises(ImportError):
        backbones.build(LITE[0], 3, 64)
    assert backbones.build("squeezenet1_0", 3, 64, state=state).side == 64
    assert backbones.normalisation("squeezenet1_0")[0] == [0.485, 0.456, 0.406]
    assert backbones.side("vit_b_16", 64, None) == 224
