from darkroom.candidate import Layer
from darkroom.reporting import diagram
from darkroom.reporting.architecture import Step, steps

CONVOLUTION = "convolution 3×3"


def convolution(name, channels, side, parameters=100):
    shape = [channels, side, side]
    return [
        Layer(f"{name}.0", CONVOLUTION, shape, parameters),
        Layer(f"{name}.1", "batch norm", shape, 2 * channels),
        Layer(f"{name}.2", "ReLU", shape, 0),
    ]


def block(name, channels, side, kind="Residual block"):
    layers = [*convolution(f"{name}.a", channels, side), *convolution(f"{name}.b", channels, side)]
    return [*layers, Layer(name, kind, [channels, side, side], 0)]


def test_norms_and_rectifiers_stand_with_their_layer():
    (step,) = steps(convolution("a", 8, 32))
    assert step == Step("convolution 3×3, batch norm, ReLU", "", 1, [8, 32, 32], 116)
    assert step.title == step.kind
    assert step.shape == "32\u00a0×\u00a032\u00a0×\u00a08"


def test_equal_neighbours_are_one_step_and_others_are_not():
    rows = steps([*convolution("a", 8, 32), *convolution("b", 8, 32), *convolution("c", 16, 32)])
    assert [(row.repeats, row.parameters) for row in rows] == [(2, 232), (1, 132)]
    assert rows[0].title == "convolution 3×3, batch norm, ReLU (2×)"


def test_a_block_is_one_step_and_blocks_of_one_image_size_are_one():
    rows = steps([*block("a", 8, 32), *block("b", 16, 32), *block("c", 16, 16)])
    assert [(row.kind, row.repeats, row.output) for row in rows] == [
        ("Residual block", 2, [16, 32, 32]),
        ("Residual block", 1, [16, 16, 16]),
    ]
    assert rows[0].detail == "convolution 3×3, batch norm, ReLU (2×) → plus the input"
    assert rows[0].parameters == 2 * 116 + 2 * 132


def test_a_block_whose_name_begins_like_another_is_its_own():
    rows = steps([*block("features.1", 8, 32, "Bottleneck block"), *block("features.10", 8, 16, "Bottleneck block")])
    assert [row.parameters for row in rows] == [232, 232]


def test_flatten_is_told_only_where_it_changes_something():
    pooled = [Layer("p", "global max pooling", [8], 0), Layer("f", "flatten", [8], 0)]
    assert [step.kind for step in steps(pooled)] == ["global max pooling"]
    maps = [Layer("p", "max pooling 2×2", [8, 4, 4], 0), Layer("f", "flatten", [128], 0)]
    assert [step.kind for step in steps(maps)] == ["max pooling 2×2", "flatten"]
    assert steps(maps)[1].shape == "128"


def test_a_drawing_names_every_step_and_its_parameters():
    rows = [Step("dense", "", 1, [10], 1234), Step("Fire block", "convolution 1×1", 3, [4, 2, 2], 0)]
    texts = {text.get_text() for text in diagram.draw(rows, 32).axes[0].texts}
    assert "0" not in texts
    assert {"image", "dense", "1,234", "Fire block (3×)", "convolution 1×1", "32\u00a0×\u00a032\u00a0×\u00a03"} <= texts


def test_no_layers_are_no_steps():
    assert steps([]) == []
