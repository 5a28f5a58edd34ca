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
    licence: str | None = None
    """Licence of the weights, or empty if it is unknown; None for weights of this pipeline that started from none."""
    repository: str = ""
    """Repository on timm's hub, for weights from there."""
    revision: str = ""
    """Its commit."""

    @property
    def shown(self) -> str:
        """The weights for display: the repository on the hub with its commit, or `weights`."""
        return f"{self.repository}@{self.revision[:7]}" if self.repository else self.weights


def read_origin(folder: Path) -> Origin:
    """Read `source.json`."""
    return Origin(**files.read_json(folder / "source.json"))
