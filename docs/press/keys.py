"""docs/scenarios.md: every key of a scenario file, from the JSON schema of scenarios."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from attndyn import Scenario
from attndyn.particles.observables import REGISTRY

from .markup import plain

Schema = dict[str, Any]

HEAD = """\
# Scenario files

A scenario is a TOML file. Every key has a default, so the shortest scenario is an empty file; an unknown key is a
mistake, and the message names the likely one. `attndyn schema` prints the JSON schema from which this page is made, for
editors that complete and check; `attndyn check FILE` checks a file without running it; `attndyn show NAME` prints a
bundled one ([the gallery](gallery.md) shows them all). What the laws compute is in [numerics](numerics.md), words and
symbols are in [notation](notation.md).

The same keys, with dots, change a value on the command line (`--set attention.beta=9`), span the grid of a sweep
(`--grid depth.noise=0:1:11`) and are overridden from Python (`scenario.override({"attention.beta": 9.0})`).
Paths of files are relative to the scenario file.
"""
OBSERVABLES = """\
What `save.observables` may name, and `attndyn.particles.observables` computes; formulas are in its reference.
"""


def page() -> str:
    """The text of docs/scenarios.md."""
    schema = Scenario.model_json_schema()
    definitions = schema["$defs"]
    uses = Counter(name for table in (schema, *definitions.values()) for name in _tables_under(table["properties"]))
    titles = {name: f"`{_form(definitions[name])}`" for name in sorted(uses) if uses[name] > 1}
    lines = {key: value for key, value in schema["properties"].items() if not [*_tables(value)]}
    parts = [HEAD, "## At the top\n", _table(lines, "", titles, {})]
    for key, value in schema["properties"].items():
        if key not in lines:
            parts.extend(_section(key, value, definitions, titles, "##"))
    parts.append("## Tables that several keys take\n")
    for name, title in titles.items():
        parts.extend([f"### {title}\n", plain(definitions[name]["description"]) + "\n"])
        parts.append(_table(definitions[name]["properties"], "", titles, definitions[name]))
    parts.extend(["## Observables\n", OBSERVABLES, *_observables()])
    return "\n".join(parts)


def _section(
    key: str, value: Schema, definitions: dict[str, Schema], titles: dict[str, str], marks: str
) -> Iterator[str]:
    """The heading of a key that holds tables, and its tables: one, or several that a law or a kind tells apart."""
    named = [definitions[name] for name in _tables(value) if name not in titles]
    yield f"{marks} `[{key}]`\n" if marks == "##" else f"{marks} `{key}`\n"
    yield plain(named[0]["description"] if len(named) == 1 else value.get("description", "")) + "\n"
    if len(named) == 1:
        yield _table(named[0]["properties"], key, titles, named[0], value.get("default"))
    else:
        yield _alternatives(named)
        yield _keys_of_alternatives(named, key, titles)
    for table in named:
        for name, inner in table["properties"].items():
            if any(word not in titles for word in _tables(inner)):
                yield from _section(f"{key}.{name}", inner, definitions, titles, marks + "#")


def _alternatives(tables: list[Schema]) -> str:
    tag, _ = _word(tables[0])
    rows = [f"| `{tag}` | meaning |", "| --- | --- |"]
    rows.extend(f"| `{json.dumps(_word(table)[1])}` | {plain(table.get('description', ''))} |" for table in tables)
    return "\n".join(rows) + "\n"


def _keys_of_alternatives(tables: list[Schema], key: str, titles: dict[str, str]) -> str:
    """The keys that alternatives have besides the one that tells them apart, one row each."""
    rows = []
    for table in tables:
        tag, word = _word(table)
        for name, value in table["properties"].items():
            if name != tag:
                rows.append(f"| `{name}` | {word} | {_cells(name, value, key, titles, table)} |")
    if not rows:
        return ""
    return "\n".join(["| key | of | value | default | meaning |", "| --- | --- | --- | --- | --- |", *rows]) + "\n"


def _table(properties: Schema, key: str, titles: dict[str, str], of: Schema, defaults: Any = None) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name, value in properties.items():
        rows.append(f"| `{name}` | {_cells(name, value, key, titles, of, (defaults or {}).get(name))} |")
    return "\n".join(rows) + "\n"


def _cells(name: str, value: Schema, key: str, titles: dict[str, str], of: Schema, default: Any = None) -> str:
    full = f"{key}.{name}" if key else name
    shown = "required" if name in of.get("required", ()) else _default(value.get("default", default))
    return f"{_value(value, full, titles)} | {shown} | {plain(value.get('description', ''))}"


def _observables() -> Iterator[str]:
    yield "| name | what is measured |\n| --- | --- |"
    for name, observable in REGISTRY.items():
        yield f"| `{name}` | {plain(observable.description)} |"
    yield ""


def _value(value: Schema, key: str, titles: dict[str, str]) -> str:
    """What a key may hold, in words."""
    alternatives = value.get("anyOf") or value.get("oneOf")
    if alternatives:
        words = [_value(part, key, titles) for part in alternatives if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[table]({_anchor(titles.get(name, key))})"
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(word)}`" for word in value["enum"])
    if value.get("type") == "array" and value.get("items", {}).get("enum") == [*REGISTRY]:
        return "list of [observables](#observables)"
    if value.get("type") == "array":
        items = value.get("items", {})
        return f"list of {_value(items, key, titles)}"
    if value.get("type") == "object":
        return "table"
    kinds = value.get("type", "any value")
    kind = {"string": "text", "boolean": "`true` or `false`"}.get(kinds, kinds)
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    ranges = [f"{sign} {value[word]:g}".replace("e+0", "e") for word, sign in bounds.items() if word in value]
    return " ".join([kind, ", ".join(ranges)]).strip()


def _default(default: Any) -> str:
    if isinstance(default, dict):
        given = [f"{key} = {json.dumps(value)}" for key, value in default.items() if value is not None]
        return f"`{{ {', '.join(given)} }}`" if given else ""
    return "" if default is None or default == "" else f"`{json.dumps(default)}`"


def _tables(value: Any) -> Iterator[str]:
    """The names of the tables that a key may hold, in their order."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rsplit("/", 1)[1]
        for word in ("anyOf", "oneOf", "items"):
            yield from dict.fromkeys(_tables(value.get(word)))
    elif isinstance(value, list):
        for part in value:
            yield from _tables(part)


def _tables_under(properties: Schema) -> Iterator[str]:
    for value in properties.values():
        yield from dict.fromkeys(_tables(value))


def _word(table: Schema) -> tuple[str, str]:
    """What tells a table from its alternatives: ("law", "window")."""
    return next((name, value["const"]) for name, value in table["properties"].items() if "const" in value)


def _form(table: Schema) -> str:
    """A shared table as one writes it."""
    keys = [f"{key} = ..." for key in table["properties"] if key in table.get("required", ())]
    return f"{{ {', '.join([*keys, '...'])} }}"


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "#" + "-".join(kept.split())
