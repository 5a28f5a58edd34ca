"""Members of an archive, and limits on their actual decompressed size."""

from pathlib import Path
from typing import NamedTuple

from darkroom.foundations.errors import DarkroomError

MAX_MEMBER = 256 * 1024 * 1024
"""Size in bytes of the largest member that is read: much larger than any photograph, smaller than most bombs."""
MAX_RATIO = 200
"""Largest ratio of the decompressed size to the archive's; zeros reach 1,000 with deflate, a million with bzip2."""
ALWAYS_ALLOWED = 1024 * 1024 * 1024
"""Number of bytes that any archive may decompress to, however small it is."""
TOO_LARGE = f"are more than the {MAX_MEMBER / 1e6:,.0f} MB allowed: make the image smaller"
DISK_BLOCK = 4096
"""Bytes added per member, as on a disk, to limit the number of empty members."""


class Member(NamedTuple):
    """A file or folder in an archive."""

    name: str
    """With `/` between folders; the name of a folder ends in a slash."""
    data: bytes | str | None = None
    """The content, or why it cannot be read; None if it was not requested."""
    encoding_is_guessed: bool = False
    """Whether the encoding of its name is unknown."""

    @property
    def too_large(self) -> bool:
        """Whether it is rejected because of its size, which does not mean that it is damaged."""
        return isinstance(self.data, str) and self.data.endswith(TOO_LARGE)


class Allowance:
    """The decompressed size that remains while an archive is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._most = max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size)
        self._left = self._most

    def spend(self, count: int) -> None:
        """Count decompressed bytes. Raises DarkroomError when there are too many."""
        self._left -= count
        if self._left < 0:
            raise DarkroomError(
                f"{self._path.name} unpacks to more than {self._most / 1e6:,.0f} MB, over {MAX_RATIO} times its "
                "size: if you trust it, unpack it yourself and give the folder"
            )


def too_large(size: int) -> str:
    """Return why a member of `size` bytes is rejected."""
    return f"{size / 1e6:,.0f} MB {TOO_LARGE}"
