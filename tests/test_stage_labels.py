"""The check of all labels, on real digits."""

import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from darkroom import frames, packed
from darkroom.foundations import files
from darkroom.training import pretrained
from darkroom.training.settings import TransferSettings
from stages import labels
from tests import factories
from tests.imports import ROOT

BACKBONE = f"transfer: {{backbone: {{weights: '{(ROOT / 'backbones' / 'cifar10_backbone').as_posix()}'}}}}"


def write_digits(top, count=400, classes=10, wrong=(), alone=()):
    """Write packed digits; return their true names. The labels of `wrong` are those of the next class.

    The images `alone` are a class of their own, in one group.
    """
    digits = load_digits(n_class=classes)
    pixels = (digits.images[:count, ..., None] * 15.9).astype(np.uint8).repeat(3, 3).repeat(2, 1).repeat(2, 2)
    truth = [f"digit {number}" for number in digits.target[:count]]
    given = [f"digit {(number + 1) % classes}" if row in wrong else truth[row]
             for row, number in enumerate(digits.target[:count])]  # fmt: skip
    given = ["other" if row in alone else name for row, name in enumerate(given)]
    folder = factories.write_packed(top / "packed", per_class=1)
    np.save(folder / "images.npy", pixels)
    rows = [(f"=digits/{row}.png", name, "", 16, 16, f"{row:064x}", f"{row:016x}", "", "")
            for row, name in enumerate(given)]  # fmt: skip
    columns = ("name", "label", "split", "width", "height", "sha256", "phash", "group", "slice")
    factories.write_csv(folder / "index.csv", columns, rows)
    factories.write_files(folder)
    factories.write_split(top / "split.csv", folder)
    if alone:
        table = frames.read(top / "split.csv", escape=False)
        table.loc[list(alone), "group"] = str(min(alone))
        frames.write(top / "split.csv", table, escape=False)
    return truth


def run(top, transfer="transfer: {}"):
    files.write_text(
        top / "params.yaml",
        f"seed: 0\ndevice: cpu\ndeterministic: false\nbaseline: {{cells: 8, orientations: 9}}\n{transfer}\n",
    )
    paths = {name: top / name for name in ("pretrained", "features")}
    paths |= {"params": top / "params.yaml", "packed": top / "packed", "split": top / "split.csv", "out": top / "out"}
    labels.main([part for name, path in paths.items() for part in (f"--{name}", str(path))])
    return files.read_json(top / "out" / "summary.json"), frames.read(top / "out" / "issues.csv")


def outputs(top):
    return {path.name: path.read_bytes() for path in sorted((top / "out").iterdir())}


def fetch(top):
    settings = TransferSettings(weights=str(ROOT / "backbones" / "cifar10_backbone"))
    (top / "pretrained" / "backbone").mkdir(parents=True)
    pretrained.fetch(settings, ROOT / "backbones", top / "downloads", top / "pretrained" / "backbone")


@pytest.mark.parametrize("transfer", ["transfer: {}", BACKBONE])
def test_planted_errors_come_first_with_the_class_that_is_right(tmp_path, capsys, transfer):
    wrong = set(range(0, 400, 20))
    truth = write_digits(tmp_path, wrong=wrong)
    if transfer is BACKBONE:
        fetch(tmp_path)
    summary, found = run(tmp_path, transfer)
    assert list(found.columns) == ["image", "sha256", "split", "label", "proposed", "score", "precision"]
    rows = [int(name.removeprefix("=digits/").removesuffix(".png")) for name in found["image"]]
    assert len(wrong & set(rows[:20])) >= 17
    listed = [(row, proposed) for row, proposed in zip(rows, found["proposed"], strict=True) if row in wrong]
    assert sum(proposed == truth[row] for row, proposed in listed) >= 17
    assert set(found["split"][:20]) == {"train", "validation", "test"}
    assert found["sha256"][0] == f"{rows[0]:064x}"
    scores, precision = found["score"].astype(float), found["precision"].astype(float)
    assert scores.is_monotonic_increasing
    assert precision.is_monotonic_decreasing
    assert (summary["images"], summary["unchecked"], summary["issues"]) == (400, 0, len(found))
    assert summary["wrong_share"] == pytest.approx(0.05, abs=0.02)
    assert summary["expected"] == pytest.approx(20, abs=6)
    assert summary["planted"]["recall"] > 0.8
    assert summary["features"] in ("HOG features", "backbone")
    assert f"labels: {len(found)} of 400 may be wrong, about" in capsys.readouterr().out
    before = outputs(tmp_path)
    assert "label_issues.png" in before
    run(tmp_path, transfer)  # now with cached features
    assert outputs(tmp_path) == before


def decide(top, labels):
    """Write `labels` into the split, as decisions would; those of None are excluded."""
    table = frames.read(top / "split.csv", escape=False)
    table.loc[[label is None for label in labels], "split"] = packed.LEFT_OUT
    table["label"] = [label or old for label, old in zip(labels, table["label"], strict=True)]
    frames.write(top / "split.csv", table, escape=False)


def test_corrected_labels_are_compared_with_those_of_the_source_on_the_same_test_images(tmp_path):
    # A fifth of the sevens and more are in the folder of the eights: the kind of error that no model averages out.
    digits = load_digits().target[:1000]
    wrong = [row for row, number in enumerate(digits) if number in (7, 1) and row % 5 < 3]
    truth = write_digits(tmp_path, count=1000, wrong=wrong)
    assert run(tmp_path)[0]["corrected"] is None
    decide(tmp_path, truth)
    tests = packed.read_split(tmp_path / "split.csv").rows("test")
    found = run(tmp_path)[0]["corrected"]
    changed = len(set(wrong) & set(tests))
    assert (found["train"], found["test"], found["images"]) == (len(wrong) - changed, changed, len(tests))
    assert changed > 0
    assert found["after"] > 0.9 > found["before"] + 0.05
    assert (found["verdict"], found["p_value"] < 0.05) == ("better", True)


def test_nothing_is_compared_where_only_test_images_changed_or_all_training_images_are_one_group(tmp_path):
    truth = write_digits(tmp_path, classes=2, count=60)
    split = packed.read_split(tmp_path / "split.csv")
    tests = set(split.rows("test").tolist())
    decide(tmp_path, ["digit 0" if row in tests else name for row, name in enumerate(truth)])
    assert run(tmp_path)[0]["corrected"] is None
    write_digits(tmp_path, classes=2, count=60, wrong=split.rows("train")[:3].tolist())
    decide(tmp_path, truth)
    table = frames.read(tmp_path / "split.csv", escape=False)
    table.loc[table["split"] != "test", "group"] = "0"
    frames.write(tmp_path / "split.csv", table, escape=False)
    assert run(tmp_path)[0]["corrected"] is None


def test_a_network_that_was_trained_with_these_classes_is_not_used(tmp_path):
    factories.write_packed(tmp_path / "packed", classes=("Cat", "dog", "lorry"))
    factories.write_split(tmp_path / "split.csv", tmp_path / "packed")
    fetch(tmp_path)
    summary, _ = run(tmp_path, BACKBONE)
    assert (summary["features"], summary["seen"]) == ("HOG features", {"backbone": ["Cat", "dog"]})
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("column", "values", "measure"),
    [
        ("bytes", lambda label, row: 1000 * (1 + label // 5) + row, "the file size"),
        ("quantization", lambda label, row: f"{label // 5:08}", "the JPEG quantisation tables"),
        ("camera", lambda label, row: "Maker M1" if label == 3 or row % 9 else "", ""),
    ],
)
def test_a_planted_shortcut_is_a_warning_with_images(tmp_path, capsys, column, values, measure):
    truth = write_digits(tmp_path, count=200)
    digits = [int(name.removeprefix("digit ")) for name in truth]
    factories.write_files(
        tmp_path / "packed", format="JPEG", **{column: [values(*pair) for pair in zip(digits, range(200), strict=True)]}
    )
    summary, _ = run(tmp_path)
    strong = [each["measure"] for each in summary["shortcuts"] if each["is_shortcut"]]
    assert strong == ([measure] if measure else [])
    assert (
        f"warning: these predict the class without the rest of the image: {measure}" in capsys.readouterr().err
    ) == bool(measure)
    assert (tmp_path / "out" / "shortcuts.png").exists() == bool(measure)
    found = {each["measure"]: each for each in summary["shortcuts"]}
    assert set(found) == {measure or "the camera", "the mean colour"}
    if measure == "the camera":
        assert found[measure]["auc"] < 0.75


def test_two_classes(tmp_path):
    write_digits(tmp_path, count=100, classes=2, wrong={10, 50})
    summary, found = run(tmp_path)
    assert set(found["image"][:2]) == {"=digits/10.png", "=digits/50.png"}
    assert summary["probable"] >= 2


def test_a_class_with_one_group_is_counted_and_never_listed(tmp_path):
    write_digits(tmp_path, count=100, alone=(3, 4))
    summary, found = run(tmp_path)
    assert summary["unchecked"] == 2
    assert "other" not in set(found["label"])


def test_a_single_class_has_nothing_to_compare(tmp_path, capsys):
    write_digits(tmp_path, count=10, classes=2)
    table = packed.read_rows(tmp_path / "packed" / "index.csv")
    factories.write_csv(
        tmp_path / "packed" / "index.csv", list(table[0]), [[*{**row, "label": "digit"}.values()] for row in table]
    )
    factories.write_split(tmp_path / "split.csv", tmp_path / "packed")
    summary, found = run(tmp_path)
    assert "planted" not in summary
    assert found.empty
    assert next(iter(found.columns)) == "image"
    assert "labels: 0 of 10 may be wrong (HOG features)" in capsys.readouterr().out


def test_a_failure_leaves_the_old_results(tmp_path, monkeypatch):
    write_digits(tmp_path, count=100)
    run(tmp_path)
    before = outputs(tmp_path)
    monkeypatch.setattr(labels.results, "figure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)
    assert outputs(tmp_path) == before
    assert not (tmp_path / ".out.partial").exists()


def test_missing_weights_are_reported(tmp_path):
    write_digits(tmp_path, count=40)
    fetch(tmp_path)
    shutil.rmtree(tmp_path / "pretrained")
    with pytest.raises(FileNotFoundError):
        run(tmp_path, BACKBONE)
