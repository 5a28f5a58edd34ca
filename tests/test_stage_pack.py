"""The stage as DVC runs it, killed on the way."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from darkroom.data.archives import origin
from darkroom.data.pack import opening
from stages import pack
from tests.pictures import encode, write_zip

ROOT = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path):
    """Return a folder with parameters and an archive large enough for several processes."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 150, 150, 3), dtype=np.uint8)
    members = {f"{'ab'[row % 2]}/{row:03}.png": encode(pixels, compress_level=0) for row, pixels in enumerate(noise)}
    assert sum(map(len, members.values())) > opening.LITTLE
    (tmp_path / "raw").mkdir()
    write_zip(tmp_path / "raw" / "set.zip", {**members, "a/broken.png": b"x"})
    origin.write_origin(tmp_path / "raw", origin.Origin("Noise", "drawn by the tests", "CC0"))
    (tmp_path / "params.yaml").write_text("datasets: {noise: {pack: {image_size: 64}}}\n")
    return tmp_path


def arguments(place, out):
    return [
        "--params",
        str(place / "params.yaml"),
        "--dataset",
        "noise",
        "--raw",
        str(place / "raw"),
        "--out",
        str(out),
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_killed_at_any_moment_the_next_run_ends_with_the_same_bytes(place):
    begin = time.perf_counter()
    pack.main(arguments(place, place / "whole"))
    seconds = time.perf_counter() - begin + 0.5  # what Python takes to start
    command = [sys.executable, str(ROOT / "stages" / "pack.py"), *arguments(place, place / "packed")]
    generator = random.Random(0)
    for _ in range(3):  # through `dvc repro` and more often: test_pipeline_killed.py
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(generator.random() * seconds)
        process.kill()
        process.wait()
        if (place / "packed").exists():  # it was quicker than the kill
            assert contents(place / "packed") == contents(place / "whole")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(place / "packed") == contents(place / "whole")
    assert not (place / ".packed.partial").exists()


def test_what_was_packed_and_what_was_set_aside_is_said(place, capsys):
    pack.main(arguments(place, place / "packed"))
    assert capsys.readouterr().out == (
        "400 images packed at 64×64\n"
        f"1 unreadable files excluded, listed in {place / 'packed' / 'broken.csv'}:\n"
        "  a/broken.png: not a supported image (JPEG, PNG, GIF, WEBP, BMP, TIFF, AVIF)\n"
    )
