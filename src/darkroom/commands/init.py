"""`darkroom init PHOTOS`: inspect a user's images and adapt `params.yaml` to them."""

import difflib
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from darkroom import packed, schema
from darkroom.commands import editing, proposal, weights
from darkroom.data.settings import FolderSource, SplitSettings
from darkroom.data.split import holdout, splitting
from darkroom.data.surveying import Survey, survey
from darkroom.foundations import files, launching, naming
from darkroom.foundations.errors import DarkroomError

PARAMS = Path("params.yaml")
INBOX = Path("data/inbox")
TEST_IMAGES = Path("data/test_images.json")
MANY = 1_000
"""Images per class above which a quick first run on a subset is suggested."""
MOSTLY = 0.8
"""Median fraction of an image in its central square up to which a comparison with whole images is suggested."""
MOST_CLASSES, MOST_BROKEN = 30, 5
"""Largest number of lines to print."""


def init(photos: Path, entry: str, file: Path | None, *, yes: bool, offline: bool) -> None:
    """Describe the images in `photos`, propose changes to `params.yaml`, and apply them after confirmation.

    file: pretrained weights to start from; by default, installed ones for photographs. offline: remove entries of
    `transfer` whose weights must be downloaded. Raises DarkroomError when the images or weights cannot be used, or
    without confirmation; params.yaml is then unchanged.
    """
    current = schema.load(PARAMS)
    _refuse_name(entry, current)
    start = weights.look(file) if file else None
    if not photos.exists():
        raise DarkroomError(f"{naming.shown(photos)} does not exist: give a folder or an archive of your images")
    known = current.datasets.get(entry)
    settings = known.split if known else SplitSettings()
    classes = known.source.classes if known and isinstance(known.source, FolderSource) else {}
    found = survey(photos, settings.near_copies, classes)
    console = Console(highlight=False, markup=False, emoji=False)
    show(found, console)
    held = _test_images(entry, current)
    splits = splitting.divide(found.records, found.copies, settings, current.seed, held).splits
    for words in _divided(found, splits, settings, held):
        console.print(words, soft_wrap=True)
    if start is None and proposal.shows_photographs(found):
        start = weights.Weights(proposal.BACKBONE, proposal.BACKBONE)
    changes = proposal.propose(found, splits, current, entry, _source(photos), start, offline=offline)
    old = PARAMS.read_text(encoding="utf-8")
    new = editing.edit(old, changes.values, changes.moves)
    weights.check(_validated(new).transfer)
    _show_changes(old, new, changes.reasons, console)
    if new == old:
        console.print(f"\n{PARAMS} already has these values.")
    elif not _agreed(yes=yes):
        console.print(f"{PARAMS} is unchanged.")
        raise SystemExit(1)
    else:
        files.write_text(PARAMS, new)
        console.print(f"\n{PARAMS} has been updated.")
    counts = Counter(record.label for record in found.records)
    several = start is not None and start.name in current.photos
    seen = found.seen if schema.load(PARAMS).datasets[entry].pack.fit == "crop" else 1.0
    _show_next(entry, _source(photos), counts, seen, console, several=several)


def show(found: Survey, console: Console) -> None:
    """Print classes, image sizes, copies, and files that cannot be read."""
    counts = Counter(record.label for record in found.records)
    sides = sorted(found.short_sides.tolist())
    grey = f", {found.greyscale:,} of them greyscale" if found.greyscale else ""
    console.print(
        f"{naming.count(len(found.records), 'image')} in {naming.count(len(counts), 'class', 'classes')}{grey}"
    )
    median = f", median {int(np.median(sides)):,}" if sides[0] < sides[-1] else ""
    console.print(f"Shorter side: {naming.span(sides[0], sides[-1], 'pixel')}{median}\n")
    console.print(_chart(counts))
    for words in _remarks(found, counts):
        console.print(words, soft_wrap=True)


def _chart(counts: Counter[str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(max_width=30, no_wrap=True)
    table.add_column(justify="right")
    table.add_column(width=30)
    largest = max(counts.values())
    for label, count in counts.most_common(MOST_CLASSES):
        table.add_row(Text(naming.shown(label)), f"{count:,}", Bar(largest, 0, count, color="cyan"))
    if len(counts) > MOST_CLASSES:
        rest = counts.most_common()[MOST_CLASSES:]
        table.add_row(Text(f"and {len(rest):,} more"), naming.span(rest[-1][1], rest[0][1], "image"), "")
    return table


def _remarks(found: Survey, counts: Counter[str]) -> list[str]:
    """Return lines about what the user should check."""
    lines = [""]
    different, clusters = len(np.unique(found.copies.exact)), len(np.unique(found.copies.clusters))
    exact, near = len(found.records) - different, different - clusters
    if exact or near:
        lines.append(
            f"{exact:,} exact and {naming.count(near, 'near copy', 'near copies')}; copies stay in the same split"
        )
    if conflicts := int(found.copies.conflicts.sum()):
        names = [record.name for record, bad in zip(found.records, found.copies.conflicts, strict=True) if bad]
        lines.append(
            naming.count(
                conflicts, "image has a copy in another class and is", "images have a copy in another class and are"
            )
            + f" excluded: {naming.listed(names, most=3)}"
        )
    if few := [f"{label} ({count})" for label, count in counts.items() if count < 30]:
        lines.append(f"Classes with fewer than 30 images, so unreliable: {naming.listed(few, most=3)}")
    if broken := [item for item in found.broken if item.label]:
        lines.append(
            f"{naming.count(len(broken), 'image cannot be read and is', 'images cannot be read and are')} excluded:"
        )
        lines += [f"  {naming.shown(item.name)}: {naming.shown(item.reason)}" for item in broken[:MOST_BROKEN]]
        if len(broken) > MOST_BROKEN:
            lines.append(f"  and {len(broken) - MOST_BROKEN:,} more")
    return [*lines, *found.warnings]


def _test_images(entry: str, current: schema.Document) -> frozenset[str]:
    """Return the SHA-256 of the test images that the next run will keep."""
    known = current.datasets.get(entry)
    settings, limit = (known.split, known.pack.limit_per_class) if known else (SplitSettings(), None)
    terms = holdout.Terms(dataset=entry, seed=current.seed, test=settings.test, limit_per_class=limit)
    return holdout.read(TEST_IMAGES, terms)[0] if settings.grow == "train" else frozenset()


def _divided(found: Survey, splits: Sequence[str], settings: SplitSettings, held: Collection[str]) -> list[str]:
    """Return lines about the size and origin of each split, and about excluded images."""
    sizes = Counter(splits)
    given = {record.split for record in found.records} - {""}
    shares = {"validation": settings.validation, "test": settings.test}
    lines = [""]
    for name in packed.SPLITS:
        folders = [folder for folder, split in sorted(found.splits.items()) if split == name]
        words = f"the images in {naming.listed(folders)}" if folders else "as defined by the source"
        if name not in given:
            words = "the rest"
            if name == "test" and any(record.sha256 in held for record in found.records):
                words = f"those listed in {TEST_IMAGES} that still exist, and {shares[name]:.0%} of each new class"
            elif name in shares:
                cut = f"of train, because there is no folder {name}" if given else "of each class"
                words = f"{shares[name]:.0%} {cut}"
        lines.append(f"{sizes[name]:,} {name}: {words}")
    if number := sizes[packed.LEFT_OUT]:
        pairs = zip(found.copies.conflicts.tolist(), splits, strict=True)
        conflicts = sum(conflict for conflict, split in pairs if split == packed.LEFT_OUT)
        parts = [f"{conflicts:,} with a copy in another class"] * bool(conflicts)
        if copies := number - conflicts:
            groups = " or images of its group" * any(record.group for record in found.records if held)
            parts.append(f"{naming.count(copies, 'copy', 'copies')} of a validation or test image{groups}")
        lines.append(f"{number:,} excluded: {' and '.join(parts)}")
    return lines


def _source(photos: Path) -> str | None:
    """Return the value of `source.path`: None for the inbox, relative inside the project, otherwise absolute."""
    place, top = photos.resolve(), Path.cwd().resolve()
    if place == (top / INBOX).resolve():
        return None
    return str(place.relative_to(top)) if place.is_relative_to(top) else str(place)


def _refuse_name(entry: str, current: schema.Document) -> None:
    if not launching.NAME.fullmatch(entry):
        raise DarkroomError(f"--name '{naming.shown(entry)}' is not allowed: {launching.NAMING}")
    if entry in current.datasets and (kind := current.datasets[entry].source.kind) != "folder":
        raise DarkroomError(f"--name {entry}: datasets.{entry} in {PARAMS} is of kind {kind}: give another name")


def _validated(text: str) -> schema.Document:
    """Return the content of a proposed `params.yaml`. Raises DarkroomError when it is not valid."""
    with TemporaryDirectory() as folder:
        path = Path(folder, PARAMS.name)
        path.write_text(text, encoding="utf-8")
        try:
            return schema.load(path)
        except DarkroomError as error:
            raise DarkroomError(str(error).replace(str(path), f"the proposed {PARAMS}")) from None


def _show_changes(old: str, new: str, reasons: Sequence[tuple[str, str]], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for what, why in reasons:
        table.add_row(Text(what, style="bold"), Text(naming.escape(why)))
    console.print(f"\nProposed changes to {PARAMS}, with reasons:\n")
    console.print(table)
    console.print()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1))[2:]:
        console.print(naming.escape(line), style=styles.get(line[0], ""), soft_wrap=True)


def _agreed(*, yes: bool) -> bool:
    """Return whether the user confirms the changes. Raises DarkroomError when there is nobody to ask."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise DarkroomError(
            f"{PARAMS} is unchanged, because the input is not a terminal: pass --yes to apply the changes"
        )
    try:
        answer = input(f"\nApply these changes to {PARAMS}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")


def _show_next(
    entry: str, source: str | None, counts: Counter[str], seen: float, console: Console, *, several: bool
) -> None:
    """Print the next commands. seen: fraction of a typical image that the network sees."""
    lines = [("dvc repro", "train, evaluate, package and report"), ("darkroom summary", "show the results")]
    if source:
        lines.append(("dvc repro -f download && dvc repro", "the same, after a change of the images"))
    if several:
        lines.append(("dvc exp run -S 'transfer=${photos}'", "compare it with two larger pretrained networks"))
    if seen <= MOSTLY:
        words = f"the same with whole images; their central squares show {seen:.0%} of them"
        lines.append((f"dvc exp run -S datasets.{entry}.pack.fit=stretch", words))
    if max(counts.values()) > MANY:
        limit = f"dvc exp run -S datasets.{entry}.pack.limit_per_class={MANY // 5}"
        lines.insert(0, (limit, "a quick first run"))
    width = max(len(command) for command, _ in lines)
    console.print("\nNext steps")
    for command, what in lines:
        console.print(f"  {command:<{width}}  {what}", soft_wrap=True)
    if source and Path(source).is_absolute():
        words = "only this computer has that folder, so others get the images with `dvc pull`"
        console.print(f"\nsource.path is an absolute path: {words}.", soft_wrap=True)
