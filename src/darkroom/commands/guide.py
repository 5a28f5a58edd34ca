"""What `darkroom --help` and `darkroom COMMAND --help` show beside the options: groups of commands, and examples."""

import argparse
import shutil
import textwrap
from pathlib import Path
from typing import Any

GROUPS = {
    "Start": ("init", "doctor"),
    "See and compare results": ("summary", "review", "best", "verify"),
    "Improve the data": ("curate", "plan"),
    "Train": ("train", "sweep"),
    "Use the model": ("predict", "promote"),
    "After deployment": ("drift", "corrections"),
    "Repair and convenience": ("mend", "completion"),
}
"""Commands by what a person wants to do; one that is in no group is listed at the end."""
EXAMPLES = {
    "init": ("init ~/photos", "init ~/photos.zip --name pets --yes"),
    "doctor": ("doctor", "doctor --json"),
    "summary": ("summary", "summary --json"),
    "review": ("review main", "review main --html review.html"),
    "best": ("best", "best --metric macro_f1 --apply"),
    "verify": ("verify", "verify --download --output proof.json"),
    "curate": ("curate", "curate --no-browser --port 9000", "curate --unlabelled ~/new --next 100"),
    "plan": ("plan", "plan --add 100 --json"),
    "train": ("train", "train -j 4"),
    "sweep": ("sweep", "sweep -j 2", "sweep --storage /shared/sweep.log"),
    "predict": ("predict one.jpg two.png", "predict ~/photos --csv answers.csv --top-k 3"),
    "promote": ("promote 1.2.0 staging", "promote 1.2.0 prod"),
    "drift": ("drift logs", "drift answers.csv --json"),
    "corrections": ("corrections logs", "corrections logs --to ~/reviewed"),
    "mend": ("mend",),
    "completion": ("completion bash >> ~/.bashrc", 'completion zsh > "${fpath[1]}/_darkroom"'),
}
CLOSING = """\
The pipeline itself runs with `make run` or `dvc repro`.
`darkroom COMMAND --help` shows options and examples; docs/commands.md has more.
Exit status: 0 success, 1 error, with a message, 2 wrong usage.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose help can be replaced by an overview of its commands."""

    overview: "argparse._SubParsersAction[Any] | None" = None

    def format_help(self) -> str:
        """Return the overview if there is one, else the usual help."""
        return _overview(self, self.overview) if self.overview else super().format_help()


def complete(parser: Parser, commands: "argparse._SubParsersAction[Any]") -> None:
    """Give the main parser its overview, and each command its description and examples."""
    parser.overview = commands
    purposes = _purposes(commands)
    for name, command in commands.choices.items():
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        purpose = purposes[name]
        command.description = command.description or f"{purpose[:1].upper()}{purpose[1:]}."
        if examples := EXAMPLES.get(name):
            command.epilog = "\n".join(["examples:", *(f"  darkroom {example}" for example in examples)])


def _purposes(commands: "argparse._SubParsersAction[Any]") -> dict[str, str]:
    return {action.dest: action.help or "" for action in commands._choices_actions}


def _overview(parser: argparse.ArgumentParser, commands: "argparse._SubParsersAction[Any]") -> str:
    """Return the help of the main parser, with the commands by groups."""
    columns = min(120, shutil.get_terminal_size().columns)
    purposes = _purposes(commands)
    listed = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "Other": tuple(name for name in purposes if name not in listed)}
    wide = max(map(len, purposes)) + 4
    lines = [parser.format_usage(), textwrap.fill(parser.description or "", columns), ""]
    for title, names in groups.items():
        if there := [name for name in names if name in purposes]:
            lines.append(f"{title}:")
            for name in there:
                wrapped = textwrap.wrap(purposes[name], columns - wide, break_on_hyphens=False)
                lines.append(f"  {name}".ljust(wide) + f"\n{' ' * wide}".join(wrapped))
            lines.append("")
    return "\n".join([*lines, CLOSING])


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script with which a shell completes commands, options and paths."""
    import shtab  # here, because the service's environment does not have it

    for action in [each for command in _subparsers(parser) for each in command._actions]:
        if action.type is Path:
            # The attribute that shtab documents for its completions; typeshed's Action does not have it.
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _subparsers(parser: Any) -> list[argparse.ArgumentParser]:
    return list(parser.overview.choices.values())
