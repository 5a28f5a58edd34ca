"""docs/serving.md: every code of a refusal, every limit's name, and commands that do what they say."""

import json
import re
from pathlib import Path

import pytest

from darkroom.serving import guard, journal, service

PAGE = (Path(__file__).parents[1] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_table_of_refusals_has_every_code_and_no_other() -> None:
    folder = Path(service.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    ours = set(re.findall(r"(?:RequestError|Failure)\(\s*\d+,\s*\"(\w+)\"", source))
    assert {"bad_form", "invalid_image", "timeout"} <= ours
    table = PAGE.split("| status | codes |")[1].split("\n\n")[0]
    guards = {"not_found", "method_not_allowed", "too_many_requests", "internal_server_error"}
    assert set(re.findall(r"`([a-z_]+)`", table)) == ours | guards
    assert f"{guard.AT_ONCE} requests" in table


def test_the_example_answer_is_json() -> None:
    example = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    assert [set(prediction) for prediction in example["predictions"]] == [
        {"name", "labels", "confident", "in_distribution"},
        {"name", "error"},
    ]


@pytest.mark.parametrize("name", ["time", "version", "label", "probability", "probabilities", "confident", "sha256"])
def test_the_columns_of_the_log_are_listed(name: str) -> None:
    assert f'"{name}", "' in Path(journal.__file__).read_text(encoding="utf-8")
    assert f"`{name}`" in PAGE.split("| column | |")[1]
