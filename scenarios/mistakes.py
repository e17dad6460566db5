"""Mistakes in a scenario as one line: the key, what is allowed, what was given, the nearest name.

tokens.cuont: unknown key; did you mean tokens.count? (given 64)
attention.mask: must be one of none, causal; got "casual"; did you mean "causal"? (and 2 more)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, ScenarioError, printable
from . import toml

if TYPE_CHECKING:
    from pydantic import ValidationError

TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "at least {min_length} long",
    "int_parsing_size": "a whole number of reasonable size",
}


@contextmanager
def blaming(key: str, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Put the key before the message of an InvalidInput, or a lack of memory, that is raised inside.

    A message "query must ..." is put under the key of `query`, where `settings` knows one.
    """
    try:
        yield
    except ScenarioError:
        raise
    except InvalidInput as error:
        message = one_line(str(error))
        name, _, rest = message.partition(" ")
        if settings and name in settings and rest.startswith("must"):
            key, message = settings[name], rest
        raise ScenarioError(f"{key}: {message}") from None
    except (MemoryError, OverflowError) as error:
        raise ScenarioError(f"{key}: {one_line(str(error)) or 'needs more memory than there is'}") from None


def explain(error: ValidationError, tables: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The first mistake of a scenario's tables as one line, and how many more there are.

    Unknown keys come first: a misspelt key is often why another one is missing. `schema` is the JSON schema,
    in which the allowed keys are looked up.
    """
    mistakes = sorted(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
    more = len(mistakes) - 1 + mistakes[0].get("ctx", {}).get("more", 0)
    line = _sentence(mistakes[0], tables, schema)
    return one_line(line) + (f" (and {more} more)" if more else "")


def one_line(text: str) -> str:
    """The text with every run of white space as one blank, and without what steers a terminal."""
    return printable(" ".join(text.split()))


def shown(value: Any) -> str:
    """A value as it would stand in the file, shortened."""
    try:
        text = one_line(toml.literal(value))
    except InvalidInput:
        text = one_line(repr(value))
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(name: str, names: list[str]) -> str | None:
    """The one of the names that a misspelt name most likely means."""
    return next(iter(get_close_matches(name.lower(), names, 1, cutoff=0.6)), None)


def _sentence(mistake: Mapping[str, Any], tables: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "contradiction":
        return str(mistake["msg"])
    path = _path(mistake["loc"], tables, keep_last=kind in ("missing", "extra_forbidden"))
    key, given = _dotted(path), mistake["input"]
    match kind:
        case "extra_forbidden":
            return f"{key}: unknown key; {_meant(path, tables, schema)} (given {shown(given)})"
        case "missing":
            return f"{key}: missing"
        case "literal_error":
            return f"{key}: {_choice(context['expected'], given)}"
        case "union_tag_invalid":
            law = given[context["discriminator"].strip("'")]
            return f"{key}.law: {_choice(context['expected_tags'], law)}"
        case "union_tag_not_found":
            missing = f"{key}.law: missing"
            return missing if isinstance(given, dict) else f"{key}: must be a table; got {shown(given)}"
        case "form":
            return f"{key}: must be {mistake['msg']}; got {shown(given)}"
        case "value_error":
            return f"{key}: {context['error']}"
    allowed = TYPES.get(kind, "").format(**context)
    return f"{key}: must be {allowed}; got {shown(given)}" if allowed else f"{key}: {mistake['msg']}"


def _choice(expected: str, given: Any) -> str:
    """Of pydantic's list "'none', 'causal' or 'all'" a sentence with the nearest name."""
    names = [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",")]
    likely = nearest(given, names) if isinstance(given, str) else None
    hint = f'; did you mean "{likely}"?' if likely else ""
    return f"must be one of {', '.join(names)}; got {shown(given)}{hint}"


def _path(loc: tuple[int | str, ...], tables: Any, keep_last: bool) -> list[int | str]:
    """The keys of a pydantic location, without the names of union members, which are no keys."""
    path: list[int | str] = []
    chosen = False  # whether the location has said already which of the models for this table it means
    part: Any
    for position, part in enumerate(loc):
        is_table = isinstance(tables, dict)
        if is_table and not chosen and tables.get("law") == part:
            chosen = True
        elif (is_table and part in tables) or (isinstance(tables, list) and isinstance(part, int)):
            path.append(part)
            tables, chosen = tables[part], False
        elif keep_last and position == len(loc) - 1:
            path.append(part)
    return path


def _dotted(path: list[int | str]) -> str:
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{_short(part)}" for part in path)
    return text.removeprefix(".")


def _meant(path: list[int | str], tables: Any, schema: Mapping[str, Any]) -> str:
    """What an unknown key may have meant: a key beside it, that of another section, or the allowed ones."""
    *parents, name = path
    beside = _keys(parents, tables, schema)
    near = nearest(str(name), beside)
    if near:
        return f"did you mean {_dotted([*parents, near])}?"
    for section in _keys([], tables, schema):
        if name in _keys([section], tables, schema):
            return f"did you mean {section}.{name}?"
    return f"allowed are {', '.join(beside)}"


def _keys(path: list[int | str], tables: Any, schema: Mapping[str, Any]) -> list[str]:
    """The keys that the JSON schema allows in the table at this path."""
    nodes = list(_variants(schema, schema, tables))
    for part in path:
        tables = tables.get(part) if isinstance(tables, dict) else None
        nodes = [
            variant
            for node in nodes
            if part in node.get("properties", {})
            for variant in _variants(node["properties"][part], schema, tables)
        ]
    return list(dict.fromkeys(key for node in nodes for key in node.get("properties", {})))


def _variants(node: Mapping[str, Any], schema: Mapping[str, Any], table: Any) -> Iterator[Mapping[str, Any]]:
    """The tables that may stand at a node of the schema; where a `law` or `kind` is given, only those with it."""
    if "$ref" in node:
        yield from _variants(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], schema, table)
    for alternative in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _variants(alternative, schema, table)
    if "properties" in node:
        given = table if isinstance(table, dict) else {}
        named = {tag: node["properties"].get(tag, {}).get("const") for tag in ("law", "kind")}
        if all(None in (given.get(tag), name) or given[tag] == name for tag, name in named.items()):
            yield node
