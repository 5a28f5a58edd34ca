"""The manifest: a list of images, `manifest.csv`, with path,label[,split[,group[,slice]]], instead of class folders."""

import csv
import io
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from darkroom import images
from darkroom.data.archives import archive, layout
from darkroom.data.archives.layout import Arrangement, Item
from darkroom.data.archives.structure import SPLIT_NAMES
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

NAME = "manifest.csv"
COLUMNS = ("path", "label", "split", "group", "slice")
SHOWN = 5
"""Largest number of errors that a message lists."""


def arrange(path: Path, names: Sequence[str] | None = None, classes: Collection[str] = ()) -> Arrangement:
    """Return the images of the archive `path`, sorted by name, from its manifest or else from its class folders.

    Images that are not in the manifest are ignored. `names` are those of the files and folders from which the archive
    was made, if they are known: it is then not listed, and files that were not added to it can cause warnings.
    `classes` are folders that are classes whatever their names.

    Raises DarkroomError when the archive is damaged, when its manifest is invalid (with the line numbers), or when it
    has neither a manifest nor class folders.
    """
    listing = archive.list_members(path) if names is None else archive.Listing(list(names), [])
    title = naming.shown(path.name)
    arrangement = arrange_names(listing.names, title, lambda name: dict(archive.read(path, {name}))[name], classes)
    return replace(arrangement, warnings=[*listing.warnings, *arrangement.warnings])


def arrange_names(
    names: Sequence[str], title: str, read: Callable[[str], bytes | str], classes: Collection[str] = ()
) -> Arrangement:
    """Return the same for files with these `names` anywhere.

    `title` is the name of the place in messages; `read` returns the content of a file, or why it cannot be read.
    """
    place = _find(names)
    if place is None:
        arrangement = layout.arrange(names, title, classes)
    elif isinstance(data := read(place), str):
        raise DarkroomError(f"{title}: {place} cannot be read ({data}): download or create it again")
    else:
        arrangement = Arrangement(sorted(parse(data, place, names), key=lambda item: item.name), [])
    return replace(arrangement, warnings=[*arrangement.warnings, *layout.alike(arrangement.items, title)])


def is_manifest(name: str) -> bool:
    """Return whether a file's name is that of a manifest, case-insensitively."""
    return name.lower() == NAME


def parse(data: bytes, place: str, names: Collection[str]) -> list[Item]:
    """Return the items of a manifest in its order.

    `place` is its name in the archive; its paths are relative to its folder. `names` are all files of the archive.

    Raises DarkroomError with the line numbers of: a wrong header; a path that is empty, missing, not an image or
    listed twice; a missing label; an unknown split; a label, group or slice that cannot be printed or is too long; a
    group in two splits; fewer than two classes.
    """
    title = naming.shown(place)
    rows = _rows(data, title)
    stored = {str(PurePosixPath(name)): name for name in names}  # tar may write ./cats/1.jpg
    items: list[Item] = []
    lines: dict[str, int] = {}
    sides: dict[str, tuple[str, int]] = {}
    wrong: list[str] = []
    for line, row in rows:
        name = str(PurePosixPath(place).parent / row["path"].replace("\\", "/"))
        split = SPLIT_NAMES.get(row["split"].lower(), "")
        side, first = sides.setdefault(row["group"], (split, line))
        if mistake := _mistake(row, known=name in stored):
            wrong.append(f"line {line}: {mistake}")
        elif name in lines:
            wrong.append(f"line {line}: '{naming.shown(row['path'])}' is already listed on line {lines[name]}")
        elif row["group"] and side != split:
            wrong.append(
                f"line {line}: group '{naming.shown(row['group'])}' is in {split or 'no split'} here and in "
                f"{side or 'no split'} on line {first}, but a group must stay in one split"
            )
        lines.setdefault(name, line)
        items.append(Item(stored.get(name, name), row["label"], split, row["group"], row["slice"]))
    if wrong:
        more = f"\n  and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
        raise DarkroomError(f"{title} is invalid; correct it:\n  " + "\n  ".join(wrong[:SHOWN]) + more)
    if len(classes := {item.label for item in items}) < 2:
        found = f"only the label '{naming.shown(classes.pop())}'" if classes else "no images"
        raise DarkroomError(f"{title} lists {found}, but a classifier needs two classes: add images of another class")
    return items


def _find(names: Sequence[str]) -> str | None:
    """Return the manifest in the top folder of an archive, or in the folder that contains all images, or None."""
    if not any(NAME in name.lower() for name in names):
        return None  # as for most folders; building a path for each name would take most of the time
    visible = {PurePosixPath(name): name for name in names if not layout.is_hidden(PurePosixPath(name))}
    found = [path for path, name in visible.items() if is_manifest(path.name) and not name.endswith("/")]
    top = min(found, key=lambda path: len(path.parts), default=None)
    files = (path for path, name in visible.items() if not name.endswith("/"))
    pictures = (path for path in files if layout.is_image(str(path)))
    return visible[top] if top and all(path.is_relative_to(top.parent) for path in pictures) else None


def _rows(data: bytes, place: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, value by column); values are stripped, and missing columns are empty."""
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"path", "label"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
            raise DarkroomError(
                f"{place}: its first line is '{naming.shown(','.join(header))}', but must be path,label and optionally "
                "split, group and slice, separated by commas"
            )
        for row in reader:
            if not any(row):
                continue
            if len(row) > len(header):
                raise DarkroomError(
                    f"{place}, line {reader.line_num}: {len(row)} values for {len(header)} columns: "
                    "put values that contain a comma into double quotes"
                )
            values = dict(zip(header, (value.strip() for value in row), strict=False))
            # Normalised, so that a class or group does not depend on the Unicode encoding of accents; a path is kept as
            # it is.
            forms = {name: unicodedata.normalize("NFC", text) for name, text in values.items() if name != "path"}
            yield reader.line_num, dict.fromkeys(COLUMNS, "") | values | forms
    except UnicodeDecodeError:
        raise DarkroomError(f"{place} is not UTF-8: save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DarkroomError(f"{place} is not a valid CSV file ({error}): save it as CSV UTF-8") from None


def _mistake(row: dict[str, str], *, known: bool) -> str:
    """Return the error in a single line, or an empty string."""
    path = row["path"]
    if not path:
        return "the path is missing"
    if not known:
        return f"'{naming.shown(path)}' does not exist (paths are relative to the manifest's folder)"
    if not layout.is_image(path):
        return f"'{naming.shown(path)}' is not an image ({', '.join(sorted(images.SUFFIXES))})"
    if not row["label"]:
        return f"'{naming.shown(path)}' has no label"
    if (split := row["split"]) and split.lower() not in SPLIT_NAMES:
        return f"split '{naming.shown(split)}' is not one of {', '.join(SPLIT_NAMES)}, or empty"
    for column in ("label", "group", "slice"):
        if reason := naming.fault(row[column]):
            return f"{column} '{naming.shown(row[column])}' {reason}: change it"
    return ""
