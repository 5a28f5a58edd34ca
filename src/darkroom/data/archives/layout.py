"""Classes and splits from the names inside an archive."""

import hashlib
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import PurePosixPath

from darkroom import images
from darkroom.data.archives import structure
from darkroom.data.archives.archive import SUFFIXES
from darkroom.data.archives.structure import Structure
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import Broken

EXAMPLE = "put the images of each class into a separate folder, such as cats/1.jpg and dogs/1.jpg"


OTHER = frozenset([".arw", ".cr2", ".dng", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".nef", ".psd", ".raw", ".svg"])
"""Suffixes of unsupported image formats. Such files are opened too, because the content decides, not the name."""
KNOWN = images.SUFFIXES | OTHER
SYSTEM = frozenset(
    [
        *("$recycle.bin", "system volume information", "found.000", "thumbs.db", "desktop.ini"),  # Windows
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("#recycle", "#snapshot", "@eadir", "@tmp", "@recycle", "@recently-snapshot"),  # Synology, QNAP
        "lost+found",
    ]
)
"""System files and folders, in lower case; some contain thumbnails of the images."""
SHOWN = 3
"""Largest number of names that a warning lists."""


@dataclass(frozen=True)
class Item:
    """An image to be packed."""

    name: str
    label: str
    split: str
    """train, validation or test if the archive defines it, otherwise empty."""
    group: str = ""
    """Images of one group stay in one split; empty for no group."""
    slice: str = ""
    """Accuracy is reported for each slice; empty for no slice."""


@dataclass(frozen=True)
class Arrangement:
    """The images of an archive."""

    items: list[Item]
    set_aside: list[Broken]
    """Images that cannot be packed, with the reason."""
    warnings: Sequence[str] = ()
    """Warnings for the user about other files, in sentences."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Folder -> the split that it defines."""


def arrange(names: Iterable[str], archive: str, classes: Collection[str] = ()) -> Arrangement:
    """Return the images among `names` with class and split, sorted by name.

    `structure.read` determines which folders are splits and which are classes. Hidden files, system files and files
    without an image suffix are ignored. Names that end in a slash are folders. `archive` is the name of the archive in
    messages; `classes` are folders that are classes even if their names do not sound like it.

    Raises DarkroomError when there are fewer than two class folders, when one has no image, when there are other
    folders next to train and test, when it is not clear which folders are the classes, or when a class has a name
    that cannot be printed or is too long.
    """
    visible = sorted(name for name in names if not _is_hidden_name(name))
    pictures = [name for name in visible if is_image(name)]
    if not pictures:
        if inner := _archives(visible):
            raise DarkroomError(
                f"{archive} contains no images, only {naming.listed(inner, most=3)}, and nested archives are not "
                "opened: unpack it and give the contents"
            )
        raise DarkroomError(f"{archive} contains no images ({', '.join(sorted(images.SUFFIXES))}): {EXAMPLE}")
    # All images of a folder have the same place, so one path for each folder is enough, which is ten times as fast.
    first = {name.rpartition("/")[0]: name for name in reversed(pictures)}
    paths = [PurePosixPath(name).parts for name in sorted(first.values())]
    found = structure.read(paths, archive, classes)
    places = {folder: _place(found, name) for folder, name in first.items()}
    items, set_aside = [], []
    for name in pictures:
        label, split = places[name.rpartition("/")[0]]
        if label:
            items.append(Item(name, label, split))
        else:
            set_aside.append(Broken(name, "", "not in a class folder"))
    folders = [
        found.place((*path.parts, ""))[1][:-1]
        for path in (PurePosixPath(name) for name in visible if name.endswith("/"))
        if path.name in classes or not structure.is_unlabelled(path.name)
    ]
    labels = {unicodedata.normalize("NFC", parts[0]) for parts in folders if parts}
    _refuse_classes(items, labels, archive)
    unlabelled = structure.unlabelled_words([item.name for item in set_aside], found, archive)
    splits = {found.folder(name, paths): split for name, (_, split) in sorted(found.splits.items())}
    return Arrangement(items, set_aside, [*unlabelled, *_passed_over(visible, pictures, found, archive)], splits)


def _place(found: Structure, image: str) -> tuple[str, str]:
    """Return the class of an image, which is empty if it is in no class folder, and its split."""
    split, rest = found.place(PurePosixPath(image).parts)
    # Normalised, so that the class does not depend on the Unicode encoding of accents.
    return unicodedata.normalize("NFC", rest[0]) if len(rest) >= 2 else "", split


def class_folder(names: Iterable[str], archive: str) -> PurePosixPath:
    """Return the folder in which `arrange` finds the class folders, or those of the training split if there are splits.

    Raises DarkroomError as `structure.read` does.
    """
    paths = [PurePosixPath(name).parts for name in names if is_image(name)]
    found = structure.read(paths, archive)
    inside = [path for path in paths if len(found.place(path)[1]) >= 2]
    trained = [name for name, (_, split) in found.splits.items() if split == "train"]
    if trained:
        depth = found.splits[trained[0]][0]
        inside = [path for path in inside if path[found.depth] == trained[0] and len(path) > depth]
        return PurePosixPath(*inside[0][:depth])
    return PurePosixPath(*(inside[0][: found.depth] if inside else ()))


def _refuse_classes(items: Sequence[Item], named: set[str], archive: str) -> None:
    """Raise DarkroomError when fewer than two classes have images, or a class folder is empty or has a bad name."""
    classes = sorted({item.label for item in items})
    for label in sorted({*classes, *named}):
        if reason := naming.fault(label):
            raise DarkroomError(f"{archive}: the class folder '{naming.shown(label)}' {reason}: rename the folder")
    if empty := sorted(named - set(classes)):
        raise DarkroomError(
            f"{archive}: the class folder '{naming.shown(empty[0])}' contains no supported image "
            f"({', '.join(sorted(images.SUFFIXES))}): add images, or remove the folder"
        )
    if len(classes) < 2:
        found = f"only the class folder '{naming.shown(classes[0])}'" if classes else "images but no class folders"
        remedy = f"{EXAMPLE}, or add a manifest.csv (path,label)"
        raise DarkroomError(f"{archive} contains {found}, but a classifier needs at least two classes: {remedy}")


def rename(items: Sequence[Item], classes: Mapping[str, str], archive: str) -> list[Item]:
    """Return the items with their classes renamed by `classes` (folder name to class name).

    Raises DarkroomError when a folder does not exist, or when fewer than two classes are left.
    """
    folders = {item.label for item in items}
    if unknown := sorted(set(classes) - folders):
        raise DarkroomError(
            f"source.classes renames {naming.listed(unknown)}, but {archive} has no such class folder. "
            f"Its class folders: {naming.listed(sorted(folders))}"
        )
    renamed = [replace(item, label=classes[item.label]) if item.label in classes else item for item in items]
    if len({item.label for item in renamed}) < 2:
        raise DarkroomError(
            f"source.classes leaves only the class '{naming.shown(renamed[0].label)}': keep at least two"
        )
    return renamed


def limit(items: Sequence[Item], per_class: int | None) -> list[Item]:
    """Return at most `per_class` items of each class and split, selected by a hash of the name, in the given order."""
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


def refuse_unreadable_classes(
    wanted: Sequence[Item], readable: Iterable[str], broken: Iterable[Broken], archive: str
) -> None:
    """Raise DarkroomError when a class has no readable image; `readable` are the classes of the readable images."""
    counts = Counter(item.label for item in wanted)
    if empty := sorted(set(counts) - set(readable)):
        reasons = {item.name: item.reason for item in broken}
        first = next(item.name for item in wanted if item.label == empty[0])
        raise DarkroomError(
            f"{archive}: no image of class '{naming.shown(empty[0])}' can be read ({counts[empty[0]]} tried; "
            f"the first is {naming.shown(first)}: {reasons[first]}): replace them, or remove the folder"
        )


def alike(items: Iterable[Item], archive: str) -> list[str]:
    """Return a warning for classes whose names differ only in case and whitespace."""
    groups: dict[str, set[str]] = defaultdict(set)
    for label in {item.label for item in items}:
        groups["".join(unicodedata.normalize("NFKC", label).casefold().split())].add(label)
    return [
        f"{archive} has the classes {' and '.join(map(repr, sorted(group)))}, which differ only in case or spaces: "
        "if they are the same class, give them the same name"
        for group in sorted(groups.values(), key=min)
        if len(group) > 1
    ]


def _archives(names: Iterable[str]) -> list[str]:
    """Return the names of archives."""
    return [name for name in names if name.lower().endswith(SUFFIXES)]


def _passed_over(visible: Sequence[str], pictures: Sequence[str], found: Structure, archive: str) -> list[str]:
    """Return warnings for nested archives, and for files in class folders without an image suffix."""
    inner = _archives(visible)
    warnings = []
    if inner:
        what = naming.count(len(inner), "nested archive, which is", "nested archives, which are")
        shown = naming.listed(inner, most=3)
        warnings = [f"{archive} contains {what} not opened ({shown}): unpack what belongs to the data set"]
    known = {*pictures, *inner}
    others = (name for name in visible if name not in known and not name.endswith("/"))
    names = [name for name in others if len(found.place(PurePosixPath(name).parts)[1]) > 1]
    if not names:
        return warnings
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    files = naming.count(len(names), "file")
    shown = ", ".join(map(repr, names[:SHOWN]))  # quoted, so that no escape sequence reaches a terminal
    return [*warnings, f"{archive}: ignored {files} in class folders without an image suffix: {shown}{more}"]


def warn(warnings: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for words in warnings:
        print(f"warning: {words}", file=sys.stderr)


def is_image(name: str) -> bool:
    """Return whether a name has an image suffix, supported or not; names of folders end in a slash."""
    # Most files of a large data set are images, and building a path for each name would take most of the time.
    folders, _, file = name.rpartition("/")
    dot = file.rfind(".")
    return dot > 0 and file[dot:].lower() in KNOWN and not is_system(file) and not _is_inside_hidden(folders)


def is_hidden(path: PurePosixPath) -> bool:
    """Return whether a file is a system file."""
    return any(is_system(part) for part in path.parts)


def _is_hidden_name(name: str) -> bool:
    """Return whether a file is a system file, without building a path for each name."""
    folders, _, file = name.rpartition("/")
    return _is_inside_hidden(folders) or (is_system(file) and is_hidden(PurePosixPath(name)))


@lru_cache(maxsize=1024)
def _is_inside_hidden(folders: str) -> bool:
    """Return whether a folder, or one that contains it, is hidden."""
    return is_hidden(PurePosixPath(folders))


def is_system(name: str) -> bool:
    """Return whether a file or folder with this name is hidden or a system file."""
    return name.startswith(".") or name.casefold() in SYSTEM
