"""What a review needs of one revision: parameters, metrics, and each image with its split and its prediction."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from darkroom import frames, plot_labels
from darkroom.commands.review.revisions import Revision
from darkroom.foundations.errors import DarkroomError
from darkroom.test_uses import DATA as DATA
from darkroom.test_uses import EVALUATION as EVALUATION

# Outputs of the stages; a test compares them with dvc.yaml.
PARAMETERS = "params.yaml"
COST = "metrics/cost.json"
ROBUSTNESS = "metrics/robustness.json"
CONFUSION = "plots/confusion.csv"
"""Holds a row for each test image, in the order of the split, so no predictions have to be fetched."""
INDEX, PIXELS = "data/packed/index.csv", "data/packed/images.npy"
SPLIT, COPIES = "data/split.csv", "data/copies.csv"
NEEDED = (INDEX, SPLIT, COPIES)
"""Outputs in DVC's cache that a review reads; `PIXELS` as well, if it shows images."""
SERVED, BENTO = "models/served", "dist/darkroom.bento"
FOREACH = {"scratch": "scratch", "transfer": "transfer", "pretrained": "transfer"}
"""Stages with one run for each entry of a section of the parameters."""


@dataclass(frozen=True)
class Snapshot:
    """One revision."""

    revision: Revision
    params: dict[str, Any]
    data: dict[str, Any]
    """`metrics/data.json`, and so on."""
    evaluation: dict[str, Any]
    cost: dict[str, Any]
    robustness: dict[str, Any]
    images: pd.DataFrame
    """A row for each packed image: name, label, sha256, split, leak, copy (how many had these bytes before it) and
    predicted (empty outside the test split)."""
    copies: pd.DataFrame
    pixels: Path | None
    """`images.npy` in the cache, None if no images are shown."""
    megabytes: dict[str, float]
    """Size of the served folder and of the Bento, if `dvc.lock` has them."""
    stale: list[str]
    """Parameters that differ from those with which the results were made, in words."""

    @property
    def model(self) -> str:
        """Name of the selected model."""
        return str(self.evaluation["best"]["name"])


def take(revision: Revision, places: dict[str, Path]) -> Snapshot:
    """Read one revision; `places` is what `revisions.locate` returned for it.

    Raises DarkroomError if results are missing or do not belong together.
    """
    params = _parameters(revision)
    return Snapshot(
        revision=revision,
        params=params,
        data=_metrics(revision, DATA),
        evaluation=_metrics(revision, EVALUATION),
        cost=revision.read_json(COST) or {},
        robustness=revision.read_json(ROBUSTNESS) or {},
        images=_images(revision, places),
        copies=frames.read(places[COPIES]),
        pixels=places.get(PIXELS),
        megabytes={path: _size(revision, path) for path in (SERVED, BENTO) if revision.output(path)},
        stale=_stale(revision, params),
    )


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path; an empty mapping is a leaf."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _metrics(revision: Revision, path: str) -> dict[str, Any]:
    found = revision.read_json(path)
    if found is None:
        raise DarkroomError(
            f"{revision.name} has no {path}, so it has no results to compare: run `dvc repro` there and commit the "
            "results, or name another revision"
        )
    return dict(found)


def _parameters(revision: Revision) -> dict[str, Any]:
    try:
        found = YAML(typ="safe", pure=True).load(revision.read(PARAMETERS) or "")
    except YAMLError as error:
        raise DarkroomError(f"{PARAMETERS} of {revision.name} is not valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise DarkroomError(f"{revision.name} has no {PARAMETERS} with parameters: name another revision")
    return found


def _images(revision: Revision, places: dict[str, Path]) -> pd.DataFrame:
    index = frames.read(places[INDEX], escape=False)[["name", "sha256"]]
    split = frames.read(places[SPLIT], escape=False)
    predictions = _predictions(revision)
    tests = split["split"] == "test"
    matches = len(index) == len(split) and tests.sum() == len(predictions)
    if not matches or (split["label"][tests].to_numpy() != predictions["actual"].to_numpy()).any():
        raise DarkroomError(
            f"{CONFUSION} of {revision.name} does not belong to its {SPLIT} ({len(predictions):,} predictions, "
            f"{tests.sum():,} test images): run `dvc repro` there, and commit dvc.lock together with the results"
        )
    # The split has the labels after the decisions in data/labels.csv, the packed data those of the source.
    images = index.assign(label=split["label"], split=split["split"], leak=split["leak"] == "1", predicted="")
    images.loc[tests, "predicted"] = predictions["predicted"].to_numpy()
    return images.assign(copy=images.groupby("sha256").cumcount())


def _predictions(revision: Revision) -> pd.DataFrame:
    text = revision.read(CONFUSION)
    if text is None:
        raise DarkroomError(f"{revision.name} has no {CONFUSION}: run `dvc repro` there and commit the results")
    found = pd.read_csv(io.StringIO(text), dtype=str, na_filter=False, index_col=False)
    return found.map(plot_labels.restore)


def _size(revision: Revision, path: str) -> float:
    entry = revision.output(path)
    return float(entry["size"]) / 1e6 if entry else 0.0


def _stale(revision: Revision, params: dict[str, Any]) -> list[str]:
    """Return the parameters that differ from those in `dvc.lock`."""
    found: dict[str, str] = {}
    for stage, entry in revision.stages.items():
        name, _, key = stage.partition("@")
        if key and key not in (params.get(FOREACH.get(name, name)) or {}):
            continue  # DVC keeps the entries of models that are no longer in the parameters
        for path, value in (entry.get("params", {}).get(PARAMETERS) or {}).items():
            now = params
            for part in path.split("."):
                now = now.get(part, {}) if isinstance(now, dict) else {}
            before, after = flatten(value, path), flatten(now, path)
            for leaf in before.keys() | after.keys():
                if before.get(leaf) != after.get(leaf):
                    found[leaf] = f"{leaf} ({before.get(leaf)} in dvc.lock, {after.get(leaf)} in {PARAMETERS})"
    for section in ("scratch", "transfer"):
        for key in params.get(section) or {}:
            trained = [stage for stage in revision.stages if stage.startswith(f"{section}@")]
            if trained and f"{section}@{key}" not in trained:
                found[f"{section}.{key}"] = f"{section}.{key} (never trained)"
    return [found[leaf] for leaf in sorted(found)]
