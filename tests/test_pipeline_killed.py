"""`dvc repro` killed at random moments within a stage: the next one ends as if nothing had happened."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clones import clone, environment, ran, run
from tests.kaggle_server import Kaggle, KaggleHandler, point_client_to
from tests.pictures import class_folders, encode, write_zip
from tests.test_pipeline import quick_digits
from tests.web import Web, serve

KILLS = int(os.environ.get("DARKROOM_KILLS", "2"))
"""20 took benchmarks/RESULTS.md; each costs seconds, on a slow machine most of a minute."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(max(3600, 600 * KILLS))]
BULK = random.Random(0).randbytes(3_000_000)  # Kaggle's client writes a megabyte at once


def killed(folder: Path, stage: str, seconds: float, awaited: Callable[[], bool] | None = None) -> bool:
    """Run `dvc repro` and kill it with all its children so long after `stage` began; return whether it still ran.

    awaited: what has to be true as well before the kill, however long it takes on a busy machine.
    """
    with subprocess.Popen(
        ["dvc", "repro", stage],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any(f"Running stage '{stage}'" in line for line in process.stdout)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            while awaited and not awaited() and process.poll() is None:
                time.sleep(0.02)
            if process.poll() is None:  # it may have ended while the file was awaited
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def timed(folder: Path, stage: str) -> float:
    """Run `dvc repro` to its end; return the seconds since `stage` began."""
    begin = 0.0
    with subprocess.Popen(
        ["dvc", "repro", stage], cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if f"Running stage '{stage}'" in line:
                begin = time.perf_counter()
    assert process.returncode == 0
    assert begin
    return time.perf_counter() - begin


def made(folder: Path, out: str) -> dict[str, bytes]:
    """Return the bytes of a stage's output and of `dvc.lock`, and the names of what lies beside the output."""
    paths = [folder / "dvc.lock", *sorted((folder / out).iterdir())]
    beside = sorted(path.name for path in (folder / out).parent.iterdir())
    return {path.name: path.read_bytes() for path in paths} | {"beside": "\n".join(beside).encode()}


def check(folder: Path, stage: str, out: str, web: Web | None = None) -> None:
    """Kill `stage`, which makes `out`, at moments spread over the time of an unbroken run, and each time run it again.

    Before each kill all is as it was before the first run, DVC's cache included: it must not just bring what the
    unbroken run made. The server `web` is slow where it is there, but not when the stage is run again; the last kill is
    then during the download.
    """
    lock, cache, before = folder / "dvc.lock", folder / ".dvc" / "cache", folder.parent / "before"
    shutil.copytree(cache, before / "cache")
    shutil.copy(lock, before)
    pause = web.pause if web else 0.0
    seconds = timed(folder, stage)
    expected = made(folder, out)
    chance = random.Random(0)
    mended = []

    def is_downloading() -> bool:
        paths = [path for path in (folder / ".darkroom").rglob("*") if path.is_file()]
        return any(path.stat().st_size > 1000 for path in paths)  # more than the note that Kaggle's client makes first

    for number in range(KILLS):
        part, ended = (number + chance.random()) / KILLS, True
        while ended:
            shutil.rmtree(folder / out)
            shutil.rmtree(cache)
            shutil.copytree(before / "cache", cache)
            shutil.copy(before / "dvc.lock", lock)
            begun = is_downloading if web and number == KILLS - 1 else None
            ended = not killed(folder, stage, 0 if begun else seconds * part, begun)
            seconds *= 0.9 if ended else 1  # the machine was busier when the unbroken run was timed
        if web:
            web.pause = 0.0
        mended += run(folder, "darkroom", "mend").splitlines()
        output = run(folder, "dvc", "repro", stage)
        assert ran(output) <= {"validate", stage}  # validate where a mended `dvc.lock` does not know it
        assert made(folder, out) == expected, output
        if web:
            web.pause = pause
    print(f"{KILLS} runs were killed within {seconds:.1f} s", *mended, sep="\n")


def test_pack(tmp_path):
    folder = clone(tmp_path / "clone", lambda parameters: parameters.update(dataset="folder"))
    noise = np.random.default_rng(0).integers(0, 256, (400, 150, 150, 3), dtype=np.uint8)
    members = {f"{'ab'[row % 2]}/{row:03}.png": encode(pixels, compress_level=0) for row, pixels in enumerate(noise)}
    write_zip(folder / "data" / "inbox" / "set.zip", {**members, "a/broken.png": b"x"})
    run(folder, "dvc", "repro", "download")
    check(folder, "pack", "data/packed")


def download(folder: Path, source: dict[str, Any], web: Web) -> None:
    def change(parameters: Any) -> None:
        parameters["dataset"] = "folder"
        parameters["datasets"]["folder"]["source"] = source

    clone(folder, change)
    run(folder, "dvc", "repro", "validate")
    (folder / ".dvc" / "cache").mkdir(exist_ok=True)
    check(folder, "download", "data/raw", web)
    assert not any((folder / ".darkroom").glob("*"))
    assert any(wanted for _, wanted in web.seen), "no download was continued"


def test_download_from_an_address(tmp_path):
    data = write_zip(tmp_path / "set.zip", class_folders({"cat": 900, "dog": 900})).read_bytes()
    with serve(Web({"/set.zip": data}, pause=0.02)) as web:
        digest = hashlib.sha256(data).hexdigest()
        download(tmp_path / "clone", {"kind": "folder", "url": f"{web.address}/set.zip", "sha256": digest}, web)
    assert (tmp_path / "clone" / "data" / "raw" / "set.zip").read_bytes() == data


def test_download_through_kaggles_client(tmp_path, monkeypatch):
    data = write_zip(tmp_path / "set.zip", {**class_folders({"cat": 3, "dog": 3}), "notes.txt": BULK}).read_bytes()
    (tmp_path / "home").mkdir()
    with serve(Kaggle({"/storage/animals.zip": data}, pause=0.004), KaggleHandler) as web:
        point_client_to(web, str(tmp_path / "home"), monkeypatch)
        download(tmp_path / "clone", {"kind": "kaggle", "dataset": "somebody/animals"}, web)
    assert (tmp_path / "clone" / "data" / "raw" / "animals.zip").read_bytes() == data


def test_a_lock_file_that_dvc_was_killed_over_is_mended_and_nothing_is_run_again(tmp_path):
    folder = clone(tmp_path, quick_digits)
    assert "split" in ran(run(folder, "dvc", "repro", "split"))
    lock = folder / "dvc.lock"
    before = lock.read_bytes()
    lock.write_bytes(b"")
    assert "'./dvc.lock' validation failed" in run(folder, "dvc", "repro", "split", status=255)
    assert "the last committed version is restored" in run(folder, "darkroom", "mend")
    assert ran(run(folder, "dvc", "repro", "split")) <= {"validate", "split"}  # their outputs stay: no run cache
    assert lock.read_bytes() == before


def test_training(tmp_path):
    few = {"epochs_factor": 0.3, "width": 8}
    folder = clone(tmp_path / "clone", lambda parameters: parameters["scratch"]["resnet9"].update(few))
    pipeline = folder / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace(".darkroom/checkpoints", ".darkroom/checkpoints --every 0.1"))
    stage, out = "scratch@resnet9", folder / "models" / "candidates" / "resnet9"
    run(folder, "dvc", "repro", "split")
    before = (folder / "dvc.lock").read_bytes()
    checkpoint = folder / ".darkroom" / "checkpoints" / "resnet9.pt"
    seconds = timed(folder, stage)

    def result() -> dict[str, bytes]:
        # The card gives the time that training took.
        return {
            path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix in {".safetensors", ".npz"}
        }

    expected, chance, continued = result(), random.Random(0), 0
    for number in range(KILLS):
        part, ended = (number + chance.random()) / KILLS, True
        while ended:
            shutil.rmtree(out)
            shutil.rmtree(folder / ".dvc" / "cache" / "runs")
            (folder / "dvc.lock").write_bytes(before)
            # The first half of the kills, and no earlier than there is a checkpoint to resume from.
            awaited = checkpoint.is_file if number < max(1, KILLS // 2) else None
            ended = not killed(folder, stage, seconds * part, awaited)
            seconds *= 0.9 if ended else 1
        run(folder, "darkroom", "mend")
        output = run(folder, "dvc", "repro", stage)
        continued += "resuming from a checkpoint" in output
        assert result() == expected, output
        assert not any((folder / ".darkroom").rglob("*.pt*"))
    print(f"{KILLS} runs were killed within {seconds:.1f} s, {continued} went on from a checkpoint")
    assert continued >= KILLS // 2
