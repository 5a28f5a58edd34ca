"""Parameters as typed, frozen objects: reading and validating `params.yaml`."""

import copy
import difflib
import io
import types
import typing
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

T = TypeVar("T")
UNIONS = (typing.Union, types.UnionType)
MOST_CHOICES = 50
"""Largest number of valid names in a message; no section has more keys."""


class Section(BaseModel):
    """A part of `params.yaml`: frozen, with strict types, and without unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    removed: ClassVar[dict[str, str]] = {}
    """Parameters of earlier versions, each with what to do instead."""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if reason := naming.unprintable(line):
        raise ValueError(f"it {reason}")
    return line


ONE_LINE = AfterValidator(_one_line)
"""For text in the report: line breaks become spaces, and characters that cannot be printed are an error."""


def read(path: Path) -> dict[str, Any]:
    """Read `path` as YAML 1.2, with the same parser as DVC.

    Raises DarkroomError when it is missing, is not YAML, or is not a mapping.
    """
    try:
        document = copy.deepcopy(_parse(str(path), path.read_bytes()))
    except FileNotFoundError:
        raise DarkroomError(f"{naming.shown(path)} is missing: run from the project's top folder") from None
    except YAMLError as error:
        raise DarkroomError(f"{naming.shown(path)} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise DarkroomError(f"{naming.shown(path)} must be a mapping of parameters, not {type(document).__name__}")
    return document


@lru_cache(maxsize=1)
def _parse(name: str, content: bytes) -> Any:
    """Parse the content of the file `name`, once per process, which takes 25 ms."""
    stream = io.BytesIO(content)
    stream.name = name  # for the messages of the parser
    return YAML(typ="safe", pure=True).load(stream)


@overload
def load(path: Path, kind: type[T], key: str = "") -> T: ...
@overload
def load(path: Path, kind: Any, key: str = "") -> Any: ...  # unions and literals are no classes to mypy
def load(path: Path, kind: Any, key: str = "") -> Any:
    """Return the part of `path` under the dotted `key` (the whole document when empty) as a `kind`.

    Raises DarkroomError that lists every wrong key with its value, the allowed values, and the nearest valid
    name.
    """
    value: Any = read(path)
    for done, part in enumerate(parts := key.split(".") if key else []):
        if not isinstance(value, dict) or part not in value:
            where = ".".join(parts[:done]) or "the document"
            names = [str(name) for name in value] if isinstance(value, dict) else []
            raise DarkroomError(f"{naming.shown(path)}: no {_quoted(part)} in {where}. {choices(part, names)}")
        value = value[part]
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        lines = [_explain(kind, parts, details) for details in error.errors()]
        raise DarkroomError(
            f"{naming.shown(path)} has {_count(lines)}:\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def choices(name: str, allowed: list[str]) -> str:
    """Return the allowed values as text, the one nearest to `wrong` first."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"Did you mean {_quoted(near[0])}? " if near else ""
    return f"{hint}Allowed: {naming.listed(sorted(allowed), most=MOST_CHOICES) or 'nothing'}."


def _quoted(value: object) -> str:
    """Return the `repr` of a value, shortened to one line."""
    return naming.shown(repr(value))


def _count(lines: list[str]) -> str:
    return "1 invalid parameter" if len(lines) == 1 else f"{len(lines)} invalid parameters"


def _explain(kind: Any, prefix: list[str], details: ErrorDetails) -> str:
    where = naming.shown(".".join([*prefix, *_path(kind, details["loc"])]))
    value = details["input"]
    if details["type"] == "extra_forbidden":
        section = _section_at(kind, details["loc"][:-1])
        if section and (remedy := section.removed.get(str(details["loc"][-1]))):
            return f"{where}: {_quoted(value)} has no effect, the parameter was removed: {remedy}."
        allowed = list(section.model_fields) if section else []
        return f"{where}: unknown key. {choices(str(details['loc'][-1]), allowed)}"
    if details["type"] == "missing":
        return f"{where}: missing. Add it."
    if details["type"] == "literal_error":
        allowed = [part.strip("' ") for part in details["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{where}: {_quoted(value)} is not one of the choices. {choices(str(value), allowed)}"
    if details["type"] == "union_tag_invalid":
        tag, allowed = details["ctx"]["tag"], details["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{where}.kind: {_quoted(tag)} is not one of the choices. {choices(str(tag), allowed)}"
    message = details["msg"].removeprefix("Value error, ")
    if isinstance(value, dict):  # values of a section that are inconsistent; the message names them
        return f"{where}: {message}." if where else f"{message}."
    return f"{where}: {_quoted(value)} is not allowed: {message[:1].lower()}{message[1:]}."


def _path(kind: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Return an error's location as in the document, without the tags that pydantic inserts."""
    path = []
    for part in loc:
        if typing.get_origin(_bare(kind)) not in UNIONS:
            path.append(str(part))
        kind = _step(kind, part)
    return path


def _bare(kind: Any) -> Any:
    """Return a type without its annotations."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def _section_at(kind: Any, loc: tuple[int | str, ...]) -> type[Section] | None:
    """Return the section type that an error's location leads to, through mappings and tagged unions."""
    for part in loc:
        kind = _step(kind, part)
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _step(kind: Any, part: int | str) -> Any:
    kind = _bare(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict:
        return arguments[1]
    if origin is list:
        return arguments[0]
    if origin in UNIONS:  # pydantic puts the tag of the chosen member into the location
        return next((member for member in arguments if member.model_fields["kind"].default == part), None)
    field = kind.model_fields.get(str(part)) if isinstance(kind, type) and issubclass(kind, Section) else None
    return field.annotation if field else None
