"""Description of pretrained weights, stored next to them as `source.json`."""

from dataclasses import dataclass
from pathlib import Path

from darkroom.foundations import files


@dataclass(frozen=True)
class Origin:
    """Content of `source.json`."""

    weights: str
    """As in params.yaml; a URL without its possibly secret parts."""
    architecture: str
    """As in params.yaml, or empty for a candidate."""
    sha256: str
    """SHA-256 of the weights file."""
    file: str
    """Name of the weights file."""


def read_origin(folder: Path) -> Origin:
    """Read `source.json`."""
    return Origin(**files.read_json(folder / "source.json"))
