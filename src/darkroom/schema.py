"""The whole of `params.yaml`: its sections, validation across sections, and its JSON schema."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from darkroom import git
from darkroom.commands.settings import GateSettings, SweepSettings
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
    """One data set and the parameters that depend on it."""

    source: Source
    """Source of the images."""
    pack: PackSettings
    split: SplitSettings
    augment: AugmentSettings
    training: TrainingSettings


class Document(Section):
    """The parameters of the whole pipeline. Those that dvc.yaml refers to are required, so they have no default."""

    dataset: str
    """The entry of `datasets` to use."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Seed of all random number generators."""
    device: Device
    """Training device; `auto` selects the first available of cuda, mps and cpu."""
    deterministic: bool
    """Whether training on a GPU is bit-for-bit reproducible, at some cost in speed."""
    launch: Launch
    """Launcher of the training stages: `python`, or `torchrun` with options such as `--nproc-per-node=2`."""
    datasets: Annotated[dict[str, Dataset], Field(min_length=1)]
    baseline: BaselineSettings
    scratch: dict[str, ScratchSettings]
    """Models trained from random weights, by name."""
    zoo: dict[str, ScratchSettings] = {}
    """More recipes, validated but not trained; `-S '+scratch.NAME=${zoo.NAME}'` adds one to `scratch`."""
    photos: dict[str, TransferSettings] = {}
    """Pretrained networks for photographs, validated but not trained; `-S 'transfer=${photos}'` trains them."""
    transfer: dict[str, TransferSettings]
    """Models that start from pretrained weights, by name."""
    select: SelectSettings
    gate: GateSettings = GateSettings()
    sweep: SweepSettings = SweepSettings()
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
        # Model names are folder names, and some file systems are case-insensitive.
        folded = [name.casefold() for name in names]
        if twice := sorted({name for name in names if folded.count(name.casefold()) > 1}):
            raise ValueError(f"model names must be unique, and baseline is reserved: rename {naming.listed(twice)}")
        if not (self.scratch or self.transfer):
            raise ValueError("scratch and transfer are both empty: add a model to serve")
        for name, data_set in self.datasets.items():
            if (side := data_set.augment.cutout) >= data_set.pack.image_size:
                raise ValueError(
                    f"datasets.{name}.augment.cutout: {side} is not allowed: it covers whole images of "
                    f"{data_set.pack.image_size} pixels; use at most about half of that"
                )
        size = self.datasets[self.dataset].pack.image_size
        for name, settings in self.scratch.items():
            if size < (smallest := SMALLEST_IMAGE.get(settings.architecture, 0)):
                raise ValueError(
                    f"datasets.{self.dataset}.pack.image_size: {size} is not allowed: {settings.architecture} "
                    f"(scratch.{name}) needs at least {smallest} pixels"
                )
        return self


def load(path: Path) -> Document:
    """Read and validate `params.yaml`. Raises DarkroomError that lists all errors."""
    return params.load(path, Document)


def schema() -> dict[str, Any]:
    """Return the JSON schema of `params.yaml`, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}


def how_to_undo(path: Path) -> str:
    """Return a line that explains how to undo uncommitted changes to `path`; empty if there are none.

    `dvc exp run -S` edits the file and does not restore it when the run fails.
    """
    try:
        if not git.changed(path.name, folder=path.parent):
            return ""
    except git.GitError:
        return ""
    name = naming.shown(path)
    return (
        f"\n{name} has uncommitted changes; those of `dvc exp run -S` stay in the file: "
        f"correct them there, or undo all of them with `git checkout {name}`"
    )
