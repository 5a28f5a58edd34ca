"""Validate `params.yaml` and write its JSON schema.

    python stages validate --schema params.schema.json --candidates models/candidates

All other stages depend on this one, so an invalid parameter is reported before any of them runs. Candidates that are
no longer in the parameters are removed, since the stages that depend on the folder of candidates would count them.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from darkroom import schema
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError, run


def main(argv: Sequence[str] | None = None) -> None:
    """Validate the parameters, then write the schema."""
    parser = argparse.ArgumentParser(description="Validate params.yaml and write its JSON schema.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--schema", type=Path, required=True)
    parser.add_argument("--candidates", type=Path, help="folder from which candidates without parameters are removed")
    arguments = parser.parse_args(argv)
    try:
        parsed = schema.load(arguments.params)
    except DarkroomError as error:
        raise DarkroomError(f"{error}{schema.how_to_undo(arguments.params)}") from None
    files.write_json(arguments.schema, schema.schema())
    names = ["baseline", *parsed.scratch, *parsed.transfer]
    print(f"params.yaml is valid: data set {parsed.dataset}, models {', '.join(names)}")
    for card in sorted(arguments.candidates.glob("*/card.json")) if arguments.candidates else ():
        if card.parent.name not in names:
            shutil.rmtree(card.parent)
            print(f"removed {naming.shown(card.parent)}, which is no longer in params.yaml")


if __name__ == "__main__":
    run(main)
