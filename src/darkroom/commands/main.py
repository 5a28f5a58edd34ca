"""The `darkroom` command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from darkroom.foundations import errors, naming


def main() -> None:
    """Run the command line."""
    errors.run(run)


def run(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and run the subcommand it names."""
    parser = _Parser(prog="darkroom", description="Set up, use and monitor the classifier of a Darkroom project.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("init", help="inspect your images and adapt params.yaml to them")
    command.add_argument("photos", type=Path, metavar="PHOTOS", help="class folders, or a zip or tar archive of them")
    command.add_argument("--name", default="folder", help="entry of `datasets` to write (default: folder)")
    command.add_argument("--offline", action="store_true", help="use no weights that must be downloaded")
    text = "start from these weights, not from the installed ones: .pth, .safetensors, or the folder of a candidate"
    command.add_argument("--weights", type=Path, metavar="FILE", help=text)
    command.add_argument("--yes", action="store_true", help="apply the changes without confirmation")
    command.set_defaults(run=_init)

    command = commands.add_parser("predict", help="predict the classes of images in files, folders or archives")
    command.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write the predictions to FILE")
    command.add_argument("--top-k", type=_count, default=1, metavar="N", help="classes per prediction (default: 1)")
    _add_model(command)
    command.set_defaults(run=_predict)

    command = commands.add_parser("drift", help="compare a deployed model's predictions with those on validation")
    command.add_argument("log", type=Path, metavar="LOG", help="log folder of the service, or a CSV file from predict")
    command.add_argument("--json", action="store_true", help="print JSON")
    _add_model(command)
    command.set_defaults(run=_drift)

    command = commands.add_parser("corrections", help="import images that users of the service have corrected")
    command.add_argument("log", type=Path, metavar="LOG", help="log folder of the service")
    command.add_argument("--to", type=Path, metavar="FOLDER", help="target for class folders (default: data/inbox)")
    command.set_defaults(run=_corrections)

    command = commands.add_parser("summary", help="summarise the last run")
    command.set_defaults(run=_summary)

    command = commands.add_parser("mend", help="repair DVC's files after dvc was killed")
    command.set_defaults(run=_mend)

    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser that escapes arguments in its messages, such as file names that a shell inserted for `*`."""

    def error(self, message: str) -> NoReturn:
        super().error(naming.escape(message))


def _add_model(command: argparse.ArgumentParser) -> None:
    text = "folder of the model (default: models/served)"
    command.add_argument("--model", type=Path, default=Path("models/served"), metavar="FOLDER", help=text)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


# Each function imports its own module, because some need packages that the service's environment does not have.


def _init(arguments: argparse.Namespace) -> None:
    from darkroom.commands import init

    options = (arguments.photos, arguments.name, arguments.weights)
    init.init(*options, yes=arguments.yes, offline=arguments.offline)


def _predict(arguments: argparse.Namespace) -> None:
    from darkroom.commands import predict

    predict.predict(arguments.paths, arguments.csv, arguments.top_k, arguments.model)


def _drift(arguments: argparse.Namespace) -> None:
    from darkroom.commands import drift

    drift.drift(arguments.log, arguments.model, as_json=arguments.json)


def _corrections(arguments: argparse.Namespace) -> None:
    from darkroom.commands import corrections

    for words in corrections.corrections(arguments.log, arguments.to):
        print(naming.escape(words))


def _summary(_: argparse.Namespace) -> None:
    from darkroom.commands import summary

    print(naming.escape_lines(summary.summary()))


def _mend(_: argparse.Namespace) -> None:
    from darkroom.commands import mend

    for words in mend.mend():
        print(words)
