import pytest

from darkroom.foundations import files
from stages import describe
from tests import factories
from tests.test_stage_evaluate import run as evaluate


def run(top):
    arguments = {
        "params": "params.yaml",
        "candidates": "models/candidates",
        "best": "models/best.json",
        "data": "metrics/data.json",
        "evaluation": "plots/tables/scores.json",
        "card": "data/card.md",
        "per-class": "plots/per_class.csv",
        "confusion": "plots/confusion.csv",
        "tables": "plots/tables",
        "robustness": "plots/robustness/summary.json",
        "out": "models/model_card.md",
    }
    describe.main([part for name, path in arguments.items() for part in (f"--{name}", str(top / path))])
    return (top / "models" / "model_card.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    top = factories.write_project(tmp_path_factory.mktemp("project"))
    evaluate(top)
    return top


def test_the_card_describes_the_best_model_and_its_scores(project):
    card = run(project)
    scores = files.read_json(project / "plots" / "tables" / "scores.json")["candidates"]["small"]["test"]
    assert card.startswith(f"# Model card: small\n\nsmall reaches an accuracy of {scores['accuracy']:.1%} on 24 test")
    assert "a probability for each of 3 classes: cat, dog and frog" in card
    assert f"| macro F1 | {scores['macro_f1']:.3f} | {scores['macro_f1_low']:.3f} – " in card
    assert (
        "- All classes have fewer than 30 test images, so their scores are unreliable: cat (8), dog (8) and frog (8)."
        in card
    )
    assert "CC0" in card.split("## Licence")[1]
    for heading in ("Intended use", "Data", "Performance", "Confidence", "Limitations", "Licence"):
        assert f"\n## {heading}\n" in card


def test_the_card_does_not_depend_on_the_training_time(project):
    before = run(project)
    for path in (project / "models" / "candidates").glob("*/card.json"):
        files.write_json(path, files.read_json(path) | {"seconds": 99.0})
    assert run(project) == before
