"""What all tests share: nothing of the user's home is touched, and the repository stays as it was."""

import os
from pathlib import Path

import pytest

from darkroom.foundations import errors

SLOWEST = (
    "test_pipeline_killed",
    "test_pipeline",
    "test_commands_verify_rebuild",
    "test_training_distributed",
    "test_commands_sweep",
    "test_experiments_forms",
    "test_serving_http",
    "test_sharing_s3",
    "test_stage_report",
    "test_commands_workspaces",
    "test_report_statements",
    "test_launching",
    "test_bento_alone",
    "test_stages_training",
    "test_training_backbones",
    "test_dvc_plots",
    "test_metrics_diff",
    "test_training_loop",
    "test_serving_hardening",
)
"""Files to begin with, so that several processes end at about the same time."""

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for the tests that import onnxruntime themselves


def pytest_configure() -> None:
    """Refuse to test the library of another checkout."""
    try:
        errors.check_checkout(Path(__file__).parents[1])
    except errors.DarkroomError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the slowest files to the front; within a file the order stays."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


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
