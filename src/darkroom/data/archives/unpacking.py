"""Members of an archive, and limits on their decompressed size, whatever the headers declare."""

from pathlib import Path
from typing import NamedTuple

from darkroom.foundations.errors import DarkroomError

MAX_MEMBER = 256 * 1024 * 1024
"""Size in bytes of the largest member that is read: far above any photograph, far below a decompression bomb."""
MAX_RATIO = 200
"""An archive may unpack to this many times its own size; deflated zeros reach 1,000, bzip2 a million."""
ALWAYS_ALLOWED = 1024 * 1024 * 1024
"""Bytes to which any archive may decompress, however small it is."""
TOO_LARGE = f"are more than the {MAX_MEMBER / 1e6:,.0f} MB allowed: make the image smaller"
DISK_BLOCK = 4096
"""Bytes added per member, as on a disk, to limit the number of empty members."""


class Member(NamedTuple):
    """A file or folder in an archive."""

    name: str
    """With `/` between folders; the name of a folder ends in one."""
    data: bytes | str | None = None
    """The content, or the reason why it cannot be read; None where it was not asked for."""
    encoding_is_guessed: bool = False
    """Whether the encoding of its name is unknown."""

    @property
    def too_large(self) -> bool:
        """Whether it is not read because of its size, which does not make it damaged."""
        return isinstance(self.data, str) and self.data.endswith(TOO_LARGE)


class Allowance:
    """The remaining decompressed size that is allowed while an archive is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._most = max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size)
        self._left = self._most

    def spend(self, count: int) -> None:
        """Count bytes that were unpacked. Raises DarkroomError when they are too many."""
        self._left -= count
        if self._left < 0:
            raise DarkroomError(
                f"{self._path.name} unpacks to more than {self._most / 1e6:,.0f} MB, over {MAX_RATIO} times its own "
                "size: if you trust it, unpack it yourself and give the folder"
            )


def too_large(size: int) -> str:
    """Return why a member of `size` bytes is not read."""
    return f"{size / 1e6:,.0f} MB {TOO_LARGE}"
