"""Which folders of an archive are splits and which are classes, read from the paths of its images."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?:sets?|data|images|imgs)?(?![a-z])")
"""A split as a separate word, as in seg_train, test-set, TrainImages or val2017, but not in "contest" and "trains"."""
_PART = re.compile("train|valid|test")
"""A split anywhere in a name, which counts only if the folders inside agree."""
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_UNLABELLED = re.compile(
    r"(?<![a-z])(un[-_ ]?(labell?ed|sorted|classified|annotated|tagged)|no[-_ ]labels?|without[-_ ]labels?"
    r"|to[-_ ]?(be[-_ ]?)?(label|sort|classif|annotat|tag|predict|review)[a-z]*"
    r"|pred|predict|predicted|predictions?|inference|submissions?)(?![a-z])"
)
"""A folder whose images have no class yet. Whole words only: a predator is a class, and so is "unknown"."""
REPEATED = 2
"""If two folders share at least this many names of subfolders, the subfolders may be the classes."""

Parts = tuple[str, ...]


def split_of(name: str) -> str:
    """Return the split in a folder's name, such as train for seg_train; empty if there is none or several."""
    found = {SPLIT_NAMES[word] for word in _WORD.findall(_CAPITAL.sub("_", name).lower())}
    return found.pop() if len(found) == 1 else ""


def is_unlabelled(name: str) -> bool:
    """Return whether a folder's name says that its images have no class, such as to_label or Unsorted."""
    return bool(_UNLABELLED.search(_CAPITAL.sub("_", name).lower()))


@dataclass(frozen=True)
class Structure:
    """Location of the class folders."""

    depth: int
    """Folders that contain everything."""
    splits: Mapping[str, tuple[int, str]]
    """Folder directly below these -> the number of levels above its class folders, and its split."""
    splits_inside: bool = False
    """Whether each class folder contains one folder per split."""
    unlabelled: frozenset[Parts] = frozenset()
    """Folders whose names say that their images have no class."""

    def place(self, path: Parts) -> tuple[str, Parts]:
        """Return the split of a path, and the part of it from the class folder on; empty if it is in none."""
        if self.unlabelled and _is_inside(path, self.unlabelled):
            return "", ()
        rest = path[self.depth :]
        if not self.splits:
            return split_of(rest[1]) if self.splits_inside and len(rest) > 2 else "", rest
        if not rest or rest[0] not in self.splits:
            return "", ()
        depth, split = self.splits[rest[0]]
        return split, path[depth:]

    def folder(self, name: str, paths: Collection[Parts]) -> str:
        """Return the folder of the split, relative to the folders that contain everything."""
        depth, _ = self.splits[name]
        return next(
            "/".join(path[self.depth : depth]) for path in paths if path[self.depth : self.depth + 1] == (name,)
        )


def read(paths: Sequence[Parts], archive: str, classes: Collection[str] = ()) -> Structure:
    """Return where the class folders are, from the paths of all images; `archive` is its name in messages.

    Folders that contain everything are skipped. The outermost remaining ones are splits if their names, or the names of
    the only folders inside them, say so. A folder of unlabelled images may be next to them, or next to the class
    folders if its name says what it is and is not one of `classes`.

    Raises DarkroomError when class folders are next to splits, or when both the outer and the inner folders may be the
    classes.
    """
    unlabelled = _unlabelled(paths, classes)
    paths = [path for path in paths if not _is_inside(path, unlabelled)]
    depth = wrappers(paths)
    branches: dict[str, list[Parts]] = defaultdict(list)
    for path in paths:
        if len(path) >= depth + 2:
            branches[path[depth]].append(path[depth:])
    splits = _splits(branches)
    if splits:
        inner = {path[splits[name][0]] for name in splits for path in branches[name] if len(path) > splits[name][0]}
        _refuse_others(branches, splits, inner, archive)
        places = {name: (depth + levels, split) for name, (levels, split) in splits.items()}
        return Structure(depth, places, unlabelled=unlabelled)
    inside = _inside(branches)
    if inside and all(inside.values()) and all(split_of(name) for names in inside.values() for name in names):
        return Structure(depth, {}, splits_inside=True, unlabelled=unlabelled)
    _refuse_repeated(inside, archive)
    return Structure(depth, {}, unlabelled=unlabelled)


def _unlabelled(paths: Sequence[Parts], classes: Collection[str]) -> frozenset[Parts]:
    """Return the folders whose names say that their images have no class.

    None is returned if fewer than two class folders would be left (sorted and unsorted mail), nor one that contains a
    folder with the name of a class: it may be sorted after all.
    """
    inside: dict[Parts, set[str]] = defaultdict(set)
    others = set()
    for path in paths:
        levels = (level for level, name in enumerate(path[:-1]) if name not in classes and is_unlabelled(name))
        if (level := next(levels, None)) is None:
            others |= set(path[-2:-1])
        else:
            inside[path[: level + 1]] |= set(path[level + 1 : -1])
    found = frozenset(folder for folder, names in inside.items() if not names & others)
    return found if len(others) >= 2 else frozenset()


def _is_inside(path: Parts, folders: Collection[Parts]) -> bool:
    return any(path[:level] in folders for level in range(1, len(path)))


def wrappers(paths: Sequence[Parts]) -> int:
    """Return the number of leading folders that all images share, if a class folder is left inside."""
    count = 0
    nested = [path for path in paths if len(path) >= 2]  # ignores single images next to the folders
    while nested and len({path[count] for path in nested}) == 1:
        deeper = [path for path in nested if len(path) >= count + 3]
        if not deeper:
            break
        count, nested = count + 1, deeper
    return count


def _splits(branches: Mapping[str, Sequence[Parts]]) -> dict[str, tuple[int, str]]:
    """Return for each folder that is a split the number of levels above its class folders, and its split."""
    chains = {name: _chain(paths) for name, paths in branches.items()}
    found: dict[str, tuple[int, str]] = {}
    for name, chain in chains.items():
        if any(len(path) > 2 for path in branches[name]) and (
            levels := [level for level, folder in enumerate(chain, 1) if split_of(folder)]
        ):
            found[name] = (levels[-1], split_of(chain[levels[-1] - 1]))
    if any(not split_of(name) for name in found) and len({split for _, split in found.values()}) < len(found):
        found = {name: place for name, place in found.items() if split_of(name)}  # each class has its own train folder
    if not found:
        found = _by_part(branches)
    # A folder that is in all of them, as in train/images/cat and test/images/cat, is not a class.
    while len(found) > 1 and len({chains[name][levels : levels + 1] for name, (levels, _) in found.items()}) == 1:
        if any(len(chains[name]) <= levels for name, (levels, _) in found.items()):
            break
        found = {name: (levels + 1, split) for name, (levels, split) in found.items()}
    return found


def _by_part(branches: Mapping[str, Sequence[Parts]]) -> dict[str, tuple[int, str]]:
    """Return the splits found anywhere in the names, as in mytrain, if all have one and contain the same folders."""
    inside = _inside(branches)
    words = {name: set(_PART.findall(name.lower())) for name in branches}
    if len(branches) < 2 or any(len(found) != 1 for found in words.values()) or not _repeated(inside):
        return {}
    return {name: (1, SPLIT_NAMES[found.pop()]) for name, found in words.items()}


def _chain(paths: Sequence[Parts]) -> Parts:
    """Return the chain of folders that contain only one folder each, from the outermost on, above a class folder."""
    return max(paths, key=len)[: 1 + wrappers([path[1:] for path in paths])]


def _inside(branches: Mapping[str, Sequence[Parts]]) -> dict[str, set[str]]:
    """Return the names of the folders inside each folder."""
    return {name: {path[1] for path in paths if len(path) > 2} for name, paths in branches.items()}


def _refuse_others(
    branches: Mapping[str, Sequence[Parts]], splits: Collection[str], classes: set[str], archive: str
) -> None:
    """Raise DarkroomError when folders next to the splits may contain classes."""
    several = len(splits) > 1
    others = []
    for name in sorted(set(branches) - set(splits)):
        folders = {folder for path in branches[name] for folder in path[1:-1]}
        is_expected = several or is_unlabelled(name) or split_of(name)
        if folders & classes or len(folders) > 1 or not is_expected:
            others.append(name)
    if others:
        raise DarkroomError(
            f"{archive} contains {naming.listed(sorted(splits))} next to {naming.listed(others)}: train, validation "
            "and test are interpreted as splits, so move the others into them, or rename them if they are classes"
        )


def _repeated(inside: Mapping[str, set[str]]) -> tuple[str, str] | None:
    """Return two folders that contain folders of the same names, or one that contains the names of its siblings."""
    holders = {name: names for name, names in sorted(inside.items()) if len(names) >= REPEATED}
    for name, names in holders.items():
        if len(names & set(inside)) >= REPEATED:
            return name, name
    pairs = combinations(holders, 2)
    return next((pair for pair in pairs if len(holders[pair[0]] & holders[pair[1]]) >= REPEATED), None)


def _refuse_repeated(inside: Mapping[str, set[str]], archive: str) -> None:
    """Raise DarkroomError when the folders inside others may be the classes."""
    if not (pair := _repeated(inside)):
        return
    first, second = pair
    names = inside[first] & (set(inside) if first == second else inside[second])
    holders = f"'{naming.shown(first)}'" + ("" if first == second else f" and '{naming.shown(second)}'")
    where = "contains folders that are also next to it" if first == second else "contain folders of the same names"
    raise DarkroomError(
        f"{archive}: {holders} {where} ({naming.listed(sorted(names), most=3)}), so it is not clear which folders are "
        "the classes. If the inner ones are, give the outer folders names such as train and test, or use only one of "
        "them; if the outer ones are, move the images out of the inner folders; or list the images in a manifest.csv "
        "(path,label)"
    )


def unlabelled_words(names: Sequence[str], found: Structure, archive: str) -> list[str]:
    """Return a warning that lists the folders of images outside class folders, if there are any."""
    if not names:
        return []
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[str(PurePosixPath(name).parent)] += 1
    places = [f"{count:,} {'at the top' if place == '.' else f'in {place}'}" for place, count in sorted(counts.items())]
    images = naming.count(len(names), "image is", "images are")
    where = naming.listed(places, most=3)
    return [f"{archive}: {images} not in a class folder and will be ignored: {where}{_override(found)}"]


def _override(found: Structure) -> str:
    """Return how folders become classes that were left out because of their names; next to splits, none can."""
    inside = [folder for folder in found.unlabelled if not found.splits or folder[found.depth] in found.splits]
    if not (names := sorted({folder[-1] for folder in inside})):
        return ""
    reason, them = (
        ("its name says so", "it is a class") if len(names) == 1 else ("their names say so", "they are classes")
    )
    entries = ", ".join(f"{naming.shown(name)}: {naming.shown(name)}" for name in names[:3])
    return f"; {reason}. If {them}, add {entries} to source.classes in params.yaml"
