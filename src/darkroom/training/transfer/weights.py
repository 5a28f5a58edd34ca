"""Loading pretrained weights into a network with a new last layer, without executing code from the file."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from darkroom import candidate
from darkroom.foundations.errors import DarkroomError
from darkroom.training.networks import network
from darkroom.training.networks.network import Network
from darkroom.training.settings import IMAGENET, ONE_SIZE, TransferSettings, misfit
from darkroom.training.transfer import backbones, timm_networks
from darkroom.training.transfer.origin import read_origin


def read(
    folder: Path, settings: TransferSettings, classes: int, image_size: int, seed: int
) -> tuple[Network, dict[str, Any], str]:
    """Return the network of a folder written by `pretrained`, the description to rebuild it, and a text.

    The last layer is new. Raises DarkroomError when the weights cannot be read or do not fit.
    """
    origin = read_origin(folder)
    state = load(folder / origin.file, origin.weights)
    if settings.architecture:
        name = settings.architecture
        description: dict[str, Any] = {"architecture": name, "input_size": settings.input_size}
        mean, std = backbones.normalisation(name)
        words = f"{name}, from the weights {origin.shown}"
        if origin.weights != IMAGENET and not timm_networks.is_one(name):  # those have no normalisation in a file
            words += ", normalised as ImageNet's"
    else:
        card = candidate.read_card(folder)
        description, mean, std = dict(card.network), card.mean, card.std
        name = description["architecture"]
        words = f"{name}, width {description.get('width')}, from the weights of {card.name}".replace(", width None", "")
    if name in backbones.NAMES or timm_networks.is_one(name):
        description["input_size"] = settings.input_size or description["input_size"]
        if reason := misfit(name, description["input_size"], settings.small_start):
            raise DarkroomError(reason)
        model = backbones.build(name, classes, image_size, description["input_size"], seed, state)
        whole = Network(model, mean, std)
        whole.side = description["side"] = model.side
        return whole, description, words
    if settings.input_size:
        raise DarkroomError(f"input_size is for networks of torchvision and timm, and {name} is not one: omit it")
    return _from_zoo(folder, description, state, settings, (mean, std), classes, image_size, seed), description, words


def load(path: Path, weights: str) -> dict[str, Tensor]:
    """Read tensors by name without executing any code in the file."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damaged or foreign bytes raise almost anything, and this file is the only possible cause
        raise DarkroomError(
            f"{weights} cannot be read as plain weights: save the state dict, torch.save(model.state_dict(), PATH), "
            "or a .safetensors file"
        ) from None
    for key in ("state_dict", "model"):  # training scripts save it along with other state
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DarkroomError(f"{weights} contains no state dict: save torch.save(model.state_dict(), PATH)")
    return content


def _from_zoo(
    folder: Path,
    description: dict[str, Any],
    state: dict[str, Tensor],
    settings: TransferSettings,
    normalisation: tuple[list[float], list[float]],
    classes: int,
    image_size: int,
    seed: int,
) -> Network:
    name = description["architecture"]
    if settings.small_start < 1 and name in ONE_SIZE:
        raise DarkroomError(
            f"small_start: {settings.small_start} needs a network that accepts images of any size, and {name} does "
            "not: set it to 1"
        )
    whole = Network(network.build(description, classes, image_size, seed), *normalisation)
    old = {name: tensor for name, tensor in state.items() if not name.startswith("model.head.")}
    try:
        missing, unexpected = whole.load_state_dict(old, strict=False)
    except RuntimeError as error:
        raise DarkroomError(f"{folder}: the weights do not fit their card: {error}") from None
    if unexpected or any(not name.startswith("model.head.") for name in missing):
        names = ", ".join([*missing, *unexpected])
        raise DarkroomError(f"{folder}: the weights do not fit their card, see {names}")
    return whole
