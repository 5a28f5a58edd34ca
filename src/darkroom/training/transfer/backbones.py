"""Networks of torchvision by name, each as `features` and a new `head`.

The only module that imports torchvision, and only when one of these networks is used, because that takes 3.4 s.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, get_args
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.foundations.errors import DarkroomError
from darkroom.training.settings import ONLY_INPUT, SMALLEST_INPUT, Backbone

NAMES: tuple[Backbone, ...] = get_args(Backbone)
COMFORTABLE = 64
"""Side in pixels to which smaller images are enlarged: these networks halve the size five times, so only one pixel
would be left of 32."""
NETWORK = "features.network."
"""Prefix of torchvision's own names in the state of a `Pretrained`."""
OPTIONS: dict[Backbone, dict[str, Any]] = {
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
EXTRA_HEADS = ("aux1.", "aux2.", "AuxLogits.")


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


def published(name: Backbone) -> Published:
    """Return where torchvision publishes the ImageNet weights of a network."""
    from torchvision.models import get_model_weights

    url = str(get_model_weights(name).DEFAULT.url)
    return Published(url, PurePosixPath(url).stem.rpartition("-")[2])


def recognise(state: Mapping[str, Tensor]) -> Backbone | None:
    """Return the network that fits the weights `state`, or None."""
    from torchvision.models import get_model

    for name in NAMES:
        with torch.device("meta"):
            model = Pretrained(get_model(name, weights=None, **OPTIONS.get(name, {})), 2, COMFORTABLE)
        with suppress(DarkroomError):
            _load(name, model, state)
            return name
    return None


def normalisation(name: Backbone) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, for values 0 to 1, used for training the ImageNet weights."""
    from torchvision.models import get_model_weights

    preset = get_model_weights(name).DEFAULT.transforms()
    return list(preset.mean), list(preset.std)


def side(name: Backbone, image_size: int, input_size: int | None) -> int:
    """Return the side in pixels at which the network receives images packed at `image_size`.

    Vision transformers have a learnt embedding for each position, so the images are resized instead of the embeddings.
    """
    return input_size or ONLY_INPUT.get(name) or max(image_size, COMFORTABLE, SMALLEST_INPUT.get(name, 0))


class Resize(nn.Module):
    """Resizes images (N, 3, S, S) to `side` pixels, bilinearly; part of the network, so that it is always the same."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """Return images (N, 3, side, side)."""
        if images.shape[-1] == self.side:
            return images
        smaller = images.shape[-1] > self.side
        size = (self.side, self.side)
        return functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=smaller)


class Pretrained(nn.Module):
    """A network of torchvision: `features` from normalised images (N, 3, S, S) to (N, values), and a linear `head`."""

    def __init__(self, network: nn.Module, classes: int, side: int) -> None:
        super().__init__()
        values, self.old_head = _behead(network)
        self.side = side
        self.features = nn.Sequential(OrderedDict(resize=Resize(side), network=network))
        self.head = nn.Linear(values, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(
    name: Backbone,
    classes: int,
    image_size: int,
    input_size: int | None = None,
    seed: int = 0,
    state: Mapping[str, Tensor] | None = None,
) -> Pretrained:
    """Return a network with a random head that depends on `seed`, and the weights of `state`, or random ones without.

    `state` has torchvision's names, or those of `Pretrained`; its last layer is ignored, so its number of classes does
    not matter. Raises DarkroomError when it does not fit the network.
    """
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Weights that are replaced are not initialised: this would take a second for the hundred million of vgg16.
        with torch.device("meta") if state is not None else nullcontext():
            network = get_model(name, weights=None, **OPTIONS.get(name, {}))
        model = Pretrained(network, classes, side(name, image_size, input_size))
    if state is not None:
        _load(name, model, state)
    return model.to(memory_format=torch.channels_last)


def _behead(network: nn.Module) -> tuple[int, str]:
    """Remove the last layer, dense or a convolution; return the number of its inputs, and its name."""
    path, last = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return (last.in_features if isinstance(last, nn.Linear) else last.in_channels), path


def _load(name: Backbone, model: Pretrained, state: Mapping[str, Tensor]) -> None:
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


def _of_features(model: Pretrained, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `state` except those of the last layer, with the names of a `Pretrained`."""
    named = {key.removeprefix("module.").removeprefix("model."): tensor for key, tensor in state.items()}
    if not any(key.startswith(NETWORK) for key in named):
        named = {f"{NETWORK}{key}": tensor for key, tensor in named.items()}
    heads = tuple(f"{NETWORK}{head}" for head in (f"{model.old_head}.", *EXTRA_HEADS))
    return {key: tensor for key, tensor in named.items() if not key.startswith(("head.", *heads))}
