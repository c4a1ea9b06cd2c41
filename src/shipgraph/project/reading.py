"""Parsed TOML into the structs of ``config``, with every mistake collected and none of them fatal to the others.

``msgspec.convert`` stops at the first mistake and names no dictionary key, so tables are walked here, and msgspec
judges the single values.
"""

from __future__ import annotations

import difflib
import re
import types
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

if TYPE_CHECKING:
    from shipgraph.project.toml_lines import KeyPath

_S = TypeVar("_S", bound=msgspec.Struct)
_BAD: Final = object()
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# bool before int: it is one in Python.
_KINDS: Final = (
    (bool, "true or false"), (str, "a string"), (int, "a whole number"), (float, "a number"), (dict, "a table"),
    (list, "an array"), (tuple, "an array"), (datetime, "a date and time"), (date, "a date"), (time, "a time"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the path of the key it is about, what is wrong, what is allowed, and what to try."""

    path: KeyPath
    what: str
    allowed: str = ""
    hint: str = ""


def read_tables(struct: type[_S], value: Any, problems: list[Problem]) -> _S | None:
    """Read a whole document, as much of it as can be judged further; None where something necessary is wrong.

    In the document and its own tables, a wrong value falls back to its default; entries of a table of tables are left
    out if anything in them is wrong, since half an entry would only be accused of what it lacks.
    """
    return _read_struct(struct, value, (), problems, lenient=2)


def suggest(word: str, known: list[str]) -> str:
    """A hint, if a known word is close."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def _read_struct(struct: type[_S], value: Any, path: KeyPath, problems: list[Problem], *, lenient: int) -> _S | None:
    if not isinstance(value, dict):
        problems.append(Problem(path, f"expected a table, got {_kind_of(value)}"))
        return None
    before = len(problems)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    misspelt: set[str] = set()
    for key in value:
        if key not in fields:
            known = list(fields)
            misspelt.update(difflib.get_close_matches(key, known, n=1))
            what = f"there is no key `{key[:100]}` here"
            problems.append(Problem((*path, key), what, ", ".join(known), suggest(key, known)))
    found: dict[str, Any] = {}
    missing = False
    for key, field in fields.items():
        if key in value:
            read = _read(value[key], field.type, (*path, key), problems, lenient - 1)
            if read is not _BAD:
                found[field.name] = read
                continue
        elif field.required and key not in misspelt:
            problems.append(Problem((*path, key), f"`{key}` is missing"))
        missing = missing or field.required
    if missing or (len(problems) > before and lenient <= 0):
        return None
    return struct(**found)


def _read(value: Any, type_: Any, path: KeyPath, problems: list[Problem], lenient: int = 0) -> Any:
    plain, metas = _unwrap(_choose(type_, value))
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        table = _read_struct(plain, value, path, problems, lenient=lenient)
        return _BAD if table is None else table
    origin = get_origin(plain)
    if origin is dict:
        return _read_dict(value, plain, metas, path, problems)
    if origin is tuple:
        return _read_array(value, plain, metas, path, problems)
    return _read_leaf(value, plain, metas, path, problems)


def _read_dict(value: Any, type_: Any, metas: list[msgspec.Meta], path: KeyPath, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        problems.append(Problem(path, f"expected a table, got {_kind_of(value)}"))
        return _BAD
    if not value and any(meta.min_length for meta in metas):
        problems.append(Problem(path, "at least one entry is needed"))
        return _BAD
    key_type, value_type = get_args(type_)
    read: dict[str, Any] = {}
    for key, entry in value.items():
        name = _read(key, key_type, (*path, key), problems)
        content = _read(entry, value_type, (*path, key), problems)
        if name is not _BAD and content is not _BAD:
            read[key] = content
    return read


def _read_array(value: Any, type_: Any, metas: list[msgspec.Meta], path: KeyPath, problems: list[Problem]) -> Any:
    if not isinstance(value, list):
        problems.append(Problem(path, f"expected an array, got {_kind_of(value)}"))
        return _BAD
    if not value and any(meta.min_length for meta in metas):
        problems.append(Problem(path, "at least one element is needed"))
        return _BAD
    element_type = get_args(type_)[0]
    read = [_read(element, element_type, (*path, index), problems) for index, element in enumerate(value)]
    for index, element in enumerate(value):
        if element in value[:index]:
            problems.append(Problem((*path, index), f"{_shown(element)} is given twice"))
            return _BAD
    return _BAD if any(element is _BAD for element in read) else tuple(read)


def _read_leaf(value: Any, plain: Any, metas: list[msgspec.Meta], path: KeyPath, problems: list[Problem]) -> Any:
    allowed = next((meta.extra["allowed"] for meta in metas if meta.extra), "")
    if isinstance(value, str):
        if _CONTROL.search(value):
            problems.append(Problem(path, f"{_shown(value)} holds a control character"))
            return _BAD
        # Python's `$` would let it pass.
        if value.endswith("\n") and any(meta.pattern for meta in metas):
            problems.append(Problem(path, f"{_shown(value)} is not allowed here", allowed))
            return _BAD
    type_ = plain
    for meta in metas:
        type_ = Annotated[type_, meta]
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        problems.append(_leaf_problem(str(error), value, plain, metas, path, allowed))
        return _BAD


def _leaf_problem(
    message: str, value: Any, plain: Any, metas: list[msgspec.Meta], path: KeyPath, allowed: str
) -> Problem:
    if get_origin(plain) is Literal:
        choices = [str(choice) for choice in get_args(plain)]
        if not isinstance(value, str):
            return Problem(path, f"expected a string, got {_kind_of(value)}", ", ".join(choices))
        return Problem(path, f"{_shown(value)} is not known here", ", ".join(choices), suggest(value, choices))
    expected = next((name for kind, name in _KINDS if kind is plain), str(plain))
    is_number = plain is float and isinstance(value, int) and not isinstance(value, bool)
    if type(value) is not plain and not is_number:
        return Problem(path, f"expected {expected}, got {_kind_of(value)}", allowed)
    if isinstance(value, str):
        if not value:
            return Problem(path, "it is empty", allowed)
        longest = next((meta.max_length for meta in metas if meta.max_length is not None), None)
        if longest is not None and len(value) > longest:
            return Problem(path, f"it is {len(value)} characters long", f"at most {longest} characters")
        return Problem(path, f"{_shown(value)} is not allowed here", allowed)
    limits = message.partition("`")[2].partition("`")[2].strip()
    return Problem(path, f"{_shown(value)} is out of range", f"{expected} {limits}".strip())


def _choose(type_: Any, value: Any) -> Any:
    """Of a union, the member that a value of this kind is meant for; TOML has no null, so None is never one."""
    plain, _ = _unwrap(type_)
    if get_origin(plain) not in (Union, types.UnionType):
        return type_
    members = [member for member in get_args(plain) if member is not types.NoneType]
    for member in members:
        inner = _unwrap(member)[0]
        is_table = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
        if isinstance(value, dict) and (is_table or get_origin(inner) is dict):
            return member
        if isinstance(value, list) and get_origin(inner) is tuple:
            return member
    return members[0]


def _unwrap(type_: Any) -> tuple[Any, list[msgspec.Meta]]:
    metas: list[msgspec.Meta] = []
    while get_origin(type_) is Annotated:
        type_, *found = get_args(type_)
        metas.extend(meta for meta in found if isinstance(meta, msgspec.Meta))
    return type_, metas


def _kind_of(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:99] + "…"
