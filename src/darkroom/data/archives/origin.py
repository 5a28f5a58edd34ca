"""Description of a source, stored next to its archive and used in the report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError


@dataclass(frozen=True)
class Origin:
    """Description of a source for the report."""

    title: str
    source: str
    licence: str
    form: Literal["class folders", "cifar10"] = "class folders"
    """Layout of the archive, which determines how it is read."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Folder name to class name, for folders that are renamed."""


def write_origin(raw: Path, origin: Origin) -> None:
    """Write `source.json`: the origin, and the name and SHA-256 of the one archive in the folder `raw`."""
    archive = find_archive(raw)
    files.write_json(raw / "source.json", {**asdict(origin), "archive": archive.name, "sha256": files.sha256(archive)})


def read_origin(raw: Path) -> Origin:
    """Read the origin from a raw folder's `source.json`."""
    written = files.read_json(raw / "source.json")
    return Origin(**{part.name: written[part.name] for part in fields(Origin)})


def find_archive(raw: Path) -> Path:
    """Return the one archive in a raw folder."""
    archives = [path for path in raw.iterdir() if path.name != "source.json"]
    if len(archives) != 1:
        raise DarkroomError(f"{raw} must contain one archive, not {len(archives)}: run `dvc repro -f download`")
    return archives[0]
