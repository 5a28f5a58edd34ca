"""What fetched weights are, as `source.json` beside them holds it."""

from dataclasses import dataclass
from pathlib import Path

from darkroom.foundations import files


@dataclass(frozen=True)
class Origin:
    """What pretrained weights are: `source.json`."""

    weights: str
    """As params.yaml names them, an address without what may be secret in it."""
    architecture: str
    """A network of torchvision, or empty for a candidate's."""
    sha256: str
    """Of the file beside."""
    file: str
    """Name of the file beside."""


def read_origin(folder: Path) -> Origin:
    """Read `source.json`."""
    return Origin(**files.read_json(folder / "source.json"))
