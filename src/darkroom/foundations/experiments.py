"""Experiments in a folder of their own: `dvc exp run --temp`, and those of a queue.

DVC runs them in a clone below `.dvc/tmp/exps/` of the workspace. It lacks what git ignores: the images in
`data/inbox/`, weights in `backbones/`, and the caches in `.darkroom/`.
"""

import hashlib
import shutil
from pathlib import Path

CLONES = (".dvc", "tmp", "exps")
"""Where DVC makes these clones, in the workspace."""
IGNORED = ("data/inbox", "backbones")
"""Folders whose files git may ignore although stages read them."""
FEATURES, PACKED, CHECKPOINTS = ".darkroom/features", ".darkroom/packed", ".darkroom/checkpoints"
"""Caches of the workspace, as dvc.yaml names them."""


def workspace(folder: Path) -> Path | None:
    """Return the workspace from which an experiment was started whose clone contains `folder`; None outside of one."""
    parts = folder.absolute().parts
    size = len(CLONES)
    places = [place for place in range(1, len(parts) - size) if parts[place : place + size] == CLONES]
    return Path(*parts[: places[-1]]) if places else None


def prepare(folder: Path, params: Path) -> dict[str, str]:
    """Bring what git ignores into an experiment's clone; return for each cache where it really is.

    folder: the clone's folder with `dvc.yaml`; in any other folder, nothing happens. params: its parameters.

    Features and decoded images are shared with the workspace: their names depend on their content. An experiment's
    checkpoints are apart from others, and a later experiment with the same parameters resumes from them.
    """
    if (top := workspace(folder)) is None:
        return {}
    bring_ignored(top, folder)
    own = hashlib.sha256(params.read_bytes()).hexdigest()[:16]
    shared = {name: str(top / name) for name in (FEATURES, PACKED)}
    return {**shared, CHECKPOINTS: str(top / ".darkroom" / "experiments" / own)}


def bring_ignored(source: Path, target: Path) -> None:
    """Link, or copy to another disk, the files of `IGNORED` that a checkout has and its clone has not."""
    for file in (file for name in IGNORED for file in sorted((source / name).rglob("*")) if file.is_file()):
        place = target / file.relative_to(source)
        if place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.hardlink_to(file)
        except FileExistsError:  # by another stage of the same experiment
            continue
        except OSError:
            shutil.copyfile(file, place)
