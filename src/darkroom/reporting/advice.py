"""Advice on how to improve the selected network, for the report and for `darkroom summary`."""

from collections.abc import Mapping
from typing import Any

from darkroom.candidate import Card
from darkroom.markdown import percent, score

SMALLEST = 64
"""Image side in pixels from which on images are probably photographs, which larger images would show in more detail."""
ENOUGH = 500
"""Training images from which on fine-tuning can be better than a probe; see docs/transfer.md."""

Step = tuple[str, str]
"""What to do, and a command for it."""


def behind(name: str, network: Mapping[str, Any], baseline: Mapping[str, Any], uneven: bool) -> str:
    """Return what to do if the baseline scores higher than the network `name`, in one sentence; else nothing.

    network, baseline: scores by split and name, as in `plots/tables/scores.json`; uneven: macro F1 is compared instead
    of accuracy.
    """
    key, words, shown = ("macro_f1", "macro F1", score) if uneven else ("accuracy", "accuracy", percent)
    parts, is_behind = [], []
    for split in ("validation", "test"):
        own, other = ((scores.get(split) or {}).get(key, 0.0) for scores in (network, baseline))
        parts.append(f"{shown(other)} on {split}, compared with {shown(own)}")
        is_behind.append(other > own)
    if not any(is_behind):
        return ""
    where = "" if all(is_behind) else " on validation" if is_behind[0] else " on test"
    return (
        f"Try to improve {name}, since the baseline has a higher {words}{where} ({'; '.join(parts)}): "
        "use more training images or another network"
    )


def transfer(card: Card, dataset: str, images: int) -> list[Step]:
    """Return what may improve a network with pretrained weights: image size, `fit`, fine-tuning.

    dataset: its name in `params.yaml`; images: number of training images.
    """
    if card.kind != "transfer":
        return []
    steps: list[Step] = []
    pack, entry = f"datasets.{dataset}.pack", f"transfer.{card.name}"
    side = int(card.network.get("side") or 0)
    if SMALLEST <= card.image_size < side:
        what = f"Pack images at {side} pixels, at which the network computes, instead of {card.image_size}"
        steps.append((what, f"dvc exp run -S {pack}.image_size={side}"))
    if card.image_size >= SMALLEST and card.fit == "crop":
        what = "Show the network whole images, if subjects lie near the edges of the photographs"
        steps.append((what, f"dvc exp run -S {pack}.fit=pad"))
    if card.training.get("method") == "probe" and images >= ENOUGH and "fine_tuning" not in card.training:
        what = "Train all layers: fine-tuning is kept only if it is better than the last layer alone"
        steps.append((what, f"dvc exp run -S {entry}.method=probe+finetune"))
    return steps


def longer(card: Card, dataset: str) -> Step:
    """Return how to train a network for twice as many epochs.

    The data set's epochs are those on the card without the network's own factor. `auto` also needs a larger budget.
    """
    epochs = max(1, round(int(card.training.get("epochs") or 8) / float(card.training.get("epochs_factor") or 1)))
    command = f"dvc exp run -S datasets.{dataset}.training.epochs={2 * epochs}"
    if budget := card.training.get("auto"):
        command += f" -S transfer.{card.name}.max_minutes={2 * budget['max_minutes']:g}"
    return "Train longer", command
