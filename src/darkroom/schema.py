"""`params.yaml` as a whole: what every section holds, checked across sections, and its JSON schema."""

import subprocess
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from darkroom.data.settings import PackSettings, Source, SplitSettings
from darkroom.evaluation.settings import RobustnessSettings, SelectSettings
from darkroom.foundations import launching, naming, params
from darkroom.foundations.launching import Launch
from darkroom.foundations.params import Section
from darkroom.reporting.settings import ReportSettings
from darkroom.serving.settings import PackageSettings, ServeSettings
from darkroom.training.settings import (
    SMALLEST_IMAGE,
    AugmentSettings,
    BaselineSettings,
    Device,
    ScratchSettings,
    TrainingSettings,
    TransferSettings,
)


class Dataset(Section):
    """One data set and what it decides."""

    source: Source
    """Where the pictures come from."""
    pack: PackSettings
    split: SplitSettings
    augment: AugmentSettings
    training: TrainingSettings


class Document(Section):
    """The parameters of the whole pipeline. What dvc.yaml names must be there, so it has no default."""

    dataset: str
    """The entry of `datasets` to work on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Decides every random choice."""
    device: Device
    """What networks are trained on; auto takes cuda, then mps, then the processor."""
    deterministic: bool
    """Whether a GPU must give the same bits each time, for some of its speed."""
    launch: Launch
    """What starts a training stage: `python`, or `torchrun` with options such as `--nproc-per-node=2`."""
    datasets: Annotated[dict[str, Dataset], Field(min_length=1)]
    baseline: BaselineSettings
    scratch: dict[str, ScratchSettings]
    """Models trained from random weights, by name."""
    zoo: dict[str, ScratchSettings] = {}
    """Further recipes, checked but not trained: `-S '+scratch.NAME=${zoo.NAME}'` takes one over."""
    transfer: dict[str, TransferSettings]
    """Models that start from pretrained weights, by name."""
    select: SelectSettings
    robustness: RobustnessSettings
    package: PackageSettings
    serve: ServeSettings
    report: ReportSettings

    @model_validator(mode="after")
    def _fits_together(self) -> "Document":
        if self.dataset not in self.datasets:
            choices = params.choices(self.dataset, list(self.datasets))
            raise ValueError(
                f"dataset: '{naming.shown(self.dataset)}' has no entry under datasets. {choices.rstrip('.')}"
            )
        names = [*self.scratch, *self.transfer, "baseline"]
        for name in [*names, *self.datasets]:
            launching.check_name(name)
        # Some file systems do not tell upper from lower case, and a model's name is that of its folder.
        folded = [name.casefold() for name in names]
        if twice := sorted({name for name in names if folded.count(name.casefold()) > 1}):
            raise ValueError(f"model names must differ, and baseline is taken: look at {naming.listed(twice)}")
        if not (self.scratch or self.transfer):
            raise ValueError("scratch and transfer are both empty: add a model to serve")
        for name, data_set in self.datasets.items():
            if (side := data_set.augment.cutout) >= data_set.pack.image_size:
                raise ValueError(
                    f"datasets.{name}.augment.cutout: {side} is not allowed: it greys out whole images, of "
                    f"{data_set.pack.image_size} pixels; half of that is much already"
                )
        size = self.datasets[self.dataset].pack.image_size
        for name, settings in self.scratch.items():
            if size < (smallest := SMALLEST_IMAGE.get(settings.architecture, 0)):
                raise ValueError(
                    f"datasets.{self.dataset}.pack.image_size: {size} is not allowed: {settings.architecture} "
                    f"(scratch.{name}) takes {smallest} pixels or more"
                )
        return self


def load(path: Path) -> Document:
    """Read and check all of `params.yaml`; raises DarkroomError that lists what is wrong."""
    return params.load(path, Document)


def schema() -> dict[str, Any]:
    """Return the JSON schema of `params.yaml`, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}


def how_to_undo(path: Path) -> str:
    """Return a line that says how to undo changes to `path` that git does not have; empty where it has them all.

    `dvc exp run -S` writes into the file and leaves it so when the run fails.
    """
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", path.name]
    try:
        found = subprocess.run(command, cwd=path.parent, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    if found.returncode or not found.stdout:
        return ""
    name = naming.shown(path)
    return (
        f"\n{name} has changes that are not committed, such as those of `dvc exp run -S`, which stay in the file: "
        f"correct them there, or undo all of them with `git checkout {name}`"
    )
