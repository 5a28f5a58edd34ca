from pathlib import Path

import jsonschema
import pytest

from darkroom import schema
from darkroom.data.settings import DigitsSource, FolderSource, Source, SplitSettings
from darkroom.foundations import files, params
from darkroom.foundations.errors import DarkroomError

ROOT = Path(__file__).parents[1]

GOOD = """\
dataset: mine
seed: 0
device: auto
deterministic: false
launch: python
datasets:
  mine:
    source: {kind: folder}
    pack: {}
    split: {}
    augment: {}
    training: {}
baseline: {}
scratch:
  small: {architecture: lab_cnn, learning_rate: 1e-3}
transfer: {}
select: {}
robustness: {}
package: {}
serve: {}
report: {}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_document_is_typed_frozen_and_has_defaults(tmp_path):
    parsed = schema.load(write(tmp_path, GOOD))
    assert parsed.scratch["small"].learning_rate == 0.001  # YAML 1.2, as DVC reads it: 1e-3 is a number
    assert isinstance(parsed.datasets["mine"].source, FolderSource)
    assert parsed.datasets["mine"].split == SplitSettings()
    with pytest.raises(ValueError, match="frozen"):
        parsed.seed = 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dataset: mine", "dataset: mine\nsed: 3", "sed: unknown key. Did you mean 'seed'? Allowed: baseline, dataset"),
        (
            "kind: folder",
            "kind: foldr",
            "datasets.mine.source.kind: 'foldr' is not one of the choices. "
            "Did you mean 'folder'? Allowed: cifar10, digits, folder, kaggle.",
        ),
        ("kind: folder", "kind: folder, 'pth\u202e': x", r"datasets.mine.source.pth\u202e: unknown key. Did you mean"),
        ("kind: folder", f"kind: {'x' * 5000}", f"source.kind: '{'x' * 99}…{'x' * 98}' is not one of the choices."),
        ("small:", f"{'y' * 500}.:", f"name '{'y' * 100}…{'y' * 98}.' is not allowed"),
        ("small:", f"{'y' * 101}:", "at most 100, starting with a letter or digit (DVC treats a dot as a section)"),
        ("small:", "--help:", "name '--help' is not allowed"),
        ("mine", "-rf", "name '-rf' is not allowed"),
        ("dataset: mine", f'dataset: "{"z" * 300}"', f"dataset: '{'z' * 100}…{'z' * 99}' has no entry"),
        (
            "kind: folder",
            "kind: kaggle, dataset: a/b, classes: {a: 'b\u202e', c: \"d\\e\"}",
            "classes.c: 'd\\x1b' is not",
        ),
        (
            "kind: folder",
            'kind: kaggle, dataset: a/b, title: "\\uFFFE"',
            "title: '\\ufffe' is not allowed: it contains the",
        ),
        ("kind: folder", "kind: folder, pth: x", "datasets.mine.source.pth: unknown key. Did you mean 'path'?"),
        (
            "lab_cnn",
            "labcnn",
            "scratch.small.architecture: 'labcnn' is not one of the choices. "
            "Did you mean 'lab_cnn'? Allowed: airbench, lab_cnn, resnet9, vgg1, vgg2, vgg3, vgg3_bn, vgg3_dropout, "
            "vgg_light, wic_cnn.",
        ),
        ("1e-3", "-1", "scratch.small.learning_rate: -1 is not allowed: input should be greater than 0."),
        ("1e-3", "'0.1'", "scratch.small.learning_rate: '0.1' is not allowed: input should be a valid number."),
        (", learning_rate: 1e-3", "", "scratch.small.learning_rate: missing. Add it."),
        ("dataset: mine", "dataset: yours", "  dataset: 'yours' has no entry under datasets. Allowed: mine."),
        ("small:", "sm all:", "name 'sm all' is not allowed: use letters, digits"),
        ("small:", "Baseline:", "model names must be unique, and baseline is reserved: rename Baseline, baseline"),
        ("mine", "my.set", "name 'my.set' is not allowed: use letters, digits"),
        ("launch: python\n", "", "launch: missing. Add it."),
        ("    augment: {}\n", "", "datasets.mine.augment: missing. Add it."),
        ("small:", "baseline:", "model names must be unique, and baseline is reserved"),
        (
            "kind: folder",
            "kind: folder, url: 'http://localhost/a.zip'",
            "datasets.mine.source: a url needs its sha256, so that everyone gets the same bytes.",
        ),
        ("kind: folder", "kind: folder, url: 'http://localhost/a.zip', path: b", "either path or url, not both"),
        (
            "lab_cnn",
            "vgg_light, small_start: 0.75",
            "small_start: 0.75 needs a network that accepts images of any size, and vgg_light does not: set it to 1",
        ),
        ("augment: {}", "augment: {cutout: 64}", "datasets.mine.augment.cutout: 64 is not allowed: it covers whole"),
        (
            "transfer: {}",
            "transfer: {moved: {architecture: resnet18, optimizer: muon}}",
            "transfer.moved: optimizer: muon rescales every filter",
        ),
        (
            "baseline: {}",
            "baseline: {max_iterations: 500}",
            "baseline.max_iterations: 500 has no effect, the parameter was removed: delete it; the solver takes",
        ),
        ("lab_cnn", "lab_cnn, clip: .inf", "clip: inf is not allowed: input should be a finite number"),
    ],
)
def test_a_mistake_gives_the_key_what_is_allowed_and_the_nearest_name(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(DarkroomError) as error:
        schema.load(write(tmp_path, GOOD.replace(old, new)))
    assert message in str(error.value)


def test_images_must_be_large_enough_for_what_is_trained_on_them(tmp_path):
    text = GOOD.replace("lab_cnn", "wic_cnn").replace("pack: {}", "pack: {image_size: 12}")
    with pytest.raises(DarkroomError) as error:
        schema.load(write(tmp_path, text))
    message = "datasets.mine.pack.image_size: 12 is not allowed: wic_cnn (scratch.small) needs at least 16 pixels."
    assert message in str(error.value)
    schema.load(write(tmp_path, text.replace("12", "16")))


def test_every_mistake_is_told_at_once(tmp_path):
    with pytest.raises(DarkroomError, match="has 2 invalid parameters") as error:
        schema.load(write(tmp_path, GOOD.replace("lab_cnn", "x").replace("kind: folder", "kind: folder, y: 1")))
    assert "architecture" in str(error.value)
    assert ".y: unknown key" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML"), ("- 1", "must be a mapping"), ("", "must be a mapping")]
)
def test_a_document_that_is_none(tmp_path, text, message):
    with pytest.raises(DarkroomError, match=message):
        params.read(write(tmp_path, text))


def test_a_missing_document(tmp_path):
    with pytest.raises(DarkroomError, match="run from the project's top folder"):
        params.read(tmp_path / "params.yaml")


def test_a_section_is_loaded_by_its_dotted_key(tmp_path):
    path = write(tmp_path, GOOD)
    assert params.load(path, Source, "datasets.mine.source") == FolderSource()
    with pytest.raises(DarkroomError, match=r"no 'mne' in datasets\. Did you mean 'mine'"):
        params.load(path, DigitsSource, "datasets.mne.source")


def test_the_projects_own_parameters_are_valid_and_fit_the_committed_schema():
    path = ROOT / "params.yaml"
    schema.load(path)
    committed = files.read_json(ROOT / "params.schema.json")
    assert committed == schema.schema(), "run `dvc repro validate`"
    jsonschema.validate(params.read(path), committed)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=params.schema.json"


def test_the_schema_refuses_what_the_types_refuse():
    wrong = {**params.read(ROOT / "params.yaml"), "sed": 1}
    with pytest.raises(jsonschema.ValidationError, match="sed"):
        jsonschema.validate(wrong, schema.schema())
