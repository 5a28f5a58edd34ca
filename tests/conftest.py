"""What all tests share: nothing of the user's home is touched, and the repository stays as it was."""

import os
from pathlib import Path

import pytest

from darkroom.foundations import errors

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for the tests that import onnxruntime themselves


def pytest_configure() -> None:
    """Refuse to test the library of another checkout."""
    try:
        errors.check_checkout(Path(__file__).parents[1])
    except errors.DarkroomError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give tools that write into the home a folder of the tests."""
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    patch.setenv("BENTOML_HOME", str(home / "bentoml"))
    patch.setenv("BENTOML_DO_NOT_TRACK", "1")
    patch.setenv("DVC_NO_ANALYTICS", "1")
    patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(home / "dvc"))
    patch.setenv("DVC_SITE_CACHE_DIR", str(home / "dvc-site"))
    patch.setenv("NO_COLOR", "1")


@pytest.fixture
def shared() -> Path:
    """Return the folder with real images and weights beside the checkout, or skip."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "README.md").is_file():
        pytest.skip("the real images and weights (../shared) are not here")
    return folder
