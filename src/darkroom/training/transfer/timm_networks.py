"""Networks of timm without their last layer, weights under timm's names, and where timm publishes them.

The only module that imports timm, and only when one of its networks is asked for.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.training.settings import OWN_INPUT, SMALLEST

LITE = {f"efficientnet_lite{number}": f"tf_efficientnet_lite{number}" for number in range(3)}
"""The variants with TensorFlow's padding (more at the end than at the start) and its epsilon of 0.001 in batch norms,
with which these weights were trained. timm's `efficientnet_lite0` pads evenly: other numbers at every layer."""
PARTS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""Names inside a block of EfficientNet-Lite: those of the packages, and timm's."""
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The same in the first block, which expands nothing."""
AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


@dataclass(frozen=True)
class Traits:
    """How the weights of a network see images: its `pretrained_cfg`."""

    side: int
    """Side of the input in pixels."""
    mean: list[float]
    """Per channel, on values 0 to 1, as `std`."""
    std: list[float]
    mode: Literal["bilinear", "bicubic"]
    """How images of another size are brought to `side`."""
    heads: tuple[str, ...]
    """Names of the layers that a new one replaces."""
    is_fixed: bool
    """Whether the network is built for one size, as vision transformers are, with a position for each patch."""


def is_one(name: str) -> bool:
    """Return whether timm has this network, by our name for it."""
    return name in LITE or name.startswith("timm/")


def traits(name: str) -> Traits:
    """Return how the weights of a network see images. Raises DarkroomError when timm does not have it."""
    config = _config(name)
    heads = config.classifier or ()
    size = config.fixed_input_size
    # EfficientNet-Lite's own values (x - 127) / 128 are not those of timm, which has 127.5 for both.
    mean, std = ([127 / 255] * 3, [128 / 255] * 3) if name in LITE else (list(config.mean), list(config.std))
    mode: Literal["bilinear", "bicubic"] = "bilinear" if config.interpolation == "bilinear" else "bicubic"
    side = OWN_INPUT.get(name) or config.input_size[-1]
    return Traits(side, mean, std, mode, (heads,) if isinstance(heads, str) else tuple(heads), bool(size))


def _config(name: str) -> Any:
    import timm

    wanted = LITE.get(name, name.removeprefix("timm/"))
    base, _, tag = wanted.partition(".")
    if tag and timm.is_model(base) and tag not in (known := _tags(base)):
        has = f"has weights only under {naming.listed(known)}" if known else "has no published weights"
        raise DarkroomError(f"architecture: timm {timm.__version__} has no weights {tag} of {base}: {base} {has}")
    config = timm.get_pretrained_cfg(wanted) if timm.is_model(wanted) else None
    if config is None or len(config.input_size) != 3 or config.input_size[0] != 3:
        near = difflib.get_close_matches(wanted, timm.list_models(), n=3)
        hint = f"did you mean {naming.listed([f'timm/{other}' for other in near], most=3)}? " if near else ""
        raise DarkroomError(
            f"architecture: timm {timm.__version__} has no network for images of the name {wanted}: "
            f"{hint}`python -c 'import timm; print(*timm.list_models())'` lists its names"
        )
    return config


def published(name: str) -> tuple[str, str]:
    """Return the repository on the hub with the weights of a network, and their licence in timm's table, if it has one.

    Raises DarkroomError when timm does not have the network, or publishes no weights of it on a hub.
    """
    config = _config(name)
    if not config.hf_hub_id:
        raise DarkroomError(
            f"timm publishes no weights of {name} on its hub: set weights to a file and sha256, or choose one of the "
            "networks that `python -c 'import timm; print(*timm.list_pretrained())'` lists"
        )
    licence = config.license or ""
    return str(config.hf_hub_id), "" if licence == "unknown" else str(licence)


def tags(name: str) -> str:
    """Return the names of the weights that timm publishes for a network, for display."""
    return naming.listed(_tags(name.removeprefix("timm/").partition(".")[0]))


def _tags(wanted: str) -> list[str]:
    import timm

    return [other.partition(".")[2] for other in timm.list_pretrained(f"{wanted}.*")]


def check(name: str, side: int | None) -> None:
    """Raise DarkroomError when timm does not have a network, or cannot build it for images of `side` pixels."""
    found = traits(name)
    if side and found.is_fixed and side != found.side:
        with torch.device("meta"):
            create(name, side)


def create(name: str, side: int, state: Mapping[str, Tensor] | None = None) -> tuple[nn.Module, int]:
    """Return a network that ends in pooled features (N, values) of images at `side` pixels, and their number.

    state: weights under timm's names, with or without a last layer of any size; position embeddings for another size
    are resampled. Raises DarkroomError when timm lacks the network, cannot build it at this size, or `state` does not
    fit.
    """
    import timm

    found = traits(name)
    wanted = LITE.get(name, name.removeprefix("timm/"))
    options: dict[str, Any] = {"img_size": side} if found.is_fixed and side != found.side else {}
    classes = 0
    if state is not None:
        weight = next((state[f"{head}.weight"] for head in found.heads if f"{head}.weight" in state), None)
        classes = 0 if weight is None else len(weight)
        # Equal numbers make timm compare all names; with others it would leave out what it does not find.
        overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0, "custom_load": False}
        options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
    network: Any
    try:
        network = timm.create_model(wanted, num_classes=classes, **options)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = naming.shown(" ".join(str(error).split()) or type(error).__name__)
        raise DarkroomError(
            f"{name} cannot be built for {side} pixels{' with these weights' * (state is not None)} ({reason}): set "
            f"input_size to its own {found.side}, or architecture to the network that the weights are of"
        ) from None
    # timm builds it for any size, and then ignores the pixels right and below of the last whole patch.
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", 1) if found.is_fixed else 1
    if side % (patch := max(patch) if isinstance(patch, tuple) else int(patch)):
        lower, upper = side // patch * patch, -(-side // patch) * patch
        sizes = f"{lower} or {upper}" if lower >= SMALLEST else str(upper)
        raise DarkroomError(
            f"input_size: {name} divides images into patches of {patch} pixels, so it needs a multiple of {patch}, "
            f"such as {sizes}, not {side}"
        )
    if classes:
        network.reset_classifier(0)
    return network, network.head_hidden_size


def renamed(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a package of EfficientNet-Lite under the names of timm's `network`; others as they are."""
    if "_conv_stem.weight" not in state or not isinstance(blocks := getattr(network, "blocks", None), nn.Module):
        return dict(state)
    stages = blocks.children()
    places = [
        f"blocks.{number}.{place}" for number, stage in enumerate(stages) for place, _ in enumerate(stage.children())
    ]
    result = {}
    for name, tensor in state.items():
        if block := re.match(r"_blocks\.(\d+)\.(\w+)\.", name):
            number, part = int(block[1]), block[2]
            inside = (FIRST if number == 0 else PARTS).get(part, part)
            place = places[number] if number < len(places) else f"blocks.{number}"
            result[f"{place}.{inside}.{name[block.end() :]}"] = tensor
        else:
            part, _, rest = name.partition(".")
            result[f"{AROUND.get(part, part)}.{rest}"] = tensor
    return result
