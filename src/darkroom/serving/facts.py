"""Content of `/info`: the served folder, package versions and commit."""

import os
import platform
from dataclasses import asdict
from importlib import metadata
from typing import Any

from darkroom import git, thresholds
from darkroom.serving import examples
from darkroom.serving.model import Model

UNSERVED = ("seconds", "scores")
"""Fields that a served card leaves empty: times differ between equal models, and scores are under `metrics`."""
PACKAGES = ("bentoml", "numpy", "onnxruntime", "pillow")


def identity(model: Model) -> dict[str, str]:
    """Return the model's name and version, which are part of every response."""
    return {"name": model.card.name, "version": model.served.version}


def collect(model: Model, proof: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of `/info` as JSON-compatible values; `proof` is that of this model, see proofs.py."""
    text = model.folder / "model_card.md"
    limits = model.served.limits
    return {
        "model": identity(model),
        "classes": model.card.classes,
        "card": {key: value for key, value in asdict(model.card).items() if key not in UNSERVED},
        "model_card": text.read_text(encoding="utf-8") if text.is_file() else None,
        "precision": model.served.precision,
        "reason": model.served.reason,
        "metrics": model.served.metrics,
        "foreign": _foreign(model.served.foreign),
        "parity": asdict(model.served.parity),
        "limits": limits.model_dump(exclude={"log", "log_pictures"}),  # paths are private
        "keeps": {"answers": limits.log is not None, "pictures": limits.log is not None and limits.log_pictures},
        "neighbors": ("thumbnails" if model.thumbnails else "names") if model.shows_neighbors else "none",
        "examples": [asdict(example) for example in examples.read(model.folder)],
        "data": model.card.data,
        "commit": commit(),
        "proof": proof,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
    }


def _foreign(confident: dict[str, float] | None) -> dict[str, Any] | None:
    """Return the fraction of out-of-distribution images with confident predictions, by kind and as text."""
    if not confident:
        return None
    return {"confident": confident, "misleads": thresholds.misleads(confident), "text": thresholds.describe(confident)}


def commit() -> str | None:
    """Return DARKROOM_COMMIT, or the commit of the checkout whose top folder this is, or None.

    The commit of a repository in a higher folder is not used.
    """
    if named := os.environ.get("DARKROOM_COMMIT"):
        return named
    prefix, _, head = (git.attempt("rev-parse", "--show-prefix", "HEAD") or "").partition("\n")
    return None if prefix else head or None
