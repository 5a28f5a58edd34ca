import subprocess

import pypandoc
import pytest

from darkroom.reporting import wording


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.percent(0.9834), "98.3%"),
        (wording.percent(1.0), "100.0%"),
        (wording.percent(0.99951), "99.95%"),
        (wording.percent(0.999999), "99.99%"),
        (wording.percent(0.8125), "81.3%"),  # halves are rounded up
        (wording.percent(0.285, 0), "29%"),
        (wording.percent(0.0), "0.0%"),
        (wording.percent(0.0004), "0.04%"),
        (wording.percent(1e-9), "0.01%"),
        (wording.percent(1 / 3, 2), "33.33%"),
        (wording.score(1.0), "1.000"),
        (wording.score(0.99987), "0.9999"),  # only 1 is shown as 1.000
        (wording.score(0.9999999), "0.9999"),
        (wording.score(0.0625), "0.063"),
        (wording.score(0.0), "0.000"),
        (wording.score(-0.5), "\u22120.500"),
        (wording.score(-0.00001), "\u22120.0001"),
        (wording.loss(0.00012), "0.00012"),
        (wording.loss(9.8e-05), "0.000098"),
        (wording.loss(1e-5), "0.00001"),
        (wording.loss(3e-9), "<\u00a00.000001"),
        (wording.loss(1.1755), "1.176"),
        (wording.points(-0.0134), "1.3 percentage points"),
        (wording.points(0.01), "1.0 percentage point"),
        (wording.points(0.0), "0.0 percentage points"),
        (wording.count(1, "image"), "1 image"),
        (wording.count(1797, "image"), "1,797 images"),
        (wording.count(0, "class", "classes"), "0 classes"),
        (wording.chance(1e-9), "p\u00a0<\u00a00.001"),
        (wording.chance(0.0312), "p\u00a0=\u00a00.031"),
        (wording.chance(0.7), "p\u00a0=\u00a00.7"),
        (wording.chance(1.0), "p\u00a0=\u00a01"),
        (wording.duration(0.2), "under\u00a01\u00a0s"),
        (wording.duration(59.6), "1\u00a0min\u00a00\u00a0s"),
        (wording.duration(12.5), "13\u00a0s"),
        (wording.duration(185), "3\u00a0min\u00a05\u00a0s"),
        (wording.duration(7800), "2\u00a0h\u00a010\u00a0min"),
        (wording.megabytes(0.2449), "0.24\u00a0MB"),
        (wording.megabytes(9.996), "10.0\u00a0MB"),
        (wording.megabytes(1234.5), "1,234.5\u00a0MB"),
        (wording.milliseconds(0.1186), "0.12\u00a0ms"),
        (wording.milliseconds(141.8), "142\u00a0ms"),
        (wording.listing(["a"]), "a"),
        (wording.listing(["a", "b", "c"]), "a, b and c"),
        (wording.numeral(1), "one"),
        (wording.numeral(13), "13"),
        (wording.times(1.26), "1.3 times"),
        (wording.times(27.3), "27 times"),
        (wording.recipe({"b": {"x": 2, "y": None}, "a": "sgd", "c": 0.0}), [("a", "sgd"), ("b.x", "2")]),
    ],
)
def test_numbers_read_well(shown, expected):
    assert shown == expected


@pytest.mark.parametrize(
    "name",
    [
        "a_b_c",
        "_x_",
        "*x*",
        "<b>x</b>",
        "a|b",
        "$5$ & more",
        "`x`",
        "# 1",
        "- x",
        "---",
        "2.4.6",
        "12. x",
        "[x](y)",
        "~~x~~",
        "\\",
        "https://a.b/c",
    ],
)
@pytest.mark.parametrize("reader", ["gfm", "markdown_strict+all_symbols_escapable+intraword_underscores+pipe_tables"])
def test_names_are_printed_as_they_are(name, reader):
    line = wording.text(f"{name}\n")
    assert name != "2.4.6" or line == name
    command = [pypandoc.get_pandoc_path(), f"--from={reader}", "--to=native"]
    native = subprocess.run(command, input=line, capture_output=True, encoding="utf-8", check=True).stdout
    assert native.startswith("[ Para"), native
    for construct in ("Emph", "Strong", "Code", "Link", "Math", "RawInline", "Strikeout"):
        assert construct not in native
    plain = subprocess.run(
        [*command[:-1], "--to=plain", "--wrap=none"], input=line, capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert plain.strip() == name
