"""Pretrained weights for `darkroom init`: recognise a given file, and check that torchvision's can be downloaded."""

from dataclasses import dataclass
from pathlib import Path

from darkroom import candidate, fetching
from darkroom.foundations import files, launching, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.settings import IMAGENET, WEIGHT_FILES, Backbone, TransferSettings

BACKBONES = Path("backbones")
PRETRAINED = Path("models/pretrained")


@dataclass(frozen=True)
class Weights:
    """An entry of `transfer`."""

    name: str
    architecture: Backbone | None
    """None for a candidate, whose card names its network."""
    weights: str = IMAGENET
    sha256: str | None = None

    def entry(self) -> dict[str, str]:
        """Return the entry as in `params.yaml`."""
        pairs = {"architecture": self.architecture, "weights": self.weights, "sha256": self.sha256}
        return {key: value for key, value in pairs.items() if value not in (None, IMAGENET)}


def look(path: Path) -> Weights:
    """Return the entry for a file of weights or the folder of a candidate, pinned by its SHA-256.

    Raises DarkroomError when there are no weights, or no network fits them.
    """
    top = Path.cwd().resolve()
    place = path.expanduser().resolve()
    where = str(place.relative_to(top)) if place.is_relative_to(top) else str(place)
    if place.is_dir():
        candidate.read_card(place)
        name = place.name if launching.NAME.fullmatch(place.name) else "mine"
        return Weights(name, None, where, files.sha256(place / "weights.safetensors"))
    if not place.is_file() or place.suffix not in WEIGHT_FILES:
        raise DarkroomError(
            f"--weights {naming.shown(path)} is not a weights file: give one that ends in "
            f"{', '.join(WEIGHT_FILES)}, or the folder of a candidate"
        )
    from darkroom.training.transfer import backbones, weights

    architecture = backbones.recognise(weights.load(place, naming.shown(path)))
    if architecture is None:
        raise DarkroomError(
            f"--weights {naming.shown(path)} does not fit any supported network: {', '.join(backbones.NAMES)}"
        )
    return Weights(architecture, architecture, where, files.sha256(place))


def published(name: Backbone, settings: TransferSettings | None) -> Weights:
    """Return the entry for torchvision's weights after checking that they are available.

    settings: the current entry, which may name other weights. Raises DarkroomError when they cannot be downloaded.
    """
    settings = settings or TransferSettings(architecture=name)
    if settings.weights == IMAGENET and not pretrained.have(settings, PRETRAINED / name):
        from darkroom.training.transfer import backbones

        found = backbones.published(name)
        reasons = [] if (BACKBONES / found.file).is_file() else fetching.unreachable(pretrained.addresses(found))
        if reasons:
            raise DarkroomError(
                f"the weights of {name} cannot be downloaded: {'; '.join(reasons)}. Check the network, download "
                f"{found.file} elsewhere and put it into {BACKBONES}/, pass --weights FILE for other weights, or pass "
                "--offline to train from scratch"
            )
    return Weights(name, name)
