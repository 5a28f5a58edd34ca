"""Who is judged: the names of the candidates, from the parameters."""

from pathlib import Path

from darkroom import params

BASELINE = "baseline"


def read_names(path: Path) -> list[str]:
    """Return the candidates that `params.yaml` names: the baseline, then the networks in its order.

    The folder of candidates is not asked: DVC may leave one there whose entry is gone.
    """
    document = params.read(path)
    return [BASELINE, *(document.get("scratch") or {}), *(document.get("transfer") or {})]
