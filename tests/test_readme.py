import re

import pytest

from darkroom.foundations import params
from darkroom.schema import Document
from tests import generated
from tests.imports import ROOT

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
GUIDES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("name", generated.TABLES)
def test_the_tables_are_what_dvc_yaml_and_the_types_say(name):
    text = (generated.DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert generated.filled(name, text) == text, "run `make docs`"


def test_the_readme_stays_short():
    assert len(TEXT.splitlines()) <= 200


def test_every_parameter_is_documented():
    for name, _, meaning in generated._rows(Document, ""):
        assert meaning, f"{name} has no line of documentation"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md", *GUIDES])
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_each_section_with_commands_is_one_that_is_run():
    """`.ci/run` runs the first, tests/test_pipeline.py the others, which it finds by these headings."""
    sections = [section.partition("\n")[0] for section in TEXT.split("\n## ") if "\n```sh\n" in section]
    assert [name.partition(":")[0] for name in sections] == [
        "Two commands", "Recipe 1", "Recipe 2", "Recipe 3", "Sharing", "Serving",
    ]  # fmt: skip


def test_every_make_target_that_is_named_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M))
    for name in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\s])", (ROOT / name).read_text(encoding="utf-8")))
        assert {target for target in named if target != "and"} <= targets, name


def test_params_yaml_names_every_section_with_its_values():
    document = params.read(ROOT / "params.yaml")
    assert set(document) == set(Document.model_fields)
