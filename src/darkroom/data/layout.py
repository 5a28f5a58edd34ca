"""From the names inside an archive to classes and splits."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from darkroom import images
from darkroom.errors import DarkroomError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

EXAMPLE = "put the pictures of each class into a folder of its own, such as cats/1.jpg and dogs/1.jpg"


@dataclass(frozen=True)
class Item:
    """A picture to be packed."""

    name: str
    label: str
    split: str
    """train, validation or test where the archive says so, otherwise empty."""
    group: str = ""
    """Pictures of one group stay on one side of the split; empty for none."""


def arrange(names: Iterable[str], archive: str) -> list[Item]:
    """Return the pictures among `names` with class and split, sorted by name.

    Folders around everything are passed over; when the outermost ones left are called train, test and the
    like, they are the split; the next one is the class. Hidden and system files and files that are no
    pictures by their suffix are ignored. `archive` is what messages call it.

    Raises DarkroomError when no class folders are found, or only one.
    """
    pictures = sorted(name for name in names if _is_picture(PurePosixPath(name)))
    if not pictures:
        raise DarkroomError(f"{archive} holds no pictures ({', '.join(sorted(images.SUFFIXES))}): {EXAMPLE}")
    parts = _without_wrappers([PurePosixPath(name).parts for name in pictures])
    has_splits = all(len(path) >= 2 and path[0].lower() in SPLIT_NAMES for path in parts)
    has_splits = has_splits and any(len(path) >= 3 for path in parts)
    items = []
    for name, path in zip(pictures, parts, strict=True):
        split, rest = (SPLIT_NAMES[path[0].lower()], path[1:]) if has_splits else ("", path)
        if len(rest) >= 2:
            items.append(Item(name, rest[0], split))
    classes = sorted({item.label for item in items})
    if len(classes) < 2:
        found = f"only the class folder {classes[0]!r}" if classes else "pictures but no class folders"
        remedy = f"{EXAMPLE}, or add a manifest.csv (path,label) beside them"
        raise DarkroomError(f"{archive} holds {found}, and a classifier needs two classes: {remedy}")
    return items


def limit(items: Sequence[Item], per_class: int | None) -> list[Item]:
    """Return at most `per_class` items of each class and split, chosen by a hash of the name, in order."""
    if per_class is None:
        return list(items)
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        groups[item.label, item.split].append(item)
    kept = {
        item
        for group in groups.values()
        for item in sorted(group, key=lambda item: hashlib.sha256(item.name.encode()).digest())[:per_class]
    }
    return [item for item in items if item in kept]


def refuse_unreadable_classes(wanted: Sequence[Item], readable: Iterable[str], archive: str) -> None:
    """Raise DarkroomError when a class has no readable picture; `readable` are the classes of those read."""
    counts = Counter(item.label for item in wanted)
    if empty := sorted(set(counts) - set(readable)):
        first = next(item.name for item in wanted if item.label == empty[0])
        raise DarkroomError(
            f"{archive}: no picture of class {empty[0]!r} can be read ({counts[empty[0]]} tried, the first is "
            f"{first}): replace them, or remove the folder"
        )


def is_hidden(path: PurePosixPath) -> bool:
    """Return whether a file is one that systems leave behind, and not one of a person's."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _is_picture(path: PurePosixPath) -> bool:
    return path.suffix.lower() in images.SUFFIXES and not is_hidden(path)


def _without_wrappers(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Drop leading folders that all paths share, as long as a class folder is left."""
    while len({path[0] for path in paths}) == 1 and all(len(path) >= 3 for path in paths):
        paths = [path[1:] for path in paths]
    return paths
