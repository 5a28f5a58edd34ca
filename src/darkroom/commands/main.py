"""The `darkroom` command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom import errors


def main() -> None:
    """Run the command line."""
    errors.run(run)


def run(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and run the subcommand it names."""
    parser = argparse.ArgumentParser(prog="darkroom", description="What is typed beside dvc and bentoml.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("init", help="look at your pictures, and fit params.yaml to them")
    command.add_argument("photos", type=Path, metavar="PHOTOS", help="class folders, or a zip or tar archive of them")
    command.add_argument("--name", default="folder", help="the entry of `datasets` to write (folder)")
    command.add_argument("--offline", action="store_true", help="do without pretrained weights from the network")
    command.add_argument("--yes", action="store_true", help="make the changes without asking")
    command.set_defaults(run=_init)

    command = commands.add_parser("summary", help="say what the last run came to")
    command.set_defaults(run=_summary)

    command = commands.add_parser("mend", help="mend what a killed dvc left half written")
    command.set_defaults(run=_mend)

    arguments = parser.parse_args(argv)
    arguments.run(arguments)


# Each imports its own module: some need what the environment of the service does not have.


def _init(arguments: argparse.Namespace) -> None:
    from darkroom.commands import init

    init.init(arguments.photos, arguments.name, yes=arguments.yes, offline=arguments.offline)


def _summary(_: argparse.Namespace) -> None:
    from darkroom.commands import summary

    print(summary.summary())


def _mend(_: argparse.Namespace) -> None:
    from darkroom.commands import mend

    for words in mend.mend():
        print(words)
