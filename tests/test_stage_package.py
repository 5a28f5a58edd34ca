"""stages/package.py: the served folder and the Bento, both or neither, and the same bytes each time."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.serving.build import bento
from stages import package
from tests.factories_serving import ROOT, package_arguments, write_judged
from tests.test_serving_packaging import tamper


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = write_judged(tmp_path_factory.mktemp("project"))
    package.main(package_arguments(top))
    return top


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): files.sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_the_bento_holds_the_served_model_and_the_modules_that_serve_it(project: Path) -> None:
    inside = contents(project / "dist" / "darkroom.bento" / "src")
    model = {f"models/served/{name}": digest for name, digest in contents(project / "models" / "served").items()}
    names = ("model.onnx", "card.json", "service.json", "model_card.md", "examples/examples.json", "examples/0.png")
    assert set(model) >= {f"models/served/{name}" for name in names}
    modules = {str(path): files.sha256(ROOT / "src" / path) for path in bento.service_files()}
    assert inside == model | modules | {"bentofile.yaml": inside["bentofile.yaml"]}


def test_only_what_the_service_imports_travels() -> None:
    found = {str(path.relative_to("darkroom")) for path in bento.service_files()}
    assert {"predictor.py", "images.py", "serving/service.py", "serving/page/page.js"} <= found
    others = "training|evaluation|data|commands|packed|serving/(bento|packaging)"
    assert not [name for name in found if re.match(others, name)]


def test_the_environment_is_the_locked_one(project: Path) -> None:
    locked = (ROOT / "requirements-serve.txt").read_text(encoding="utf-8")
    environment = project / "dist" / "darkroom.bento" / "env"
    assert (environment / "python" / "requirements.txt").read_text(encoding="utf-8") == locked
    assert "env/python/requirements.txt" in (environment / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search("^(torch|dvc|scikit-learn)", locked, re.MULTILINE)


def test_the_image_is_small_runs_as_a_user_and_finds_what_it_copies(project: Path) -> None:
    bento_folder = project / "dist" / "darkroom.bento"
    text = (bento_folder / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    steps = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    told = {word: [rest for step, rest in steps if step == word] for word, _ in steps}
    words = {"FROM", "ENV", "ARG", "RUN", "WORKDIR", "COPY", "EXPOSE", "USER", "ENTRYPOINT"}
    assert set(told) == words
    image = YAML(typ="safe").load(ROOT / "bentofile.yaml")["docker"]["base_image"]
    assert told["FROM"] == [f"{image} AS base-container"]
    assert "uv venv --python 3.12 " in text  # as in the image, so that no other is fetched
    assert re.findall(r"pip install (uv\S*)", text) == [bento.UV]
    assert told["USER"] == ["bentoml"]
    assert [step for step, _ in steps][-2:] == ["USER", "ENTRYPOINT"]
    assert "3000" in told["EXPOSE"]
    assert "BENTOML_DO_NOT_TRACK=$BENTOML_DO_NOT_TRACK" in told["ENV"]
    assert "BENTOML_DO_NOT_TRACK=True" in told["ARG"]
    assert not re.search("apt-get|build-essential|torch|nvidia|cuda", text)
    for copied in told["COPY"]:
        assert (bento_folder / copied.split()[1]).is_dir(), copied
    entry = json.loads(told["ENTRYPOINT"][0])[0].removeprefix("/home/bentoml/bento/")
    assert (bento_folder / entry).read_text(encoding="utf-8").startswith("#!")
    manifest = YAML(typ="safe").load(bento_folder / "bento.yaml")
    assert manifest["image"]["commands"] == []
    assert manifest["image"]["python_version"] == "3.12"


def test_no_file_is_executable_because_dvc_would_report_it_as_modified_after_each_checkout(project: Path) -> None:
    bento_folder = project / "dist" / "darkroom.bento"
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [bento_folder, *bento_folder.rglob("*")]}
    assert modes == {(True, 0o755), (False, 0o644)}
    text = (bento_folder / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "RUN chmod +x /home/bentoml/bento/env/docker/entrypoint.sh" in text


def test_the_bento_says_what_it_is_and_how_to_run_it(project: Path) -> None:
    text = (project / "dist" / "darkroom.bento" / "README.md").read_text(encoding="utf-8")
    version = YAML(typ="safe").load(project / "dist" / "darkroom.bento" / "bento.yaml")["version"]
    assert text.startswith("# Darkroom: small\n")
    assert "distinguishes 3 classes: cat, dog, frog.\n" in text
    assert "test accuracy is 88.0% (95% interval 84.0% to 92.0%)." in text
    assert "Read `model_card.md` there" in text
    assert (project / "dist" / "darkroom.bento" / "src" / "models" / "served" / "model_card.md").is_file()
    assert f"docker run --rm -p 3000:3000 darkroom:{version}" in text
    assert "{" not in text


def test_equal_inputs_give_equal_bytes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(project / "models" / "served"), contents(project / "dist")
    package.main(package_arguments(project))
    assert (contents(project / "models" / "served"), contents(project / "dist")) == before
    assert re.search("small [0-9a-f]{12}: 24 predictions match those evaluated", capsys.readouterr().out)


def test_int8_is_asked_for_by_a_parameter(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = write_judged(project.parent / "quantized")
    files.write_text(top / "params.yaml", "seed: 0\npackage: {precision: int8, max_loss: 0.2}\nserve: {}\n")
    package.main(package_arguments(top))
    assert "int8 is served" in capsys.readouterr().out
    inside = contents(top / "dist" / "darkroom.bento")
    assert inside["src/models/served/model.onnx"] == files.sha256(top / "models" / "served" / "model.onnx")
    assert "src/models/served/quantization.json" not in inside


def test_a_tampered_model_leaves_everything_as_it_was(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    tamper(top / "models" / "candidates" / "small" / "model.onnx", 0.1)
    before = contents(top)
    with pytest.raises(DarkroomError, match="not the evaluated model"):
        package.main(package_arguments(top))
    assert contents(top) == before
    assert not (top / "models" / "served").exists()


def test_a_bento_that_cannot_be_built_leaves_no_served_folder(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    files.write_text(top / "bentofile.yaml", "service: darkroom.serving.service:Nothing\n")
    arguments = package_arguments(top)
    arguments[arguments.index("--bentofile") + 1] = str(top / "bentofile.yaml")
    with pytest.raises(DarkroomError, match=r"BentoML could not build the Bento: .*Nothing"):
        package.main(arguments)
    assert not (top / "models" / "served").exists()
    assert not list(top.glob("dist/*"))
