import numpy as np
import pytest

from darkroom.evaluation.abstention import MAX_CONFIDENT, POINTS, fit, measure, risk_coverage
from darkroom.evaluation.checks import out_of_distribution
from darkroom.thresholds import Outputs, Thresholds

RANDOM = np.random.default_rng(0)


def logits(rows, height, lead):
    """Return logits of three classes around `height`, of which one leads by about `lead`."""
    values = RANDOM.normal(height, 1, (rows, 3))
    values[np.arange(rows), RANDOM.integers(0, 3, rows)] += lead
    return Outputs(values.astype(np.float32))


@pytest.mark.parametrize(
    ("outside", "score"),
    [(logits(200, -9, 6), "energy"), (logits(200, 4, 0), "max_probability")],
    ids=["confident but low", "unsure but high"],
)
@pytest.mark.parametrize("coverage", [0.8, 0.95, 1.0])
def test_the_score_that_separates_best_is_used_and_the_coverage_kept(outside, score, coverage):
    validation = logits(300, 0, 6)
    thresholds = fit(validation, {"strange": outside}, 1.5, coverage, coverage)
    assert thresholds.score == score
    known, confident = thresholds.verdicts(validation, 1.5)
    assert coverage <= confident.mean() <= coverage + 0.02
    assert thresholds.coverage == confident.mean()
    assert known.mean() >= (1 + coverage) / 2
    selective = measure(thresholds, 1.5, validation, np.ones(300, dtype=np.bool_), {"strange": outside})
    assert selective.out_of_distribution["strange"].auroc > 0.9
    assert selective.out_of_distribution["strange"].confident <= selective.out_of_distribution["strange"].accepted
    if coverage < 1:
        assert selective.out_of_distribution["strange"].confident < 0.1


def test_the_threshold_rises_until_few_of_each_kind_are_confident_or_coverage_is_at_its_least():
    validation, near = logits(1000, 0, 6), logits(1000, 0, 4)
    kinds = {"far": logits(1000, -20, 6), "near": near}
    passing = {}
    for least in (0.95, 0.85, 0.01):
        thresholds = fit(validation, kinds, 1.0, 0.95, least)
        assert thresholds.coverage >= least - 1e-9
        passing[least] = thresholds.verdicts(near, 1.0)[1].mean()
    assert passing[0.95] > passing[0.85] > passing[0.01] > MAX_CONFIDENT - 0.03
    assert passing[0.01] <= MAX_CONFIDENT
    easy = fit(validation, {"far": kinds["far"]}, 1.0, 0.95, 0.01)  # nothing to gain: as many as asked for
    assert 0.95 <= easy.coverage <= 0.96


def similar(outputs, mean):
    """Return the outputs with similarities around `mean`."""
    return Outputs(outputs.logits, RANDOM.normal(mean, 0.05, len(outputs.logits)).astype(np.float32))


@pytest.mark.parametrize(
    ("outside", "score"),
    [
        ([similar(logits(200, 0, 6), 0.5), similar(logits(200, 0, 6), 0.6)], "neighbors"),
        ([similar(logits(200, 0, 6), 0.5), similar(logits(200, -9, 6), 0.95)], "neighbors_energy"),
        ([similar(logits(200, -9, 6), 0.95), similar(logits(200, -9, 6), 0.95)], "energy"),
    ],
    ids=["confident but far from training images", "far or low", "low but near"],
)
def test_similarity_to_training_images_is_used_if_it_separates_best(outside, score):
    validation = similar(logits(300, 0, 6), 0.95)
    kinds = dict(zip(["one", "two"], outside, strict=True))
    thresholds = fit(validation, kinds, 1.5, 0.9, 0.9)
    assert thresholds.score == score
    assert (thresholds.energy_weight > 0) is (score == "neighbors_energy")
    selective = measure(thresholds, 1.5, validation, np.ones(300, dtype=np.bool_), kinds)
    assert 0.9 <= selective.confident <= 0.92
    for kind in kinds:
        assert selective.out_of_distribution[kind].auroc > 0.95
        assert selective.out_of_distribution[kind].accepted < 0.1
    without = fit(Outputs(validation.logits), kinds, 1.5, 0.9, 0.9)  # an older candidate
    assert without.score in ("max_probability", "energy")


def test_accuracy_is_that_of_the_confident_answers():
    values = Outputs(np.array([[9, 0], [9, 0], [9, 0], [0.1, 0]], dtype=np.float32))
    right = np.array([True, True, False, False])
    selective = measure(Thresholds("max_probability", 0.5, 0.9, 0.75), 1.0, values, right, {"same": values})
    assert (selective.in_distribution, selective.confident, selective.confident_accuracy) == (1.0, 0.75, 2 / 3)
    assert (selective.out_of_distribution["same"].auroc, selective.out_of_distribution["same"].confident) == (0.5, 0.75)
    never = measure(Thresholds("energy", 99.0, 0.9, 0.0), 1.0, values, right, {})
    assert (never.confident, never.confident_accuracy, never.confident_accuracy_low) == (0.0, None, None)


def test_risk_coverage_takes_the_most_confident_first_and_ties_together():
    confidence = np.array([0.9, 0.7, 0.7, 0.6])
    right = np.array([True, False, True, False])
    assert risk_coverage(confidence, right) == [(0.25, 0.0, 0.9), (0.75, 1 / 3, 0.7), (1.0, 0.5, 0.6)]
    many = risk_coverage(RANDOM.random(10_000), RANDOM.random(10_000) < 0.9)
    assert len(many) == POINTS
    assert many[-1][0] == 1.0


@pytest.mark.parametrize("side", [16, 21, 8])
def test_generated_images_are_valid_and_reproducible(side):
    images = RANDOM.integers(0, 256, (10, side, side, 3), dtype=np.uint8)
    images_by_kind = out_of_distribution.generated(images, 3, count=12)
    assert {kind: (part.shape, part.dtype) for kind, part in images_by_kind.items()} == {
        kind: ((12, side, side, 3), np.dtype(np.uint8)) for kind in ("noise", "plain", "shuffled")
    }
    assert all(
        (out_of_distribution.generated(images, 3, count=12)[kind] == part).all()
        for kind, part in images_by_kind.items()
    )
    assert (images_by_kind["plain"] == images_by_kind["plain"][:, :1, :1]).all()
    for shuffled in images_by_kind["shuffled"]:
        assert any((np.sort(shuffled.ravel()) == np.sort(image.ravel())).all() for image in images)
        assert not any((shuffled == image).all() for image in images)


@pytest.mark.parametrize(
    ("classes", "kinds"), [(["cat", "dog"], ["photographs", "digits"]), (["3", "8"], ["photographs"])]
)
def test_digits_are_omitted_for_classes_of_digits(classes, kinds):
    found = out_of_distribution.bundled(16, classes, 0, count=9)
    assert list(found) == kinds
    for part in found.values():
        assert part.shape == (9, 16, 16, 3)
        assert part.dtype == np.uint8
        assert part.std() > 20


@pytest.mark.parametrize(
    ("classes", "digits"),
    [
        (["cat", "dog"], True),
        (["7", "cat"], False),
        (["digit_3"], False),
        (["07"], False),
        (["Seven"], False),
        (["class 10", "class 25"], True),
        (["v2 engine"], True),
    ],
)
def test_class_names_that_suggest_digits_omit_digits(classes, digits):
    assert ("digits" in out_of_distribution.bundled(8, classes, 0, 2)) == digits
