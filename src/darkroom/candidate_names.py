"""Names of the candidates, read from the parameters."""

from pathlib import Path

from darkroom.foundations import launching, params
from darkroom.foundations.errors import DarkroomError

BASELINE = "baseline"


def read_names(path: Path) -> list[str]:
    """Return the candidates that `params.yaml` names: the baseline, then the networks in its order.

    The folder of candidates is not consulted, since it may contain one that is no longer in the parameters.

    Raises DarkroomError for an invalid name, since names become part of paths.
    """
    document = params.read(path)
    names = [str(name) for section in ("scratch", "transfer") for name in document.get(section) or {}]
    try:
        return [BASELINE, *map(launching.check_name, names)]
    except ValueError as error:
        raise DarkroomError(f"{path}: {error}") from None
