"""Class activation maps: the contribution of each position of the last feature map to the logit of a class.

The contribution is the decrease of the logit when the position is set to zero. For a network that averages its last
feature map before a dense layer, this is the class activation map of Zhou et al. (Learning Deep Features for
Discriminative Localization, 2016, equation 2). It needs neither gradients nor the name of a layer, so it works for
every exported network with a feature map.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnx.utils import Extractor
from PIL import Image

if TYPE_CHECKING:
    import onnxruntime

INPUT = "images"
"""Name of the input of exported networks."""


@dataclass(frozen=True)
class Cut:
    """A feature map through which all information about the image passes."""

    name: str
    channels_last: bool


class Activation:
    """An exported network in two parts: up to its last feature map, and from there to the logits."""

    def __init__(self, path: Path) -> None:
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        self.cut = _last_map(model.graph)
        if self.cut:
            logits = model.graph.output[0].name
            whole = Extractor(model)
            self._before = _session(whole.extract_model([INPUT], [self.cut.name]))
            # The rest may read the batch size from the input.
            self._after = _session(whole.extract_model([INPUT, self.cut.name], [logits]))

    def map(self, image: npt.NDArray[np.uint8], target: int) -> npt.NDArray[np.float32] | None:
        """Return the contributions to the logit of class `target`, float32, shape (S, S), interpolated bilinearly.

        image: uint8, shape (S, S, 3). None if the network has no feature map.
        """
        if self.cut is None:
            return None
        features = self._before.run(None, {INPUT: image[np.newaxis]})[0]
        height, width = features.shape[1:3] if self.cut.channels_last else features.shape[2:4]
        logits = [self._logit(image, features, target)]
        for y in range(height):  # row by row: a copy of the map for each position would be large
            hidden = np.repeat(features, width, axis=0)
            for x in range(width):
                hidden[(x, y, x) if self.cut.channels_last else (x, slice(None), y, x)] = 0
            logits.append(self._logit(image, hidden, target))
        falls = logits[0] - np.concatenate(logits[1:]).reshape(height, width)
        side = len(image)
        return np.asarray(Image.fromarray(falls.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))

    def _logit(
        self, image: npt.NDArray[np.uint8], features: npt.NDArray[np.float32], target: int
    ) -> npt.NDArray[np.float32]:
        assert self.cut is not None
        inputs = {INPUT: np.repeat(image[np.newaxis], len(features), axis=0), self.cut.name: features}
        logits: npt.NDArray[np.float32] = self._after.run(None, inputs)[0][:, target]
        return logits


def _session(model: onnx.ModelProto) -> "onnxruntime.InferenceSession":
    import onnxruntime  # only here, since it must follow darkroom.predictor, which turns its telemetry off

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # suppresses warnings about unused inputs
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _last_map(graph: onnx.GraphProto) -> Cut | None:
    """Return the last tensor of shape (N, C, H, W) or (N, H, W, C), H = W > 1, that no path bypasses."""
    shapes = {
        value.name: [each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }
    # Tensors computed from the pixels; shapes and constants do not count.
    derived, last_use = {INPUT}, {}
    for number, node in enumerate(graph.node):
        for name in derived & set(node.input):
            last_use[name] = number
        if derived & set(node.input) and node.op_type not in ("Shape", "Size"):
            derived |= set(node.output)
    found, alive, convolved = None, {INPUT}, False
    for number, node in enumerate(graph.node):
        convolved = convolved or node.op_type == "Conv"  # before the first convolution there are pixels, not features
        alive |= derived & set(node.output)
        alive = {name for name in alive if last_use.get(name, -1) > number}
        if convolved and len(alive) == 1:
            (name,) = alive
            shape = shapes.get(name, [])
            if len(shape) == 4:
                if shape[2] == shape[3] > 1:
                    found = Cut(name, channels_last=False)
                elif shape[1] == shape[2] > 1:
                    found = Cut(name, channels_last=True)
    return found
