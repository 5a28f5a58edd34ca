"""A served folder that is not what was packaged: the service does not start, and says why on one line."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import State
from starlette.types import Message

from darkroom import candidate
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import routes, served, service
from tests.factories_serving import ROOT, SERVE, write_served


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("packaged"))


@pytest.fixture
def top(packaged: Path, tmp_path: Path) -> Path:
    shutil.copytree(packaged / served.FOLDER, tmp_path / served.FOLDER)
    return tmp_path


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Return what changes the JSON in the file `name`."""

    def damage(folder: Path) -> None:
        files.write_json(folder / name, change(files.read_json(folder / name)))

    return damage


def card(**changes: Callable[[Any], Any]) -> Callable[[Path], None]:
    return edit("card.json", lambda fields: fields | {name: change(fields[name]) for name, change in changes.items()})


def resealed(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return what damages a folder and makes its version fit, as a careless tool may."""

    def both(folder: Path) -> None:
        damage(folder)
        edit("service.json", lambda fields: fields | {"version": served.version(folder)})(folder)

    return both


def write(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def zeroed(data: bytes) -> bytes:
    """Return a network with a quarter of its weights gone; what describes it stays."""
    middle = len(data) // 2
    return data[:middle] + bytes(len(data) // 4) + data[middle + len(data) // 4 :]


NAMES = ("card.json", "model.onnx", "service.json", "examples/examples.json")
EXAMPLES = "examples/examples.json"
DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    **{f"no {name}": (remove(name), f"{name} is missing") for name in NAMES},
    **{f"an empty {name}": (write(name, lambda _: b""), "") for name in NAMES},
    **{f"a truncated {name}": (write(name, lambda data: data[: len(data) // 2]), "") for name in NAMES},
    "a truncated example": (write("examples/0.png", lambda data: data[: len(data) // 2]), "0.png"),
    "no example image": (remove("examples/3.png"), "3.png is missing"),
    "no examples": (edit(EXAMPLES, lambda _: []), "missing or empty"),
    "examples of another shape": (edit(EXAMPLES, lambda _: {"a": 1}), "cannot be served"),
    "an example from elsewhere": (
        edit(EXAMPLES, lambda rows: [*rows, {"file": "../card.json", "label": rows[0]["label"]}]),
        "../card.json",
    ),
    "examples of other classes": (edit(EXAMPLES, lambda rows: [row | {"label": "x"} for row in rows]), "not a class"),
    "examples in another order": (edit(EXAMPLES, lambda rows: rows[::-1]), "not answered"),
    "reversed classes": (card(classes=lambda names: names[::-1]), "not the packaged one"),
    "one class fewer": (card(classes=lambda names: names[:-1]), "not the packaged one"),
    "one class fewer, resealed": (resealed(card(classes=lambda names: names[:-1])), "not a class"),
    "one class twice, resealed": (
        resealed(card(classes=lambda names: [*names, names[0]])),
        "does not match the 4 classes",
    ),
    "another image size, resealed": (resealed(card(image_size=lambda _: 0)), ""),
    "another temperature, resealed": (resealed(card(temperature=lambda _: 9.0)), "not answered"),
    "no temperature, resealed": (resealed(card(temperature=lambda _: 0.0)), ""),
    "a card without a name, resealed": (
        resealed(edit("card.json", lambda fields: {key: fields[key] for key in fields if key != "name"})),
        "name",
    ),
    "a card of another kind, resealed": (resealed(edit("card.json", lambda _: [1])), "cannot be served"),
    "a card that is no text, resealed": (resealed(write("card.json", lambda _: b"\xff\xfe{}")), "cannot be served"),
    "zeroed weights": (write("model.onnx", zeroed), "not the packaged one"),
    "zeroed weights, resealed": (resealed(write("model.onnx", zeroed)), ""),
    "no network, resealed": (resealed(write("model.onnx", lambda _: b"x" * 4000)), "cannot be served"),
    "another version of service.json": (edit("service.json", lambda fields: fields | {"limits": 5}), "limits"),
    "a service.json that is none": (write("service.json", lambda _: b"\x00" * 100), "service.json"),
    "a model card that is no text": (lambda folder: (folder / "model_card.md").write_bytes(b"\xff") and None, "served"),
    "a folder in place of the card": (
        lambda folder: (remove("card.json")(folder), (folder / "card.json").mkdir())[0],
        "",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGED.values(), ids=DAMAGED)
def test_what_was_not_packaged_is_not_served(top: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(top / served.FOLDER)
    with pytest.raises(DarkroomError) as raised:
        routes.load(State(), top)
    message = str(raised.value)
    assert words in message
    assert str(top / served.FOLDER) in message
    assert "\n" not in message
    assert len(message) < 500


def test_what_was_packaged_is_served(top: Path) -> None:
    state = State()
    routes.load(state, top)
    assert len(state.model.served.example) == len(state.model.card.classes)
    state.model.close()


def test_a_folder_of_an_older_version_is_served(top: Path) -> None:
    edit("service.json", lambda fields: {key: fields[key] for key in fields if key != "example"})(top / served.FOLDER)
    routes.load(state := State(), top)
    state.model.close()


def test_files_of_two_models_are_not_served_together(top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each file is whole, and each pair but one comes from two models."""
    other, folder = tmp_path_factory.mktemp("other") / "served", top / served.FOLDER
    shutil.copytree(folder, other)
    candidate.write_card(other, replace(candidate.read_card(other), name="other", temperature=3.0))
    edit("service.json", lambda fields: fields | {"version": served.version(other)})(other)
    for name in ("card.json", "service.json"):
        kept = (folder / name).read_bytes()
        shutil.copyfile(other / name, folder / name)
        with pytest.raises(DarkroomError, match="not the packaged one"):
            routes.load(State(), top)
        (folder / name).write_bytes(kept)


def start(top: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [*SERVE, "--host", "127.0.0.1", "--port", "0"]
    return subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "damage", [remove("card.json"), card(classes=lambda names: names[::-1])], ids=["no card", "reversed classes"]
)
def test_bentoml_serve_ends_with_one_line(top: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    shutil.copyfile(ROOT / "bentofile.yaml", top / "bentofile.yaml")
    damage(top / served.FOLDER)
    ended = start(top, tmp_path / "home")
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "card.json" in line


def test_a_worker_that_starts_again_says_why_it_cannot_without_a_traceback(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other workers answer meanwhile."""
    monkeypatch.chdir(top)
    remove("card.json")(top / served.FOLDER)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    with pytest.raises(DarkroomError):
        asyncio.run(service.app({"type": "lifespan", "state": {}}, receive, service._briefly(send)))
    (message,) = sent
    assert message["type"] == "lifespan.startup.failed"
    assert message["message"].startswith("error: models/served/card.json is missing: ")
    assert "\n" not in message["message"]


@pytest.mark.parametrize("place", ["a file", "below a file", "a device"])
def test_a_log_that_cannot_be_kept_is_found_at_the_start(top: Path, place: str) -> None:
    (top / "taken").write_text("a file")
    log = {"a file": "taken", "below a file": "taken/log", "a device": "/proc/1/log"}[place]
    edit("service.json", lambda fields: fields | {"limits": fields["limits"] | {"log": log}})(top / served.FOLDER)
    with pytest.raises(DarkroomError, match=r"serve\.log: .*cannot be written"):
        routes.load(State(), top)
