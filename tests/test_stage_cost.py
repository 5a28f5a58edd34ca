from darkroom.foundations import files
from stages import cost
from tests import factories
from tests.test_stage_evaluate import rows


def run(top):
    test = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}
    candidates = {name: {"test": test} for name in ("baseline", "small", "large")}
    files.write_json(top / "evaluation.json", {"best": {"name": "small"}, "candidates": candidates})
    places = {
        "params": "params.yaml",
        "candidates": "models/candidates",
        "evaluation": "evaluation.json",
        "metrics": "cost.json",
        "out": "cost",
    }
    cost.main([part for name, place in places.items() for part in (f"--{name}", str(top / place))])


def test_a_single_network_is_measured_but_not_drawn(tmp_path):
    run(factories.write_project(tmp_path, networks=("small",)))
    assert [path.name for path in (tmp_path / "cost").iterdir()] == ["cost.csv"]


def test_every_network_is_measured(tmp_path, capsys):
    top = factories.write_project(tmp_path)
    run(top)
    assert sorted(line.split(":")[0] for line in capsys.readouterr().out.splitlines()) == ["large", "small"]
    costs = rows(top / "cost" / "cost.csv")
    assert [each["candidate"] for each in costs] == ["small", "large"]
    for each in costs:
        assert float(each["milliseconds"]) > 0
        assert int(each["parameters"]) == 16 * 16 * 3 * 3 + 3
        assert 0.005 < float(each["megabytes"]) < 0.02
        assert (each["training_seconds"], each["test_accuracy"]) == ("12.5", "0.9")
    compared = files.read_json(top / "cost.json")
    assert compared["megabytes"] == round(float(costs[0]["megabytes"]), 2)
    assert compared["milliseconds"] == float(f"{float(costs[0]['milliseconds']):.0e}")

    assert (top / "cost" / "cost.png").stat().st_size > 0
