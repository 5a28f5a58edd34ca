"""A list of the images, `manifest.csv`: path,label[,split[,group[,slice]]], instead of class folders."""

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


def arrange(path: Path, left_out: Sequence[str] = ()) -> Arrangement:
    """Return the images of the archive `path`, sorted by name, from its manifest or otherwise its class folders.

    Images that the manifest does not list are passed over. `left_out` are names of files that were not put into the
    archive, for warnings.

    Raises DarkroomError when the archive is damaged, when its manifest is wrong (with the lines), or when it has
    neither a manifest nor class folders.
    """
    title, listing = naming.shown(path.name), archive.list_members(path)
    arrangement = arrange_names([*listing.names, *left_out], title, lambda name: dict(archive.read(path, {name}))[name])
    return replace(arrangement, warnings=[*listing.warnings, *arrangement.warnings])


def arrange_names(names: Sequence[str], title: str, read: Callable[[str], bytes | str]) -> Arrangement:
    """Do so for `names`, wherever they lie.

    `title` is what messages call the place, `read` reads a file there, or gives the reason why it cannot.
    """
    place = _find(names)
    if place is None:
        arrangement = layout.arrange(names, title)
    elif isinstance(data := read(place), str):
        raise DarkroomError(f"{title}: {place} cannot be read ({data}): download or create it again")
    else:
        arrangement = Arrangement(sorted(parse(data, place, names), key=lambda item: item.name), [])
    return replace(arrangement, warnings=[*arrangement.warnings, *layout.alike(arrangement.items, title)])


def is_manifest(name: str) -> bool:
    """Return whether a file's name is that of a manifest, case-insensitively."""
    return name.lower() == NAME


def parse(data: bytes, place: str, names: Collection[str]) -> list[Item]:
    """Return the items of a manifest in its own order.

    `place` is its name inside the archive, from whose folder its paths start; `names` are all the archive's files.

    Raises DarkroomError that names the lines: a wrong header, a path that is empty, missing, no image or listed
    twice, no label, an unknown split, a label, group or slice that cannot be printed or is too long, a group in two
    splits, fewer than two classes.
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
            wrong.append(f"line {line}: '{naming.shown(row['path'])}' is listed on line {lines[name]} already")
        elif row["group"] and side != split:
            wrong.append(
                f"line {line}: group '{naming.shown(row['group'])}' is in {split or 'no split'} here and in "
                f"{side or 'no split'} on line {first}, and a group stays in one"
            )
        lines.setdefault(name, line)
        items.append(Item(stored.get(name, name), row["label"], split, row["group"], row["slice"]))
    if wrong:
        more = f"\n  and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
        raise DarkroomError(f"{title} cannot be used; correct it:\n  " + "\n  ".join(wrong[:SHOWN]) + more)
    if len(classes := {item.label for item in items}) < 2:
        found = f"only the label '{naming.shown(classes.pop())}'" if classes else "no images"
        raise DarkroomError(f"{title} lists {found}, and a classifier needs two classes: add the images of another")
    return items


def _find(names: Sequence[str]) -> str | None:
    """Return the manifest at the top of an archive, or in the folder around all images, or None."""
    visible = {PurePosixPath(name): name for name in names if not layout.is_hidden(PurePosixPath(name))}
    found = [path for path, name in visible.items() if is_manifest(path.name) and not name.endswith("/")]
    top = min(found, key=lambda path: len(path.parts), default=None)
    files = (path for path, name in visible.items() if not name.endswith("/"))
    pictures = (path for path in files if layout.is_image(str(path)))
    return visible[top] if top and all(path.is_relative_to(top.parent) for path in pictures) else None


def _rows(data: bytes, place: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, value by column) with blanks around values removed and absent columns empty."""
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"path", "label"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
            raise DarkroomError(
                f"{place}: its first line is '{naming.shown(','.join(header))}' and must be path,label and, if "
                "wanted, split, group and slice, separated by commas"
            )
        for row in reader:
            if not any(row):
                continue
            if len(row) > len(header):
                raise DarkroomError(
                    f"{place}, line {reader.line_num}: {len(row)} values for {len(header)} columns: "
                    "put values that hold a comma into double quotes"
                )
            values = dict(zip(header, (value.strip() for value in row), strict=False))
            # One class or group, however its accents are encoded; a path is as the file system has it.
            forms = {name: unicodedata.normalize("NFC", text) for name, text in values.items() if name != "path"}
            yield reader.line_num, dict.fromkeys(COLUMNS, "") | values | forms
    except UnicodeDecodeError:
        raise DarkroomError(f"{place} is not UTF-8: save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DarkroomError(f"{place} is not a CSV file that can be read ({error}): save it as CSV UTF-8") from None


def _mistake(row: dict[str, str], *, known: bool) -> str:
    """Return what is wrong with a single line, or an empty string."""
    path = row["path"]
    if not path:
        return "no path"
    if not known:
        return f"'{naming.shown(path)}' is not there (paths start at the manifest's own folder)"
    if not layout.is_image(path):
        return f"'{naming.shown(path)}' is not an image ({', '.join(sorted(images.SUFFIXES))})"
    if not row["label"]:
        return f"'{naming.shown(path)}' has no label"
    if (split := row["split"]) and split.lower() not in SPLIT_NAMES:
        return f"split '{naming.shown(split)}' is not one of {', '.join(SPLIT_NAMES)}, or empty"
    for column in ("label", "group", "slice"):
        if reason := naming.fault(row[column]):
            return f"{column} '{naming.shown(row[column])}' {reason}: write another"
    return ""
