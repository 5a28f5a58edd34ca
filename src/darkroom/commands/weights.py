"""Pretrained weights for `darkroom init`: recognise a given file, and check that published weights are available."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom import candidate, fetching
from darkroom.foundations import files, launching, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.settings import IMAGENET, OWN_INPUT, WEIGHT_FILES, TransferSettings
from darkroom.training.transfer import packaged

BACKBONES = Path("backbones")
PRETRAINED = Path("models/pretrained")
IMAGENET_SIDE = 224
"""Side in pixels of the images for which nearly all networks were trained."""
SIDES = OWN_INPUT | {"inception_v3": 299, "efficientnet_v2_s": 384}
"""The same for the others, as in torchvision's presets."""


@dataclass(frozen=True)
class Weights:
    """An entry of `transfer`."""

    name: str
    architecture: str | None
    """None for a candidate, whose card names its network."""
    weights: str = IMAGENET
    sha256: str | None = None

    @property
    def side(self) -> int:
        """Side in pixels of the images for which the weights were trained; for a candidate, that of most networks."""
        return SIDES.get(self.architecture or "", IMAGENET_SIDE)

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


def check(entries: Mapping[str, TransferSettings]) -> None:
    """Raise DarkroomError when published weights of entries of `transfer` are neither present nor downloadable."""
    for name, settings in entries.items():
        if settings.weights != IMAGENET or pretrained.have(settings, PRETRAINED / name):
            continue
        assert settings.architecture is not None
        if settings.architecture in packaged.PACKAGES:
            packaged.find(settings.architecture)
            continue
        if settings.from_hub:
            from darkroom.training.transfer import hub

            try:
                hub.find(settings.architecture, settings.revision, settings.sha256)
            except DarkroomError as error:
                raise DarkroomError(f"transfer.{name}: {error}; or pass --offline to remove this entry") from None
            continue
        from darkroom.training.transfer import backbones

        found = backbones.published(settings.architecture)
        if (BACKBONES / found.file).is_file():
            continue
        if reasons := fetching.unreachable(pretrained.addresses(found)):
            raise DarkroomError(
                f"transfer.{name}: the weights of {settings.architecture} cannot be downloaded: {'; '.join(reasons)}. "
                f"Check the network, download {found.file} elsewhere and put it into {BACKBONES}/, or pass --offline "
                "to remove this entry"
            )
