"""Export of a trained network for all later stages."""

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from darkroom.mosaic import mosaic


def write_weights(path: Path, network: nn.Module) -> None:
    """Write parameters and statistics as safetensors, contiguous and on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, path)
    path.chmod(0o644)  # safetensors writes files that only their owner can read


class Exported(nn.Module):
    """A network that also returns its features, the input of its last layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, classes) and features (N, values), float32, for images (N, S, S, 3)."""
        found: list[Tensor] = []
        head = self.network.get_submodule("model.head")
        hook = head.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        logits = self.network(images)
        hook.remove()
        return logits, found[0]


def write_onnx(path: Path, network: nn.Module, image_size: int) -> None:
    """Write the network as ONNX: `images`, uint8 (N, S, S, 3), to `logits` and `features` of `Exported`; N is free."""
    network = network.cpu().eval()
    for module in network.modules():  # the exporter is slow for in-place steps: 8 s instead of 5 s for mobilenet_v2
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # mypy expects a tensor or a module
    # Two examples: with one, the exporter would treat the batch size as a constant.
    example = torch.zeros((2, image_size, image_size, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), _no_collection():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            Exported(network),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "features"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
    assert program is not None
    _forget_origin(program.model)
    onnx_ir.save(program.model, path)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turn off garbage collection: the exporter creates millions of objects that are all in use."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _forget_origin(model: onnx_ir.Model) -> None:
    """Remove stack traces, which contain paths of this machine, so that equal models give equal bytes."""
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.outputs]:
        value.metadata_props.clear()


def write_montage(path: Path, images: Tensor, columns: int = 8) -> None:
    """Write up to 64 images of shape (N, S, S, 3), values 0 to 255, as a PNG with 8 per row, of at least 64 pixels."""
    tiles = images[: columns * 8].float().round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    size = tiles.shape[1]
    rows = -(-len(tiles) // columns)
    gap = max(2, size // 16)
    parts = [tiles[row * columns : (row + 1) * columns] for row in range(rows)]
    factor = max(1, -(-64 // size))
    picture = Image.fromarray(mosaic(parts, rows, columns, gap, border=gap))
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(path)
