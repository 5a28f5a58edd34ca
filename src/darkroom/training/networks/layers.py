"""A readable summary of a network: type, output shape and trainable parameters of each layer."""

import torch
from torch import Tensor, nn

from darkroom.candidate import Layer

NAMES: dict[str, str] = {
    "Linear": "dense",
    "BatchNorm1d": "batch norm",
    "BatchNorm2d": "batch norm",
    "LayerNorm": "layer norm",
    "LayerNorm2d": "layer norm",
    "GlobalMaxPool": "global max pooling",
    "Flatten": "flatten",
}
"""Names of layer classes in words; others keep their class name."""
POOLS = {"MaxPool2d": "max pooling", "AvgPool2d": "average pooling"}


def describe(network: nn.Module, image_size: int) -> list[Layer]:
    """Return the layers in the order in which an image passes through them, each with its parameters.

    A block (such as a residual block) follows its own layers and stands for what it adds to them: most add their input.
    Only outermost blocks count, and none with more than half of the network. `network` takes uint8 images (N, S, S, 3)
    of `image_size`, and is on the CPU and in evaluation mode.
    """
    modules = {module: name.removeprefix("model.") for name, module in network.named_modules()}
    blocks = _blocks(network)
    rows: list[Layer] = []
    counted: set[nn.Parameter] = set()

    def new_parameters(module: nn.Module) -> int:
        new = [parameter for parameter in module.parameters() if parameter not in counted]
        counted.update(new)
        return sum(parameter.numel() for parameter in new)

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            block = f"{type(module).__name__.strip('_').removesuffix('Block')} block"
            kind = block if module in blocks else words(module)
            rows.append(Layer(modules[module], kind, list(output.shape[1:]), new_parameters(module)))

    leaves = [module for module in modules if not any(module.children()) and not _idle(module)]
    hooks = [module.register_forward_hook(note) for module in (*leaves, *blocks)]
    try:
        with torch.inference_mode():
            network(torch.zeros((1, image_size, image_size, 3), dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
    if rest := new_parameters(network):
        rows.append(Layer("", "outside of layers", rows[-1].output, rest))
    return rows


def words(layer: nn.Module) -> str:
    """Return the kind of a single layer: "convolution 3×3, stride 2", "batch norm", "dropout 20%"."""
    name = type(layer).__name__
    if isinstance(layer, nn.Conv2d):
        kind = "depthwise convolution" if 1 < layer.groups == layer.in_channels else "convolution"
        step = layer.stride[0]
        return f"{kind} {_size(layer.kernel_size)}" + (f", stride {step}" if step > 1 else "")
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        step = layer.stride if isinstance(layer.stride, int) else layer.stride[0]
        size = _size(layer.kernel_size)
        return f"{POOLS[name]} {size}" + (f", stride {step}" if size != _size(step) else "")
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return "global average pooling"
    if isinstance(layer, nn.Dropout):
        return f"dropout {layer.p:.0%}"
    return NAMES.get(name, name)


def _idle(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Identity) or (isinstance(layer, nn.Dropout) and layer.p == 0)


def _size(sides: int | tuple[int, ...]) -> str:
    return f"{sides}×{sides}" if isinstance(sides, int) else "×".join(map(str, sides))


def _blocks(network: nn.Module) -> list[nn.Module]:
    """Return the outermost modules that are more than a sequence and contain at most half of the layers."""
    whole = sum(1 for _ in network.modules())
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in network.modules():  # parents come before their children
        parts = list(module.modules())
        plain = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if module not in inside and not plain and 1 < len(parts) <= whole / 2:
            found.append(module)
            inside.update(parts)
    return found
