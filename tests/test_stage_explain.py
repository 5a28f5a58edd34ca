import numpy as np
import pytest
from PIL import Image

from darkroom.evaluation.checks import explanations
from darkroom.foundations import files
from darkroom.predictor import Predictor
from stages import explain
from tests import factories


@pytest.mark.parametrize(("noise", "wrong"), [(1, 0), (120, 4)])
def test_correct_and_wrong_predictions_are_drawn(tmp_path, capsys, noise, wrong):
    top = factories.write_project(tmp_path, networks=("small",), noise=noise)
    files.write_json(top / "models" / "best.json", {"name": "small"})
    scores = {"candidates": {"small": {"temperature": 0.5}}}
    files.write_json(top / "plots" / "tables" / "scores.json", scores)
    places = {
        "params": "params.yaml",
        "best": "models/best.json",
        "candidates": "models/candidates",
        "packed": "data/packed",
        "split": "data/split.csv",
        "evaluation": "plots/tables/scores.json",
        "out": "plots/explanations",
    }
    explain.main([part for name, place in places.items() for part in (f"--{name}", str(top / place))])
    assert f"6 correct and {wrong} wrong predictions" in capsys.readouterr().out
    with Image.open(top / "plots" / "explanations" / "explanations.png") as image:
        image.verify()
    predictor = Predictor(top / "models" / "candidates" / "small", temperature=0.5)
    assert predictor.card.temperature == 0.5


def test_correct_predictions_cover_as_many_classes_as_possible():
    labels = np.repeat([0, 1, 2], [80, 6, 4])
    predicted = labels.copy()
    predicted[:10] = 1
    right, wrong = explanations.choose(predicted, labels, 0)
    assert np.bincount(labels[right]).tolist() == [2, 2, 2]
    assert len(wrong) == explanations.WRONG
    assert (predicted[wrong] != labels[wrong]).all()
    assert explanations.choose(predicted, labels, 0) == (right, wrong)
    assert explanations.choose(1 - labels[:80], labels[:80], 0)[0] == []
