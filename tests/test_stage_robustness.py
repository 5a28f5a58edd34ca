import json

import numpy as np
import pytest

from darkroom import packed
from darkroom.evaluation.checks.robustness import Robustness, pick
from darkroom.foundations import files
from stages import robustness
from tests import factories
from tests.test_stage_evaluate import rows


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    top = factories.write_project(tmp_path_factory.mktemp("project"), networks=("small",))
    files.write_json(top / "models" / "best.json", {"name": "small"})
    return top


def run(top):
    places = {
        "params": "params.yaml",
        "best": "models/best.json",
        "candidates": "models/candidates",
        "packed": "data/packed",
        "split": "data/split.csv",
        "metrics": "metrics/robustness.json",
        "out": "plots/robustness",
    }
    robustness.main([part for name, place in places.items() for part in (f"--{name}", str(top / place))])
    return json.loads((top / "plots" / "robustness" / "summary.json").read_text(encoding="utf-8"))


def outputs(top):
    return [path.read_bytes() for path in sorted((top / "plots" / "robustness").iterdir())]


def test_every_corruption_is_measured_and_drawn(top, capsys):
    found = run(top)
    assert found["images"] == 20
    assert len(found["corruptions"]) == 7
    assert found["mean_corruption_accuracy"] == pytest.approx(np.mean(list(found["corruptions"].values())))
    assert found["mean_corruption_accuracy_low"] <= found["mean_corruption_accuracy"] < found["clean_accuracy"]
    lines = rows(top / "plots" / "robustness" / "robustness.csv")
    assert [line["strength"] for line in lines] == ["0", "1", "2", "3"] * 7
    assert {float(line["accuracy"]) for line in lines if line["strength"] == "0"} == {found["clean_accuracy"]}
    assert "on 20 test images" in capsys.readouterr().out
    first = outputs(top)
    assert len(first) == 4
    compared = files.read_json(top / "metrics" / "robustness.json")
    assert compared == {"images": 20, "mean_corruption_accuracy": round(found["mean_corruption_accuracy"], 4)}
    assert run(top) == found
    assert outputs(top) == first


def test_it_can_be_left_out(top):
    text = (top / "params.yaml").read_text(encoding="utf-8")
    files.write_text(top / "params.yaml", text.replace("images: 20", "images: 0"))
    assert run(top) == files.read_json(top / "metrics" / "robustness.json") == {"images": 0}
    assert len(outputs(top)) == 1
    files.write_text(top / "params.yaml", text)


def test_a_choice_of_test_images_is_random_but_always_the_same(top):
    split = packed.read_split(top / "data" / "split.csv")
    assert pick(split, 99, 0).tolist() == split.rows("test").tolist()
    chosen = pick(split, 5, 0)
    assert sorted(set(chosen) & set(split.rows("test"))) == chosen.tolist() == pick(split, 5, 0).tolist()


def test_the_mean_is_over_corruptions_and_strengths():
    right = np.array([True, True, False, False])
    found = Robustness(right, {"a": [right, ~right], "b": [right, right]})
    assert found.mean() == 0.5
    assert found.accuracies() == {"a": [0.5, 0.5], "b": [0.5, 0.5]}
    low, high = found.interval(0)
    assert 0.25 <= low < 0.5 < high <= 0.75
