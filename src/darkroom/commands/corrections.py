"""`darkroom corrections LOG`: import images that users of the service have corrected, for the next training run."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from darkroom import images, packed, schema
from darkroom.data import tree
from darkroom.data.archives import archive, layout, manifest
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

PARAMS = Path("params.yaml")
INBOX = Path("data/inbox")
PACKED = Path("data/packed")
SPLIT = Path("data/split.csv")
SHOWN = 5


def corrections(log: Path, to: Path | None) -> list[str]:
    """Copy the corrections in the folder `log` (the value of `serve.log`) into class folders and return a report.

    to: the folder of class folders, by default the inbox. Images that are already there are skipped, and so are images
    that are not suitable for training: broken files, images with two classes, and classes that are not in the data.

    Raises DarkroomError when there are no corrections, or when the pipeline would not read them from the target.
    """
    folder = log if log.name == "corrections" else log / "corrections"
    if not folder.is_dir():
        raise DarkroomError(
            f"{naming.shown(log)} has no corrections: give the folder set as serve.log (if this is the folder, "
            "no corrections have been sent yet)"
        )
    folders = target(to or inbox())
    known = _known()
    classes, told = set(known.values()), _labels(folder)
    copied: Counter[str] = Counter()
    there, refused = 0, []
    for path, label, digest in find(folder):
        name = naming.shown(f"{label}/{path.name}")
        place = folders / label / path.name
        if "/" in label or label in (".", ".."):
            refused.append(f"{name}: the class is not a valid folder name, so add the image manually")
        elif len(told[digest]) > 1:
            refused.append(f"{name}: corrected to {' and to '.join(map(naming.shown, sorted(told[digest])))}")
        elif classes and label not in classes:
            refused.append(f"{name}: there is no class '{naming.shown(label)}' in the data")
        elif known.get(digest, label) != label:
            refused.append(
                f"{name}: it is in the data as '{naming.shown(known[digest])}'; if that is wrong, run darkroom curate"
            )
        elif digest in known or place.exists():
            there += 1
        elif reason := _unreadable(path):
            refused.append(f"{name}: {reason}")
        else:
            with files.whole_file(place) as partial:
                partial.write_bytes(path.read_bytes())
            copied[label] += 1
    return _words(folders, copied, there, refused)


def inbox() -> Path:
    """Return the inbox. Raises DarkroomError when the pipeline does not read it."""
    parameters = schema.load(PARAMS)
    source = parameters.datasets[parameters.dataset].source
    name = f"datasets.{parameters.dataset}.source"
    if source.kind != "folder":
        raise DarkroomError(f"{name} is of kind {source.kind}, not a folder of your images: give a folder with --to")
    if place := source.path or source.url:
        raise DarkroomError(f"{name} is {naming.shown(place)}, not {INBOX}: give the target folder with --to")
    return INBOX


def target(place: Path) -> Path:
    """Return the folder in `place` where the pipeline looks for class folders."""
    if not place.is_dir():
        return place
    names = [entry.name for entry in tree.entries(place)]
    if single := [name for name in names if archive.is_archive(Path(name)) or manifest.is_manifest(name)]:
        raise DarkroomError(
            f"{naming.shown(place)} contains {naming.shown(single[0])}, so class folders next to it are not read: "
            "unpack it, or add the images to it manually"
        )
    return place / layout.class_folder([name for name, _ in tree.images(place)], naming.shown(place))


def _known() -> dict[str, str]:
    """Return the class of each image of the data by SHA-256, after the decisions about labels if there is a split."""
    records = packed.read_index(PACKED) if (PACKED / "index.csv").is_file() else []
    labels = [record.label for record in records]
    if SPLIT.is_file() and len((split := packed.read_split(SPLIT)).labels) == len(records):
        labels = [split.classes[label] for label in split.labels.tolist()]
    return {record.sha256: label for record, label in zip(records, labels, strict=True)}


def find(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield (file, class, SHA-256) of each correction, sorted by name."""
    for name, path in tree.walk(folder):
        if name.count("/") == 1 and not name.endswith("/"):
            yield path, unquote(path.parent.name), hashlib.sha256(path.read_bytes()).hexdigest()


def _labels(folder: Path) -> dict[str, set[str]]:
    """Return the classes that users gave for each file content, by SHA-256."""
    labels: dict[str, set[str]] = defaultdict(set)
    for _, label, digest in find(folder):
        labels[digest].add(label)
    return labels


def _unreadable(path: Path) -> str:
    if not layout.is_image(path.name):  # the pipeline would ignore it
        return "the suffix is not that of an image"
    try:
        images.decode(path.read_bytes(), 32)
    except images.ImageError as error:
        return str(error)
    return ""


def _words(target: Path, copied: Counter[str], there: int, refused: list[str]) -> list[str]:
    lines = []
    if copied:
        listed = naming.listed([f"{label} {count:,}" for label, count in sorted(copied.items())])
        lines.append(f"{naming.count(copied.total(), 'image')} copied to {naming.shown(target)}: {listed}")
    if there:
        lines.append(f"{naming.count(there, 'is', 'are')} already there")
    if refused:
        lines.append(f"{len(refused):,} skipped:")
        lines += [f"  {words}" for words in refused[:SHOWN]]
        if len(refused) > SHOWN:
            lines.append(f"  and {len(refused) - SHOWN:,} more")
    if copied:
        command = "dvc repro" if target.is_relative_to(INBOX) else "dvc repro -f download && dvc repro"
        lines.append(f"Check whether the users were right, then run: {command}")
    return lines or ["There are no corrections yet."]
