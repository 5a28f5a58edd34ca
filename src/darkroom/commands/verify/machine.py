"""The machine, packages and versions of the committed results and of a rebuild."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkroom import processor
from darkroom.commands.doctor import environment, machine
from darkroom.commands.review import revisions
from darkroom.commands.review.revisions import Revision
from darkroom.commands.review.snapshots import EVALUATION
from darkroom.foundations import files, naming
from darkroom.serving import proofs

SHOWN = ("bentoml", "dvc", "numpy", "onnxruntime", "pillow", "scikit-learn", "torch")
"""Packages whose versions a proof lists; its hash covers all of them."""


def recorded(revision: Revision) -> dict[str, str] | None:
    """Return the environment in which the commit's selected network was trained; None if it is not known here.

    It is in the network's card in DVC's cache, and in a proof of the same results that the commit contains.
    """
    name = (revision.read_json(EVALUATION) or {}).get("best", {}).get("name")
    path = f"models/candidates/{name}/card.json"
    if name and revision.output(path) and (card := revision.cached(path, revisions.cache_folder())):
        return dict(files.read_json(card)["environment"])
    try:
        proof = json.loads(revision.read((proofs.FOLDER / proofs.NAME).as_posix()) or "{}")
        same = proof["outputs"][EVALUATION]["expected"] == (revision.output(EVALUATION) or {}).get("md5")
        return dict(proof["recorded"]) if same and proof["recorded"] else None
    except (ValueError, LookupError, TypeError):
        return None


def rebuilt(folder: Path) -> dict[str, str]:
    """Return the environment in which the selected network was trained in the folder of a rebuild."""
    name = files.read_json(folder / EVALUATION)["best"]["name"]
    return dict(files.read_json(folder / "models" / "candidates" / name / "card.json")["environment"])


def settings(known: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment variable that gives a rebuild the threads of the committed results, if they are known.

    The number of threads determines in which order numbers are summed.
    """
    threads = (known or {}).get("threads", "")
    return {"OMP_NUM_THREADS": threads} if threads.isdecimal() and int(threads) <= machine.usable() else {}


def packages() -> list[str]:
    """Return which installed packages differ from the lock, in words."""
    compared = environment.compare()
    missing = [f"{name} is missing" for name in compared.missing]
    return [f"{environment.LOCK}: {naming.shown(each)}" for each in [*missing, *compared.other]]


def describe() -> dict[str, Any]:
    """Return versions and hardware for a proof."""
    found = environment.compare().found
    installed = sorted(f"{name}=={version}" for name, version in found.items() if version)
    return {
        "environment": {
            "python": platform.python_version(),
            "packages": {name: found[name] for name in SHOWN if found.get(name)},
            "packages_sha256": hashlib.sha256("\n".join(installed).encode()).hexdigest(),
            "lock_sha256": files.sha256(environment.LOCK),
        },
        "hardware": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": processor.kind(),
            "cores": os.cpu_count(),
        },
    }
