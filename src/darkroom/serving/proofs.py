"""The proof of `darkroom verify` that the served model can be rebuilt from its data, code and parameters."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path("verification")
"""Location of the proof, relative to the top folder of the project or of the Bento."""
NAME = "proof.json"


def read(folder: Path, version: str) -> dict[str, Any] | None:
    """Return the proof in `folder` if it verifies the served model `version`, else None.

    A proof of another model, a failed one, and a damaged file count as none.
    """
    try:
        proof = json.loads((folder / NAME).read_text(encoding="utf-8"))
        valid = proof["verdict"] == "verified" and proof["model"]["version"] == version
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return proof if valid and version else None
