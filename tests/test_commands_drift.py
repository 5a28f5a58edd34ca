import json
import shutil
from contextvars import Context
from pathlib import Path

import bentoml
import numpy as np
import pandas as pd
import pytest

from darkroom import candidate
from darkroom.commands import answering, comparing, entries, main, predict
from darkroom.commands.entries import Entries
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import served
from darkroom.serving.build import packaging
from darkroom.serving.served import Reference
from darkroom.thresholds import Outputs, Thresholds
from tests.factories_serving import write_served

CLASSES = ["cat", "dog", "frog"]
ROWS = 600


def logits(seed, shares, sharpness, rows=ROWS):
    """Return logits of a made-up model: `shares` of the classes, and how far the right one stands out."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, rows, p=shares)
    return (random.normal(size=(rows, 3)) + sharpness * np.eye(3)[labels]).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the served folder of a model that was evaluated on `ROWS` pictures, classes alike."""
    folder = write_served(tmp_path_factory.mktemp("drift")) / "models" / "served"
    thresholds = Thresholds("max_probability", known=0.4, confident=0.8, coverage=0.8)
    card = candidate.Card(**{**vars(candidate.read_card(folder)), "thresholds": thresholds, "temperature": 1.0})
    candidate.write_card(folder, card)
    reference = packaging.refer(Outputs(logits(0, [1 / 3] * 3, 4.0)), card)
    served.write(folder, served.Served(**{**vars(served.read(folder)), "reference": reference}))
    return folder


def answered(labels, probabilities):
    """Return answers of a model without thresholds."""
    frame = pd.DataFrame({"label": labels, "probability": probabilities})
    verdicts = pd.DataFrame(pd.NA, index=frame.index, columns=entries.VERDICTS, dtype="boolean")
    return Entries(frame.join(verdicts))


def answers(model, values, start=0):
    """Return the lines that the service logs for such logits."""
    card = candidate.read_card(model)
    known, confident = card.thresholds.verdicts(Outputs(values), card.temperature)
    return [
        {
            "time": f"2026-11-{1 + row % 20:02}T10:00:00.000+00:00",
            "version": served.read(model).version,
            "sha256": f"{start + row:064x}",
            "label": card.classes[int(probabilities.argmax())],
            "probability": float(probabilities.max()),
            "confident": bool(confident[row]),
            "in_distribution": bool(known[row]),
            "probabilities": probabilities.tolist(),
            "timestamp": "2026-11-01T10:00:00",
            "request_id": "1",
        }
        for row, probabilities in enumerate(candidate.softmax(values, card.temperature))
    ]


def write_log(folder, lines, name="data.1.log"):
    path = folder / "darkroom" / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return folder


def report(capsys, *arguments):
    main.run(["drift", *map(str, arguments)])
    return capsys.readouterr().out


def findings(capsys, log, model):
    found = json.loads(report(capsys, log, "--model", model, "--json"))["findings"]
    return {finding["what"]: finding for finding in found}


def test_the_same_mixture_has_not_moved(tmp_path, model, capsys):
    write_log(tmp_path, answers(model, logits(1, [1 / 3] * 3, 4.0)))
    printed = report(capsys, tmp_path, "--model", model)
    assert "No significant drift." in printed
    assert printed.count("no drift") == 4
    assert "600 predictions of" in printed
    assert "2026-11-01T10:00 to 2026-11-20T10:00, compared with 600 on validation" in printed


def test_the_very_same_answers_of_a_sure_model_have_not_moved(tmp_path, model, capsys):
    values, card = logits(0, [1 / 3] * 3, 14.0), candidate.read_card(model)
    sure = tmp_path / "sure"
    shutil.copytree(model, sure)
    reference = packaging.refer(Outputs(values), card)
    served.write(sure, served.Served(**{**vars(served.read(sure)), "reference": reference}))
    write_log(tmp_path, answers(sure, values))
    found = findings(capsys, tmp_path, sure)
    assert found["confidence"]["size"] == 0
    assert {each["verdict"] for each in found.values()} == {"no drift"}
    (line,) = [line for line in report(capsys, tmp_path, "--model", sure).splitlines() if "10th percentile" in line]
    assert line.split()[-2:] == ["100.0%", "100.0%"]


def test_chance_is_taken_for_more_about_as_often_as_it_says(model):
    reference = served.read(model).reference
    moved = 0
    for seed in range(60):
        lines = answers(model, logits(seed + 10, [1 / 3] * 3, 4.0, rows=200))
        made = answered([line["label"] for line in lines], [line["probability"] for line in lines])
        moved += any(found.verdict != "no drift" for found in comparing.compare(made, reference, CLASSES))
    assert moved <= 4  # two tests, each wrong in one of a hundred: 1.2 are expected


def test_another_mixture_moves_the_classes(tmp_path, model, capsys):
    write_log(tmp_path, answers(model, logits(1, [0.7, 0.2, 0.1], 4.0)))
    found = findings(capsys, tmp_path, model)
    assert found["classes"]["verdict"] == "large drift"
    assert found["classes"]["p"] < 1e-6
    assert found["confidence"]["verdict"] == "no drift"
    printed = report(capsys, tmp_path, "--model", model)
    assert "Significant drift: classes. Inspect some" in printed
    (cat,) = [line for line in printed.splitlines() if line.startswith("cat ")]
    assert cat.rstrip().endswith("more")
    assert "█" in cat


def test_harder_pictures_move_confidence_and_what_is_unsure(tmp_path, model, capsys):
    write_log(tmp_path, answers(model, logits(1, [1 / 3] * 3, 2.0)))
    found = findings(capsys, tmp_path, model)
    assert found["classes"]["verdict"] == "no drift"
    assert found["confidence"]["verdict"] == found["low confidence"]["verdict"] == "large drift"
    assert found["low confidence"]["size"] > 0.15


def test_a_small_but_certain_move_is_called_little(tmp_path, model, capsys):
    write_log(tmp_path, answers(model, logits(1, [0.38, 0.33, 0.29], 4.0, rows=6000)))
    assert findings(capsys, tmp_path, model)["classes"]["verdict"] == "small drift"
    assert "Significant but small drift: classes." in report(capsys, tmp_path, "--model", model)


def test_what_is_no_answer_of_this_model_is_left_out_and_counted(tmp_path, model, capsys):
    lines = answers(model, logits(1, [1 / 3] * 3, 4.0, rows=100))
    write_log(tmp_path, [*lines, '{"cut": ', "[1]", {**lines[0], "label": ["x"]}, {**lines[0], "probability": "x"}])
    write_log(tmp_path, [*lines[:7], *({**line, "version": "old"} for line in lines[:5])], "data.2.log.2026-11-20")
    (tmp_path / "darkroom" / "schema").mkdir()
    (tmp_path / "darkroom" / "schema" / "schema.1.log").write_text("{}\n")
    counts = json.loads(report(capsys, tmp_path, "--model", model, "--json"))
    assert counts["answers"] == 100
    assert counts["left_out"] == {"again": 7, "other_versions": 5, "without_answer": 4}
    printed = report(capsys, tmp_path, "--model", model)
    assert "Ignored: 7 of repeated images, 5 of other versions, 4 without a prediction" in printed


def test_too_few_answers_say_nothing(tmp_path, model, capsys):
    write_log(tmp_path, answers(model, logits(1, [1, 0, 0], 4.0, rows=comparing.NEEDED - 1)))
    assert report(capsys, tmp_path, "--model", model).endswith("Too few predictions for a test: 50 are needed.\n")
    found = json.loads(report(capsys, tmp_path, "--model", model, "--json"))
    assert (found["enough"], found["findings"]) == (False, [])


def test_the_table_of_predict_can_be_compared_too(tmp_path, model, capsys):
    lines = answers(model, logits(1, [0.8, 0.1, 0.1], 4.0))
    rows = [f"{n}.png,{line['label']},{line['probability']:.6f},true,true," for n, line in enumerate(lines)]
    path = tmp_path / "out.csv"
    path.write_text(
        "\n".join(["name,label,probability,confident,in_distribution,error", *rows, "x.png,,,,,broken", ""])
    )
    found = findings(capsys, path, model)
    assert found["classes"]["verdict"] == "large drift"
    assert "out of distribution" in found


def test_labels_that_predict_keeps_from_being_formulas_are_read_as_they_are(tmp_path):
    labels = ["=x", "'=x", "cat"]
    with (tmp_path / "out.csv").open("w", encoding="utf-8", newline="") as file:
        predict.write_csv([answering.Answer("a.png", [(label, 0.5)]) for label in labels], 1, file)
    assert entries.read(tmp_path / "out.csv", labels, "1").answers["label"].tolist() == labels


def test_a_damaged_table_is_read_as_far_as_it_goes(tmp_path):
    text = (
        'label,probability,confident,in_distribution\ncat,0.5,true,false,more\ndog,0.25,,\ncat\n\ncat,1.5,true,true\n"d'
    )
    (tmp_path / "out.csv").write_text(text)
    found = entries.read(tmp_path / "out.csv", CLASSES, "1")
    assert found.answers[["label", "probability"]].to_numpy().tolist() == [["cat", 0.5], ["dog", 0.25]]
    assert found.verdicts.to_numpy().tolist() == [[True, False]]
    assert (found.unreadable, found.first) == (3, "")


def test_lines_of_any_kind_of_value_are_no_trouble(tmp_path):
    good = {"version": "1", "label": "cat", "probability": 0.5, "sha256": "a"}
    odd = [{"label": None}, {"label": "None"}, {"probability": [1]}, {"probability": 10**400}, {"probability": "inf"}]
    lone = {"label": "\ud800", "sha256": "\ud800", "time": "\ud800"}
    log = write_log(tmp_path, [good, *({**good, "sha256": "b", **part} for part in odd), {**good, **lone}])
    found = entries.read(log, ["cat", "\ud800"], "1")
    assert found.answers["label"].tolist() == ["cat", "\ud800"]
    assert (found.unreadable, found.again, found.other) == (len(odd), 0, 0)


@pytest.mark.filterwarnings("ignore:pythonjsonlogger.jsonlogger:DeprecationWarning")  # BentoML 1.4's own
def test_what_bentoml_writes_is_read(tmp_path, model, capsys):
    def note(line):
        with bentoml.monitor("darkroom", monitor_options={"log_path": str(tmp_path)}) as monitor:
            for name in ("time", "version", "sha256", "label", "probability", "confident", "in_distribution"):
                monitor.log(line[name], name, "feature", "categorical")
            monitor.log(line["probabilities"], "probabilities", "prediction", "numerical_sequence")

    lines = answers(model, logits(1, [1 / 3] * 3, 4.0, rows=60))
    for line in lines:
        Context().run(note, line)
    printed = report(capsys, tmp_path, "--model", model)
    assert "60 predictions of" in printed
    assert printed.count("no drift") == 4


def test_few_answers_of_a_class_and_classes_without_any_are_no_trouble():
    reference = Reference([50, 0, 1], [0.5] * 51)
    cats, frogs = (answered([label] * 60, [0.5] * 60) for label in ("cat", "frog"))
    assert [finding.verdict for finding in comparing.compare(cats, reference, CLASSES)] == ["no drift"] * 2
    assert comparing.compare(frogs, reference, CLASSES)[0].verdict == "large drift"


def test_the_stability_index_is_that_of_the_formula():
    before, now = np.array([500_000, 500_000]), np.array([600_000, 400_000])
    expected = 0.1 * np.log(0.6 / 0.5) - 0.1 * np.log(0.4 / 0.5)
    assert comparing.stability_index(before, now) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "nowhere does not exist: give the folder set as serve.log"),
        ("empty", r"empty contains no log \(data/\*.log\): give"),
        (
            "others",
            r"others has no predictions of the model \w{12} \(3 of other versions, 1 invalid line\): give the log",
        ),
        ("no reference", "has no summary of the predictions on validation: package it again"),
        ("no model", "service.json is missing: run `dvc repro` first"),
    ],
)
def test_mistakes_are_told_in_one_message(tmp_path, model, kind, message):
    log: Path = tmp_path / {"missing": "nowhere", "empty": "empty"}.get(kind, "others")
    if kind != "missing":
        log.mkdir()
    if kind not in ("missing", "empty"):
        lines = answers(model, logits(1, [1 / 3] * 3, 4.0, rows=3))
        write_log(log, [*({**line, "version": "old"} for line in lines), "x"])
    if kind == "no reference":
        top = tmp_path / "model"
        top.mkdir()
        for name in ("card.json", "service.json"):
            (top / name).write_bytes((model / name).read_bytes())
        served.write(top, served.Served(**{**vars(served.read(top)), "reference": None}))
        model = top
    if kind == "no model":
        model = tmp_path
    with pytest.raises(DarkroomError, match=message):
        main.run(["drift", str(log), "--model", str(model)])


@pytest.mark.parametrize(("count", "answers"), [(12, 50), (20, 90), (200, 900)])
def test_a_move_among_many_classes_is_seen_though_each_has_few_answers(count, answers):
    names = [f"k{number}" for number in range(count)]
    reference = Reference([100] * count, [0.5] * 100 * count)
    half = answered([names[number % (count // 2)] for number in range(answers)], [0.5] * answers)
    assert comparing.compare(half, reference, names)[0].verdict == "large drift"
    random = np.random.default_rng(0)
    alike = answered(random.choice(names, answers).tolist(), [0.5] * answers)
    assert comparing.compare(alike, reference, names)[0].verdict == "no drift"
