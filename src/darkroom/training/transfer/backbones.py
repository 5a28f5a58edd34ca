"""Pretrained networks by name, each as `features` and a new `head`.

The only module that imports torchvision, and only when one of these networks is used, because that takes 3.4 s.
Networks of timm are in `timm_networks.py`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.foundations.errors import DarkroomError
from darkroom.training.settings import BACKBONES, ONLY_INPUT, SMALLEST_INPUT
from darkroom.training.transfer import timm_networks

NAMES = BACKBONES
COMFORTABLE = 64
"""Side in pixels to which smaller images are enlarged: these networks halve the size five times, so only one pixel
would be left of 32."""
NETWORK = "features.network."
"""Prefix of torchvision's own names in the state of a `Pretrained`."""
OPTIONS: dict[str, dict[str, Any]] = {
    # Without the auxiliary heads for training; random weights use the layers' defaults, because those of the papers
    # take up to a minute. The weights of these two were trained with another normalisation than torchvision's metadata;
    # transform_input converts between them.
    "googlenet": {"aux_logits": False, "init_weights": False, "transform_input": True},
    "inception_v3": {"aux_logits": False, "init_weights": False, "transform_input": True},
    "vgg16": {"init_weights": False},
    "vgg16_bn": {"init_weights": False},
}
COUNTER = "num_batches_tracked"
"""Tensors that weights of older versions lack, and that no network here needs."""
EXTRA_HEADS = ("aux1", "aux2", "AuxLogits")


@dataclass(frozen=True)
class Published:
    """Weights that torchvision publishes."""

    url: str
    sha256: str
    """The first digits of their SHA-256, which torchvision includes in the file name."""

    @property
    def file(self) -> str:
        """The file's name."""
        return PurePosixPath(urlsplit(self.url).path).name


def published(name: str) -> Published:
    """Return where torchvision publishes the ImageNet weights of a network."""
    from torchvision.models import get_model_weights

    url = str(get_model_weights(name).DEFAULT.url)
    return Published(url, PurePosixPath(url).stem.rpartition("-")[2])


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """Return the network that fits the weights `state`, or None."""
    for name in NAMES:
        with suppress(DarkroomError):
            _load(name, _random(name, COMFORTABLE, classes=2, empty=True), state)
            return name
    return None


def normalisation(name: str) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, for values 0 to 1, used for training the ImageNet weights."""
    if timm_networks.is_one(name):
        found = timm_networks.traits(name)
        return found.mean, found.std
    from torchvision.models import get_model_weights

    preset = get_model_weights(name).DEFAULT.transforms()
    return list(preset.mean), list(preset.std)


def side(name: str, image_size: int, input_size: int | None) -> int:
    """Return the side in pixels at which the network receives images packed at `image_size`.

    torchvision's vision transformers have a learnt embedding for each position, so the images are resized instead of
    the embeddings. Networks of timm receive images at the size they were trained with.
    """
    if input_size or timm_networks.is_one(name):
        return input_size or timm_networks.traits(name).side
    return ONLY_INPUT.get(name) or max(image_size, COMFORTABLE, SMALLEST_INPUT.get(name, 0))


class Resize(nn.Module):
    """Resizes images (N, 3, S, S) to `side` pixels, bilinearly; part of the network, so that it is always the same."""

    """Brings images (N, 3, S, S) to `side` pixels; part of the network, so that all answer alike."""

    def __init__(self, side: int, mode: Literal["bilinear", "bicubic"] = "bilinear") -> None:
        super().__init__()
        self.side, self.mode = side, mode

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, 3, side, side)."""
        if images.shape[-1] == self.side:
            return images
        smaller = images.shape[-1] > self.side
        size = (self.side, self.side)
        return functional.interpolate(images, size, mode=self.mode, align_corners=False, antialias=smaller)


class Pretrained(nn.Module):
    """`features`, a network from normalised images (N, 3, S, S) to (N, values), and a new linear `head`."""

    def __init__(
        self, network: nn.Module, values: int, classes: int, resize: Resize, old_heads: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.side, self.old_heads = resize.side, old_heads
        self.features = nn.Sequential(OrderedDict(resize=resize, network=network))
        self.head = nn.Linear(values, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(
    name: str,
    classes: int,
    image_size: int,
    input_size: int | None = None,
    seed: int = 0,
    state: Mapping[str, Tensor] | None = None,
) -> Pretrained:
    """Return a network with a random head that depends on `seed`, and the weights of `state`, or random ones without.

    `state` has the names of its library or package, or those of `Pretrained`; its last layer is ignored, so its number
    of classes does not matter. Raises DarkroomError when it does not fit the network.
    """
    wanted = side(name, image_size, input_size)
    state = None if state is None else _plain(state)
    given = state if state and name not in NAMES and not any(key.startswith(NETWORK) for key in state) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _random(name, wanted, classes, given, empty=state is not None)
    if state is not None and given is None:
        _load(name, model, state)
    return model.to(memory_format=torch.channels_last)


def _random(
    name: str, side: int, classes: int, state: Mapping[str, Tensor] | None = None, *, empty: bool = False
) -> Pretrained:
    """Return a network with a new head and random weights, or for one of timm the weights `state`.

    With `empty`, those of torchvision are not initialised, which would take a second for the hundred million weights of
    vgg16. Some networks of timm have constants that no state contains, so these are always initialised.
    """
    if timm_networks.is_one(name):
        found = timm_networks.traits(name)
        network, values = timm_networks.create(name, side, state)
        return Pretrained(network, values, classes, Resize(side, found.mode), found.heads)
    from torchvision.models import get_model

    with torch.device("meta") if empty else nullcontext():
        network = get_model(name, weights=None, **OPTIONS.get(name, {}))
    values, old_head = _behead(network)
    return Pretrained(network, values, classes, Resize(side), (old_head, *EXTRA_HEADS))


def _behead(network: nn.Module) -> tuple[int, str]:
    """Remove the last layer, dense or a convolution; return the number of its inputs, and its name."""
    path, last = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return (last.in_features if isinstance(last, nn.Linear) else last.in_channels), path


def _load(name: str, model: Pretrained, state: Mapping[str, Tensor]) -> None:
    """Load the tensors of `state` into the features, with either of the two sets of names."""
    given = _of_features(model, state)
    known = model.state_dict()
    lacking = [key for key in known if key.startswith(NETWORK) and key not in given and not key.endswith(COUNTER)]
    unknown = [key for key in given if key not in known]
    other = [key for key in given if key in known and given[key].shape != known[key].shape]
    if found := [key.removeprefix(NETWORK) for key in (*lacking, *unknown, *other)]:
        raise DarkroomError(
            f"these weights do not fit {name}: {len(lacking)} tensors are missing, {len(unknown)} unknown, "
            f"{len(other)} of another shape, such as {', '.join(found[:2])}. Set architecture to the network of these "
            "weights"
        )
    full = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in given.items()}
    model.load_state_dict(full, strict=False, assign=True)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without the names of what holds the network."""
    return {key.removeprefix("module.").removeprefix("model."): tensor for key, tensor in state.items()}


def _of_features(model: Pretrained, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `state` except those of the last layer, with the names of a `Pretrained`."""
    named = _plain(state)
    if not any(key.startswith(NETWORK) for key in named):
        named = timm_networks.renamed(named, model.features.get_submodule("network"))
        named = {f"{NETWORK}{key}": tensor for key, tensor in named.items()}
    heads = tuple(f"{NETWORK}{head}." for head in model.old_heads)
    return {key: tensor for key, tensor in named.items() if not key.startswith(("head.", *heads))}
