"""TOML in and out. Reading is the standard library's; writing is for the plain tables of a scenario."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput

DEEPEST = 20  # a scenario is never half as deep
MOST_DOTS = 100  # in a run of words


def parse(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises InvalidInput with the line and column of a syntax error."""
    if any(found[0].count(".") > MOST_DOTS for found in re.finditer(r"[\w\-\"' \t.]+", text)):
        raise InvalidInput(f"not valid TOML: a key of more than {MOST_DOTS} parts")  # of which tomllib needs the square
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # also of whole numbers with thousands of digits, which Python does not read
        raise InvalidInput(f"not valid TOML: {error}") from None
    except RecursionError:
        raise InvalidInput("not valid TOML: nested too deeply") from None
    _check_depth(tables)
    return tables


def _check_depth(tables: dict[str, Any]) -> None:
    """Raise InvalidInput for tables in tables, as dotted keys make them, of any depth."""
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        level = [part for of in level for part in (of.values() if isinstance(of, dict) else of)]
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return
    raise InvalidInput(f"not valid TOML: nested more than {DEEPEST} deep")


def parse_value(text: str) -> Any:
    """One TOML value; a text that is none stands for itself."""
    try:
        tables = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return tables["value"] if tables.keys() == {"value"} else text


def write(tables: Mapping[str, Any]) -> str:
    """A TOML text that `parse` reads back: plain values first, then one [section] for each table."""
    sections = {name: table for name, table in tables.items() if isinstance(table, Mapping)}
    lines = _lines({key: value for key, value in tables.items() if key not in sections})
    for name, table in sections.items():
        lines += ["", f"[{_key(name)}]", *_lines(table)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {literal(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if bare else _string(key)


def literal(value: Any) -> str:
    """One value as TOML writes it; tables inline. Raises InvalidInput for what a scenario cannot hold."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case Mapping():
            return "{ " + ", ".join(f"{_key(k)} = {literal(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(literal, value)) + "]"
    raise InvalidInput(f"a scenario holds numbers, text, lists and tables; got {value!r}")


def _string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML wants the delete character escaped as well
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
