"""Benchmark scripts call stages with arguments that the stages accept."""

import argparse
import importlib
import re
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from darkroom.foundations.errors import DarkroomError
from tests import factories
from tests.imports import ROOT

DATA = ["download", "pack", "split"]


class ParsedError(Exception):
    """Raised by a stage as soon as its arguments are parsed."""


@pytest.fixture
def calls(monkeypatch):
    """Let every stage parse its arguments in this process and end there; return the names of the stages called."""
    monkeypatch.syspath_prepend(ROOT)
    names: list[str] = []
    parse = argparse.ArgumentParser.parse_args

    def parse_only(*arguments):
        parse(*arguments)
        raise ParsedError

    def call(name, arguments):
        names.append(name)
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
            with pytest.raises(ParsedError):
                mains[name]([str(part) for part in arguments])

    def run(command, **_):
        parts = [str(part) for part in command]
        place = next(place for place, part in enumerate(parts) if part.startswith(str(ROOT / "stages")))
        path, *arguments = parts[place:]
        call(Path(path).stem if path.endswith(".py") else arguments.pop(0), arguments)
        return SimpleNamespace(returncode=0, stdout="0", stderr="")

    mains = {}
    for name in (*DATA, "pretrained", "transfer", "scratch", "evaluate", "robustness"):
        module = importlib.import_module(f"stages.{name}")
        mains[name] = module.main
        monkeypatch.setattr(module, "main", lambda arguments, name=name: call(name, arguments))
    monkeypatch.setattr(subprocess, "run", run)
    return names


def accuracy(module, top):
    module.train("lab_cnn", 0, top, top / "split.csv", top, "digits", [])


def backbones(module, top):
    (top / "data").mkdir()
    with zipfile.ZipFile(top / "data" / "animals10-sample.zip", "w"):
        pass
    _, arguments = module.prepare(top, top, "efficientnet_lite0", 160, 160, 0)
    module.transfer.main(["network", *arguments])


def distillation(module, top):
    given = SimpleNamespace(epochs={"efficientnet_lite0": 1, "resnet9": 1}, seeds=[0], teacher_side=160)
    module.prepare(top, 96, given)
    for name in module.SIDES:
        with suppress(FileNotFoundError):
            module.train(top, name, given, 0)


def finetuning(module, top):
    (top / "animals-160-0" / "photos").mkdir(parents=True)
    given = SimpleNamespace(work=top, shared=top, size=None, augment={}, epochs=1, method="auto", recipe={})
    module.compare("animals", 0, given)


def fit(module, top):
    module.open_network(top, "efficientnet_lite0", 160)


def growing(module, top):
    module.run(top, "full", top / "cache")


def judging(module, top):
    folder = factories.write_packed(top / "data")
    factories.write_candidate(top / "net", folder, factories.write_split(top / "split.csv", folder))
    for stage in ("evaluate", "robustness"):
        sys.argv = ["judging.py", str(top / "net"), "--test", "10", "--stage", stage]
        module.main()


def transfer(module, top):
    for command in module.stages(top):
        subprocess.run(command, check=True)


def transfer_study(module, top):
    for method in module.NAMES:
        with suppress(DarkroomError):
            module.train(method, top, SimpleNamespace(packed=top, pretrained=top))


CALLERS = {
    accuracy: ["scratch"],
    backbones: [*DATA, "pretrained", "transfer"],
    distillation: [*DATA, "pretrained", "transfer", "pretrained", "transfer", "scratch"],
    finetuning: [*DATA, "pretrained", "transfer", "transfer"],
    fit: ["pretrained"],
    growing: DATA,
    judging: ["evaluate", "robustness"],
    transfer: [*DATA, "pretrained", "transfer"],
    transfer_study: ["scratch", "transfer", "transfer"],
}
STAGE_CALL = re.compile(r'ROOT / "stages"|^from stages import', re.MULTILINE)


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.__name__)
def test_stages_accept_the_arguments_of_a_benchmark(caller, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    module = importlib.import_module(f"benchmarks.{caller.__name__}")
    # Stages that only parse their arguments write nothing that could be read afterwards.
    with suppress(FileNotFoundError, DarkroomError):
        caller(module, tmp_path)
    assert calls == CALLERS[caller]


def test_every_benchmark_that_calls_stages_is_checked():
    callers = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if STAGE_CALL.search(path.read_text("utf-8"))}
    assert callers == {caller.__name__ for caller in CALLERS}
