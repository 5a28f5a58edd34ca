import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from darkroom.training.engine import checkpoint, optimizer
from darkroom.training.engine.batches import Data
from darkroom.training.engine.checkpoint import Checkpointer, Key
from darkroom.training.engine.loop import Plan, Trainer
from darkroom.training.networks import network
from darkroom.training.networks.network import Network
from darkroom.training.settings import AugmentSettings, RecipeSettings, TrainingSettings
from tests.test_training_loop import CPU, STATISTICS, History, blobs

KEY = Key("parameters", "data", "code", "machine")


class PowerCutError(Exception):
    """The power is gone."""


class Saw(History):
    """Breaks a training off after so many steps."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def step(self, progress: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise PowerCutError


class Always(Checkpointer):
    """Writes after every step."""

    def due(self) -> bool:
        return True


def trainer(**options) -> Trainer:
    recipe = {
        "learning_rate": 0.05,
        "average": 0.9,
        "mixup": 0.2,
        "small_start": 0.8,
        "weight_decay": 0.001,
        **options,
    }
    settings = RecipeSettings(**recipe)
    small = (blobs(100, 1), blobs(60, 2))
    data = tuple(Data(part.images.repeat_interleave(2, 1).repeat_interleave(2, 2), None, part.labels) for part in small)
    # With dropout, so that a network's own draws must be the same as well.
    model = network.build({"architecture": "wic_cnn", "width": 4}, 3, 24, 0)
    whole = Network(model, *STATISTICS)
    changes = AugmentSettings(shift=1, flip="alternating", rotate=5)
    plan = Plan(settings, changes, TrainingSettings(), 4, 16, 0)
    return Trainer(whole, optimizer.groups([(whole, 1.0)], settings), data, plan, CPU)


def weights(it: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in it.network.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("steps", [1, 6, 7, 12, 18, 23])
def test_a_training_that_goes_on_ends_with_the_very_same_bits(tmp_path, optimizer, steps):
    whole = trainer(optimizer=optimizer)
    callback = History()
    best = whole.run(callback)

    def checkpointer() -> Checkpointer:
        return Always(tmp_path / "it.pt", KEY)

    with pytest.raises(PowerCutError):
        trainer(optimizer=optimizer).run(Saw(steps), checkpointer())
    again, later = trainer(optimizer=optimizer), History()
    assert again.run(later, checkpointer()) == best
    assert len(later.ways) == len(callback.ways) - steps  # it did go on, and did not start anew
    assert [vars(epoch) | {"images_per_second": 0} for epoch in again.history] == [
        vars(epoch) | {"images_per_second": 0} for epoch in whole.history
    ]
    assert len(later.epochs) == 4 - (steps - 1) // whole.steps
    expected, found = weights(whole), weights(again)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


class Seldom(Checkpointer):
    """Writes every fourth time, as one that waits for its seconds."""

    asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked % 4 == 0


@pytest.mark.parametrize("steps", [3, 9, 11])
def test_steps_that_no_checkpoint_knows_are_taken_again(tmp_path, steps):
    whole, callback = trainer(), History()
    whole.run(callback)
    with pytest.raises(PowerCutError):
        trainer().run(Saw(steps), Seldom(tmp_path / "it.pt", KEY))
    again, later = trainer(), History()
    again.run(later, Seldom(tmp_path / "it.pt", KEY))
    assert len(later.ways) == len(callback.ways) - steps // 4 * 4
    expected, found = weights(whole), weights(again)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("name", ["parameters", "data", "code"])
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_reason_and_kept(tmp_path, capsys, name):
    path = tmp_path / "it.pt"
    Checkpointer(path, KEY).save({"step": 3})
    other = Checkpointer(path, Key(**vars(KEY) | {name: "another"}))
    assert other.load() is None
    assert (
        f"is rejected, because it was made with different {name}: training starts from the" in capsys.readouterr().err
    )
    assert not path.exists()
    other.refused.rename(path)
    assert Checkpointer(path, KEY).load() == {"step": 3}  # nothing was lost
    Checkpointer(path, Key(**vars(KEY) | {name: "another"})).load()
    other.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_training_resumes_on_another_machine_with_a_warning(tmp_path, capsys):
    path = tmp_path / "it.pt"
    Checkpointer(path, Key("parameters", "data", "code", "cpu, 2 threads")).save({"step": 3})
    assert Checkpointer(path, Key("parameters", "data", "code", "cpu, 1 thread")).load() == {"step": 3}
    assert "a different kind of machine (cpu, 2 threads; this one: cpu, 1 thread)" in capsys.readouterr().err
    assert path.exists()


def test_a_checkpoint_that_takes_long_to_write_is_written_seldom(tmp_path, monkeypatch):
    seconds = 0.0
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: seconds)
    checkpointer = Checkpointer(tmp_path / "it.pt", KEY, every=30)

    def save(state: object, path: Path) -> None:
        nonlocal seconds
        seconds += 10  # to a slow disk
        path.touch()

    monkeypatch.setattr(torch, "save", save)
    seconds = 30
    assert checkpointer.due()
    checkpointer.save({})
    seconds = 239
    assert not checkpointer.due()
    seconds = 240
    assert checkpointer.due()


class Danger:
    """Runs something when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("danger",))


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "pickle", "shape"])
def test_a_checkpoint_that_is_broken_is_refused_and_nothing_in_it_is_run(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "it.pt"
    Checkpointer(path, KEY).save({"step": 3, "tensor": torch.zeros(1000)})
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(path.read_bytes()[:2000])
        case "text":
            path.write_text("hello")
        case "pickle":
            torch.save({"key": vars(KEY), "state": Danger()}, path)
        case "shape":
            torch.save([1, 2], path)
    assert Checkpointer(path, KEY).load() is None
    assert "is rejected, because it cannot be read" in capsys.readouterr().err
    assert not Path("danger").exists()


def test_what_is_written_comes_back_and_is_cleared(tmp_path):
    checkpointer = Checkpointer(tmp_path / "deep" / "it.pt", KEY, every=0)
    assert checkpointer.due()
    checkpointer.save({"step": 3, "tensor": torch.arange(4), "nested": [{"a": 1.5}]})
    state = checkpointer.load()
    assert (state["step"], state["tensor"].tolist(), state["nested"]) == (3, [0, 1, 2, 3], [{"a": 1.5}])
    assert [path.name for path in checkpointer.path.parent.iterdir()] == ["it.pt"]
    checkpointer.clear()
    assert checkpointer.load() is None
    assert not Checkpointer(tmp_path / "it.pt", KEY, every=100).due()


def test_a_full_disk_costs_the_checkpoint_and_nothing_else(tmp_path, capsys):
    checkpointer = Checkpointer(tmp_path / "it.pt", KEY)
    checkpointer.save({"step": 3})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**22, before[1]))
        checkpointer.save({"step": 4, "tensor": torch.zeros(2**22)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "it.pt cannot be written (is the disk full?" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["it.pt"]
    assert checkpointer.load() == {"step": 3}
    (tmp_path / "file").touch()
    Checkpointer(tmp_path / "file" / "it.pt", KEY).save({})
    assert "cannot be written (" in capsys.readouterr().err


def test_checkpoints_of_models_that_are_gone_are_removed(tmp_path):
    for name in ("kept", "gone"):
        Checkpointer(tmp_path / f"{name}.pt", KEY).save({})
    checkpoint.clean(tmp_path, ["kept", "new"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept.pt"]
