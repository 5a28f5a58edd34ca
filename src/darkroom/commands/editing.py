"""Edits of a YAML file that preserve all other values, their order and the comments.

ruamel.yaml may normalise the layout: indents, spaces inside braces, columns of comments. DVC writes with it too, so
`dvc exp run -S` and `darkroom init` leave the same layout: nothing for null, and lists with one item per line.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap


def edit(text: str, values: Mapping[str, Any], moves: Mapping[str, str | None] | None = None) -> str:
    """Return the document `text` with `values` (dotted key to value) set, and entries moved to other sections.

    moves: dotted key of an entry to the dotted key of its new section, or None to remove it. New keys are inserted at
    the top of their section; missing sections are created.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # never wrap lines
    document = yaml.load(text)
    for key, value in values.items():
        *above, name = key.split(".")
        _insert(_section(document, above), name, _plain(value))
    for key, section in reversed(list((moves or {}).items())):
        *above, name = key.split(".")
        source = _section(document, above)
        entry = source.pop(name)
        if section:
            target = _section(document, section.split("."))
            while name in target and target[name] != entry:
                name += "_"  # never overwrite an entry
            _insert(target, name, entry)
        if not source:
            source.fa.set_flow_style()  # written {}
    out = io.StringIO()
    yaml.dump(document, out)
    return _space(text, out.getvalue())


def _section(document: CommentedMap, path: list[str]) -> CommentedMap:
    for name in path:
        if not isinstance(document.get(name), dict):
            _insert(document, name, CommentedMap())
        document = document[name]
    return document


def _insert(section: CommentedMap, name: str, value: Any) -> None:
    if name in section or section.fa.flow_style():
        section[name] = value
    else:  # at the top, because ruamel.yaml attaches the comment after a section to its last key
        section.insert(0, name, value)


def _plain(value: Any) -> Any:
    """Convert mappings to ruamel.yaml's type, in flow style if they contain no nested mappings."""
    if not isinstance(value, dict):
        return value
    mapping = CommentedMap({name: _plain(part) for name, part in value.items()})
    if not any(isinstance(part, dict) for part in mapping.values()):
        mapping.fa.set_flow_style()
    return mapping


def _space(old: str, new: str) -> str:
    """Return `new` with a blank line before each section that has one in `old`.

    ruamel.yaml treats a blank line as part of the entry above it and moves both.
    """
    spaced = set(re.findall(r"\n\n(\w+):", old))
    return re.sub(r"(?<!\n)\n(\w+):", lambda found: "\n" * (1 + (found[1] in spaced)) + found[1] + ":", new)
