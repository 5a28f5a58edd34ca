"""A model answers without telling anybody."""

import os
import subprocess
import sys
from pathlib import Path

from tests import factories


def test_onnxruntime_keeps_no_record_to_report(tmp_path: Path) -> None:
    """Its telemetry, on unless it is told otherwise, begins with a file in the home."""
    folder = factories.write_packed(tmp_path / "packed")
    split = factories.write_split(tmp_path / "split.csv", folder)
    small = factories.write_candidate(tmp_path / "small", folder, split)
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    code = "import sys, pathlib; from darkroom.predictor import Predictor; Predictor(pathlib.Path(sys.argv[1]))"
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    subprocess.run([sys.executable, "-c", code, str(small)], env=environment, check=True)
    assert list(home.rglob("*")) == []
