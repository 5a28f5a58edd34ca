"""What a sweep searches, checked before anything runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from darkroom import git, schema
from darkroom.commands import dvc_internals, workspaces
from darkroom.commands.settings import Choice, Dimension, FloatRange, SweepSettings
from darkroom.commands.workspaces import LOCK, PARAMS, Baseline
from darkroom.foundations import files, naming, params
from darkroom.foundations.errors import DarkroomError

RESULTS = "metrics/evaluation.json"
"""The metrics of a trial stand where those of the evaluation would, so that `dvc exp show` lists them."""
CODE = ("src", "stages", "dvc.yaml")


@dataclass(frozen=True)
class Plan:
    """A search: parameters, the stage that trains, and what must not be left over from the last commit."""

    settings: SweepSettings
    key: str
    """Identifies trials that can be compared: same commit, parameters, code, space and metric; hexadecimal digits."""
    defaults: dict[str, Any]
    """The current values of the parameters that are searched."""
    document: dict[str, Any]
    """`params.yaml`."""
    stage: str
    """Name of the stage that trains the candidate."""
    folder: Path
    """The candidate, relative to the project."""
    upstream: tuple[str, ...]
    """Stages that prepare the data and the weights."""
    data: tuple[str, ...]
    """Outputs of those stages that the training reads, relative to the project."""
    downstream: frozenset[str]
    """Stages that evaluate candidates, which no trial runs."""
    leftovers: tuple[str, ...]
    """Metrics and plots of those stages in git: they belong to the last commit, and to no trial."""
    base: Baseline
    cache: Path
    """Folder of DVC's cache."""

    @property
    def apply(self) -> str:
        """What joins `dvc exp apply` and `dvc repro`: without outputs of a later stage, DVC applies all, but fails."""
        lock = Path.cwd() / LOCK
        whole = dvc_internals.locked_stages(lock) if lock.is_file() else None
        return "&&" if whole is not None and self.downstream <= whole else ";"

    def hashes(self, lock: str) -> dict[str, str]:
        """Return the hash of each of `data` in the text of a `dvc.lock`."""
        found = YAML(typ="safe").load(lock)["stages"]
        outs = [out for name in self.upstream for out in found.get(name, {}).get("outs", [])]
        return {out["path"]: str(out.get("md5")) for out in outs if out["path"] in self.data}

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.document["dataset"])

    @property
    def seed(self) -> int:
        """Seed of the pipeline."""
        return int(self.document["seed"])

    def epochs(self, values: Mapping[str, Any]) -> int:
        """Return the number of epochs of a training with these parameters."""
        section, name = self.stage.split("@")
        training, recipe = f"datasets.{self.dataset}.training.epochs", f"{section}.{name}.epochs_factor"
        epochs, factor = (
            values.get(key, _value(self.document, key, default)) for key, default in ((training, 16), (recipe, 1.0))
        )
        return max(1, round(float(epochs) * float(factor)))


def plan() -> Plan:
    """Return the search that `params.yaml` of the current folder describes.

    Raises DarkroomError for a space that does not fit to the candidate, or whose parameters are not valid.
    """
    settings = schema.load(PARAMS).sweep
    document = params.read(PARAMS)
    section = _section(settings, document)
    defaults = _defaults(settings, document, section)
    _check_corners(settings, document)
    with dvc_internals.repository("DVC cannot be used here") as repo:
        stages = dvc_internals.stages(repo)
        cache = Path(repo.cache.legacy.path)
    name = f"{section}@{settings.candidate}"
    if name not in stages:
        raise DarkroomError(f"dvc.yaml has no stage {name}: {params.choices(name, list(stages))}")
    down = [stage for stage in stages.values() if name in stage.upstream]
    inputs = set(stages[name].inputs)
    base = workspaces.baseline(dvc_internals.roots(stages))
    return Plan(
        settings=settings,
        key=_key(settings, document, section, base),
        defaults=defaults,
        document=document,
        stage=name,
        folder=Path(stages[name].cached[0]),
        upstream=stages[name].upstream,
        data=tuple(sorted({path for each in stages[name].upstream for path in stages[each].cached} & inputs)),
        downstream=frozenset(stage.name for stage in down),
        leftovers=tuple(sorted(path for stage in down for path in stage.tracked)),
        base=base,
        cache=cache,
    )


def _section(settings: SweepSettings, document: Mapping[str, Any]) -> str:
    """Return whether the candidate is in `scratch` or `transfer`."""
    models = {name: section for section in ("scratch", "transfer") for name in document.get(section) or {}}
    if settings.candidate not in models:
        raise DarkroomError(
            f"sweep.candidate: {naming.shown(settings.candidate)} is no model of scratch or transfer. "
            f"{params.choices(settings.candidate, list(models))}"
        )
    return models[settings.candidate]


def _defaults(settings: SweepSettings, document: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return the current values of the parameters in the space."""
    if not settings.space:
        raise DarkroomError("sweep.space is empty: name at least one parameter, such as scratch.resnet9.learning_rate")
    data = f"datasets.{document['dataset']}"
    allowed = (f"{section}.{settings.candidate}.", f"{data}.augment.", f"{data}.training.")
    found = {}
    for name, dimension in settings.space.items():
        if not name.startswith(allowed):
            raise DarkroomError(
                f"sweep.space.{naming.shown(name)} is not a parameter of this training, or changes the validation "
                f"images by which trials are compared: use names that start with {naming.listed(list(allowed))}"
            )
        value = _value(document, name, _missing(name, section))
        if not _contains(dimension, value):
            raise DarkroomError(
                f"sweep.space.{naming.shown(name)} does not contain the current value, {naming.shown(repr(value))}, "
                "with which all trials are compared: extend the range, or change the value"
            )
        if settings.sampler == "grid" and isinstance(dimension, FloatRange):
            raise DarkroomError(
                f"sweep.space.{naming.shown(name)}: a grid needs a list of values: write "
                f"{{kind: choice, values: [{dimension.low}, {dimension.high}]}}, or set sweep.sampler to tpe"
            )
        found[name] = value
    return found


def _value(document: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return the value of a dotted name, `default` if it is omitted."""
    value: Any = document
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return default
        value = value[part]
    return value


def _missing(name: str, section: str) -> Any:
    """Return the default of a parameter that params.yaml omits."""
    kinds = schema.Document.model_fields
    head, *rest = name.split(".")
    kind: Any = kinds[head].annotation
    kind = kind.__args__[1]  # the type of an entry: of `datasets`, `scratch` or `transfer`
    for part in rest[1:]:
        field = kind.model_fields.get(part)
        if field is None:
            raise DarkroomError(
                f"sweep.space.{naming.shown(name)}: there is no such parameter. "
                f"{params.choices(part, list(kind.model_fields))}"
            )
        kind = field.annotation
    return field.default


def _contains(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, Choice):
        return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in dimension.values)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and dimension.low <= value <= dimension.high


def _check_corners(settings: SweepSettings, document: Mapping[str, Any]) -> None:
    """Raise DarkroomError unless `params.yaml` is valid with the extreme values of each parameter."""
    for name, dimension in settings.space.items():
        for value in dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high):
            try:
                schema.Document.model_validate(changed(document, {name: value}))
            except ValidationError as error:
                said = error.errors()[0]["msg"].removeprefix("Value error, ")
                where = f"sweep.space.{naming.shown(name)}"
                raise DarkroomError(f"{where}: {naming.shown(repr(value))} is not allowed: {said}") from None


def changed(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `params.yaml` with parameters set by their dotted names."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    for name, value in values.items():
        *above, last = name.split(".")
        place = copy
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return copy


def _code(base: Baseline) -> list[str]:
    """Return hashes of the code, including files that git does not track."""
    tracked = git.run("ls-tree", base.content, "--", *CODE).splitlines()
    new = [path for path in sorted(base.inputs) if Path(path).parts[0] in CODE and Path(path).is_file()]
    return [*tracked, *(f"{path} {files.sha256(Path(path))}" for path in new)]


def _key(settings: SweepSettings, document: Mapping[str, Any], section: str, base: Baseline) -> str:
    relevant = {name: document[name] for name in ("seed", "device", "deterministic", "dataset")}
    described = [
        base.commit,
        _code(base),
        relevant,
        document["datasets"][document["dataset"]],
        document[section][settings.candidate],
        *([document["select"]["folds"]] if section == "transfer" else []),
        settings.model_dump(include={"candidate", "metric", "space"}),
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:6]
