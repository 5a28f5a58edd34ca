"""Pretrained weights: fetched once, checked, and put where training finds them without a network. No torch."""

import shutil
from pathlib import Path

from darkroom import candidate, files
from darkroom.errors import DarkroomError
from darkroom.training.settings import TransferSettings


def fetch(settings: TransferSettings, out: Path) -> candidate.Card:
    """Copy a candidate's card and weights into the existing folder `out`; returns the card.

    Raises DarkroomError when they are missing or their SHA-256 is not the one of the settings.
    """
    folder = Path(settings.weights)
    weights = folder / "weights.safetensors"
    for path in (weights, folder / "card.json"):
        if not path.is_file():
            raise DarkroomError(
                f"{path} is missing: weights must name a folder with weights.safetensors and card.json, "
                "such as backbones/cifar10_backbone or a candidate of an earlier run"
            )
    if (found := files.sha256(weights)) != settings.sha256:
        raise DarkroomError(
            f"{weights} has SHA-256 {found}, not {settings.sha256}: if the new weights are meant, "
            "put the first into params.yaml"
        )
    card = candidate.read_card(folder)
    if not card.network:
        raise DarkroomError(
            f"{folder} holds no network but a {card.architecture}: choose one that was trained by scratch"
        )
    for path in (weights, folder / "card.json"):
        shutil.copyfile(path, out / path.name)
    return card
