"""The `darkroom` command."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from darkroom.commands import guide
from darkroom.foundations import errors, naming


def main() -> None:
    """Run the command line."""
    errors.run(run)


def run(argv: Sequence[str] | None = None) -> None:
    """Parse `argv` and run the subcommand it names."""
    parser = _Parser(prog="darkroom", description="Set up, use and monitor the classifier of a Darkroom project.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_init(commands)

    command = commands.add_parser("predict", help="predict the classes of images in files, folders or archives")
    command.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--csv", type=Path, metavar="FILE", help="write the predictions to FILE")
    form.add_argument("--json", action="store_true", help="print a JSON object per image, one per line")
    command.add_argument("--top-k", type=_count, default=1, metavar="N", help="classes per prediction (default: 1)")
    text = "most similar training images per prediction, up to 10 (default: 0)"
    command.add_argument("--neighbors", type=int, choices=range(11), default=0, metavar="N", help=text)
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

    _add_promote(commands)
    _add_curate(commands)
    _add_plan(commands)

    command = commands.add_parser("summary", help="summarise the last run")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_summary)

    _add_review(commands)
    _add_best(commands)
    _add_sweep(commands)
    _add_train(commands)
    _add_doctor(commands)
    _add_verify(commands)

    command = commands.add_parser("mend", help="repair DVC's files after dvc was killed")
    command.set_defaults(run=_mend)

    command = commands.add_parser("completion", help="print the script that completes commands in your shell")
    command.add_argument("shell", choices=("bash", "zsh", "fish"))
    command.set_defaults(run=lambda arguments: print(guide.completion(parser, arguments.shell)))

    guide.complete(parser, commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(guide.Parser):
    """A parser that escapes arguments in its messages, such as file names that a shell inserted for `*`."""

    def error(self, message: str) -> NoReturn:
        super().error(naming.escape(message))


def _add_init(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("init", help="inspect your images and adapt params.yaml to them")
    command.add_argument("photos", type=Path, metavar="PHOTOS", help="class folders, or a zip or tar archive of them")
    command.add_argument("--name", default="folder", help="entry of `datasets` to write (default: folder)")
    command.add_argument("--offline", action="store_true", help="use no weights that must be downloaded")
    text = "start from these weights, not from the installed ones: .pth, .safetensors, or the folder of a candidate"
    command.add_argument("--weights", type=Path, metavar="FILE", help=text)
    command.add_argument("--yes", action="store_true", help="apply the changes without confirmation")
    command.set_defaults(run=_init)


def _add_promote(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("promote", help="register the model as a version, and assign it to a stage")
    command.add_argument("version", metavar="VERSION", help="semantic version, such as 1.2.0")
    command.add_argument("stage", metavar="STAGE", help="such as dev, staging or prod")
    command.set_defaults(run=_promote)


def _add_curate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("curate", help="correct labels on a local page, one image and one key at a time")
    command.add_argument("--port", type=_count, metavar="N", help="port on this machine (default: 8787 or a free one)")
    command.add_argument("--no-browser", action="store_true", help="print the address without opening a browser")
    text = "folder of images without labels (default: data/unlabelled)"
    command.add_argument("--unlabelled", type=Path, metavar="FOLDER", help=text)
    command.add_argument("--next", type=_count, default=50, metavar="N", help="how many of them to show (default: 50)")
    command.set_defaults(run=_curate)


def _add_plan(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("plan", help="forecast which class gains most from more images")
    command.add_argument("--add", type=_count, metavar="N", help="images to add to a class (default: half the median)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_plan)


def _add_doctor(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("doctor", help="check this machine and project, with a remedy for what is wrong")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_doctor)


def _add_verify(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("verify", help="rebuild the last commit from raw data, and compare all results")
    command.add_argument("--download", action="store_true", help="download the raw data again, not from DVC's cache")
    text = "where to write the proof (default: verification/proof.json)"
    command.add_argument("--output", type=Path, metavar="FILE", help=text)
    command.add_argument("--json", action="store_true", help="print the proof as JSON")
    command.set_defaults(run=_verify)


def _add_model(command: argparse.ArgumentParser) -> None:
    text = "folder of the model (default: models/served)"
    command.add_argument("--model", type=Path, default=Path("models/served"), metavar="FOLDER", help=text)


def _add_review(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("review", help="review what a branch changes: data, scores, images, and the gate")
    command.add_argument("base", nargs="?", metavar="BASE", help="revision to compare with (the main branch)")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the Markdown to this file")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page with images as well")
    command.add_argument("--fetch", action="store_true", help="download what is missing from the DVC remote")
    command.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    command.set_defaults(run=_review)


def _add_best(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("best", help="rank the experiments and apply the best")
    text = "accuracy, macro_f1 or log_loss on validation, or a metric of `dvc exp show` (what selects networks)"
    command.add_argument("--metric", metavar="NAME", help=text)
    direction = command.add_mutually_exclusive_group()
    direction.add_argument("--lower", action="store_true", default=None, help="less of the metric is better")
    direction.add_argument("--higher", dest="lower", action="store_false", help="more of the metric is better")
    command.add_argument("--commits", type=_count, default=1, metavar="N", help="experiments of the last N commits (1)")
    command.add_argument("--apply", action="store_true", help="apply the best experiment to the workspace")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_best)


def _add_sweep(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("sweep", help="search for better training parameters; every trial is an experiment")
    text = "trials at a time (default: one per GPU, or per core, at most 4)"
    command.add_argument("-j", "--jobs", type=_count, metavar="N", help=text)
    text = "share the search with other machines: a journal file on a shared disk, or the URL of a database"
    command.add_argument("--storage", metavar="PLACE", help=text)
    command.set_defaults(run=_sweep)


def _add_train(commands: "argparse._SubParsersAction[_Parser]") -> None:
    command = commands.add_parser("train", help="run the pipeline, and train several candidates at the same time")
    text = "candidates at a time (default: one per GPU, or 2)"
    command.add_argument("-j", "--jobs", type=_count, metavar="N", help=text)
    command.set_defaults(run=_train)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


# Each function imports its own module, because some need packages that the service's environment does not have.


def _init(arguments: argparse.Namespace) -> None:
    from darkroom.commands import init

    options = (arguments.photos, arguments.name, arguments.weights)
    init.init(*options, yes=arguments.yes, offline=arguments.offline)


def _predict(given: argparse.Namespace) -> None:
    from darkroom.commands import predict

    predict.predict(given.paths, given.csv, given.top_k, given.model, given.neighbors, as_json=given.json)


def _drift(arguments: argparse.Namespace) -> None:
    from darkroom.commands import drift

    drift.drift(arguments.log, arguments.model, as_json=arguments.json)


def _corrections(arguments: argparse.Namespace) -> None:
    from darkroom.commands import corrections

    for words in corrections.corrections(arguments.log, arguments.to):
        print(naming.escape(words))


def _curate(arguments: argparse.Namespace) -> None:
    from darkroom.commands.curate import curate

    say = lambda line: print(naming.escape(line), flush=True)  # noqa: E731
    browser, folder = not arguments.no_browser, arguments.unlabelled
    curate.curate(arguments.port, browser=browser, folder=folder, count=arguments.next, say=say)


def _plan(arguments: argparse.Namespace) -> None:
    from darkroom.commands import plan

    print(json.dumps(plan.document(arguments.add), indent=2) if arguments.json else plan.plan(arguments.add))


def _promote(arguments: argparse.Namespace) -> None:
    from darkroom.commands import promote

    print(naming.escape_lines(promote.promote(arguments.version, arguments.stage)))


def _summary(arguments: argparse.Namespace) -> None:
    from darkroom.commands import summary

    print(json.dumps(summary.document(), indent=2) if arguments.json else naming.escape_lines(summary.summary()))


def _doctor(arguments: argparse.Namespace) -> None:
    from darkroom.commands.doctor import doctor

    findings = doctor.examine()
    found = doctor.document(findings)
    print(json.dumps(found, indent=2) if arguments.json else doctor.text(findings, *doctor.terminal()))
    if not found["ok"]:
        sys.exit(1)


def _verify(arguments: argparse.Namespace) -> None:
    from darkroom.commands.verify import verify

    found = verify.verify(arguments.output, download=arguments.download)
    print(json.dumps(found.proof, indent=2) if arguments.json else naming.escape_lines("\n".join(found.lines())))
    if not found.verified:
        sys.exit(1)


def _review(arguments: argparse.Namespace) -> None:
    from darkroom.commands.review import review

    found = review.review(arguments.base, html=arguments.html, fetch=arguments.fetch)
    if arguments.output:
        review.write(arguments.output, found)
    if arguments.json:
        print(json.dumps(found.summary, indent=2))
    elif not arguments.output:
        print(found.markdown, end="")
    if found.verdict.exit_code:
        sys.exit(found.verdict.exit_code)


def _best(arguments: argparse.Namespace) -> None:
    from darkroom.commands import best

    found = best.best(arguments.metric, lower=arguments.lower, commits=arguments.commits)
    print(json.dumps(found.plain(), indent=2) if arguments.json else "\n".join(found.lines()))
    if arguments.apply:
        print(best.apply(found), file=sys.stderr if arguments.json else sys.stdout)


def _sweep(arguments: argparse.Namespace) -> None:
    from darkroom.commands.sweep import sweep

    for line in sweep.sweep(arguments.jobs, arguments.storage, lambda line: print(line, flush=True)):
        print(line)


def _train(arguments: argparse.Namespace) -> None:
    from darkroom.commands import parallel

    parallel.train(arguments.jobs, lambda line: print(line, flush=True))


def _mend(_: argparse.Namespace) -> None:
    from darkroom.commands import mend

    for words in mend.mend():
        print(words)
