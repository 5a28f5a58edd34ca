"""Command line and parameters of a training stage."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.candidate import Kind
from darkroom.foundations import params
from darkroom.training.engine.checkpoint import EVERY
from darkroom.training.settings import (
    AugmentSettings,
    Device,
    ScratchSettings,
    TrainingSettings,
    TransferSettings,
)


@dataclass(frozen=True)
class Job:
    """A training run: model, data and parameters."""

    name: str
    kind: Kind
    settings: ScratchSettings | TransferSettings
    augment: AugmentSettings
    training: TrainingSettings
    seed: int
    device: Device
    deterministic: bool
    packed: Path
    split: Path
    checkpoints: Path
    """Folder for checkpoints."""
    every: float
    """Seconds between two checkpoints."""
    models: list[str]
    """Names of all models in params.yaml; checkpoints of other models are removed."""
    quiet: bool

    @property
    def batch_size(self) -> int:
        """The batch size from the parameters."""
        return self.settings.batch_size or self.training.batch_size

    @property
    def parameters(self) -> list[Any]:
        """All parameters of this training run."""
        sections = [section.model_dump() for section in (self.settings, self.augment, self.training)]
        return [self.name, self.kind, self.seed, self.deterministic, *sections]


def parser(description: str, section: str) -> argparse.ArgumentParser:
    """Return the parser that all training stages share; `section` is the section that contains NAME."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("name", help=f"an entry of {section} in params.yaml")
    result.add_argument("--params", type=Path, default=Path("params.yaml"))
    result.add_argument("--dataset", required=True, help="an entry of datasets in params.yaml")
    result.add_argument("--packed", type=Path, required=True)
    result.add_argument("--split", type=Path, required=True)
    result.add_argument(
        "--checkpoints", type=Path, required=True, help="folder for checkpoints, kept when training is interrupted"
    )
    result.add_argument("--every", type=float, default=EVERY, help="seconds between two checkpoints")
    result.add_argument("--out", type=Path, required=True)
    result.add_argument("--quiet", action="store_true", help="print only errors and warnings")
    return result


def job(arguments: argparse.Namespace, kind: Kind, settings: ScratchSettings | TransferSettings) -> Job:
    """Return the job of a command line; raises DarkroomError for a wrong parameter."""
    path, data_set = arguments.params, f"datasets.{arguments.dataset}"
    document = params.read(path)
    return Job(
        name=arguments.name,
        kind=kind,
        settings=settings,
        augment=params.load(path, AugmentSettings, f"{data_set}.augment"),
        training=params.load(path, TrainingSettings, f"{data_set}.training"),
        seed=params.load(path, int, "seed"),
        device=params.load(path, Device, "device"),
        deterministic=params.load(path, bool, "deterministic"),
        packed=arguments.packed,
        split=arguments.split,
        checkpoints=arguments.checkpoints,
        every=arguments.every,
        models=[str(name) for section in ("scratch", "transfer") for name in document.get(section) or {}],
        quiet=arguments.quiet,
    )
