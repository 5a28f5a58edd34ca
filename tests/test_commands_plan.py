"""`darkroom plan` and the section of the report: forecasts as sentences and a table."""

import json
import math
from dataclasses import replace

import pytest

from darkroom import forecasts
from darkroom.commands import main, plan
from darkroom.forecasts import Curve, Point, forecast
from darkroom.foundations.errors import DarkroomError
from darkroom.reporting import collecting
from tests.factories import GROWTH


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes `growth.json` in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(curves=GROWTH, features="HOG features", sizes=(40, 40, 2)):
        forecasts.PATH.parent.mkdir(parents=True, exist_ok=True)
        forecasts.write(forecasts.PATH, curves, features, 120, list(sizes))

    return write


def test_the_output(project, capsys):
    project()
    main.run(["plan", "--add", "10"])
    assert (
        capsys.readouterr().out
        == """
10 more images of cat are expected to add 1.2 points of macro F1 (80% interval 0.6 to 1.8).
10 more images of dog: no measurable gain (0.02 points expected, 80% interval −0.6 to 0.6).
10 more images of all classes are expected to add 0.6 points of macro F1 (80% interval 0.3 to 1.0).

  class         images    more  macro F1, points   80% interval
  cat               40      10              +1.2   0.6 to 1.8
  dog               40      10             +0.02   −0.6 to 0.6    within noise
  all classes      120      10              +0.6   0.3 to 1.0

Too few images for a forecast: frog

These are forecasts for a linear model on HOG features, by cross-validation, not for the trained network, which may \
gain more or less.
Curves: plots/labels/growth.png

"""
    )


def test_the_default_is_half_of_the_median_class_and_names_are_escaped(project, capsys):
    project([replace(GROWTH[1], name="a\x1b[31mb")], features="net", sizes=[40, 3, 90, 44, 45])
    main.run(["plan"])
    text = capsys.readouterr().out
    assert "20 more images of a\\x1b[31mb are" in text
    assert "\x1b" not in text
    assert "the frozen features of net" in text
    assert "Not measured: 4 classes" in text


def test_json(project, capsys):
    project()
    main.run(["plan", "--add", "10", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [each["class"] for each in found["forecasts"]] == ["cat", None, "dog"]
    assert found["forecasts"][0] == {
        "class": "cat", "images": 40, "add": 10, "gain": 0.012, "low": pytest.approx(0.0056, abs=1e-4),
        "high": pytest.approx(0.0184, abs=1e-4), "measurable": True,
    }  # fmt: skip
    assert (found["metric"], found["too_few_images"]) == ("macro_f1", ["frog"])


@pytest.mark.parametrize(
    ("curves", "message"),
    [(None, "growth.json is missing: run `dvc repro labels`"), ([GROWTH[3]], "no learning curve: at least two")],
)
def test_a_remedy_is_given_if_there_is_nothing_to_read(project, curves, message):
    if curves:
        project(curves)
    with pytest.raises(DarkroomError, match=message):
        plan.plan()


@pytest.mark.parametrize("add", ["0", "-1", "few"])
def test_a_wrong_number_is_wrong_usage(project, capsys, add):
    with pytest.raises(SystemExit) as end:
        main.run(["plan", f"--add={add}"])
    assert end.value.code == 2
    assert f"{add!r} is not a positive integer" in capsys.readouterr().err


def test_the_interval_grows_with_the_distance_and_with_each_of_its_parts():
    curve = Curve("a", 100, (Point(100, 0.5),), slope=0.1)
    near, far = (forecast(curve, add) for add in (10, 400))
    assert near.gain == pytest.approx(0.1 * 10 / 110)
    assert far.gain == pytest.approx(0.1 * 400 / 500)
    assert (far.high - far.gain) / far.gain > 5 * (near.high - near.gain) / near.gain > 0
    only_error = forecast(Curve("a", 100, slope=0, error=0.02), 100)
    assert only_error.high == pytest.approx(1.2816 * 0.02 / 2)
    only_choice = forecast(Curve("a", 100, slope=0, choice=0.02), 100)
    assert only_choice.high == pytest.approx(1.2816 * 0.02 / math.sqrt(2))
    whole = forecast(replace(curve, name=None), 400)
    assert whole.gain == pytest.approx(0.1 * (1 - 5**-0.75) / 0.75)


@pytest.mark.parametrize(
    ("sizes", "expected"), [([1], 5), ([40, 40], 20), ([100, 9, 320], 50), ([6000], 3000), ([149, 149], 70)]
)
def test_the_default_number(sizes, expected):
    assert forecasts.usual(sizes) == expected


def test_the_file_contains_what_was_written(project):
    project(list(GROWTH))
    found = forecasts.read(forecasts.PATH)
    assert found["curves"] == list(GROWTH)
    assert (found["add"], found["classes"], found["measured"]) == (20, 3, 120)


def test_the_section(project):
    project([*GROWTH, Curve("a*b", 1)])
    found = forecasts.read(forecasts.PATH)
    text = " ".join(collecting.paragraph(found))
    assert "20 more images of cat are expected to add 2.0 points of macro F1 (80% interval" in text
    assert "20 more images of all classes are expected to add" in text
    assert "too few images for a forecast of frog and a\\*b." in text
    assert "The forecasts are for this linear model; the trained network may gain more or less." in text
    assert collecting.rows(found) == [
        ("cat", 40, "2.0", "1.1 to 2.9"),
        ("dog", 40, "0.03", "−0.8 to 0.9, within noise"),
    ]
    project([GROWTH[2]])
    assert "For no single class is there a measurable gain." in collecting.paragraph(forecasts.read(forecasts.PATH))
