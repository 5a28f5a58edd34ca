import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from darkroom import candidate
from darkroom.training import baseline
from darkroom.training.settings import BaselineSettings


@pytest.mark.parametrize("size", [8, 16, 30, 64])
def test_features_are_finite_for_any_size(size):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    features = baseline.features(images, BaselineSettings(cells=8))
    assert features.shape[0] == 3
    assert features.shape[1] > 0
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_small_images_are_enlarged_first():
    small = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small]
    settings = BaselineSettings()
    assert np.array_equal(baseline.features(small, settings), baseline.features(np.stack(large), settings))


def test_features_do_not_depend_on_the_company():
    images = np.random.default_rng(0).integers(0, 256, (1100, 8, 8, 3), dtype=np.uint8)
    settings = BaselineSettings(cells=4)
    assert np.array_equal(
        baseline.features(images, settings)[1000:1003], baseline.features(images[1000:1003], settings)
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_the_folded_classifier_answers_like_scikit_learn(classes):
    random = np.random.default_rng(0)
    labels = np.arange(90) % classes
    features = (random.normal(size=(90, 5)) * [1, 10, 0.1, 1, 1] + labels[:, None] * [1, 5, 0, 0, 0]).astype(np.float32)
    settings = BaselineSettings(strengths=[1.0])
    linear = baseline.fit((features, labels), (features, labels), classes, settings)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=1.0, max_iter=200, tol=1e-3).fit(scaler.transform(features), labels)
    expected = model.predict_proba(scaler.transform(features))
    assert candidate.softmax(linear.logits(features)) == pytest.approx(expected, abs=1e-4)


def test_validation_chooses_the_strength():
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 30)).astype(np.float32)
    labels = (features[:, 0] + random.normal(size=40) > 0).astype(np.int64)
    settings = BaselineSettings(strengths=[1e-4, 0.01, 100.0])
    linear = baseline.fit((features[:20], labels[:20]), (features[20:], labels[20:]), 2, settings)
    losses = []
    for strength in settings.strengths:
        alone = BaselineSettings(strengths=[strength])
        other = baseline.fit((features[:20], labels[:20]), (features[20:], labels[20:]), 2, alone)
        probabilities = candidate.softmax(other.logits(features[20:]))
        losses.append(-np.log(probabilities[np.arange(20), labels[20:]]).mean())
    assert linear.strength == settings.strengths[int(np.argmin(losses))]


def test_balance_gives_the_rare_class_the_same_say():
    random = np.random.default_rng(0)
    labels = np.array([0] * 190 + [1] * 10)
    features = random.normal(size=(200, 4)).astype(np.float32) + labels[:, None]
    found = {}
    for balanced in (False, True):
        linear = baseline.fit((features, labels), (features, labels), 2, BaselineSettings(), balanced)
        found[balanced] = (linear.logits(features).argmax(1) == labels)[labels == 1].mean()
    assert found[True] > found[False] + 0.2
