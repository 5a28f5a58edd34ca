import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from darkroom.explaining import FALLS, RISES, occlusion, overlay
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
    heat = occlusion(predictor, image, 1)
    assert heat.shape == (side, side)
    assert heat.dtype == np.float32
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < side // 4
    assert column >= side - side // 4
    assert heat.max() > 0.1
    assert abs(heat[side // 2 :, : side // 2]).max() < 0.01
    np.testing.assert_allclose(occlusion(predictor, image, 0), -heat, atol=1e-6)


def test_an_even_picture_has_nothing_to_hide(predictor):
    side = predictor.card.image_size
    heat = occlusion(predictor, np.full((side, side, 3), 90, dtype=np.uint8), 1)
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
