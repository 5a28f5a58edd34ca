"""Pretrained weights: downloaded once and verified, so that training needs no network access.

The folder contains `weights.pth` or `weights.safetensors`, `source.json` (their description) and, for a candidate,
`card.json`. Torch is loaded only to get the URL of ImageNet weights from torchvision, or for a network `timm/NAME`; the
client of timm's hub only to look up weights there.
"""

import os
import shutil
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from darkroom import candidate, fetching
from darkroom.fetching import Checksum
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.training.settings import IMAGENET, TIMM, WEIGHT_FILES, TransferSettings
from darkroom.training.transfer import packaged
from darkroom.training.transfer.origin import Origin, read_origin

if TYPE_CHECKING:
    from darkroom.training.transfer.backbones import Published

MIRROR = "DARKROOM_WEIGHTS_MIRROR"
"""Environment variable with the URL of a folder that contains torchvision's files."""
MAX_BYTES = 10_000_000_000
OFFLINE = "Without network access, use efficientnet_lite0, whose weights are installed, or backbones/cifar10_backbone"


def have(settings: TransferSettings, out: Path) -> bool:
    """Return whether the folder `out` contains the complete weights for `settings`, so that no download is needed."""
    if not (out / "source.json").is_file():
        return False
    origin = read_origin(out)
    wanted = (settings.weights_shown, settings.architecture or "")
    # A clone has what `dvc pull` downloaded, but not a file that a colleague placed there manually.
    is_gone = not settings.from_address and not Path(settings.weights).expanduser().exists()
    return (settings.weights == IMAGENET or settings.sha256 is not None or is_gone) and (
        (origin.weights, origin.architecture) == wanted
        and settings.sha256 in (None, origin.sha256)
        and settings.revision in (None, origin.revision)
        and (out / origin.file).is_file()
        and files.sha256(out / origin.file) == origin.sha256
    )


def fetch(settings: TransferSettings, backbones: Path, downloads: Path, out: Path) -> Origin:
    """Download or copy the weights named in `settings` to the existing folder `out`.

    Folders in `backbones` are tracked by git and DVC, so they need no checksum; `downloads` keeps partial downloads for
    the next run.

    Raises DarkroomError when they are missing, cannot be downloaded, or have a different SHA-256.
    """
    if settings.from_candidate:
        target = _bring_candidate(settings, backbones, out)
        started = candidate.read_card(out).training.get("weights_licence")
        return _describe(settings, target, out, started)
    if settings.architecture and TIMM.fullmatch(settings.architecture):
        from darkroom.training.transfer import timm_networks

        timm_networks.check(settings.architecture, settings.input_size)  # so that these errors precede any training
    if settings.from_hub:
        return _bring_from_hub(settings, downloads, out)
    suffix = Path(urlsplit(settings.weights).path).suffix if settings.weights != IMAGENET else ".pth"
    target = out / f"weights{'.safetensors' if suffix == '.safetensors' else '.pth'}"
    licence = ""
    if settings.architecture in packaged.PACKAGES and settings.weights == IMAGENET:
        licence = packaged.LICENCE
        _copy_packaged(settings, target)
    elif settings.weights == IMAGENET:
        _bring_published(settings, backbones, downloads, target)
    elif settings.from_address:
        checksum = Checksum("sha256", settings.sha256 or "")
        remedy = f"check the URL, the network and sha256. {OFFLINE}"
        fetching.fetch([settings.weights], checksum, downloads, target, MAX_BYTES, remedy)
    else:
        _copy(Path(settings.weights).expanduser(), settings, backbones, target)
    return _describe(settings, target, out, licence)


def _describe(
    settings: TransferSettings, target: Path, out: Path, licence: str | None, repository: str = "", revision: str = ""
) -> Origin:
    given = (settings.weights_shown, settings.architecture or "", files.sha256(target), target.name)
    origin = Origin(*given, licence, repository, revision)
    files.write_json(out / "source.json", asdict(origin))
    return origin


def _bring_from_hub(settings: TransferSettings, downloads: Path, out: Path) -> Origin:
    from darkroom.training.transfer import hub

    assert settings.architecture is not None
    found = hub.find(settings.architecture, settings.revision, settings.sha256)
    target, checksum = out / "weights.safetensors", Checksum("sha256", found.sha256)
    fetching.fetch([found.url], checksum, downloads, target, MAX_BYTES, hub.remedy(found), found.headers)
    return _describe(settings, target, out, found.licence, found.repository, found.revision)


def _bring_candidate(settings: TransferSettings, backbones: Path, out: Path) -> Path:
    folder = Path(settings.weights).expanduser()
    for name in ("weights.safetensors", "card.json"):
        if not (folder / name).is_file():
            raise DarkroomError(
                f"{folder / name} is missing: weights must be {IMAGENET}, a file or a URL that ends in "
                f"{', '.join(WEIGHT_FILES)}, or a folder with weights.safetensors and card.json, such as "
                "backbones/cifar10_backbone or a candidate of an earlier run"
            )
    card = candidate.read_card(folder)
    if not card.network:
        raise DarkroomError(
            f"{folder} contains no network but a {card.architecture}: choose one that was trained by scratch"
        )
    shutil.copyfile(folder / "card.json", out / "card.json")
    return _copy(folder / "weights.safetensors", settings, backbones, out / "weights.safetensors")


def _copy(path: Path, settings: TransferSettings, backbones: Path, target: Path) -> Path:
    if not path.is_file():
        raise DarkroomError(f"{naming.shown(path)} is missing: put the weights there, or set weights to their path")
    found = files.sha256(path)
    if settings.sha256 is None and not _is_in_git(path, backbones):
        raise DarkroomError(
            f"{naming.shown(path)} is not tracked by git, so it must be pinned: add sha256: {found} next to weights"
        )
    if settings.sha256 not in (None, found):
        raise DarkroomError(
            f"{naming.shown(path)} has SHA-256 {found}, not {settings.sha256}: if you want to use these weights, "
            "put the former into params.yaml"
        )
    shutil.copyfile(path, target)
    return target


def _is_in_git(path: Path, backbones: Path) -> bool:
    """Return whether `path` is in a folder of `backbones`; git and DVC ignore single files next to those folders."""
    return backbones.resolve() in path.resolve().parent.parents


def _copy_packaged(settings: TransferSettings, target: Path) -> None:
    assert settings.architecture is not None
    path = packaged.find(settings.architecture)
    if settings.sha256 not in (None, found := packaged.PACKAGES[settings.architecture].sha256):
        raise DarkroomError(
            f"the installed weights of {settings.architecture} have SHA-256 {found}, not {settings.sha256}: remove "
            "sha256 from params.yaml, or set weights to the file that is meant"
        )
    shutil.copyfile(path, target)


def _bring_published(settings: TransferSettings, backbones: Path, downloads: Path, target: Path) -> None:
    from darkroom.training.transfer.backbones import published

    assert settings.architecture is not None
    weights = published(settings.architecture)
    checksum = Checksum("sha256", settings.sha256 or weights.sha256)
    if (path := backbones / weights.file).is_file():
        if not checksum.of(path):
            raise DarkroomError(
                f"{path} does not have {checksum}: it is truncated, or not torchvision's. Remove it, or, to use these "
                f"weights, set weights: {path} and sha256: {files.sha256(path)}"
            )
        shutil.copyfile(path, target)
        return
    remedy = (
        f"check the network, or download {weights.file} elsewhere and put it into {backbones}/, or set {MIRROR} to the "
        f"URL of a folder that contains it. For other weights of {settings.architecture}, set {_named(backbones)}. "
        f"{OFFLINE}"
    )
    fetching.fetch(addresses(weights), checksum, downloads, target, MAX_BYTES, remedy)


def addresses(weights: "Published") -> list[str]:
    """Return the URLs of torchvision's file, in the order to try."""
    mirror = os.environ.get(MIRROR)
    return [*([f"{mirror.rstrip('/')}/{PurePosixPath(weights.file)}"] if mirror else []), weights.url]


def _named(backbones: Path) -> str:
    """Return the parameters for weights that were put into `backbones` under other names."""
    files_there = sorted(path for path in backbones.glob("*") if path.suffix in WEIGHT_FILES and path.is_file())
    if not files_there:
        return "weights: PATH and their sha256"
    path, more = files_there[0], len(files_there) - 1
    others = f" (there are {more} more)" if more else ""
    return f"weights: {naming.shown(path)} and sha256: {files.sha256(path)}{others}"
