from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from darkroom.explaining import FALLS, RISES, enlarge, occlusion, overlay, with_scale
from darkroom.predictor import Predictor
from tests import factories


@pytest.fixture(scope="module", params=[16, 24])
def predictor(request, tmp_path_factory):
    """Return a network that sees nothing but one corner: the brighter it is, the likelier the class 1."""
    folder = tmp_path_factory.mktemp("net")
    side = request.param
    packed_folder = factories.write_packed(folder / "packed", ("no", "yes"), 10, size=side)
    split = factories.write_split(folder / "split.csv", packed_folder)
    candidate = factories.write_candidate(folder / "net", packed_folder, split)
    weight = np.zeros((side, side, 3, 2), dtype=np.float32)
    weight[: side // 4, -side // 4 :, :, 1] = 1 / (16 * side**2)
    constants = {"shape": np.array([0, -1]), "weight": weight.reshape(-1, 2)}
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), candidate / "model.onnx")
    return Predictor(candidate, threads=1)


def test_the_place_that_decides_is_found_and_the_other_class_sees_its_mirror(predictor):
    side = predictor.card.image_size
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image[: side // 4, -side // 4 :] = 255
    found = occlusion(predictor, image, 1)
    heat = found.heat
    assert heat.shape == (side, side)
    assert heat.dtype == np.float32
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < side // 4
    assert column >= side - side // 4
    assert heat.max() > 0.5
    assert 0.1 < found.strongest < 1
    assert abs(heat[side // 2 :, : side // 2]).max() < 0.05
    np.testing.assert_allclose(occlusion(predictor, image, 0).heat, -heat, atol=1e-5)


def test_an_even_picture_has_nothing_to_hide(predictor):
    side = predictor.card.image_size
    heat = occlusion(predictor, np.full((side, side, 3), 90, dtype=np.uint8), 1).heat
    assert not heat.any()
    shown = overlay(np.full((side, side, 3), 90, dtype=np.uint8), heat)
    assert (shown == shown[0, 0, 0]).all()


def test_heat_is_orange_cold_is_blue_and_what_hardly_matters_is_pale():
    image = np.full((8, 8, 3), 200, dtype=np.uint8)
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[0, 0], heat[7, 7] = 0.5, -0.5
    shown = overlay(image, heat)
    assert shown.dtype == np.uint8
    assert np.abs(shown[0, 0] - np.array(FALLS)).max() < 60
    assert np.abs(shown[7, 7] - np.array(RISES)).max() < 60
    assert shown[4, 4].tolist() == [214, 214, 214]
    faint = overlay(image, heat / 100_000)
    assert np.abs(faint.astype(int) - 214).max() <= 3


class Sure:
    """A network that is sure beyond what a probability can tell, as long as the left half is bright."""

    card = SimpleNamespace(side=16, temperature=1.0)

    def logits(self, images):
        bright = images[:, :, :8].mean(axis=(1, 2, 3)) / 255
        return np.stack([40 * bright + 20, np.zeros(len(images))], axis=1).astype(np.float32)


def test_a_sure_answer_is_explained_although_its_probability_does_not_move():
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    image[:, :8] = 255
    found = occlusion(Sure(), image, 0)
    assert found.strongest < 1e-8
    assert found.heat[:, :6].min() > 10 * abs(found.heat[:, 12:]).max()
    shown = overlay(image, found.heat).astype(int)
    orange = shown[..., 0] - shown[..., 2]
    assert orange[:, :6].min() > 50
    assert orange[:, 12:].max() < 20


def test_an_explanation_is_enlarged_and_has_a_scale():
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[:4] = 2.0
    large = enlarge(heat, (300, 300))
    assert (large.shape, large.dtype) == ((300, 300), np.float32)
    assert (large[:100].min(), large[-100:].max()) == (2.0, 0.0)
    overlaid = overlay(np.full((300, 300, 3), 128, np.uint8), large)
    picture = np.asarray(with_scale(overlaid, 2.0)).astype(int)
    assert (picture[:300] == overlaid).all()
    scale = picture[300:]
    assert scale.shape == (25, 300, 3)
    assert scale[0, 0, 2] > scale[0, 0, 0]  # blue, against
    assert scale[0, -1, 0] > scale[0, -1, 2]  # orange, for
    assert (scale.sum(axis=2) < 150).any()  # the numbers
