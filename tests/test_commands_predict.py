import csv
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from darkroom import candidate, images
from darkroom.commands import answering, main, predict
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Predictor
from darkroom.serving import served as sealed
from darkroom.serving import service
from darkroom.thresholds import Thresholds
from tests.factories_serving import in_process, picture, write_served
from tests.pictures import write_folder, write_zip
from tests.test_architecture import load

PICTURES = {f"{place % 3}/{place:02}.png": picture(place, 40 + place, 30) for place in range(40)}
BROKEN = {"0/cut.png": PICTURES["0/00.png"][:200], "1/phone.heic": b"x"}
OTHER = {"notes.txt": b"no picture", ".hidden/1.png": PICTURES["0/00.png"], "2/.1.png": b"x"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return a folder with a served model and pictures."""
    top = write_served(tmp_path_factory.mktemp("served"))
    folder = top / "models" / "served"
    card = candidate.read_card(folder)
    thresholds = Thresholds("max_probability", known=0.4, confident=0.45, coverage=0.9)
    candidate.write_card(folder, candidate.Card(**{**vars(card), "thresholds": thresholds}))
    sealed.write(folder, replace(sealed.read(folder), version=sealed.version(folder)))
    write_folder(top / "photos", PICTURES | BROKEN | OTHER)
    write_zip(top / "photos.zip", PICTURES | BROKEN | OTHER)
    return top


@pytest.fixture
def place(served, monkeypatch):
    monkeypatch.chdir(served)
    return served


def test_the_nearest_training_images_are_in_the_csv(place, capsys):
    main.run(["predict", "photos", "--neighbors", "2"])
    printed = rows(capsys.readouterr().out)
    columns = ["neighbor", "neighbor_label", "similarity"]
    assert list(printed[0])[-6:] == [*columns, *(f"{name}_2" for name in columns)]
    predictor = Predictor(place / "models" / "served")
    for row in printed:
        if row["error"]:
            assert row["neighbor"] == row["similarity_2"] == ""
            continue
        assert row["neighbor"] in predictor.index.names
        assert 1 >= float(row["similarity"]) >= float(row["similarity_2"]) > 0
    with pytest.raises(SystemExit):
        main.run(["predict", "photos", "--neighbors", "11"])
    assert "invalid choice: 11" in capsys.readouterr().err


def test_a_model_without_names_says_how_to_get_them(place, monkeypatch):
    monkeypatch.setattr("darkroom.predictor.read_index", lambda _: None)
    main.run(["predict", "photos"])
    with pytest.raises(DarkroomError, match=r"models/served does not have the names .* set package.neighbors to names"):
        main.run(["predict", "photos", "--neighbors", "1"])


def rows(text):
    return list(csv.DictReader(text.splitlines()))


def test_a_folder_is_answered_as_the_model_answers(place, capsys):
    main.run(["predict", "photos", "--top-k", "2"])
    printed = capsys.readouterr()
    found = {row["name"]: row for row in rows(printed.out)}
    assert list(found) == sorted(f"photos/{name}" for name in PICTURES | BROKEN)
    predictor = Predictor(place / "models" / "served")
    pixels = np.stack([images.decode(data, predictor.card.image_size).pixels for data in PICTURES.values()])
    probabilities = predictor.probabilities(pixels)
    known, confident = predictor.card.thresholds.verdicts(predictor.outputs(pixels), predictor.card.temperature)
    assert {*known.tolist()} == {*confident.tolist()} == {True, False}
    for place_, name in enumerate(PICTURES):
        row, best = found[f"photos/{name}"], np.argsort(-probabilities[place_])[:2]
        assert [row["label"], row["label_2"]] == [predictor.card.classes[index] for index in best]
        numbers = [float(row["probability"]), float(row["probability_2"])]
        assert numbers == pytest.approx(probabilities[place_][best].tolist(), abs=1e-5)
        assert row["confident"] == str(confident[place_]).lower()
        assert row["in_distribution"] == str(known[place_]).lower()
        assert row["error"] == ""
    assert found["photos/0/cut.png"]["error"].startswith("damaged image")
    assert "not a supported image" in found["photos/1/phone.heic"]["error"]
    assert found["photos/0/cut.png"]["label"] == found["photos/0/cut.png"]["confident"] == ""
    unsure = int((known & ~confident).sum())
    assert printed.err == (
        f"40 of 42 images predicted, {unsure} of them with low confidence, {int((~known).sum())} out of distribution, "
        "2 cannot be read\n"
    )


def test_the_service_gives_the_same_answers(place, capsys):
    names = [name for name in PICTURES if name.startswith("1/")][:4]
    main.run(["predict", *(f"photos/{name}" for name in names), "--top-k", "3"])
    found = rows(capsys.readouterr().out)
    with in_process(service.Classifier.to_asgi()) as client:
        answer = client.post("/predict", files=[("images", (name, PICTURES[name])) for name in names]).json()
    for row, item in zip(found, answer["predictions"], strict=True):
        assert row["label"] == item["labels"][0]["label"]
        assert float(row["probability"]) == pytest.approx(item["labels"][0]["probability"], abs=1e-5)


def test_a_json_object_per_line_has_the_keys_and_values_of_the_service(place, capsys):
    names = ["1/01.png", "0/cut.png", "1/04.png"]
    given = ["--json", "--top-k", "2", "--neighbors", "2"]
    main.run(["predict", *(f"photos/{name}" for name in names), *given])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = [("images", (f"photos/{name}", (PICTURES | BROKEN)[name])) for name in names]
    with in_process(service.Classifier.to_asgi()) as client:
        predictions = client.post("/predict", data={"top_k": "2", "neighbors": "2"}, files=files).json()["predictions"]
    for line, expected in zip(found, predictions, strict=True):
        assert list(line) == list(expected)
        assert {key: line[key] for key in set(line) - {"labels", "neighbors"}} == {
            key: expected[key] for key in set(line) - {"labels", "neighbors"}
        }
        for key, number in (("labels", "probability"), ("neighbors", "similarity")):
            for one, other in zip(line.get(key, []), expected.get(key, []), strict=True):
                assert one == other | {number: pytest.approx(other[number], abs=1e-5)}
    main.run(["predict", f"photos/{names[0]}", "--json"])
    [line] = capsys.readouterr().out.splitlines()
    assert "neighbors" not in json.loads(line)
    with pytest.raises(SystemExit):
        main.run(["predict", "photos", "--json", "--csv", "out.csv"])


def test_json_is_ascii_whatever_the_names(place, tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path, HOSTILE)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(PICTURES["0/00.png"])
    monkeypatch.chdir(folder)
    main.run(["predict", ".", "--json", "--model", str(place / "models" / "served")])
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert {json.loads(line)["name"] for line in printed.splitlines()} == {*HOSTILE, "\udcff.png"}


def test_an_archive_is_answered_like_its_folder(place, capsys):
    main.run(["predict", "photos"])
    folder = rows(capsys.readouterr().out)
    main.run(["predict", "photos.zip"])
    archive = rows(capsys.readouterr().out)

    def facts(found, top):
        return sorted(tuple({**row, "name": row["name"].removeprefix(top)}.values()) for row in found)

    assert facts(folder, "photos/") == facts(archive, "photos.zip/")


def test_the_table_is_written_whole_or_not_at_all(place, capsys, monkeypatch, tmp_path):
    table = tmp_path / "new" / "out.csv"
    main.run(["predict", "photos", "--csv", str(table)])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"see {table}" in printed.err
    before = table.read_bytes()
    assert len(rows(before.decode())) == 42
    assert b"\r" not in before

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(answering.Predictor, "logits", fail)
    with pytest.raises(KeyboardInterrupt):
        main.run(["predict", "photos", "--csv", str(table)])
    assert table.read_bytes() == before
    assert list(table.parent.iterdir()) == [table]


def test_what_none_can_read_is_an_error_beside_the_rows(place, capsys):
    with pytest.raises(DarkroomError, match=r"none of the images can be read \(photos/0/cut.png: damaged"):
        main.run(["predict", "photos/0/cut.png", "photos/1/phone.heic"])
    assert [row["label"] for row in rows(capsys.readouterr().out)] == ["", ""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist: give images, or folders"),
        (["photos/notes.txt"], r"none of the images can be read \(photos/notes.txt: not a supported image"),
        (["models/candidates/small/history"], "history: no images found"),
        (["photos", "--model", "models"], "models/model.onnx is missing: run `dvc repro` first"),
    ],
)
def test_mistakes_are_told_in_one_message(place, arguments, message):
    with pytest.raises(DarkroomError, match=message):
        main.run(["predict", *arguments])


def test_names_that_are_no_text_and_files_that_vanish_do_no_harm(place, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(odd)).write_bytes(PICTURES["0/00.png"])
    main.run(["predict", str(tmp_path), "--csv", str(tmp_path / "out.csv")])
    assert rows((tmp_path / "out.csv").read_text())[0]["name"].endswith("\\udcff.png")
    predictor = Predictor(place / "models" / "served", threads=1)
    gone = list(answering.answer(predictor, iter([("gone", tmp_path / "gone.png")]), 1))
    assert gone == [answering.Answer("gone", [], error="No such file or directory", code="unreadable_file")]


def test_memory_is_bounded_by_what_is_read_ahead(place):
    taken = 0

    def pictures():
        nonlocal taken
        for name, data in list(PICTURES.items()) * 20:
            taken += 1
            yield name, data

    predictor = Predictor(place / "models" / "served", threads=1)
    answers = answering.answer(predictor, pictures(), 1)
    next(answers)
    ahead = (2 * (os.cpu_count() or 1) + 2) * answering.SHARE
    assert taken <= ahead < 800
    assert 1 + sum(1 for _ in answers) == 800


def test_a_terminal_shows_few_answers_as_a_table(place):
    master, slave = pty.openpty()
    code = "from darkroom.commands import main; main.run()"
    command = [sys.executable, "-c", code, "predict", "photos/0/00.png", "photos/0/cut.png", "--top-k", "2"]
    subprocess.run(command, check=True, stdout=slave, stderr=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "100"})
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "photos/0/00.png" in shown
    assert "photos/0/cut.png: damaged image" in shown
    assert shown.count("%") == 2
    assert "name,label" not in shown


def test_who_has_seen_enough_may_stop_reading(place):
    code = "import sys; from darkroom.commands import main; main.run()"
    command = [sys.executable, "-c", code, "predict", *["photos"] * 40]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 0
    assert "Traceback" not in error


def test_it_needs_only_the_packages_of_the_service(tmp_path):
    heavy = "torch,torchvision,sklearn,skimage,scipy,pandas,matplotlib,dvc,dvclive,kaggle,onnx,imagehash,safetensors"
    load(["darkroom.commands.main", "darkroom.commands.predict"], heavy, tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("photos", "photos is a folder: give the name of a file"),
        ("params.txt/a.csv", r"cannot be written \(.*\): give another path"),
    ],
)
def test_a_table_that_cannot_be_written_is_one_message(place, table, message):
    (place / "params.txt").touch()
    before = sorted(place.rglob("*"))
    with pytest.raises(DarkroomError, match=message):
        main.run(["predict", "photos", "--csv", table])
    assert sorted(place.rglob("*")) == before


HOSTILE = {"=1+1.png": b"x", "\x1b[31m\u202e.png": b"x", "line\nbreak.png": b"x", "-rf.png": PICTURES["0/00.png"]}


def test_names_are_no_formulas_and_no_escape_sequences(place, tmp_path, monkeypatch):
    monkeypatch.chdir(write_folder(tmp_path, HOSTILE))
    main.run(["predict", ".", "--csv", "out.csv", "--model", str(place / "models" / "served")])
    names = [row["name"] for row in rows(Path("out.csv").read_text(encoding="utf-8"))]
    assert names == ["\\x1b[31m\\u202e.png", "'-rf.png", "'=1+1.png", "line\\nbreak.png"]
    out = io.StringIO()
    predict.write_csv([answering.Answer("a", [("=cat", 0.5), ("-1", 0.25)])], 2, out)
    assert out.getvalue().splitlines()[1] == "a,'=cat,0.500000,'-1,0.250000,,,"


def test_a_table_on_a_terminal_shows_names_without_harm(place, tmp_path):
    write_folder(tmp_path, HOSTILE)
    console = Console(file=io.StringIO(), width=200)
    items = [answering.Answer(name, [("=cat\u202e", 0.5)], error="") for name in HOSTILE]
    predict.show([*items, answering.Answer("\x1b[2J", [], error="broken")], console)
    shown = console.file.getvalue()
    assert "\x1b" not in shown
    for part in ("\\x1b[31m\\u202e.png", "line\\nbreak.png", "=cat\\u202e", "\\x1b[2J: broken"):
        assert part in shown
