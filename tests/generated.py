"""Tables of the documentation, generated from dvc.yaml and the parameter types.

python -m tests.generated     # write them
"""

import re
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from darkroom.foundations import params
from darkroom.foundations.params import Section
from darkroom.schema import Document
from tests.imports import ROOT

DOCS = ROOT / "docs"


def stages() -> str:
    """Return a row for each stage of dvc.yaml: name, description, outputs."""
    lines = ["| stage | description | outputs |", "|---|---|---|"]
    for name, body in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items():
        each = "@…" if "do" in body else ""
        body = body.get("do", body)
        outs = [*body.get("outs", []), *body.get("metrics", [])]
        made = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
        listed = ", ".join(f"`{path.replace('${key}', '…')}`" for path in made)
        lines.append(f"| `{name}{each}` | {body['desc']} | {listed} |")
    return "\n".join(lines)


def parameters() -> str:
    """Return a row for each parameter: name, default, meaning."""
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    rows = _rows(Document, "")
    for name, default, meaning in rows:
        twin = (name.replace("scratch.", "transfer."), default, meaning)
        if name.startswith("transfer.") and (name.replace("transfer.", "scratch."), default, meaning) in rows:
            continue  # listed in the row of its twin
        if name.startswith(("zoo.", "photos.")):
            continue  # the same as scratch and transfer
        both = f"`{name}`, `{twin[0]}`" if twin in rows and twin[0] != name else f"`{name}`"
        lines.append(f"| {both} | {default} | {meaning} |")
    return "\n".join(lines)


def _rows(kind: type[Section], prefix: str) -> list[tuple[str, str, str]]:
    rows = []
    for name, field in kind.model_fields.items():
        inner = _sections(field.annotation)
        mapping = get_origin(field.annotation) is dict
        path = f"{prefix}{name}.NAME" if mapping else f"{prefix}{name}"
        if not inner:
            rows.append((path, _default(field), _one_line(field.description)))
        elif len(inner) > 1:  # one of several kinds of source
            for member in inner:
                kind_name = member.model_fields["kind"].default
                rows.append((f"{path}.kind: {kind_name}", "", _one_line(member.__doc__)))
                rows += [row for row in _rows(member, f"{path}.") if not row[0].endswith(".kind")]
        else:
            rows += _rows(inner[0], f"{path}.")
    return rows


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _sections(argument)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    return "–" if value in (None, "") else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


TABLES = {"stages": stages, "parameters": parameters}


def filled(name: str, text: str) -> str:
    """Return `text` with the table `name` replaced by a new one."""
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)"
    table = TABLES[name]()
    text, count = re.subn(pattern, lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text, flags=re.S)
    assert count == 1, name
    return text


if __name__ == "__main__":
    params.load(ROOT / "params.yaml", Document)
    for name in TABLES:
        path = DOCS / f"{name}.md"
        path.write_text(filled(name, path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
