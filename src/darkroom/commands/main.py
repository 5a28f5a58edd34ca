"""The `darkroom` command."""

import argparse
from collections.abc import Sequence

from darkroom import errors
from darkroom.commands import mend, summary


def main() -> None:
    """Run the command line."""
    errors.run(run)


def run(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and run the subcommand it names."""
    parser = argparse.ArgumentParser(prog="darkroom", description="What is typed beside dvc and bentoml.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("summary", help="say what the last run came to")
    command.set_defaults(run=lambda arguments: print(summary.summary()))
    command = commands.add_parser("mend", help="mend what a killed dvc left half written")
    command.set_defaults(run=lambda arguments: [print(words) for words in mend.mend()])
    arguments = parser.parse_args(argv)
    arguments.run(arguments)
