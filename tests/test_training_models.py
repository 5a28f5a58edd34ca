from typing import get_args

import onnxruntime
import pytest
import torch

from darkroom.foundations.errors import DarkroomError
from darkroom.training.engine import scoring
from darkroom.training.networks import export, network
from darkroom.training.networks.models import ZOO
from darkroom.training.networks.network import Network
from darkroom.training.networks.zoo import airbench
from darkroom.training.networks.zoo.dropout import Dropout
from darkroom.training.settings import ONE_SIZE, SMALLEST_IMAGE, Architecture

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def build(architecture: str, classes: int = 10, size: int = 32, width: int = 8) -> Network:
    description = {"architecture": architecture, "width": width}
    return Network(network.build(description, classes, size, seed=0), MEAN, STD)


@pytest.mark.parametrize(
    ("architecture", "width", "parameters"),
    [
        # 3·3·3·w + w, 3·3·w·2w + 2w, and a dense output on 2w·8·8
        ("lab_cnn", 32, 896 + 18496 + 40970),
        ("wic_cnn", 32, 186_826),
        # Brownlee's summaries of the networks without norms; with them two numbers for each of 448 channels and 128
        ("vgg1", 32, 896 + 9248 + 128 * (32 * 16**2 + 1) + 1290),
        ("vgg2", 32, 896 + 9248 + 18496 + 36928 + 128 * (64 * 8**2 + 1) + 1290),
        ("vgg3", 32, 550_570),
        ("vgg3_bn", 32, 550_570 + 2 * (448 + 128)),
        ("vgg3_dropout", 32, 550_570),
        # 309,290 with its statistics, two more numbers for each of 448 channels
        ("vgg_light", 32, 309_290 - 2 * 448),
        # Page's network has 6,573,120 at width 64 and ten classes with biased-free convolutions and norms
        ("resnet9", 64, 6_573_120),
        ("resnet9", 32, 1_646_112),
        # airbench94's summary says 1,972,792, the 24 biases of the whitening layer included
        ("airbench", 64, 1_972_792 - 24),
    ],
)
def test_parameter_counts_at_32_pixels_and_ten_classes(architecture, width, parameters):
    model = network.build({"architecture": architecture, "width": width}, 10, 32, 0)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_wic_cnn_has_187402_numbers_with_its_statistics():
    model = network.build({"architecture": "wic_cnn", "width": 32}, 10, 32, 0)
    statistics = [tensor for name, tensor in model.named_buffers() if "running" in name]
    assert sum(tensor.numel() for tensor in [*model.parameters(), *statistics]) == 187_402


def test_the_names_that_parameters_may_have_are_those_of_the_zoo():
    assert set(ZOO) == set(get_args(Architecture))


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_networks_of_one_size_are_those_that_fail_at_another(architecture):
    model, images = build(architecture), torch.zeros(2, 24, 24, 3)
    if architecture in ONE_SIZE:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            model(images)
    else:
        assert model(images).shape == (2, 10)


@pytest.mark.parametrize(
    ("architecture", "layer", "low", "high"),
    [
        # The standard deviation of weights with that many inputs (and outputs)
        ("wic_cnn", "features.4.weight", 0.98 * (2 / 288) ** 0.5, 1.02 * (2 / 288) ** 0.5),
        ("wic_cnn", "features.18.weight", 0.98 * (2 / 320) ** 0.5, 1.02 * (2 / 320) ** 0.5),
        ("vgg3", "features.2.weight", 0.98 * (2 / 288) ** 0.5, 1.02 * (2 / 288) ** 0.5),
        ("vgg3", "features.16.weight", 0.98 * (2 / 2048) ** 0.5, 1.02 * (2 / 2048) ** 0.5),
        ("vgg3", "head.weight", 0.95 * (2 / 138) ** 0.5, 1.05 * (2 / 138) ** 0.5),
    ],
)
def test_first_weights_have_the_spread_of_their_rule(architecture, layer, low, high):
    model = network.build({"architecture": architecture, "width": 32}, 10, 32, 0)
    assert low < float(model.get_parameter(layer).detach().std()) < high
    assert all(bool((p == 0).all()) for name, p in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("layer", "normal"), [("features.4.weight", True), ("features.18.weight", False), ("head.weight", False)]
)
def test_wic_cnn_draws_normal_convolutions_and_uniform_dense_layers(layer, normal):
    weights = network.build({"architecture": "wic_cnn", "width": 32}, 10, 32, 0).get_parameter(layer).detach()
    assert bool(weights.abs().max() > 2 * weights.std()) == normal  # a uniform draw ends at 1.73 deviations


def test_an_image_that_is_too_small_is_refused_with_the_remedy():
    with pytest.raises(DarkroomError, match=r"wic_cnn needs images of at least 16 pixels, not 15: set"):
        build("wic_cnn", size=15)


@pytest.mark.parametrize("architecture", ZOO)
@pytest.mark.parametrize(("classes", "size"), [(2, 8), (10, 32), (200, 50)])
def test_any_size_and_any_number_of_classes(architecture, classes, size):
    size = max(size, SMALLEST_IMAGE.get(architecture, 0))
    images = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8)
    logits = build(architecture, classes, size)(images)
    assert logits.shape == (3, classes)
    assert logits.dtype == torch.float32


def test_the_seed_decides_the_weights_and_leaves_the_global_state_alone():
    before = torch.random.get_rng_state()
    first, again, other = (
        network.build({"architecture": "lab_cnn", "width": 4}, 3, 8, seed).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_normalisation_is_inside():
    class Probe(torch.nn.Module):
        def forward(self, images):
            return images.mean((2, 3))

    images = torch.full((1, 4, 4, 3), 102, dtype=torch.uint8)  # 0.4
    expected = [(0.4 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    assert Network(Probe(), MEAN, STD)(images)[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("architecture", ZOO)
def test_the_onnx_model_answers_like_the_network_for_any_number_of_images(tmp_path, architecture):
    torch.manual_seed(0)
    model = build(architecture, 5, 16)
    model.train()(torch.randint(0, 256, (32, 16, 16, 3), dtype=torch.uint8))  # statistics that are not trivial
    path = tmp_path / "model.onnx"
    export.write_onnx(path, model, 16)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 3, 7):
        images = torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8)
        logits, features = session.run(["logits", "features"], {"images": images.numpy()})
        with torch.inference_mode(), scoring.captured(model) as captured:
            torch.testing.assert_close(torch.from_numpy(logits), model(images), atol=1e-5, rtol=1e-5)
        assert features.shape == (count, model.model.head.in_features)
        torch.testing.assert_close(torch.from_numpy(features), captured[0], atol=1e-4, rtol=1e-4)


def test_an_onnx_model_holds_no_path_of_this_machine(tmp_path):
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for path in paths:
        export.write_onnx(path, build("lab_cnn", 3, 8), 8)
    data = paths[0].read_bytes()
    assert b"site-packages" not in data
    assert b"darkroom/training" not in data
    assert data == paths[1].read_bytes()


def test_airbench_looks_at_images_piece_by_piece_with_the_same_result(monkeypatch):
    images = torch.randint(0, 256, (10, 24, 24, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole = network.prepare(build("airbench", size=24), images)
    monkeypatch.setattr(airbench, "PIXELS", 3 * 24 * 24)
    pieces = network.prepare(build("airbench", size=24), images)
    torch.testing.assert_close(pieces.model.features[0].weight, whole.model.features[0].weight)


def test_a_network_of_ones_own_may_look_at_images():
    class Mine(torch.nn.Module):
        def prepare(self, images: torch.Tensor) -> None:
            self.seen = images.shape

    whole = network.prepare(Network(Mine(), MEAN, STD), torch.zeros((5, 8, 8, 3), dtype=torch.uint8))
    assert whole.model.seen == (5, 3, 8, 8)


def test_airbench_whitens_the_patches_of_training_images():
    random = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand((40, 3, 6, 6), generator=random), 24, mode="bilinear")
    images = (smooth.permute(0, 2, 3, 1) * 255).to(torch.uint8)
    whole = network.prepare(build("airbench", size=24), images)
    layer = whole.model.features[0]
    assert not layer.weight.requires_grad
    with torch.no_grad():
        responses = layer(whole.normalise(images)).permute(1, 0, 2, 3).flatten(1)
    moments = responses[:12] @ responses[:12].T / responses.shape[1]
    # Directions with variance far above the regulariser come out with 1, and none is correlated with another.
    assert 0.9 < moments.diag().max() <= 1.001
    assert (moments - torch.diag(moments.diag())).abs().max() < 1e-3
    torch.testing.assert_close(responses[12:], -responses[:12])


def test_airbench_begins_by_passing_its_input_on():
    convolutions = [layer for layer in build("airbench").model.features if isinstance(layer, torch.nn.Conv2d)]
    images = torch.rand((1, 32, 9, 9), generator=torch.Generator().manual_seed(0))
    last = convolutions[-1]
    torch.testing.assert_close(last(images)[:, : last.out_channels], images)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_scales_the_rest(layout, kind):
    values = torch.ones((40, 50, 9, 9), dtype=kind).to(memory_format=layout).requires_grad_()
    layer = Dropout(0.2)
    torch.manual_seed(0)
    dropped = layer(values)
    assert dropped.stride() == values.stride()
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1.25, dtype=kind).item()}
    for axis in range(4):  # about a fifth in every image, channel, row and column
        shares = (dropped == 0).float().transpose(0, axis).flatten(1).mean(1)
        assert (shares - 0.2).abs().max() < 0.03
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped)
    torch.manual_seed(0)
    assert torch.equal(layer(values), dropped)
    assert not torch.equal(layer(values), dropped)
    assert layer.eval()(values) is values


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_at_its_ends(share, expected):
    assert Dropout(share)(torch.ones(7, 3)).unique().tolist() == [expected]
