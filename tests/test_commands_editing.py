import re

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from darkroom.commands.editing import edit
from tests.imports import ROOT

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, (*path, str(name)))
    elif not isinstance(value, list):
        yield ".".join(path), value


def test_what_is_not_changed_keeps_its_every_character():
    assert edit(PARAMS, {}) == PARAMS
    document = YAML(typ="safe").load(PARAMS)
    del document["sweep"]["space"]  # its keys contain dots, which `edit` reads as levels
    values = {key: value for key, value in leaves(document) if isinstance(value, (int, str))}
    assert len(values) > 60
    assert edit(PARAMS, values) == PARAMS


def test_one_value_changes_one_line():
    new = edit(PARAMS, {"datasets.folder.pack.image_size": 96})
    changed = [pair for pair in zip(PARAMS.splitlines(), new.splitlines(), strict=True) if pair[0] != pair[1]]
    assert [[line.strip() for line in pair] for pair in changed] == [
        ["pack: {image_size: 64, limit_per_class: null}", "pack: {image_size: 96, limit_per_class: null}"]
    ]


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("seed=1", "seed: 0 ", "seed: 1 "),
        ("dataset=folder", "dataset: digits   #", "dataset: folder   #"),
        ("scratch.resnet9.learning_rate=0.2", "32\n    optimizer: sgd\n    learning_rate: 0.1",
         "32\n    optimizer: sgd\n    learning_rate: 0.2"),
        ("datasets.animals10.pack.image_size=96", "{image_size: 64, limit_per_class: null}  #",
         "{image_size: 96, limit_per_class: null}  #"),
        ("gate.minimum=0.95", "minimum:          #", "minimum: 0.95     #"),
        ("report.title=Pets", "title: ''", "title: Pets"),
        ("serve.log=null", "", ""),
        ("baseline.strengths=[1.0]", "  - 0.1\n  - 1.0\n  - 10.0\n", "  - 1.0\n"),
    ],
)  # fmt: skip
def test_dvc_changes_only_the_value_that_it_sets(tmp_path, override, old, new):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS, encoding="utf-8")
    apply_overrides(path, [override])  # what `dvc exp run -S` does
    assert path.read_text(encoding="utf-8") == PARAMS.replace(old, new)


TEXT = """\
# The head.

first:   # of all
  one: 1   # the one
  two: {a: 1, b: 2}   # on a line

second:   # the other
  three:
    c: x
    d: "y"

# Before the last.
last: 3   # the end
"""


@pytest.mark.parametrize(
    ("values", "old", "new"),
    [
        ({"last": 4}, "last: 3   #", "last: 4   #"),
        ({"first.two.a": 5}, "{a: 1, b: 2}   #", "{a: 5, b: 2}   #"),
        ({"first.two.e": None}, "b: 2}   #", "b: 2, e: null}   #"),
        ({"last": None}, "last: 3   #", "last:    #"),
        ({"first.zero": "a b"}, "  one: 1", "  zero: a b\n  one: 1"),
        ({"first.more": {"x": 1, "y": {"z": 2}}}, "  one: 1", "  more:\n    x: 1\n    y: {z: 2}\n  one: 1"),
    ],
)
def test_a_value_stands_where_a_person_would_put_it(values, old, new):
    assert blanks(edit(TEXT, values)) == blanks(TEXT.replace(old, new))


def blanks(text):
    """Return `text` without the blanks before comments, which move with what is before them."""
    return re.sub(r" +#", " #", text)


def test_a_section_that_gave_its_entries_away_stays_with_its_comment():
    text = TEXT.replace("# Before the last.\n", "")
    assert edit(text, {}, {"second.three": "first"}) == (
        "# The head.\n\n"
        'first:   # of all\n  three:\n    c: x\n    d: "y"\n\n'
        "  one: 1   # the one\n  two: {a: 1, b: 2}   # on a line\n\n"
        "second: {} # the other\n\n"
        "last: 3   # the end\n"
    )


def test_an_entry_that_moves_takes_the_place_of_no_other():
    text = "a:\n  x: {n: 1}\nb:\n  x: {n: 2}\n"
    assert YAML(typ="safe").load(edit(text, {}, {"a.x": "b"})) == {"a": {}, "b": {"x": {"n": 2}, "x_": {"n": 1}}}
    assert YAML(typ="safe").load(edit(text, {"b.x.n": 1}, {"a.x": "b"})) == {"a": {}, "b": {"x": {"n": 1}}}


def test_an_entry_that_is_removed_leaves_no_trace():
    assert edit("a:\n  x: {n: 1}   # one\n  y: 2\n", {}, {"a.x": None}) == "a:\n  y: 2\n"
