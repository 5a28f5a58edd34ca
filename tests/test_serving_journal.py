"""The log of answers and the corrections, in BentoML's monitoring format and as class folders."""

import hashlib
import json
import logging
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from bentoml._internal.monitoring import api

from darkroom.predictor import Answer
from darkroom.serving.decoding import Failure
from darkroom.serving.journal import Journal
from darkroom.serving.uploads import Upload
from tests.factories_serving import picture

UPLOADS = [Upload("a.png", picture(0)), Upload("b.png", b"none"), Upload("c.png", picture(1))]
ANSWERS = [
    Answer(np.array([0.1, 0.7, 0.2]), True, True),
    Failure(422, "invalid_image", "damaged"),
    Answer(np.array([0.5, 0.3, 0.2]), False, None),
]


@pytest.fixture(autouse=True)
def _new_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """BentoML keeps a monitor for the life of its process; here each test has a folder of its own."""
    monkeypatch.setattr(api, "_MONITOR_INSTANCES", {})


def digest(upload: Upload) -> str:
    return hashlib.sha256(upload.data).hexdigest()


def test_each_answer_is_a_line_of_json(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "abc", ["cat", "dog", "elk"], keep_pictures=False)
    journal.write(UPLOADS, ANSWERS)
    journal.write(UPLOADS[:1], ANSWERS[:1])
    (path,) = tmp_path.glob("darkroom/data/*.log")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["sha256"] for row in rows] == [digest(UPLOADS[0]), digest(UPLOADS[2]), digest(UPLOADS[0])]
    first = rows[0]
    assert (first["label"], first["probability"], first["version"]) == ("dog", 0.7, "abc")
    assert (first["confident"], rows[1]["confident"], rows[1]["in_distribution"]) == (True, False, None)
    assert first["probabilities"] == [0.1, 0.7, 0.2]
    assert first["time"].endswith("+00:00")
    (schema,) = tmp_path.glob("darkroom/schema/*.log")
    assert [column["name"] for column in json.loads(schema.read_text())["columns"]][:2] == ["time", "version"]
    assert not (tmp_path / "pictures").exists()


def test_pictures_are_kept_only_where_asked(tmp_path: Path) -> None:
    Journal(tmp_path, "abc", ["cat", "dog", "elk"], keep_pictures=True).write(UPLOADS, ANSWERS)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert kept == {f"{digest(upload)}.png": upload.data for upload in (UPLOADS[0], UPLOADS[2])}


def test_a_log_that_cannot_be_written_fails_no_answer_and_comes_back(tmp_path: Path) -> None:
    blocked = tmp_path / "darkroom"
    blocked.write_text("a file where the folder should be")
    journal = Journal(tmp_path, "abc", ["cat", "dog", "elk"], keep_pictures=False)
    journal.write(UPLOADS, ANSWERS)
    blocked.unlink()
    journal.write(UPLOADS, ANSWERS)
    (path,) = tmp_path.glob("darkroom/data/*.log")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_a_full_disk_is_told_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind in ("data", "schema"):
        (tmp_path / "darkroom" / kind).mkdir(parents=True)
        (tmp_path / "darkroom" / kind / f"{kind}.0.log").symlink_to("/dev/full")
    (tmp_path / "corrections").write_text("a file where the folder should be")
    clock, said = [0.0], list[str]()
    monkeypatch.setattr("darkroom.serving.journal.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("darkroom.serving.journal._log.error", lambda text, *values: said.append(text % values))
    journal = Journal(tmp_path, "abc", ["cat", "dog", "elk"], keep_pictures=False)
    for _ in range(20):
        journal.write(UPLOADS, ANSWERS)
        with pytest.raises(OSError, match="corrections"):
            journal.correct(UPLOADS[0], "cat")
    assert len(said) == 1
    assert "No space left on device" in said[0]
    clock[0] = 61.0
    journal.write(UPLOADS, ANSWERS)
    assert len(said) == 2
    assert "".join(capfd.readouterr()) == ""
    loggers = [logging.getLogger(f"bentoml_monitor_{kind}") for kind in ("data", "schema")]
    open_files = [handler for logger in loggers for handler in logger.handlers if handler.stream is not None]
    assert open_files == []


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("cat", "cat"),
        ("Küche 2", "Küche 2"),
        ("a/b\\c", "a%2Fb%5Cc"),
        ("a_b", "a_b"),
        ("100%2F", "100%252F"),
        ("..", "%2E%2E"),
        (".git", "%2Egit"),
        ("x. ", "x.%20"),
    ],
)
def test_a_correction_goes_into_the_folder_of_its_class(tmp_path: Path, label: str, folder: str) -> None:
    journal = Journal(tmp_path, "abc", [label], keep_pictures=False)
    for _ in range(2):
        journal.correct(UPLOADS[0], label)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.relative_to(tmp_path) == Path("corrections", folder, f"{digest(UPLOADS[0])}.png")
    assert path.read_bytes() == UPLOADS[0].data
    assert unquote(folder) == label
