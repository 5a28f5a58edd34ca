"""The training stages as DVC runs them, on a small generated set."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from darkroom import candidate, packed
from darkroom.candidate import softmax
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Predictor
from darkroom.training.engine import callbacks, loop
from darkroom.training.transfer import backbones, choice, probe
from stages import baseline, pretrained, scratch, transfer
from tests import factories
from tests.web import Web, serve

PARAMS = """\
dataset: tiny
seed: 0
device: cpu
deterministic: false
datasets:
  tiny:
    source: {{kind: folder}}
    augment: {{shift: 1}}
    training: {{epochs: 3, batch_size: 16}}
baseline: {{cells: 4, strengths: [1.0]}}
scratch:
  first: {{architecture: resnet9, width: 4, learning_rate: 0.05, average: 0.9}}
transfer:
  second: {{weights: "{weights}", sha256: "{sha256}", method: finetune, optimizer: sgd, learning_rate: 0.05}}
  probed: {{weights: "{weights}", sha256: "{sha256}"}}
select: {{folds: 5}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which all training stages have run."""
    top = tmp_path_factory.mktemp("training")
    factories.write_packed(top / "packed", per_class=60, noise=20)
    packed.write_fit(top / "packed", "pad")
    factories.write_split(top / "split.csv", top / "packed")
    write_params(top)
    data = ["--params", f"{top}/params.yaml", "--packed", f"{top}/packed", "--split", f"{top}/split.csv"]
    baseline.main(["--dataset", "tiny", *data, "--out", f"{top}/baseline"])
    data += ["--checkpoints", f"{top}/checkpoints"]
    scratch.main(["first", "--dataset", "tiny", *data, "--out", f"{top}/first"])
    write_params(top, files.sha256(top / "first" / "weights.safetensors"))
    for name in ("second", "probed"):
        fetch(name, top / "params.yaml", top / f"pretrained-{name}")
        arguments = [name, "--dataset", "tiny", *data, "--features", f"{top}/features"]
        transfer.main([*arguments, "--pretrained", f"{top}/pretrained-{name}", "--out", f"{top}/{name}"])
    return top


def fetch(name: str, params: Path, out: Path) -> None:
    folders = ["--backbones", f"{params.parent}/backbones", "--downloads", f"{params.parent}/downloads"]
    pretrained.main([name, "--params", str(params), *folders, "--out", str(out)])


def write_params(top: Path, sha256: str = "0" * 64) -> Path:
    path = top / "params.yaml"
    path.write_text(PARAMS.format(weights=(top / "first").as_posix(), sha256=sha256))
    return path


NETWORK_FILES = {
    "augmented.png",
    "card.json",
    "history",
    "model.onnx",
    "neighbors.npz",
    "predictions.npz",
    "weights.safetensors",
}


@pytest.mark.parametrize("name", ["baseline", "first", "second", "probed"])
def test_a_stage_leaves_a_whole_candidate(place, name):
    folder = place / name
    expected = {
        "baseline": {"card.json", "predictions.npz", "weights.safetensors"},
        "probed": NETWORK_FILES - {"history", "augmented.png"} | {"folds.json"},
    }.get(name, NETWORK_FILES)
    assert {path.name for path in folder.iterdir()} == expected
    card = candidate.read_card(folder)
    assert card.name == name
    assert card.kind == {"baseline": "baseline", "first": "scratch"}.get(name, "transfer")
    assert card.classes == list(factories.CLASSES)
    assert card.fit == "pad"  # as in the packed folder
    assert card.data == packed.fingerprint(place / "packed", place / "split.csv")
    assert card.parameters > 0
    assert card.seconds > 0
    split = packed.read_split(place / "split.csv")
    predictions = candidate.read_predictions(folder)
    for part, logits in (("validation", predictions.validation), ("test", predictions.test)):
        rows = split.rows(part)
        assert logits.shape == (len(rows), 3)
        assert logits.dtype == np.float32
        # Gradients say nothing about these patterns, so the baseline may fail at them.
        assert name == "baseline" or (logits.argmax(1) == split.labels[rows]).mean() > 0.5


@pytest.mark.parametrize("name", ["first", "second", "probed"])
def test_the_exported_model_answers_as_judged(place, name):
    split = packed.read_split(place / "split.csv")
    images = packed.open_packed(place / "packed").images[split.rows("validation")]
    evaluated = softmax(candidate.read_predictions(place / name).reproducible)
    assert np.abs(Predictor(place / name).probabilities(images) - evaluated).max() < 1e-5
    similarity = candidate.read_predictions(place / name).validation_similarity
    np.testing.assert_allclose(Predictor(place / name).outputs(images).similarity, similarity, atol=1e-4)


@pytest.mark.parametrize("name", ["first", "second", "probed"])
def test_training_images_resemble_themselves_most(place, name):
    predictor, split = Predictor(place / name), packed.read_split(place / "split.csv")
    rows = split.rows("train")
    assert predictor.index.rows.tolist() == rows.tolist()
    assert predictor.index.labels.tolist() == split.labels[rows].tolist()
    _, embedded = predictor.embedded(packed.open_packed(place / "packed").images[rows])
    _, similarities = predictor.index.nearest(embedded, 1)
    own = predictor.index.similarities(embedded)[np.arange(len(rows)), np.arange(len(rows))]
    np.testing.assert_allclose(own, similarities[:, 0], atol=2e-3)  # computed in another precision in training


def test_a_probe_is_fitted_to_validation_images_and_judged_by_folds(place):
    probed, tuned = (candidate.read_predictions(place / name) for name in ("probed", "second"))
    split = packed.read_split(place / "split.csv")
    assert probed.training.shape == (len(split.rows("train")), 3)
    assert probed.exported.shape == probed.validation.shape
    assert probed.training_similarity.shape == (len(split.rows("train")),)
    assert probed.outputs.similarity.shape == (len(probed.training) + len(probed.validation),)
    assert tuned.training_similarity is None
    assert tuned.outputs.similarity.tolist() == tuned.validation_similarity.tolist()
    assert not np.allclose(probed.exported, probed.validation, atol=1e-3)
    assert candidate.read_card(place / "probed").training["refitted"] is True
    # Fine-tuning starts from a layer that has not seen the validation images, which choose the epoch.
    assert tuned.training is tuned.exported is None
    assert "refitted" not in candidate.read_card(place / "second").training


@pytest.mark.parametrize("counts", [choice.Comparison(9, 2), choice.Comparison(3, 2)])
def test_auto_keeps_fine_tuning_only_if_it_is_better(place, tmp_path, monkeypatch, capsys, counts):
    monkeypatch.setattr(choice, "FEWEST", 10)
    compared = []
    monkeypatch.setattr(choice, "compare", lambda *found: (compared.append(found), counts)[1])
    path = tmp_path / "params.yaml"
    text = (place / "params.yaml").read_text().replace("folds: 5", "folds: 0")
    path.write_text(text.replace("probed: {", "probed: {method: auto, max_minutes: 3, optimizer: sgd, "))
    arguments = ["--params", f"{path}", "--packed", f"{place}/packed", "--split", f"{place}/split.csv"]
    arguments += ["--checkpoints", f"{tmp_path}/checkpoints", "--dataset", "tiny", "--features", f"{place}/features"]
    transfer.main(["probed", *arguments, "--pretrained", f"{place}/pretrained-probed", "--out", f"{tmp_path}/out"])
    card, found = candidate.read_card(tmp_path / "out"), candidate.read_predictions(tmp_path / "out")
    said = capsys.readouterr().out
    facts = {"epochs": 3, "gained": counts.gained, "lost": counts.lost, "kept": counts.is_better}
    assert card.training["fine_tuning"] == facts
    assert card.training["auto"]["max_minutes"] == 3
    assert f"probed: probe+finetune, {card.training['auto']['reason']}" in said
    probed = candidate.read_predictions(place / "probed")
    [(tuned, other, labels)] = compared
    np.testing.assert_allclose(other, probed.validation, atol=1e-4)  # the probe's, out-of-fold
    split = packed.read_split(place / "split.csv")
    assert labels.tolist() == split.labels[split.rows("validation")].tolist()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    if counts.is_better:
        assert (card.training["method"], card.epochs) == ("probe+finetune", 3)
        assert card.training["batch_size"] <= 16
        np.testing.assert_array_equal(found.validation, tuned)
        assert names == NETWORK_FILES
    else:
        assert (card.training["method"], card.epochs, card.training["refitted"]) == ("probe", 0, True)
        np.testing.assert_allclose(found.test, probed.test, atol=1e-4)
        assert names == NETWORK_FILES - {"history", "augmented.png"}
        assert card.seconds > candidate.read_card(place / "probed").seconds / 10
        assert "fine-tuning discarded: it is right on 3 validation images where the probe is wrong, wrong on 2" in said


def test_transfer_starts_from_the_old_layers_and_its_normalisation(place):
    old, new = candidate.read_card(place / "first"), candidate.read_card(place / "second")
    assert (new.mean, new.std, new.network) == (old.mean, old.std, old.network)
    before, after = (load_file(place / name / "weights.safetensors") for name in ("first", "second"))
    key = "model.features.0.weight"
    moved = np.abs(before[key] - after[key]).mean() / np.abs(before[key]).mean()
    assert 0 < moved < 0.5  # random weights would differ by more than their size


def test_the_weights_bytes_are_in_the_card(place):
    sha256 = files.sha256(place / "first" / "weights.safetensors")
    for name in ("second", "probed"):
        assert candidate.read_card(place / name).training["weights_sha256"] == sha256


def test_what_is_secret_in_an_address_is_in_no_file_of_the_candidate(place, tmp_path):
    model = backbones.build("squeezenet1_0", 2, 32)
    save_file({name: tensor.numpy() for name, tensor in model.state_dict().items()}, tmp_path / "own.safetensors")
    data = (tmp_path / "own.safetensors").read_bytes()
    with serve(Web({"/own.safetensors": data})) as web:
        address = web.address.replace("//", "//somebody:secret@") + "/own.safetensors?token=hidden"
        text = PARAMS.format(weights=address, sha256=files.sha256(tmp_path / "own.safetensors"))
        path = tmp_path / "params.yaml"
        path.write_text(text.replace("probed: {", "probed: {architecture: squeezenet1_0, input_size: 32, "))
        fetch("probed", path, tmp_path / "pretrained")
    arguments = ["--params", f"{path}", "--packed", f"{place}/packed", "--split", f"{place}/split.csv"]
    arguments += ["--checkpoints", f"{tmp_path}/checkpoints", "--dataset", "tiny"]
    arguments += ["--features", f"{tmp_path}/features", "--pretrained", f"{tmp_path}/pretrained"]
    transfer.main(["probed", *arguments, "--out", f"{tmp_path}/out"])
    assert candidate.read_card(tmp_path / "out").training["weights"] == f"{web.address}/own.safetensors"
    for path in [*(tmp_path / "pretrained").rglob("*"), *(tmp_path / "out").rglob("*")]:
        assert path.is_dir() or not any(word in path.read_bytes() for word in (b"somebody", b"secret", b"hidden"))


def test_a_probe_leaves_the_old_layers_as_they_were_and_says_what_it_did(place):
    before, after = (load_file(place / name / "weights.safetensors") for name in ("first", "probed"))
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == {"model.head.weight"}
    card = candidate.read_card(place / "probed")
    assert (card.training["method"], card.epochs, card.best_epoch) == ("probe", 0, 0)
    assert card.training["strength"] in probe.STRENGTHS
    folds = files.read_json(place / "probed" / "folds.json")
    assert (folds["folds"], folds["repeats"], folds["images"]) == (5, 2, 144)
    assert 0.5 < folds["accuracy"] <= 1
    assert 0 <= folds["spread"] < 0.3


def test_fine_tuning_moves_the_lower_layers_least(place):
    before, after = (load_file(place / name / "weights.safetensors") for name in ("first", "second"))
    keys = [key for key in before if before[key].ndim == 4]
    moved = [float(np.abs(before[key] - after[key]).mean() / np.abs(before[key]).mean()) for key in keys]
    assert 0 < moved[0] < moved[-1]
    statistics = next(key for key in before if key.endswith("running_mean"))
    assert np.array_equal(before[statistics], after[statistics])  # few images: they keep the old statistics


def test_equal_inputs_give_equal_bytes(place, tmp_path):
    data = ["--packed", f"{place}/packed", "--split", f"{place}/split.csv", "--checkpoints", f"{tmp_path}/checkpoints"]
    scratch.main(
        ["first", "--dataset", "tiny", "--params", f"{place}/params.yaml", *data, "--out", f"{tmp_path}/first"]
    )
    for path in sorted((place / "first").rglob("*")):
        if path.is_file() and path.name != "card.json":  # the card gives the time that training took
            assert path.read_bytes() == (tmp_path / "first" / path.relative_to(place / "first")).read_bytes(), path


def test_the_history_has_one_value_an_epoch(place):
    lines = (place / "first/history/plots/metrics/validation/accuracy.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["step", "1", "2", "3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, r"weights.safetensors has SHA-256 \w+, not 0{64}: if you want to use these weights"),
        (
            {"weights": "nowhere"},
            "nowhere/weights.safetensors is missing: weights must be imagenet, a file or a URL",
        ),
        ({"weights": "baseline"}, "baseline contains no network but a histograms of oriented gradients"),
    ],
)
def test_wrong_pretrained_weights_are_one_message_and_leave_nothing(place, tmp_path, change, message):
    folder = place / change.get("weights", "first")
    weights = folder / "weights.safetensors"
    digest = change.get("sha256") or (files.sha256(weights) if weights.exists() else "1" * 64)
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.format(weights=folder.as_posix(), sha256=digest))
    with pytest.raises(DarkroomError, match=message):
        fetch("second", path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_quiet_is_quiet(place, tmp_path, capfd):
    data = ["--packed", f"{place}/packed", "--split", f"{place}/split.csv", "--params", f"{place}/params.yaml"]
    arguments = ["first", "--dataset", "tiny", *data, "--checkpoints", f"{tmp_path}/checkpoints"]
    scratch.main([*arguments, "--out", f"{tmp_path}/loud"])
    loud = capfd.readouterr().out.splitlines()
    assert loud[0].startswith("108 images of 16 pixels from the memory of cpu, batches of 8 instead of 16 (few images)")
    assert [line.split("/")[0] for line in loud[1:-1]] == ["epoch   1", "epoch   2", "epoch   3"]
    assert loud[-1].startswith("first: best epoch ")
    scratch.main([*arguments, "--out", f"{tmp_path}/quiet", "--quiet"])
    assert capfd.readouterr() == ("", "")


def test_data_that_are_not_there_or_do_not_belong_together_are_told(place, tmp_path):
    def run(packed: Path, split: Path) -> None:
        data = ["--params", f"{place}/params.yaml", "--dataset", "tiny", "--packed", str(packed), "--split", str(split)]
        scratch.main(["first", *data, "--checkpoints", f"{tmp_path}/checkpoints", "--out", f"{tmp_path}/out"])

    short = tmp_path / "short.csv"
    short.write_text("".join((place / "split.csv").read_text().splitlines(keepends=True)[:-1]))
    for packed_folder, split, message in [
        (
            tmp_path / "none",
            place / "split.csv",
            r"none/images.npy is missing: create it with dvc repro, or download it with dvc pull",
        ),
        (place / "packed", tmp_path / "none.csv", r"none.csv is missing: create it with dvc repro"),
        (place / "packed", short, r"short.csv has 179 rows and .*/packed 180 images, so they do not belong together"),
    ]:
        with pytest.raises(DarkroomError, match=message):
            run(packed_folder, split)
    assert not (tmp_path / "out").exists()


def test_a_wrong_name_is_told_at_once(place, tmp_path):
    with pytest.raises(DarkroomError, match=r"no 'frist' in scratch\. Did you mean 'first'"):
        scratch.main(
            [
                "frist",
                "--params",
                f"{place}/params.yaml",
                "--dataset",
                "tiny",
                "--packed",
                "x",
                "--split",
                "y",
                "--checkpoints",
                "w",
                "--out",
                "z",
            ]
        )


def test_the_card_of_a_probe_names_what_decided_it_and_no_path_of_the_machine(place):
    probed, tuned = (candidate.read_card(place / name) for name in ("probed", "second"))
    keys = {
        "auto",
        "architecture",
        "input_size",
        "balance",
        "augment",
        "seed",
        "method",
        "strength",
        "refitted",
        "weights",
        "weights_sha256",
    }
    assert set(probed.training) == keys
    assert probed.training["augment"] == {"flip": False}
    assert {"optimizer", "schedule", "batch_size"} <= set(tuned.training)
    for card in (probed, tuned):
        assert card.training["weights"] == "first"
        assert str(place) not in (place / card.name / "card.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "start", "accuracy", "told"),
    [(1, 0.98, 0.12, True), (1, 0.98, 0.95, False), (2, 0.98, 0.12, False), (1, None, 0.12, False)],
)
def test_a_first_epoch_far_below_the_start_is_explained(number, start, accuracy, told):
    epoch = loop.Epoch(number, 1.0, 1.0, accuracy, 0.1, 100.0)
    assert bool(callbacks.fallen(epoch, start)) == told
