"""A model answers in one way, and without telling anybody."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom import candidate
from darkroom.packed import open_packed
from darkroom.predictor import Predictor, interpret
from darkroom.thresholds import Outputs, Thresholds
from tests import factories

ROOT = Path(__file__).parents[1]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a candidate beside the images that it was fitted to."""
    folder = factories.write_packed(tmp_path / "packed")
    split = factories.write_split(tmp_path / "split.csv", folder)
    factories.write_candidate(tmp_path / "small", folder, split)
    return tmp_path


def test_answers_keep_the_place_of_what_is_no_image(small: Path) -> None:
    predictor = Predictor(small / "small", threads=1)
    first, second = np.asarray(open_packed(small / "packed").images[:2])
    answers = predictor.answer(["damaged", first, "empty", second])
    assert [answers[0], answers[2]] == ["damaged", "empty"]
    assert predictor.answer(["damaged"]) == ["damaged"]
    expected = predictor.probabilities(np.stack([first, second]))
    for answer, row in zip((answers[1], answers[3]), expected, strict=True):
        assert not isinstance(answer, str)
        np.testing.assert_array_equal(answer.probabilities, row)
        assert (answer.confident, answer.in_distribution) == (None, None)
        order = np.argsort(-row, kind="stable")[:2]
        classes = predictor.card.classes
        assert answer.top(classes, 2) == [(classes[index], row[index]) for index in order]


def test_thresholds_decide_whether_an_answer_is_confident(small: Path) -> None:
    card = candidate.read_card(small / "small")
    thresholds = Thresholds("max_probability", known=0.4, confident=0.6, coverage=0.9)
    logits = np.zeros((3, len(card.classes)), np.float32)
    logits[:, 0] = 0, 0.9, 5
    answers = interpret(Outputs(logits), replace(card, thresholds=thresholds))
    largest = [answer.probabilities.max() for answer in answers]
    assert largest[0] < 0.4 < largest[1] < 0.6 < largest[2]
    assert [answer.in_distribution for answer in answers] == [False, True, True]
    assert [answer.confident for answer in answers] == [False, False, True]


def test_many_images_are_predicted_in_parts(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, images = Predictor(small / "small", threads=1), open_packed(small / "packed").images
    whole = predictor.logits(np.asarray(images))
    sizes, logits = [], Predictor.logits
    monkeypatch.setattr(candidate, "chunk_size", lambda _: 7)
    monkeypatch.setattr(Predictor, "logits", lambda self, part: sizes.append(len(part)) or logits(self, part))
    np.testing.assert_allclose(predictor.logits_in_parts(images), whole, atol=1e-5)
    assert sizes == [7] * (len(images) // 7) + [len(images) % 7] * bool(len(images) % 7)
    rows = np.array([5, 3, *range(10, 20)])
    expected = candidate.softmax(whole[rows])
    np.testing.assert_allclose(predictor.probabilities(images, rows), expected, atol=1e-5)


def test_commands_and_the_service_have_no_second_way_from_logits_to_an_answer() -> None:
    package = ROOT / "src" / "darkroom"
    paths = [path for room in ("commands", "serving") for path in (package / room).rglob("*.py")]
    assert len(paths) > 20
    found = {
        (path.name, word) for path in paths for word in ("softmax", ".verdicts(") if word in path.read_text("utf-8")
    }
    # Packaging compares the served answers with the evaluated logits; the others score evaluated logits.
    assert found == {(name, "softmax") for name in ("packaging.py", "ranking.py", "trials.py", "unlabelled.py")}


def test_onnxruntime_keeps_no_record_to_report(small: Path, tmp_path: Path) -> None:
    """Unless its telemetry is turned off, it creates a file in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    code = "import sys, pathlib; from darkroom.predictor import Predictor; Predictor(pathlib.Path(sys.argv[1]))"
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    subprocess.run([sys.executable, "-c", code, str(small / "small")], env=environment, check=True)
    assert list(home.rglob("*")) == []
