"""Shortcuts: properties that predict the class without the object."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from darkroom import frames, images, packed
from darkroom.data.pack import traits
from darkroom.evaluation.labels import shortcuts
from darkroom.evaluation.labels.shortcuts import Result
from darkroom.packed import Record
from darkroom.training import held_out
from tests import factories

NAMES = (
    "the file size", "the image size", "the aspect ratio", "the file format", "the JPEG quantisation tables",
    "the camera", "the hour of the day", "the border colour", "the mean colour", "the sharpness",
)  # fmt: skip


def measured(folder, rows=None):
    images, records = packed.open_images(folder), packed.read_index(folder)
    rows = np.arange(len(records)) if rows is None else rows
    return {each.name: each for each in shortcuts.measures(images, records, frames.read(folder / "files.csv"), rows)}


def test_what_all_images_have_in_common_is_no_measure(tmp_path):
    folder = factories.write_packed(tmp_path, size=32)
    assert list(measured(folder)) == list(NAMES[-3:])
    count = 120
    columns = {name: [str(row % 3) for row in range(count)] for name in ("format", "quantization", "camera", "hour")}
    factories.write_files(folder, bytes=list(range(count)), **columns)
    found = measured(folder, np.arange(0, count, 2))
    assert set(found) == set(NAMES) - {"the image size", "the aspect ratio"}
    assert found["the camera"].features.shape == (60, 3)
    assert found["the file size"].features.shape == (60, shortcuts.BINS)
    for each in found.values():
        assert set(np.unique(each.features)) <= {0, 1}
    assert (found["the camera"].features.sum(axis=1) == 1).all()


def test_border_colour_mean_colour_and_sharpness_are_those_of_the_packed_image(tmp_path):
    folder = factories.write_packed(tmp_path, per_class=8, size=32)
    images = np.full((24, 32, 32, 3), 100, np.uint8)
    images[:12, 1:-1, 1:-1] = 200  # another centre, the same border
    np.save(folder / "images.npy", images)
    found = measured(folder)
    assert set(found) == {"the mean colour", "the sharpness"}
    images[:12] = 100
    images[:12, 0] = [0, 0, 90]
    np.save(folder / "images.npy", images)
    codes = measured(folder)["the border colour"].features
    assert len(np.unique(codes, axis=0)) == 2
    assert (codes[:12] == codes[0]).all()


@pytest.mark.parametrize(("form", "bound"), [("JPEG", shortcuts.FILE), ("PNG", shortcuts.CONTENT)])
def test_the_size_of_lossless_files_depends_on_their_content_and_so_do_the_borders_of_tiny_images(
    tmp_path, form, bound
):
    folder = factories.write_packed(tmp_path, size=28)
    factories.write_files(folder, bytes=list(range(120)), format=form)
    found = measured(folder)
    assert set(found) == {"the file size", "the mean colour"}
    assert found["the file size"].bound == bound


def test_permuted_labels_keep_groups_together_and_the_classes():
    labels, groups = np.arange(60) // 20, np.arange(60) // 4
    found = shortcuts.permuted(labels, groups, seed=0)
    assert len(found) == shortcuts.PERMUTATIONS
    for each in found:
        assert all(len(np.unique(each[groups == group])) == 1 for group in range(15))
        assert np.bincount(each).tolist() == [20, 20, 20]
    assert any(not np.array_equal(each, labels) for each in found)


def test_the_separation_is_the_area_under_the_roc_curve():
    generator = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 30 + [2] * 4)
    scores = generator.normal(0, 1, (94, 3)).astype(np.float32).round(1)  # with ties
    scores[labels == 1, 1] += 1
    found = shortcuts.separation(scores, labels)
    for label in (0, 1):
        assert found[label] == pytest.approx(roc_auc_score(labels == label, scores[:, label]))
    assert np.isnan(found[2])  # too small


def test_the_class_that_is_separated_best_is_compared_with_random_labels():
    labels = np.arange(60) % 3
    measure = shortcuts.Measure("the camera", np.zeros((60, 2), np.float16), 0.75)
    good = np.zeros((60, 3), np.float32)
    good[labels == 2, 2] = 1
    found = shortcuts.compare(measure, [good, np.zeros((60, 3), np.float32)], [labels, labels])
    assert found == Result("the camera", 2, 1.0, 0.5, 0.75)
    assert shortcuts.compare(measure, [good[:6], good[:6]], [labels[:6], labels[:6]]) is None


@pytest.mark.parametrize(("auc", "chance", "strong"), [(0.8, 0.7, True), (0.8, 0.81, False), (0.74, 0.6, False)])
def test_a_shortcut_is_above_its_bound_and_above_random_labels(auc, chance, strong):
    result = Result("the camera", 1, auc, chance, 0.75)
    assert result.is_shortcut is strong
    assert shortcuts.summarise([result], ["cat", "dog"]) == [
        {"measure": "the camera", "label": "dog", "auc": auc, "chance": chance, "bound": 0.75, "is_shortcut": strong}
    ]


def test_the_selection_is_bounded_and_random():
    assert np.array_equal(shortcuts.choose(100, 10, 0), np.arange(100))
    assert len(shortcuts.choose(60_000, 10, 0)) == shortcuts.MOST
    assert len(shortcuts.choose(60_000, 1_000, 0)) == 250
    assert not np.array_equal(shortcuts.choose(60_000, 10, 0), shortcuts.choose(60_000, 10, 1))


def test_examples_show_the_class_and_its_opposite():
    labels = np.repeat(np.arange(2), 10)
    scores = np.stack([-np.arange(20), np.arange(20)], axis=1).astype(np.float32)
    own, others = shortcuts.examples(scores, labels, 1, images=3)
    assert own.tolist() == [19, 18, 17]
    assert others.tolist() == [0, 1, 2]


@pytest.mark.shared
def test_the_cats_of_the_sample_animals_are_from_another_source(shared):
    """Their names end in _640.jpg and those of the others start with OIP, so file facts are shortcuts, with reason."""
    with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
        names = sorted(name for name in archive.namelist() if "raw-img/" in name and not name.endswith("/"))
        contents = [archive.read(name) for name in names]
    assert {name.split("/")[-2] for name in names if name.endswith("_640.jpg")} == {"gatto"}
    decoded = [images.decode(content, 32) for content in contents]
    classes, labels = np.unique([name.split("/")[-2] for name in names], return_inverse=True)
    pairs = list(zip(names, decoded, strict=True))
    records = [Record(name, name.split("/")[-2], "", each.width, each.height, "", "") for name, each in pairs]
    table = pd.DataFrame([traits.read(content) for content in contents])
    rows = np.arange(len(names))
    labellings = [labels, *shortcuts.permuted(labels, rows, seed=0)]
    found = {}
    for measure in shortcuts.measures(np.stack([each.pixels for each in decoded]), records, table, rows):
        scored = held_out.cross_validate(measure.features, labels, rows, 10, 0, lambda _: labellings[1:], repeats=1)
        found[measure.name] = shortcuts.compare(measure, [each.scores for each in scored], labellings)
    strong = {name: classes[each.label] for name, each in found.items() if each.is_shortcut}
    assert set(strong) == {
        "the file size", "the image size", "the JPEG quantisation tables", "the camera", "the hour of the day",
    }  # fmt: skip
    assert set(strong.values()) == {"gatto"}
    assert set(found) - set(strong) == {"the aspect ratio", "the border colour", "the mean colour", "the sharpness"}
