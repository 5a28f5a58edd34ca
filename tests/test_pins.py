"""What is fetched from elsewhere has one version and, where it can be, one hash."""

import re
import shutil
import subprocess

import pytest
from ruamel.yaml import YAML

from darkroom.serving.build import bento
from tests.imports import ROOT

OF_TORCH = re.compile(r"torch|torchvision|triton|cuda-.*|nvidia-(?!ml-py).*")
"""What another build of torch replaces or needs besides."""


def pins(text: str) -> dict[str, list[str]]:
    """Return the hashes of each package that a requirements file pins."""
    blocks = re.findall(r"^([\w.-]+)==\S+(.*(?:\n .*)*)", text, re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^[^ \n#]", text, re.MULTILINE)), "something is not pinned"
    return {name: re.findall(r"--hash=sha256:[0-9a-f]{64}", rest) for name, rest in blocks}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-serve.txt"])
def test_every_package_has_a_version_and_hashes(name):
    assert all(pins((ROOT / name).read_text(encoding="utf-8")).values())


def make(*arguments: str) -> str:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    command = ["make", "--dry-run", "--always-make", "env", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("backend", [(), ("UV_TORCH_BACKEND=cpu",)], ids=["default", "cpu"])
def test_hashes_are_checked_for_all_packages_that_another_torch_does_not_replace(backend):
    locked = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    steps = make(*backend)
    assert "--no-verify-hashes" not in steps
    if filters := re.findall(r"awk '([^']+)' requirements.txt > .venv/checked.txt", steps):
        command = ["awk", filters[0], ROOT / "requirements.txt"]
        checked = pins(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert "--require-hashes --no-deps --requirement .venv/checked.txt" in steps
    else:
        assert not backend
        checked = pins(locked)
        assert "--require-hashes --requirement requirements.txt" in steps
    assert checked == {
        name: found for name, found in pins(locked).items() if not backend or not OF_TORCH.fullmatch(name)
    }
    assert "--no-build-isolation" in steps, "the build backend would be fetched unchecked"


def test_uv_is_installed_as_it_is_locked():
    locked = pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    filters = re.findall(r"awk '([^']+)' requirements.txt > .venv/uv.txt", make())
    found = subprocess.run(["awk", filters[0], ROOT / "requirements.txt"], capture_output=True, text=True, check=True)
    assert pins(found.stdout) == {"uv": locked["uv"]}
    assert found.stdout.startswith(f"{bento.UV} "), "the image installs another one: change bento.UV"


def test_actions_are_pinned_by_commit():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_the_base_image_is_pinned_by_digest():
    docker = YAML(typ="safe").load(ROOT / "bentofile.yaml")["docker"]
    image = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-\w+@sha256:[0-9a-f]{64}", docker["base_image"])
    assert image
    assert "python_version" not in docker, "BentoML warns at each start; the version comes from the image's name"
