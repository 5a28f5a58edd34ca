"""Validate `params.yaml` and write its JSON schema.

    python stages validate --schema params.schema.json

All other stages depend on this one, so an invalid parameter is reported before any of them runs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom import schema
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError, run


def main(argv: Sequence[str] | None = None) -> None:
    """Validate the parameters, then write the schema."""
    parser = argparse.ArgumentParser(description="Validate params.yaml and write its JSON schema.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--schema", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        parsed = schema.load(arguments.params)
    except DarkroomError as error:
        raise DarkroomError(f"{error}{schema.how_to_undo(arguments.params)}") from None
    files.write_json(arguments.schema, schema.schema())
    names = ", ".join(["baseline", *parsed.scratch, *parsed.transfer])
    print(f"params.yaml is valid: data set {parsed.dataset}, models {names}")


if __name__ == "__main__":
    run(main)
